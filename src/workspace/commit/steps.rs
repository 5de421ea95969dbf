//! The planned operations of a commit. Plain values: they are written down before they are done.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::sys::fs::{Stamp, Time};

use super::Conflict;

/// One operation. Paths are relative to the workspace; numbers name slots in the work folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Step {
    /// Gives the owner of a folder the permission to change it.
    OpenUp {
        #[serde(with = "path_bytes")]
        path: PathBuf,
        mode: u32,
    },
    /// Moves an entry, a folder with all its content, out of the way.
    Trash {
        #[serde(with = "path_bytes")]
        path: PathBuf,
        slot: u32,
        expect: Stamp,
    },
    /// Makes a folder.
    MakeDir {
        #[serde(with = "path_bytes")]
        path: PathBuf,
    },
    /// Puts a new entry where nothing stands.
    Create {
        #[serde(with = "path_bytes")]
        path: PathBuf,
        slot: u32,
    },
    /// Puts a new entry in the place of another that is no folder.
    Replace {
        #[serde(with = "path_bytes")]
        path: PathBuf,
        slot: u32,
        expect: Stamp,
    },
    /// Gives a folder its final mode and mtime.
    Finish {
        #[serde(with = "path_bytes")]
        path: PathBuf,
        mode: Option<u32>,
        mtime: Option<Time>,
    },
}

impl Step {
    /// Where it is done.
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::OpenUp { path, .. }
            | Self::Trash { path, .. }
            | Self::MakeDir { path }
            | Self::Create { path, .. }
            | Self::Replace { path, .. }
            | Self::Finish { path, .. } => path,
        }
    }

    /// Whether it makes, moves or removes an entry, and does not only dress a folder.
    pub(super) fn is_entry(&self) -> bool {
        !matches!(self, Self::OpenUp { .. } | Self::Finish { .. })
    }

    /// The inode of the entry that is moved out of its place.
    pub(super) fn moved_inode(&self) -> Option<u64> {
        match self {
            Self::Trash { expect, .. } | Self::Replace { expect, .. } => Some(expect.ino),
            Self::OpenUp { .. } | Self::MakeDir { .. } | Self::Create { .. } | Self::Finish { .. } => None,
        }
    }
}

/// The slot among the old entries for one that a [`Step::Replace`] cannot exchange. Slots of
/// deleted entries count up from 0.
pub(super) fn aside_slot(slot: u32) -> u32 {
    u32::MAX - slot
}

/// What a commit is going to do.
#[derive(Debug, Default)]
pub(super) struct Planned {
    /// In the order in which they are done.
    pub(super) steps: Vec<Step>,
    /// The slots that need a content, with the paths in the Vfs's workspace that have it.
    pub(super) contents: Vec<(u32, PathBuf)>,
    pub(super) conflicts: Vec<Conflict>,
    pub(super) written: u64,
    pub(super) deleted: u64,
}

impl Planned {
    pub(super) fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}

/// Paths as their bytes: names need not be UTF-8.
pub(super) mod path_bytes {
    use std::ffi::OsString;
    use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
    use std::path::{Path, PathBuf};

    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    pub(in super::super) fn serialize<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
        path.as_os_str().as_bytes().serialize(to)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
        Ok(OsString::from_vec(Vec::deserialize(from)?).into())
    }
}
