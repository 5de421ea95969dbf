//! The planned operations of a commit. Plain values: they can be written down before they are done.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::sys::fs::{Stamp, Time};

use super::Conflict;

/// One operation. Paths are relative to the workspace; numbers name slots in the work folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Step {
    /// Gives the owner of a folder the permission to change it.
    OpenUp { path: PathBuf, mode: u32 },
    /// Moves an entry, a folder with all its content, out of the way.
    Trash { path: PathBuf, slot: u32, expect: Stamp },
    /// Makes a folder.
    MakeDir { path: PathBuf },
    /// Puts a new entry where nothing stands.
    Create { path: PathBuf, slot: u32 },
    /// Puts a new entry in the place of another that is no folder.
    Replace { path: PathBuf, slot: u32, expect: Stamp },
    /// Gives a folder its final mode and mtime.
    Finish {
        path: PathBuf,
        mode: Option<u32>,
        mtime: Option<Time>,
    },
}

impl Step {
    /// The inode of the entry that is moved out of its place.
    pub(super) fn moved_inode(&self) -> Option<u64> {
        match self {
            Self::Trash { expect, .. } | Self::Replace { expect, .. } => Some(expect.ino),
            Self::OpenUp { .. } | Self::MakeDir { .. } | Self::Create { .. } | Self::Finish { .. } => None,
        }
    }
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
