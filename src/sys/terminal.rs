//! What a terminal says of itself.

use std::os::fd::AsFd;

/// Columns and lines of the terminal behind a descriptor; `None` where there is none, or where
/// it does not know.
pub(crate) fn size(terminal: impl AsFd) -> Option<(usize, usize)> {
    let size = rustix::termios::tcgetwinsize(terminal).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col.into(), size.ws_row.into()))
}
