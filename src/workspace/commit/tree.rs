//! The workspace as it is now, seen without following links.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::sys::fs::{self, Stat};
use crate::vfs::is_absent;
use crate::workspace::SyncError;
use crate::workspace::error::At as _;

/// What stands at a path.
pub(super) enum Standing {
    /// An entry.
    Entry(Stat),
    /// Nothing, in a folder that is there.
    Nothing,
    /// The folder itself is not there, or is none.
    NoFolder,
}

/// A folder tree with the last opened folder at hand: steps come sorted by path.
pub(super) struct Tree<'a> {
    pub(super) root: &'a OwnedFd,
    pub(super) path: &'a Path,
    last: RefCell<Option<(PathBuf, Rc<OwnedFd>)>>,
}

impl<'a> Tree<'a> {
    pub(super) fn new(root: &'a OwnedFd, path: &'a Path) -> Self {
        Self {
            root,
            path,
            last: RefCell::new(None),
        }
    }

    /// Opens a folder below the root; an empty path is the root.
    pub(super) fn open(&self, relative: &Path) -> io::Result<Rc<OwnedFd>> {
        if let Some((path, fd)) = &*self.last.borrow()
            && path == relative
        {
            return Ok(Rc::clone(fd));
        }
        let fd = Rc::new(fs::open_beneath(self.root, relative)?);
        *self.last.borrow_mut() = Some((relative.to_owned(), Rc::clone(&fd)));
        Ok(fd)
    }

    /// Forgets the folder at hand: it may be another one by now.
    pub(super) fn forget(&self) {
        self.last.borrow_mut().take();
    }

    /// The folder that holds an entry, and the entry's name; `.` for the root.
    pub(super) fn parent<'p>(&self, relative: &'p Path) -> io::Result<(Rc<OwnedFd>, &'p OsStr)> {
        let name = relative.file_name().unwrap_or(OsStr::new("."));
        Ok((self.open(relative.parent().unwrap_or(Path::new("")))?, name))
    }

    pub(super) fn look(&self, relative: &Path) -> Result<Standing, SyncError> {
        let (parent, name) = match self.parent(relative) {
            Ok(found) => found,
            Err(error) if is_absent(&error) => return Ok(Standing::NoFolder),
            Err(error) => return Err(error).at("look at", self.full(relative)),
        };
        match fs::stat_at(&*parent, name) {
            Ok(stat) => Ok(Standing::Entry(stat)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Standing::Nothing),
            Err(error) => Err(error).at("look at", self.full(relative)),
        }
    }

    pub(super) fn full(&self, relative: &Path) -> PathBuf {
        self.path.join(relative)
    }
}
