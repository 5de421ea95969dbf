//! The work folder of a commit: new contents and undo copies, on the workspace's own file system.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::sys::fs::{self, CopyMemory, Kind};
use crate::vfs::{Content, Node, Vfs, VfsPath, is_absent};
use crate::workspace::content::{dress_file, if_allowed, move_content, put, slot_name};
use crate::workspace::error::{At as _, stop_if};
use crate::workspace::overlay::vfs_path;
use crate::workspace::{COMMIT_DIR, CancelFn, SyncError};

use super::steps::{Planned, Step};

/// Up to this many files are brought to the disk one by one; more with the whole file system.
const FSYNC_EACH: usize = 16;

/// The file in a work folder that says: what lies here may be the only copy of an original.
const MARK: &str = "applying";
/// What the names of work folders in the area begin with.
const IN_AREA: &str = "commit-";

/// A folder with `new/N` for contents and `old/N` for what was moved out of the way.
pub(super) struct Work {
    /// The folder that holds the work folder: the area, or the workspace itself.
    parent: OwnedFd,
    parent_path: PathBuf,
    name: OsString,
    in_workspace: bool,
    fd: OwnedFd,
    pub(super) new: OwnedFd,
    pub(super) old: OwnedFd,
    /// Contents that were moved here, with the place that they came from.
    moved: Vec<(u32, PathBuf)>,
}

impl Work {
    /// Makes the folder below `area` if that lies on the file system and mount of the workspace,
    /// else in the workspace. What killed commits left goes first, unless it holds originals.
    pub(super) fn make(root: &OwnedFd, target: &Path, area: &Path) -> Result<Self, SyncError> {
        fs::make_private_dirs(area).at("make the folder", area)?;
        let area_fd = fs::open_dir(area).at("open", area)?;
        if let Some(path) = unfinished_commits(area, target).into_iter().next() {
            let why = format!(
                "a run ended in the middle of its commit; what it had replaced lies in `{}` (in a folder on a mount \
                 of its own: there, as `{COMMIT_DIR}-*`), listed in its file `{MARK}`: \
                 put back what is needed, then remove that folder",
                path.display()
            );
            return Err(io::Error::other(why)).at("begin a commit beside", path);
        }
        remove_stale(&area_fd).at("clean", area)?;
        let same = fs::mount_of(&area_fd).at("look at", area)? == fs::mount_of(root).at("look at", target)?;
        if same {
            let name = unused_name(&area_fd).at("list", area)?;
            return Self::make_in(area_fd, area, name, false);
        }
        let root = root.try_clone().at("open", target)?;
        let name = OsString::from(COMMIT_DIR);
        Self::make_in(root, target, name, true)
    }

    fn make_in(parent: OwnedFd, parent_path: &Path, name: OsString, in_workspace: bool) -> Result<Self, SyncError> {
        let make = || {
            fs::remove_tree(&parent, &name)?;
            fs::make_dir(&parent, &name, 0o700)?;
            let fd = fs::open_child_dir(&parent, &name)?;
            for part in ["new", "old"] {
                fs::make_dir(&fd, OsStr::new(part), 0o700)?;
            }
            let new = fs::open_child_dir(&fd, OsStr::new("new"))?;
            let old = fs::open_child_dir(&fd, OsStr::new("old"))?;
            Ok((fd, new, old))
        };
        let path = parent_path.join(&name);
        let (fd, new, old) = unnoticed(&parent, in_workspace, make).at("make the folder", path)?;
        Ok(Self {
            parent,
            parent_path: parent_path.to_owned(),
            name,
            in_workspace,
            fd,
            new,
            old,
            moved: Vec::new(),
        })
    }

    pub(super) fn path(&self) -> PathBuf {
        self.parent_path.join(&self.name)
    }

    /// Brings all contents that the plan needs here, and onto the disk.
    pub(super) fn bring(&mut self, vfs: &Vfs, planned: &Planned, cancel: CancelFn) -> Result<(), SyncError> {
        let workspace = vfs.workspace();
        let memory = CopyMemory::default();
        for (slot, relative) in &planned.contents {
            stop_if(cancel)?;
            self.bring_one(vfs, &workspace, *slot, relative, &memory, cancel)?;
        }
        self.sync(planned).at("bring to the disk", self.path())
    }

    fn bring_one(
        &mut self,
        vfs: &Vfs,
        workspace: &VfsPath,
        slot: u32,
        relative: &Path,
        memory: &CopyMemory,
        cancel: CancelFn,
    ) -> Result<(), SyncError> {
        let path = vfs_path(workspace, relative)?;
        let Some(node) = vfs.change(&path) else { return Ok(()) };
        let name = slot_name(slot);
        let at = self.path().join("new").join(&name);
        if let Node::File(file) = node
            && let Content::File { path: from, .. } = &file.content
            && self.take(from, slot).at("move", from)?
        {
            let dress = || {
                let stamp = fs::stat_at(&self.new, &name)?.stamp;
                if stamp.kind() != Kind::File || stamp.size != file.content.len() {
                    return Err(io::Error::other("the result was changed after it was collected"));
                }
                let other_owner =
                    fs::caller().0 == 0 && file.owner.is_some_and(|owner| owner != (stamp.uid, stamp.gid));
                let other_time = file.mtime.is_some_and(|mtime| mtime != stamp.mtime());
                if stamp.mode() != file.mode || other_owner || other_time {
                    let fd = fs::open_file_forced(&self.new, &name)?;
                    dress_file(&fd, file.mode, file.mtime, file.owner)?;
                }
                Ok(())
            };
            return dress().at("finish", at);
        }
        put(node, &self.new, &name, &at, memory, cancel).map(|_| ())
    }

    /// Moves a staged file here if it has no other name and lies on the same file system.
    fn take(&mut self, from: &Path, slot: u32) -> io::Result<bool> {
        let moved = move_content(from, &self.new, &slot_name(slot))?;
        if moved {
            self.moved.push((slot, from.to_owned()));
        }
        Ok(moved)
    }

    fn sync(&self, planned: &Planned) -> io::Result<()> {
        if planned.contents.len() > FSYNC_EACH {
            return fs::sync_file_system(&self.fd);
        }
        for (slot, _) in &planned.contents {
            match fs::open_file(&self.new, &slot_name(*slot)) {
                Ok(file) => fs::sync_file(&file)?,
                // A link, or a file that its owner may not read.
                Err(_) => return fs::sync_file_system(&self.fd),
            }
        }
        Ok(())
    }

    /// Moves the contents back to where they came from, for a result that is kept.
    pub(super) fn give_back(&self) -> Vec<SyncError> {
        let mut failures = Vec::new();
        for (slot, from) in &self.moved {
            let back = || {
                let (Some(parent), Some(name)) = (from.parent(), from.file_name()) else {
                    return Err(io::ErrorKind::InvalidInput.into());
                };
                fs::rename_new(&self.new, &slot_name(*slot), &fs::open_absolute(parent)?, name)
            };
            failures.extend(back().at("move back", from).err());
        }
        failures
    }

    /// From here on the folder may hold the only copies of originals: it outlives this process
    /// until [`Work::remove`]. The mark says which slot is for which path, to put originals back by hand.
    pub(super) fn mark(&self, steps: &[Step]) -> Result<(), SyncError> {
        let mut places = Vec::new();
        for step in steps {
            let (part, slot, path) = match step {
                Step::Trash { path, slot, .. } => ("old", slot, path),
                Step::Replace { path, slot, .. } => ("new", slot, path),
                _ => continue,
            };
            places.extend_from_slice(format!("{part}/{slot} ").as_bytes());
            places.extend_from_slice(path.as_os_str().as_bytes());
            places.push(b'\n');
        }
        let mark = || {
            let file = fs::create_file(&self.fd, OsStr::new(MARK), 0o600)?;
            fs::write_all(&file, &places)?;
            fs::sync_file(&file)?;
            for folder in [&self.fd, &self.parent] {
                match fs::sync_file(folder) {
                    Err(error) if !fs::is_unsupported(&error) => return Err(error),
                    _ => {}
                }
            }
            Ok(())
        };
        mark().at("write to", self.path())
    }

    pub(super) fn is_marked(&self) -> bool {
        is_marked(&self.parent, &self.name)
    }

    /// Removes the folder, for a commit that is done or undone. What fails stays for the next commit or `clean`.
    pub(super) fn remove(self) {
        let _ = unnoticed(&self.parent, self.in_workspace, || {
            // First: what is left of a removal that is cut short is of no worth.
            let _ = fs::unlink(&self.fd, OsStr::new(MARK));
            fs::remove_tree(&self.parent, &self.name)
        });
    }
}

/// Does something in a folder that must look untouched afterwards: its mtime is put back, and a
/// read-only folder of the caller's own is opened for the moment.
fn unnoticed<T>(folder: &OwnedFd, in_workspace: bool, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    if !in_workspace {
        return act();
    }
    let before = fs::stat_fd(folder)?.stamp;
    let closed = before.mode() & 0o300 != 0o300 && before.uid == fs::caller().0;
    if closed {
        fs::set_mode_fd(folder, before.mode() | 0o300)?;
    }
    let outcome = act();
    if_allowed(fs::set_mtime_fd(folder, before.mtime()))?;
    if closed {
        fs::set_mode_fd(folder, before.mode())?;
    }
    outcome
}

fn unused_name(area: &OwnedFd) -> io::Result<OsString> {
    let taken = fs::names(area)?;
    let names = (0u32..).map(|number| OsString::from(format!("{IN_AREA}{}-{number}", std::process::id())));
    Ok(names
        .into_iter()
        .find(|name| taken.binary_search(name).is_err())
        .unwrap_or_default())
}

/// Whether the work folder `name` holds what a commit had replaced when it was cut short.
fn is_marked(parent: &OwnedFd, name: &OsStr) -> bool {
    match fs::open_child_dir(parent, name).and_then(|fd| fs::stat_at(&fd, OsStr::new(MARK))) {
        Ok(_) => true,
        // Where nobody can look, nothing is thrown away.
        Err(error) => !is_absent(&error),
    }
}

fn work_folders(area: &OwnedFd) -> io::Result<Vec<OsString>> {
    let mut names = fs::names(area)?;
    names.retain(|name| name.as_bytes().starts_with(IN_AREA.as_bytes()));
    Ok(names)
}

/// Removes what commits left that were killed before they changed anything, or after they were done.
fn remove_stale(area: &OwnedFd) -> io::Result<()> {
    for name in work_folders(area)? {
        fs::remove_tree(area, &name)?;
    }
    Ok(())
}

/// The work folders of commits to `target` that were cut short while they were applied: what had
/// been replaced lies in them, in `new` and `old`. The caller holds the workspace's lock, and
/// `area` is the one that is given to [`commit`](super::commit).
#[must_use]
pub fn unfinished_commits(area: &Path, target: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    if let Ok(fd) = fs::open_dir(area) {
        let names = work_folders(&fd).unwrap_or_default();
        found.extend(
            names
                .iter()
                .filter(|name| is_marked(&fd, name))
                .map(|name| area.join(name)),
        );
    }
    if let Ok(fd) = fs::open_dir(target)
        && is_marked(&fd, OsStr::new(COMMIT_DIR))
    {
        found.push(target.join(COMMIT_DIR));
    }
    found
}
