//! A tool in the guest.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use crate::event::Stream;
use crate::process::{Client, Message, Running, Stdin, ToolCommand, ToolEnd, ToolExit};
use crate::session::VmError;
use crate::sys::random::token;

use super::guest::{Guest, survivor};
use super::hints;
use super::line::SWEEP;
use super::stream::Marked;

const TOOL: &str = include_str!("tool.sh");
const PERL: &str = include_str!("tool.pl");

/// How many messages may wait between the client and what reads them here.
const WAITING: usize = 16;
/// How long the connection may stay open after the tool has ended, or its output after it.
const LAST_BREATH: Duration = Duration::from_secs(2);
/// What the client, ssh and the login shell there carry in one command line; the kernel's limit
/// for one argument is 128 KiB.
const MOST: usize = 100 * 1024;
/// The variable that everything bears which a tool starts.
pub(super) const MARK: &str = "DEVSHELL_TOOL_MARK";

/// A tool that runs in the guest. Dropped, the connection to it is ended.
pub(super) struct GuestTool {
    _client: Client,
    guest: Arc<Guest>,
    mark: String,
}

/// Starts a tool in a folder of the guest.
pub(super) fn start(
    guest: &Arc<Guest>,
    mark: &str,
    folder: &str,
    command: &ToolCommand,
    messages: SyncSender<Message>,
) -> Result<Box<dyn Running>, VmError> {
    let (a, b) = (token(), token());
    let argv = match words(guest, mark, [&a, &b], folder, command) {
        Ok(argv) => argv,
        Err(why) => return Ok(Box::new(NeverStarted::of(ToolExit::NotExecutable(why), &messages))),
    };
    let (sender, inner) = mpsc::sync_channel(WAITING);
    let client = Client::start(&argv, command.stdin, sender).map_err(|source| VmError::Lost {
        message: format!("`{}` cannot be started any more", guest.limactl.program.display()),
        source: Some(source),
    })?;
    let mut relay = Relay {
        out: [Marked::new(&format!("{a}{b}")), Marked::new(&format!("{a}{b}"))],
        open: [true, true],
        messages,
        program: command.argv.first().cloned().unwrap_or_default(),
        path: command
            .env
            .iter()
            .find(|(name, _)| name == "PATH")
            .map(|(_, path)| path.clone()),
        folder: folder.to_owned(),
        guest: Arc::clone(guest),
        mark: mark.to_owned(),
    };
    std::thread::Builder::new()
        .name("devshell-relay".to_owned())
        .spawn(move || relay.run(&inner))
        .map_err(|source| VmError::Lost {
            message: "there is no thread left".to_owned(),
            source: Some(source),
        })?;
    Ok(Box::new(GuestTool {
        _client: client,
        guest: Arc::clone(guest),
        mark: mark.to_owned(),
    }))
}

/// The client's command line; or why a tool cannot be carried.
fn words(
    guest: &Guest,
    mark: &str,
    [a, b]: [&str; 2],
    folder: &str,
    command: &ToolCommand,
) -> Result<Vec<OsString>, String> {
    let stdin = match command.stdin {
        Stdin::Null => "null",
        Stdin::Inherit => "inherit",
    };
    let mut env: Vec<OsString> = Vec::with_capacity(command.env.len() + 1);
    for (name, value) in &command.env {
        if name != MARK {
            env.push(OsString::from_vec([name.as_bytes(), b"=", value.as_bytes()].concat()));
        }
    }
    env.push(format!("{MARK}={mark}").into());
    let count = env.len().to_string();
    let fixed = ["sh", "-c", TOOL, "sh", a, b, mark, SWEEP, PERL, folder, stdin, &count];
    let mut argv = guest.limactl.shell(&fixed);
    argv.extend(env);
    argv.extend(command.argv.iter().cloned());
    // Each `'` becomes several bytes on its way.
    let bytes: usize = argv
        .iter()
        .map(|word| word.len() + 3 + 4 * word.as_bytes().iter().filter(|byte| **byte == b'\'').count())
        .sum();
    if bytes > MOST {
        return Err(format!(
            "arguments and environment have {bytes} bytes, and only {MOST} can be carried to the guest: put what is \
             long into a file of the workspace"
        ));
    }
    if argv.iter().any(|word| std::str::from_utf8(word.as_bytes()).is_err()) {
        return Err("an argument or a variable is not UTF-8, which is not carried to the guest".to_owned());
    }
    Ok(argv)
}

impl Running for GuestTool {
    fn terminate(&mut self) {
        self.signal("TERM");
    }

    fn kill(&mut self) {
        self.signal("KILL");
    }
}

impl GuestTool {
    /// The waiting loop must not wait for the guest.
    fn signal(&self, signal: &'static str) {
        let (guest, mark) = (Arc::clone(&self.guest), self.mark.clone());
        let _ = std::thread::Builder::new()
            .name("devshell-sweep".to_owned())
            .spawn(move || guest.sweep(signal, &mark));
    }
}

/// A tool of which only the end is known.
pub(super) struct NeverStarted;

impl NeverStarted {
    pub(super) fn of(exit: ToolExit, messages: &SyncSender<Message>) -> Self {
        for message in [
            Message::Closed(Stream::Stdout),
            Message::Closed(Stream::Stderr),
            Message::Ended(exit.into()),
        ] {
            let _ = messages.send(message);
        }
        Self
    }
}

impl Running for NeverStarted {
    fn terminate(&mut self) {}

    fn kill(&mut self) {}
}

/// Takes the marks out of what the client brings and reads the tool's end from them.
struct Relay {
    /// By stream: stdout, stderr.
    out: [Marked; 2],
    open: [bool; 2],
    messages: SyncSender<Message>,
    program: OsString,
    path: Option<OsString>,
    folder: String,
    guest: Arc<Guest>,
    mark: String,
}

fn index(stream: Stream) -> usize {
    match stream {
        Stream::Stdout => 0,
        Stream::Stderr => 1,
    }
}

impl Relay {
    fn run(&mut self, inner: &Receiver<Message>) {
        let mut ended: Option<ToolExit> = None;
        let mut until: Option<Instant> = None;
        while !(ended.is_some() && self.open == [false, false]) {
            let message = match until {
                None => inner.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(until) => inner.recv_timeout(until.saturating_duration_since(Instant::now())),
            };
            let passed = match message {
                Ok(Message::Output(stream, bytes)) => self.output(stream, &bytes),
                Ok(Message::Closed(stream)) => self.closed(stream),
                Ok(Message::Ended(end)) => {
                    ended = Some(end.exit);
                    true
                }
                Ok(Message::Wake) => true,
                Err(_) => break,
            };
            if !passed {
                return;
            }
            if until.is_none() && (ended.is_some() || self.out[1].report().is_some()) {
                until = Instant::now().checked_add(LAST_BREATH);
            }
        }
        if self.out[1].report().is_none() {
            // What may still hold the streams is the rest of the client, not of the tool.
            for stream in [Stream::Stdout, Stream::Stderr] {
                if self.open[index(stream)] && !self.closed(stream) {
                    return;
                }
            }
        }
        let end = self.end(ended);
        let _ = self.messages.send(Message::Ended(end));
    }

    fn output(&mut self, stream: Stream, bytes: &[u8]) -> bool {
        let own = self.out[index(stream)].feed(bytes);
        own.is_empty() || self.messages.send(Message::Output(stream, own)).is_ok()
    }

    fn closed(&mut self, stream: Stream) -> bool {
        self.open[index(stream)] = false;
        let rest = self.out[index(stream)].rest();
        (rest.is_empty() || self.messages.send(Message::Output(stream, rest)).is_ok())
            && self.messages.send(Message::Closed(stream)).is_ok()
    }

    /// The tool's end: as the starter there reported it, else the connection was lost.
    fn end(&self, client: Option<ToolExit>) -> ToolEnd {
        if let Some(report) = self.out[1].report() {
            let mut lines = report.lines();
            let exit = self.exit(lines.next().unwrap_or_default());
            return ToolEnd {
                exit,
                survivors: lines.filter_map(survivor).collect(),
                leaked: false,
            };
        }
        // What the tool is doing there now is nobody's any more.
        self.guest.sweep("KILL", &self.mark);
        let how = match client {
            Some(ToolExit::Code(code)) => format!("limactl shell ended with code {code}"),
            Some(ToolExit::Signal(signal)) => format!("limactl shell was ended by signal {signal}"),
            Some(ToolExit::Lost(why)) => why,
            _ => "limactl shell ended".to_owned(),
        };
        let said = self.out[1].before();
        let when = if self.out[1].has_begun() {
            "while the tool ran"
        } else {
            "before the tool was started"
        };
        let why = format!("the connection was lost {when} ({how})");
        let why = if said.is_empty() { why } else { format!("{why}: {said}") };
        self.guest.is_lost(&why);
        ToolExit::Lost(format!("the Lima guest `{}`: {why}", self.guest.limactl.instance)).into()
    }

    fn exit(&self, how: &str) -> ToolExit {
        let (kind, rest) = how.split_once(' ').unwrap_or((how, ""));
        let number = rest.parse::<i32>();
        match (kind, number) {
            ("exit", Ok(0)) => ToolExit::Success,
            ("exit", Ok(code)) => ToolExit::Code(code),
            ("signal", Ok(signal)) => ToolExit::Signal(signal),
            ("errno", Ok(libc::ENOENT)) => ToolExit::NotFound(self.not_found()),
            ("errno", Ok(errno)) => ToolExit::NotExecutable(format!(
                "`{}` cannot be executed in the guest: {}",
                self.program.display(),
                std::io::Error::from_raw_os_error(errno)
            )),
            ("folder", _) => ToolExit::NotExecutable(format!("working folder `{}` of the guest {rest}", self.folder)),
            _ => ToolExit::Lost(format!("the guest reported an end that makes no sense: `{how}`")),
        }
    }

    fn not_found(&self) -> String {
        let program = self.program.to_string_lossy();
        if program.contains('/') {
            return format!("`{program}` does not exist in the guest, or the interpreter that it names does not");
        }
        let place = match &self.path {
            Some(path) => format!("in PATH of the guest ({})", path.display()),
            None => "in PATH of the guest".to_owned(),
        };
        let instance = &self.guest.limactl.instance;
        format!(
            "`{program}` was not found {place}: {}",
            hints::no_program(&program, instance)
        )
    }
}
