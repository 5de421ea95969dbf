//! The journal: what a commit is going to do and what was there, on the disk before the first step.

use std::collections::{BTreeMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::io::{self, Read as _};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::sys::fs::{self, Kind, Stamp, Time};
use crate::vfs::is_absent;
use crate::workspace::COMMIT_DIR;
use crate::workspace::content::slot_name;
use crate::workspace::index::{checked_body, with_checksum};

use super::steps::{Planned, Step, path_bytes};
use super::tree::Tree;

/// Names the format and, in its last byte, the version.
const HEAD: &[u8; 8] = b"DSJOURN\x01";
/// The journal's name until all of it is there.
pub(super) const TEMPORARY: &str = "journal.new";
/// More than this is no journal of ours: some 5 million steps.
const LIMIT: u64 = 1024 * 1024 * 1024;

/// What a commit needs to be undone, or to be known as done, by another process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Journal {
    /// The workspace's path, for messages and for `clean`.
    #[serde(with = "path_bytes")]
    pub(super) target: PathBuf,
    /// The inode of the workspace's folder, by which it is known.
    pub(super) root: u64,
    /// Who commits.
    pub(super) uid: u32,
    /// Sets the names beside the entries of this commit apart from all others.
    pub(super) tag: String,
    pub(super) steps: Vec<Step>,
    /// The new contents as they lie in the work folder, by slot.
    pub(super) contents: BTreeMap<u32, Stamp>,
    /// The folders that steps touch and that are there before, each after those above it.
    pub(super) folders: Vec<Folder>,
}

/// A folder before the commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Folder {
    #[serde(with = "path_bytes")]
    pub(super) path: PathBuf,
    pub(super) stamp: Stamp,
    /// Whether it lies on another file system or mount than the workspace's own folder.
    pub(super) own_mount: bool,
}

/// In which state a journal is; the names of its file say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Steps may have been done: they are to be undone.
    Applying,
    /// All steps were done and are on the disk: what lies beside is of no worth.
    Committed,
    /// All is undone that could be; the originals of what the host changed meanwhile are kept.
    Kept,
}

impl State {
    const ALL: [Self; 3] = [Self::Applying, Self::Committed, Self::Kept];

    pub(super) fn file(self) -> &'static OsStr {
        OsStr::new(match self {
            Self::Applying => "journal",
            Self::Committed => "committed",
            Self::Kept => "kept",
        })
    }

    /// The state of the commit whose work folder this is; `None` before the journal is written.
    pub(super) fn of(work: &OwnedFd) -> io::Result<Option<Self>> {
        for state in Self::ALL {
            match fs::stat_at(work, state.file()) {
                Ok(_) => return Ok(Some(state)),
                Err(error) if is_absent(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}

impl Journal {
    /// Describes a commit whose contents are complete in the folder `new`.
    pub(super) fn of(planned: &Planned, tree: &Tree, tag: &str, new: &OwnedFd) -> io::Result<Self> {
        let mut contents = BTreeMap::new();
        let mut touched = HashSet::new();
        for step in &planned.steps {
            let path = step.path();
            match step {
                Step::Create { slot, .. } | Step::Replace { slot, .. } => {
                    contents.insert(*slot, fs::stat_at(new, &slot_name(*slot))?.stamp);
                }
                Step::Trash { expect, .. } if expect.kind() != Kind::Dir => {}
                Step::Trash { .. } | Step::OpenUp { .. } | Step::Finish { .. } => {
                    touched.insert(path.to_owned());
                }
                Step::MakeDir { .. } => {}
            }
            if step.is_entry() {
                touched.insert(path.parent().unwrap_or(Path::new("")).to_owned());
            }
        }
        let mut touched: Vec<PathBuf> = touched.into_iter().collect();
        touched.sort_unstable();
        let root = fs::mount_of(tree.root)?;
        let mut folders = Vec::new();
        for path in touched {
            let before = tree.parent(&path).and_then(|(parent, name)| {
                let stamp = fs::stat_at(&*parent, name)?.stamp;
                Ok((stamp, fs::mount_at(&*parent, name)? != root))
            });
            match before {
                Ok((stamp, own_mount)) if stamp.kind() == Kind::Dir => folders.push(Folder { path, stamp, own_mount }),
                Ok(_) => {}
                Err(error) if is_absent(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Self {
            target: tree.path.to_owned(),
            root: fs::stat_fd(tree.root)?.stamp.ino,
            uid: fs::caller().0,
            tag: tag.to_owned(),
            steps: planned.steps.clone(),
            contents,
            folders,
        })
    }

    /// Writes it, on the disk when this returns, in one step: all of it is there or nothing.
    pub(super) fn write(&self, work: &OwnedFd, parent: &OwnedFd, state: State) -> io::Result<()> {
        let body = postcard::to_stdvec(self).map_err(io::Error::other)?;
        write_whole(work, OsStr::new(TEMPORARY), state.file(), &with_checksum(HEAD, &body))?;
        fs::sync_folder(parent)
    }

    /// Reads the journal of a work folder.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] with the reason when it is none of this version.
    pub(super) fn read(work: &OwnedFd, state: State) -> io::Result<Self> {
        let file = std::fs::File::from(fs::open_file(work, state.file())?);
        let mut bytes = Vec::new();
        file.take(LIMIT).read_to_end(&mut bytes)?;
        Self::decode(&bytes).map_err(|why| io::Error::new(io::ErrorKind::InvalidData, why))
    }

    fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        const DAMAGED: &str = "its journal is damaged";
        let Some(body) = checked_body(bytes, HEAD) else {
            let (name, version) = HEAD.split_at(HEAD.len() - 1);
            return Err(match bytes.strip_prefix(name) {
                Some(rest) if !rest.starts_with(version) => "its journal is of another version of devshell",
                _ => DAMAGED,
            });
        };
        let journal: Self = postcard::from_bytes(body).map_err(|_| DAMAGED)?;
        let is_whole = journal.steps.iter().all(|step| match step {
            Step::Create { slot, .. } | Step::Replace { slot, .. } => journal.contents.contains_key(slot),
            _ => true,
        });
        let paths = journal.steps.iter().map(Step::path);
        let mut paths = paths.chain(journal.folders.iter().map(|folder| folder.path.as_path()));
        let is_name = |part| matches!(part, Component::Normal(_));
        if !is_whole || !paths.all(|path| path.components().all(is_name)) || journal.tag.contains('/') {
            return Err(DAMAGED);
        }
        Ok(journal)
    }

    /// The name, beside the entry itself, of a new content or an old entry whose folder is on a
    /// mount of its own.
    pub(super) fn beside(&self, part: Beside, slot: u32) -> OsString {
        beside(&self.tag, part, slot)
    }

    /// How many entries it makes, replaces or deletes.
    pub(super) fn entries(&self) -> u64 {
        self.steps.iter().filter(|step| step.is_entry()).count() as u64
    }

    /// The final mtime of a folder.
    pub(super) fn final_times(&self) -> impl Iterator<Item = (&Path, Time)> {
        self.steps.iter().filter_map(|step| match step {
            Step::Finish {
                path,
                mtime: Some(mtime),
                ..
            } => Some((path.as_path(), *mtime)),
            _ => None,
        })
    }

    /// Brings to the disk what was done in the workspace, on each file system that it lies on.
    pub(super) fn sync(&self, tree: &Tree) -> io::Result<()> {
        fs::sync_file_system(tree.root)?;
        let mut synced = HashSet::from([fs::stat_fd(tree.root)?.dev]);
        for folder in self.folders.iter().filter(|folder| folder.own_mount) {
            match tree.open(&folder.path) {
                Ok(fd) if synced.insert(fs::stat_fd(&*fd)?.dev) => fs::sync_file_system(&*fd)?,
                Ok(_) => {}
                // It was deleted as a whole: then the folder above it is one of these, too.
                Err(error) if is_absent(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Removes old entries that lie beside their places, after a commit. The times of the folders
    /// are then the final ones.
    pub(super) fn discard_beside(&self, tree: &Tree) -> io::Result<()> {
        let times: BTreeMap<&Path, Time> = self.final_times().collect();
        for step in &self.steps {
            let names = match step {
                Step::Trash { slot, .. } => vec![self.beside(Beside::Old, *slot)],
                Step::Replace { slot, .. } => vec![
                    self.beside(Beside::New, *slot),
                    self.beside(Beside::Old, super::steps::aside_slot(*slot)),
                ],
                _ => continue,
            };
            let folder = match tree.parent(step.path()) {
                Ok((folder, _)) => folder,
                Err(error) if is_absent(&error) => continue,
                Err(error) => return Err(error),
            };
            for name in names {
                if fs::stat_at(&*folder, &name).is_ok() {
                    fs::remove_tree(&*folder, &name)?;
                }
            }
        }
        // Also where nothing was there to be removed: the process may have died just before this.
        for folder in self.folders.iter().filter(|folder| folder.own_mount) {
            if let Some(mtime) = times.get(folder.path.as_path())
                && let Ok((parent, name)) = tree.parent(&folder.path)
                && fs::stat_at(&*parent, name).is_ok_and(|now| now.stamp.mtime() != *mtime)
            {
                crate::workspace::content::if_allowed(fs::set_mtime_at(&*parent, name, *mtime))?;
            }
        }
        Ok(())
    }

    /// Which folder that was on a mount of its own is not on one now.
    pub(super) fn unmounted(&self, tree: &Tree) -> io::Result<Option<PathBuf>> {
        let root = fs::mount_of(tree.root)?;
        for folder in self.folders.iter().filter(|folder| folder.own_mount) {
            // The commit may have moved it away: then the mount shows in a folder above it.
            for path in folder.path.ancestors() {
                let mount = tree
                    .parent(path)
                    .and_then(|(parent, name)| fs::mount_at(&*parent, name));
                match mount {
                    Ok(mount) if mount != root => break,
                    Ok(_) => return Ok(Some(folder.path.clone())),
                    Err(error) if is_absent(&error) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(None)
    }
}

/// What lies beside a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beside {
    New,
    Old,
}

pub(super) fn beside(tag: &str, part: Beside, slot: u32) -> OsString {
    let part = match part {
        Beside::New => "new",
        Beside::Old => "old",
    };
    format!("{COMMIT_DIR}-{tag}-{part}-{slot}").into()
}

/// A tag that no other commit has.
pub(super) fn new_tag() -> String {
    let now = Time::now();
    format!("{:x}-{:08x}-{:x}", now.secs(), now.nanos(), std::process::id())
}

/// Writes a file by way of a temporary name, on the disk when this returns: all of it is there or
/// nothing.
pub(super) fn write_whole(folder: &OwnedFd, temporary: &OsStr, name: &OsStr, bytes: &[u8]) -> io::Result<()> {
    let file = fs::create_file(folder, temporary, 0o600)?;
    fs::write_all(&file, bytes)?;
    fs::sync_file(&file)?;
    fs::rename(folder, temporary, folder, name)?;
    fs::sync_folder(folder)
}

/// The stamp of an entry, if there is one.
pub(super) fn look(dir: impl AsFd, name: &OsStr) -> io::Result<Option<Stamp>> {
    match fs::stat_at(dir, name) {
        Ok(stat) => Ok(Some(stat.stamp)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
