//! What either side may send at most. All of it is part of the protocol.

/// The version that is spoken; what is better than it is negotiated as capabilities.
pub const VERSION: u64 = 1;

/// Bytes of a line, its end not counted, as long as no handshake was answered.
pub const MAX_LINE_BEFORE_HANDSHAKE: usize = 64 * 1024;

/// Bytes of a line once capabilities are agreed on, in both directions.
pub const MAX_LINE: usize = 1024 * 1024;

/// Bytes of a line of a version 1 client, unless the server was told otherwise: such a client
/// sends whole files in one line.
pub const DEFAULT_MAX_LINE: usize = 32 * 1024 * 1024;

/// Raw bytes that may follow one line.
pub const MAX_FRAME: usize = 64 * 1024;

/// [`MAX_FRAME`] as it stands in a line.
pub const MAX_FRAME_U32: u32 = 64 * 1024;

/// How much of a line that is too long is read and dropped in search of its end before the
/// connection is given up.
pub const MAX_SKIPPED: u64 = 256 * 1024 * 1024;

/// How many bytes of `exec_stdin` may be under way: sent and not yet told of by `exec_stdin_taken`.
pub const STDIN_WINDOW: u64 = 256 * 1024;

/// How much of the end of each stream a version 1 client gets with `exec_result`.
pub const TAIL: usize = 64 * 1024;

/// The guest's name of the staging folder where `session_start` gives none.
pub const DEFAULT_GUEST_WORKSPACE: &str = "/workspace";

/// After how many milliseconds of silence a peer is gone, where the client has no wish.
pub const DEFAULT_KEEPALIVE_MS: u64 = 30_000;

/// The shortest silence that can be agreed on.
pub const MIN_KEEPALIVE_MS: u64 = 500;

/// The longest silence that can be agreed on.
pub const MAX_KEEPALIVE_MS: u64 = 3_600_000;
