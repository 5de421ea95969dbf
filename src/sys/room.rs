//! How much room a file system has left.

use std::io;
use std::path::Path;

/// What the caller may still use; `None` where the file system does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) bytes: Option<u64>,
    pub(crate) inodes: Option<u64>,
}

/// With less than this not even a journal and a small file can be written. No more than that: a small disk
/// with room for a small result is none of devshell's business.
const FULL: (u64, u64) = (64 << 10, 8);

impl Room {
    /// Whether the file system holds no more.
    pub(crate) fn is_full(self) -> bool {
        self.is_below(FULL)
    }

    /// Whether less than so many bytes or inodes are left.
    pub(crate) fn is_below(self, (bytes, inodes): (u64, u64)) -> bool {
        self.bytes.is_some_and(|left| left < bytes) || self.inodes.is_some_and(|left| left < inodes)
    }
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

    #[test]
    fn a_file_system_that_says_nothing_is_not_full_and_one_without_inodes_is() {
        let room = |bytes, inodes| Room { bytes, inodes };
        assert!(!room(None, None).is_full());
        assert!(room(Some(1 << 40), Some(3)).is_full());
        assert!(room(Some(4096), None).is_full());
        assert!(!room(Some(1 << 30), Some(1 << 20)).is_full());
    }
}
