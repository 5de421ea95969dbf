//! The sidecar protocol: what client (`session/beta`) and server (`devshell-vm`) say to each
//! other over a Unix socket, TCP or a pair of pipes. `docs/sidecar-protocol.md` describes it.
//!
//! - [`Request`] and [`Reply`]: every line either side can send, with [`Addressed`] for its `id`;
//! - [`decode_request`], [`decode_reply`]: a line in, a message or a [`Fault`] out;
//! - [`Incoming`]: lines and raw frames out of any [`std::io::Read`], with a limit;
//! - [`write_message`]: a line with its raw bytes into any [`std::io::Write`];
//! - [`TreeRecord`]: what the raw bytes of a tree under way hold;
//! - [`Capabilities`]: what version 1 is extended by, as agreed in the handshake.

mod base64;
mod capability;
mod code;
mod decode;
mod guest_fs;
mod incoming;
mod limits;
mod outgoing;
mod reply;
mod request;
mod tree;

pub use base64::{from_base64, to_base64};
pub use capability::{Capabilities, Capability};
pub use code::{ErrorCode, FsErrorCode};
pub use decode::{Addressed, Fault, decode_reply, decode_request};
pub use guest_fs::{FsEntry, FsKind, FsOperation, FsStat, GuestFs, GuestFsFailed, GuestFsOk};
pub use incoming::{Incoming, LineError};
pub use limits::{
    DEFAULT_GUEST_WORKSPACE, DEFAULT_KEEPALIVE_MS, DEFAULT_MAX_LINE, MAX_FRAME, MAX_FRAME_U32, MAX_KEEPALIVE_MS,
    MAX_LINE, MAX_LINE_BEFORE_HANDSHAKE, MAX_SKIPPED, MIN_KEEPALIVE_MS, STDIN_WINDOW, TAIL, VERSION,
};
pub use outgoing::write_message;
pub use reply::{
    ErrorReply, ExecOutput, ExecResult, ExecStdinTaken, HandshakeOk, Outcome, OutputStream, Reply, SessionId,
    SessionOk, Survivor, TransferOk,
};
pub use request::{
    Direction, Exec, ExecCancel, ExecSignal, ExecStdin, FsData, Handshake, Request, SessionShutdown, SessionStart,
    SyncRequest, Transfer, TransferFolder,
};
pub use tree::{
    Digest, ENTRY_WEIGHT, MAX_ENTRIES, MAX_FOLDER_PATH, MAX_NAME, MAX_RECORD, MAX_TARGET, MAX_WEIGHT, NoRecord,
    TreeKind, TreeRecord,
};
