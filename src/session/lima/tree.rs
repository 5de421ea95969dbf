//! The tree of a session in sync mode: staged on this side, seen in the guest or carried there.

use std::time::{Duration, Instant};

use crate::process::Cancel;
use crate::session::guest_tree::in_guest;
use crate::session::sidecar::{At, RemoteMirror};
use crate::session::staged_tree::StagedTree;
use crate::session::{Context, VmError};
use crate::vfs::{Vfs, VfsPath};
use crate::workspace::Baseline;

use super::carry::Road;
use super::settings::LimaSettings;
use super::way::Way;

/// The tree and how it gets there.
pub(super) struct Tree {
    staged: StagedTree,
    /// Where the guest does not see what was staged.
    mirror: Option<RemoteMirror>,
    /// The staging's folder as the guest sees it.
    mount: String,
    /// How long the staging took.
    staged_in: Duration,
    /// When the agent was asked to take it.
    asked_at: Option<Instant>,
}

impl Tree {
    /// Stages the tree on this side, for a guest that need not be there yet.
    pub(super) fn stage(settings: &LimaSettings, road: Road, vfs: &Vfs, cx: &mut Context) -> Result<Self, VmError> {
        let (staging, rules, start) = (settings.staging(), settings.rules()?, Instant::now());
        let mount = settings.mount(road);
        let (staged, mirror) = match road {
            Road::Mount => (StagedTree::new(&staging, rules, vfs, cx)?, None),
            Road::Transfer => {
                let folder = in_guest(&mount, &vfs.workspace())?;
                let staged = StagedTree::on_the_way(&staging, rules.clone(), vfs, cx)?;
                let mut mirror = RemoteMirror::of_staged(&staged, folder.into(), &settings.folder, rules)?;
                mirror.look(cx.cancel)?;
                (staged, Some(mirror))
            }
        };
        Ok(Self {
            staged,
            mirror,
            mount,
            staged_in: start.elapsed(),
            asked_at: None,
        })
    }

    /// Asks the agent to take it, where it has to be carried; [`Self::put`] goes on with that.
    pub(super) fn ask(&mut self, at: &At, cancel: &Cancel) -> Result<(), VmError> {
        self.asked_at = Some(Instant::now());
        let mirror = self.mirror.as_mut();
        mirror.map_or(Ok(()), |mirror| mirror.ask(at, cancel))
    }

    /// Has the guest's tools see it.
    pub(super) fn put(&mut self, way: &Way, cx: &mut Context) -> Result<(), VmError> {
        let asked = self.asked_at.unwrap_or_else(Instant::now);
        self.carry_there(way, asked.checked_sub(self.staged_in).unwrap_or(asked), cx)
    }

    /// Has the guest's tools see what was staged since `start`.
    fn carry_there(&mut self, way: &Way, start: Instant, cx: &mut Context) -> Result<(), VmError> {
        match (&mut self.mirror, way) {
            (Some(mirror), Way::Agent(agent)) => mirror.push_staged(&agent.at(), start, cx),
            _ => Ok(()),
        }
    }

    /// Has the staging hold what the guest's tools have left.
    fn bring_back(&mut self, way: &Way, cx: &mut Context) -> Result<(), VmError> {
        match (&mut self.mirror, way) {
            (Some(mirror), Way::Agent(agent)) => mirror.pull_staged(&agent.at(), cx),
            _ => self.flush(way, cx.cancel),
        }
    }

    /// Has the guest write out what it holds back, so that this side sees it.
    fn flush(&self, way: &Way, cancel: &Cancel) -> Result<(), VmError> {
        way.flush(&self.mount, cancel)
    }

    /// Carries what the Vfs has changed since the last time.
    pub(super) fn push(&mut self, way: &Way, vfs: &Vfs, cx: &mut Context) -> Result<(), VmError> {
        let start = Instant::now();
        self.staged.push_again(vfs, cx)?;
        self.carry_there(way, start, cx)
    }

    /// Brings what a tool has changed into the Vfs.
    pub(super) fn pull(&mut self, way: &Way, vfs: &mut Vfs, cx: &mut Context) -> Result<(), VmError> {
        self.bring_back(way, cx)?;
        self.staged.pull(vfs, cx)
    }

    /// Keeps the state that a retry goes back to.
    pub(super) fn checkpoint(&mut self, way: &Way, cx: &mut Context) -> Result<(), VmError> {
        self.bring_back(way, cx)?;
        self.staged.checkpoint(cx)
    }

    /// Goes back to it.
    pub(super) fn roll_back(&mut self, way: &Way, cx: &mut Context) -> Result<(), VmError> {
        let start = Instant::now();
        if self.mirror.is_none() {
            self.flush(way, cx.cancel)?;
        }
        self.staged.roll_back(cx)?;
        self.carry_there(way, start, cx)
    }

    /// Brings the result into the Vfs; gives what the commit compares with. Without a way to the guest it is what there
    /// is on this side: a folder that both share is there all the same.
    pub(super) fn collect(&mut self, way: Option<&Way>, vfs: &mut Vfs, cx: &mut Context) -> Result<Baseline, VmError> {
        if let Some(way) = way {
            self.bring_back(way, cx)?;
        }
        self.staged.collect(vfs, cx)
    }

    /// Whether a path of the Vfs is there, where this side can tell.
    pub(super) fn exists(&self, path: &VfsPath) -> Option<bool> {
        let here = || path.under(self.staged.tree()).symlink_metadata().is_ok();
        self.mirror.is_none().then(here)
    }
}
