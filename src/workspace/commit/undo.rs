//! What was done, and undoing it.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use crate::sys::fs;
use crate::workspace::SyncError;
use crate::workspace::content::if_allowed;
use crate::workspace::error::At as _;

use super::apply::Applier;

/// Where the other side of a done step lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Slot {
    /// In the work folder.
    Work(OsString),
    /// A name in the same folder as the entry, where that is on another file system or mount.
    Beside(OsString),
}

/// A step that was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Done {
    /// A folder's mode was changed.
    Mode { path: PathBuf, before: u32 },
    /// An entry was moved to a slot among the old ones.
    Trashed { path: PathBuf, slot: Slot },
    /// A folder was made.
    Made { path: PathBuf },
    /// A new entry came from a slot among the new ones.
    Created { path: PathBuf, slot: Slot },
    /// An entry was exchanged with a slot among the new ones, which now holds the old one.
    Exchanged { path: PathBuf, slot: Slot },
}

impl Applier<'_> {
    /// Undoes everything that was done, last first. Returns what could not be undone.
    pub(super) fn undo(&mut self) -> Vec<SyncError> {
        let mut failures = Vec::new();
        let done = std::mem::take(&mut self.done);
        for step in done.iter().rev() {
            self.tree.forget();
            let (path, undone) = match step {
                // It may forbid what is undone after it.
                Done::Mode { path, before } => (path, self.change_mode(path, before | 0o700)),
                Done::Trashed { path, slot } => (path, self.untrash(path, slot)),
                Done::Made { path } => (
                    path,
                    self.tree
                        .parent(path)
                        .and_then(|(dir, name)| fs::remove_dir(&*dir, name)),
                ),
                Done::Created { path, slot } => (path, self.uncreate(path, slot)),
                Done::Exchanged { path, slot } => (path, self.unexchange(path, slot)),
            };
            failures.extend(undone.at("restore", self.tree.full(path)).err());
        }
        self.tree.forget();
        // The mtimes when no entry is moved any more, the modes last: they may forbid the rest.
        for (path, time) in &self.times {
            let restored = self
                .tree
                .parent(path)
                .and_then(|(dir, name)| if_allowed(fs::set_mtime_at(&*dir, name, *time)));
            failures.extend(restored.at("restore the time of", self.tree.full(path)).err());
        }
        for step in done.iter().rev() {
            if let Done::Mode { path, before } = step
                && !self.made.contains(path)
            {
                let restored = self.change_mode(path, *before);
                failures.extend(restored.at("restore the permissions of", self.tree.full(path)).err());
            }
        }
        failures
    }

    fn change_mode(&self, path: &Path, mode: u32) -> io::Result<()> {
        let (dir, name) = self.tree.parent(path)?;
        fs::set_mode_at(&*dir, name, mode)
    }

    fn untrash(&self, path: &Path, slot: &Slot) -> io::Result<()> {
        let (dir, name) = self.tree.parent(path)?;
        match slot {
            Slot::Work(old) => fs::rename_new(&self.work.old, old, &*dir, name),
            Slot::Beside(old) => fs::rename_new(&*dir, old, &*dir, name),
        }
    }

    fn uncreate(&self, path: &Path, slot: &Slot) -> io::Result<()> {
        let (dir, name) = self.tree.parent(path)?;
        match slot {
            Slot::Work(new) => fs::rename_new(&*dir, name, &self.work.new, new),
            // The content itself is still in the work folder.
            Slot::Beside(_) => fs::unlink(&*dir, name),
        }
    }

    fn unexchange(&self, path: &Path, slot: &Slot) -> io::Result<()> {
        let (dir, name) = self.tree.parent(path)?;
        match slot {
            Slot::Work(new) => fs::exchange(&self.work.new, new, &*dir, name),
            Slot::Beside(old) => {
                fs::exchange(&*dir, old, &*dir, name)?;
                fs::unlink(&*dir, old)
            }
        }
    }

    /// After success: removes the undo copies that do not lie in the work folder.
    pub(super) fn discard_undo_copies(&self) {
        for step in &self.done {
            if let Done::Trashed {
                path,
                slot: Slot::Beside(old),
            }
            | Done::Exchanged {
                path,
                slot: Slot::Beside(old),
            } = step
                && let Ok((dir, _)) = self.tree.parent(path)
                && let Ok(before) = fs::stat_fd(&*dir)
            {
                let _ = fs::remove_tree(&*dir, old);
                let _ = fs::set_mtime_fd(&*dir, before.stamp.mtime());
            }
        }
    }
}
