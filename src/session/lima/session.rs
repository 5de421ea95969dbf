//! The Lima backend as the runner uses it.

use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use crate::guest_fs::GuestFsOps;
use crate::plan::{VmConfig, WorkspaceMode};
use crate::process::{Cancel, Message, Running, ToolCommand};
use crate::session::guest_tree::{Outputs, in_guest, is_there, put_inputs};
use crate::session::notes::note_tree;
use crate::session::staging::make_shared;
use crate::session::{Collected, Context, Readiness, Session, VmError};
use crate::sys::random::token;
use crate::vfs::{Vfs, VfsPath};

use super::agent::AgentChoice;
use super::carry::{Road, may_be_late};
use super::hints;
use super::lease::{Lease, turn};
use super::limactl::Limactl;
use super::ready::bring_up;
use super::settings::LimaSettings;
use super::tree::Tree;
use super::way::{Files, Way};

/// How long a look at a lost instance may take.
const POST_MORTEM: Duration = Duration::from_secs(10);

/// A session in a Lima instance.
pub struct GammaSession {
    settings: LimaSettings,
    limactl: Limactl,
    /// What everything that the tools start bears.
    mark: String,
    way: Option<Way>,
    lease: Option<Lease>,
    started: bool,
    /// The workspace as a path of the Vfs.
    workspace: Option<VfsPath>,
    /// How the tree gets there.
    road: Road,
    tree: Option<Box<Tree>>,
    /// In guest mode.
    outputs: Option<Box<Outputs>>,
    /// Handed out to callers of the library.
    files: Option<Box<dyn Files>>,
}

impl GammaSession {
    /// A session that nothing was done for yet.
    #[must_use]
    pub fn new(settings: LimaSettings) -> Self {
        let limactl = Limactl {
            program: settings.lima.limactl.clone(),
            instance: settings.lima.instance.clone(),
        };
        Self {
            settings,
            limactl,
            mark: token(),
            way: None,
            lease: None,
            started: false,
            workspace: None,
            road: Road::Mount,
            tree: None,
            outputs: None,
            files: None,
        }
    }

    /// Whether there is a limactl to have a session with.
    ///
    /// # Errors
    /// [`VmError::Lima`] where there is none.
    pub fn check(config: &VmConfig) -> Result<(), VmError> {
        let limactl = Limactl {
            program: config.limactl.clone(),
            instance: config.lima_instance.clone(),
        };
        limactl.check()
    }

    /// Its settings.
    #[must_use]
    pub fn settings(&self) -> &LimaSettings {
        &self.settings
    }

    /// Access to the guest's files, with the session's mount; `None` before `ensure_ready`, and
    /// where the Vfs is the truth.
    pub fn guest_fs(&mut self) -> Option<(&mut dyn GuestFsOps, String)> {
        if self.settings.mode != WorkspaceMode::Guest {
            return None;
        }
        let mount = self.mount();
        self.files = self.files(&Cancel::new());
        let files: &mut dyn GuestFsOps = self.files.as_deref_mut()?;
        Some((files, mount))
    }

    /// Carries what the Vfs has changed since the last time; for callers that change it between
    /// tools.
    ///
    /// # Errors
    /// [`VmError::Sync`].
    pub fn push(&mut self, vfs: &Vfs, cx: &mut Context) -> Result<(), VmError> {
        match (&mut self.tree, &self.way) {
            (Some(tree), Some(way)) => tree.push(way, vfs, cx),
            _ => Ok(()),
        }
    }

    /// Brings what a tool has changed into the Vfs.
    ///
    /// # Errors
    /// [`VmError::Sync`], and [`VmError::Lost`] where the guest is gone.
    pub fn pull(&mut self, vfs: &mut Vfs, cx: &mut Context) -> Result<(), VmError> {
        match (&mut self.tree, &self.way) {
            (Some(tree), Some(way)) => tree.pull(way, vfs, cx),
            _ => Ok(()),
        }
    }

    /// Replaces this process by a login shell in the guest, at the workspace's place there;
    /// returns only when that is not possible, with the reason.
    #[must_use]
    pub fn exec_shell(&self) -> std::io::Error {
        let folder = self.workspace.as_ref().and_then(|path| self.real_path(path).ok());
        let folder = folder.unwrap_or_else(|| self.settings.lima.guest.guest_workspace.clone());
        crate::process::replace(&[
            self.limactl.program.clone().into_os_string(),
            "shell".into(),
            "--workdir".into(),
            folder.into(),
            self.limactl.instance.clone().into(),
        ])
    }

    fn way(&self) -> Result<&Way, VmError> {
        self.way.as_ref().ok_or_else(VmError::not_ready)
    }

    fn files(&self, cancel: &Cancel) -> Option<Box<dyn Files>> {
        Some(self.way.as_ref()?.files(&self.mount(), cancel))
    }

    /// Where Vfs paths begin in the guest, for its tools.
    fn mount(&self) -> String {
        self.settings.mount(self.road)
    }

    fn put_in(&mut self, vfs: &Vfs, cx: &mut Context) -> Result<(), VmError> {
        let folder = self.guest_path(&vfs.workspace())?;
        let (guest, here) = (&self.settings.lima.guest, &self.settings.folder);
        self.outputs = Some(Box::new(Outputs::note(&guest.outputs, here, vfs, cx)?));
        let mut files = self.files(cx.cancel).ok_or_else(VmError::not_ready)?;
        put_inputs(&guest.inputs, here, &mut *files, folder.as_ref(), vfs, cx)
    }

    fn guest_path(&self, path: &VfsPath) -> Result<String, VmError> {
        in_guest(&self.mount(), path)
    }

    /// The same for what goes past the agent, and so past what only its tools see.
    fn real_path(&self, path: &VfsPath) -> Result<String, VmError> {
        match &self.way {
            Some(Way::Agent(agent)) if self.road == Road::Transfer => in_guest(agent.folder(), path),
            _ => self.guest_path(path),
        }
    }

    /// What became of the instance, for the words of a loss.
    fn fate(&self) -> Option<String> {
        let cancel = Cancel::new().until(Instant::now().checked_add(POST_MORTEM));
        let found = self.limactl.find(&cancel).ok()?;
        Some(match found {
            None => format!("the instance `{}` is gone", self.limactl.instance),
            Some(found) if found.errors.is_empty() => format!("the instance is {} now", found.status),
            Some(found) => format!("the instance is {} now: {}", found.status, found.errors_in_words()),
        })
    }
}

impl Session for GammaSession {
    fn ensure_ready(&mut self, vfs: &Vfs, _: &VfsPath, cx: &mut Context) -> Result<Readiness, VmError> {
        self.settings.key_to(vfs);
        let choice = AgentChoice::of_plan(&self.settings.lima.agent)
            .map_err(|why| VmError::Lima(format!("vm.lima.agent: {why}")))?;
        // Where only this session's own limit holds, it is the caller's as well.
        let own = self
            .settings
            .ready_timeout
            .and_then(|limit| Instant::now().checked_add(limit));
        let cancel = match own {
            Some(_) => cx.cancel.until(own),
            None => cx.cancel.clone(),
        };
        let mut cx = Context {
            emitter: &mut *cx.emitter,
            cancel: &cancel,
            lock: cx.lock,
        };
        make_shared(&self.settings.tree())?;
        if let (WorkspaceMode::Sync, Some((_, workspace))) = (self.settings.mode, vfs.base()) {
            let _ = note_tree(&self.settings.folder, &self.settings.tree(), workspace);
        }
        self.lease = Some(
            Lease::take(&self.settings.leases, &self.limactl.instance)
                .map_err(|error| VmError::Lima(format!("`{}`: {error}", self.settings.leases.display())))?,
        );
        let settings = &self.settings;
        let mut stage = |road, cx: &mut Context| match settings.mode {
            WorkspaceMode::Sync => Tree::stage(settings, road, vfs, cx).map(Some),
            WorkspaceMode::Guest => Ok(None),
        };
        let up = bring_up(settings, &self.limactl, &choice, &mut self.started, &mut stage, &mut cx)?;
        self.workspace = Some(vfs.workspace());
        self.road = up.road;
        let (isolation, less) = up.way.isolation();
        let less = less.map(str::to_owned);
        let way = self.way.insert(up.way);
        way.mark(&self.mark)?;
        self.settings
            .is_enough(isolation, up.no_agent.as_deref().or(less.as_deref()))?;
        let tree = match up.tree {
            Some(tree) => Some(tree),
            None => stage(up.road, &mut cx)?,
        };
        match tree {
            Some(mut tree) => {
                tree.put(self.way()?, &mut cx)?;
                self.tree = Some(Box::new(tree));
            }
            None => self.put_in(vfs, &mut cx)?,
        }
        let how = match &self.way {
            Some(Way::Agent(agent)) if self.road == Road::Transfer => {
                format!("the tree is carried to `{}` and back", agent.folder())
            }
            _ => format!("mounted by {}", up.mount_type),
        };
        if self.road == Road::Mount && may_be_late(&up.mount_type) {
            cx.emitter.warn(format!(
                "the Lima instance `{}` mounts by {}: the guest may see files that this run or the user has just changed \
                 as they were, or cut off. vm.lima.carry = \"auto\" with the agent carries the tree instead, and mountType \
                 `9p` or `virtiofs` shows it at once",
                self.limactl.instance, up.mount_type
            ));
        }
        let why = match up.no_agent {
            Some(no_agent) => Some(format!("without the agent: {no_agent}")),
            None => less,
        };
        Ok(Readiness {
            strategy: None,
            isolation,
            why: Some(std::iter::once(how).chain(why).collect::<Vec<_>>().join("; ")),
        })
    }

    fn start_tool(
        &mut self,
        _: &mut Vfs,
        command: &ToolCommand,
        messages: SyncSender<Message>,
        _: &Cancel,
    ) -> Result<Box<dyn Running>, VmError> {
        if command.terminal.is_some_and(|terminal| terminal.interactive) {
            if let Some(why) = self.way()?.broken() {
                return Err(VmError::Lost {
                    message: format!("the Lima guest `{}` was lost: {why}", self.limactl.instance),
                    source: None,
                });
            }
            let (caller, folder) = (&self.settings.lima.caller, self.real_path(&command.cwd)?);
            return super::terminal::start(&self.limactl, caller, &self.mark, &folder, command, messages);
        }
        let folder = self.guest_path(&command.cwd)?;
        self.way()?.start(&self.mark, &folder, command, messages)
    }

    fn exists(&mut self, path: &VfsPath, cancel: &Cancel) -> Result<bool, VmError> {
        if let Some(here) = self.tree.as_ref().and_then(|tree| tree.exists(path)) {
            return Ok(here);
        }
        let path = self.guest_path(path)?;
        let mut files = self.files(cancel).ok_or_else(VmError::not_ready)?;
        is_there(&mut *files, path.as_ref())
    }

    fn explain(&self, stderr: &[u8]) -> Option<String> {
        let hints = self.settings.lima.hints;
        hints.then(|| hints::of_tool(stderr, &self.limactl.instance))?
    }

    fn loss(&self) -> Option<VmError> {
        let why = self.way.as_ref()?.broken()?;
        let fate = self.fate().map(|fate| format!("; {fate}")).unwrap_or_default();
        Some(VmError::Lost {
            message: format!("the Lima guest `{}` was lost: {why}{fate}", self.limactl.instance),
            source: None,
        })
    }

    fn checkpoint(&mut self, cx: &mut Context) -> Result<bool, VmError> {
        match (&mut self.tree, &self.way) {
            (Some(tree), Some(way)) => tree.checkpoint(way, cx).map(|()| true),
            _ => Ok(false),
        }
    }

    fn roll_back(&mut self, cx: &mut Context) -> Result<(), VmError> {
        match (&mut self.tree, &self.way) {
            (Some(tree), Some(way)) => tree.roll_back(way, cx),
            _ => Ok(()),
        }
    }

    fn collect(&mut self, vfs: &mut Vfs, cx: &mut Context) -> Result<Collected, VmError> {
        if self.settings.mode == WorkspaceMode::Guest {
            let folder = self.guest_path(&vfs.workspace())?;
            let (Some(mut files), Some(outputs)) = (self.files(cx.cancel), self.outputs.as_mut()) else {
                return Err(VmError::not_ready());
            };
            return outputs
                .collect(&mut *files, folder.as_ref(), vfs, cx)
                .map(Collected::from);
        }
        let missing = self.loss();
        let way = self.way.as_ref().filter(|_| missing.is_none());
        let tree = self.tree.as_mut().ok_or_else(VmError::not_ready)?;
        let baseline = tree.collect(way, vfs, cx)?;
        Ok(Collected { baseline, missing })
    }

    fn release(&mut self, cx: &mut Context) -> Result<(), VmError> {
        self.tree = None;
        self.outputs = None;
        self.files = None;
        if let Some(way) = self.way.take() {
            way.hang_up();
        }
        let lease = self.lease.take();
        if !self.settings.lima.stop_on_exit || !self.started {
            return Ok(());
        }
        self.started = false;
        // Whoever uses it too may have the turn for as long as it makes it ready.
        if lease.as_ref().is_none_or(Lease::is_shared) {
            return Ok(());
        }
        let cancel = cx.cancel.second();
        let turn = turn(&self.settings.leases, &self.limactl.instance, &cancel);
        if !matches!(turn, Ok(Some(_))) || lease.as_ref().is_none_or(Lease::is_shared) {
            return Ok(());
        }
        self.limactl.stop(false, &cancel)
    }
}
