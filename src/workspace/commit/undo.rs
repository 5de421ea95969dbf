//! Undoing a commit by its journal and the look of the places.
//!
//! Nothing but the journal says how far the commit came: each place shows by its inode whether
//! its step was done. So the same code serves the process that failed and the one that finds the
//! work of a dead process, and a death in the middle of an undo is undone by the next.

mod folders;

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::sys::fs::{self, Kind, Stamp};
use crate::vfs::is_absent;
use crate::workspace::SyncError;
use crate::workspace::content::{same_bytes, slot_name};
use crate::workspace::error::At as _;

use super::folder::WorkFolder;
use super::journal::{Beside, Folder, Journal, look};
use super::steps::{Step, aside_slot};
use super::tree::Tree;

/// A path that the host changed after a commit had changed it: it stays as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// Relative to the workspace.
    pub path: PathBuf,
    /// Where the entry is kept that the commit had replaced or deleted, if there was one.
    pub original: Option<PathBuf>,
}

/// What an undo came to.
#[derive(Debug, Default)]
pub(super) struct Undone {
    /// Entries that were put back or taken away again.
    pub(super) entries: u64,
    pub(super) left: Vec<Left>,
    /// What could not be undone: then the journal must stay.
    pub(super) failures: Vec<SyncError>,
}

struct Undo<'a> {
    journal: &'a Journal,
    tree: &'a Tree<'a>,
    work: &'a WorkFolder,
    before: HashMap<&'a Path, &'a Folder>,
    /// The final modes of folders.
    finals: HashMap<&'a Path, u32>,
    /// Folders in which the host changed something: their times are the host's.
    changed: HashSet<PathBuf>,
    undone: Undone,
}

/// The folder that holds a place, and the place's name there.
type Spot<'p> = (Rc<OwnedFd>, &'p OsStr);

/// Undoes those of the first `begun` steps that were done, last first, and brings that to the disk.
pub(super) fn undo(journal: &Journal, begun: usize, tree: &Tree, work: &WorkFolder) -> Undone {
    tree.forget();
    let finals = journal.steps.iter().filter_map(|step| match step {
        Step::Finish {
            path, mode: Some(mode), ..
        } => Some((path.as_path(), *mode)),
        _ => None,
    });
    let mut undo = Undo {
        journal,
        tree,
        work,
        before: journal
            .folders
            .iter()
            .map(|folder| (folder.path.as_path(), folder))
            .collect(),
        finals: finals.collect(),
        changed: HashSet::new(),
        undone: Undone::default(),
    };
    undo.open_up();
    for step in journal.steps[..begun].iter().rev() {
        let outcome = match step {
            Step::OpenUp { .. } | Step::Finish { .. } => continue,
            Step::Trash { path, slot, .. } => undo.untrash(path, *slot),
            Step::MakeDir { path } => undo.unmake_dir(path),
            Step::Create { path, slot } => undo.uncreate(path, *slot),
            Step::Replace { path, slot, expect } => undo.unreplace(path, *slot, expect),
        };
        undo.note(outcome, "restore", step.path());
        if matches!(step, Step::Trash { .. } | Step::MakeDir { .. }) {
            // The folder at hand may be another one now.
            tree.forget();
        }
    }
    undo.restore_folders();
    if undo.undone.failures.is_empty() {
        undo.note(journal.sync(tree), "bring to the disk", Path::new(""));
    }
    undo.undone
}

impl<'a> Undo<'a> {
    fn note(&mut self, outcome: io::Result<()>, action: &'static str, path: &Path) {
        self.undone
            .failures
            .extend(outcome.at(action, self.tree.full(path)).err());
    }

    /// The folder of a place; `None` where it is gone, or another one has its name.
    fn spot<'p>(&self, path: &'p Path) -> io::Result<Option<Spot<'p>>> {
        let (folder, name) = match self.tree.parent(path) {
            Err(error) if is_absent(&error) => return Ok(None),
            other => other?,
        };
        if let Some(before) = self.before.get(path.parent().unwrap_or(Path::new("")))
            && fs::stat_fd(&*folder)?.stamp.ino != before.stamp.ino
        {
            return Ok(None);
        }
        Ok(Some((folder, name)))
    }

    fn untrash(&mut self, path: &Path, slot: u32) -> io::Result<()> {
        let spot = self.spot(path)?;
        self.put_back(path, spot.as_ref(), slot, None).map(|_| ())
    }

    /// Puts an old entry back from its slot, or from beside its place, if it is in one of them;
    /// says whether it was. `content` may stand in the place.
    fn put_back(&mut self, path: &Path, spot: Option<&Spot>, slot: u32, content: Option<u32>) -> io::Result<bool> {
        let beside = self.journal.beside(Beside::Old, slot);
        let name = slot_name(slot);
        let work = self.work;
        let (from, name, is_beside) = match (look(&work.old, &name)?, spot) {
            (Some(_), _) => (&work.old, &name, false),
            (None, Some((folder, _))) if look(&**folder, &beside)?.is_some() => (&**folder, &beside, true),
            _ => return Ok(false),
        };
        if let Some((folder, place)) = spot {
            let mut standing = look(&**folder, place)?;
            let out = fs::stat_at(from, name)?;
            let same_entry = standing.is_some_and(|now| now.ino == out.stamp.ino)
                && fs::stat_at(&**folder, place)?.dev == out.dev
                && out.stamp.kind() != Kind::Dir;
            if same_entry {
                // A second name, made before the place was given to the new content.
                fs::unlink(from, name)?;
                return Ok(true);
            }
            if standing.is_some()
                && let Some(content) = content
                && self.holds_content(folder, place, content)?
            {
                self.take_away(folder, place, content)?;
                standing = None;
            }
            if standing.is_none() {
                fs::rename_new(from, name, &**folder, place)?;
                self.undone.entries += 1;
                return Ok(true);
            }
        }
        let original = if is_beside {
            self.beside_path(path, name)
        } else {
            work.keep_original(from, name, path)?
        };
        self.leave(path, Some(original));
        Ok(true)
    }

    fn unmake_dir(&mut self, path: &Path) -> io::Result<()> {
        let Some((folder, name)) = self.spot(path)? else {
            return Ok(());
        };
        let Some(now) = look(&*folder, name)? else {
            return Ok(());
        };
        // Not made yet, or not there any more.
        if now.kind() != Kind::Dir {
            return Ok(());
        }
        if now.uid != self.journal.uid || !self.may_be_ours(path, 0o700, now.mode()) {
            self.leave(path, None);
            return Ok(());
        }
        match fs::remove_dir(&*folder, name) {
            Ok(()) => self.undone.entries += 1,
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => self.leave(path, None),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn uncreate(&mut self, path: &Path, slot: u32) -> io::Result<()> {
        let Some((folder, name)) = self.spot(path)? else {
            return Ok(());
        };
        // A copy that did not get its place.
        fs::remove_tree(&*folder, &self.journal.beside(Beside::New, slot))?;
        if look(&*folder, name)?.is_none() {
            return Ok(());
        }
        if self.holds_content(&folder, name, slot)? {
            self.take_away(&folder, name, slot)?;
            self.undone.entries += 1;
        } else if look(&self.work.new, &slot_name(slot))?.is_none() {
            self.leave(path, None);
        }
        Ok(())
    }

    fn unreplace(&mut self, path: &Path, slot: u32, expect: &Stamp) -> io::Result<()> {
        let spot = self.spot(path)?;
        if self.unexchange(path, spot.as_ref(), slot)? || self.unexchange_beside(path, spot.as_ref(), slot, expect)? {
            return Ok(());
        }
        if self.put_back(path, spot.as_ref(), aside_slot(slot), Some(slot))? {
            return Ok(());
        }
        // Nothing of the original is here: it is in its place, or went with its folder.
        Ok(())
    }

    /// Exchanges again what was exchanged with the content's slot; says whether it was.
    fn unexchange(&mut self, path: &Path, spot: Option<&Spot>, slot: u32) -> io::Result<bool> {
        let (work, name) = (self.work, slot_name(slot));
        match look(&work.new, &name)? {
            Some(out) if !self.is_content_inode(slot, &out) => {}
            _ => return Ok(false),
        }
        match spot {
            Some((folder, place)) if self.holds_content(folder, place, slot)? => {
                fs::exchange(&work.new, &name, &**folder, place)?;
                self.undone.entries += 1;
            }
            _ => {
                let original = work.keep_original(&work.new, &name, path)?;
                self.leave(path, Some(original));
            }
        }
        Ok(true)
    }

    /// The same for a copy of the content that was made beside the place.
    fn unexchange_beside(&mut self, path: &Path, spot: Option<&Spot>, slot: u32, expect: &Stamp) -> io::Result<bool> {
        let Some((folder, place)) = spot else { return Ok(false) };
        let beside = self.journal.beside(Beside::New, slot);
        let Some(out) = look(&**folder, &beside)? else {
            return Ok(false);
        };
        let came_out = out.ino == expect.ino && out.kind() == expect.kind();
        let standing = look(&**folder, place)?;
        let is_in_place = standing.is_some_and(|now| now.ino == expect.ino && now.kind() == expect.kind());
        let aside = aside_slot(slot);
        let is_aside = look(&self.work.old, &slot_name(aside))?.is_some()
            || look(&**folder, &self.journal.beside(Beside::Old, aside))?.is_some();
        if !came_out && (is_in_place || is_aside || self.is_copy(folder, &beside, slot)?) {
            // The copy, whole or not, that did not get its place, or has lost it again.
            fs::unlink(&**folder, &beside)?;
            return Ok(false);
        }
        if standing.is_some() && self.is_copy(folder, place, slot)? {
            fs::exchange(&**folder, &beside, &**folder, place)?;
            fs::unlink(&**folder, &beside)?;
            self.undone.entries += 1;
        } else {
            let original = self.beside_path(path, &beside);
            self.leave(path, Some(original));
        }
        Ok(true)
    }

    /// Takes a new content out of its place: back to its slot, or away, where it is a copy.
    fn take_away(&self, folder: &OwnedFd, place: &OsStr, slot: u32) -> io::Result<()> {
        if look(&self.work.new, &slot_name(slot))?.is_some() {
            return fs::unlink(folder, place);
        }
        fs::rename_new(folder, place, &self.work.new, &slot_name(slot))
    }

    /// Whether a place holds the content of a slot, and not something that the host made of it.
    fn holds_content(&self, folder: &OwnedFd, place: &OsStr, slot: u32) -> io::Result<bool> {
        let in_slot = look(&self.work.new, &slot_name(slot))?;
        if in_slot.is_some_and(|now| self.is_content_inode(slot, &now)) {
            return self.is_copy(folder, place, slot);
        }
        let Some(now) = look(folder, place)? else {
            return Ok(false);
        };
        let content = &self.journal.contents[&slot];
        // The owner or group may have been adopted from the place, which can clear setuid.
        let dressed = |stamp: &Stamp| (stamp.kind(), stamp.mode() & 0o777, stamp.size, stamp.mtime());
        Ok(now.ino == content.ino && dressed(&now) == dressed(content))
    }

    fn is_content_inode(&self, slot: u32, now: &Stamp) -> bool {
        let content = &self.journal.contents[&slot];
        now.ino == content.ino && now.kind() == content.kind()
    }

    /// Whether an entry is a copy of the content that lies in the slot. Its inode is not known:
    /// its stamp must do, and its bytes where the file system there keeps time less exactly.
    fn is_copy(&self, folder: &OwnedFd, name: &OsStr, slot: u32) -> io::Result<bool> {
        let content = &self.journal.contents[&slot];
        let slot = slot_name(slot);
        let now = match look(folder, name)? {
            Some(now) if (now.kind(), now.size) == (content.kind(), content.size) => now,
            _ => return Ok(false),
        };
        let (time, wanted) = (now.mtime(), content.mtime());
        let is_near = time.nanos() % 1000 == 0 && (time.secs() - wanted.secs()).abs() <= 2;
        let may_be_rounded = || Ok::<_, io::Error>(fs::mount_of(folder)? != fs::mount_of(&self.work.new)?);
        if time != wanted && !(is_near && may_be_rounded()?) {
            return Ok(false);
        }
        match now.kind() {
            Kind::Symlink => Ok(fs::read_link_at(folder, name)? == fs::read_link_at(&self.work.new, &slot)?),
            Kind::File if time != wanted => {
                let there = fs::open_file_forced(folder, name)?;
                same_bytes(&there, &fs::open_file_forced(&self.work.new, &slot)?, &|| false)
            }
            _ => Ok(true),
        }
    }

    fn leave(&mut self, path: &Path, original: Option<PathBuf>) {
        self.changed.insert(path.parent().unwrap_or(Path::new("")).to_owned());
        self.undone.left.push(Left {
            path: path.to_owned(),
            original,
        });
    }

    fn beside_path(&self, path: &Path, name: &OsStr) -> PathBuf {
        self.tree.full(path.parent().unwrap_or(Path::new(""))).join(name)
    }
}
