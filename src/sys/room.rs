//! How much room a file system has left.

use std::io;
use std::path::Path;

/// What the caller may still use; `None` where the file system does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) bytes: Option<u64>,
    pub(crate) inodes: Option<u64>,
}

/// The room on the file system that holds `path`.
pub(crate) fn room(path: &Path) -> io::Result<Room> {
    let found = rustix::fs::statvfs(path)?;
    // What is reserved for root is root's.
    let root = rustix::process::geteuid().is_root();
    let (blocks, inodes) = if root {
        (found.f_bfree, found.f_ffree)
    } else {
        (found.f_bavail, found.f_favail)
    };
    Ok(Room {
        bytes: (found.f_blocks > 0).then(|| blocks.saturating_mul(found.f_frsize)),
        inodes: (found.f_files > 0).then_some(inodes),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_without_blocks_says_nothing_of_its_room() {
        assert_eq!(
            room(Path::new("/proc")).unwrap(),
            Room {
                bytes: None,
                inodes: None
            }
        );
        let temp = tempfile::tempdir().unwrap();
        assert!(room(temp.path()).is_ok());
        assert!(room(Path::new("/no/such/path")).is_err());
    }
}
