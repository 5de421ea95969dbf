//! Doing what [`super::diff`] planned: removing, making, copying.

use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};

use crate::sys::fs::{self, CopyMemory, Kind, Stamp, Time};
use crate::vfs::{Base, Node, is_absent, open_parent};

use super::diff::{FolderTask, StagePlan, Wanted};
use super::error::{At as _, stop_if};
use super::index::Entry;
use super::overlay::Source;
use super::progress::{Counter, PACE};
use super::push::is_settled;
use super::walk::threads;
use super::{CancelFn, ProgressFn, SyncError};

/// Files that one thread takes at a time.
const BATCH: usize = 128;
/// How often a file that changes while it is copied is copied again.
const TRIES: usize = 4;

/// Where a plan is carried out.
pub(crate) struct Stage<'a> {
    pub(crate) source: &'a Source<'a>,
    pub(crate) base: Option<&'a Base>,
    pub(crate) root: &'a OwnedFd,
    pub(crate) staging: &'a Path,
    pub(crate) cancel: CancelFn<'a>,
    pub(super) counter: Counter,
}

/// What came of it.
pub(crate) struct Outcome {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    pub(crate) deleted: u64,
    /// By row of the source.
    pub(crate) entries: Vec<Option<Entry>>,
    /// The latest ctime of what was staged now.
    pub(crate) newest: Option<Time>,
}

#[derive(Default)]
struct Done {
    entries: Vec<(usize, Entry)>,
    bytes: u64,
}

impl Stage<'_> {
    pub(crate) fn apply(&self, plan: StagePlan, progress: Option<ProgressFn>) -> Result<Outcome, SyncError> {
        let StagePlan { folders, mut kept } = plan;
        kept.resize(self.source.rows.len(), None);
        let mut deleted = 0;
        for folder in &folders {
            stop_if(self.cancel)?;
            deleted += self.prepare(folder)?;
        }
        let mut outcome = self.fill_all(&folders, kept, progress)?;
        outcome.deleted = deleted;
        // Deepest first: a folder may lose its own permissions only when all below it is done.
        for folder in folders.iter().rev().filter(|folder| folder.finish) {
            let entry = self.finish(folder)?;
            outcome.entries[folder.row] = Some(entry);
        }
        Ok(outcome)
    }

    /// Makes the folder and removes what has no place in it; returns how many entries that were.
    fn prepare(&self, folder: &FolderTask) -> Result<u64, SyncError> {
        let tree = OwnTree {
            root: self.root,
            path: self.staging,
        };
        tree.prepare(&folder.path, folder.make, &folder.remove, self.cancel)
    }

    fn fill_all(
        &self,
        folders: &[FolderTask],
        entries: Vec<Option<Entry>>,
        progress: Option<ProgressFn>,
    ) -> Result<Outcome, SyncError> {
        let batches: Vec<(&FolderTask, &[usize])> = folders
            .iter()
            .flat_map(|folder| folder.fill.chunks(BATCH).map(move |rows| (folder, rows)))
            .collect();
        let next = AtomicUsize::new(0);
        let memory = CopyMemory::default();
        let total = Mutex::new(Ok(Outcome {
            files: 0,
            bytes: 0,
            deleted: 0,
            entries,
            newest: None,
        }));
        let work = || {
            loop {
                let Some((folder, rows)) = batches.get(next.fetch_add(1, Ordering::Relaxed)) else {
                    return;
                };
                let done = self.fill(folder, rows, &memory);
                let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
                match (&mut *total, done) {
                    (Ok(total), Ok(done)) => total.add(done),
                    (Ok(_), Err(error)) => *total = Err(error),
                    (Err(_), _) => return,
                }
            }
        };
        std::thread::scope(|scope| {
            let helpers = threads().min(batches.len());
            let Some(progress) = progress else {
                // With fewer helpers, or none, it takes longer.
                (1..helpers).for_each(|_| drop(std::thread::Builder::new().spawn_scoped(scope, work)));
                return work();
            };
            // This thread tells how far the others are, until the last of them has let go.
            let (working, done) = mpsc::channel::<Infallible>();
            let mut has_helper = false;
            for _ in 0..helpers {
                let working = working.clone();
                let helped = move || {
                    work();
                    drop(working);
                };
                has_helper |= std::thread::Builder::new().spawn_scoped(scope, helped).is_ok();
            }
            drop(working);
            if !has_helper {
                work();
            }
            let all = batches.iter().map(|(_, rows)| rows.len() as u64).sum();
            while let Err(RecvTimeoutError::Timeout) = done.recv_timeout(PACE) {
                progress(self.counter.progress(all));
            }
        });
        total.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn fill(&self, folder: &FolderTask, rows: &[usize], memory: &CopyMemory) -> Result<Done, SyncError> {
        let at = self.staging.join(&folder.path);
        let to = fs::open_beneath(self.root, &folder.path).at("open the folder", &at)?;
        let mut from = None;
        let mut done = Done::default();
        for row in rows {
            stop_if(self.cancel)?;
            let name = self.source.rows.name(*row);
            let staged = match (self.source.nodes.get(row), self.base) {
                (Some(node), _) => Some(self.put_node(node, &to, name, &at, memory)?),
                (None, Some(base)) => {
                    if from.is_none() {
                        from = match fs::open_beneath(base.root(), &folder.path) {
                            Ok(fd) => Some(fd),
                            // The whole folder went meanwhile; the next push will see that.
                            Err(error) if is_absent(&error) => return Ok(done),
                            Err(error) => return Err(error).at("open the folder", base.path.join(&folder.path)),
                        };
                    }
                    let Some(from) = &from else { break };
                    let files = Files {
                        from,
                        to: &to,
                        from_path: &base.path.join(&folder.path),
                        to_path: &at,
                        memory,
                        cancel: self.cancel,
                    };
                    files.copy(name, self.source.wanted(*row).kind)?
                }
                (None, None) => None,
            };
            if let Some((entry, bytes)) = staged {
                done.entries.push((*row, entry));
                done.bytes += bytes;
                self.counter.add(bytes);
            }
        }
        Ok(done)
    }

    fn put_node(
        &self,
        node: &Node,
        to: &OwnedFd,
        name: &OsStr,
        at: &Path,
        memory: &CopyMemory,
    ) -> Result<(Entry, u64), SyncError> {
        let bytes = super::content::put(node, to, name, &at.join(name), memory, self.cancel)?;
        let staged = fs::stat_at(to, name).at("look at", at.join(name))?.stamp;
        Ok((Entry::new(staged, &staged, false), bytes))
    }

    fn finish(&self, folder: &FolderTask) -> Result<Entry, SyncError> {
        let wanted = self.source.wanted(folder.row);
        let tree = OwnTree {
            root: self.root,
            path: self.staging,
        };
        let staged = tree.finish(&folder.path, &wanted)?;
        let source = self.source.base(folder.row).copied().unwrap_or(staged);
        Ok(Entry::new(source, &staged, true))
    }
}

/// A tree of devshell's own that folders are made in.
pub(crate) struct OwnTree<'a> {
    pub(crate) root: &'a OwnedFd,
    /// The root's path, for messages.
    pub(crate) path: &'a Path,
}

impl OwnTree<'_> {
    /// Makes a folder, or opens up the one that is there, and removes what has no place in it; returns how many
    /// entries that were.
    pub(crate) fn prepare(
        &self,
        folder: &Path,
        make: bool,
        remove: &[OsString],
        cancel: CancelFn,
    ) -> Result<u64, SyncError> {
        let at = self.path.join(folder);
        if make {
            let make = || {
                let (parent, name) = open_parent(self.root, folder)?;
                match fs::make_dir(&parent, name, 0o700) {
                    // A file that is ignored, where a folder of that name is not.
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                        fs::remove_tree(&parent, name)?;
                        fs::make_dir(&parent, name, 0o700)
                    }
                    other => other,
                }
            };
            make().at("make the folder", &at)?;
        } else if !folder.as_os_str().is_empty() {
            let open_up = || {
                let (parent, name) = open_parent(self.root, folder)?;
                fs::make_reachable(&parent, name)
            };
            open_up().at("open the folder", &at)?;
        }
        if remove.is_empty() {
            return Ok(0);
        }
        let fd = fs::open_beneath(self.root, folder).at("open the folder", &at)?;
        for name in remove {
            stop_if(cancel)?;
            fs::remove_tree(&fd, name).at("remove", at.join(name))?;
        }
        Ok(remove.len() as u64)
    }

    /// Gives a folder what it should look like, when all in it is done.
    pub(crate) fn finish(&self, folder: &Path, wanted: &Wanted) -> Result<Stamp, SyncError> {
        let finish = || -> io::Result<Stamp> {
            let fd = fs::open_beneath(self.root, folder)?;
            let stamp = fs::stat_fd(&fd)?.stamp;
            if let Some((uid, gid)) = wanted.owner.filter(|_| fs::caller().0 == 0)
                && (uid, gid) != (stamp.uid, stamp.gid)
            {
                fs::set_owner_fd(&fd, uid, gid)?;
            }
            if let Some(mtime) = wanted.mtime {
                fs::set_mtime_fd(&fd, mtime)?;
            }
            if let Some(mode) = wanted.mode {
                fs::set_mode_fd(&fd, mode)?;
            }
            Ok(fs::stat_fd(&fd)?.stamp)
        };
        finish().at("finish the folder", self.path.join(folder))
    }
}

impl Outcome {
    fn add(&mut self, done: Done) {
        for (row, entry) in done.entries {
            self.files += 1;
            self.newest = self.newest.max(Some(entry.staged_ctime()));
            self.entries[row] = Some(entry);
        }
        self.bytes += done.bytes;
    }
}

/// One folder on both sides.
struct Files<'a> {
    from: &'a OwnedFd,
    to: &'a OwnedFd,
    from_path: &'a Path,
    to_path: &'a Path,
    memory: &'a CopyMemory,
    cancel: CancelFn<'a>,
}

impl Files<'_> {
    /// Copies one file or link; `None` when it is not there any more as what it was.
    fn copy(&self, name: &OsStr, kind: Kind) -> Result<Option<(Entry, u64)>, SyncError> {
        let copied = if kind == Kind::Symlink {
            self.copy_link(name)?
        } else {
            self.copy_file(name)?
        };
        let Some((source, bytes, looked)) = copied else {
            return Ok(None);
        };
        let staged = fs::stat_at(self.to, name).at("look at", self.to_path.join(name))?.stamp;
        Ok(Some((Entry::new(source, &staged, is_settled(&source, looked)), bytes)))
    }

    fn copy_link(&self, name: &OsStr) -> Result<Option<(Stamp, u64, Time)>, SyncError> {
        let looked = Time::now();
        let read = || Ok((fs::stat_at(self.from, name)?.stamp, fs::read_link_at(self.from, name)?));
        let (stamp, target) = match read() {
            Ok(found) => found,
            Err(error) if has_gone(&error) => return Ok(None),
            Err(error) => return Err(error).at("read the link", self.from_path.join(name)),
        };
        let write = || {
            fs::remove_tree(self.to, name)?;
            fs::make_symlink(&target, self.to, name)?;
            if fs::caller().0 == 0 && fs::caller() != (stamp.uid, stamp.gid) {
                fs::set_owner_at(self.to, name, Some(stamp.uid), Some(stamp.gid))?;
            }
            fs::set_mtime_at(self.to, name, stamp.mtime())
        };
        write().at("make the link", self.to_path.join(name))?;
        Ok(Some((stamp, 0, looked)))
    }

    fn copy_file(&self, name: &OsStr) -> Result<Option<(Stamp, u64, Time)>, SyncError> {
        let from_path = || self.from_path.join(name);
        let mut last = None;
        for _ in 0..TRIES {
            // Before the first byte is read: a copy may take longer than a tick of the clock, and
            // a write within the tick of the stamp would not show in it.
            let looked = Time::now();
            let from = match fs::open_file(self.from, name) {
                Ok(from) => from,
                Err(error) if has_gone(&error) => return Ok(None),
                Err(source) if source.kind() == io::ErrorKind::PermissionDenied => {
                    return Err(SyncError::Unreadable {
                        path: from_path(),
                        source,
                    });
                }
                Err(error) => return Err(error).at("open", from_path()),
            };
            let stamp = fs::stat_fd(&from).at("look at", from_path())?.stamp;
            let write = || {
                let to = fs::create_file(self.to, name, 0o600)?;
                let bytes = fs::copy_contents(&from, &to, self.memory, self.cancel)?;
                super::content::dress_file(&to, stamp.mode(), Some(stamp.mtime()), Some((stamp.uid, stamp.gid)))?;
                Ok(bytes)
            };
            let bytes = write().at("copy to", self.to_path.join(name))?;
            let after = fs::stat_fd(&from).at("look at", from_path())?.stamp;
            last = Some((stamp, bytes, looked));
            if after == stamp {
                break;
            }
        }
        // When it never stood still, the stamp from before the copy makes the next push take it again.
        Ok(last)
    }
}

/// Whether the entry has been deleted, or become something else, since the walk.
fn has_gone(error: &io::Error) -> bool {
    is_absent(error) || fs::is_other_kind(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;
    use std::time::Duration;

    #[test]
    fn a_file_that_was_written_just_before_a_long_copy_is_not_settled() {
        let temp = tempfile::tempdir().unwrap();
        for side in ["from", "to"] {
            std::fs::create_dir(temp.path().join(side)).unwrap();
        }
        let (from_path, to_path) = (temp.path().join("from"), temp.path().join("to"));
        let (from, to) = (fs::open_dir(&from_path).unwrap(), fs::open_dir(&to_path).unwrap());
        let asked = AtomicBool::new(false);
        let slow = || {
            if !asked.swap(true, Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(60));
            }
            false
        };
        let files = Files {
            from: &from,
            to: &to,
            from_path: &from_path,
            to_path: &to_path,
            memory: &CopyMemory::default(),
            cancel: &slow,
        };
        // Once may be hindered by a machine that is busy just between the two.
        let unsettled = (0..5).any(|_| {
            asked.store(false, Ordering::Relaxed);
            std::fs::write(from_path.join("f"), vec![7; 100_000]).unwrap();
            let (entry, _) = files.copy(OsStr::new("f"), Kind::File).unwrap().unwrap();
            assert!(asked.load(Ordering::Relaxed), "the copy was not a long one");
            !entry.has_source(&fs::stat_at(&from, OsStr::new("f")).unwrap().stamp)
        });
        assert!(unsettled);
        let stamp = fs::stat_at(&from, OsStr::new("f")).unwrap().stamp;
        std::thread::sleep(Duration::from_millis(60));
        let (old, _) = files.copy(OsStr::new("f"), Kind::File).unwrap().unwrap();
        assert!(old.has_source(&stamp));
    }
}
