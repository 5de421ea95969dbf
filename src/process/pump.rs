//! The thread that brings what a kept tool says, and how it ended, into the channel.

use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::AsFd as _;
use rustix::io::Errno;

use crate::event::{Stream, Survivor};
use crate::sys::keeper::{RECORD, Reply, Request, receive, send};

use super::kept::Order;
use super::relay::{Relay, Typing};
use super::{Message, ToolEnd, ToolExit};

/// What a pipe holds at most, as long as nobody asks for more.
const CHUNK: usize = 64 * 1024;

pub(super) struct Pump {
    pub(super) id: u32,
    pub(super) socket: Arc<OwnedFd>,
    pub(super) busy: Arc<AtomicBool>,
    pub(super) quiet: Arc<AtomicBool>,
    pub(super) stop: Arc<OwnedFd>,
    pub(super) messages: SyncSender<Message>,
    pub(super) order: Order,
    pub(super) relay: Option<Relay>,
}

/// Nobody receives any more.
struct Deaf;

/// What one wait has brought.
#[derive(Clone, Copy)]
enum Source {
    Output(usize),
    Woken,
    Typed,
    Keeper,
    Stop,
}

impl Pump {
    /// Pumps until both streams and the tool are at their end, or until nobody wants it any
    /// more and the tool is at its end. One thread for all, so that what was written before the
    /// end comes before it; a full channel holds up the tool, never the levers of its stop.
    ///
    /// Without a `stderr` of its own, all that the tool says is said on `stdout`.
    pub(super) fn run(mut self, stdout: OwnedFd, stderr: Option<OwnedFd>, impossible: Option<ToolExit>) {
        let mut deaf = stderr.is_none() && self.messages.send(Message::Closed(Stream::Stderr)).is_err();
        let mut pipes = [Some(stdout), stderr];
        let mut ended = impossible.is_some();
        if let Some(exit) = impossible {
            deaf |= self.end(exit.into()).is_err();
        }
        let mut buffer = vec![0; CHUNK];
        while !(ended && (deaf || pipes.iter().all(Option::is_none))) {
            if deaf {
                pipes = [None, None];
            }
            for source in self.wait(&pipes, ended, deaf) {
                let heard = match source {
                    Source::Output(index) => match &mut pipes {
                        [stdout, _] if index == 0 => self.read(stdout, Stream::Stdout, &mut buffer),
                        [_, stderr] => self.read(stderr, Stream::Stderr, &mut buffer),
                    },
                    Source::Woken => {
                        self.resize(&pipes);
                        Ok(())
                    }
                    Source::Typed => self.pass_on(&mut pipes),
                    Source::Keeper => match self.hear() {
                        Some(end) => {
                            ended = true;
                            self.end(end)
                        }
                        None => Ok(()),
                    },
                    Source::Stop => Err(Deaf),
                };
                deaf |= heard.is_err();
            }
        }
    }

    /// Output comes before ends.
    fn wait(&self, pipes: &[Option<OwnedFd>; 2], ended: bool, deaf: bool) -> Vec<Source> {
        let mut sources = Vec::with_capacity(6);
        let mut watched = Vec::with_capacity(6);
        let mut watch = |source, fd, what| {
            sources.push(source);
            watched.push(PollFd::from_borrowed_fd(fd, what));
        };
        for (index, pipe) in pipes.iter().enumerate() {
            if let Some(pipe) = pipe {
                watch(Source::Output(index), pipe.as_fd(), PollFlags::IN);
            }
        }
        if let (Some(relay), [Some(terminal), _], false) = (&self.relay, pipes, ended) {
            watch(Source::Woken, relay.woken(), PollFlags::IN);
            if let Some((fd, what)) = relay.typing(terminal.as_fd()) {
                watch(Source::Typed, fd, what);
            }
        }
        if !ended {
            watch(Source::Keeper, self.socket.as_fd(), PollFlags::IN);
        }
        if !deaf {
            watch(Source::Stop, self.stop.as_fd(), PollFlags::IN);
        }
        // An error (EINTR, no memory) leaves nothing ready: it is tried again.
        let _ = poll(&mut watched, None);
        let ready = watched.iter().map(|fd| !fd.revents().is_empty());
        sources
            .into_iter()
            .zip(ready)
            .filter_map(|(source, ready)| ready.then_some(source))
            .collect()
    }

    fn read(&self, pipe: &mut Option<OwnedFd>, stream: Stream, buffer: &mut [u8]) -> Result<(), Deaf> {
        let Some(open) = pipe else { return Ok(()) };
        let message = match rustix::io::read(open, &mut *buffer) {
            Ok(length) if length > 0 => Message::Output(stream, buffer[..length].to_vec()),
            Err(Errno::INTR | Errno::AGAIN) => return Ok(()),
            Ok(_) | Err(_) => {
                *pipe = None;
                Message::Closed(stream)
            }
        };
        self.messages.send(message).map_err(|_| Deaf)
    }

    /// The caller's terminal has another size, perhaps.
    fn resize(&mut self, pipes: &[Option<OwnedFd>; 2]) {
        if let (Some(relay), [Some(terminal), _]) = (&mut self.relay, pipes)
            && relay.resize(terminal.as_fd())
        {
            let signal = Request::Signal {
                id: self.id,
                signal: libc::SIGWINCH,
            };
            // When it cannot be sent, the keeper is gone, which is heard of anyway.
            let _ = send(self.socket.as_fd(), signal, &[]);
        }
    }

    /// Something was typed, or the tool can be given what was. When the caller's terminal has gone
    /// away, so does the tool's: its processes get SIGHUP.
    fn pass_on(&mut self, pipes: &mut [Option<OwnedFd>; 2]) -> Result<(), Deaf> {
        let (Some(relay), [Some(terminal), _]) = (&mut self.relay, &mut *pipes) else {
            return Ok(());
        };
        if relay.pass_on(terminal.as_fd()) == Typing::GoesOn {
            return Ok(());
        }
        pipes[0] = None;
        self.messages.send(Message::Closed(Stream::Stdout)).map_err(|_| Deaf)
    }

    /// The next report of the keeper, when it is the end of this tool.
    fn hear(&self) -> Option<ToolEnd> {
        let mut buffer = [0; RECORD];
        let length = match receive(self.socket.as_fd(), &mut buffer) {
            Ok(0) | Err(_) => {
                return Some(ToolExit::Lost("the process that keeps the tools has ended (killed?)".to_owned()).into());
            }
            Ok(length) => length,
        };
        match Reply::decode(buffer.get(..length)?)? {
            Reply::SpawnFailed { id, failure } if id == self.id => Some(self.order.explain(&failure).into()),
            Reply::Ended {
                id,
                status,
                stuck,
                survivors,
            } if id == self.id => Some(ToolEnd {
                exit: exit(status),
                survivors: survivors.into_iter().map(survivor).collect(),
                leaked: stuck,
            }),
            _ => None,
        }
    }

    fn end(&self, end: ToolEnd) -> Result<(), Deaf> {
        let known = !end.leaked && !matches!(end.exit, ToolExit::Lost(_));
        self.quiet.store(known, Ordering::SeqCst);
        // Before it is told, so that who has heard of the end can start the next tool.
        self.busy.store(false, Ordering::SeqCst);
        self.messages.send(Message::Ended(end)).map_err(|_| Deaf)
    }
}

fn exit(status: Option<i32>) -> ToolExit {
    let Some(status) = status.map(ExitStatus::from_raw) else {
        return ToolExit::Lost("the tool does not end on SIGKILL: it hangs inside the kernel".to_owned());
    };
    match (status.code(), status.signal()) {
        (Some(0), _) => ToolExit::Success,
        (Some(code), _) => ToolExit::Code(code),
        (None, Some(signal)) => ToolExit::Signal(signal),
        (None, None) => ToolExit::Lost(format!("the tool ended with a status that is not known: {status}")),
    }
}

fn survivor((pid, line): (u32, Vec<u8>)) -> Survivor {
    let text = String::from_utf8_lossy(&line);
    Survivor {
        pid,
        argv: text.trim_end_matches('\0').replace('\0', " "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_maps_to_code_or_signal_also_with_a_core_dump() {
        assert_eq!(exit(Some(0)), ToolExit::Success);
        assert_eq!(exit(Some(255 << 8)), ToolExit::Code(255));
        assert_eq!(exit(Some(9)), ToolExit::Signal(9));
        assert_eq!(exit(Some(0x80 | 6)), ToolExit::Signal(6));
        assert!(matches!(exit(None), ToolExit::Lost(_)));
    }

    #[test]
    fn a_command_line_is_shown_with_spaces() {
        assert_eq!(
            survivor((7, b"sleep\x009\x00".to_vec())),
            Survivor {
                pid: 7,
                argv: "sleep 9".to_owned()
            }
        );
    }
}
