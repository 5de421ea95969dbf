//! The host folder that a Vfs starts from, read lazily.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::sys::fs::{self, Stat};

use super::{VfsError, VfsPath};

/// A host folder mounted in a Vfs. The descriptor holds the folder itself, whatever its path
/// names later.
#[derive(Debug, Clone)]
pub(crate) struct Base {
    pub(crate) mount: VfsPath,
    pub(crate) path: PathBuf,
    root: Arc<OwnedFd>,
}

impl Base {
    pub(super) fn open(path: &Path) -> Result<Self, VfsError> {
        let io = |source| VfsError::Io {
            action: "open the folder",
            path: path.to_owned(),
            source,
        };
        let canonical = path.canonicalize().map_err(io)?;
        let root = fs::open_dir(&canonical).map_err(io)?;
        Self::of_folder(canonical, root)
    }

    /// A folder that is open already; `path` is its canonical one.
    pub(super) fn of_folder(path: PathBuf, root: OwnedFd) -> Result<Self, VfsError> {
        let Some(name) = path.file_name() else {
            return Err(VfsError::Unfit {
                path,
                why: "it is the root of the file system; name the project's folder",
            });
        };
        Ok(Self {
            mount: VfsPath::root().child(name)?,
            path,
            root: Arc::new(root),
        })
    }

    pub(crate) fn root(&self) -> &OwnedFd {
        &self.root
    }

    /// The stat of an entry; `None` when it is not there, or something on the way is no folder.
    pub(crate) fn stat(&self, path: &VfsPath) -> Result<Option<Stat>, VfsError> {
        let Some(relative) = path.strip_prefix(&self.mount) else {
            return Ok(None);
        };
        match stat_below(&self.root, relative) {
            Ok(stat) => Ok(Some(stat)),
            Err(error) if is_absent(&error) => Ok(None),
            Err(source) => Err(self.error("look at", relative, source)),
        }
    }

    pub(super) fn names(&self, path: &VfsPath) -> Result<Vec<OsString>, VfsError> {
        let relative = self.relative(path);
        fs::open_beneath(&self.root, relative)
            .and_then(|folder| fs::names(&folder))
            .map_err(|source| self.error("list", relative, source))
    }

    pub(super) fn read(&self, path: &VfsPath) -> Result<Vec<u8>, VfsError> {
        let relative = self.relative(path);
        let read = || {
            let (folder, name) = open_parent(&self.root, relative)?;
            let mut bytes = Vec::new();
            std::fs::File::from(fs::open_file(&folder, name)?).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        read().map_err(|source| self.error("read", relative, source))
    }

    pub(super) fn read_link(&self, path: &VfsPath) -> Result<PathBuf, VfsError> {
        let relative = self.relative(path);
        open_parent(&self.root, relative)
            .and_then(|(folder, name)| fs::read_link_at(&folder, name))
            .map_err(|source| self.error("read the link", relative, source))
    }

    fn relative<'p>(&self, path: &'p VfsPath) -> &'p Path {
        path.strip_prefix(&self.mount).unwrap_or(Path::new(""))
    }

    fn error(&self, action: &'static str, relative: &Path, source: io::Error) -> VfsError {
        VfsError::Io {
            action,
            path: self.path.join(relative),
            source,
        }
    }
}

/// The folder that holds `relative`, opened below `root`, and the last name.
pub(crate) fn open_parent<'p>(root: &OwnedFd, relative: &'p Path) -> io::Result<(OwnedFd, &'p OsStr)> {
    let name = relative.file_name().unwrap_or(OsStr::new("."));
    let parent = relative.parent().unwrap_or(Path::new(""));
    Ok((fs::open_beneath(root, parent)?, name))
}

fn stat_below(root: &OwnedFd, relative: &Path) -> io::Result<Stat> {
    if relative.as_os_str().is_empty() {
        return fs::stat_fd(root);
    }
    let (folder, name) = open_parent(root, relative)?;
    fs::stat_at(&folder, name)
}

/// Whether the error says that no such entry is in the tree; a link on the way counts as that.
pub(crate) fn is_absent(error: &io::Error) -> bool {
    fs::is_not_a_folder(error) || error.kind() == io::ErrorKind::NotFound
}
