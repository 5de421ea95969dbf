//! What is known of an entry without opening it.

use rustix::fs::FileType;
use serde::{Deserialize, Serialize};

use super::Time;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A regular file.
    File,
    /// A folder.
    Dir,
    /// A symbolic link.
    Symlink,
    /// A FIFO, a socket or a device.
    Special,
}

/// What tells that an entry is the one it was: it can be written to disk and compared later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stamp {
    /// Size in bytes.
    pub(crate) size: u64,
    /// Inode number.
    pub(crate) ino: u64,
    mtime_secs: i64,
    ctime_secs: i64,
    mtime_nanos: u32,
    ctime_nanos: u32,
    /// `st_mode`: type and permission bits.
    raw_mode: u32,
    /// Owner.
    pub(crate) uid: u32,
    /// Group.
    pub(crate) gid: u32,
}

impl Stamp {
    /// The stamp of nothing: a special file of no size and no time.
    pub(crate) const fn none() -> Self {
        Self {
            size: 0,
            ino: 0,
            mtime_secs: 0,
            ctime_secs: 0,
            mtime_nanos: 0,
            ctime_nanos: 0,
            raw_mode: 0,
            uid: 0,
            gid: 0,
        }
    }

    /// What the entry is.
    pub(crate) fn kind(&self) -> Kind {
        match FileType::from_raw_mode(self.raw_mode) {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Dir,
            FileType::Symlink => Kind::Symlink,
            _ => Kind::Special,
        }
    }

    /// Whether both are of one file type; [`Kind`] does not tell a FIFO from a socket.
    pub(crate) fn same_type(&self, other: &Self) -> bool {
        FileType::from_raw_mode(self.raw_mode) == FileType::from_raw_mode(other.raw_mode)
    }

    /// The permission bits, setuid, setgid and sticky included.
    pub(crate) fn mode(&self) -> u32 {
        self.raw_mode & 0o7777
    }

    /// Time of the last change of the content.
    pub(crate) fn mtime(&self) -> Time {
        Time::new(self.mtime_secs, self.mtime_nanos)
    }

    /// Time of the last change of anything.
    pub(crate) fn ctime(&self) -> Time {
        Time::new(self.ctime_secs, self.ctime_nanos)
    }

    /// Whether two stamps of folders agree in what a folder itself has: mode, owner and mtime.
    pub(crate) fn same_folder(&self, other: &Self) -> bool {
        (self.raw_mode, self.uid, self.gid, self.mtime()) == (other.raw_mode, other.uid, other.gid, other.mtime())
    }

    /// Whether everything but the ctime is the same; a rename changes the ctime of what it moves.
    pub(crate) fn same_but_ctime(&self, other: &Self) -> bool {
        Self {
            ctime_secs: other.ctime_secs,
            ctime_nanos: other.ctime_nanos,
            ..*self
        } == *other
    }
}

/// A stamp and what only the moment needs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stat {
    pub(crate) stamp: Stamp,
    /// Device of the file system.
    pub(crate) dev: u64,
    /// Number of names.
    pub(crate) nlink: u64,
    /// Blocks of 512 bytes that are allocated.
    pub(crate) blocks: u64,
    /// Whether it is the character device 0:0: in a layer of an overlay the mark of a deletion.
    pub(crate) whiteout: bool,
}

impl Stat {
    /// Device and inode: what tells an entry from every other that is there.
    pub(crate) fn id(&self) -> (u64, u64) {
        (self.dev, self.stamp.ino)
    }
}

impl From<rustix::fs::Stat> for Stat {
    #[allow(
        clippy::useless_conversion,
        clippy::unnecessary_cast,
        clippy::cast_possible_wrap,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the field types differ from system to system"
    )]
    fn from(stat: rustix::fs::Stat) -> Self {
        Self {
            stamp: Stamp {
                size: stat.st_size as u64,
                ino: stat.st_ino as u64,
                mtime_secs: stat.st_mtime as i64,
                ctime_secs: stat.st_ctime as i64,
                mtime_nanos: stat.st_mtime_nsec as u32,
                ctime_nanos: stat.st_ctime_nsec as u32,
                raw_mode: stat.st_mode as u32,
                uid: stat.st_uid,
                gid: stat.st_gid,
            },
            dev: stat.st_dev as u64,
            nlink: stat.st_nlink as u64,
            blocks: stat.st_blocks as u64,
            whiteout: FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0,
        }
    }
}
