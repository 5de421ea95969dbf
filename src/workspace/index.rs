//! The two-sided index: what source and staging looked like when they were last the same.

use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::sys::fs::{Kind, Stamp, Time};

use super::SyncError;
use super::error::At as _;
use super::stored::Stored;
use super::table::{CheckedTable, PathTable};

/// Names the format and its version; an index with another head is as good as none.
const HEAD: &[u8; 8] = b"DSINDEX\x01";
/// More than this is no index of ours: some 5 million entries.
pub(super) const LIMIT: u64 = 512 * 1024 * 1024;
pub(super) const CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);

/// What was staged, path by path. An entry whose source and staged stamps are both still the
/// recorded ones need not be read again.
#[derive(Debug, Clone, Default)]
pub struct Index {
    pub(crate) entries: PathTable<Entry>,
}

/// One path of an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// The source before it was read; for a change of the Vfs the staged entry itself.
    pub(crate) source: Stamp,
    staged_ino: u64,
    staged_ctime: Time,
    pub(crate) staged_mode: u32,
    /// Whether an equal source stamp means an equal source. Not so for a change of the Vfs, nor
    /// for a file so young that a later change in the same clock tick would not show.
    settled: bool,
}

impl Entry {
    pub(crate) fn new(source: Stamp, staged: &Stamp, settled: bool) -> Self {
        Self {
            source,
            staged_ino: staged.ino,
            staged_ctime: staged.ctime(),
            staged_mode: staged.mode(),
            settled,
        }
    }

    pub(crate) fn staged_ctime(&self) -> Time {
        self.staged_ctime
    }

    /// Whether the source is what it was.
    pub(crate) fn has_source(&self, now: &Stamp) -> bool {
        if now.kind() == Kind::Dir && self.source.kind() == Kind::Dir {
            return (now.mode(), now.uid, now.gid) == (self.source.mode(), self.source.uid, self.source.gid);
        }
        self.settled && *now == self.source
    }

    /// Whether the staged entry is what it was.
    pub(crate) fn has_staged(&self, now: &Stamp) -> bool {
        if now.kind() != self.source.kind() || now.mode() != self.staged_mode {
            return false;
        }
        // A folder's times change with its content, which has entries of its own.
        now.kind() == Kind::Dir
            || (now.size, now.ino, now.ctime()) == (self.source.size, self.staged_ino, self.staged_ctime)
    }
}

/// A row as it is written.
#[derive(Serialize)]
pub(super) struct Wire<'a, T> {
    depth: u16,
    name: &'a [u8],
    entry: T,
}

impl Index {
    /// The number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads an index; one that is missing, damaged, foreign or too large is empty: then
    /// everything is staged anew.
    #[must_use]
    pub fn load(path: &Path) -> Self {
        load_table(path, HEAD)
            .map(|entries| Self { entries })
            .unwrap_or_default()
    }

    /// Writes the index in one step: the old one or the new one is there, never a part.
    ///
    /// # Errors
    /// [`SyncError::Io`] with the path.
    pub fn store(&self, path: &Path) -> Result<(), SyncError> {
        store_table(&self.entries, |row| Some(*self.entries.value(row)), HEAD, path)
    }

    /// Removes what a killed process left of an index that it was writing. Whoever may write an
    /// index holds the lock of its folder, so there is one such name and no more.
    pub(super) fn clear_unfinished(path: &Path) {
        let _ = std::fs::remove_file(unfinished(path));
    }
}

/// Reads a table that [`store_table`] has written; none where it is missing, damaged, foreign or too large.
fn load_table<T: DeserializeOwned>(path: &Path, head: &[u8; 8]) -> Option<PathTable<T>> {
    whole_table(Stored::open(path, head)?)
}

/// The stored rows as a table, if they are as many as were announced and stand in its order.
fn whole_table<T: DeserializeOwned, R: Read>(mut stored: Stored<T, R>) -> Option<PathTable<T>> {
    // The claimed count is compared with what is there, and never allocated.
    let mut table = CheckedTable::with_capacity(stored.left() / 64, stored.left() / 8);
    while let Some((depth, name, value)) = stored.next_row() {
        if !table.push(depth, name, value) {
            return None;
        }
    }
    (stored.is_whole() && table.len() as u64 == stored.count()).then(|| table.finish())
}

/// Writes a table in one step: the old one or the new one is there, never a part. Rows for which there is no value
/// are left out.
///
/// # Errors
/// [`SyncError::Io`] with the path.
pub(crate) fn store_table<T, V: Serialize>(
    table: &PathTable<T>,
    value: impl Fn(usize) -> Option<V>,
    head: &[u8; 8],
    path: &Path,
) -> Result<(), SyncError> {
    let new = unfinished(path);
    let write = || -> io::Result<()> {
        let mut file = std::fs::File::create(&new)?;
        write_to(
            table,
            value,
            head,
            &mut io::BufWriter::with_capacity(64 * 1024, &mut file),
        )?;
        std::fs::rename(&new, path)
    };
    write()
        .inspect_err(|_| Index::clear_unfinished(path))
        .at("write the index", path)
}

/// Row by row: a table in memory and all its bytes at once would be too much.
fn write_to<T, V: Serialize>(
    table: &PathTable<T>,
    value: impl Fn(usize) -> Option<V>,
    head: &[u8; 8],
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let mut sum = CRC.digest();
    let mut put = |bytes: &[u8]| {
        sum.update(bytes);
        out.write_all(bytes)
    };
    put(head)?;
    let count = (0..table.len()).filter(|row| value(*row).is_some()).count();
    put(&(count as u64).to_le_bytes())?;
    let mut buffer = Vec::new();
    for row in 0..table.len() {
        let Some(entry) = value(row) else { continue };
        let wire = Wire {
            depth: u16::try_from(table.depth(row)).map_err(io::Error::other)?,
            name: table.name(row).as_bytes(),
            entry,
        };
        buffer.clear();
        buffer = postcard::to_extend(&wire, buffer).map_err(io::Error::other)?;
        put(&buffer)?;
    }
    let sum = sum.finalize();
    out.write_all(&sum.to_le_bytes())?;
    out.flush()
}

/// Where an index is until it is whole.
fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

pub(super) fn read_limited(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path)?;
    if file.metadata()?.len() > LIMIT {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    file.take(LIMIT).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The body between the head and a checksum that fits.
pub(super) fn checked_body<'a>(bytes: &'a [u8], head: &[u8]) -> Option<&'a [u8]> {
    let (content, sum) = bytes.split_last_chunk::<4>()?;
    if CRC.checksum(content) != u32::from_le_bytes(*sum) {
        return None;
    }
    content.strip_prefix(head)
}

/// `head`, `body` and their checksum.
pub(super) fn with_checksum(head: &[u8], body: &[u8]) -> Vec<u8> {
    let mut bytes = [head, body].concat();
    let sum = CRC.checksum(&bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::fs;

    fn sample() -> (tempfile::TempDir, Index) {
        let temp = tempfile::tempdir().unwrap();
        let stamp = fs::stat_fd(fs::open_dir(temp.path()).unwrap()).unwrap().stamp;
        let entry = Entry::new(stamp, &stamp, true);
        let mut entries = PathTable::default();
        for (depth, name) in [(0, &b""[..]), (1, b"a"), (2, b"x\n\xff"), (2, b"y"), (1, b"b")] {
            assert!(entries.push(depth, name, entry));
        }
        (temp, Index { entries })
    }

    fn bytes_of(index: &Index) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_to(&index.entries, |row| Some(*index.entries.value(row)), HEAD, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn what_a_killed_process_left_of_an_index_is_replaced_and_cleared() {
        let (temp, index) = sample();
        let path = temp.path().join("index");
        std::fs::write(unfinished(&path), "a part").unwrap();
        index.store(&path).unwrap();
        assert!(!unfinished(&path).exists() && !Index::load(&path).is_empty());
        std::fs::write(unfinished(&path), "a part").unwrap();
        Index::clear_unfinished(&path);
        assert!(!unfinished(&path).exists());
    }

    #[test]
    fn an_index_comes_back_as_it_was_written() {
        let (temp, index) = sample();
        let path = temp.path().join("index");
        index.store(&path).unwrap();
        let loaded = Index::load(&path);
        assert_eq!(bytes_of(&loaded), bytes_of(&index));
        assert_eq!(loaded.len(), 5);
    }

    #[test]
    fn a_damaged_foreign_or_missing_index_is_none() {
        let (temp, index) = sample();
        let path = temp.path().join("index");
        assert!(Index::load(&path).is_empty());
        let good = bytes_of(&index);
        for cut in 0..good.len() {
            std::fs::write(&path, &good[..cut]).unwrap();
            assert!(Index::load(&path).is_empty(), "cut at {cut}");
            let mut bent = good.clone();
            bent[cut] ^= 0x40;
            std::fs::write(&path, &bent).unwrap();
            assert!(Index::load(&path).is_empty(), "bent at {cut}");
        }
    }

    #[test]
    fn names_that_lead_out_and_claimed_counts_are_not_believed() {
        let (_temp, index) = sample();
        let entry = *index.entries.value(0);
        let decode = |bytes: Vec<u8>| whole_table(Stored::<Entry, _>::new(io::Cursor::new(bytes), HEAD)?);
        let bytes = |count: u64, rows: &[(u16, &[u8])]| {
            let mut body = count.to_le_bytes().to_vec();
            for (depth, name) in rows {
                let wire = Wire {
                    depth: *depth,
                    name,
                    entry,
                };
                body = postcard::to_extend(&wire, body).unwrap();
            }
            with_checksum(HEAD, &body)
        };
        assert!(decode(bytes(2, &[(0, b""), (1, b"a")])).is_some());
        assert!(decode(bytes(u64::MAX, &[(0, b""), (1, b"a")])).is_none());
        for bad in [&b".."[..], b".", b"", b"a/b", b"a\0"] {
            assert!(decode(bytes(2, &[(0, b""), (1, bad)])).is_none());
        }
        assert!(decode(bytes(2, &[(0, b""), (2, b"a")])).is_none(), "a gap in depth");
        assert!(
            decode(bytes(3, &[(0, b""), (1, b"b"), (1, b"a")])).is_none(),
            "disorder"
        );
        assert!(decode(bytes(2, &[(0, b""), (0, b"a")])).is_none(), "a second root");
    }
}
