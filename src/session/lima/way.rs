//! How a session reaches what it does in the guest: through the agent, or through the resident
//! shell and a `limactl shell` for each tool.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use crate::guest_fs::GuestFsOps;
use crate::plan::Require;
use crate::process::{Cancel, Message, Running, ToolCommand};
use crate::session::VmError;
use crate::session::guest_tree::GuestTree;
use crate::workspace::SyncError;

use super::connect::quoted;
use super::files::GuestFiles;
use super::guest::Guest;
use super::resident::Agent;

/// How long the guest may take to write out what it holds back.
const FLUSH: Duration = Duration::from_secs(300);

/// One of both ways.
pub(super) enum Way {
    Shell(Arc<Guest>),
    Agent(Box<Agent>),
}

/// A guest's files, for the library's callers and for guest mode.
pub(super) trait Files: GuestTree + GuestFsOps {}

impl<T: GuestTree + GuestFsOps> Files for T {}

impl Way {
    /// Names what has to end when the connection does; the agent needs no telling.
    pub(super) fn mark(&self, mark: &str) -> Result<(), VmError> {
        match self {
            Self::Shell(guest) => guest.mark(mark),
            Self::Agent(_) => Ok(()),
        }
    }

    /// What holds for what a tool starts, and why it is not more.
    pub(super) fn isolation(&self) -> (Require, Option<&str>) {
        match self {
            Self::Shell(_) => (Require::None, None),
            Self::Agent(agent) => match agent.contained() {
                (true, why) => (Require::Processes, why),
                (false, why) => (Require::None, why),
            },
        }
    }

    /// The guest's files below a mount, which is the session's.
    pub(super) fn files(&self, mount: &str, cancel: &Cancel) -> Box<dyn Files> {
        match self {
            Self::Shell(guest) => Box::new(GuestFiles::new(Arc::clone(guest), mount.to_owned(), cancel)),
            Self::Agent(agent) => Box::new(agent.files(cancel)),
        }
    }

    /// Starts a tool in a folder of the guest.
    pub(super) fn start(
        &self,
        mark: &str,
        folder: &str,
        command: &ToolCommand,
        messages: SyncSender<Message>,
    ) -> Result<Box<dyn Running>, VmError> {
        match self {
            Self::Shell(guest) => super::tool::start(guest, mark, folder, command, messages),
            Self::Agent(agent) => agent.start(folder, command, messages),
        }
    }

    /// Has the guest write out what it holds back, so that this side sees it.
    pub(super) fn flush(&self, mount: &str, cancel: &Cancel) -> Result<(), VmError> {
        let guest = match self {
            Self::Shell(guest) => guest,
            Self::Agent(agent) => return agent.flush(cancel),
        };
        let script = format!("sync -f {} 2>/dev/null || sync", quoted(mount));
        let answer = guest.run(&script, None, &mut std::io::sink(), FLUSH, cancel)?;
        if answer.code == Some(0) {
            return Ok(());
        }
        Err(VmError::Sync(SyncError::Io {
            action: "have the guest write out",
            path: Path::new(mount).to_owned(),
            source: std::io::Error::other(answer.stderr),
        }))
    }

    /// Why the guest cannot be reached any more, once that was noticed.
    pub(super) fn broken(&self) -> Option<String> {
        match self {
            Self::Shell(guest) => guest.broken(),
            Self::Agent(agent) => agent.broken(),
        }
    }

    /// Lets the guest go: what still runs for the session ends there.
    pub(super) fn hang_up(self) {
        match self {
            Self::Shell(guest) => guest.hang_up(),
            Self::Agent(agent) => agent.hang_up(),
        }
    }
}
