//! Entries on their way: as they are said, and as they are believed.

use std::os::unix::ffi::OsStrExt as _;

use crate::sidecar::{Digest, MAX_ENTRIES, MAX_NAME, MAX_NAMES, MAX_TARGET, TreeKind, TreeRecord};
use crate::sys::fs::{Kind, Time};
use crate::workspace::{CheckedTable, PathTable};

use super::look::Own;
use super::stream::Stream;
use super::{MirrorError, nonsense};

/// Of what has no content.
pub(super) const NO_DIGEST: Digest = [0; 32];

/// An entry of the giver's tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Theirs {
    pub(super) kind: TreeKind,
    pub(super) mode: u32,
    pub(super) mtime: Time,
}

/// An entry as it goes over the wire.
pub(super) fn record_of(rows: &PathTable<Own>, row: usize) -> TreeRecord<'_> {
    let own = rows.value(row);
    let (size, digest) = (own.stamp.size, own.digest);
    let kind = match own.stamp.kind() {
        Kind::Dir => TreeKind::Dir,
        Kind::File => TreeKind::File { size, digest },
        Kind::Symlink => TreeKind::Symlink { size, digest },
        Kind::Special => TreeKind::Special,
    };
    let has_mode = matches!(kind, TreeKind::Dir | TreeKind::File { .. });
    let mtime = match kind {
        TreeKind::Special => Time::new(0, 0),
        _ => own.stamp.mtime(),
    };
    TreeRecord::Entry {
        // A table holds no deeper ones.
        depth: u16::try_from(rows.depth(row)).unwrap_or(u16::MAX),
        name: rows.name(row).as_bytes(),
        kind,
        mode: if has_mode {
            u16::try_from(own.stamp.mode()).unwrap_or(0)
        } else {
            0
        },
        mtime_s: mtime.secs(),
        mtime_ns: mtime.nanos(),
    }
}

/// Hears all entries of the giver's tree.
pub(super) fn hear_entries(stream: &mut Stream) -> Result<PathTable<Theirs>, MirrorError> {
    let nothing = *blake3::hash(b"").as_bytes();
    let mut rows: CheckedTable<Theirs> = CheckedTable::with_capacity(0, 0);
    loop {
        match stream.hear()? {
            TreeRecord::Entry {
                depth,
                name,
                kind,
                mode,
                mtime_s,
                mtime_ns,
            } => {
                let depth = usize::from(depth);
                let theirs = Theirs {
                    kind,
                    mode: mode.into(),
                    mtime: Time::new(mtime_s, mtime_ns),
                };
                let lies_in_a_folder = match depth.checked_sub(1) {
                    None => kind == TreeKind::Dir,
                    Some(above) => rows.at_depth(above).is_some_and(|above| above.kind == TreeKind::Dir),
                };
                let is_sound = mode <= 0o7777
                    && mtime_ns < 1_000_000_000
                    && match kind {
                        TreeKind::Symlink { size, .. } => (1..=MAX_TARGET).contains(&size),
                        TreeKind::File { size: 0, digest } => digest == nothing,
                        TreeKind::File { size, .. } => i64::try_from(size).is_ok(),
                        TreeKind::Dir | TreeKind::Special => true,
                    };
                if rows.len() >= MAX_ENTRIES || rows.names_len() + name.len() > MAX_NAMES || name.len() > MAX_NAME {
                    return nonsense("the tree has more entries or longer names than a transfer may have");
                }
                let shown = name.escape_ascii().to_string();
                if !lies_in_a_folder || !is_sound || !rows.push(depth, name, theirs) {
                    return nonsense(format!("the entry `{shown}` cannot stand where it does"));
                }
            }
            TreeRecord::Entries { count } if rows.len() > 0 && count == rows.len() as u64 => return Ok(rows.finish()),
            other => return nonsense(format!("an entry was due, not {}", word(&other))),
        }
    }
}

/// A record in a word.
pub(super) fn word(record: &TreeRecord) -> &'static str {
    match record {
        TreeRecord::Differs => "`differs`",
        TreeRecord::Entry { .. } => "an entry",
        TreeRecord::Entries { .. } => "the end of the entries",
        TreeRecord::Want { .. } => "a want",
        TreeRecord::Wants { .. } => "the end of the wants",
        TreeRecord::Piece { .. } => "a piece",
        TreeRecord::End => "the end of a content",
        TreeRecord::Changed => "`changed`",
        TreeRecord::Done => "`done`",
    }
}
