//! The standard streams that a kept tool is given: pipes, or a terminal.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::pipe::{PipeFlags, pipe_with};

use crate::sys::pty::{self, RawMode};

use super::relay::Relay;
use super::{Stdin, Terminal};

/// Both ends of a tool's streams.
pub(super) struct Streams {
    /// The tool's ends: stdin, stdout, stderr.
    pub(super) ends: [OwnedFd; 3],
    pub(super) stdout: OwnedFd,
    /// None where stderr is the same terminal as stdout.
    pub(super) stderr: Option<OwnedFd>,
    /// What a terminal needs besides.
    pub(super) relay: Option<Relay>,
    /// The caller's terminal, where the tool has it for a while.
    pub(super) raw: Option<RawMode>,
}

impl Streams {
    /// A terminal where one is wanted and can be had, else pipes. The tool reads `given`, if that
    /// is set.
    pub(super) fn open(given: Option<BorrowedFd>, stdin: Stdin, terminal: Option<Terminal>) -> io::Result<Self> {
        if let Some(Ok(streams)) = terminal.map(|terminal| Self::on_terminal(given, stdin, terminal)) {
            return Ok(streams);
        }
        let (stdout, stdout_end) = pipe_with(PipeFlags::CLOEXEC)?;
        let (stderr, stderr_end) = pipe_with(PipeFlags::CLOEXEC)?;
        Ok(Self {
            ends: [input(given, stdin)?, stdout_end, stderr_end],
            stdout,
            stderr: Some(stderr),
            relay: None,
            raw: None,
        })
    }

    fn on_terminal(given: Option<BorrowedFd>, stdin: Stdin, terminal: Terminal) -> io::Result<Self> {
        let ours = pty::open()?;
        let caller = io::stdout().as_fd().try_clone_to_owned()?;
        let (stdin_end, stdout_end, keyboard) = if terminal.interactive {
            let keyboard = io::stdin().as_fd().try_clone_to_owned()?;
            pty::copy_settings(&keyboard, &ours)?;
            let end = pty::end_to_type(&ours)?;
            (end.try_clone()?, end, Some(keyboard))
        } else {
            (input(given, stdin)?, pty::end_to_write(&ours)?, None)
        };
        let (stderr, stderr_end) = if terminal.joined {
            (None, stdout_end.try_clone()?)
        } else {
            let (stderr, end) = pipe_with(PipeFlags::CLOEXEC)?;
            (Some(stderr), end)
        };
        let typed_at = keyboard.as_ref().map(OwnedFd::try_clone).transpose()?;
        let mut relay = Relay::new(caller, keyboard)?;
        relay.resize(ours.as_fd());
        Ok(Self {
            ends: [stdin_end, stdout_end, stderr_end],
            stdout: ours,
            stderr,
            relay: Some(relay),
            // Last: nothing may fail once the caller's terminal is another than before.
            raw: typed_at.map(RawMode::enter).transpose()?,
        })
    }
}

fn input(given: Option<BorrowedFd>, stdin: Stdin) -> io::Result<OwnedFd> {
    match (given, stdin) {
        (Some(given), _) => given.try_clone_to_owned(),
        (None, Stdin::Inherit) => io::stdin().as_fd().try_clone_to_owned(),
        (None, Stdin::Null) => Ok(File::open("/dev/null")?.into()),
    }
}
