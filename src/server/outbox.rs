//! What goes to a client: whole messages in order, from many threads, with a bound. Who fills it
//! faster than the client reads has to wait.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::sidecar::Reply;

use super::bell::Bell;
use super::peer::Peer;

/// How much may wait for the client. One message more than that may be there, since messages are
/// taken whole.
const CAPACITY: usize = 256 * 1024;
/// How many pieces are handed to the system at once.
const PIECES: usize = 16;
/// After how long a thread that waits for room asks again whether the wait is still worth it.
const SLICE: Duration = Duration::from_millis(50);

/// The way out of a connection.
#[derive(Debug)]
pub(super) struct Outbox {
    peer: Arc<Peer>,
    state: Mutex<State>,
    /// There is something to write, or room, or an end.
    changed: Condvar,
    /// Rung when the client takes nothing more.
    bell: Arc<Bell>,
}

#[derive(Debug)]
struct State {
    queue: VecDeque<Vec<u8>>,
    bytes: usize,
    /// The thread is writing what it took out of the queue.
    is_writing: bool,
    has_writer: bool,
    is_closed: bool,
    last_sent: Instant,
    /// How long nothing may be said.
    silence: Option<Duration>,
}

/// Why a message was not taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotTaken {
    /// The wait for room was given up. The message comes back.
    Full(Vec<u8>, Vec<u8>),
    /// The client takes nothing more.
    Closed,
}

impl Outbox {
    pub(super) fn new(peer: Arc<Peer>, bell: Arc<Bell>) -> Self {
        Self {
            peer,
            state: Mutex::new(State {
                queue: VecDeque::new(),
                bytes: 0,
                is_writing: false,
                has_writer: false,
                is_closed: false,
                last_sent: Instant::now(),
                silence: None,
            }),
            changed: Condvar::new(),
            bell,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on a `ping` goes out when nothing else was said for so long.
    pub(super) fn ping_after(self: &Arc<Self>, silence: Duration) {
        let mut state = self.lock();
        state.silence = Some(silence);
        self.ensure_writer(&mut state);
        self.changed.notify_all();
    }

    /// Says something, and waits for room as long as it takes.
    pub(super) fn say(self: &Arc<Self>, line: Vec<u8>, raw: Vec<u8>) -> Result<(), NotTaken> {
        self.say_unless(line, raw, &|| false)
    }

    /// Says something, unless `give_up` holds while there is no room.
    pub(super) fn say_unless(
        self: &Arc<Self>,
        line: Vec<u8>,
        raw: Vec<u8>,
        give_up: &dyn Fn() -> bool,
    ) -> Result<(), NotTaken> {
        let length = line.len() + raw.len();
        let mut state = self.lock();
        while !state.is_closed && state.bytes > 0 && state.bytes + length > CAPACITY {
            if give_up() {
                return Err(NotTaken::Full(line, raw));
            }
            state = self
                .changed
                .wait_timeout(state, SLICE)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        if state.is_closed {
            return Err(NotTaken::Closed);
        }
        let mut pieces = [line, raw];
        if state.queue.is_empty() && !state.is_writing && self.peer.can_try() {
            // Most often there is room, and no other thread need be woken.
            match self.peer.send(&slices(&pieces), false) {
                Ok(sent) => {
                    state.last_sent = Instant::now();
                    drop_front(&mut pieces, sent);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => {
                    self.fail(&mut state);
                    return Err(NotTaken::Closed);
                }
            }
        }
        for piece in pieces {
            if !piece.is_empty() {
                state.bytes += piece.len();
                state.queue.push_back(piece);
            }
        }
        if !state.queue.is_empty() {
            self.ensure_writer(&mut state);
            self.changed.notify_all();
        }
        Ok(())
    }

    /// Waits until everything is with the client; false when it was not in time.
    pub(super) fn flush(&self, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        let mut state = self.lock();
        while !state.is_closed && (state.is_writing || !state.queue.is_empty()) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        true
    }

    /// Drops what was not said yet; nothing more is taken.
    pub(super) fn close(&self) {
        self.fail(&mut self.lock());
    }

    /// Has those who wait for room look again whether the wait is worth it.
    pub(super) fn nudge(&self) {
        self.changed.notify_all();
    }

    fn fail(&self, state: &mut State) {
        state.is_closed = true;
        state.queue.clear();
        state.bytes = 0;
        self.changed.notify_all();
        self.bell.ring();
    }

    fn ensure_writer(self: &Arc<Self>, state: &mut State) {
        if state.has_writer {
            return;
        }
        let outbox = Arc::clone(self);
        let spawned = std::thread::Builder::new()
            .name("devshell-vm-out".to_owned())
            .spawn(move || outbox.write());
        match spawned {
            Ok(_) => state.has_writer = true,
            Err(_) => self.fail(state),
        }
    }

    /// The life of the writing thread.
    fn write(&self) {
        let mut state = self.lock();
        loop {
            if state.is_closed {
                return;
            }
            if state.queue.is_empty() {
                state = self.rest(state);
                continue;
            }
            let most = state.queue.len().min(PIECES);
            let mut pieces: Vec<Vec<u8>> = state.queue.drain(..most).collect();
            state.is_writing = true;
            drop(state);
            let written = self.write_all(&mut pieces);
            state = self.lock();
            state.is_writing = false;
            state.last_sent = Instant::now();
            match written {
                Ok(length) => state.bytes = state.bytes.saturating_sub(length),
                Err(_) => self.fail(&mut state),
            }
            self.changed.notify_all();
        }
    }

    /// Waits for something to write; when nothing comes for too long, it is a `ping`.
    fn rest<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let Some(silence) = state.silence else {
            return self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        };
        let quiet = state.last_sent.elapsed();
        if quiet < silence {
            return self
                .changed
                .wait_timeout(state, silence - quiet)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        let ping = Reply::Ping.to_line();
        state.bytes += ping.len();
        state.queue.push_back(ping);
        state
    }

    fn write_all(&self, pieces: &mut [Vec<u8>]) -> io::Result<usize> {
        let length: usize = pieces.iter().map(Vec::len).sum();
        let mut left = length;
        while left > 0 {
            let sent = self.peer.send(&slices(pieces), true)?;
            if sent == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            drop_front(pieces, sent);
            left -= sent.min(left);
        }
        Ok(length)
    }
}

fn slices(pieces: &[Vec<u8>]) -> Vec<IoSlice<'_>> {
    pieces
        .iter()
        .filter(|piece| !piece.is_empty())
        .map(|piece| IoSlice::new(piece))
        .collect()
}

/// Takes off what has been sent.
fn drop_front(pieces: &mut [Vec<u8>], mut sent: usize) {
    for piece in pieces {
        let of_this = sent.min(piece.len());
        if of_this == piece.len() {
            *piece = Vec::new();
        } else {
            piece.drain(..of_this);
        }
        sent -= of_this;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::Transport;
    use std::io::Read as _;
    use std::os::unix::net::UnixStream;

    fn outbox() -> (Arc<Outbox>, UnixStream, Arc<Bell>) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let peer = Arc::new(Peer::socket(Transport::Unix, "test".to_owned(), ours.into()));
        let bell = Arc::new(Bell::new().unwrap());
        (Arc::new(Outbox::new(peer, Arc::clone(&bell))), theirs, bell)
    }

    #[test]
    fn messages_of_many_threads_come_whole_and_in_order_to_a_slow_reader() {
        const EACH: usize = 40;
        let (outbox, mut client, _) = outbox();
        let threads: Vec<_> = (0..4_u8)
            .map(|number| {
                let outbox = Arc::clone(&outbox);
                std::thread::spawn(move || {
                    for index in 0..EACH {
                        let raw = vec![number; 30_000 + index];
                        outbox.say(vec![b'a' + number, index as u8], raw).unwrap();
                    }
                })
            })
            .collect();
        let mut next = [0_usize; 4];
        for _ in 0..4 * EACH {
            let mut head = [0; 2];
            client.read_exact(&mut head).unwrap();
            let number = usize::from(head[0] - b'a');
            assert_eq!(usize::from(head[1]), next[number]);
            let mut raw = vec![0; 30_000 + next[number]];
            client.read_exact(&mut raw).unwrap();
            assert!(raw.iter().all(|byte| usize::from(*byte) == number));
            next[number] += 1;
        }
        for thread in threads {
            thread.join().unwrap();
        }
        assert!(outbox.flush(Duration::from_secs(60)));
    }

    #[test]
    fn a_reader_that_does_not_read_costs_a_bounded_amount() {
        let (outbox, _client, _) = outbox();
        let mut taken = 0;
        let refused = loop {
            match outbox.say_unless(vec![0; 10], vec![1; 50_000], &|| true) {
                Ok(()) => taken += 50_010,
                Err(refused) => break refused,
            }
            assert!(taken < 4 << 20);
        };
        assert_eq!(refused, NotTaken::Full(vec![0; 10], vec![1; 50_000]));
        assert!(outbox.lock().bytes <= CAPACITY);
        assert!(!outbox.flush(Duration::from_millis(10)));
        outbox.close();
        assert_eq!(outbox.say(Vec::new(), vec![1]), Err(NotTaken::Closed));
    }

    #[test]
    fn a_reader_that_went_away_closes_it_and_rings() {
        let (outbox, client, bell) = outbox();
        drop(client);
        assert_eq!(outbox.say(vec![1], vec![2]), Err(NotTaken::Closed));
        assert_eq!(outbox.say(vec![1], vec![2]), Err(NotTaken::Closed));
        let mut rung = [0; 8];
        assert_eq!(rustix::io::read(&*bell, &mut rung).unwrap(), 8);
    }

    #[test]
    fn a_silence_is_broken_by_a_ping() {
        let (outbox, mut client, _) = outbox();
        outbox.ping_after(Duration::from_millis(20));
        let mut line = [0; 14];
        client.read_exact(&mut line).unwrap();
        assert_eq!(&line, b"{\"op\":\"ping\"}\n");
        client.read_exact(&mut line).unwrap();
        outbox.close();
    }
}
