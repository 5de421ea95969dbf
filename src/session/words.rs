//! What the strategies say alike.

use std::path::PathBuf;
use std::time::Instant;

use crate::event::{Direction, Emitter, EventBody, millis};
use crate::session::Context;
use crate::workspace::Progress;

/// Says what was carried.
pub(super) fn synced(cx: &mut Context, direction: Direction, [files, bytes, deleted]: [u64; 3], start: Instant) {
    cx.emitter.emit(EventBody::SyncFinished {
        direction,
        files,
        bytes,
        deleted,
        elapsed_ms: millis(start.elapsed()),
    });
}

/// Says how far it is.
pub(super) fn syncing(emitter: &mut Emitter, direction: Direction, progress: Progress) {
    emitter.emit(EventBody::SyncProgress {
        direction,
        files: progress.files,
        files_total: Some(progress.files_total),
        bytes: progress.bytes,
    });
}

/// Names what is no file, folder or link.
pub(super) fn warn_of_specials(cx: &mut Context, specials: &[PathBuf], what: &str) {
    if !specials.is_empty() {
        let named = listed(specials);
        cx.emitter.warn(format!("FIFOs, sockets and devices {what}: {named}"));
    }
}

/// Paths in a row; at most a few, for a tree may hold thousands.
pub(super) fn listed(paths: &[PathBuf]) -> String {
    const NAMED: usize = 5;
    let named: Vec<String> = paths
        .iter()
        .take(NAMED)
        .map(|path| format!("`{}`", path.display()))
        .collect();
    let more = match paths.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    named.join(", ") + &more
}
