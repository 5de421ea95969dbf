//! One connection to a sidecar: what is asked, and who waits for what comes back.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::process::Message;
use crate::sidecar::{Addressed, Capabilities, Capability, ErrorReply, ExecResult, Reply, Request, write_message};

use super::listener::Listener;
use super::transport::{Incoming, Outgoing};

/// How often a caller who waits for a reply looks whether it is still wanted.
const SLICE: Duration = Duration::from_millis(100);

/// Why a connection is of no use any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::session) enum Broken {
    /// It ended, or nothing comes any more.
    Lost(String),
    /// The other side speaks something else.
    Protocol(String),
}

/// Why a request has no answer.
#[derive(Debug)]
pub(in crate::session) enum CallError {
    /// The connection broke.
    Broken(Broken),
    /// The server refused.
    Refused(ErrorReply),
    /// The answer is to another question.
    Unexpected(String),
    /// It did not come in time.
    Late,
    /// The caller wished to stop.
    Cancelled,
}

/// What waits for a reply.
pub(super) enum Waiting {
    /// One reply ends it; pieces of a file may come before.
    Call(SyncSender<Answer>),
    /// Output, then the end.
    Exec(Box<dyn ExecSink>),
}

/// What comes to a call.
pub(in crate::session) enum Answer {
    /// The reply.
    Reply(Box<Reply>),
    /// A piece of a file or a tree.
    Data(Vec<u8>),
}

/// Who hears of an exec.
pub(in crate::session) trait ExecSink: Send {
    /// Where its output goes.
    fn messages(&self) -> &SyncSender<Message>;
    /// It ended, or was refused, or nobody will ever know.
    fn ended(self: Box<Self>, end: Result<ExecResult, CallError>);
    /// Input was taken.
    fn taken(&mut self, bytes: u64, closed: bool);
}

#[derive(Default)]
pub(super) struct State {
    /// With `request_id`.
    pub(super) by_id: HashMap<u64, Waiting>,
    /// Without: replies come in the order of the requests.
    pub(super) in_order: VecDeque<Waiting>,
    pub(super) broken: Option<Broken>,
}

/// A connection. Dropped, it hangs up: the sidecar then ends what runs for it.
pub(in crate::session) struct Link {
    writer: Mutex<Outgoing>,
    state: Arc<Mutex<State>>,
    agreed: Arc<Mutex<Agreed>>,
    next_id: AtomicU64,
    /// What must see the end of this link.
    lives: Mutex<Option<Sender<()>>>,
}

/// What the handshake agreed on.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::session) struct Agreed {
    pub(in crate::session) capabilities: Capabilities,
    /// After which silence the sidecar is gone.
    pub(in crate::session) silence: Option<Duration>,
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Link {
    /// Starts to listen.
    pub(in crate::session) fn new(reader: Incoming, writer: Outgoing) -> std::io::Result<Arc<Self>> {
        let link = Arc::new(Self {
            writer: Mutex::new(writer),
            state: Arc::default(),
            agreed: Arc::default(),
            next_id: AtomicU64::new(1),
            lives: Mutex::new(None),
        });
        let listener = Listener::new(reader, &link.state, &link.agreed);
        std::thread::Builder::new()
            .name("devshell-sidecar".to_owned())
            .spawn(move || listener.run())?;
        Ok(link)
    }

    /// What the handshake agreed on; holds from the next line on.
    pub(in crate::session) fn agree(&self, agreed: Agreed) {
        *locked(&self.agreed) = agreed;
    }

    /// Keeps this as long as the link lives.
    pub(super) fn keep(&self, lives: Sender<()>) {
        *locked(&self.lives) = Some(lives);
    }

    /// Whether the sidecar has a capability.
    pub(in crate::session) fn has(&self, capability: Capability) -> bool {
        locked(&self.agreed).capabilities.has(capability)
    }

    /// Why the connection is of no use, if it is not.
    pub(in crate::session) fn broken(&self) -> Option<Broken> {
        locked(&self.state).broken.clone()
    }

    /// Whether the connection is whole and all that was asked has its reply.
    pub(super) fn is_idle(&self) -> bool {
        let state = locked(&self.state);
        state.broken.is_none() && state.by_id.is_empty() && state.in_order.is_empty()
    }

    /// Sends a request that has no reply of its own.
    pub(in crate::session) fn tell(&self, request: Request, raw: &[u8]) -> Result<(), Broken> {
        let line = Addressed {
            id: None,
            body: request,
        }
        .to_line();
        self.write(&line, raw)
    }

    /// Asks and waits for the one reply.
    pub(in crate::session) fn call(
        &self,
        request: Request,
        patience: Option<Duration>,
        wanted: &dyn Fn() -> bool,
    ) -> Result<Reply, CallError> {
        let answers = self.ask(request)?.1;
        self.answer(&answers, patience, wanted)
    }

    /// Waits for the one reply to what was asked.
    pub(in crate::session) fn answer(
        &self,
        answers: &Receiver<Answer>,
        patience: Option<Duration>,
        wanted: &dyn Fn() -> bool,
    ) -> Result<Reply, CallError> {
        let until = patience.and_then(|patience| Instant::now().checked_add(patience));
        loop {
            match self.next(answers, until, wanted)? {
                Answer::Reply(reply) => return done(*reply),
                Answer::Data(_) => {}
            }
        }
    }

    /// Asks; pieces and the reply come into the channel.
    pub(in crate::session) fn ask(&self, request: Request) -> Result<(u64, Receiver<Answer>), CallError> {
        let (sender, answers) = mpsc::sync_channel(4);
        let id = self.send(request, Waiting::Call(sender)).map_err(CallError::Broken)?;
        Ok((id, answers))
    }

    /// The next that comes to a call.
    pub(in crate::session) fn next(
        &self,
        answers: &Receiver<Answer>,
        until: Option<Instant>,
        wanted: &dyn Fn() -> bool,
    ) -> Result<Answer, CallError> {
        loop {
            match answers.recv_timeout(SLICE) {
                Ok(answer) => return Ok(answer),
                Err(RecvTimeoutError::Disconnected) => {
                    let gone = || Broken::Lost("the connection ended".to_owned());
                    return Err(CallError::Broken(self.broken().unwrap_or_else(gone)));
                }
                Err(RecvTimeoutError::Timeout) if !wanted() => return Err(CallError::Cancelled),
                Err(RecvTimeoutError::Timeout) if until.is_some_and(|until| Instant::now() >= until) => {
                    return Err(CallError::Late);
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// Starts an exec; gives its id.
    pub(in crate::session) fn exec(&self, request: Request, sink: Box<dyn ExecSink>) -> Result<u64, Broken> {
        self.send(request, Waiting::Exec(sink))
    }

    fn send(&self, request: Request, waiting: Waiting) -> Result<u64, Broken> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let with_ids = self.has(Capability::RequestId);
        let line = Addressed {
            id: with_ids.then_some(id),
            body: request,
        }
        .to_line();
        // The writer is held meanwhile, so that replies without ids are waited for in the order of the lines.
        let mut writer = locked(&self.writer);
        {
            let mut state = locked(&self.state);
            if let Some(broken) = &state.broken {
                return Err(broken.clone());
            }
            if with_ids {
                state.by_id.insert(id, waiting);
            } else {
                state.in_order.push_back(waiting);
            }
        }
        write_message(&mut *writer, &line, &[]).map_err(|error| self.write_failed(&mut writer, &error))?;
        Ok(id)
    }

    fn write(&self, line: &[u8], raw: &[u8]) -> Result<(), Broken> {
        let mut writer = locked(&self.writer);
        write_message(&mut *writer, line, raw).map_err(|error| self.write_failed(&mut writer, &error))
    }

    /// The listener says why, where the other side said something before it went.
    fn write_failed(&self, writer: &mut Outgoing, error: &std::io::Error) -> Broken {
        writer.hang_up();
        let broken = Broken::Lost(format!("the sidecar takes no more: {error}"));
        locked(&self.state).broken.get_or_insert(broken).clone()
    }

    /// Ends the connection.
    pub(in crate::session) fn hang_up(&self) {
        locked(&self.writer).hang_up();
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.hang_up();
    }
}

/// A reply, unless it is a refusal.
fn done(reply: Reply) -> Result<Reply, CallError> {
    match reply {
        Reply::Error(refusal) => Err(CallError::Refused(refusal)),
        reply => Ok(reply),
    }
}
