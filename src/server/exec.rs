//! One exec, from its request to its result.

use std::ffi::OsString;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use crate::process::{Cancel, Given, Keeper, KeptTool, Limits, Message, SpawnRequest, Stdin, ToolExit, supervise};
use crate::sidecar::{Addressed, ErrorCode, Exec, ExecStdinTaken, Reply};
use crate::sys::fs::anchor_inside;

use super::connection::Connection;
use super::execs::Lever;
use super::output::Output;
use super::refusal::Refusal;
use super::serving::Slot;
use super::session::Session;
use super::stdin::{Carrier, Feed};

/// How many pieces of output wait between the tool and the client.
const WAITING: usize = 4;

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
    tool: Box<KeptTool>,
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
    if connection.execs().are_full(connection.settings().max_execs) {
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
        terminal: None,
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
) -> Result<(Keeper, KeptTool), Refusal> {
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
        let mut output = Output::new(&self.connection, self.id.unwrap_or(0), &self.cancel);
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

#[cfg(test)]
mod tests {
    use super::*;

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
