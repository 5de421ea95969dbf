//! A session: one backend from `ensure_ready` to `shutdown`.

pub mod beta;
mod error;
mod guest_tree;
mod holder;
pub mod host;
pub mod lima;
mod notes;
mod open;
mod owner;
pub mod sidecar;
mod staged_tree;
mod staging;
mod words;

use std::sync::mpsc::SyncSender;

use crate::event::Emitter;
use crate::plan::Require;
use crate::process::{Cancel, Message, Running, ToolCommand};
use crate::vfs::{Vfs, VfsPath};
use crate::workspace::{Baseline, WorkspaceLock};

pub use error::VmError;
pub use holder::SessionHolder;
pub use open::{is_in_this_version, open};
pub use staging::StagingPlace;

/// What a session is handed for each of its steps.
pub struct Context<'a, 'e> {
    /// Where it says what it does.
    pub emitter: &'a mut Emitter<'e>,
    /// The caller's wish to stop, looked at wherever it works long.
    pub cancel: &'a Cancel,
    /// The lock of the workspace; on this host it must not be free before everything that the
    /// tools started has ended, however devshell itself ends.
    pub lock: Option<&'a WorkspaceLock>,
}

/// What `ensure_ready` reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    /// Host backend: `overlay`, `copy` or `in_place`.
    pub strategy: Option<&'static str>,
    /// The level of isolation that holds.
    pub isolation: Require,
    /// Why less than the best was chosen.
    pub why: Option<String>,
}

/// What the tools have left, as far as it could be had.
#[derive(Debug)]
pub struct Collected {
    /// What the commit compares with.
    pub baseline: Baseline,
    /// Why the last of it may be missing: the backend was lost before it could be asked for. Such a result is worth
    /// keeping and never to be committed.
    pub missing: Option<VmError>,
}

impl From<Baseline> for Collected {
    /// All of it.
    fn from(baseline: Baseline) -> Self {
        Self {
            baseline,
            missing: None,
        }
    }
}

/// One backend as the runner uses it. `collect` and `release` together are `shutdown`.
pub trait Session {
    /// Makes the backend ready for tools that work on `vfs`.
    ///
    /// # Errors
    /// [`VmError`] whose class says what is to be done; nothing is left behind.
    fn ensure_ready(&mut self, vfs: &Vfs, vfs_cwd: &VfsPath, cx: &mut Context) -> Result<Readiness, VmError>;

    /// Starts one tool; its output and its end arrive as messages. `cancel` is for the way to its start: a tool that
    /// runs is stopped by its own levers.
    ///
    /// # Errors
    /// [`VmError`] when the backend cannot be reached. A program that cannot be executed is no
    /// error but an end.
    fn start_tool(
        &mut self,
        vfs: &mut Vfs,
        command: &ToolCommand,
        messages: SyncSender<Message>,
        cancel: &Cancel,
    ) -> Result<Box<dyn Running>, VmError>;

    /// Whether a path exists in what the tools see; links are not followed.
    ///
    /// # Errors
    /// [`VmError`] when that could not be found out.
    fn exists(&mut self, path: &VfsPath, cancel: &Cancel) -> Result<bool, VmError>;

    /// Why a tool may have failed here that would not fail elsewhere, in words, from the last
    /// bytes of its stderr.
    fn explain(&self, _stderr: &[u8]) -> Option<String> {
        None
    }

    /// Why the backend was lost, where it knows more than the tool that was lost with it.
    fn loss(&self) -> Option<VmError> {
        None
    }

    /// Notes the present state of the tree, for a tool that may be repeated; nothing runs in it.
    /// Says whether [`Self::roll_back`] can bring that state back.
    ///
    /// # Errors
    /// [`VmError`]; the session is of no more use then.
    fn checkpoint(&mut self, cx: &mut Context) -> Result<bool, VmError>;

    /// Brings back the state of the last checkpoint.
    ///
    /// # Errors
    /// [`VmError`]; the session is of no more use then.
    fn roll_back(&mut self, cx: &mut Context) -> Result<(), VmError>;

    /// Brings what the tools changed into `vfs`. Nothing of the tools runs any more.
    ///
    /// # Errors
    /// [`VmError::Sync`] when it could not be brought back whole.
    fn collect(&mut self, vfs: &mut Vfs, cx: &mut Context) -> Result<Collected, VmError>;

    /// Lets the backend go. Called once after every `ensure_ready`, also after one that failed.
    ///
    /// # Errors
    /// [`VmError`] when something could not be let go; the run's end does not depend on it.
    fn release(&mut self, cx: &mut Context) -> Result<(), VmError>;
}
