//! What a server sends.

use serde::{Deserialize, Serialize};

use super::code::ErrorCode;
use super::guest_fs::{GuestFsFailed, GuestFsOk};
use super::request::FsData;

/// One line of a server. Some are followed by raw bytes: [`Reply::frame`] says how many.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Reply {
    /// To `handshake`.
    HandshakeOk(HandshakeOk),
    /// To `session_start`.
    SessionOk(SessionOk),
    /// To `sync_request`.
    SyncOk(SessionId),
    /// To `exec`, when the program has ended.
    ExecResult(ExecResult),
    /// Output of a running exec (`exec_stream`). Followed by raw bytes.
    ExecOutput(ExecOutput),
    /// Input of a running exec has been taken (`exec_control`).
    ExecStdinTaken(ExecStdinTaken),
    /// To `guest_fs`.
    GuestFsOk(GuestFsOk),
    /// To `guest_fs`.
    GuestFsError(GuestFsFailed),
    /// Content of a file that is being read (`fs_raw`). Followed by raw bytes.
    FsData(FsData),
    /// To `session_shutdown`.
    ShutdownOk(SessionId),
    /// To anything.
    Error(ErrorReply),
    /// To `transfer`, when both sides are equal.
    TransferOk(TransferOk),
    /// Bytes of a tree under way (`transfer`). Followed by raw bytes.
    TransferData(FsData),
    /// A sign of life (`keepalive`).
    Ping,
}

impl Reply {
    /// How many raw bytes follow the line; at most [`super::MAX_FRAME`].
    #[must_use]
    pub fn frame(&self) -> usize {
        match self {
            Self::ExecOutput(ExecOutput { len, .. })
            | Self::FsData(FsData { len, .. })
            | Self::TransferData(FsData { len, .. }) => *len as usize,
            _ => 0,
        }
    }
}

/// The answer to a handshake.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HandshakeOk {
    /// [`super::VERSION`].
    pub version: u64,
    /// The server's name.
    #[serde(default)]
    pub server: String,
    /// Its version.
    #[serde(default)]
    pub server_version: String,
    /// What it accepted of the client's capabilities; absent where it was not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Vec<String>>,
    /// The longest line that it takes from now on; with `capabilities`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_line: Option<u64>,
    /// With `keepalive`: the silence after which a peer is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keepalive_ms: Option<u64>,
}

/// A session was begun.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SessionOk {
    /// The client's own id.
    #[serde(default)]
    pub session_id: String,
    /// Whether tools see the staging folder at `guest_workspace`; else they see it at
    /// `staging_dir` only, and absolute guest paths do not exist for them. Only where
    /// capabilities were agreed on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mounted: Option<bool>,
    /// Whether nothing that a tool starts can outlive it. As above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contained: Option<bool>,
    /// Why it is not so, in words. As above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// With `transfer`: the folder that the server has chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staging_dir: Option<String>,
    /// With `transfer`: stays the same as long as only sessions that know it use the folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
}

/// A tree was carried.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TransferOk {
    /// The client's own id of its session.
    #[serde(default)]
    pub session_id: String,
    /// How many entries the server's tree has.
    #[serde(default)]
    pub entries: u64,
    /// How many files and links the server had to read because it did not know them.
    #[serde(default)]
    pub read: u64,
    /// What was changed at the server: files and links whose content was put in their place.
    #[serde(default)]
    pub files: u64,
    /// Bytes of content that came or went.
    #[serde(default)]
    pub bytes: u64,
    /// Entries that were removed at the server.
    #[serde(default)]
    pub deleted: u64,
}

/// A reply that holds nothing but the session's id.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SessionId {
    /// The client's own id.
    #[serde(default)]
    pub session_id: String,
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ExecResult {
    /// The client's own id of its session.
    #[serde(default)]
    pub session_id: String,
    /// Of the program; 128+n for signal n; 124, 126 and 127 for the outcomes `timeout`,
    /// `not_executable` and `not_found`. A peer may send anything.
    pub exit_code: i64,
    /// The signal that ended it.
    #[serde(default)]
    pub signal: Option<i64>,
    /// Without `exec_stream`: the last [`super::TAIL`] bytes of stdout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdout_base64: Option<String>,
    /// Without `exec_stream`: the last [`super::TAIL`] bytes of stderr.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stderr_base64: Option<String>,
    /// Without `exec_stream`: whether there was more than that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub truncated: Option<bool>,
    /// With `exec_stream`: what kind of an end it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// With `exec_stream`: in words, where there is more to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// With `exec_stream`: from start to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elapsed_ms: Option<u64>,
    /// With `exec_stream`: what the program left running and what was ended for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub survivors: Option<Vec<Survivor>>,
    /// With `exec_stream`: true when something out of reach still held the output after the leak
    /// time of 0.5 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaked: Option<bool>,
    /// With `exec_stream`: bytes of output that were dropped because the client did not read
    /// while the program was being stopped. Absent for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropped: Option<u64>,
}

/// What kind of an end an exec had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// By itself, with an exit code.
    Exited,
    /// By a signal that the server did not send.
    Signaled,
    /// Stopped at its timeout.
    Timeout,
    /// Stopped by `exec_cancel`, or because the server ends.
    Cancelled,
    /// There is no such program.
    NotFound,
    /// The program is there and cannot be executed.
    NotExecutable,
}

/// A process that outlived its tool and was ended by the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Survivor {
    /// As the tools' place numbers it.
    pub pid: u32,
    /// Its command line, as text.
    #[serde(default)]
    pub argv: String,
}

/// Output of a running exec.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecOutput {
    /// Of the exec.
    pub id: u64,
    /// Which stream.
    pub stream: OutputStream,
    /// How many raw bytes follow the line.
    pub len: u32,
}

/// One of a tool's output streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Input has left the server: the tool has it, or does not want it any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecStdinTaken {
    /// Of the exec.
    pub id: u64,
    /// How many bytes.
    pub len: u64,
    /// The tool reads no more: further input is dropped.
    #[serde(default)]
    pub closed: bool,
}

/// A request was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorReply {
    /// As a word.
    pub code: ErrorCode,
    /// In words.
    #[serde(default)]
    pub message: String,
}
