//! What can go wrong while a tree is carried.

use std::io;
use std::path::{Path, PathBuf};

use crate::sys::fs;
use crate::vfs::VfsError;

/// Why a tree could not be carried there or back.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// A file operation failed.
    #[error("cannot {action} `{}`{}", path.display(), remedy(source))]
    Io {
        /// The verb, as in "cannot read".
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// An entry of the workspace that may not be read.
    #[error(
        "cannot read `{}`: add it to `[workspace] ignore` or mend its permissions", path.display()
    )]
    Unreadable {
        /// Where.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The staging lies in the workspace, or the workspace in the staging.
    #[error(
        "the staging `{}` and the workspace `{}` lie within each other: set `DEVSHELL_EXPORT_BASE` or `vm.workspace_parent` to a folder outside the workspace",
        staging.display(), workspace.display()
    )]
    Overlap {
        /// The staging.
        staging: PathBuf,
        /// The workspace.
        workspace: PathBuf,
    },
    /// The other end of the wire that a tree is carried over could not do its part.
    #[error("at the other side: {message}")]
    Afar {
        /// In its words.
        message: String,
    },
    /// The tree in memory could not be read or changed.
    #[error(transparent)]
    Vfs(#[from] VfsError),
    /// The caller wished to stop.
    #[error("interrupted")]
    Cancelled,
}

/// A hint for the failures that the user can mend at once.
pub(super) fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull => " (the disk is full: free some space there and run again)",
        io::ErrorKind::QuotaExceeded => " (the quota is used up: free some space there and run again)",
        io::ErrorKind::ReadOnlyFilesystem => " (the file system is mounted read-only)",
        _ => "",
    }
}

/// Says what was done to which path when a call failed.
pub(crate) trait At<T> {
    fn at(self, action: &'static str, path: impl AsRef<Path>) -> Result<T, SyncError>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, action: &'static str, path: impl AsRef<Path>) -> Result<T, SyncError> {
        self.map_err(|source| {
            if fs::is_cancelled(&source) {
                return SyncError::Cancelled;
            }
            SyncError::Io {
                action,
                path: path.as_ref().to_owned(),
                source,
            }
        })
    }
}

/// Ends the work when the caller wishes it.
pub(crate) fn stop_if(cancel: super::CancelFn) -> Result<(), SyncError> {
    if cancel() { Err(SyncError::Cancelled) } else { Ok(()) }
}
