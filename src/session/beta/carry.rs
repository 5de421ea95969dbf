//! The tree between the staging and the sidecar: by a folder that both share, or over the connection.

use std::time::Instant;

use crate::event::Direction;
use crate::mirror::Mirror;
use crate::plan::SidecarAddress;
use crate::session::sidecar::{At, RemoteMirror};
use crate::session::staged_tree::StagedTree;
use crate::session::words::{synced, syncing, warn_of_specials};
use crate::session::{Context, VmError};
use crate::sidecar;
use crate::sys::fs::open_dir;
use crate::workspace::SyncError;

use super::connect::Connected;
use super::session::BetaSession;

impl BetaSession {
    /// What carries a staged tree to a sidecar that does not see it.
    pub(super) fn mirror_of(&self, staged: &StagedTree) -> Result<RemoteMirror, VmError> {
        let path = staged.folder();
        let root = open_dir(&path).map_err(|source| SyncError::Io {
            action: "open",
            path: path.clone(),
            source,
        })?;
        let mirror = Mirror {
            root,
            path,
            index: self.settings().folder.join("digests"),
            store: self.settings().incoming(),
            rules: self.settings().rules()?,
        };
        Ok(RemoteMirror::new(mirror, self.guest_folder(staged.workspace())?))
    }

    /// Has the sidecar's tools see what was staged.
    pub(super) fn push_staged(&mut self, start: Instant, cx: &mut Context) -> Result<(), VmError> {
        let Some((mirror, connected, address)) = self.carriage() else {
            return self.sync(sidecar::Direction::PushToGuest, cx.cancel);
        };
        let tell = &mut |progress| syncing(cx.emitter, Direction::Push, progress);
        let done = mirror.push(&at(connected, address)?, cx.cancel, tell)?;
        synced(cx, Direction::Push, [done.files, done.bytes, done.deleted], start);
        Ok(())
    }

    /// Has the staging hold what the sidecar's tools have left.
    pub(super) fn pull_staged(&mut self, cx: &mut Context) -> Result<(), VmError> {
        let Some((mirror, connected, address)) = self.carriage() else {
            return self.sync(sidecar::Direction::PullFromGuest, cx.cancel);
        };
        let start = Instant::now();
        let tell = &mut |progress| syncing(cx.emitter, Direction::Pull, progress);
        let (taken, _) = mirror.pull(&at(connected, address)?, cx.cancel, tell)?;
        warn_of_specials(cx, &taken.specials, "are not brought back");
        synced(cx, Direction::Pull, [taken.files, taken.bytes, taken.deleted], start);
        Ok(())
    }
}

fn at<'a>(connected: Option<&'a Connected>, address: &'a SidecarAddress) -> Result<At<'a>, VmError> {
    let connected = connected.ok_or_else(VmError::not_ready)?;
    Ok(At {
        link: &connected.connection.link,
        session_id: &connected.begun.id,
        address,
    })
}
