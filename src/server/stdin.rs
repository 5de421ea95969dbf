//! What a client has for a tool to read, on its way there. A tool that does not read holds up
//! nothing else.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

use crate::sidecar::STDIN_WINDOW;

use super::bell::Bell;

/// The input of one exec.
#[derive(Debug)]
pub(super) struct Feed {
    state: Mutex<State>,
    bell: Bell,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Vec<u8>>,
    /// Taken from the client and not told of yet.
    under_way: u64,
    has_eof: bool,
    /// The tool reads no more, or has ended.
    is_closed: bool,
}

/// What the client is told: bytes that have left, and whether the tool reads no more.
pub(super) type OnTaken = Box<dyn Fn(u64, bool) + Send>;

/// The thread that carries the input.
pub(super) struct Carrier {
    feed: Arc<Feed>,
    thread: JoinHandle<()>,
}

impl Feed {
    /// The feed and the descriptor for the tool. `on_taken` is called from a thread of its own.
    pub(super) fn start(on_taken: OnTaken) -> io::Result<(Carrier, OwnedFd)> {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
        // Of this end alone: the tool's own must block.
        rustix::io::ioctl_fionbio(&writer, true)?;
        let feed = Arc::new(Self {
            state: Mutex::default(),
            bell: Bell::new()?,
        });
        let carried = Arc::clone(&feed);
        let thread = std::thread::Builder::new()
            .name("devshell-vm-in".to_owned())
            .spawn(move || carried.carry(&writer, &on_taken))?;
        Ok((Carrier { feed, thread }, reader))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes input of the client; false when that is more than may be under way, or comes after
    /// its own end.
    pub(super) fn take(&self, bytes: Vec<u8>, eof: bool) -> bool {
        let mut state = self.lock();
        if state.is_closed {
            return true;
        }
        let under_way = state.under_way + bytes.len() as u64;
        if state.has_eof || under_way > STDIN_WINDOW {
            return false;
        }
        state.under_way = under_way;
        state.has_eof = eof;
        if !bytes.is_empty() {
            state.queue.push_back(bytes);
        }
        drop(state);
        self.bell.ring();
        true
    }

    fn carry(&self, writer: &OwnedFd, on_taken: &OnTaken) {
        loop {
            let mut state = self.lock();
            if state.is_closed {
                return;
            }
            let next = state.queue.pop_front();
            let at_end = next.is_none() && state.has_eof;
            drop(state);
            if at_end {
                // The end for the tool comes with the writer's.
                return;
            }
            let Some(bytes) = next else {
                wait(None, &self.bell);
                continue;
            };
            let written = self.write(writer, &bytes);
            let length = bytes.len() as u64;
            let mut state = self.lock();
            state.under_way = state.under_way.saturating_sub(length);
            if state.is_closed {
                return;
            }
            if !written {
                state.is_closed = true;
                state.queue.clear();
            }
            drop(state);
            on_taken(length, !written);
        }
    }

    /// False when the tool reads no more, or the feed was closed.
    fn write(&self, writer: &OwnedFd, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            match rustix::io::write(writer, bytes) {
                Ok(length) => bytes = bytes.get(length..).unwrap_or_default(),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    wait(Some(writer), &self.bell);
                    if self.lock().is_closed {
                        return false;
                    }
                }
                Err(_) => return false,
            }
        }
        true
    }
}

/// Waits until the pipe takes something or the bell rings.
fn wait(writer: Option<&OwnedFd>, bell: &Bell) {
    let mut watched = vec![PollFd::new(bell, PollFlags::IN)];
    watched.extend(writer.map(|writer| PollFd::from_borrowed_fd(writer.as_fd(), PollFlags::OUT)));
    let _ = poll(&mut watched, None);
    if watched.first().is_some_and(|bell| !bell.revents().is_empty()) {
        bell.silence();
    }
}

impl Carrier {
    /// What the client's input goes to.
    pub(super) fn feed(&self) -> &Arc<Feed> {
        &self.feed
    }

    /// The tool has ended: nothing more is carried, and nothing more is told.
    pub(super) fn end(self) {
        self.feed.lock().is_closed = true;
        self.feed.bell.ring();
        let _ = self.thread.join();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;
    use std::sync::mpsc::{Receiver, channel};

    fn feed() -> (Carrier, std::fs::File, Receiver<(u64, bool)>) {
        let (sender, told) = channel();
        let (carrier, reader) = Feed::start(Box::new(move |taken, closed| {
            let _ = sender.send((taken, closed));
        }))
        .unwrap();
        (carrier, reader.into(), told)
    }

    #[test]
    fn input_arrives_in_order_and_ends() {
        let (carrier, mut reader, told) = feed();
        let feed = Arc::clone(carrier.feed());
        assert!(feed.take(b"ab".to_vec(), false));
        assert!(feed.take(b"c".to_vec(), true));
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "abc");
        assert_eq!(told.iter().take(2).collect::<Vec<_>>(), [(2, false), (1, false)]);
        assert!(!feed.take(b"d".to_vec(), false), "after its end");
        carrier.end();
    }

    #[test]
    fn a_tool_that_does_not_read_takes_a_bounded_amount() {
        let (carrier, _reader, told) = feed();
        let feed = Arc::clone(carrier.feed());
        let mut sent = 0;
        while feed.take(vec![0; 32 * 1024], false) {
            sent += 32 * 1024;
            assert!(sent < 4 << 20);
        }
        let taken: u64 = told.try_iter().map(|(taken, _)| taken).sum();
        assert!(sent - taken <= STDIN_WINDOW);
        // In the middle of a write that does not end.
        carrier.end();
    }

    #[test]
    fn a_tool_that_reads_no_more_is_told_of_once() {
        let (carrier, reader, told) = feed();
        drop(reader);
        let feed = Arc::clone(carrier.feed());
        assert!(feed.take(b"a".to_vec(), false));
        assert_eq!(told.recv().unwrap(), (1, true));
        assert!(feed.take(vec![0; 1 << 20], false), "dropped, and no fault");
        carrier.end();
        assert!(told.recv().is_err());
    }
}
