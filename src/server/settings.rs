//! What a server is told when it starts.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use super::token::Token;

/// Everything that a server may be told; all resolved, nothing is read from anywhere else.
#[derive(Debug)]
pub struct Settings {
    /// Staging folders lie beneath one of these. Absolute.
    pub roots: Vec<PathBuf>,
    /// Users besides the server's own and root that may connect to a Unix socket.
    pub allow_uids: Vec<u32>,
    /// What clients over TCP have to know; none: nothing.
    pub token: Option<Token>,
    /// The whole environment of tools, but for what a request brings.
    pub tool_env: Vec<(OsString, OsString)>,
    /// The timeout of an exec that has none of its own; none: no limit.
    pub exec_timeout: Option<Duration>,
    /// Between SIGTERM and SIGKILL, and what running execs are left when the server is to end.
    pub grace: Duration,
    /// The server ends after so much time without a client; none: never.
    pub idle_exit: Option<Duration>,
    /// Trees of clients that share no folder are removed when they were not used for so long; none: never.
    pub forget_trees_after: Option<Duration>,
    /// Bytes of a line of a version 1 client.
    pub max_line: usize,
    /// How many clients are served at once.
    pub max_connections: usize,
    /// How many execs of one client run at once.
    pub max_execs: usize,
}
