//! One client, from its first byte to its last.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::sidecar::{
    Addressed, Capabilities, Capability, ErrorCode, Fault, Incoming, LineError, MAX_LINE, MAX_LINE_BEFORE_HANDSHAKE,
    Reply, Request, decode_request,
};

use super::bell::Bell;
use super::execs::Execs;
use super::log::Log;
use super::outbox::Outbox;
use super::peer::{Input, Peer, Transport};
use super::refusal::Refusal;
use super::serving::Shared;
use super::settings::Settings;

/// How long a client may take for its handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long raw bytes may take that were announced.
const RAW: Duration = Duration::from_secs(60);
/// How long the end of a connection waits for a client that does not read.
const LAST_WAIT: Duration = Duration::from_secs(2);
/// The same when the server itself ends.
const SHORT_WAIT: Duration = Duration::from_millis(200);
/// How long tools may take to end that are killed.
const KILLED: Duration = Duration::from_secs(20);

/// What the threads of one connection share.
pub(super) struct Connection {
    number: u64,
    peer: Arc<Peer>,
    shared: Arc<Shared>,
    outbox: Arc<Outbox>,
    execs: Arc<Execs>,
    bell: Arc<Bell>,
    /// No further request is done.
    closing: Arc<AtomicBool>,
    capabilities: std::sync::OnceLock<Capabilities>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

impl Connection {
    pub(super) fn new(number: u64, peer: Peer, shared: Arc<Shared>) -> io::Result<Arc<Self>> {
        let peer = Arc::new(peer);
        let bell = Arc::new(Bell::new()?);
        Ok(Arc::new(Self {
            number,
            outbox: Arc::new(Outbox::new(Arc::clone(&peer), Arc::clone(&bell))),
            peer,
            shared,
            execs: Arc::default(),
            bell,
            closing: Arc::default(),
            capabilities: std::sync::OnceLock::new(),
        }))
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn transport(&self) -> Transport {
        self.peer.transport
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(super) fn log(&self) -> &Log {
        &self.shared.log
    }

    pub(super) fn outbox(&self) -> &Arc<Outbox> {
        &self.outbox
    }

    pub(super) fn execs(&self) -> &Arc<Execs> {
        &self.execs
    }

    /// Whether a capability was agreed on.
    pub(super) fn has(&self, capability: Capability) -> bool {
        self.capabilities().has(capability)
    }

    pub(super) fn capabilities(&self) -> Capabilities {
        self.capabilities.get().copied().unwrap_or_default()
    }

    pub(super) fn agree(&self, capabilities: Capabilities) {
        let _ = self.capabilities.set(capabilities);
    }

    /// Has the reading thread look at what has changed.
    pub(super) fn wake(&self) {
        self.bell.ring();
    }

    /// No further request is done; what runs goes on.
    pub(super) fn end(&self) {
        self.closing.store(true, Ordering::SeqCst);
        self.bell.ring();
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::SeqCst)
    }

    /// Says something that no request waits for, or that has no id.
    pub(super) fn reply(&self, id: Option<u64>, body: impl Into<Reply>) -> bool {
        let line = Addressed { id, body: body.into() }.to_line();
        self.outbox.say(line, Vec::new()).is_ok()
    }

    /// The life of the reading thread.
    pub(super) fn serve(self: &Arc<Self>) {
        let _removed = Removed(self);
        self.log()
            .info("connected", &[("conn", &self.number), ("peer", &self.peer.name)]);
        let mut input = Input::new(
            Arc::clone(&self.peer),
            Arc::clone(&self.bell),
            Arc::clone(&self.closing),
        );
        if self.transport() != Transport::Stdio {
            input.deadline = Some(Instant::now() + HANDSHAKE);
        }
        let mut reader = Reader {
            connection: self,
            incoming: Incoming::new(input, MAX_LINE_BEFORE_HANDSHAKE),
            requests: super::requests::Requests::new(self),
        };
        let end = reader.read();
        drop(reader);
        self.finish(end);
    }

    /// What remains to be done when no more requests come.
    fn finish(&self, end: End) {
        if end == End::Gone {
            self.outbox.close();
        }
        self.execs.kill_all();
        self.outbox.nudge();
        if !self.execs.wait(KILLED) {
            self.log().warn(
                "execs_left",
                &[("conn", &self.number), ("execs", &self.execs.unfinished())],
            );
        }
        if end != End::Gone && self.last_words(end) {
            self.peer.part(if self.is_closing() { SHORT_WAIT } else { LAST_WAIT });
        }
        self.outbox.close();
        self.peer.shut();
    }
}

impl Connection {
    /// Whether the client has got everything. Who is being served is waited for until the server ends.
    fn last_words(&self, end: End) -> bool {
        loop {
            if self.outbox.flush(LAST_WAIT) {
                return true;
            }
            if end == End::Refused || self.is_closing() {
                return false;
            }
        }
    }
}

/// The connection is told of no more, however its thread ends.
struct Removed<'a>(&'a Arc<Connection>);

impl Drop for Removed<'_> {
    fn drop(&mut self) {
        // After a panic, too, nothing may run on.
        self.0.execs.kill_all();
        self.0.outbox.close();
        self.0.peer.shut();
        self.0.log().info("disconnected", &[("conn", &self.0.number)]);
        self.0.shared.registry.remove(self.0.number);
    }
}

/// Why no more requests are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// All that was asked for is done, and is to reach the client, however slowly it reads.
    Done,
    /// The client was told why; if it does not read, it will not know.
    Refused,
    /// There is nobody who could be told anything, or nobody who should.
    Gone,
}

struct Reader<'a> {
    connection: &'a Arc<Connection>,
    incoming: Incoming<Input>,
    requests: super::requests::Requests<'a>,
}

impl Reader<'_> {
    fn read(&mut self) -> End {
        loop {
            if let Some(end) = self.told_to_end() {
                return end;
            }
            let next = match self.incoming.line() {
                Ok(Some(line)) => {
                    let request = decode_request(line);
                    self.incoming.shrink();
                    request
                }
                Ok(None) => return self.ended(),
                Err(LineError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => match self.line_failed(&error) {
                    Some(end) => return end,
                    None => continue,
                },
            };
            if let Some(end) = self.told_to_end() {
                return end;
            }
            if let Some(end) = self.handle(next) {
                return end;
            }
        }
    }

    /// Whether the server has no more time for this client.
    fn told_to_end(&self) -> Option<End> {
        let connection = self.connection;
        if !connection.is_closing() || connection.execs.unfinished() > 0 {
            return None;
        }
        // To one that has not even greeted there is nothing to say.
        Some(if self.requests.is_greeted() {
            End::Done
        } else {
            End::Gone
        })
    }

    fn handle(&mut self, next: Result<Addressed<Request>, Fault>) -> Option<End> {
        let request = match next {
            Ok(request) => request,
            Err(fault) => return self.refuse(fault),
        };
        let raw = match self.raw(request.body.frame()) {
            Ok(raw) => raw,
            Err(error) => {
                let connection = self.connection;
                connection
                    .log()
                    .warn("raw_bytes_missing", &[("conn", &connection.number), ("why", &error)]);
                return Some(End::Gone);
            }
        };
        let was_greeted = self.requests.is_greeted();
        let end = self.requests.handle(request, raw);
        if !was_greeted && self.requests.is_greeted() {
            self.greeted();
        }
        end
    }

    /// Other limits hold once the handshake is made.
    fn greeted(&mut self) {
        let connection = self.connection;
        let limit = if connection.capabilities().is_empty() {
            connection.settings().max_line
        } else {
            MAX_LINE
        };
        self.incoming.set_limit(limit);
        let input = self.incoming.get_mut();
        input.deadline = None;
        input.patience = self.requests.keepalive();
    }

    fn raw(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let mut raw = vec![0; length];
        if length > 0 {
            let input = self.incoming.get_mut();
            let patience = input.patience;
            input.is_raw = true;
            input.patience = Some(patience.unwrap_or(RAW));
            let read = self.incoming.raw(&mut raw);
            let input = self.incoming.get_mut();
            input.is_raw = false;
            input.patience = patience;
            read?;
        }
        Ok(raw)
    }

    /// A line that is no request.
    fn refuse(&mut self, fault: Fault) -> Option<End> {
        let connection = self.connection;
        // Not why: the words repeat what the client sent.
        connection
            .log()
            .warn("refused", &[("conn", &connection.number), ("code", &fault.code)]);
        if !self.requests.is_greeted() && connection.transport() == Transport::Tcp {
            // Whoever that is gets no answer.
            return Some(End::Gone);
        }
        let is_fatal = fault.is_fatal || connection.capabilities().has_frames();
        let id = fault.id.filter(|_| connection.has(Capability::RequestId));
        let said = connection.reply(id, Refusal::from(fault));
        match (said, is_fatal) {
            (false, _) => Some(End::Gone),
            (true, true) => Some(End::Refused),
            (true, false) => None,
        }
    }

    fn line_failed(&mut self, error: &LineError) -> Option<End> {
        let connection = self.connection;
        match error {
            LineError::TooLong { limit } => {
                let is_greeted = self.requests.is_greeted();
                let message = if connection.capabilities().is_empty() && is_greeted {
                    format!("the line is longer than {limit} bytes (devshell-vm --max-line)")
                } else {
                    format!("the line is longer than {limit} bytes")
                };
                let end = self.refuse(Fault {
                    code: ErrorCode::LineTooLong,
                    message,
                    id: None,
                    is_fatal: !is_greeted,
                });
                return end;
            }
            LineError::Endless => connection.log().warn("endless_line", &[("conn", &connection.number)]),
            LineError::Io(error) => {
                let event = if error.kind() == io::ErrorKind::TimedOut {
                    "silent"
                } else {
                    "lost"
                };
                connection
                    .log()
                    .info(event, &[("conn", &connection.number), ("why", error)]);
                return Some(End::Gone);
            }
        }
        Some(End::Refused)
    }

    /// The client says no more. What it has asked for is still done, unless it is gone.
    fn ended(&mut self) -> End {
        let connection = self.connection;
        while connection.execs.unfinished() > 0 {
            if connection.peer.wait_gone(&connection.bell, true) {
                return End::Gone;
            }
        }
        End::Done
    }
}

impl Connection {
    /// Waits until nothing runs any more; true when the client is gone meanwhile.
    pub(super) fn wait_idle(&self) -> bool {
        while self.execs.unfinished() > 0 {
            if self.peer.wait_gone(&self.bell, false) {
                return true;
            }
        }
        false
    }
}
