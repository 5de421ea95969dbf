//! The work folder of a commit as it lies on the disk: finding, opening and removing it.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::sys::fs;
use crate::vfs::is_absent;
use crate::workspace::SyncError;
use crate::workspace::error::At as _;

use super::inside;
use super::journal::{State, TEMPORARY, look};

/// What the names of work folders in the area begin with.
const IN_AREA: &str = "commit-";
/// The folder in a work folder for originals that could not go back.
const ORIGINALS: &str = "originals";
/// The file in which an earlier devshell listed what it was about to do.
const EARLIER_MARK: &str = "applying";

/// A folder with `new/N` for contents and `old/N` for what was moved out of the way.
pub(super) struct WorkFolder {
    /// The folder that holds the work folder: the area, or the workspace itself.
    pub(super) parent: OwnedFd,
    parent_path: PathBuf,
    name: OsString,
    /// Where it stands in the workspace: the area, if it is there.
    inside: Option<Option<OwnedFd>>,
    pub(super) fd: OwnedFd,
    pub(super) new: OwnedFd,
    pub(super) old: OwnedFd,
}

impl WorkFolder {
    /// Makes the folder below `area` if that lies on the file system and mount of the workspace,
    /// else in the workspace. Leftovers must have been cleared up.
    pub(super) fn make(root: &OwnedFd, target: &Path, area: &Path, tag: &str) -> Result<Self, SyncError> {
        let area_fd = fs::open_dir(area).at("open", area)?;
        let same = fs::mount_of(&area_fd).at("look at", area)? == fs::mount_of(root).at("look at", target)?;
        let make = || {
            if same {
                let name = OsString::from(format!("{IN_AREA}{tag}"));
                fs::make_dir(&area_fd, &name, 0o700)?;
                Ok(name)
            } else {
                inside::make(root, target, &area_fd)
            }
        };
        let (name, parent_path) = (make(), if same { area } else { target });
        let name = name.at("make a work folder in", parent_path)?;
        let taken = (!same).then(|| name.clone());
        let at = Place {
            parent: if same { area_fd.try_clone() } else { root.try_clone() }.at("open", parent_path)?,
            parent_path: parent_path.to_owned(),
            name,
            inside: (!same).then_some(Some(area_fd.try_clone().at("open", area)?)),
        };
        at.open(true).inspect_err(|_| {
            if let Some(name) = &taken {
                inside::take_back(root, target, &area_fd, name);
            }
        })
    }

    pub(super) fn path(&self) -> PathBuf {
        self.parent_path.join(&self.name)
    }

    /// Moves an entry of `from` into the folder of originals, as `path`. Says where it lies then.
    pub(super) fn keep_original(&self, from: &OwnedFd, name: &OsStr, path: &Path) -> io::Result<PathBuf> {
        let mut folder = child_made(&self.fd, OsStr::new(ORIGINALS))?;
        for part in path.parent().into_iter().flat_map(Path::iter) {
            folder = child_made(&folder, part)?;
        }
        let to = path.file_name().unwrap_or(OsStr::new("."));
        fs::rename_new(from, name, &folder, to)?;
        Ok(self.path().join(ORIGINALS).join(path))
    }

    pub(super) fn has_originals(&self) -> io::Result<bool> {
        Ok(look(&self.fd, OsStr::new(ORIGINALS))?.is_some())
    }

    /// Ends an undo: what is needed no more goes, and the folder, too, if nothing in it is kept.
    /// The journal goes with the first step: from then on the commit has never been.
    pub(super) fn end(self, keeps_contents: bool) -> io::Result<()> {
        if !keeps_contents && !self.has_originals()? {
            return self.remove();
        }
        fs::rename(&self.fd, State::Applying.file(), &self.fd, State::Kept.file())?;
        fs::sync_folder(&self.fd)?;
        if let Some(Some(area)) = &self.inside {
            inside::keep(area)?;
        }
        fs::remove_tree(&self.fd, OsStr::new("old"))?;
        if keeps_contents {
            return Ok(());
        }
        fs::remove_tree(&self.fd, OsStr::new("new"))
    }

    /// From here on all steps are done for good.
    pub(super) fn commit(&self) -> io::Result<()> {
        let (from, to) = (State::Applying.file(), State::Committed.file());
        fs::rename(&self.fd, from, &self.fd, to)?;
        match fs::sync_folder(&self.fd) {
            // Not known to be on the disk: as if it had not been said.
            Err(error) if fs::rename(&self.fd, to, &self.fd, from).is_ok() => Err(error),
            _ => Ok(()),
        }
    }

    /// Removes it with all that is in it. Where something cannot be removed, the rest is of no
    /// commit any more.
    pub(super) fn remove(self) -> io::Result<()> {
        let work = self.fd.try_clone()?;
        self.remove_all().inspect_err(|_| {
            let _ = fs::remove_tree(&work, State::Committed.file());
        })
    }

    fn remove_all(self) -> io::Result<()> {
        // First: without it the rest is of no worth, whoever finds it.
        fs::remove_tree(&self.fd, State::Applying.file())?;
        for part in [OsStr::new("new"), OsStr::new("old"), OsStr::new(ORIGINALS)] {
            fs::remove_tree(&self.fd, part)?;
        }
        let Some(area) = &self.inside else {
            return fs::remove_tree(&self.parent, &self.name);
        };
        for name in [TEMPORARY, EARLIER_MARK] {
            fs::remove_tree(&self.fd, OsStr::new(name))?;
        }
        for state in [State::Committed, State::Kept] {
            fs::remove_tree(&self.fd, state.file())?;
        }
        inside::remove(&self.parent, &self.parent_path, area.as_ref(), &self.name)
    }
}

fn child_made(folder: &OwnedFd, name: &OsStr) -> io::Result<OwnedFd> {
    match fs::make_dir(folder, name, 0o700) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        other => other?,
    }
    fs::open_child_dir(folder, name)
}

/// Where a work folder stands.
pub(super) struct Place {
    parent: OwnedFd,
    parent_path: PathBuf,
    name: OsString,
    inside: Option<Option<OwnedFd>>,
}

impl Place {
    pub(super) fn path(&self) -> PathBuf {
        self.parent_path.join(&self.name)
    }

    /// In which state the commit is whose folder this is.
    pub(super) fn state(&self) -> Result<Option<State>, SyncError> {
        let state = || {
            let folder = match fs::open_child_dir(&self.parent, &self.name) {
                // A commit that is being made has ended meanwhile.
                Err(error) if is_absent(&error) => return Ok(None),
                other => other?,
            };
            if look(&folder, OsStr::new(EARLIER_MARK))?.is_some() {
                // Its journal cannot be read, as one of another version.
                return Ok(Some(State::Applying));
            }
            State::of(&folder)
        };
        state().at("look into", self.path())
    }

    /// Opens it, with parts that are missing made.
    pub(super) fn open(self, is_new: bool) -> Result<WorkFolder, SyncError> {
        let open = || {
            let fd = fs::open_child_dir(&self.parent, &self.name)?;
            let part = |name| {
                if is_new {
                    fs::make_dir(&fd, OsStr::new(name), 0o700)?;
                }
                child_made(&fd, OsStr::new(name))
            };
            let (new, old) = (part("new")?, part("old")?);
            Ok((fd, new, old))
        };
        let (fd, new, old) = open().at("open", self.path())?;
        Ok(WorkFolder {
            parent: self.parent,
            parent_path: self.parent_path,
            name: self.name,
            inside: self.inside,
            fd,
            new,
            old,
        })
    }
}

/// The work folders of commits to `target`, in the area and in the workspace, whatever their state.
pub(super) fn find(area: &Path, target: &Path) -> Result<Vec<Place>, SyncError> {
    let mut found = find_in_area(area)?;
    let area_fd = fs::open_dir(area).ok();
    let root = match fs::open_dir(target) {
        Err(error) if is_absent(&error) => return Ok(found),
        other => other.at("open", target)?,
    };
    for name in inside::names() {
        if inside::is_ours(&root, &name).at("look into", target.join(&name))? {
            let clone = |fd: &OwnedFd| fd.try_clone().at("open", target);
            found.push(Place {
                parent: clone(&root)?,
                parent_path: target.to_owned(),
                name,
                inside: Some(area_fd.as_ref().map(clone).transpose()?),
            });
        }
    }
    Ok(found)
}

/// The work folders in an area.
pub(super) fn find_in_area(area: &Path) -> Result<Vec<Place>, SyncError> {
    let fd = match fs::open_dir(area) {
        Err(error) if is_absent(&error) => return Ok(Vec::new()),
        other => other.at("open", area)?,
    };
    let mut found = Vec::new();
    for name in fs::names(&fd).at("list", area)? {
        if name.as_bytes().starts_with(IN_AREA.as_bytes()) {
            found.push(Place {
                parent: fd.try_clone().at("open", area)?,
                parent_path: area.to_owned(),
                name,
                inside: None,
            });
        }
    }
    Ok(found)
}
