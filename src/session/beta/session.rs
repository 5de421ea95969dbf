//! The sidecar backend as the runner uses it.

use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use crate::guest_fs::GuestFsOps;
use crate::plan::{Require, SidecarAddress, WorkspaceMode};
use crate::process::{Cancel, Message, Running, ToolCommand};
use crate::session::guest_tree::Outputs;
use crate::session::notes::note_tree;
use crate::session::sidecar::{Broken, RemoteFiles, RemoteMirror, exec, failed, in_words};
use crate::session::staged_tree::StagedTree;
use crate::session::staging::make_shared;
use crate::session::{Collected, Context, Readiness, Session, VmError};
use crate::sidecar::{Capability, Request, SessionShutdown};
use crate::vfs::{Vfs, VfsPath};

use super::connect::Connected;
use super::settings::BetaSettings;

/// How long the farewell may take.
pub(super) const FAREWELL: Duration = Duration::from_secs(5);

/// A session at a sidecar.
pub struct BetaSession {
    pub(super) settings: BetaSettings,
    connected: Option<Connected>,
    staged: Option<Box<StagedTree>>,
    /// Where no folder is shared: carries the staged tree further.
    mirror: Option<Box<RemoteMirror>>,
    /// What the sidecar's own folder is known by, once the tree was carried there.
    state: Option<String>,
    /// In guest mode.
    pub(super) outputs: Option<Box<Outputs>>,
    /// Handed out to callers of the library.
    guest_files: Option<RemoteFiles>,
    /// Whether a lost connection was made anew already.
    reconnected: bool,
    /// Why the connection was lost, once that was noticed.
    loss: Option<Broken>,
}

impl BetaSession {
    /// A session that nothing was done for yet.
    #[must_use]
    pub fn new(settings: BetaSettings) -> Self {
        Self {
            settings,
            connected: None,
            staged: None,
            mirror: None,
            state: None,
            outputs: None,
            guest_files: None,
            reconnected: false,
            loss: None,
        }
    }

    /// Its settings.
    #[must_use]
    pub fn settings(&self) -> &BetaSettings {
        &self.settings
    }

    /// What carries the tree, where that is so, with the connection that it is carried over.
    pub(super) fn carriage(&mut self) -> Option<(&mut RemoteMirror, Option<&Connected>, &SidecarAddress)> {
        let mirror = self.mirror.as_deref_mut()?;
        Some((mirror, self.connected.as_ref(), &self.settings.address))
    }

    /// The connection, and where it leads.
    pub(super) fn line(&self) -> (Option<&Connected>, &SidecarAddress) {
        (self.connected.as_ref(), &self.settings.address)
    }

    /// What the sidecar's own folder is known by, where the tree lies there already.
    pub(super) fn state(&self) -> Option<&str> {
        self.state.as_deref()
    }

    /// Whether a lost connection is being made anew.
    pub(super) fn is_anew(&self) -> bool {
        self.reconnected
    }

    /// Access to the guest's files, with the session's mount; `None` before `ensure_ready`, and
    /// where the Vfs is the truth.
    pub fn guest_fs(&mut self) -> Option<(&mut dyn GuestFsOps, String)> {
        if self.settings.mode != WorkspaceMode::Guest {
            return None;
        }
        self.guest_files = self.files(&Cancel::new());
        let mount = self.settings.guest.guest_workspace.clone();
        let files = self.guest_files.as_mut()?;
        Some((files, mount))
    }

    /// Carries what the Vfs has changed since the last time; for callers that change it between
    /// tools.
    ///
    /// # Errors
    /// [`VmError::Sync`], and what the sidecar says.
    pub fn push(&mut self, vfs: &Vfs, cx: &mut Context) -> Result<(), VmError> {
        if self.staged.is_some() {
            self.usable(cx.cancel)?;
        }
        let start = Instant::now();
        if let Some(staged) = &mut self.staged {
            staged.push_again(vfs, cx)?;
            self.push_staged(start, cx)?;
        }
        Ok(())
    }

    /// Brings what a tool has changed into the Vfs.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn pull(&mut self, vfs: &mut Vfs, cx: &mut Context) -> Result<(), VmError> {
        if self.staged.is_some() {
            self.pull_staged(cx)?;
        }
        self.staged.as_mut().map_or(Ok(()), |staged| staged.pull(vfs, cx))
    }

    pub(super) fn files(&self, cancel: &Cancel) -> Option<RemoteFiles> {
        let connected = self.connected.as_ref()?;
        Some(RemoteFiles::new(
            Arc::clone(&connected.connection.link),
            connected.begun.id.clone(),
            self.settings.guest.guest_workspace.clone(),
            cancel,
        ))
    }

    /// The connection, made anew once where nothing was running when it broke.
    fn usable(&mut self, cancel: &Cancel) -> Result<&Connected, VmError> {
        let broken = self
            .connected
            .as_ref()
            .and_then(|connected| connected.connection.link.broken());
        if let Some(broken) = broken {
            if self.reconnected || matches!(broken, Broken::Protocol(_)) {
                self.loss = Some(broken.clone());
                return Err(lost(&broken));
            }
            self.reconnected = true;
            // Dropped first: a program that is spoken with is started anew.
            self.connected = None;
            let mut nobody = Silent;
            let mut emitter = crate::event::Emitter::new(&mut nobody);
            let mut cx = Context {
                emitter: &mut emitter,
                cancel,
                lock: None,
            };
            match self.connect(&mut cx) {
                Ok(connected) => self.connected = Some(connected),
                Err(error) if error.is_cancelled() => {
                    self.loss = Some(broken);
                    return Err(error);
                }
                Err(error) => {
                    self.loss = Some(broken.clone());
                    let (Broken::Lost(why) | Broken::Protocol(why)) = broken;
                    return Err(VmError::Lost {
                        message: format!("the sidecar was lost ({why}) and cannot be had again"),
                        source: Some(std::io::Error::other(error)),
                    });
                }
            }
        }
        self.connected.as_ref().ok_or_else(VmError::not_ready)
    }
}

/// Nobody wants to hear it.
struct Silent;

impl crate::event::EventSink for Silent {
    fn emit(&mut self, _: &crate::event::Event) -> std::io::Result<()> {
        Ok(())
    }
}

fn lost(broken: &Broken) -> VmError {
    match broken {
        Broken::Lost(why) => VmError::Lost {
            message: format!("the sidecar was lost: {why}"),
            source: None,
        },
        Broken::Protocol(what) => VmError::Protocol(format!("the sidecar does not speak the protocol: {what}")),
    }
}

impl Session for BetaSession {
    fn ensure_ready(&mut self, vfs: &Vfs, _: &VfsPath, cx: &mut Context) -> Result<Readiness, VmError> {
        self.settings.key_to(vfs);
        let tree = self.settings.tree.clone();
        if self.settings.mode == WorkspaceMode::Sync {
            make_shared(&tree)?;
            if let Some((_, workspace)) = vfs.base() {
                let _ = note_tree(&self.settings.folder, &tree, workspace);
            }
        }
        let connected = self.connect(cx)?;
        let answer = connected.begun.answer.clone();
        self.connected = Some(connected);
        let isolation = if answer.contained.unwrap_or(false) {
            Require::Processes
        } else {
            Require::None
        };
        if isolation < self.settings.guest.require {
            return Err(VmError::Sandbox {
                message: format!(
                    "sandbox.require is `{}`, and of {} it is known that it reaches `{}`{}",
                    self.settings.guest.require.word(),
                    in_words(&self.settings.address),
                    isolation.word(),
                    answer.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default()
                ),
                source: None,
            });
        }
        let mut why: Vec<String> = answer.why.clone().into_iter().collect();
        match self.settings.mode {
            WorkspaceMode::Sync if answer.state.is_some() => {
                let start = Instant::now();
                let staged = StagedTree::on_the_way(&self.settings.staging(), self.settings.rules()?, vfs, cx)?;
                self.mirror = Some(Box::new(self.mirror_of(&staged)?));
                self.staged = Some(Box::new(staged));
                self.push_staged(start, cx)?;
                self.state = answer.state;
                let there = answer.staging_dir.unwrap_or_default();
                why.push(format!(
                    "no folder is shared: the tree is carried to `{there}` and back"
                ));
            }
            WorkspaceMode::Sync => {
                let staged = StagedTree::new(&self.settings.staging(), self.settings.rules()?, vfs, cx)?;
                self.staged = Some(Box::new(staged));
                self.push_staged(Instant::now(), cx)?;
            }
            WorkspaceMode::Guest => self.put_in(vfs, cx)?,
        }
        Ok(Readiness {
            strategy: None,
            isolation,
            why: (!why.is_empty()).then(|| why.join("; ")),
        })
    }

    fn start_tool(
        &mut self,
        _: &mut Vfs,
        command: &ToolCommand,
        messages: SyncSender<Message>,
        cancel: &Cancel,
    ) -> Result<Box<dyn Running>, VmError> {
        let cwd = self.guest_path(&command.cwd)?;
        let connected = self.usable(cancel)?;
        let spills = !connected.connection.link.has(Capability::ExecStream);
        connected.connection.spill(spills.then(|| messages.clone()));
        let tool = exec::start(&connected.connection.link, &connected.begun.id, cwd, command, messages);
        match tool {
            Ok(tool) => Ok(Box::new(tool)),
            Err(broken) => {
                let error = lost(&broken);
                self.loss = Some(broken);
                Err(error)
            }
        }
    }

    fn exists(&mut self, path: &VfsPath, cancel: &Cancel) -> Result<bool, VmError> {
        match (&self.staged, self.settings.mode) {
            (Some(staged), WorkspaceMode::Sync) if self.mirror.is_none() => {
                Ok(path.under(staged.tree()).symlink_metadata().is_ok())
            }
            _ => {
                self.usable(cancel)?;
                self.exists_in_guest(path, cancel)
            }
        }
    }

    fn loss(&self) -> Option<VmError> {
        let broken = self.loss.clone();
        let broken = broken.or_else(|| {
            self.connected
                .as_ref()
                .and_then(|connected| connected.connection.link.broken())
        })?;
        Some(lost(&broken))
    }

    fn checkpoint(&mut self, cx: &mut Context) -> Result<bool, VmError> {
        if self.staged.is_none() {
            return Ok(false);
        }
        self.usable(cx.cancel)?;
        // What earlier tools have done lies with the sidecar, or may be held back there.
        self.pull_staged(cx)?;
        let staged = self.staged.as_mut().ok_or_else(VmError::not_ready)?;
        staged.checkpoint(cx).map(|()| true)
    }

    fn roll_back(&mut self, cx: &mut Context) -> Result<(), VmError> {
        let start = Instant::now();
        if self.staged.is_none() {
            return Ok(());
        }
        // A sidecar of version 1 is hung up on to stop a tool.
        self.usable(cx.cancel)?;
        if self.mirror.is_none() {
            // What is held back there must not come over what is brought back here.
            self.pull_staged(cx)?;
        }
        let staged = self.staged.as_mut().ok_or_else(VmError::not_ready)?;
        staged.roll_back(cx)?;
        self.push_staged(start, cx)
    }

    fn collect(&mut self, vfs: &mut Vfs, cx: &mut Context) -> Result<Collected, VmError> {
        if self.settings.mode == WorkspaceMode::Guest {
            return self.take_out(vfs, cx).map(Collected::from);
        }
        // Where the sidecar was lost, a folder that both share is there all the same, and what it holds is worth keeping.
        let missing = match self.usable(cx.cancel) {
            Ok(_) => None,
            Err(error) if error.is_cancelled() => return Err(error),
            Err(error) => Some(error),
        };
        if missing.is_none() {
            self.pull_staged(cx)?;
        }
        let staged = self.staged.as_mut().ok_or_else(VmError::not_ready)?;
        let baseline = staged.collect(vfs, cx)?;
        Ok(Collected { baseline, missing })
    }

    fn release(&mut self, _: &mut Context) -> Result<(), VmError> {
        self.staged = None;
        self.mirror = None;
        self.state = None;
        self.outputs = None;
        let Some(connected) = self.connected.take() else {
            return Ok(());
        };
        if connected.connection.link.broken().is_some() {
            return Ok(());
        }
        let request = SessionShutdown {
            session_id: connected.begun.id.clone(),
            stop_vm: false,
        };
        let farewell = connected
            .connection
            .link
            .call(Request::SessionShutdown(request), Some(FAREWELL), &|| true);
        connected.connection.link.hang_up();
        drop(connected.connection);
        match farewell {
            Ok(_) => Ok(()),
            Err(error) => Err(failed(&self.settings.address, "session_shutdown", error)),
        }
    }
}
