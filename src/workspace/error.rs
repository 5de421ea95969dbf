//! What can go wrong while a tree is carried.

use std::path::PathBuf;

/// Why a tree could not be carried there or back.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// A file operation failed.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// The verb, as in "cannot read".
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The caller wished to stop.
    #[error("interrupted")]
    Cancelled,
}
