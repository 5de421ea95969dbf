//! What can go wrong in a session.

use crate::exit::End;
use crate::workspace::SyncError;

/// Why a backend could not do its part. Each variant has one class of exit code.
#[derive(Debug, thiserror::Error)]
pub enum VmError {
    /// The required isolation is not available.
    #[error("{message}")]
    Sandbox {
        /// What was asked for, what was met and the remedy.
        message: String,
        /// What the system said.
        #[source]
        source: Option<std::io::Error>,
    },
    /// An overlay was asked for by name, and there can be none.
    #[error("vm.host.strategy is `overlay`, and there can be none: {why}. `auto` takes a copy then")]
    NoOverlay {
        /// The reason with its remedy.
        why: String,
    },
    /// Carrying the tree there or back failed.
    #[error("the tree could not be carried")]
    Sync(#[from] SyncError),
    /// The backend does not exist in this version.
    #[error("{0}")]
    BackendNotImplemented(String),
    /// Lima said no, or limactl is missing.
    #[error("{0}")]
    Lima(String),
    /// The sidecar could not be reached or was lost.
    #[error("{message}")]
    Ipc {
        /// What was tried and the remedy.
        message: String,
        /// What the system said.
        #[source]
        source: Option<std::io::Error>,
    },
    /// The sidecar speaks something else.
    #[error("{0}")]
    Protocol(String),
    /// The backend was lost during the run.
    #[error("{message}")]
    Lost {
        /// How.
        message: String,
        /// What the system said.
        #[source]
        source: Option<std::io::Error>,
    },
    /// Asked for something that contradicts itself, such as `guest` where there is no guest.
    #[error("{0}")]
    Config(String),
    /// The caller wished to stop.
    #[error("interrupted")]
    Interrupted,
}

impl VmError {
    /// A step that comes before `ensure_ready`, or after `release`.
    pub(super) fn not_ready() -> Self {
        Self::Lost {
            message: "the session is not ready".to_owned(),
            source: None,
        }
    }

    /// Whether the work was given up because somebody wished so or a deadline passed.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Interrupted | Self::Sync(SyncError::Cancelled))
    }

    /// The end of a run that this error decides; `Interrupted` needs the signal that did it.
    #[must_use]
    pub fn end(&self, signal: Option<i32>) -> End {
        match self {
            Self::Sandbox { .. } | Self::NoOverlay { .. } => End::Isolation,
            Self::Sync(SyncError::Cancelled) | Self::Interrupted => signal.map_or(End::Timeout, End::Interrupted),
            Self::Sync(_) => End::Sync,
            Self::BackendNotImplemented(_) | Self::Lima(_) | Self::Ipc { .. } => End::Backend,
            Self::Protocol(_) => End::Protocol,
            Self::Lost { .. } => End::Lost,
            Self::Config(_) => End::ConfigInvalid,
        }
    }
}
