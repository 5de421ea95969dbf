//! What goes from the caller's terminal to the tool's: its size, and what is typed.

use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::event::PollFlags;
use rustix::io::Errno;
use signal_hook::SigId;
use signal_hook::consts::{SIGCONT, SIGWINCH};
use signal_hook::low_level::{pipe, unregister};

use crate::sys::pty::{self, RawMode};

/// As much as a terminal takes of one line.
const CHUNK: usize = 4096;

/// One tool's connection with the caller's terminal, in the hands of its pump.
pub(super) struct Relay {
    /// Whose size the tool's terminal has.
    caller: OwnedFd,
    /// Where it is typed; none where nothing is, or no more.
    keyboard: Option<OwnedFd>,
    /// Whether it was ever typed: the tool's terminal then tells its processes of a new size itself.
    interactive: bool,
    /// What the tool's terminal has not taken yet.
    typed: Vec<u8>,
    /// Readable when the size may have changed, or this process goes on after a stop.
    woken: UnixStream,
    signals: Vec<SigId>,
}

/// What has become of the caller's terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Typing {
    GoesOn,
    /// It has gone away, or nobody can type there any more.
    IsOver,
}

impl Relay {
    pub(super) fn new(caller: OwnedFd, keyboard: Option<OwnedFd>) -> io::Result<Self> {
        let (woken, waker) = UnixStream::pair()?;
        woken.set_nonblocking(true)?;
        let mut relay = Self {
            caller,
            interactive: keyboard.is_some(),
            keyboard,
            typed: Vec::new(),
            woken,
            signals: Vec::new(),
        };
        // Whoever stopped this process and let it go on has had the terminal meanwhile.
        for signal in [SIGWINCH, SIGCONT] {
            relay.signals.push(pipe::register(signal, waker.try_clone()?)?);
        }
        Ok(relay)
    }

    /// What to wait for, besides the tool's terminal itself.
    pub(super) fn woken(&self) -> BorrowedFd<'_> {
        self.woken.as_fd()
    }

    /// What to wait for so that typing goes on: the keyboard, or room in the tool's terminal.
    pub(super) fn typing<'a>(&'a self, tool: BorrowedFd<'a>) -> Option<(BorrowedFd<'a>, PollFlags)> {
        let keyboard = self.keyboard.as_ref()?;
        Some(if self.typed.is_empty() {
            (keyboard.as_fd(), PollFlags::IN)
        } else {
            (tool, PollFlags::OUT)
        })
    }

    /// Gives the tool's terminal the size that the caller's has now. Says whether the tool has to
    /// be told: a terminal that controls nobody tells nobody.
    pub(super) fn resize(&mut self, tool: BorrowedFd) -> bool {
        let _ = io::copy(&mut (&self.woken).take(CHUNK as u64), &mut io::sink());
        if self.interactive {
            RawMode::renew();
        }
        pty::copy_size(&self.caller, tool).is_ok() && !self.interactive
    }

    /// Brings what was typed to the tool's terminal, as far as it goes without a wait.
    pub(super) fn pass_on(&mut self, tool: BorrowedFd) -> Typing {
        let Some(keyboard) = &self.keyboard else {
            return Typing::IsOver;
        };
        if self.typed.is_empty() {
            let mut buffer = [0; CHUNK];
            match rustix::io::read(keyboard, &mut buffer) {
                Err(Errno::INTR | Errno::AGAIN) => return Typing::GoesOn,
                // In raw mode there is no typed end: the terminal has gone away.
                Ok(0) | Err(_) => {
                    self.keyboard = None;
                    return Typing::IsOver;
                }
                Ok(length) => self.typed.extend_from_slice(&buffer[..length]),
            }
        }
        match rustix::io::write(tool, &self.typed) {
            Ok(length) => drop(self.typed.drain(..length)),
            Err(Errno::INTR | Errno::AGAIN) => {}
            // Nobody reads it any more.
            Err(_) => self.typed.clear(),
        }
        Typing::GoesOn
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        for signal in self.signals.drain(..) {
            unregister(signal);
        }
    }
}
