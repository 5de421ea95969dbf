//! The tree: changing it. Nothing here touches the host.

use std::ffi::OsStr;
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::Arc;

use super::{Content, FileNode, Kind, Node, Time, Vfs, VfsError, VfsPath};

/// Permission bits of folders that are made on the way.
const DIR_MODE: u32 = 0o755;

impl Vfs {
    /// Writes a whole file; missing folders on the way are made. A link that stands there is
    /// replaced, not followed.
    ///
    /// # Errors
    /// [`VfsError::IsADirectory`] where a folder stands, whose content is kept;
    /// [`VfsError::NotADirectory`] where the way leads through a file.
    pub fn write_file(&mut self, path: impl AsRef<OsStr>, bytes: impl AsRef<[u8]>, mode: u32) -> Result<(), VfsError> {
        let path = self.place_for_file(path.as_ref())?;
        let node = FileNode {
            content: Content::Bytes(Arc::from(bytes.as_ref())),
            mode: mode & 0o7777,
            mtime: Some(Time::now()),
            owner: None,
        };
        self.changes.insert(path, Node::File(node));
        Ok(())
    }

    /// Makes a symbolic link; missing folders on the way are made. A file or link that stands
    /// there is replaced.
    ///
    /// # Errors
    /// As [`Self::write_file`].
    pub fn symlink(&mut self, target: impl Into<PathBuf>, path: impl AsRef<OsStr>) -> Result<(), VfsError> {
        let path = self.place_for_file(path.as_ref())?;
        let node = Node::Symlink {
            target: target.into(),
            mtime: Some(Time::now()),
        };
        self.changes.insert(path, node);
        Ok(())
    }

    /// Makes a folder with its parents. One that is there already stays as it is.
    ///
    /// # Errors
    /// [`VfsError::NotADirectory`] where a file or a link stands, there or on the way.
    pub fn mkdir(&mut self, path: impl AsRef<OsStr>) -> Result<(), VfsError> {
        let path = VfsPath::parse(path)?;
        self.refuse_outside(&path)?;
        let mut missing = Vec::new();
        let mut current = Some(path);
        while let Some(at) = current {
            match self.look(&at)?.map(|meta| meta.kind) {
                Some(Kind::Dir) => break,
                Some(_) => return Err(VfsError::NotADirectory(at)),
                None => {
                    // A missing entry below a file is the file's fault; go on up to find it.
                    current = at.parent();
                    missing.push(at);
                }
            }
        }
        for at in missing.into_iter().rev() {
            let node = Node::Dir {
                mode: DIR_MODE,
                mtime: None,
                replaces: true,
            };
            self.changes.insert(at, node);
        }
        Ok(())
    }

    /// Removes an entry with everything below it.
    ///
    /// # Errors
    /// [`VfsError::NotFound`], and [`VfsError::Outside`] for the workspace itself.
    pub fn remove(&mut self, path: impl AsRef<OsStr>) -> Result<(), VfsError> {
        let path = VfsPath::parse(path)?;
        self.refuse_outside(&path)?;
        if path == self.workspace() {
            return Err(VfsError::Outside {
                workspace: path.clone(),
                path,
            });
        }
        if self.look(&path)?.is_none() {
            return Err(VfsError::NotFound(path));
        }
        self.drop_changes_from(&path);
        let in_base = match &self.base {
            Some(base) if self.base_shows_through(&path) => base.stat(&path)?.is_some(),
            _ => false,
        };
        if in_base {
            self.changes.insert(path, Node::Deleted);
        }
        Ok(())
    }

    /// Forgets the changes of a path and of everything below it.
    pub(crate) fn drop_changes_from(&mut self, path: &VfsPath) {
        let range = (Bound::Included(path.clone()), Bound::Excluded(path.behind_subtree()));
        let keys: Vec<VfsPath> = self.changes.range(range).map(|(key, _)| key.clone()).collect();
        for key in keys {
            self.changes.remove(&key);
        }
    }

    fn place_for_file(&mut self, path: &OsStr) -> Result<VfsPath, VfsError> {
        let path = VfsPath::parse(path)?;
        self.refuse_outside(&path)?;
        match self.look(&path)?.map(|meta| meta.kind) {
            Some(Kind::Dir) => return Err(VfsError::IsADirectory(path)),
            Some(_) => {}
            None => {
                if let Some(parent) = path.parent() {
                    self.mkdir(&parent)?;
                }
            }
        }
        Ok(path)
    }

    fn refuse_outside(&self, path: &VfsPath) -> Result<(), VfsError> {
        let workspace = self.workspace();
        if path.starts_with(&workspace) {
            Ok(())
        } else {
            Err(VfsError::Outside {
                path: path.clone(),
                workspace,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> (tempfile::TempDir, Vfs) {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().join("w");
        std::fs::create_dir_all(root.join("d/e")).unwrap();
        std::fs::write(root.join("d/old"), "old").unwrap();
        std::fs::write(root.join("d/e/deep"), "deep").unwrap();
        let vfs = Vfs::from_dir(&root).unwrap();
        (temp, vfs)
    }

    #[test]
    fn writing_where_a_folder_stands_fails_and_keeps_its_content() {
        let (_temp, mut vfs) = tree();
        assert!(matches!(
            vfs.write_file("/w/d", "x", 0o644),
            Err(VfsError::IsADirectory(_))
        ));
        assert!(matches!(vfs.symlink("x", "/w/d"), Err(VfsError::IsADirectory(_))));
        assert_eq!(vfs.read_file("/w/d/old").unwrap(), b"old");
    }

    #[test]
    fn writing_through_a_file_fails() {
        let (_temp, mut vfs) = tree();
        for result in [
            vfs.write_file("/w/d/old/x", "x", 0o644),
            vfs.write_file("/w/d/old/x/y", "x", 0o644),
            vfs.mkdir("/w/d/old"),
            vfs.mkdir("/w/d/old/x"),
        ] {
            assert!(matches!(result, Err(VfsError::NotADirectory(path)) if path.as_os_str() == "/w/d/old"));
        }
    }

    #[test]
    fn a_removed_folder_hides_everything_below_and_revives_only_what_is_written() {
        let (_temp, mut vfs) = tree();
        vfs.remove("/w/d").unwrap();
        assert!(!vfs.exists("/w/d/e/deep"));
        assert!(matches!(vfs.remove("/w/d/old"), Err(VfsError::NotFound(_))));
        vfs.write_file("/w/d/new", "new", 0o644).unwrap();
        assert_eq!(vfs.read_dir("/w/d").unwrap(), ["new"]);
        assert!(!vfs.exists("/w/d/old"));
        vfs.remove("/w/d/new").unwrap();
        assert!(vfs.read_dir("/w/d").unwrap().is_empty());
        vfs.remove("/w/d").unwrap();
        assert!(!vfs.exists("/w/d"));
        vfs.clear_changes();
        assert_eq!(vfs.read_file("/w/d/e/deep").unwrap(), b"deep");
    }

    #[test]
    fn removing_what_only_a_change_made_leaves_no_trace() {
        let mut vfs = Vfs::new();
        vfs.write_file("/hello/sub/a.txt", "a", 0o644).unwrap();
        assert_eq!(vfs.metadata("/hello/sub/a.txt").unwrap().len, 1);
        vfs.remove("/hello").unwrap();
        assert_eq!(vfs.changes().count(), 0);
    }

    #[test]
    fn the_workspace_itself_and_what_lies_outside_cannot_be_changed() {
        let (_temp, mut vfs) = tree();
        assert!(matches!(vfs.remove("/w"), Err(VfsError::Outside { .. })));
        assert!(matches!(
            vfs.write_file("/other/x", "x", 0o644),
            Err(VfsError::Outside { .. })
        ));
        assert!(matches!(
            vfs.write_file("/w/../x", "x", 0o644),
            Err(VfsError::Outside { .. })
        ));
        assert!(matches!(Vfs::new().remove("/"), Err(VfsError::Outside { .. })));
    }
}
