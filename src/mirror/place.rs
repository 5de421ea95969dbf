//! Putting what has come in its place.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use crate::sidecar::Digest;
use crate::sys::fs::{self, CopyMemory, Kind, Stamp, Time};
use crate::workspace::{At as _, CancelFn, FolderTask, OwnTree, PathTable, SyncError, Wanted, dress_file, stop_if};

use super::Mirror;
use super::entries::Theirs;
use super::plan::Plan;
use super::store::{Store, name_of};

/// A file that is not yet where it belongs, in the store.
const UNFINISHED: &str = "unfinished";

/// Everything that a plan needs to be carried out.
pub(super) struct Placing<'a> {
    pub(super) mirror: &'a Mirror,
    pub(super) theirs: &'a PathTable<Theirs>,
    pub(super) store: &'a Store,
    pub(super) targets: &'a HashMap<Digest, OsString>,
    pub(super) cancel: CancelFn<'a>,
}

/// What came of it.
pub(super) struct Placed {
    pub(super) files: u64,
    pub(super) deleted: u64,
    /// Whether anything was done.
    pub(super) is_changed: bool,
    /// What was put or dressed: the giver's row, and how the entry looks now. In no order.
    pub(super) stamps: Vec<(u32, Stamp)>,
    /// The latest ctime of what was put now.
    pub(super) newest: Option<Time>,
}

impl Placed {
    fn note(&mut self, row: usize, stamp: Stamp) {
        // A tree has at most `MAX_ENTRIES` of them.
        self.stamps.push((u32::try_from(row).unwrap_or(u32::MAX), stamp));
    }
}

impl Placing<'_> {
    pub(super) fn place(&self, plan: &Plan) -> Result<Placed, SyncError> {
        let tree = OwnTree {
            root: &self.mirror.root,
            path: &self.mirror.path,
        };
        let mut placed = Placed {
            files: 0,
            deleted: 0,
            is_changed: !plan.folders.is_empty(),
            stamps: Vec::new(),
            newest: None,
        };
        for folder in &plan.folders {
            stop_if(self.cancel)?;
            placed.deleted += tree.prepare(&folder.path, folder.make, &folder.remove, self.cancel)?;
        }
        let mut uses: Vec<usize> = plan.wants.iter().map(|want| want.uses).collect();
        let memory = CopyMemory::default();
        for folder in &plan.folders {
            self.fill(folder, plan, &mut uses, &memory, &mut placed)?;
        }
        // Deepest first: a folder may lose its own permissions only when all below it is done.
        for folder in plan.folders.iter().rev() {
            if !folder.finish {
                continue;
            }
            let theirs = self.theirs.value(folder.row);
            let wanted = Wanted {
                kind: Kind::Dir,
                mode: Some(theirs.mode()),
                mtime: Some(theirs.mtime()),
                owner: None,
            };
            placed.note(folder.row, tree.finish(&folder.path, &wanted)?);
        }
        Ok(placed)
    }

    fn fill(
        &self,
        folder: &FolderTask,
        plan: &Plan,
        uses: &mut [usize],
        memory: &CopyMemory,
        placed: &mut Placed,
    ) -> Result<(), SyncError> {
        if folder.fill.is_empty() && folder.dress.is_empty() {
            return Ok(());
        }
        let at = self.mirror.path.join(&folder.path);
        let dir = fs::open_beneath(&self.mirror.root, &folder.path).at("open the folder", &at)?;
        let put = folder.fill.iter().map(|row| (*row, true));
        for (row, is_new) in put.chain(folder.dress.iter().map(|row| (*row, false))) {
            stop_if(self.cancel)?;
            let name = self.theirs.name(row);
            let theirs = self.theirs.value(row);
            let place = || {
                match theirs.kind() {
                    Kind::Symlink => self.put_link(&dir, name, theirs, is_new)?,
                    Kind::File if is_new => {
                        // What is empty is no want.
                        let place = plan.places.get(&(theirs.digest(), false)).filter(|_| theirs.size() > 0);
                        let left = place.map(|place| {
                            uses[*place] = uses[*place].saturating_sub(1);
                            uses[*place]
                        });
                        self.put_file(&dir, name, theirs, left == Some(0), memory)?;
                    }
                    _ => self.dress(&dir, name, theirs, memory)?,
                }
                Ok(fs::stat_at(&dir, name)?.stamp)
            };
            let mut place = place;
            let stamp = place().at("write", at.join(name))?;
            placed.files += 1;
            placed.newest = placed.newest.max(Some(stamp.ctime()));
            placed.note(row, stamp);
        }
        Ok(())
    }

    fn put_link(&self, dir: &OwnedFd, name: &OsStr, theirs: &Theirs, is_new: bool) -> io::Result<()> {
        if is_new {
            let target = self.targets.get(&theirs.digest()).ok_or(io::ErrorKind::NotFound)?;
            fs::remove_tree(dir, name)?;
            fs::make_symlink(Path::new(target), dir, name)?;
        }
        fs::set_mtime_at(dir, name, theirs.mtime())
    }

    fn put_file(
        &self,
        dir: &OwnedFd,
        name: &OsStr,
        theirs: &Theirs,
        is_last: bool,
        memory: &CopyMemory,
    ) -> io::Result<()> {
        if theirs.size() == 0 {
            let file = fs::create_file(&self.store.dir, OsStr::new(UNFINISHED), 0o600)?;
            dress_file(&file, theirs.mode(), Some(theirs.mtime()), None)?;
            return self.move_in(OsStr::new(UNFINISHED), dir, name);
        }
        let content = name_of(&theirs.digest());
        if !is_last {
            let from = fs::open_file_forced(&self.store.dir, &content)?;
            return self.put_copy(&from, dir, name, theirs, memory);
        }
        fs::set_mode_at(&self.store.dir, &content, theirs.mode())?;
        fs::set_mtime_at(&self.store.dir, &content, theirs.mtime())?;
        self.move_in(&content, dir, name)
    }

    /// Mode and time. A file that has other names as well is parted from them first.
    fn dress(&self, dir: &OwnedFd, name: &OsStr, theirs: &Theirs, memory: &CopyMemory) -> io::Result<()> {
        if fs::stat_at(dir, name)?.nlink > 1 {
            let from = fs::open_file_forced(dir, name)?;
            return self.put_copy(&from, dir, name, theirs, memory);
        }
        fs::set_mode_at(dir, name, theirs.mode())?;
        fs::set_mtime_at(dir, name, theirs.mtime())
    }

    fn put_copy(
        &self,
        from: &OwnedFd,
        dir: &OwnedFd,
        name: &OsStr,
        theirs: &Theirs,
        memory: &CopyMemory,
    ) -> io::Result<()> {
        let copy = self.store.copy_to(OsStr::new(UNFINISHED), from, memory, self.cancel)?;
        dress_file(&copy, theirs.mode(), Some(theirs.mtime()), None)?;
        self.move_in(OsStr::new(UNFINISHED), dir, name)
    }

    fn move_in(&self, from: &OsStr, dir: &OwnedFd, name: &OsStr) -> io::Result<()> {
        match fs::rename(&self.store.dir, from, dir, name) {
            // A folder that is left alone where it lies has no place where a file belongs.
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => {
                fs::remove_tree(dir, name)?;
                fs::rename(&self.store.dir, from, dir, name)
            }
            other => other,
        }
    }
}
