//! A tool at the sidecar.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use rustix::event::{PollFd, PollFlags, poll};

use crate::event::{Stream, Survivor};
use crate::process::{Message, Running, Stdin, ToolCommand, ToolEnd, ToolExit};
use crate::sidecar::{
    Capability, ErrorCode, ErrorReply, Exec, ExecCancel, ExecResult, ExecStdin, Outcome, Request, STDIN_WINDOW,
    from_base64,
};

use super::link::{Broken, CallError, ExecSink, Link};

/// Longer than any grace period: when it is over is decided here.
const UNTIL_KILLED_MS: u64 = 86_400_000;
/// What of the caller's stdin goes into one message.
const PIECE: usize = 32 * 1024;

/// Words of a backend's own for an end.
pub(in crate::session) type Tell = Box<dyn Fn(ToolEnd) -> ToolEnd + Send>;

/// What became of the caller's stdin at the other end.
#[derive(Default)]
struct Input {
    /// Sent and not yet taken.
    under_way: u64,
    closed: bool,
}

/// Shared by the sink, the levers and the thread that reads stdin.
#[derive(Default)]
struct Shared {
    input: Mutex<Input>,
    changed: Condvar,
    /// Whether this side asked for the end.
    stopped: AtomicBool,
}

/// A tool that runs there.
pub(in crate::session) struct RemoteTool {
    link: Arc<Link>,
    id: u64,
    shared: Arc<Shared>,
}

/// Starts a tool; says why it cannot be carried where a string of it is no UTF-8.
pub(in crate::session) fn start(
    link: &Arc<Link>,
    session_id: &str,
    guest_cwd: String,
    command: &ToolCommand,
    messages: SyncSender<Message>,
) -> Result<RemoteTool, Broken> {
    start_telling(link, session_id, guest_cwd, command, messages, Box::new(|end| end))
}

/// As [`start`]; `tell` is what is made of the tool's end before anybody hears of it.
pub(in crate::session) fn start_telling(
    link: &Arc<Link>,
    session_id: &str,
    guest_cwd: String,
    command: &ToolCommand,
    messages: SyncSender<Message>,
    tell: Tell,
) -> Result<RemoteTool, Broken> {
    let shared = Arc::new(Shared::default());
    let sink = Box::new(Sink {
        messages,
        shared: Arc::clone(&shared),
        outcomes: link.has(Capability::ExecStream),
        tell,
    });
    let Some((argv, env)) = as_text(command) else {
        let why = "an argument or a variable is not UTF-8, which a sidecar cannot be told".to_owned();
        sink.finish(ToolExit::NotExecutable(why).into());
        return Ok(RemoteTool {
            link: Arc::clone(link),
            id: 0,
            shared,
        });
    };
    let reads = command.stdin == Stdin::Inherit && link.has(Capability::ExecControl);
    let exec = Exec {
        session_id: session_id.to_owned(),
        guest_cwd,
        argv,
        env,
        // Deadlines are kept here.
        timeout_ms: Some(0),
        stdin: reads.then_some(true),
        grace_ms: None,
    };
    let id = link.exec(Request::Exec(exec), sink)?;
    if reads {
        let (link, shared) = (Arc::clone(link), Arc::clone(&shared));
        // Ends with the process: a read of the caller's stdin cannot be called off.
        let _ = std::thread::Builder::new()
            .name("devshell-stdin".to_owned())
            .spawn(move || feed(&link, id, &shared));
    }
    Ok(RemoteTool {
        link: Arc::clone(link),
        id,
        shared,
    })
}

fn as_text(command: &ToolCommand) -> Option<(Vec<String>, BTreeMap<String, String>)> {
    let text = |word: &OsStr| word.to_str().map(str::to_owned);
    let argv = command.argv.iter().map(|word| text(word)).collect::<Option<_>>()?;
    let env = command
        .env
        .iter()
        .map(|(name, value)| Some((text(name)?, text(value)?)))
        .collect::<Option<_>>()?;
    Some((argv, env))
}

/// Carries the caller's stdin there, never more than the other side takes.
fn feed(link: &Link, id: u64, shared: &Shared) {
    let mut buffer = vec![0; PIECE];
    loop {
        let length = loop {
            match rustix::io::read(std::io::stdin().as_fd(), &mut *buffer) {
                Ok(length) => break length,
                Err(rustix::io::Errno::INTR) => {}
                // Whoever shares it with this process has it so.
                Err(rustix::io::Errno::AGAIN) => wait_readable(std::io::stdin().as_fd()),
                Err(_) => break 0,
            }
        };
        {
            let mut input = shared.input.lock().unwrap_or_else(PoisonError::into_inner);
            while !input.closed && input.under_way + length as u64 > STDIN_WINDOW {
                input = shared.changed.wait(input).unwrap_or_else(PoisonError::into_inner);
            }
            if input.closed {
                return;
            }
            input.under_way += length as u64;
        }
        let piece = buffer.get(..length).unwrap_or_default();
        let message = ExecStdin {
            id,
            len: u32::try_from(length).unwrap_or(0),
            eof: length == 0,
        };
        if link.tell(Request::ExecStdin(message), piece).is_err() || length == 0 {
            return;
        }
    }
}

fn wait_readable(stream: BorrowedFd) {
    let _ = poll(&mut [PollFd::new(&stream, PollFlags::IN)], None);
}

impl RemoteTool {
    fn cancel(&self, grace_ms: u64) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        if self.link.has(Capability::ExecControl) {
            let cancel = ExecCancel {
                id: self.id,
                grace_ms: Some(grace_ms),
            };
            // When it cannot be sent, the connection is gone, and the tool with it.
            let _ = self.link.tell(Request::ExecCancel(cancel), &[]);
        }
    }
}

impl Running for RemoteTool {
    fn terminate(&mut self) {
        self.cancel(UNTIL_KILLED_MS);
    }

    fn kill(&mut self) {
        self.cancel(0);
        if !self.link.has(Capability::ExecControl) {
            // Version 1 has no other way to say it.
            self.link.hang_up();
        }
    }
}

impl Drop for RemoteTool {
    fn drop(&mut self) {
        let mut input = self.shared.input.lock().unwrap_or_else(PoisonError::into_inner);
        let running = !input.closed;
        input.closed = true;
        drop(input);
        self.shared.changed.notify_all();
        if running {
            self.cancel(0);
        }
    }
}

/// Where the reader thread brings what comes.
struct Sink {
    messages: SyncSender<Message>,
    shared: Arc<Shared>,
    /// Whether the other side tells a program that cannot be executed from what it cannot do itself.
    outcomes: bool,
    tell: Tell,
}

impl Sink {
    fn finish(&self, end: ToolEnd) {
        self.shared.input.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.shared.changed.notify_all();
        for stream in [Stream::Stdout, Stream::Stderr] {
            let _ = self.messages.send(Message::Closed(stream));
        }
        let _ = self.messages.send(Message::Ended((self.tell)(end)));
    }

    /// What a sidecar without `exec_stream` gives of the output, at the end.
    fn tails(&self, result: &ExecResult) {
        for (stream, tail) in [
            (Stream::Stdout, &result.stdout_base64),
            (Stream::Stderr, &result.stderr_base64),
        ] {
            let bytes = tail.as_deref().and_then(from_base64).unwrap_or_default();
            if !bytes.is_empty() {
                let _ = self.messages.send(Message::Output(stream, bytes));
            }
        }
    }
}

impl ExecSink for Sink {
    fn messages(&self) -> &SyncSender<Message> {
        &self.messages
    }

    fn ended(self: Box<Self>, end: Result<ExecResult, CallError>) {
        let stopped = self.shared.stopped.load(Ordering::SeqCst);
        let end = match end {
            Ok(result) => {
                self.tails(&result);
                of_result(result, stopped)
            }
            Err(error) => of_error(error, stopped, self.outcomes).into(),
        };
        self.finish(end);
    }

    fn taken(&mut self, bytes: u64, closed: bool) {
        let mut input = self.shared.input.lock().unwrap_or_else(PoisonError::into_inner);
        input.under_way = input.under_way.saturating_sub(bytes);
        input.closed |= closed;
        self.shared.changed.notify_all();
    }
}

fn of_result(result: ExecResult, stopped: bool) -> ToolEnd {
    let said = |or: &str| result.message.clone().unwrap_or_else(|| or.to_owned());
    let exit = match result.outcome {
        Some(Outcome::NotFound) => ToolExit::NotFound(said("there is no such program at the sidecar")),
        Some(Outcome::NotExecutable) => ToolExit::NotExecutable(said("it cannot be executed at the sidecar")),
        Some(Outcome::Timeout) => ToolExit::TimedOut(said("stopped by the sidecar at its timeout")),
        Some(Outcome::Cancelled) if stopped => ToolExit::Signal(libc::SIGTERM),
        Some(Outcome::Cancelled) => ToolExit::Lost(said("the sidecar stopped the tool, because it is about to end")),
        Some(Outcome::Exited | Outcome::Signaled) | None => of_code(result.exit_code, result.signal),
    };
    let survivors = result.survivors.unwrap_or_default().into_iter();
    ToolEnd {
        exit,
        survivors: survivors
            .map(|crate::sidecar::Survivor { pid, argv }| Survivor { pid, argv })
            .collect(),
        leaked: result.leaked.unwrap_or(false),
    }
}

/// What a peer says may be anything; only 0 without a signal is success.
fn of_code(code: i64, signal: Option<i64>) -> ToolExit {
    if let Some(signal) = signal
        .and_then(|signal| i32::try_from(signal).ok())
        .filter(|signal| (1..=64).contains(signal))
    {
        return ToolExit::Signal(signal);
    }
    match code {
        0 if signal.is_none() => ToolExit::Success,
        1..=255 => ToolExit::Code(i32::try_from(code).unwrap_or(255)),
        // Of another system, or of no program at all.
        _ => ToolExit::Code(255),
    }
}

/// What a refusal means. `outcomes`: a program that cannot be executed has an outcome of its own, so that what is refused
/// is no matter of the program's.
fn of_error(error: CallError, stopped: bool, outcomes: bool) -> ToolExit {
    let refused = match error {
        CallError::Refused(refused) => refused,
        CallError::Broken(Broken::Lost(_)) if stopped => return ToolExit::Signal(libc::SIGKILL),
        CallError::Broken(Broken::Lost(why)) => return ToolExit::Lost(why),
        CallError::Broken(Broken::Protocol(what)) | CallError::Unexpected(what) => {
            return ToolExit::Lost(format!("the sidecar said something that is not the protocol: {what}"));
        }
        CallError::Late | CallError::Cancelled => return ToolExit::Lost("the sidecar does not answer".to_owned()),
    };
    let ErrorReply { code, message } = refused;
    match code {
        ErrorCode::ExecSpawn if outcomes => {
            ToolExit::Lost(format!("the sidecar cannot start any program now: {message}"))
        }
        ErrorCode::ExecSpawn if ["not found", "o such file"].iter().any(|part| message.contains(part)) => {
            ToolExit::NotFound(message)
        }
        ErrorCode::ExecSpawn | ErrorCode::Exec => ToolExit::NotExecutable(message),
        ErrorCode::BadGuestCwd => ToolExit::NotExecutable(format!("working folder: {message}")),
        ErrorCode::ExecTimeout => ToolExit::TimedOut(message),
        _ if stopped => ToolExit::Signal(libc::SIGTERM),
        code => ToolExit::Lost(format!("the sidecar refused to run it: {code}: {message}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_odd_code_of_a_peer_becomes_success() {
        assert_eq!(of_code(0, None), ToolExit::Success);
        assert_eq!(of_code(101, None), ToolExit::Code(101));
        for code in [-1, 256, 512, i64::MIN, i64::MAX] {
            assert_eq!(of_code(code, None), ToolExit::Code(255), "{code}");
        }
        assert_eq!(of_code(137, Some(9)), ToolExit::Signal(9));
        assert_eq!(of_code(0, Some(9)), ToolExit::Signal(9));
        assert_eq!(of_code(0, Some(0)), ToolExit::Code(255));
    }

    #[test]
    fn an_end_that_nobody_asked_for_is_a_loss() {
        let cancelled = ExecResult {
            exit_code: 143,
            outcome: Some(Outcome::Cancelled),
            ..ExecResult::default()
        };
        assert!(matches!(of_result(cancelled.clone(), false).exit, ToolExit::Lost(_)));
        assert_eq!(of_result(cancelled, true).exit, ToolExit::Signal(15));
    }

    #[test]
    fn refusals_are_ends_of_their_own_kind() {
        let refused = |code, message: &str| {
            let message = message.to_owned();
            of_error(CallError::Refused(ErrorReply { code, message }), false, false)
        };
        let missing = refused(ErrorCode::ExecSpawn, "No such file or directory (os error 2)");
        assert!(matches!(missing, ToolExit::NotFound(_)));
        let cannot = CallError::Refused(ErrorReply {
            code: ErrorCode::ExecSpawn,
            message: "cannot mount: No such file or directory".to_owned(),
        });
        assert!(
            matches!(of_error(cannot, false, true), ToolExit::Lost(_)),
            "it would say so of a program"
        );
        let denied = refused(ErrorCode::ExecSpawn, "Permission denied");
        assert!(matches!(denied, ToolExit::NotExecutable(_)));
        assert!(matches!(
            refused(ErrorCode::BadGuestCwd, "x"),
            ToolExit::NotExecutable(_)
        ));
        assert!(matches!(refused(ErrorCode::NoSession, "x"), ToolExit::Lost(_)));
    }
}
