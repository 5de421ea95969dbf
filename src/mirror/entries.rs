//! Entries on their way: as they are said, and as they are believed.

use std::os::unix::ffi::OsStrExt as _;

use crate::sidecar::{Digest, MAX_NAME, MAX_TARGET, TreeKind, TreeRecord};
use crate::sys::fs::{Kind, Time};
use crate::workspace::{CheckedTable, PathTable};

use super::look::Own;
use super::stream::Stream;
use super::weight::Weight;
use super::{MirrorError, nonsense};

/// Of what has no content.
pub(super) const NO_DIGEST: Digest = [0; 32];

/// An entry of the giver's tree. A row of them is what [`ENTRY_WEIGHT`](crate::sidecar::ENTRY_WEIGHT) says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Theirs {
    size: u64,
    mtime_secs: i64,
    mtime_nanos: u32,
    mode: u16,
    kind: Kind,
    digest: Digest,
}

impl Theirs {
    fn new(kind: TreeKind, mode: u16, mtime: Time) -> Self {
        let (kind, size, digest) = match kind {
            TreeKind::Dir => (Kind::Dir, 0, NO_DIGEST),
            TreeKind::File { size, digest } => (Kind::File, size, digest),
            TreeKind::Symlink { size, digest } => (Kind::Symlink, size, digest),
            TreeKind::Special => (Kind::Special, 0, NO_DIGEST),
        };
        Self {
            size,
            mtime_secs: mtime.secs(),
            mtime_nanos: mtime.nanos(),
            mode,
            kind,
            digest,
        }
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    pub(super) fn mode(&self) -> u32 {
        self.mode.into()
    }

    pub(super) fn mtime(&self) -> Time {
        Time::new(self.mtime_secs, self.mtime_nanos)
    }

    /// Of a file or a link's target.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Of its content; [`NO_DIGEST`] where it has none.
    pub(super) fn digest(&self) -> Digest {
        self.digest
    }
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
    let mut weight = Weight::default();
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
                let theirs = Theirs::new(kind, mode, Time::new(mtime_s, mtime_ns));
                let lies_in_a_folder = match depth.checked_sub(1) {
                    None => kind == TreeKind::Dir,
                    Some(above) => rows.at_depth(above).is_some_and(|above| above.kind() == Kind::Dir),
                };
                let is_sound = mode <= 0o7777
                    && mtime_ns < 1_000_000_000
                    && match kind {
                        TreeKind::Symlink { size, .. } => (1..=MAX_TARGET).contains(&size),
                        TreeKind::File { size: 0, digest } => digest == nothing,
                        TreeKind::File { size, .. } => i64::try_from(size).is_ok(),
                        TreeKind::Dir | TreeKind::Special => true,
                    };
                let is_sound = is_sound && lies_in_a_folder && name.len() <= MAX_NAME;
                if is_sound {
                    let added = weight.add(depth, name, theirs.kind());
                    added.map_err(MirrorError::TooLarge)?;
                }
                if !is_sound || !rows.push(depth, name, theirs) {
                    let shown = name.escape_ascii();
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

#[cfg(test)]
mod tests {
    use super::Theirs;
    use crate::sidecar::ENTRY_WEIGHT;
    use crate::workspace::PathTable;

    #[test]
    fn an_entry_weighs_what_a_row_of_it_takes() {
        assert_eq!(PathTable::<Theirs>::ROW, ENTRY_WEIGHT);
    }
}
