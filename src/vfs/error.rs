//! What can go wrong in a Vfs.

use std::io;
use std::path::PathBuf;

use super::{PathError, VfsPath};

/// Why something could not be read from or changed in a [`Vfs`](super::Vfs).
#[derive(Debug, thiserror::Error)]
pub enum VfsError {
    /// The path itself is wrong.
    #[error(transparent)]
    Path(#[from] PathError),
    /// Nothing there.
    #[error("`{0}` does not exist")]
    NotFound(VfsPath),
    /// Something on the way, or the entry itself, is not a folder.
    #[error("`{0}` is not a folder")]
    NotADirectory(VfsPath),
    /// A folder where a file was expected; its content is kept.
    #[error("`{0}` is a folder")]
    IsADirectory(VfsPath),
    /// A symbolic link where something else was expected; links are not followed.
    #[error("`{0}` is a symbolic link, and links are not followed")]
    IsASymlink(VfsPath),
    /// Not a symbolic link.
    #[error("`{0}` is not a symbolic link")]
    NotASymlink(VfsPath),
    /// A FIFO, a socket or a device.
    #[error("`{0}` is neither a file nor a folder nor a symbolic link")]
    Special(VfsPath),
    /// A path outside the workspace.
    #[error("`{path}` lies outside the workspace `{workspace}`")]
    Outside {
        /// What was asked for.
        path: VfsPath,
        /// Where the workspace is mounted.
        workspace: VfsPath,
    },
    /// The folder cannot be a workspace.
    #[error("`{}` cannot be a workspace: {why}", path.display())]
    Unfit {
        /// The folder on the host.
        path: PathBuf,
        /// In words, with the remedy.
        why: &'static str,
    },
    /// The host's file system said no.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// The verb, as in "cannot read".
        action: &'static str,
        /// Where on the host.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}
