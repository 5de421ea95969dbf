//! Carrying trees: which files belong, push and pull, write-back.
//!
//! Each way is three steps with values between them: a walk gives a table of paths, a pure
//! comparison gives what is to be done, and only then something is done.

mod beginning;
#[cfg(test)]
mod cache_cases;
mod caches;
mod collect;
mod commit;
mod content;
mod diff;
mod error;
#[cfg(test)]
mod guards;
#[cfg(test)]
mod hard_cases;
#[cfg(test)]
mod host_changes;
mod index;
#[cfg(test)]
mod killed_commits;
mod layers;
mod lock;
mod overlay;
mod progress;
mod pull;
mod push;
#[cfg(test)]
mod random_trees;
#[cfg(test)]
mod random_views;
pub mod results;
#[cfg(test)]
mod roundtrip;
mod rules;
mod stage;
mod stored;
mod table;
#[cfg(test)]
mod view_bench;
#[cfg(test)]
mod view_cases;
mod walk;

use std::collections::BTreeMap;

use crate::sys::fs::{Kind, Stamp, Stat, Time};
use crate::vfs::VfsPath;

pub use beginning::Beginning;
pub use caches::{KeptCaches, keep_caches};
pub use collect::collect;
pub use commit::{
    CommitError, CommitReport, Conflict, ConflictReason, Left, RecoverError, Recovered, commit, commit_targets,
    drop_originals, kept_originals, needs_recovery, recover, unfinished_commits,
};
pub(crate) use content::dress_file;
pub(crate) use diff::{FolderStack, FolderTask, Wanted};
pub use error::SyncError;
pub(crate) use error::{At, stop_if};
pub use index::Index;
pub(crate) use index::store_table;
pub use layers::Layers;
pub use lock::{Holder, LockError, WorkspaceLock, holder};
pub(crate) use progress::Pace;
pub use progress::{Progress, ProgressFn};
pub use pull::{PullReport, Pulled, pull, pull_telling};
pub(crate) use push::settle;
pub use push::{PushReport, Pushed, push, push_due, push_telling};
pub(crate) use push::{StagingDir, carry};
pub use rules::{COMMIT_DIR, Class, Rules, RulesError};
pub(crate) use stage::OwnTree;
pub(crate) use stored::StoredCursor;
pub(crate) use table::{CheckedTable, PathTable, compare, earlier};
pub(crate) use walk::{Walk, threads};

/// The caller's wish to stop; asked at each entry.
pub type CancelFn<'a> = &'a (dyn Fn() -> bool + Sync);

/// What the workspace looked like when the view was made; the commit's conflict check needs it.
#[derive(Debug)]
#[non_exhaustive]
pub enum Baseline {
    /// The tools worked on a copy or behind an overlay: what stood at each path that is to be written or deleted.
    Index(IndexBaseline),
    /// The tools worked on the real tree: there is nothing to commit.
    RealTree,
}

/// The part of an index that a commit needs.
#[derive(Debug, Clone, Default)]
pub struct IndexBaseline {
    /// The workspace's entry at each changed path when the run began; `None`: there was none. [`Stamp::none`], which
    /// no entry has: the host has changed or removed it before the result was collected.
    pub(crate) known: BTreeMap<VfsPath, Option<Stamp>>,
    /// Folders whose content a tool changed, with the mtime that they have in the view.
    pub(crate) folder_times: BTreeMap<VfsPath, Time>,
    /// The inodes of the folders on the way to the changed paths: another folder in the place of
    /// one of them is a change of the workspace as well. [`IndexBaseline::ANOTHER_FOLDER`]: it was another one, or
    /// none, before the result was collected.
    pub(crate) folders: BTreeMap<VfsPath, u64>,
    /// The workspace's folder itself.
    pub(crate) root: Option<RootId>,
}

/// Which folder the workspace was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RootId {
    /// `None` where the number may have changed since: some file systems get another one at each
    /// mount.
    pub(crate) dev: Option<u64>,
    pub(crate) ino: u64,
}

impl RootId {
    pub(crate) fn of(stat: &Stat) -> Self {
        Self {
            dev: Some(stat.dev),
            ino: stat.stamp.ino,
        }
    }

    fn is(&self, stat: &Stat) -> bool {
        self.ino == stat.stamp.ino && self.dev.is_none_or(|dev| dev == stat.dev)
    }
}

impl IndexBaseline {
    /// The inode number that no folder has.
    pub(crate) const ANOTHER_FOLDER: u64 = 0;

    /// The workspace's entry at a changed path when the run began.
    pub(crate) fn before(&self, path: &VfsPath) -> Option<Stamp> {
        self.known.get(path).copied().flatten()
    }

    /// The inode of the folder at a path when the run began, where that is known.
    fn folder_before(&self, path: &VfsPath) -> Option<u64> {
        match self.known.get(path) {
            Some(known) => known.filter(|stamp| stamp.kind() == Kind::Dir).map(|stamp| stamp.ino),
            None => self.folders.get(path).copied(),
        }
    }
}

impl Baseline {
    /// For a session that pulls more than once: what an earlier pull found stays what the commit
    /// compares with, also where the workspace has changed before a later push.
    #[must_use]
    pub fn with_earlier(self, earlier: Self) -> Self {
        match (self, earlier) {
            (Self::Index(mut later), Self::Index(earlier)) => {
                later.known.extend(earlier.known);
                later.folders.extend(earlier.folders);
                later.root = earlier.root.or(later.root);
                let newer = std::mem::replace(&mut later.folder_times, earlier.folder_times);
                later.folder_times.extend(newer);
                Self::Index(later)
            }
            (later, _) => later,
        }
    }
}
