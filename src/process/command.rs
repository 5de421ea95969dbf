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
}

/// What a tool reads as its standard input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stdin {
    /// /dev/null.
    Null,
    /// The caller's own standard input.
    Inherit,
}
