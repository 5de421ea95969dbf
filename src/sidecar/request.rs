//! What a client sends.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::guest_fs::{GuestFs, bytes_of, text_or_base64};

/// One line of a client. Some are followed by raw bytes: [`Request::frame`] says how many.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Request {
    /// The first line.
    Handshake(Handshake),
    /// Names the folder to work in.
    SessionStart(SessionStart),
    /// Before tools (push) and after them (pull).
    SyncRequest(SyncRequest),
    /// Runs a program.
    Exec(Exec),
    /// Works on the guest's files.
    GuestFs(GuestFs),
    /// Ends the session.
    SessionShutdown(SessionShutdown),
    /// Sends a signal to a running exec (`exec_control`). No reply.
    ExecSignal(ExecSignal),
    /// Stops a running exec (`exec_control`). No reply but its `exec_result`.
    ExecCancel(ExecCancel),
    /// Input for a running exec (`exec_control`). Followed by raw bytes.
    ExecStdin(ExecStdin),
    /// Content of a file that is being written (`fs_raw`). Followed by raw bytes.
    FsData(FsData),
    /// Carries a tree there or back (`transfer`).
    Transfer(Transfer),
    /// Bytes of a tree under way (`transfer`). Followed by raw bytes.
    TransferData(FsData),
    /// A sign of life (`keepalive`). No reply.
    Ping,
}

impl Request {
    /// How many raw bytes follow the line; at most [`super::MAX_FRAME`].
    #[must_use]
    pub fn frame(&self) -> usize {
        match self {
            Self::ExecStdin(ExecStdin { len, .. })
            | Self::FsData(FsData { len, .. })
            | Self::TransferData(FsData { len, .. }) => *len as usize,
            _ => 0,
        }
    }
}

/// The first request of a connection.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Handshake {
    /// [`super::VERSION`].
    pub version: u64,
    /// The client's name.
    #[serde(default)]
    pub client: String,
    /// Its version, for the log.
    #[serde(default)]
    pub client_version: String,
    /// Names of the capabilities that it wants. None: it speaks version 1 and nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Vec<String>>,
    /// What a server on TCP asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// With `keepalive`: after which silence the client holds a peer for gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keepalive_ms: Option<u64>,
}

impl std::fmt::Debug for Handshake {
    /// Without the token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handshake")
            .field("version", &self.version)
            .field("client", &self.client)
            .field("client_version", &self.client_version)
            .field("capabilities", &self.capabilities)
            .field("token", &self.token.as_ref().map(|_| "…"))
            .field("keepalive_ms", &self.keepalive_ms)
            .finish()
    }
}

/// Begins the one session of a connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionStart {
    /// Chosen by the client; every later request repeats it.
    pub session_id: String,
    /// Absolute, as the sidecar sees it.
    pub staging_dir: String,
    /// The guest's name of that folder.
    #[serde(default = "default_guest_workspace")]
    pub guest_workspace: String,
    /// The client's name of its backend; not used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// Anything; not used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend_config: Option<serde_json::Value>,
    /// With `transfer`: the folder is the server's own choice, and `staging_dir` is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transfer: Option<TransferFolder>,
}

/// Which of the server's own folders a session works in.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TransferFolder {
    /// Of the client's choice: letters, digits, `-`, `_` and `.`, which does not come first; at most
    /// 64. The same key is the same folder, also for later sessions.
    pub key: String,
    /// The `state` of an earlier `session_ok`, where the client goes on in the folder as it left it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
}

fn default_guest_workspace() -> String {
    super::DEFAULT_GUEST_WORKSPACE.to_owned()
}

/// Which way a tree goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// The client has written into the staging folder.
    PushToGuest,
    /// The client is about to read it.
    PullFromGuest,
}

/// Tells that the tree goes to the guest or comes from it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SyncRequest {
    /// The session.
    pub session_id: String,
    /// Which way.
    pub direction: Direction,
    /// The client's folder; not used.
    #[serde(default)]
    pub vfs_cwd_leaf: String,
    /// Anything; not used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<serde_json::Value>,
}

/// Makes the tree on one side equal to that on the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    /// The session, which was begun with `transfer`.
    pub session_id: String,
    /// Which side is to become equal to the other.
    pub direction: Direction,
    /// The folder that is carried: absolute, under the mount. Made where it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest_path: Option<String>,
    /// In its place, where the path is no UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest_path_base64: Option<String>,
    /// Gitignore-style patterns of entries that are left alone on both sides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignore: Vec<String>,
    /// The same of folders that stay where they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cache_dirs: Vec<String>,
    /// The BLAKE3, in hexadecimal, of the client's own entries as they would go over the wire.
    pub digest: String,
}

impl Transfer {
    /// About the folder at a guest path.
    #[must_use]
    pub fn new(session_id: &str, direction: Direction, path: &[u8], digest: String) -> Self {
        let (guest_path, guest_path_base64) = text_or_base64(path);
        Self {
            session_id: session_id.to_owned(),
            direction,
            guest_path,
            guest_path_base64,
            ignore: Vec::new(),
            cache_dirs: Vec::new(),
            digest,
        }
    }

    /// The path as bytes; `None` where there is none, or none that can be decoded.
    #[must_use]
    pub fn path_bytes(&self) -> Option<Vec<u8>> {
        bytes_of(self.guest_path.as_deref(), self.guest_path_base64.as_deref())
    }
}

/// Runs a program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exec {
    /// The session.
    pub session_id: String,
    /// Its working folder: a guest path under the mount.
    pub guest_cwd: String,
    /// Program and arguments. A program without a `/` is looked up in the `PATH` of its environment.
    pub argv: Vec<String>,
    /// Variables over the server's clean ones.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// 0: none; absent: the server's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// With `exec_control`: `exec_stdin` will follow. Else it reads /dev/null.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdin: Option<bool>,
    /// With `exec_control`: between SIGTERM and SIGKILL at a timeout or cancel; absent: the server's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_ms: Option<u64>,
}

/// Ends the session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionShutdown {
    /// The session.
    pub session_id: String,
    /// A wish of version 1 that has no meaning here.
    #[serde(default)]
    pub stop_vm: bool,
}

/// A signal for the process group of a tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecSignal {
    /// Of the exec.
    pub id: u64,
    /// 1 to 64.
    pub signal: u32,
}

/// Stops a tool and everything that it started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecCancel {
    /// Of the exec.
    pub id: u64,
    /// Between SIGTERM and SIGKILL; 0: SIGKILL at once; absent: that of the exec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_ms: Option<u64>,
}

/// Input of a tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecStdin {
    /// Of the exec.
    pub id: u64,
    /// How many raw bytes follow the line.
    pub len: u32,
    /// These are the last.
    #[serde(default)]
    pub eof: bool,
}

/// Content of a file, in both directions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FsData {
    /// Of the `guest_fs` or `transfer` request.
    pub id: u64,
    /// How many raw bytes follow the line.
    pub len: u32,
    /// These are the last. Only from client to server: in the other direction `guest_fs_ok`
    /// ends the content.
    #[serde(default)]
    pub eof: bool,
}
