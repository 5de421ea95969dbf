//! What a tool says on its way to the client, and the result behind it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::event::Stream;
use crate::process::{Cancel, ToolEnd, ToolExit};
use crate::sidecar::{
    Capability, ErrorCode, ExecOutput, ExecResult, MAX_FRAME, Outcome, OutputStream, Reply, Survivor, TAIL, to_base64,
};

use super::connection::Connection;
use super::outbox::{NotTaken, Outbox};
use super::refusal::{Refusal, short};

/// How much output of a tool that is being stopped waits for a client that does not read.
const ASIDE: usize = 256 * 1024;

/// Where a tool's output goes.
pub(super) enum Output {
    Stream(Streamed),
    Tails(Box<Tails>),
}

/// To the client as it comes.
pub(super) struct Streamed {
    id: u64,
    outbox: Arc<Outbox>,
    cancel: Cancel,
    /// What waits for the client while the tool is being stopped.
    aside: VecDeque<(Vec<u8>, Vec<u8>)>,
    aside_bytes: usize,
    dropped: u64,
}

/// The last of each stream, for `exec_result`.
#[derive(Default)]
pub(super) struct Tails {
    stdout: VecDeque<u8>,
    stderr: VecDeque<u8>,
    truncated: bool,
}

impl Output {
    /// As it is agreed on with the client; `id` is the exec's.
    pub(super) fn new(connection: &Connection, id: u64, cancel: &Cancel) -> Self {
        if connection.has(Capability::ExecStream) {
            Self::Stream(Streamed::new(id, Arc::clone(connection.outbox()), cancel.clone()))
        } else {
            Self::Tails(Box::default())
        }
    }

    pub(super) fn take(&mut self, stream: Stream, bytes: Vec<u8>) {
        match self {
            Self::Stream(streamed) => {
                // The pump reads no more at once than a frame may hold; should that change, nothing is lost.
                if bytes.len() <= MAX_FRAME {
                    return streamed.take(stream, bytes);
                }
                for part in bytes.chunks(MAX_FRAME) {
                    streamed.take(stream, part.to_vec());
                }
            }
            Self::Tails(tails) => tails.take(stream, &bytes),
        }
    }

    /// The result, when everything before it is with the outbox.
    pub(super) fn finish(self, end: ToolEnd, session_id: &str, elapsed: Duration) -> Reply {
        match self {
            Self::Stream(streamed) => streamed.finish(end, session_id, elapsed),
            Self::Tails(tails) => tails.finish(end, session_id),
        }
    }
}

impl Streamed {
    fn new(id: u64, outbox: Arc<Outbox>, cancel: Cancel) -> Self {
        Self {
            id,
            outbox,
            cancel,
            aside: VecDeque::new(),
            aside_bytes: 0,
            dropped: 0,
        }
    }

    fn take(&mut self, stream: Stream, bytes: Vec<u8>) {
        let Ok(len) = u32::try_from(bytes.len()) else { return };
        let stream = match stream {
            Stream::Stdout => OutputStream::Stdout,
            Stream::Stderr => OutputStream::Stderr,
        };
        let line = Reply::ExecOutput(ExecOutput {
            id: self.id,
            stream,
            len,
        })
        .to_line();
        self.empty_aside();
        // Nothing overtakes what is put aside.
        let refused = if self.aside.is_empty() {
            let cancel = &self.cancel;
            self.outbox.say_unless(line, bytes, &|| cancel.wants_attention())
        } else {
            Err(NotTaken::Full(line, bytes))
        };
        if let Err(NotTaken::Full(line, bytes)) = refused {
            // From the first gap on everything is dropped: a stream with a hole in it is no stream.
            if self.dropped > 0 || self.aside_bytes + bytes.len() > ASIDE {
                self.dropped += bytes.len() as u64;
            } else {
                self.aside_bytes += bytes.len();
                self.aside.push_back((line, bytes));
            }
        }
    }

    /// As much as goes without a wait.
    fn empty_aside(&mut self) {
        while let Some((line, bytes)) = self.aside.pop_front() {
            let length = bytes.len();
            match self.outbox.say_unless(line, bytes, &|| true) {
                Err(NotTaken::Full(line, bytes)) => {
                    self.aside.push_front((line, bytes));
                    return;
                }
                Ok(()) | Err(NotTaken::Closed) => self.aside_bytes -= length,
            }
        }
    }

    fn finish(self, end: ToolEnd, session_id: &str, elapsed: Duration) -> Reply {
        for (line, bytes) in self.aside {
            let _ = self.outbox.say(line, bytes);
        }
        let (exit_code, signal, outcome, message) = match end.exit {
            ToolExit::Success => (0, None, Outcome::Exited, None),
            ToolExit::Code(code) => (i64::from(code), None, Outcome::Exited, None),
            ToolExit::Signal(signal) => (
                128 + i64::from(signal),
                Some(i64::from(signal)),
                Outcome::Signaled,
                None,
            ),
            ToolExit::TimedOut(text) => (124, None, Outcome::Timeout, Some(text)),
            ToolExit::Cancelled => (143, None, Outcome::Cancelled, None),
            ToolExit::NotFound(text) => (127, None, Outcome::NotFound, Some(text)),
            ToolExit::NotExecutable(text) => (126, None, Outcome::NotExecutable, Some(text)),
            ToolExit::Lost(text) => return Refusal::new(ErrorCode::ExecWait, text).into(),
        };
        let survivors = end.survivors.into_iter().map(|survivor| Survivor {
            pid: survivor.pid,
            argv: survivor.argv,
        });
        Reply::ExecResult(ExecResult {
            session_id: session_id.to_owned(),
            exit_code,
            signal,
            outcome: Some(outcome),
            message: message.map(short),
            elapsed_ms: Some(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)),
            survivors: Some(survivors.collect()),
            leaked: Some(end.leaked),
            dropped: Some(self.dropped).filter(|dropped| *dropped > 0),
            ..ExecResult::default()
        })
    }
}

impl Tails {
    fn take(&mut self, stream: Stream, bytes: &[u8]) {
        let tail = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        tail.extend(bytes);
        let excess = tail.len().saturating_sub(TAIL);
        if excess > 0 {
            tail.drain(..excess);
            self.truncated = true;
        }
    }

    fn finish(mut self, end: ToolEnd, session_id: &str) -> Reply {
        let (exit_code, signal) = match end.exit {
            ToolExit::Success => (0, None),
            ToolExit::Code(code) => (i64::from(code), None),
            ToolExit::Signal(signal) => (128 + i64::from(signal), Some(i64::from(signal))),
            ToolExit::TimedOut(text) => {
                return Refusal::new(ErrorCode::ExecTimeout, format!("the tool was stopped: {text}")).into();
            }
            ToolExit::Cancelled => {
                return Refusal::new(ErrorCode::ExecWait, "the tool was stopped before its end").into();
            }
            ToolExit::NotFound(text) | ToolExit::NotExecutable(text) => {
                return Refusal::new(ErrorCode::ExecSpawn, text).into();
            }
            ToolExit::Lost(text) => return Refusal::new(ErrorCode::ExecWait, text).into(),
        };
        Reply::ExecResult(ExecResult {
            session_id: session_id.to_owned(),
            exit_code,
            signal,
            stdout_base64: Some(to_base64(self.stdout.make_contiguous())),
            stderr_base64: Some(to_base64(self.stderr.make_contiguous())),
            truncated: Some(self.truncated),
            ..ExecResult::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_holds_the_end_and_says_when_there_was_more() {
        let mut tails = Tails::default();
        tails.take(Stream::Stdout, &[1; TAIL]);
        assert!(!tails.truncated);
        tails.take(Stream::Stdout, &[2; 10]);
        tails.take(Stream::Stderr, b"e");
        assert!(tails.truncated);
        assert_eq!(tails.stdout.len(), TAIL);
        assert_eq!((tails.stdout[TAIL - 11], tails.stdout[TAIL - 10]), (1, 2));
    }
}
