//! Removing what may not be there.

use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;

use super::remove_whole;

/// As [`remove_whole`]; what is missing already is no error.
pub(crate) fn remove_tree(dir: impl AsFd, name: &OsStr) -> io::Result<()> {
    match remove_whole(dir, name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
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
