//! The tree: looking at it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io::Read as _;
use std::ops::Bound;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use super::node::open_content;
use super::{Base, Content, Kind, Node, Time, VfsError, VfsPath};

/// The workspace as devshell sees it: a base (a host folder, read lazily, or nothing) plus
/// changes in memory. Paths in it are absolute and start at the workspace's parent: the
/// workspace `hello` is `/hello`. Symbolic links are never followed.
#[derive(Debug, Clone, Default)]
pub struct Vfs {
    pub(super) base: Option<Base>,
    pub(super) changes: BTreeMap<VfsPath, Node>,
}

/// What is known of an entry without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    /// What it is.
    pub kind: Kind,
    /// Permission bits.
    pub mode: u32,
    /// Size of a file in bytes; 0 for everything else.
    pub len: u64,
    /// Time of the last change; `None` for a change that has not been carried anywhere yet.
    pub mtime: Option<Time>,
}

/// Where the answer about a path lies.
enum Found<'a> {
    Change(&'a Node),
    Base,
    /// A folder that exists because something below it does.
    Implied,
    Nothing,
}

impl Vfs {
    /// An empty tree in memory.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The tree of a host folder, mounted at `/<its name>`. No file is read.
    ///
    /// # Errors
    /// [`VfsError::Unfit`] for `/`, [`VfsError::Io`] for what is missing or no folder.
    pub fn from_dir(path: impl AsRef<Path>) -> Result<Self, VfsError> {
        Ok(Self {
            base: Some(Base::open(path.as_ref())?),
            changes: BTreeMap::new(),
        })
    }

    /// As [`Self::from_dir`], of a folder that is open already; `path` is its canonical one.
    pub(crate) fn of_folder(path: PathBuf, root: OwnedFd) -> Result<Self, VfsError> {
        Ok(Self {
            base: Some(Base::of_folder(path, root)?),
            changes: BTreeMap::new(),
        })
    }

    /// Where the base is mounted, and its canonical path on the host.
    #[must_use]
    pub fn base(&self) -> Option<(&VfsPath, &Path)> {
        self.base.as_ref().map(|base| (&base.mount, base.path.as_path()))
    }

    /// The folder that is carried to a backend and back: the base's mount, or `/` without a base.
    #[must_use]
    pub fn workspace(&self) -> VfsPath {
        self.base.as_ref().map_or_else(VfsPath::root, |base| base.mount.clone())
    }

    /// What an entry is. A link is described itself.
    ///
    /// # Errors
    /// [`VfsError::NotFound`] and what reading the host can bring.
    pub fn metadata(&self, path: impl AsRef<OsStr>) -> Result<Metadata, VfsError> {
        let path = VfsPath::parse(path)?;
        self.look(&path)?.ok_or(VfsError::NotFound(path))
    }

    /// Whether there is an entry; a dangling link is one.
    #[must_use]
    pub fn exists(&self, path: impl AsRef<OsStr>) -> bool {
        self.metadata(path).is_ok()
    }

    /// The names in a folder, sorted by their bytes.
    ///
    /// # Errors
    /// [`VfsError::NotFound`], [`VfsError::NotADirectory`] and what reading the host can bring.
    pub fn read_dir(&self, path: impl AsRef<OsStr>) -> Result<Vec<OsString>, VfsError> {
        let path = VfsPath::parse(path)?;
        let meta = self.look(&path)?.ok_or_else(|| VfsError::NotFound(path.clone()))?;
        if meta.kind != Kind::Dir {
            return Err(VfsError::NotADirectory(path));
        }
        let mut names = BTreeSet::new();
        if let Some(base) = self.base.as_ref().filter(|_| self.base_shows_through(&path)) {
            if path.starts_with(&base.mount) {
                names.extend(base.names(&path)?);
            } else if let Some(name) = base.mount.file_name() {
                names.insert(name.to_owned());
            }
        }
        // Direct children only: after each the search goes on behind its subtree. A child with
        // changes below it but none of its own is a folder of the base, and listed already.
        let mut from = Bound::Excluded(path.clone());
        while let Some((key, node)) = self.changes.range((from, Bound::Unbounded)).next() {
            let Some(name) = key.strip_prefix(&path).and_then(|rest| rest.iter().next()) else {
                break;
            };
            let child = path.child(name)?;
            if *key == child {
                if matches!(node, Node::Deleted) {
                    names.remove(name);
                } else {
                    names.insert(name.to_owned());
                }
            }
            from = Bound::Included(child.behind_subtree());
        }
        Ok(names.into_iter().collect())
    }

    /// The bytes of a file.
    ///
    /// # Errors
    /// [`VfsError::NotFound`], [`VfsError::IsADirectory`], [`VfsError::IsASymlink`] and what
    /// reading the host can bring.
    pub fn read_file(&self, path: impl AsRef<OsStr>) -> Result<Vec<u8>, VfsError> {
        let path = VfsPath::parse(path)?;
        let meta = self.look(&path)?.ok_or_else(|| VfsError::NotFound(path.clone()))?;
        match (meta.kind, self.find(&path)) {
            (Kind::Dir, _) => Err(VfsError::IsADirectory(path)),
            (Kind::Symlink, _) => Err(VfsError::IsASymlink(path)),
            (Kind::Special, _) => Err(VfsError::Special(path)),
            (Kind::File, Found::Change(Node::File(file))) => read_content(&file.content),
            (Kind::File, _) => match &self.base {
                Some(base) => base.read(&path),
                None => Err(VfsError::NotFound(path)),
            },
        }
    }

    /// The target of a symbolic link, as written.
    ///
    /// # Errors
    /// [`VfsError::NotFound`], [`VfsError::NotASymlink`] and what reading the host can bring.
    pub fn read_link(&self, path: impl AsRef<OsStr>) -> Result<PathBuf, VfsError> {
        let path = VfsPath::parse(path)?;
        let meta = self.look(&path)?.ok_or_else(|| VfsError::NotFound(path.clone()))?;
        if meta.kind != Kind::Symlink {
            return Err(VfsError::NotASymlink(path));
        }
        match (self.find(&path), &self.base) {
            (Found::Change(Node::Symlink { target, .. }), _) => Ok(target.clone()),
            (_, Some(base)) => base.read_link(&path),
            (_, None) => Err(VfsError::NotFound(path)),
        }
    }

    /// What was changed, a folder before its content.
    pub fn changes(&self) -> impl DoubleEndedIterator<Item = (&VfsPath, &Node)> {
        self.changes.iter()
    }

    /// Forgets all changes: the tree is the base again.
    pub fn clear_changes(&mut self) {
        self.changes.clear();
    }

    /// Puts a change in as it is, without a look at the base. The caller knows that it fits.
    pub(crate) fn insert(&mut self, path: VfsPath, node: Node) {
        self.changes.insert(path, node);
    }

    /// Takes one change out as it is.
    pub(crate) fn forget(&mut self, path: &VfsPath) -> Option<Node> {
        self.changes.remove(path)
    }

    /// The change at exactly this path.
    pub(crate) fn change(&self, path: &VfsPath) -> Option<&Node> {
        self.changes.get(path)
    }

    /// The changed entry, for moving its content elsewhere.
    pub(crate) fn change_mut(&mut self, path: &VfsPath) -> Option<&mut Node> {
        self.changes.get_mut(path)
    }

    pub(crate) fn base_folder(&self) -> Option<&Base> {
        self.base.as_ref()
    }

    pub(super) fn look(&self, path: &VfsPath) -> Result<Option<Metadata>, VfsError> {
        let (kind, mode, len, mtime) = match self.find(path) {
            Found::Nothing => return Ok(None),
            Found::Implied => (Kind::Dir, 0o755, 0, None),
            Found::Change(Node::Deleted) => return Ok(None),
            Found::Change(Node::File(file)) => (Kind::File, file.mode, file.content.len(), file.mtime),
            Found::Change(Node::Dir { mode, mtime, .. }) => (Kind::Dir, *mode, 0, *mtime),
            Found::Change(Node::Symlink { mtime, .. }) => (Kind::Symlink, 0o777, 0, *mtime),
            Found::Base => {
                let Some(stat) = self.base.as_ref().map(|base| base.stat(path)).transpose()?.flatten() else {
                    return Ok(None);
                };
                let kind = stat.stamp.kind();
                let len = if kind == Kind::File { stat.stamp.size } else { 0 };
                (kind, stat.stamp.mode(), len, Some(stat.stamp.mtime()))
            }
        };
        Ok(Some(Metadata { kind, mode, len, mtime }))
    }

    fn find(&self, path: &VfsPath) -> Found<'_> {
        match self.changes.get(path) {
            // Entries may stand below a deletion only with their folders recorded as well, so a
            // deletion is final here.
            Some(node) => return Found::Change(node),
            None if path.is_root() => return Found::Implied,
            None => {}
        }
        if !self.base_shows_through(path) {
            return Found::Nothing;
        }
        match &self.base {
            Some(base) if path.starts_with(&base.mount) => Found::Base,
            _ => Found::Nothing,
        }
    }

    /// Whether no change on the way, this path included, hides what the base has below `path`.
    pub(crate) fn base_shows_through(&self, path: &VfsPath) -> bool {
        let mut current = Some(path.clone());
        while let Some(at) = current {
            match self.changes.get(&at) {
                None | Some(Node::Dir { replaces: false, .. }) => {}
                Some(_) => return false,
            }
            current = at.parent();
        }
        true
    }
}

fn read_content(content: &Content) -> Result<Vec<u8>, VfsError> {
    match content {
        Content::Bytes(bytes) => Ok(bytes.to_vec()),
        Content::File { path, .. } => {
            let read = || {
                let mut bytes = Vec::new();
                std::fs::File::from(open_content(path)?).read_to_end(&mut bytes)?;
                Ok(bytes)
            };
            read().map_err(|source| VfsError::Io {
                action: "read",
                path: path.clone(),
                source,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::fs::symlink;

    #[test]
    fn root_and_files_cannot_be_a_base() {
        assert!(matches!(Vfs::from_dir("/"), Err(VfsError::Unfit { .. })));
        let temp = tempfile::tempdir().unwrap();
        std::fs::write(temp.path().join("file"), "").unwrap();
        assert!(matches!(
            Vfs::from_dir(temp.path().join("file")),
            Err(VfsError::Io { .. })
        ));
    }

    #[test]
    fn the_base_is_read_lazily_and_links_are_not_followed() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().join("w");
        std::fs::create_dir(&root).unwrap();
        symlink("..", root.join("up")).unwrap();
        std::fs::write(temp.path().join("secret"), "s").unwrap();
        let vfs = Vfs::from_dir(&root).unwrap();
        std::fs::write(root.join("late"), "later").unwrap();

        assert_eq!(vfs.read_file("/w/late").unwrap(), b"later");
        assert_eq!(vfs.read_link("/w/up").unwrap(), Path::new(".."));
        assert!(matches!(vfs.read_file("/w/up"), Err(VfsError::IsASymlink(_))));
        assert!(vfs.read_file("/w/up/secret").is_err());
        assert!(!vfs.exists("/w/up/secret"));
        assert_eq!(vfs.read_dir("/").unwrap(), ["w"]);
        assert_eq!(vfs.read_dir("/w").unwrap(), ["late", "up"]);
        assert!(matches!(vfs.read_dir("/w/late"), Err(VfsError::NotADirectory(_))));
    }

    #[test]
    fn a_listing_merges_the_base_with_the_changes() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().join("w");
        std::fs::create_dir_all(root.join("d")).unwrap();
        for name in ["a", "b", "d/x"] {
            std::fs::write(root.join(name), name).unwrap();
        }
        let mut vfs = Vfs::from_dir(&root).unwrap();
        let odd = OsStr::from_bytes(b"z\n\xff");
        vfs.write_file(VfsPath::parse("/w").unwrap().child(odd).unwrap(), "odd", 0o644)
            .unwrap();
        vfs.write_file("/w/d/y/deep", "deep", 0o600).unwrap();
        vfs.remove("/w/b").unwrap();
        assert_eq!(vfs.read_dir("/w").unwrap(), [OsStr::new("a"), OsStr::new("d"), odd]);
        assert_eq!(vfs.read_dir("/w/d").unwrap(), ["x", "y"]);
        assert!(root.join("b").exists());
    }

    #[test]
    fn fifty_thousand_entries_in_one_folder_are_listed_at_once() {
        let mut vfs = Vfs::new();
        for number in 0..50_000 {
            vfs.write_file(format!("/w/f{number}"), "", 0o644).unwrap();
        }
        assert_eq!(vfs.read_dir("/w").unwrap().len(), 50_000);
        vfs.remove("/w").unwrap();
        assert_eq!(vfs.changes().count(), 0);
    }
}
