//! What a tree holds: its entries with the digests of their contents.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::sidecar::Digest;
use crate::sys::fs::{self, Kind, Stamp, Time};
use crate::workspace::{
    At as _, CancelFn, PathTable, StoredCursor, SyncError, Walk, compare, stop_if, store_table, threads,
};

use super::Mirror;
use super::entries::{NO_DIGEST, record_of};

/// Names the format of the index and its version.
const HEAD: &[u8; 8] = b"DSMIRROR";
/// Files that one thread takes at a time.
const BATCH: usize = 64;
/// What is read of a file at once.
const PIECE: usize = 64 * 1024;
/// How often a file that changes while it is read is read again.
const TRIES: usize = 4;

/// An entry of this side's tree.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Own {
    pub(super) stamp: Stamp,
    /// Of a file's content or a link's target.
    pub(super) digest: Digest,
    /// Whether an equal stamp means an equal content: not so for an entry that was changed in the
    /// very tick of the clock in which it was read.
    pub(super) settled: bool,
}

impl Own {
    /// Whether it is a folder that a look has to open up.
    pub(super) fn is_closed(&self) -> bool {
        self.stamp.kind() == Kind::Dir && self.stamp.mode() & 0o500 != 0o500
    }
}

/// A tree as it was found.
#[derive(Debug)]
pub(crate) struct Manifest {
    pub(super) rows: PathTable<Own>,
    /// Of all entries as they would go over the wire.
    pub(crate) digest: Digest,
    /// How many files and links had to be read.
    pub(crate) read: u64,
}

impl Manifest {
    /// The number of entries.
    pub(crate) fn len(&self) -> u64 {
        self.rows.len() as u64
    }

    /// Whether there are folders that a look opens up.
    pub(crate) fn has_closed(&self) -> bool {
        (0..self.rows.len()).any(|row| self.rows.value(row).is_closed())
    }

    /// As it stands in a request.
    pub(crate) fn digest_in_hex(&self) -> String {
        blake3::Hash::from_bytes(self.digest).to_hex().to_string()
    }
}

/// Files of one folder that must be read.
struct Unknown {
    folder: PathBuf,
    rows: Vec<usize>,
}

impl Mirror {
    /// Looks at the whole tree. Only what the index does not know is read.
    pub(crate) fn look(&self, cancel: CancelFn) -> Result<Manifest, SyncError> {
        let mut rows = Walk {
            root: &self.root,
            path: &self.path,
            rules: &self.rules,
            own: true,
            list_ignored: false,
            cancel,
        }
        .run_as(|met| Own {
            stamp: met.stamp,
            digest: NO_DIGEST,
            settled: false,
        })?;
        let (unknown, is_new) = recall(&mut rows, StoredCursor::open(&self.index, HEAD));
        let read = unknown.iter().map(|folder| folder.rows.len() as u64).sum();
        let gone = self.read_all(&mut rows, &unknown, cancel)?;
        if !gone.is_empty() {
            rows = rows.filter_map(|row, own| (!gone.contains(&row)).then_some(*own));
        }
        if is_new || read > 0 {
            self.remember(&rows, |row| Some(*rows.value(row)))?;
        }
        Ok(Manifest {
            digest: digest_of(&rows),
            rows,
            read,
        })
    }

    /// Writes the index: names and depths of a table, with a value of this side's for each row that is there.
    pub(super) fn remember<T>(&self, rows: &PathTable<T>, own: impl Fn(usize) -> Option<Own>) -> Result<(), SyncError> {
        store_table(rows, own, HEAD, &self.index)
    }

    /// Reads what is not known; gives the rows of what is not there any more.
    fn read_all(
        &self,
        rows: &mut PathTable<Own>,
        unknown: &[Unknown],
        cancel: CancelFn,
    ) -> Result<Vec<usize>, SyncError> {
        let batches: Vec<(&Path, &[usize])> = unknown
            .iter()
            .flat_map(|folder| {
                folder
                    .rows
                    .chunks(BATCH)
                    .map(move |rows| (folder.folder.as_path(), rows))
            })
            .collect();
        let next = AtomicUsize::new(0);
        let reading = Mutex::new(Reading {
            rows,
            gone: Vec::new(),
            failure: None,
        });
        let lock = || reading.lock().unwrap_or_else(PoisonError::into_inner);
        let work = || {
            while let Some((folder, wanted)) = batches.get(next.fetch_add(1, Ordering::Relaxed)) {
                let entries = lock().entries(wanted);
                let read = self.read_some(folder, entries, cancel);
                let mut reading = lock();
                match read {
                    Ok(read) => reading.put(read),
                    Err(error) => {
                        reading.failure.get_or_insert(error);
                    }
                }
                if reading.failure.is_some() {
                    return;
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..threads().min(batches.len()) {
                // With fewer helpers, or none, it takes longer.
                let _ = std::thread::Builder::new().spawn_scoped(scope, work);
            }
            work();
        });
        let reading = reading.into_inner().unwrap_or_else(PoisonError::into_inner);
        match reading.failure {
            Some(failure) => Err(failure),
            None => Ok(reading.gone),
        }
    }

    fn read_some(
        &self,
        folder: &Path,
        entries: Vec<(usize, OsString, Kind)>,
        cancel: CancelFn,
    ) -> Result<Vec<(usize, Option<Own>)>, SyncError> {
        let at = self.path.join(folder);
        let dir = match fs::open_beneath(&self.root, folder) {
            Ok(dir) => dir,
            Err(error) if has_gone(&error) => return Ok(entries.iter().map(|(row, ..)| (*row, None)).collect()),
            Err(error) => return Err(error).at("open the folder", at),
        };
        let mut read = Vec::with_capacity(entries.len());
        for (row, name, kind) in entries {
            stop_if(cancel)?;
            let own = match read_entry(&dir, &name, kind, cancel) {
                Ok(own) => Some(own),
                Err(error) if has_gone(&error) => None,
                Err(error) => return Err(error).at("read", at.join(name)),
            };
            read.push((row, own));
        }
        Ok(read)
    }
}

/// What the threads that read files have in common. What is read goes to its row at once: all of it together would be
/// as large as the table.
struct Reading<'a> {
    rows: &'a mut PathTable<Own>,
    gone: Vec<usize>,
    failure: Option<SyncError>,
}

impl Reading<'_> {
    /// What there is to know of some rows for them to be read, as a copy: nobody is kept waiting meanwhile.
    fn entries(&self, wanted: &[usize]) -> Vec<(usize, OsString, Kind)> {
        let entry = |row: &usize| {
            let kind = self.rows.value(*row).stamp.kind();
            (*row, self.rows.name(*row).to_owned(), kind)
        };
        wanted.iter().map(entry).collect()
    }

    fn put(&mut self, read: Vec<(usize, Option<Own>)>) {
        for (row, own) in read {
            match own {
                Some(own) => *self.rows.value_mut(row) = own,
                None => self.gone.push(row),
            }
        }
    }
}

/// Takes digests from the index; gives what it does not know, and whether it is out of date.
fn recall(rows: &mut PathTable<Own>, mut known: StoredCursor<Own>) -> (Vec<Unknown>, bool) {
    let mut unknown: Vec<Unknown> = Vec::new();
    let mut is_new = false;
    let count = rows.len() as u64;
    rows.update(|row, path, own| {
        while known.current().is_some() && compare(known.path(), path).is_lt() {
            known.advance();
        }
        let old = known.current().filter(|_| known.path() == path);
        is_new |= old.is_none_or(|old| old.stamp.kind() != own.stamp.kind());
        if matches!(own.stamp.kind(), Kind::File | Kind::Symlink) {
            match old.filter(|old| old.settled && old.stamp == own.stamp) {
                Some(old) => *own = *old,
                None => note(&mut unknown, path.parent().unwrap_or(Path::new("")), row),
            }
        }
    });
    (unknown, is_new || known.count() != count)
}

fn note(unknown: &mut Vec<Unknown>, folder: &Path, row: usize) {
    match unknown.last_mut() {
        Some(last) if last.folder == folder => last.rows.push(row),
        _ => unknown.push(Unknown {
            folder: folder.to_owned(),
            rows: vec![row],
        }),
    }
}

/// Reads a file or link until it stands still.
fn read_entry(dir: &OwnedFd, name: &OsStr, kind: Kind, cancel: CancelFn) -> io::Result<Own> {
    let mut tries = 0;
    loop {
        let looked = fs::coarse_now();
        let (stamp, digest, after) = match kind {
            Kind::Symlink => {
                let stamp = fs::stat_at(dir, name)?.stamp;
                let target = fs::read_link_at(dir, name)?;
                let digest = *blake3::hash(target.as_os_str().as_bytes()).as_bytes();
                (stamp, digest, fs::stat_at(dir, name)?.stamp)
            }
            _ => {
                let file = fs::open_file_forced(dir, name)?;
                let stamp = fs::stat_fd(&file)?.stamp;
                let digest = digest_of_file(&file, cancel)?;
                (stamp, digest, fs::stat_fd(&file)?.stamp)
            }
        };
        tries += 1;
        if stamp == after || tries == TRIES {
            return Ok(Own {
                stamp,
                digest,
                settled: stamp == after && is_settled(&stamp, looked),
            });
        }
    }
}

/// Whether a change after the time `looked` must get another ctime.
fn is_settled(stamp: &Stamp, looked: Time) -> bool {
    let ctime = stamp.ctime();
    // Some file systems keep whole seconds.
    if ctime.nanos() == 0 {
        ctime.secs() < looked.secs()
    } else {
        ctime < looked
    }
}

fn digest_of_file(file: &OwnedFd, cancel: CancelFn) -> io::Result<Digest> {
    let mut hasher = blake3::Hasher::new();
    hash_file(file, u64::MAX, &mut hasher, cancel)?;
    Ok(*hasher.finalize().as_bytes())
}

/// Adds at most `most` bytes of a file; gives how many there were.
pub(super) fn hash_file(file: &OwnedFd, most: u64, hasher: &mut blake3::Hasher, cancel: CancelFn) -> io::Result<u64> {
    let mut buffer = vec![0; PIECE];
    let mut at = 0;
    while at < most {
        if cancel() {
            return Err(fs::cancelled());
        }
        let room = usize::try_from(most - at).unwrap_or(PIECE).min(PIECE);
        let count = fs::read_full_at(file, &mut buffer[..room], at)?;
        hasher.update(&buffer[..count]);
        at += count as u64;
        if count < room {
            break;
        }
    }
    Ok(at)
}

/// Whether the entry has been deleted, or become something else.
pub(super) fn has_gone(error: &io::Error) -> bool {
    fs::is_other_kind(error)
        || fs::is_not_a_folder(error)
        || matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidInput)
}

fn digest_of(rows: &PathTable<Own>) -> Digest {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = Vec::with_capacity(PIECE);
    for row in 0..rows.len() {
        record_of(rows, row).write_to(&mut buffer);
        if buffer.len() >= PIECE {
            hasher.update(&buffer);
            buffer.clear();
        }
    }
    hasher.update(&buffer);
    *hasher.finalize().as_bytes()
}
