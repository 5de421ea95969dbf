//! The walk: a tree's names and stamps, by several threads. No file is opened.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::sys::fs::{self, Kind, Stamp};

use super::error::At as _;
use super::table::PathTable;
use super::{CancelFn, Class, Rules, SyncError};

/// What is walked.
pub(crate) struct Walk<'a> {
    /// The tree's root.
    pub(crate) root: &'a OwnedFd,
    /// The root's path, for messages.
    pub(crate) path: &'a Path,
    pub(crate) rules: &'a Rules,
    /// A tree of devshell's own: folders that may not be read are opened up.
    pub(crate) own: bool,
    /// Whether ignored entries are listed (but not entered).
    pub(crate) list_ignored: bool,
    pub(crate) cancel: CancelFn<'a>,
}

/// One entry that was met.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Met {
    pub(crate) stamp: Stamp,
    pub(crate) ignored: bool,
}

/// The content of one folder, sorted.
struct Folder {
    names: Vec<u8>,
    entries: Vec<Entry>,
}

struct Entry {
    met: Met,
    start: u32,
    len: u32,
    /// The number of the folder, if this is one that is entered; else [`NO_FOLDER`].
    folder: u32,
}

const NO_FOLDER: u32 = u32::MAX;

impl Folder {
    fn name(&self, entry: &Entry) -> &[u8] {
        &self.names[entry.start as usize..][..entry.len as usize]
    }
}

#[derive(Default)]
struct State {
    queue: Vec<(u32, PathBuf)>,
    folders: Vec<Option<Folder>>,
    /// Folders that are queued or being read.
    pending: usize,
    failure: Option<SyncError>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets the other threads end when one panics: what it was reading stays pending for ever.
struct EndOnPanic<'a>(&'a Shared);

impl Drop for EndOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The panic itself goes on when the threads are joined.
            self.0.lock().failure.get_or_insert(SyncError::Cancelled);
            self.0.changed.notify_all();
        }
    }
}

/// How many threads a walk or a copy uses.
pub(crate) fn threads() -> usize {
    std::thread::available_parallelism().map_or(2, |count| count.get().clamp(2, 4))
}

impl Walk<'_> {
    /// Walks the whole tree.
    pub(crate) fn run(&self) -> Result<PathTable<Met>, SyncError> {
        self.run_as(|met| met)
    }

    /// Walks the whole tree; `value` is what is kept of each entry.
    pub(crate) fn run_as<T>(&self, value: impl Fn(Met) -> T) -> Result<PathTable<T>, SyncError> {
        let root = fs::stat_fd(self.root).at("look at", self.path)?;
        let shared = Shared {
            state: Mutex::new(State {
                queue: vec![(0, PathBuf::new())],
                folders: vec![None],
                pending: 1,
                failure: None,
            }),
            changed: Condvar::new(),
        };
        std::thread::scope(|scope| {
            for _ in 1..threads() {
                // With fewer helpers, or none, it takes longer.
                let _ = std::thread::Builder::new().spawn_scoped(scope, || self.work(&shared));
            }
            self.work(&shared);
        });
        let mut state = shared.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(failure) = state.failure.take() {
            return Err(failure);
        }
        let rows = state
            .folders
            .iter()
            .flatten()
            .map(|folder| folder.entries.len())
            .sum::<usize>()
            + 1;
        let names = state.folders.iter().flatten().map(|folder| folder.names.len()).sum();
        let mut table = PathTable::with_capacity(rows, names);
        let met = Met {
            stamp: root.stamp,
            ignored: false,
        };
        if table.push(0, b"", value(met)) && assemble(&mut table, &mut state.folders, value) {
            return Ok(table);
        }
        Err(io::Error::from(io::ErrorKind::FileTooLarge)).at("hold the tree of", self.path)
    }

    fn work(&self, shared: &Shared) {
        let mut state = shared.lock();
        loop {
            if state.pending == 0 || state.failure.is_some() {
                shared.changed.notify_all();
                return;
            }
            let Some((number, path)) = state.queue.pop() else {
                state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            drop(state);
            let read = {
                let _end = EndOnPanic(shared);
                self.read_folder(&path)
            };
            state = shared.lock();
            state.pending -= 1;
            match read {
                Ok(mut folder) => {
                    for position in (0..folder.entries.len()).rev() {
                        let entry = &folder.entries[position];
                        if entry.met.stamp.kind() == Kind::Dir && !entry.met.ignored {
                            let number = u32::try_from(state.folders.len()).unwrap_or(NO_FOLDER);
                            let name = OsStr::from_bytes(folder.name(entry));
                            state.queue.push((number, path.join(name)));
                            state.folders.push(None);
                            state.pending += 1;
                            folder.entries[position].folder = number;
                        }
                    }
                    state.folders[number as usize] = Some(folder);
                }
                Err(error) => {
                    state.failure.get_or_insert(error);
                }
            }
            shared.changed.notify_all();
        }
    }

    fn read_folder(&self, relative: &Path) -> Result<Folder, SyncError> {
        super::error::stop_if(self.cancel)?;
        let mut folder = Folder {
            names: Vec::new(),
            entries: Vec::new(),
        };
        let fd = match self.open(relative) {
            Ok(fd) => fd,
            // Deleted or replaced since its parent was read.
            Err(error) if crate::vfs::is_absent(&error) && !relative.as_os_str().is_empty() => return Ok(folder),
            Err(error) => return Err(self.error(relative, error)),
        };
        let mut found: Vec<(u32, u32)> = Vec::new();
        let listed = fs::for_each_name(&fd, |name| {
            // 4 GiB of names in one folder are beyond any file system.
            found.push((folder.names.len() as u32, name.len() as u32));
            folder.names.extend_from_slice(name.as_bytes());
        });
        listed.map_err(|error| self.error(relative, error))?;
        let slice = |(start, len): &(u32, u32)| &folder.names[*start as usize..][..*len as usize];
        found.sort_unstable_by(|a, b| slice(a).cmp(slice(b)));
        folder.entries.reserve_exact(found.len());
        let mut path = relative.to_owned();
        for (count, (start, len)) in found.into_iter().enumerate() {
            if count % 256 == 255 {
                super::error::stop_if(self.cancel)?;
            }
            let name = OsStr::from_bytes(&folder.names[start as usize..][..len as usize]);
            let stamp = match fs::stat_at(&fd, name) {
                Ok(stat) => stat.stamp,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(self.error(&relative.join(name), error)),
            };
            path.push(name);
            let class = self.rules.classify_entry(&path, stamp.kind() == Kind::Dir);
            path.pop();
            let ignored = class == Class::Ignored;
            if class == Class::Carry || ignored && self.list_ignored {
                folder.entries.push(Entry {
                    met: Met { stamp, ignored },
                    start,
                    len,
                    folder: NO_FOLDER,
                });
            }
        }
        Ok(folder)
    }

    fn open(&self, relative: &Path) -> io::Result<OwnedFd> {
        if self.own {
            fs::open_beneath_forced(self.root, relative)
        } else {
            fs::open_beneath(self.root, relative)
        }
    }

    fn error(&self, relative: &Path, source: io::Error) -> SyncError {
        let path = self.path.join(relative);
        if source.kind() == io::ErrorKind::PermissionDenied && !self.own {
            return SyncError::Unreadable { path, source };
        }
        SyncError::Io {
            action: "read",
            path,
            source,
        }
    }
}

/// Puts the folders together depth first, each let go as soon as it is copied.
fn assemble<T>(table: &mut PathTable<T>, folders: &mut [Option<Folder>], value: impl Fn(Met) -> T) -> bool {
    let mut stack: Vec<(Folder, usize)> = folders[0].take().map(|root| (root, 0)).into_iter().collect();
    loop {
        // The root's content lies at depth 1.
        let depth = stack.len();
        let Some((folder, next)) = stack.last_mut() else {
            return true;
        };
        let Some(entry) = folder.entries.get(*next) else {
            stack.pop();
            continue;
        };
        *next += 1;
        if !table.push(depth, folder.name(entry), value(entry.met)) {
            return false;
        }
        if let Some(below) = folders.get_mut(entry.folder as usize).and_then(Option::take) {
            stack.push((below, 0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn a_panic_in_one_thread_ends_the_walk() {
        let temp = tempfile::tempdir().unwrap();
        for number in 0..50 {
            std::fs::create_dir(temp.path().join(number.to_string())).unwrap();
        }
        let root = fs::open_dir(temp.path()).unwrap();
        let rules = Rules::carry_all();
        for at in [0, 1, 20] {
            let asked = AtomicUsize::new(0);
            let cancel = || {
                assert!(asked.fetch_add(1, Ordering::Relaxed) != at, "a test asked for this");
                false
            };
            let walk = Walk {
                root: &root,
                path: temp.path(),
                rules: &rules,
                own: false,
                list_ignored: false,
                cancel: &cancel,
            };
            let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| walk.run().is_ok()));
            assert!(ran.is_err());
        }
    }
}
