//! A tool in the keeper.

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;

use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::{AsFd as _, BorrowedFd};

use crate::sys::keeper::{self as raw, LaunchFailure, Request};
use crate::sys::pty::RawMode;

use super::launch::{Asked, explain, not_found};
use super::lookup::{candidates, is_searched, search_path};
use super::pump::Pump;
use super::streams::Streams;
use super::{Keeper, Message, Running, Stdin, Terminal, ToolExit, threads};

/// What to start in a keeper: a tool with its paths as the tools see them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpawnRequest {
    /// Program and arguments. A program without a `/` is looked up in the `PATH` of `env`.
    pub argv: Vec<OsString>,
    /// The whole environment.
    pub env: Vec<(OsString, OsString)>,
    /// Absolute.
    pub cwd: PathBuf,
    /// What the tool reads.
    pub stdin: Stdin,
    /// Set: its output is a terminal, where one can be had.
    pub terminal: Option<Terminal>,
}

/// What a tool that serves somebody else is given besides its [`SpawnRequest`].
#[derive(Debug, Default, Clone, Copy)]
pub struct Given<'a> {
    /// What it reads, in place of the request's `stdin`.
    pub input: Option<BorrowedFd<'a>>,
    /// Its working folder is this path below the request's `cwd`. Links on the way are followed as
    /// long as they do not lead out of `cwd`; a way out is refused at the very moment of the start.
    pub below: Option<&'a Path>,
}

/// A tool that was started in a keeper. Dropped before its end, it is killed.
#[derive(Debug)]
pub struct KeptTool {
    id: u32,
    socket: Arc<OwnedFd>,
    busy: Arc<AtomicBool>,
    /// Readable when nobody wants messages any more.
    stop: Arc<OwnedFd>,
    /// Until the last of its output has been handed on.
    _raw: Option<RawMode>,
}

impl Keeper {
    /// Starts a tool. Its output, the ends of both streams and its own end arrive in
    /// `messages`, also when it cannot be executed. Use a channel of its own for each tool: a
    /// stream that somebody out of reach holds may still speak into it after the end.
    ///
    /// # Errors
    /// When the tool before still runs (`ResourceBusy`), when `cwd` is relative, when there is
    /// no descriptor left, or when the keeper is gone (`BrokenPipe`).
    pub fn spawn(&mut self, request: &SpawnRequest, messages: SyncSender<Message>) -> io::Result<KeptTool> {
        self.spawn_given(request, Given::default(), messages)
    }

    /// As [`Self::spawn`], with something else to read or a guarded way to the working folder.
    ///
    /// # Errors
    /// As [`Self::spawn`].
    pub fn spawn_given(
        &mut self,
        request: &SpawnRequest,
        given: Given,
        messages: SyncSender<Message>,
    ) -> io::Result<KeptTool> {
        if request.cwd.is_relative() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the working folder is a relative path",
            ));
        }
        if self.busy.swap(true, Ordering::SeqCst) {
            return Err(io::Error::new(
                io::ErrorKind::ResourceBusy,
                "the tool before has not ended",
            ));
        }
        self.quiet.store(false, Ordering::SeqCst);
        let started = self.spawn_idle(request, given, messages);
        if started.is_err() {
            self.busy.store(false, Ordering::SeqCst);
        }
        started
    }

    fn spawn_idle(
        &mut self,
        request: &SpawnRequest,
        given: Given,
        messages: SyncSender<Message>,
    ) -> io::Result<KeptTool> {
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1);
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?);
        let Streams {
            ends,
            stdout,
            stderr,
            relay,
            raw,
        } = Streams::open(given.input, request.stdin, request.terminal)?;
        let order = Order::new(request, given.below);
        let impossible = match order.strings(request, given.below) {
            Err(exit) => Some(exit),
            Ok(strings) => {
                let command = raw::Command {
                    candidates: &strings.candidates,
                    argv: &strings.argv,
                    env: &strings.env,
                    cwd: &strings.cwd,
                    below: &strings.below,
                };
                let (memory, length) = command.share()?;
                let [stdin, stdout, stderr] = &ends;
                let descriptors = [memory.as_fd(), stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
                let spawn = match raw {
                    Some(_) => Request::SpawnOnTerminal { id, length },
                    None => Request::Spawn { id, length },
                };
                raw::send(self.socket.as_fd(), spawn, &descriptors)?;
                None
            }
        };
        let tool = KeptTool {
            id,
            socket: self.socket.clone(),
            busy: self.busy.clone(),
            stop: stop.clone(),
            _raw: raw,
        };
        let pump = Pump {
            id,
            socket: self.socket.clone(),
            busy: self.busy.clone(),
            quiet: self.quiet.clone(),
            stop,
            messages,
            order,
            relay,
        };
        threads::start("devshell-pump", move || pump.run(stdout, stderr, impossible))?;
        Ok(tool)
    }
}

impl KeptTool {
    /// A handle that sends signals to the tool while somebody else waits for its end.
    #[must_use]
    pub fn signaller(&self) -> Signaller {
        Signaller {
            id: self.id,
            socket: self.socket.clone(),
            busy: self.busy.clone(),
        }
    }

    fn ask(&self, request: Request) {
        // When it cannot be sent, the keeper is gone, and the pump says so.
        if self.busy.load(Ordering::SeqCst) {
            let _ = raw::send(self.socket.as_fd(), request, &[]);
        }
    }
}

/// Sends signals to one tool. Once the tool has ended it does nothing.
#[derive(Debug, Clone)]
pub struct Signaller {
    id: u32,
    socket: Arc<OwnedFd>,
    busy: Arc<AtomicBool>,
}

impl Signaller {
    /// Sends this signal (1 to 64) to the tool's process group.
    pub fn signal(&self, signal: i32) {
        if self.busy.load(Ordering::SeqCst) {
            let _ = raw::send(self.socket.as_fd(), Request::Signal { id: self.id, signal }, &[]);
        }
    }
}

impl Running for KeptTool {
    fn terminate(&mut self) {
        self.ask(Request::Terminate(self.id));
    }

    fn kill(&mut self) {
        self.ask(Request::Kill(self.id));
    }
}

impl Drop for KeptTool {
    fn drop(&mut self) {
        self.ask(Request::Kill(self.id));
        let _ = rustix::io::write(&*self.stop, &1_u64.to_ne_bytes());
    }
}

/// What was asked for, kept for the words about it.
#[derive(Debug)]
pub(super) struct Order {
    program: OsString,
    path: Option<OsString>,
    candidates: Vec<OsString>,
    cwd: PathBuf,
    bytes: usize,
}

struct Strings {
    candidates: Vec<CString>,
    argv: Vec<CString>,
    env: Vec<CString>,
    cwd: CString,
    below: CString,
}

impl Order {
    fn new(request: &SpawnRequest, below: Option<&Path>) -> Self {
        let program = request.argv.first().cloned().unwrap_or_default();
        let path = search_path(&request.env);
        let arguments: usize = request.argv.iter().map(|argument| argument.len() + 1).sum();
        let variables: usize = request
            .env
            .iter()
            .map(|(name, value)| name.len() + value.len() + 2)
            .sum();
        Self {
            candidates: candidates(&program, path),
            path: is_searched(&program).then(|| path.to_owned()),
            program,
            cwd: below.map_or_else(|| request.cwd.clone(), |below| request.cwd.join(below)),
            bytes: arguments + variables,
        }
    }

    /// The end of a tool that was not started.
    pub(super) fn explain(&self, failure: &LaunchFailure) -> ToolExit {
        let file = failure.candidate.and_then(|index| self.candidates.get(index));
        explain(failure, &self.asked(file.map(Path::new)))
    }

    fn asked<'a>(&'a self, file: Option<&'a Path>) -> Asked<'a> {
        Asked {
            program: &self.program,
            path: self.path.as_deref(),
            file,
            cwd: &self.cwd,
            bytes: self.bytes,
        }
    }

    /// The request as the kernel takes it, or why it cannot.
    fn strings(&self, request: &SpawnRequest, below: Option<&Path>) -> Result<Strings, ToolExit> {
        if self.program.is_empty() {
            return Err(not_found(&self.asked(None)));
        }
        let list = |texts: &[OsString], what: &str| -> Result<Vec<CString>, ToolExit> {
            texts
                .iter()
                .enumerate()
                .map(|(index, text)| c_string(text, || format!("{what} {index}")))
                .collect()
        };
        let env = request.env.iter().map(|(name, value)| {
            let mut text = name.clone();
            text.push("=");
            text.push(value);
            c_string(&text, || format!("variable `{}`", name.display()))
        });
        Ok(Strings {
            argv: list(&request.argv, "argument")?,
            env: env.collect::<Result<_, _>>()?,
            cwd: c_string(request.cwd.as_os_str(), || "the working folder".to_owned())?,
            below: c_string(below.unwrap_or(Path::new("")).as_os_str(), || {
                "the working folder".to_owned()
            })?,
            candidates: list(&self.candidates, "the program's path or element of PATH")?,
        })
    }
}

fn c_string(text: &OsStr, what: impl FnOnce() -> String) -> Result<CString, ToolExit> {
    CString::new(text.as_bytes()).map_err(|_| ToolExit::NotExecutable(format!("{} holds a NUL byte", what())))
}
