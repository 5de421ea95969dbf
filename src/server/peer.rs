//! The other end of a connection: reading with deadlines, writing, and seeing that it is gone.

use std::io::{self, IoSlice, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags, Shutdown, sendmsg};

use super::bell::Bell;

/// How much of what a client still says is read before the end.
const MOST_PARTING: usize = 32 << 20;

/// How a client is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// A Unix socket.
    Unix,
    /// TCP.
    Tcp,
    /// Standard input and output.
    Stdio,
}

/// The two directions to a client.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) transport: Transport,
    /// Where it comes from, for the log.
    pub(super) name: String,
    input: OwnedFd,
    /// None: the same socket.
    output: Option<OwnedFd>,
}

impl Peer {
    /// A client on a socket.
    pub(super) fn socket(transport: Transport, name: String, socket: OwnedFd) -> Self {
        Self {
            transport,
            name,
            input: socket,
            output: None,
        }
    }

    /// A client on two descriptors.
    pub(super) fn pipes(input: OwnedFd, output: OwnedFd) -> Self {
        Self {
            transport: Transport::Stdio,
            name: "stdio".to_owned(),
            input,
            output: Some(output),
        }
    }

    /// The user at the other end of a Unix socket.
    pub(super) fn uid(&self) -> Option<u32> {
        rustix::net::sockopt::socket_peercred(&self.input)
            .ok()
            .map(|peer| peer.uid.as_raw())
    }

    fn output(&self) -> BorrowedFd<'_> {
        self.output.as_ref().unwrap_or(&self.input).as_fd()
    }

    /// Whether it can be tried to write without a wait.
    pub(super) fn can_try(&self) -> bool {
        self.output.is_none()
    }

    /// Writes the beginning of the pieces. `wait` says whether to wait for room; without it nothing to
    /// write is `WouldBlock`.
    pub(super) fn send(&self, pieces: &[IoSlice], wait: bool) -> io::Result<usize> {
        loop {
            let sent = if self.output.is_none() {
                let flags = if wait {
                    SendFlags::NOSIGNAL
                } else {
                    SendFlags::NOSIGNAL | SendFlags::DONTWAIT
                };
                sendmsg(self.output(), pieces, &mut SendAncillaryBuffer::new(&mut []), flags)
            } else {
                rustix::io::writev(self.output(), pieces)
            };
            match sent {
                Err(Errno::INTR) => {}
                // A pipe of the caller's may not block.
                Err(Errno::AGAIN) if wait => {
                    let mut watched = [PollFd::from_borrowed_fd(self.output(), PollFlags::OUT)];
                    let _ = poll(&mut watched, None);
                }
                sent => return Ok(sent?),
            }
        }
    }

    /// Nothing goes in or out any more; who waits for it is woken.
    pub(super) fn shut(&self) {
        let _ = rustix::net::shutdown(&self.input, Shutdown::Both);
        if let Some(output) = &self.output {
            let _ = rustix::net::shutdown(output, Shutdown::Both);
        }
    }

    /// Tells the client that nothing more comes, and reads what it still says, so that it can read
    /// what was said last: closing a socket with unread bytes in it takes that away.
    pub(super) fn part(&self, patience: Duration) {
        if self.output.is_some() || rustix::net::shutdown(&self.input, Shutdown::Write).is_err() {
            return;
        }
        let until = Instant::now() + patience;
        let mut dropped = [0; 16 * 1024];
        // Who never stops talking hears nothing anyway.
        for _ in 0..MOST_PARTING / dropped.len() {
            let mut watched = [PollFd::new(&self.input, PollFlags::IN)];
            match poll(&mut watched, Some(&left(until))) {
                Ok(0) => return,
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => return,
            }
            match rustix::io::read(&self.input, &mut dropped) {
                Ok(0) => return,
                Ok(_) | Err(Errno::INTR) if Instant::now() < until => {}
                _ => return,
            }
        }
    }

    /// After the end of what it says: waits until it is gone for good (true), or the bell rings.
    ///
    /// A client that only has nothing more to say still gets its replies; over TCP that cannot be
    /// told from one that is gone.
    pub(super) fn wait_gone(&self, bell: &Bell, has_ended: bool) -> bool {
        if has_ended && self.transport == Transport::Tcp {
            return true;
        }
        // Not asked for and always told: that both directions are closed, or nobody reads.
        let ended = match self.transport {
            Transport::Tcp => PollFlags::RDHUP,
            Transport::Unix | Transport::Stdio => PollFlags::empty(),
        };
        loop {
            let mut watched = [
                PollFd::from_borrowed_fd(self.output(), ended),
                PollFd::new(bell, PollFlags::IN),
            ];
            match poll(&mut watched, None) {
                Err(Errno::INTR) => continue,
                Err(_) => return true,
                Ok(_) => {}
            }
            let [gone, rung] = watched.map(|fd| !fd.revents().is_empty());
            if rung {
                bell.silence();
            }
            return gone;
        }
    }
}

/// Reads from a peer, as long as the bell does not ring.
#[derive(Debug)]
pub(super) struct Input {
    peer: Arc<Peer>,
    bell: Arc<Bell>,
    closing: Arc<AtomicBool>,
    /// What has not come by then does not come.
    pub(super) deadline: Option<Instant>,
    /// How long each read may wait.
    pub(super) patience: Option<Duration>,
    /// In the middle of raw bytes only the end of the connection is worth a wake.
    pub(super) is_raw: bool,
}

impl Input {
    pub(super) fn new(peer: Arc<Peer>, bell: Arc<Bell>, closing: Arc<AtomicBool>) -> Self {
        Self {
            peer,
            bell,
            closing,
            deadline: None,
            patience: None,
            is_raw: false,
        }
    }
}

impl Read for Input {
    /// `WouldBlock`: the bell rang. `TimedOut`: the peer said nothing for too long.
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let by_patience = self.patience.and_then(|patience| Instant::now().checked_add(patience));
        let until = [self.deadline, by_patience].into_iter().flatten().min();
        loop {
            let mut watched = [
                PollFd::new(&self.peer.input, PollFlags::IN),
                PollFd::new(&*self.bell, PollFlags::IN),
            ];
            let limit = until.map(left);
            match poll(&mut watched, limit.as_ref()) {
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
                Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
                Ok(_) => {}
            }
            let [readable, rung] = watched.map(|fd| !fd.revents().is_empty());
            if rung {
                self.bell.silence();
                if !self.is_raw {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                if self.closing.load(Ordering::SeqCst) {
                    return Err(io::ErrorKind::ConnectionAborted.into());
                }
            }
            if readable {
                match rustix::io::read(&self.peer.input, &mut *into) {
                    Err(Errno::INTR | Errno::AGAIN) => {}
                    length => return Ok(length?),
                }
            }
        }
    }
}

/// What is left until then, as poll(2) takes it, rounded up to a millisecond.
pub(super) fn left(until: Instant) -> Timespec {
    let left = until.saturating_duration_since(Instant::now());
    let millis = i64::try_from(left.as_micros().div_ceil(1000)).unwrap_or(i64::MAX);
    Timespec {
        tv_sec: millis / 1000,
        tv_nsec: (millis % 1000) * 1_000_000,
    }
}
