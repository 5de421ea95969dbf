//! Removing whole trees.

use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;

use rustix::io::Errno;

use super::{before_change, make_reachable, names, open_child_dir, remove_dir};

/// Removes an entry with everything below it, without following links. Folders that lack the
/// owner's permissions get them first. What is missing already is no error.
pub(crate) fn remove_tree(dir: impl AsFd, name: &OsStr) -> io::Result<()> {
    before_change();
    match rustix::fs::unlinkat(&dir, name, rustix::fs::AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    match remove_dir(&dir, name) {
        Err(error) if error.raw_os_error() == Some(Errno::NOTEMPTY.raw_os_error()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => return other,
    }
    make_reachable(&dir, name)?;
    let folder = open_child_dir(&dir, name)?;
    for child in names(&folder)? {
        remove_tree(&folder, &child)?;
    }
    remove_dir(&dir, name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    #[test]
    fn read_only_folders_go_and_link_targets_stay() {
        let temp = tempfile::tempdir().unwrap();
        let tree = temp.path().join("tree/deep");
        fs::create_dir_all(&tree).unwrap();
        fs::write(tree.join("file"), "x").unwrap();
        fs::write(temp.path().join("kept"), "x").unwrap();
        symlink("../../kept", tree.join("link")).unwrap();
        fs::set_permissions(&tree, fs::Permissions::from_mode(0o500)).unwrap();
        fs::set_permissions(tree.parent().unwrap(), fs::Permissions::from_mode(0o000)).unwrap();

        let root = super::super::open_dir(temp.path()).unwrap();
        remove_tree(&root, OsStr::new("tree")).unwrap();
        remove_tree(&root, OsStr::new("tree")).unwrap();
        assert!(!temp.path().join("tree").exists());
        assert!(temp.path().join("kept").exists());
    }
}
