//! The upper layers of an overlay, read as the kernel reads them.

use std::collections::{BTreeMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::sys::fs::{self, Kind, Stamp, Stat};
use crate::vfs::is_absent;

use super::error::{At as _, stop_if};
use super::{CancelFn, SyncError};

/// What the kernel's own attributes of layers begin with, in an overlay that is mounted with `userxattr`.
const MARK: &str = "user.overlay.";
/// Before the rest of an attribute's name: a tool has set one that looks like the kernel's own.
const ESCAPED: &str = "user.overlay.overlay.";

/// The layers that a view had over the workspace, when nothing uses it any more.
///
/// The view was mounted with `userxattr`, without `index`, `redirect_dir` and `metacopy`, and the workspace was its
/// lowest layer. What a tool made, changed or deleted lies in these folders and nowhere else.
#[derive(Debug, Clone, Default)]
pub struct Layers {
    /// The upper folders, the lowest first: absolute paths without links.
    pub uppers: Vec<PathBuf>,
    /// Paths relative to the workspace that devshell itself has whited out; nothing there is the tools' work.
    pub hidden: Vec<PathBuf>,
}

/// The layers, opened.
pub(super) struct Stack<'a> {
    roots: Vec<(OwnedFd, &'a Path)>,
    hidden: HashSet<&'a Path>,
}

/// A folder of the view that some layers hold.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    /// Relative to the workspace.
    pub(super) path: PathBuf,
    /// The layers whose entries it shows, the lowest first.
    members: Vec<usize>,
    /// Whether it shows the workspace's own entries as well.
    pub(super) through: bool,
}

/// What the layers say about one path.
pub(super) struct Seen {
    pub(super) path: PathBuf,
    pub(super) sight: Sight,
    /// The lowest layer that has the path, and what it has there.
    pub(super) lowest: (usize, Kind),
}

pub(super) enum Sight {
    /// Nothing; what lies below does not show.
    Nothing,
    /// A file, a link or a special file.
    Leaf { layer: usize, stamp: Stamp },
    /// A folder.
    Folder { stamp: Stamp, folder: Folder },
}

impl<'a> Stack<'a> {
    pub(super) fn open(layers: &'a Layers) -> Result<Self, SyncError> {
        let open = |path: &'a PathBuf| fs::open_absolute(path).at("open", path).map(|fd| (fd, path.as_path()));
        Ok(Self {
            roots: layers.uppers.iter().map(open).collect::<Result<_, _>>()?,
            hidden: layers.hidden.iter().map(PathBuf::as_path).collect(),
        })
    }

    /// The view's root folder with its stamp; `None` without layers.
    pub(super) fn root(&self) -> Result<Option<(Folder, Stamp)>, SyncError> {
        let Some((fd, path)) = self.roots.last() else {
            return Ok(None);
        };
        let folder = Folder {
            path: PathBuf::new(),
            members: (0..self.roots.len()).collect(),
            through: true,
        };
        Ok(Some((folder, fs::stat_fd(fd).at("look at", path)?.stamp)))
    }

    pub(super) fn root_of(&self, layer: usize) -> &OwnedFd {
        &self.roots[layer].0
    }

    /// The place of an entry in a layer.
    pub(super) fn full(&self, layer: usize, path: &Path) -> PathBuf {
        self.roots[layer].1.join(path)
    }

    /// The only layer that holds something of a folder, if there is but one.
    pub(super) fn only_layer(folder: &Folder) -> Option<usize> {
        match folder.members[..] {
            [layer] => Some(layer),
            _ => None,
        }
    }

    /// The folder of one layer, opened.
    pub(super) fn open_folder(&self, layer: usize, path: &Path) -> Result<OwnedFd, SyncError> {
        fs::open_beneath_forced(self.root_of(layer), path).at("open", self.full(layer, path))
    }

    /// What the layers hold in a folder, sorted by name. What they do not name is as the workspace has it.
    pub(super) fn entries(&self, folder: &Folder, cancel: CancelFn) -> Result<Vec<Seen>, SyncError> {
        let mut found: BTreeMap<OsString, Vec<(usize, Stat)>> = BTreeMap::new();
        for &layer in &folder.members {
            stop_if(cancel)?;
            let fd = self.open_folder(layer, &folder.path)?;
            let names = fs::names(&fd).at("list", self.full(layer, &folder.path))?;
            for name in names {
                let stat = fs::stat_at(&fd, &name).at("look at", self.full(layer, &folder.path).join(&name))?;
                found.entry(name).or_default().push((layer, stat));
            }
        }
        let mut entries = Vec::with_capacity(found.len());
        for (name, places) in found {
            stop_if(cancel)?;
            let path = folder.path.join(name);
            if let (Some((lowest, stat)), false) = (places.first(), self.hidden.contains(path.as_path())) {
                let lowest = (*lowest, stat.stamp.kind());
                let sight = self.sight(folder, &path, &places)?;
                entries.push(Seen { path, sight, lowest });
            }
        }
        Ok(entries)
    }

    /// What shows of the entries that some layers have at a path.
    fn sight(&self, parent: &Folder, path: &Path, places: &[(usize, Stat)]) -> Result<Sight, SyncError> {
        let Some((top, stat)) = places.last().copied() else {
            return Ok(Sight::Nothing);
        };
        if stat.whiteout {
            return Ok(Sight::Nothing);
        }
        let stamp = stat.stamp;
        if stamp.kind() != Kind::Dir {
            return Ok(Sight::Leaf { layer: top, stamp });
        }
        let (mut members, mut through) = (Vec::new(), parent.through);
        for (layer, stat) in places.iter().rev() {
            if stat.stamp.kind() != Kind::Dir {
                through = false;
                break;
            }
            members.push(*layer);
            if is_opaque(&self.open_folder(*layer, path)?).at("read", self.full(*layer, path))? {
                through = false;
                break;
            }
        }
        members.reverse();
        Ok(Sight::Folder {
            stamp,
            folder: Folder {
                path: path.to_owned(),
                members,
                through,
            },
        })
    }

    /// Whether what the view has at a path came from the workspace once, from there or from another path. What an upper
    /// layer has copied up from another one did so only if that one's did: `lowest` of [`Seen`] tells.
    pub(super) fn is_copied_up(&self, path: &Path, (layer, kind): (usize, Kind)) -> Result<bool, SyncError> {
        let open = || match kind {
            Kind::Dir => fs::open_beneath_forced(self.root_of(layer), path),
            _ => {
                let (dir, name) = crate::vfs::open_parent(self.root_of(layer), path)?;
                fs::open_file_forced(&dir, name)
            }
        };
        if !matches!(kind, Kind::File | Kind::Dir) {
            return Ok(false);
        }
        let names = open()
            .and_then(|fd| fs::attributes(&fd))
            .at("read", self.full(layer, path))?;
        Ok(names.iter().any(|name| name == "user.overlay.origin"))
    }
}

fn is_opaque(folder: &OwnedFd) -> io::Result<bool> {
    Ok(fs::attribute(folder, OsStr::new("user.overlay.opaque"))?.is_some_and(|value| value == b"y"))
}

/// Takes the kernel's marks off an open file or folder of a layer, before it becomes part of the workspace. What a
/// tool has set itself gets the name that the tool gave it. The mtime stays.
pub(super) fn strip(fd: &OwnedFd) -> io::Result<()> {
    let mut names = fs::attributes(fd)?;
    names.retain(|name| name.as_bytes().starts_with(MARK.as_bytes()));
    // The kernel's own first, then what was escaped once, and so on: each gets a name that is free by then.
    names.sort_by_key(|name| (name.as_bytes().starts_with(ESCAPED.as_bytes()), name.len()));
    if names.is_empty() {
        return Ok(());
    }
    let mode = fs::stat_fd(fd)?.stamp.mode();
    let closed = mode & 0o600 != 0o600 && fs::caller().0 != 0;
    if closed {
        fs::set_mode_fd(fd, mode | 0o600)?;
    }
    let stripped = names.iter().try_for_each(|name| strip_one(fd, name));
    if closed {
        fs::set_mode_fd(fd, mode)?;
    }
    stripped
}

fn strip_one(fd: &OwnedFd, name: &OsStr) -> io::Result<()> {
    if let Some(own) = name.as_bytes().strip_prefix(ESCAPED.as_bytes())
        && let Some(value) = fs::attribute(fd, name)?
    {
        let plain = [MARK.as_bytes(), own].concat();
        fs::set_attribute(fd, OsStr::from_bytes(&plain), &value)?;
    }
    fs::remove_attribute(fd, name)
}

/// The stat of a child of a folder of the workspace; `None` where there is none.
pub(super) fn child(folder: &OwnedFd, name: &OsStr) -> io::Result<Option<Stamp>> {
    match fs::stat_at(folder, name) {
        Ok(stat) => Ok(Some(stat.stamp)),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(error),
    }
}
