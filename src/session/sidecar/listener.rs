//! The thread of a connection that hands on what comes.

use std::sync::{Arc, Mutex};

use crate::event::Stream;
use crate::process::Message;
use crate::sidecar::{
    Addressed, Incoming as Lines, LineError, MAX_FRAME, MAX_LINE_BEFORE_HANDSHAKE, OutputStream, Reply, decode_reply,
};

use super::link::{Agreed, Answer, Broken, CallError, State, Waiting, locked};
use super::said::{of_reply, shown};
use super::transport::Incoming;

/// Lines of a server that does not bound them: whole files in base64.
const MAX_LINE_OF_SERVER: usize = 128 * 1024 * 1024;

/// The thread that reads.
pub(super) struct Listener {
    lines: Lines<Incoming>,
    state: Arc<Mutex<State>>,
    agreed: Arc<Mutex<Agreed>>,
    greeted: bool,
}

impl Listener {
    pub(super) fn new(reader: Incoming, state: &Arc<Mutex<State>>, agreed: &Arc<Mutex<Agreed>>) -> Self {
        Self {
            lines: Lines::new(reader, MAX_LINE_BEFORE_HANDSHAKE),
            state: Arc::clone(state),
            agreed: Arc::clone(agreed),
            greeted: false,
        }
    }

    pub(super) fn run(mut self) {
        let broken = loop {
            match self.step() {
                Ok(()) => {}
                Err(broken) => break broken,
            }
        };
        let (by_id, in_order) = {
            let mut state = locked(&self.state);
            state.broken.get_or_insert(broken.clone());
            (std::mem::take(&mut state.by_id), std::mem::take(&mut state.in_order))
        };
        for waiting in by_id.into_values().chain(in_order) {
            if let Waiting::Exec(sink) = waiting {
                sink.ended(Err(CallError::Broken(broken.clone())));
            }
        }
    }

    fn step(&mut self) -> Result<(), Broken> {
        let silence = locked(&self.agreed).silence;
        self.lines.get_mut().set_patience(silence);
        let line = match self.lines.line() {
            Ok(Some(line)) => line,
            Ok(None) => return Err(Broken::Lost("the sidecar closed the connection".to_owned())),
            Err(LineError::Io(error)) if error.kind() == std::io::ErrorKind::TimedOut => {
                let silence = humantime::format_duration(silence.unwrap_or_default());
                return Err(Broken::Lost(format!("the sidecar has said nothing for {silence}")));
            }
            // The same, where something that was sent to it had not been read.
            Err(LineError::Io(error)) if error.kind() == std::io::ErrorKind::ConnectionReset => {
                return Err(Broken::Lost("the sidecar closed the connection".to_owned()));
            }
            Err(LineError::Io(error)) => return Err(Broken::Lost(format!("the connection failed: {error}"))),
            Err(error @ (LineError::TooLong { .. } | LineError::Endless)) => {
                return Err(Broken::Protocol(error.to_string()));
            }
        };
        let Addressed { id, body } = decode_reply(line)
            .map_err(|fault| Broken::Protocol(format!("{}; it sent {}", fault.message, shown(line))))?;
        if !self.greeted {
            // What follows may hold files.
            self.greeted = true;
            self.lines.set_limit(MAX_LINE_OF_SERVER);
        }
        let mut raw = vec![0; body.frame().min(MAX_FRAME)];
        if !raw.is_empty() {
            self.lines
                .raw(&mut raw)
                .map_err(|error| Broken::Lost(format!("the connection failed: {error}")))?;
        }
        self.hand_on(id, body, raw)
    }

    fn hand_on(&self, id: Option<u64>, reply: Reply, raw: Vec<u8>) -> Result<(), Broken> {
        match reply {
            Reply::Ping => {}
            Reply::ExecOutput(output) => {
                let stream = match output.stream {
                    OutputStream::Stdout => Stream::Stdout,
                    OutputStream::Stderr => Stream::Stderr,
                };
                // The state is not held while a slow reader makes this wait.
                let messages = match locked(&self.state).by_id.get(&output.id) {
                    Some(Waiting::Exec(sink)) => Some(sink.messages().clone()),
                    _ => None,
                };
                if let Some(messages) = messages {
                    let _ = messages.send(Message::Output(stream, raw));
                }
            }
            Reply::ExecStdinTaken(taken) => {
                if let Some(Waiting::Exec(sink)) = locked(&self.state).by_id.get_mut(&taken.id) {
                    sink.taken(taken.len, taken.closed);
                }
            }
            Reply::FsData(data) | Reply::TransferData(data) => {
                let sender = match locked(&self.state).by_id.get(&data.id) {
                    Some(Waiting::Call(sender)) => Some(sender.clone()),
                    _ => None,
                };
                if let Some(sender) = sender {
                    let _ = sender.send(Answer::Data(raw));
                }
            }
            reply => {
                let waiting = {
                    let mut state = locked(&self.state);
                    match id {
                        Some(id) => state.by_id.remove(&id),
                        None => match state.in_order.pop_front() {
                            // One that the server could not assign.
                            None if !state.by_id.is_empty() => {
                                return Err(Broken::Protocol(format!("a reply without an id: {}", of_reply(&reply))));
                            }
                            waiting => waiting,
                        },
                    }
                };
                match waiting {
                    None => {
                        return Err(Broken::Protocol(format!(
                            "a reply that nobody asked for: {}",
                            of_reply(&reply)
                        )));
                    }
                    Some(Waiting::Call(sender)) => {
                        let _ = sender.send(Answer::Reply(Box::new(reply)));
                    }
                    Some(Waiting::Exec(sink)) => match reply {
                        Reply::ExecResult(result) => sink.ended(Ok(result)),
                        Reply::Error(refusal) => sink.ended(Err(CallError::Refused(refusal))),
                        other => {
                            let broken = Broken::Protocol(format!("it answered `exec` with {}", of_reply(&other)));
                            // Before the tool's end is told: who hears of it asks for the reason.
                            locked(&self.state).broken.get_or_insert(broken.clone());
                            sink.ended(Err(CallError::Broken(broken.clone())));
                            return Err(broken);
                        }
                    },
                }
            }
        }
        Ok(())
    }
}
