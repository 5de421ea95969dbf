//! What to run.

use std::ffi::OsString;

use crate::vfs::VfsPath;

/// One program with everything it needs, independent of the backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolCommand {
    /// Program and arguments; never empty. A program without a `/` is looked up in the
    /// `PATH` of [`Self::env`] by the backend, as execvp(3) does.
    pub argv: Vec<OsString>,
    /// Working folder as a path of the Vfs.
    pub cwd: VfsPath,
    /// The whole environment; nothing is added to it but by the backend's own rules. It may hold
    /// secrets: it stands in no argv, no file that others can read and no message.
    pub env: Vec<(OsString, OsString)>,
    /// What the tool reads.
    pub stdin: Stdin,
    /// Set: its output is a terminal, where the backend can give it one.
    pub terminal: Option<Terminal>,
}

/// What a tool reads as its standard input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stdin {
    /// /dev/null.
    Null,
    /// The caller's own standard input.
    Inherit,
}

/// A terminal of the tool's own in place of the pipe for its stdout, with the size of the terminal
/// that the caller's standard output is. Where there is none to be had, the tool gets pipes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terminal {
    /// Whether its stderr is that terminal, too; then all it says arrives as stdout.
    pub joined: bool,
    /// Whether its stdin is that terminal, too, as its controlling terminal: what is typed at the
    /// caller's terminal, Ctrl-C included, goes to the tool. Else nothing can be read there.
    pub interactive: bool,
}
