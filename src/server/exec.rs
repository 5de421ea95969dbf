//! One exec, from its request to its result.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use crate::event::Stream;
use crate::process::{Cancel, Given, Keeper, Limits, Message, SpawnRequest, Stdin, ToolEnd, ToolExit, supervise};
use crate::sidecar::{
    Addressed, Capability, ErrorCode, Exec, ExecOutput, ExecResult, ExecStdinTaken, MAX_FRAME, Outcome, OutputStream,
    Reply, Survivor, TAIL, to_base64,
};
use crate::sys::fs::anchor_inside;

use super::connection::Connection;
use super::execs::Lever;
use super::outbox::{NotTaken, Outbox};
use super::refusal::{Refusal, short};
use super::serving::Slot;
use super::session::Session;
use super::stdin::{Carrier, Feed};

/// How many pieces of output wait between the tool and the client.
const WAITING: usize = 4;
/// How much output of a tool that is being stopped waits for a client that does not read.
const ASIDE: usize = 256 * 1024;

/// Starts an exec; its result is said when it has ended. `id` names it while it runs; a client
/// without ids gets a result without one.
pub(super) fn start(
    connection: &Arc<Connection>,
    session: &Arc<Session>,
    id: Option<u64>,
    request: Exec,
) -> Result<(), Refusal> {
    let job = prepare(connection, session, id, request)?;
    let execs = Arc::clone(connection.execs());
    std::thread::Builder::new()
        .name("devshell-vm-exec".to_owned())
        .spawn(move || job.run())
        .map(drop)
        .map_err(|error| {
            // The job went with the thread, and with it the tool.
            execs.ended(id.unwrap_or(0));
            execs.finished();
            Refusal::new(ErrorCode::ExecSpawn, format!("no thread can be started: {error}"))
        })
}

/// A tool that runs, with everything that belongs to it.
struct Job {
    connection: Arc<Connection>,
    session: Arc<Session>,
    id: Option<u64>,
    keeper: Keeper,
    tool: Box<crate::process::KeptTool>,
    messages: Receiver<Message>,
    limits: Limits,
    cancel: Cancel,
    input: Option<Carrier>,
    started: Instant,
    _slot: Slot,
}

fn prepare(
    connection: &Arc<Connection>,
    session: &Arc<Session>,
    id: Option<u64>,
    request: Exec,
) -> Result<Job, Refusal> {
    let key = id.unwrap_or(0);
    if connection.execs().unfinished() >= connection.settings().max_execs {
        return Err(Refusal::new(
            ErrorCode::TooMany,
            format!(
                "{} execs run on this connection already (devshell-vm --max-execs)",
                connection.settings().max_execs
            ),
        ));
    }
    let Some(slot) = connection.shared().slot() else {
        return Err(Refusal::new(
            ErrorCode::TooMany,
            "as many execs run as this server has descriptors for (ulimit -n)",
        ));
    };
    check(&request)?;
    let below = session.below(request.guest_cwd.as_bytes()).map_err(|why| {
        Refusal::new(
            ErrorCode::BadGuestCwd,
            format!("guest_cwd `{}` cannot be used: {why}", request.guest_cwd),
        )
    })?;
    anchor_inside(session, below.path()).map_err(|error| {
        let why = super::files::why(&error);
        Refusal::new(
            ErrorCode::BadGuestCwd,
            format!("guest_cwd `{}` {why}", request.guest_cwd),
        )
    })?;
    let limits = Limits {
        timeout: match request.timeout_ms {
            Some(0) => None,
            Some(millis) => Some(Duration::from_millis(millis)),
            None => connection.settings().exec_timeout,
        },
        no_output_timeout: None,
        grace: request
            .grace_ms
            .map_or(connection.settings().grace, Duration::from_millis),
        deadline_of_run: None,
    };
    let no_start =
        |error: std::io::Error| Refusal::new(ErrorCode::ExecSpawn, format!("the tool could not be started: {error}"));
    let fed = match request.stdin {
        Some(true) => Some(feed(connection, key).map_err(no_start)?),
        _ => None,
    };
    let (input, reader) = fed.unzip();
    let spawn = SpawnRequest {
        argv: request.argv.into_iter().map(OsString::from).collect(),
        env: environment(&connection.settings().tool_env, request.env),
        cwd: session.tools_root().to_owned(),
        stdin: Stdin::Null,
    };
    let given = Given {
        input: reader.as_ref().map(std::os::fd::AsFd::as_fd),
        below: Some(below.path()),
    };
    let (sender, messages) = sync_channel(WAITING);
    let cancel = Cancel::new();
    cancel.wake(Some(sender.clone()));
    let started = Instant::now();
    let (keeper, tool) = spawn_in(session, &spawn, given, &sender)?;
    connection.execs().begin(
        key,
        Lever {
            cancel: cancel.clone(),
            signaller: tool.signaller(),
            feed: input.as_ref().map(|input| Arc::clone(input.feed())),
        },
    );
    Ok(Job {
        connection: Arc::clone(connection),
        session: Arc::clone(session),
        id,
        keeper,
        tool: Box::new(tool),
        messages,
        limits,
        cancel,
        input,
        started,
        _slot: slot,
    })
}

/// Starts the tool in a spare keeper, or, where that has died meanwhile, in a new one.
fn spawn_in(
    session: &Session,
    spawn: &SpawnRequest,
    given: Given,
    sender: &std::sync::mpsc::SyncSender<Message>,
) -> Result<(Keeper, crate::process::KeptTool), Refusal> {
    let mut last = None;
    for _ in 0..3 {
        let mut keeper = session.keeper()?;
        match keeper.spawn_given(spawn, given, sender.clone()) {
            Ok(tool) => return Ok((keeper, tool)),
            Err(error) => last = Some(error),
        }
    }
    let why = last.map(|error| error.to_string()).unwrap_or_default();
    Err(Refusal::new(
        ErrorCode::ExecSpawn,
        format!("the tool could not be started: {why}"),
    ))
}

fn check(request: &Exec) -> Result<(), Refusal> {
    if request.argv.first().is_none_or(String::is_empty) {
        return Err(Refusal::new(ErrorCode::Exec, "argv names no program"));
    }
    if let Some(index) = request.argv.iter().position(|argument| argument.contains('\0')) {
        return Err(Refusal::new(ErrorCode::Exec, format!("argv[{index}] holds a NUL byte")));
    }
    for (name, value) in &request.env {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return Err(Refusal::bad_request(format!(
                "env `{}` is no variable that a program can be given",
                name.escape_debug()
            )));
        }
    }
    Ok(())
}

/// The server's clean environment and the request's over it.
fn environment(
    clean: &[(OsString, OsString)],
    request: std::collections::BTreeMap<String, String>,
) -> Vec<(OsString, OsString)> {
    let mut env: Vec<_> = clean
        .iter()
        .filter(|(name, _)| name.to_str().is_none_or(|name| !request.contains_key(name)))
        .cloned()
        .collect();
    env.extend(request.into_iter().map(|(name, value)| (name.into(), value.into())));
    env
}

/// What the tool reads, and how the client hears what has become of it.
fn feed(connection: &Arc<Connection>, id: u64) -> std::io::Result<(Carrier, std::os::fd::OwnedFd)> {
    let outbox = Arc::clone(connection.outbox());
    Feed::start(Box::new(move |len, closed| {
        let line = Reply::ExecStdinTaken(ExecStdinTaken { id, len, closed }).to_line();
        let _ = outbox.say(line, Vec::new());
    }))
}

impl Job {
    fn run(self) {
        let mut output = if self.connection.has(Capability::ExecStream) {
            Output::Stream(Streamed::new(
                self.id.unwrap_or(0),
                Arc::clone(self.connection.outbox()),
                self.cancel.clone(),
            ))
        } else {
            Output::Tails(Box::default())
        };
        let end = supervise(
            self.tool,
            &self.messages,
            &self.limits,
            &self.cancel,
            &mut |stream, bytes| output.take(stream, bytes),
            &mut |_| (),
        );
        let elapsed = self.started.elapsed();
        if let Some(input) = self.input {
            input.end();
        }
        if !matches!(end.exit, ToolExit::Lost(_)) && !end.leaked {
            self.session.give_back(self.keeper);
        }
        let log_id = self.id.unwrap_or(0);
        self.connection.log().info(
            "exec_ended",
            &[
                ("conn", &self.connection.number()),
                ("id", &log_id),
                ("end", &word(&end.exit)),
                ("elapsed_ms", &elapsed.as_millis()),
                ("survivors", &end.survivors.len()),
                ("leaked", &end.leaked),
            ],
        );
        self.connection.execs().ended(log_id);
        let reply = output.finish(end, self.session.id(), elapsed);
        let line = Addressed {
            id: self.id,
            body: reply,
        }
        .to_line();
        let _ = self.connection.outbox().say(line, Vec::new());
        self.connection.execs().finished();
        self.connection.wake();
    }
}

fn word(exit: &ToolExit) -> String {
    match exit {
        ToolExit::Success => "0".to_owned(),
        ToolExit::Code(code) => code.to_string(),
        ToolExit::Signal(signal) => format!("signal-{signal}"),
        ToolExit::TimedOut(_) => "timeout".to_owned(),
        ToolExit::Cancelled => "cancelled".to_owned(),
        ToolExit::NotFound(_) => "not-found".to_owned(),
        ToolExit::NotExecutable(_) => "not-executable".to_owned(),
        ToolExit::Lost(_) => "lost".to_owned(),
    }
}

/// Where a tool's output goes.
enum Output {
    Stream(Streamed),
    Tails(Box<Tails>),
}

/// To the client as it comes.
struct Streamed {
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
struct Tails {
    stdout: VecDeque<u8>,
    stderr: VecDeque<u8>,
    truncated: bool,
}

impl Output {
    fn take(&mut self, stream: Stream, bytes: Vec<u8>) {
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
    fn finish(self, end: ToolEnd, session_id: &str, elapsed: Duration) -> Reply {
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

    #[test]
    fn the_request_wins_over_the_clean_environment() {
        let clean = [("PATH", "/bin"), ("HOME", "/root")].map(|(name, value)| (name.into(), value.into()));
        let request = [("HOME".to_owned(), "/w".to_owned()), ("A".to_owned(), String::new())];
        let env = environment(&clean, request.into());
        let wanted: Vec<(OsString, OsString)> = [("PATH", "/bin"), ("A", ""), ("HOME", "/w")]
            .map(|(name, value)| (name.into(), value.into()))
            .into();
        assert_eq!(env, wanted);
    }
}
