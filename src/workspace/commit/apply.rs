//! Carrying out the steps. The journal has them all before the first one is done.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::sys::fs::{self, CopyMemory, Kind, Stamp, Time};
use crate::vfs::{VfsPath, is_absent};
use crate::workspace::content::{dress_file, if_allowed, slot_name};
use crate::workspace::error::{At as _, stop_if};
use crate::workspace::overlay::vfs_path;
use crate::workspace::{CancelFn, IndexBaseline};

use super::fault;
use super::folder::WorkFolder;
use super::journal::{Beside, Journal};
use super::steps::{Step, aside_slot};
use super::tree::Tree;
use super::{Conflict, ConflictReason, Failure};

/// Carries out the steps of one commit.
pub(super) struct Applier<'a> {
    tree: &'a Tree<'a>,
    work: &'a WorkFolder,
    journal: &'a Journal,
    baseline: &'a IndexBaseline,
    workspace: VfsPath,
    cancel: CancelFn<'a>,
    /// How many steps were begun; a folder counts when it is made.
    pub(super) begun: usize,
    /// Whether something was put beside its place.
    pub(super) has_beside: bool,
    made: BTreeSet<PathBuf>,
    /// Some file systems cannot exchange.
    no_exchange: bool,
}

/// Where an old entry was moved.
enum Slot {
    /// Into the work folder.
    Work(OsString),
    /// Into the same folder, where that is on another file system or mount.
    Beside(OsString),
}

impl<'a> Applier<'a> {
    pub(super) fn new(
        tree: &'a Tree<'a>,
        work: &'a WorkFolder,
        journal: &'a Journal,
        baseline: &'a IndexBaseline,
        workspace: VfsPath,
        cancel: CancelFn<'a>,
    ) -> Self {
        Self {
            tree,
            work,
            journal,
            baseline,
            workspace,
            cancel,
            begun: 0,
            has_beside: false,
            made: BTreeSet::new(),
            no_exchange: fault::no_exchange(),
        }
    }

    /// Carries out the steps, and brings them to the disk. Until it returns, a wish to stop is heard.
    pub(super) fn run(&mut self) -> Result<(), Failure> {
        let journal = self.journal;
        for (number, step) in journal.steps.iter().enumerate() {
            stop_if(self.cancel)?;
            fault::at_step(number).at("go on in", self.tree.path)?;
            self.begun = number + usize::from(!matches!(step, Step::MakeDir { .. }));
            match step {
                Step::OpenUp { path, mode } => self.set_mode(path, mode | 0o700)?,
                Step::Trash { path, slot, expect } => self.trash(path, *slot, expect)?,
                Step::MakeDir { path } => self.make_dir(path)?,
                Step::Create { path, slot } => self.create(path, *slot)?,
                Step::Replace { path, slot, expect } => self.replace(path, *slot, expect)?,
                Step::Finish { path, mode, mtime } => self.finish(path, *mode, *mtime)?,
            }
            self.begun = number + 1;
        }
        stop_if(self.cancel)?;
        journal.sync(self.tree).at("bring to the disk", self.tree.path)?;
        stop_if(self.cancel)?;
        Ok(())
    }

    /// The folder that holds `path`.
    fn enter<'p>(&self, path: &'p Path) -> Result<(Rc<OwnedFd>, &'p OsStr), Failure> {
        match self.tree.parent(path) {
            Ok(found) => Ok(found),
            Err(error) if is_absent(&error) => Err(conflict(
                path.parent().unwrap_or(Path::new("")),
                ConflictReason::NoFolder,
            )),
            Err(error) => Err(error)
                .at("open the folder of", self.tree.full(path))
                .map_err(Failure::Sync),
        }
    }

    fn set_mode(&self, path: &Path, mode: u32) -> Result<(), Failure> {
        let set = || {
            let (parent, name) = self.tree.parent(path)?;
            fs::set_mode_at(&*parent, name, mode)
        };
        Ok(set().at("change the permissions of", self.tree.full(path))?)
    }

    fn trash(&mut self, path: &Path, slot: u32, expect: &Stamp) -> Result<(), Failure> {
        let (parent, name) = self.enter(path)?;
        let now = self.stat(&parent, name, path)?;
        if !is_same(&now, expect) {
            return Err(conflict(path, ConflictReason::Changed));
        }
        let mut to = Slot::Work(slot_name(slot));
        let moved = match fs::rename_new(&*parent, name, &self.work.old, &slot_name(slot)) {
            Err(error) if fs::is_cross_device(&error) => {
                let beside = self.beside(Beside::Old, slot);
                to = Slot::Beside(beside.clone());
                fs::rename_new(&*parent, name, &*parent, &beside)
            }
            other => other,
        };
        moved.at("delete", self.tree.full(path))?;
        self.tree.forget();
        // What came out must be what was checked: the host may have been quicker.
        let same = match &to {
            Slot::Work(name) => self.is_known(&self.work.old, name, path, expect),
            Slot::Beside(name) => self.is_known(&parent, name, path, expect),
        };
        if same.at("look at", self.tree.full(path))? {
            Ok(())
        } else {
            Err(conflict(path, ConflictReason::Changed))
        }
    }

    /// Whether a moved entry, with everything below it, is what the run began with.
    fn is_known(&self, dir: &OwnedFd, name: &OsStr, path: &Path, expect: &Stamp) -> io::Result<bool> {
        let now = fs::stat_at(dir, name)?.stamp;
        if !is_same(&now, expect) {
            return Ok(false);
        }
        if now.kind() != Kind::Dir {
            return Ok(true);
        }
        let folder = fs::open_child_dir(dir, name)?;
        for child in fs::names(&folder)? {
            let below = path.join(&child);
            let known = vfs_path(&self.workspace, &below)
                .ok()
                .and_then(|path| self.baseline.before(&path));
            match known {
                Some(known) if self.is_known(&folder, &child, &below, &known)? => {}
                _ => return Ok(false),
            }
        }
        Ok(true)
    }

    fn make_dir(&mut self, path: &Path) -> Result<(), Failure> {
        let (parent, name) = self.enter(path)?;
        match fs::make_dir(&*parent, name, 0o700) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(conflict(path, ConflictReason::Appeared));
            }
            other => other.at("make the folder", self.tree.full(path))?,
        }
        self.made.insert(path.to_owned());
        Ok(())
    }

    fn create(&mut self, path: &Path, slot: u32) -> Result<(), Failure> {
        let (parent, name) = self.enter(path)?;
        let folder = fs::stat_fd(&*parent).at("look at", self.tree.full(path))?.stamp;
        // In a setgid folder the kernel gives what is made there the folder's group; a rename does not.
        if folder.mode() & 0o2000 != 0 {
            self.adopt_group(slot, folder.gid);
        }
        let created = match fs::rename_new(&self.work.new, &slot_name(slot), &*parent, name) {
            Err(error) if fs::is_cross_device(&error) => {
                let beside = self.beside(Beside::New, slot);
                self.copy_beside(slot, &parent, &beside)
                    .and_then(|()| fs::rename_new(&*parent, &beside, &*parent, name))
                    .inspect_err(|_| drop(fs::remove_tree(&*parent, &beside)))
            }
            other => other,
        };
        match created {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(conflict(path, ConflictReason::Appeared)),
            other => Ok(other.at("write", self.tree.full(path))?),
        }
    }

    fn replace(&mut self, path: &Path, slot: u32, expect: &Stamp) -> Result<(), Failure> {
        let (parent, name) = self.enter(path)?;
        if !is_same(&self.stat(&parent, name, path)?, expect) {
            return Err(conflict(path, ConflictReason::Changed));
        }
        self.adopt_group(slot, expect.gid);
        let content = slot_name(slot);
        let mut to = Slot::Work(content.clone());
        if !self.no_exchange {
            let exchanged = match fs::exchange(&self.work.new, &content, &*parent, name) {
                Err(error) if fs::is_cross_device(&error) => {
                    let beside = self.beside(Beside::New, slot);
                    to = Slot::Beside(beside.clone());
                    self.copy_beside(slot, &parent, &beside)
                        .and_then(|()| fs::exchange(&*parent, &beside, &*parent, name))
                        .inspect_err(|_| drop(fs::remove_tree(&*parent, &beside)))
                }
                other => other,
            };
            match exchanged {
                Err(error) if fs::is_unsupported(&error) => self.no_exchange = true,
                other => other.at("replace", self.tree.full(path))?,
            }
        }
        if self.no_exchange {
            return self.replace_in_two(path, slot, expect);
        }
        let came_out = match &to {
            Slot::Work(name) => fs::stat_at(&self.work.new, name),
            Slot::Beside(name) => fs::stat_at(&*parent, name),
        };
        if is_same(&came_out.at("look at", self.tree.full(path))?.stamp, expect) {
            Ok(())
        } else {
            Err(conflict(path, ConflictReason::Changed))
        }
    }

    /// Without the kernel's exchange: the old entry gets a second name aside, then the new one
    /// takes its place. Where there are no second names, the old one goes first.
    fn replace_in_two(&mut self, path: &Path, slot: u32, expect: &Stamp) -> Result<(), Failure> {
        let aside_slot = aside_slot(slot);
        let (parent, name) = self.enter(path)?;
        let (aside, content) = (slot_name(aside_slot), slot_name(slot));
        if fs::make_hard_link(&*parent, name, &self.work.old, &aside).is_err() {
            self.trash(path, aside_slot, expect)?;
            return self.create(path, slot);
        }
        if let Err(error) = fs::rename(&self.work.new, &content, &*parent, name) {
            let _ = fs::unlink(&self.work.old, &aside);
            return Err(error).at("replace", self.tree.full(path)).map_err(Failure::Sync);
        }
        let came_out = fs::stat_at(&self.work.old, &aside).at("look at", self.tree.full(path))?;
        if is_same(&came_out.stamp, expect) {
            Ok(())
        } else {
            Err(conflict(path, ConflictReason::Changed))
        }
    }

    fn finish(&self, path: &Path, mode: Option<u32>, mtime: Option<Time>) -> Result<(), Failure> {
        let full = self.tree.full(path);
        let (parent, name) = self.tree.parent(path).at("open the folder of", &full)?;
        let now = self.stat(&parent, name, path)?;
        let is_new = self.made.contains(path);
        if let Some(mode) = mode {
            let inherited = if is_new { now.mode() & 0o2000 } else { 0 };
            if mode | inherited != now.mode() {
                self.set_mode(path, mode | inherited)?;
            }
        }
        if let Some(mtime) = mtime {
            if_allowed(fs::set_mtime_at(&*parent, name, mtime)).at("set the time of", full)?;
        }
        Ok(())
    }

    fn stat(&self, parent: &OwnedFd, name: &OsStr, path: &Path) -> Result<Stamp, Failure> {
        match fs::stat_at(parent, name) {
            Ok(stat) => Ok(stat.stamp),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(conflict(path, ConflictReason::Missing)),
            Err(error) => Err(error).at("look at", self.tree.full(path)).map_err(Failure::Sync),
        }
    }

    fn beside(&mut self, part: Beside, slot: u32) -> OsString {
        self.has_beside = true;
        self.journal.beside(part, slot)
    }

    /// Gives a new content the group that its place asks for, where the caller may.
    fn adopt_group(&self, slot: u32, gid: u32) {
        let name = slot_name(slot);
        if fs::caller().0 == 0 {
            return;
        }
        let Ok(stat) = fs::stat_at(&self.work.new, &name) else {
            return;
        };
        if stat.stamp.gid != gid && fs::set_owner_at(&self.work.new, &name, None, Some(gid)).is_ok() {
            // Changing the group clears setuid and setgid.
            if stat.stamp.kind() == Kind::File && stat.stamp.mode() & 0o6000 != 0 {
                let _ = fs::set_mode_at(&self.work.new, &name, stat.stamp.mode());
            }
        }
    }

    /// Copies a content into the folder of its place, which lies on a file system of its own.
    fn copy_beside(&self, slot: u32, parent: &OwnedFd, beside: &OsStr) -> io::Result<()> {
        let name = slot_name(slot);
        let stamp = fs::stat_at(&self.work.new, &name)?.stamp;
        if stamp.kind() == Kind::Symlink {
            let target = fs::read_link_at(&self.work.new, &name)?;
            fs::make_symlink(&target, parent, beside)?;
            return fs::set_mtime_at(parent, beside, stamp.mtime());
        }
        let from = fs::open_file_forced(&self.work.new, &name)?;
        let to = fs::create_file(parent, beside, 0o600)?;
        fs::copy_contents(&from, &to, &CopyMemory::default(), self.cancel)?;
        dress_file(&to, stamp.mode(), Some(stamp.mtime()), Some((stamp.uid, stamp.gid)))?;
        fs::sync_file(&to)
    }
}

/// Whether an entry is the one that was checked, apart from what a rename changes. A folder may
/// have been opened up in between.
fn is_same(now: &Stamp, expect: &Stamp) -> bool {
    if expect.kind() == Kind::Dir {
        return now.kind() == Kind::Dir && now.ino == expect.ino;
    }
    now.same_but_ctime(expect)
}

fn conflict(path: &Path, reason: ConflictReason) -> Failure {
    Failure::Conflict(vec![Conflict {
        path: path.to_owned(),
        reason,
    }])
}
