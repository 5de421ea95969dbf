//! What goes over the wire when a tree is carried (`transfer`): records in the bytes of
//! `transfer_data`, in both directions.
//!
//! A record is encoded by postcard: its number in one byte, then its fields in order. Whole
//! numbers are varints (the lowest seven bits first, the top bit says that more follow), signed
//! ones zigzag before that; bytes have their count before them; a digest is 32 bytes as they are.

use serde::{Deserialize, Serialize};

/// The BLAKE3 of a content.
pub type Digest = [u8; 32];

/// The most that one [`TreeRecord`] may need.
pub const MAX_RECORD: usize = 4096;

/// The longest name of an entry.
pub const MAX_NAME: usize = 1024;

/// The longest target of a link.
pub const MAX_TARGET: u64 = 4095;

/// How many entries a tree may have.
pub const MAX_ENTRIES: usize = 4_000_000;

/// The longest path of a folder within its tree: more no system call takes.
pub const MAX_FOLDER_PATH: usize = 4095;

/// What all entries of a tree may weigh together, in bytes: [`ENTRY_WEIGHT`] and its name each, a folder or special its
/// path in the tree besides.
pub const MAX_WEIGHT: usize = 384 * 1024 * 1024;

/// What an entry weighs without its name.
pub const ENTRY_WEIGHT: usize = 64;

/// One record. The giver has the tree; the taker is to become equal to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TreeRecord<'a> {
    /// Taker: the trees differ, the entries are wanted. Only where the request did not say it.
    Differs,
    /// Giver: an entry. The first is the tree's own folder, with depth 0 and an empty name; what a
    /// folder holds comes behind it, one deeper, sorted by the bytes of the names.
    Entry {
        /// How many folders it lies in, the tree's own counted.
        depth: u16,
        /// Its name there.
        #[serde(borrow)]
        name: &'a [u8],
        /// What it is.
        kind: TreeKind,
        /// Permission bits with setuid, setgid and sticky; 0 for links and specials.
        mode: u16,
        /// Time of the last change of the content, seconds since 1970; 0 for specials.
        mtime_s: i64,
        /// Its nanoseconds.
        mtime_ns: u32,
    },
    /// Giver: these were all.
    Entries {
        /// How many there were.
        count: u64,
    },
    /// Taker: the content of this entry is wanted, from `offset` on. In the order of the entries.
    Want {
        /// Its number; the tree's own folder is 0.
        entry: u32,
        /// How much of it is there already.
        offset: u64,
    },
    /// Taker: these were all.
    Wants {
        /// How many there were.
        count: u64,
    },
    /// Giver: so many bytes of the wanted content follow; contents come in the order of the wants.
    Piece {
        /// At most 65536.
        len: u32,
    },
    /// Giver: this content is complete.
    End,
    /// Giver: the entry is not what it was any more; its content does not come.
    Changed,
    /// Taker: all of it has its place.
    Done,
}

/// What an entry is, with what its content is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TreeKind {
    /// A folder.
    Dir,
    /// A regular file.
    File {
        /// In bytes.
        size: u64,
        /// Of the content.
        digest: Digest,
    },
    /// A symbolic link: its target is its content.
    Symlink {
        /// Of the target, in bytes.
        size: u64,
        /// Of the target.
        digest: Digest,
    },
    /// A FIFO, a socket or a device: told of and not carried.
    Special,
}

/// Why bytes are no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoRecord {
    /// It is not there to its end yet.
    Unfinished,
    /// It is none.
    Malformed,
}

impl TreeRecord<'_> {
    /// Appends the record as it goes over the wire.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        // Numbers and bytes cannot fail to be written to memory.
        if let Ok(whole) = postcard::to_extend(self, std::mem::take(out)) {
            *out = whole;
        }
    }

    /// The record at the beginning of some bytes, and how many they are.
    ///
    /// # Errors
    /// [`NoRecord`].
    pub fn read_from(bytes: &[u8]) -> Result<(TreeRecord<'_>, usize), NoRecord> {
        let bytes = bytes.get(..MAX_RECORD).unwrap_or(bytes);
        match postcard::take_from_bytes::<TreeRecord>(bytes) {
            Ok((record, rest)) => Ok((record, bytes.len() - rest.len())),
            Err(postcard::Error::DeserializeUnexpectedEnd) if bytes.len() < MAX_RECORD => Err(NoRecord::Unfinished),
            Err(_) => Err(NoRecord::Malformed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: TreeRecord = TreeRecord::Entry {
        depth: 1,
        name: b"a\xff",
        kind: TreeKind::File {
            size: 300,
            digest: [7; 32],
        },
        mode: 0o644,
        mtime_s: -1,
        mtime_ns: 999_999_999,
    };

    #[test]
    fn records_are_what_the_documentation_says_and_come_back() {
        let mut bytes = Vec::new();
        ENTRY.write_to(&mut bytes);
        let digest = [7; 32];
        let expected = [
            &[1, 1, 2, b'a', 0xff, 1, 0xac, 2][..],
            &digest,
            &[0xa4, 3, 1, 0xff, 0x93, 0xeb, 0xdc, 3],
        ];
        assert_eq!(bytes, expected.concat());
        let length = bytes.len();
        TreeRecord::Done.write_to(&mut bytes);
        assert_eq!(TreeRecord::read_from(&bytes).unwrap(), (ENTRY, length));
        assert_eq!(TreeRecord::read_from(&bytes[length..]).unwrap(), (TreeRecord::Done, 1));
        assert_eq!(bytes[length], 8);
        for cut in 0..length {
            assert_eq!(TreeRecord::read_from(&bytes[..cut]), Err(NoRecord::Unfinished), "{cut}");
        }
    }

    #[test]
    fn what_is_no_record_or_too_long_a_one_is_malformed() {
        assert_eq!(TreeRecord::read_from(&[9]), Err(NoRecord::Malformed));
        let endless = [0xff; 64];
        assert_eq!(
            TreeRecord::read_from(&[&[2][..], &endless].concat()),
            Err(NoRecord::Malformed)
        );
        let mut long = vec![1, 1, 0xff, 0xff, 3];
        long.resize(MAX_RECORD + 1, b'x');
        assert_eq!(TreeRecord::read_from(&long), Err(NoRecord::Malformed));
    }
}
