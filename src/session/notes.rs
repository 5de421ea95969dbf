//! What a workspace's part of the cache folder says of itself: only `devshell clean` needs it.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// The file that says whose part it is.
pub(super) const WORKSPACE: &str = "workspace";
/// The folder of what belongs to a guest's tree on this side.
const GUEST: &str = "guest";
/// The file in it that says where that tree is staged.
const TREE: &str = "tree";

/// Notes whose part of the cache folder this is.
pub(super) fn note_workspace(cache: &Path, workspace: &Path) -> io::Result<()> {
    note(cache, WORKSPACE, workspace)
}

/// Whose part this is, where that is known.
pub(super) fn workspace_of(cache: &Path) -> Option<PathBuf> {
    noted(&cache.join(WORKSPACE))
}

/// Notes where the tree is staged to which `folder` belongs; not for folders that callers of the library chose.
pub(super) fn note_tree(folder: &Path, tree: &Path, workspace: &Path) -> io::Result<()> {
    match folder.parent() {
        Some(cache) if folder.ends_with(GUEST) => {
            note_workspace(cache, workspace)?;
            note(folder, TREE, tree)
        }
        _ => Ok(()),
    }
}

/// The folder of what belongs to a guest's tree, and where that is staged.
pub(super) fn tree_of(cache: &Path) -> Option<(PathBuf, PathBuf)> {
    let folder = cache.join(GUEST);
    let tree = noted(&folder.join(TREE))?;
    Some((folder, tree))
}

fn note(folder: &Path, name: &str, path: &Path) -> io::Result<()> {
    if noted(&folder.join(name)).is_some_and(|known| known == path) {
        return Ok(());
    }
    crate::sys::fs::make_private_dirs(folder)?;
    std::fs::write(folder.join(name), path.as_os_str().as_bytes())
}

fn noted(file: &Path) -> Option<PathBuf> {
    let path = std::fs::read(file).ok()?;
    Some(PathBuf::from(OsStr::from_bytes(&path)))
}
