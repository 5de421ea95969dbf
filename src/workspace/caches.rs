//! Upper layers to cache folders: these are outside the transaction, and what tools wrote in them stays.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use crate::sys::fs::{self, CopyMemory, Kind, Stamp};
use crate::vfs::{is_absent, open_parent};

use super::content::{if_allowed, node_of_file, put};
use super::error::{At as _, stop_if};
use super::layers::{Folder, Sight, Stack, child, strip};
use super::{CancelFn, Class, Layers, Rules, SyncError};

/// What became of the cache folders that tools wrote in.
#[derive(Debug, Default)]
pub struct KeptCaches {
    /// Entries moved to their real place; a folder that is new there counts once, with all its content.
    pub moved: u64,
    /// Entries deleted there; a folder counts once.
    pub removed: u64,
    /// Cache folders whose own folder is not there, or not any more: the result that would make it was not committed.
    pub left: Vec<PathBuf>,
    /// What went wrong. The rest was kept all the same.
    pub failed: Vec<SyncError>,
}

/// Brings what tools did in cache folders to its real place: whole new folders by one rename, else entry by entry. A
/// cache that was bound through to its real place has nothing in the layers. Call it after
/// [`collect`](super::collect) and the commit, or after a run that has neither: a folder that the commit makes can
/// hold a cache. The folders around keep their mtimes.
///
/// # Errors
/// [`SyncError`] when the layers cannot be read, and [`SyncError::Cancelled`]. What goes wrong with single entries is
/// listed in the answer.
pub fn keep_caches(
    layers: &Layers,
    rules: &Rules,
    workspace: &Path,
    cancel: CancelFn,
) -> Result<KeptCaches, SyncError> {
    let stack = Stack::open(layers)?;
    let root = fs::open_dir(workspace).at("open", workspace)?;
    let mut keeper = Keeper {
        stack,
        root: &root,
        workspace,
        cancel,
        memory: CopyMemory::default(),
        kept: KeptCaches::default(),
    };
    let mut folders: Vec<Folder> = keeper.stack.root()?.into_iter().map(|(folder, _)| folder).collect();
    while let Some(folder) = folders.pop() {
        for seen in keeper.stack.entries(&folder, cancel)? {
            let class = rules.classify_entry(&seen.path, !matches!(seen.sight, Sight::Leaf { .. }));
            match (class, seen.sight) {
                (Class::Carry, Sight::Folder { folder, .. }) => folders.push(folder),
                (Class::Cache, sight @ (Sight::Folder { .. } | Sight::Nothing)) => keeper.cache(&seen.path, sight)?,
                _ => {}
            }
        }
    }
    Ok(keeper.kept)
}

struct Keeper<'a> {
    stack: Stack<'a>,
    root: &'a OwnedFd,
    workspace: &'a Path,
    cancel: CancelFn<'a>,
    memory: CopyMemory,
    kept: KeptCaches,
}

impl Keeper<'_> {
    /// A whole cache folder, or the deletion of one.
    fn cache(&mut self, path: &Path, sight: Sight) -> Result<(), SyncError> {
        let (parent, name) = match open_parent(self.root, path) {
            Ok(found) => found,
            Err(error) if is_absent(&error) => {
                if matches!(sight, Sight::Folder { .. }) {
                    self.kept.left.push(path.to_owned());
                }
                return Ok(());
            }
            Err(error) => return self.note(Err(error).at("open the folder of", self.workspace.join(path))),
        };
        let before = fs::stat_fd(&parent)
            .at("look at the folder of", self.workspace.join(path))?
            .stamp;
        let real = child(&parent, name).at("look at", self.workspace.join(path))?;
        // A file by that name is no cache.
        match real.map(|real| real.kind()) {
            None | Some(Kind::Dir) => self.entry(&parent, path, sight)?,
            Some(_) if matches!(sight, Sight::Nothing) => {}
            Some(_) => {
                let why = io::Error::new(io::ErrorKind::NotADirectory, "there is something else by that name");
                self.note(Err(why).at("keep the cache", self.workspace.join(path)))?;
            }
        }
        let after = fs::stat_fd(&parent)
            .at("look at the folder of", self.workspace.join(path))?
            .stamp;
        if before.mtime() == after.mtime() {
            return Ok(());
        }
        let restored = if_allowed(fs::set_mtime_fd(&parent, before.mtime()));
        self.note(restored.at("set the time of the folder of", self.workspace.join(path)))
    }

    /// Makes one entry of the workspace what the view has. `parent` is its folder in the workspace.
    fn entry(&mut self, parent: &OwnedFd, path: &Path, sight: Sight) -> Result<(), SyncError> {
        stop_if(self.cancel)?;
        let name = path.file_name().unwrap_or_default();
        let full = self.workspace.join(path);
        let done = match sight {
            Sight::Nothing => child(parent, name).and_then(|there| {
                fs::remove_tree(parent, name)?;
                self.kept.removed += u64::from(there.is_some());
                Ok(())
            }),
            Sight::Leaf { layer, stamp } => {
                let placed = self.leaf(parent, name, layer, path, &stamp);
                return self.note(placed);
            }
            Sight::Folder { stamp, folder } => return self.folder(parent, name, &folder, &stamp),
        };
        self.note(done.at("delete", full))
    }

    fn leaf(
        &mut self,
        parent: &OwnedFd,
        name: &OsStr,
        layer: usize,
        path: &Path,
        now: &Stamp,
    ) -> Result<(), SyncError> {
        if now.kind() == Kind::Special {
            return Ok(());
        }
        let full = self.stack.full(layer, path);
        let (dir, from) = open_parent(self.stack.root_of(layer), path).at("open the folder of", &full)?;
        if now.kind() == Kind::File {
            fs::open_file_forced(&dir, from)
                .and_then(|file| strip(&file))
                .at("take the overlay's marks off", &full)?;
        }
        let to = self.workspace.join(path);
        if child(parent, name)
            .at("look at", &to)?
            .is_some_and(|there| there.kind() == Kind::Dir)
        {
            fs::remove_tree(parent, name).at("replace", &to)?;
        }
        match fs::rename(&dir, from, parent, name) {
            Err(error) if fs::is_cross_device(&error) => self.copy(&dir, from, full, now, parent, name, &to)?,
            other => other.at("move to", &to)?,
        }
        self.kept.moved += 1;
        Ok(())
    }

    /// As a rename would: the old one or the new one is there, never a part.
    #[expect(clippy::too_many_arguments, reason = "two places, and what is between them")]
    fn copy(
        &self,
        dir: &OwnedFd,
        from: &OsStr,
        full: PathBuf,
        now: &Stamp,
        parent: &OwnedFd,
        name: &OsStr,
        to: &Path,
    ) -> Result<(), SyncError> {
        let node = if now.kind() == Kind::Symlink {
            crate::vfs::Node::Symlink {
                target: fs::read_link_at(dir, from).at("read the link", &full)?,
                mtime: Some(now.mtime()),
            }
        } else {
            node_of_file(full, now, None)
        };
        let temp = format!(".devshell-cache-{}", std::process::id());
        let temp = OsStr::new(&temp);
        let copied = put(&node, parent, temp, to, &self.memory, self.cancel)
            .and_then(|_| fs::rename(parent, temp, parent, name).at("move to", to));
        if copied.is_err() {
            let _ = fs::remove_tree(parent, temp);
        }
        copied
    }

    fn folder(&mut self, parent: &OwnedFd, name: &OsStr, folder: &Folder, now: &Stamp) -> Result<(), SyncError> {
        let to = self.workspace.join(&folder.path);
        let there = match child(parent, name).at("look at", &to) {
            Ok(there) => there,
            Err(error) => return self.note(Err(error)),
        };
        let merges = folder.through && there.is_some_and(|there| there.kind() == Kind::Dir);
        if !merges {
            if there.is_some()
                && let Err(error) = fs::remove_tree(parent, name).at("replace", &to)
            {
                return self.note(Err(error));
            }
            match self.move_whole(parent, name, folder, now) {
                Ok(true) => {
                    self.kept.moved += 1;
                    return Ok(());
                }
                Ok(false) => {}
                Err(error) => return self.note(Err(error)),
            }
            if let Err(error) = fs::make_dir(parent, name, 0o700).at("make the folder", &to) {
                return self.note(Err(error));
            }
        }
        let opened = fs::make_reachable(parent, name).and_then(|_| fs::open_child_dir(parent, name));
        let real = match opened.at("open", &to) {
            Ok(real) => real,
            Err(error) => return self.note(Err(error)),
        };
        for seen in self.stack.entries(folder, self.cancel)? {
            self.entry(&real, &seen.path, seen.sight)?;
        }
        let dressed =
            fs::set_mode_fd(&real, now.mode()).and_then(|()| if_allowed(fs::set_mtime_fd(&real, now.mtime())));
        self.note(if_allowed(dressed).at("finish", &to))
    }

    /// Renames a folder with all its content, if one layer has it all and that can be; nothing stands in its place.
    fn move_whole(&self, parent: &OwnedFd, name: &OsStr, folder: &Folder, now: &Stamp) -> Result<bool, SyncError> {
        let Some(layer) = Stack::only_layer(folder) else {
            return Ok(false);
        };
        let full = self.stack.full(layer, &folder.path);
        let (dir, from) = open_parent(self.stack.root_of(layer), &folder.path).at("open the folder of", &full)?;
        let fd = self.stack.open_folder(layer, &folder.path)?;
        clean(&fd, self.cancel).at("take the overlay's marks off", &full)?;
        // A folder that its owner may not write in cannot get another parent.
        fs::make_reachable(&dir, from).at("open", &full)?;
        match fs::rename_new(&dir, from, parent, name) {
            Err(error) if fs::is_cross_device(&error) => return Ok(false),
            other => other.at("move to", self.workspace.join(&folder.path))?,
        }
        let dress = fs::set_mtime_fd(&fd, now.mtime()).and_then(|()| fs::set_mode_fd(&fd, now.mode()));
        dress.at("finish", self.workspace.join(&folder.path))?;
        Ok(true)
    }

    /// Lists what went wrong; only the wish to stop ends the work.
    fn note(&mut self, done: Result<(), SyncError>) -> Result<(), SyncError> {
        match done {
            Err(SyncError::Cancelled) => Err(SyncError::Cancelled),
            other => {
                self.kept.failed.extend(other.err());
                Ok(())
            }
        }
    }
}

/// Takes the kernel's marks off everything in a folder of a layer, and off itself. Modes and mtimes stay, but the
/// folder's own may be opened up.
fn clean(folder: &OwnedFd, cancel: CancelFn) -> io::Result<()> {
    let before = fs::stat_fd(folder)?.stamp;
    for name in fs::names(folder)? {
        if cancel() {
            return Err(fs::cancelled());
        }
        let stamp = fs::stat_at(folder, &name)?.stamp;
        match stamp.kind() {
            Kind::File => strip(&fs::open_file_forced(folder, &name)?)?,
            Kind::Dir => {
                fs::make_reachable(folder, &name)?;
                let below = fs::open_child_dir(folder, &name)?;
                clean(&below, cancel)?;
                if fs::stat_fd(&below)?.stamp.mode() != stamp.mode() {
                    fs::set_mode_fd(&below, stamp.mode())?;
                }
            }
            // Whiteouts, and what is of no use without the process that made it.
            Kind::Special => fs::unlink(folder, &name)?,
            Kind::Symlink => {}
        }
    }
    strip(folder)?;
    fs::set_mtime_fd(folder, before.mtime())
}
