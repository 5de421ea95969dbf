//! The rows of a table that was written, one after another: the whole table need not be in memory.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::marker::PhantomData;
use std::ops::Range;
use std::path::Path;

use serde::de::DeserializeOwned;

use super::index::{CRC, LIMIT};
use super::table::Trail;

/// What is read at once.
const PIECE: usize = 64 * 1024;
/// The checksum behind the rows.
const SUM: u64 = 4;

/// Rows as [`store_table`](super::store_table) has written them. Its checksum was right before the first is given.
#[derive(Debug)]
pub(crate) struct Stored<T, R = File> {
    from: R,
    /// How many bytes of rows have not been read yet.
    unread: u64,
    buffer: Vec<u8>,
    /// What of the buffer was given already.
    at: usize,
    count: u64,
    is_malformed: bool,
    rows: PhantomData<T>,
}

impl<T: DeserializeOwned> Stored<T> {
    /// None where the file is missing, damaged, foreign or too large.
    pub(crate) fn open(path: &Path, head: &[u8; 8]) -> Option<Self> {
        Self::new(File::open(path).ok()?, head)
    }
}

impl<T: DeserializeOwned, R: Read> Stored<T, R> {
    pub(super) fn new(mut from: R, head: &[u8; 8]) -> Option<Self>
    where
        R: Seek,
    {
        let unread = checked(&mut from, head).ok()??;
        let mut count = [0; 8];
        from.seek(SeekFrom::Start(head.len() as u64)).ok()?;
        from.read_exact(&mut count).ok()?;
        Some(Self {
            from,
            unread: unread.checked_sub(count.len() as u64)?,
            buffer: Vec::new(),
            at: 0,
            count: u64::from_le_bytes(count),
            is_malformed: false,
            rows: PhantomData,
        })
    }

    /// How many rows were announced.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// How many bytes of rows are still to come.
    pub(super) fn left(&self) -> usize {
        usize::try_from(self.unread).unwrap_or(usize::MAX) + self.buffer.len() - self.at
    }

    /// Whether all was given that is there.
    pub(super) fn is_whole(&self) -> bool {
        !self.is_malformed && self.left() == 0
    }

    /// Depth, name and value of the next row; none at the end, and where it is no row.
    pub(super) fn next_row(&mut self) -> Option<(usize, &[u8], T)> {
        loop {
            match row(&self.buffer[self.at..]) {
                Ok(Row {
                    depth,
                    name,
                    value,
                    length,
                }) => {
                    let from = self.at;
                    self.at += length;
                    return Some((depth.into(), &self.buffer[from..][name], value));
                }
                Err(postcard::Error::DeserializeUnexpectedEnd) if self.unread > 0 => {
                    if self.fill().is_err() {
                        self.is_malformed = true;
                        return None;
                    }
                }
                Err(_) => {
                    self.is_malformed = self.left() > 0;
                    return None;
                }
            }
        }
    }

    fn fill(&mut self) -> io::Result<()> {
        self.buffer.drain(..self.at);
        self.at = 0;
        let before = self.buffer.len();
        let most = usize::try_from(self.unread).unwrap_or(PIECE).min(PIECE);
        self.buffer.resize(before + most, 0);
        self.from.read_exact(&mut self.buffer[before..])?;
        self.unread -= most as u64;
        Ok(())
    }
}

/// What a row says, and where in the bytes its name lies.
struct Row<T> {
    depth: u16,
    name: Range<usize>,
    value: T,
    length: usize,
}

/// The row that `bytes` begin with: a [`Wire`](super::index::Wire), field by field.
fn row<T: DeserializeOwned>(bytes: &[u8]) -> postcard::Result<Row<T>> {
    let ((depth, name), rest) = postcard::take_from_bytes::<(u16, &[u8])>(bytes)?;
    let end = bytes.len() - rest.len();
    let (value, rest) = postcard::take_from_bytes(rest)?;
    Ok(Row {
        depth,
        name: end - name.len()..end,
        value,
        length: bytes.len() - rest.len(),
    })
}

/// How many bytes lie between a head and a checksum that are right; none where they are not.
fn checked<R: Read + Seek>(from: &mut R, head: &[u8; 8]) -> io::Result<Option<u64>> {
    let length = from.seek(SeekFrom::End(0))?;
    let Some(body) = length.checked_sub(head.len() as u64 + SUM).filter(|_| length <= LIMIT) else {
        return Ok(None);
    };
    from.seek(SeekFrom::Start(0))?;
    let mut begins = [0; 8];
    from.read_exact(&mut begins)?;
    let mut sum = CRC.digest();
    sum.update(&begins);
    let mut buffer = vec![0; PIECE];
    let mut left = body;
    while left > 0 {
        let piece = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
        from.read_exact(&mut buffer[..piece])?;
        sum.update(&buffer[..piece]);
        left -= piece as u64;
    }
    let mut last = [0; 4];
    from.read_exact(&mut last)?;
    let is_right = begins == *head && sum.finalize() == u32::from_le_bytes(last);
    Ok(is_right.then_some(body))
}

/// Goes through stored rows and knows the path of each. What stands in no order of a table is the end.
#[derive(Debug)]
pub(crate) struct StoredCursor<T> {
    stored: Option<Stored<T>>,
    trail: Trail,
    current: Option<T>,
}

impl<T: DeserializeOwned> StoredCursor<T> {
    /// Over nothing where there is no such file.
    pub(crate) fn open(path: &Path, head: &[u8; 8]) -> Self {
        let mut cursor = Self {
            stored: Stored::open(path, head),
            trail: Trail::default(),
            current: None,
        };
        cursor.advance();
        cursor
    }

    /// How many rows there are.
    pub(crate) fn count(&self) -> u64 {
        self.stored.as_ref().map_or(0, Stored::count)
    }

    /// The value of the row that it stands on.
    pub(crate) fn current(&self) -> Option<&T> {
        self.current.as_ref()
    }

    /// The path of the row that it stands on.
    pub(crate) fn path(&self) -> &Path {
        self.trail.path()
    }

    pub(crate) fn advance(&mut self) {
        let next = self.stored.as_mut().and_then(Stored::next_row);
        self.current = match next {
            Some((depth, name, value)) if self.trail.takes(depth, name) => {
                self.trail.enter(depth, name);
                Some(value)
            }
            _ => None,
        };
        if self.current.is_none() {
            // Nothing behind it is believed.
            self.stored = self.stored.take().filter(Stored::is_whole);
        }
    }
}
