//! One change in a Vfs.

use std::any::Any;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::sys::fs;

use super::Time;

/// Keeps the place that a [`Content::File`] lies in alive.
pub type Lease = Arc<dyn Any + Send + Sync>;

/// What a path holds that was changed.
#[derive(Debug, Clone)]
pub enum Node {
    /// A regular file, with all its content.
    File(FileNode),
    /// A folder.
    Dir {
        /// Permission bits.
        mode: u32,
        /// Time of the last change, where it is to be kept.
        mtime: Option<Time>,
        /// Whether what the base holds below this path is gone. Otherwise this is the base's own
        /// folder with other permission bits.
        replaces: bool,
    },
    /// A symbolic link.
    Symlink {
        /// What it points to, as written.
        target: PathBuf,
        /// Time of the last change; `None` is the moment in which it is carried.
        mtime: Option<Time>,
    },
    /// Nothing; hides what the base has here and below.
    Deleted,
}

/// A regular file.
#[derive(Debug, Clone)]
pub struct FileNode {
    /// Its bytes.
    pub content: Content,
    /// Permission bits, setuid, setgid and sticky included.
    pub mode: u32,
    /// Time of the last change; `None` is the moment in which it is carried.
    pub mtime: Option<Time>,
    /// User and group, where a tool run by root has set them.
    pub owner: Option<(u32, u32)>,
}

/// The bytes of a file, by reference.
#[derive(Clone)]
pub enum Content {
    /// In memory.
    Bytes(Arc<[u8]>),
    /// In a file of devshell's own.
    File {
        /// An absolute path without symbolic links.
        path: PathBuf,
        /// Size in bytes.
        len: u64,
        /// Keeps the file's place alive.
        lease: Option<Lease>,
    },
}

impl Content {
    /// Size in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File { len, .. } => *len,
        }
    }

    /// Whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Opens the file that a [`Content::File`] names; no link is followed.
pub(crate) fn open_content(path: &Path) -> io::Result<OwnedFd> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    fs::open_file_forced(&fs::open_absolute(parent)?, name)
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "Bytes({})", bytes.len()),
            Self::File { path, len, .. } => f.debug_struct("File").field("path", path).field("len", len).finish(),
        }
    }
}
