//! The library's face: one type that holds any session, with the names of the original system.

use std::io::{self, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::sync::mpsc;
use std::time::Duration;

use crate::event::{Emitter, Event, EventSink, Stream};
use crate::guest_fs::GuestFsOps;
use crate::plan::{VmConfig, WorkspaceMode};
use crate::process::{Cancel, Limits, Stdin, ToolCommand, ToolEnd, ToolExit, supervise};
use crate::vfs::{Vfs, VfsPath};
use crate::workspace::Baseline;

use super::beta::{BetaSession, BetaSettings};
use super::host::{HostSandboxSession, HostSettings};
use super::lima::{GammaSession, LimaSettings};
use super::open::{no_guest, not_implemented};
use super::{Context, Session, VmError};

/// One session of whichever backend. `ensure_ready`, any number of tools, `shutdown`.
pub enum SessionHolder {
    /// α: tools run on this host, in a private view of the tree.
    Host(HostSandboxSession),
    /// γ: tools run in a Lima virtual machine.
    Gamma(GammaSession),
    /// β: tools run at a sidecar.
    Beta(BetaSession),
}

/// How long a tool may take to end after it was asked to, here where no config says it.
const GRACE_PERIOD: Duration = Duration::from_secs(10);

impl SessionHolder {
    /// The session that a config asks for.
    ///
    /// # Errors
    /// [`VmError::BackendNotImplemented`] for a backend that is not to be had, [`VmError::Config`]
    /// for a name that is none; the host never takes its place.
    pub fn try_from_config(config: &VmConfig) -> Result<Self, VmError> {
        if config.use_host_sandbox() {
            if config.enabled && config.workspace_mode == WorkspaceMode::Guest {
                return Err(no_guest());
            }
            let settings = HostSettings {
                exec_timeout: config.exec_timeout,
                ..HostSettings::default()
            };
            return Ok(Self::new_host_with(HostSettings {
                strategy: config.strategy,
                ..settings
            }));
        }
        match config.backend.word() {
            "lima" => {
                GammaSession::check(config)?;
                LimaSettings::of_config(config).map(|settings| Self::Gamma(GammaSession::new(settings)))
            }
            "beta" => BetaSettings::of_config(config).map(|settings| Self::Beta(BetaSession::new(settings))),
            other => Err(not_implemented(other)),
        }
    }

    /// A session on this host with the default settings; its copy lies in a temporary folder.
    #[must_use]
    pub fn new_host() -> Self {
        Self::Host(HostSandboxSession::new(HostSettings::default()))
    }

    /// A session on this host with these settings.
    #[must_use]
    pub fn new_host_with(settings: HostSettings) -> Self {
        Self::Host(HostSandboxSession::new(settings))
    }

    fn exec_timeout(&self) -> Option<Duration> {
        match self {
            Self::Host(session) => session.settings().exec_timeout,
            Self::Gamma(session) => session.settings().exec_timeout,
            Self::Beta(session) => session.settings().exec_timeout,
        }
    }

    fn session(&mut self) -> &mut dyn Session {
        match self {
            Self::Host(session) => session,
            Self::Gamma(session) => session,
            Self::Beta(session) => session,
        }
    }

    /// Makes the backend ready for tools over `vfs`.
    ///
    /// # Errors
    /// [`VmError`]; nothing is left behind.
    pub fn ensure_ready(&mut self, vfs: &Vfs, vfs_cwd: &str) -> Result<(), VmError> {
        let cwd = parse(vfs_cwd)?;
        quietly(|cx| self.session().ensure_ready(vfs, &cwd, cx)).map(|_| ())
    }

    /// Runs one program, which despite the name need not be Rust's, with the caller's
    /// environment (in a Lima guest: the guest's own) and an empty stdin; its output goes to the
    /// caller's stdout and stderr.
    ///
    /// A program that is not found ends with 127, one that cannot be executed with 126.
    ///
    /// # Errors
    /// [`VmError`] when the backend cannot be reached or was lost.
    pub fn run_rust_tool(
        &mut self,
        vfs: &mut Vfs,
        vfs_cwd: &str,
        program: &str,
        args: &[String],
    ) -> Result<ExitStatus, VmError> {
        let command = ToolCommand {
            argv: std::iter::once(program)
                .chain(args.iter().map(String::as_str))
                .map(Into::into)
                .collect(),
            cwd: parse(vfs_cwd)?,
            // What any child of the caller would inherit.
            env: match self {
                // This host's paths mean nothing in a guest, which has an environment of its own.
                Self::Gamma(_) => Vec::new(),
                Self::Host(_) | Self::Beta(_) => std::env::vars_os().collect(),
            },
            stdin: Stdin::Null,
            terminal: None,
        };
        let mut pass_on = |stream: Stream, bytes: &[u8]| {
            // The tool's own bytes, where they would go without devshell; a reader that is gone
            // is no matter of the tool's.
            let _ = match stream {
                Stream::Stdout => io::stdout().write_all(bytes).and_then(|()| io::stdout().flush()),
                Stream::Stderr => io::stderr().write_all(bytes),
            };
        };
        let timeout = self.exec_timeout();
        let end = self.run_tool(vfs, &command, timeout, &mut pass_on)?;
        match end.exit {
            ToolExit::Success => Ok(ExitStatus::from_raw(0)),
            ToolExit::Code(code) => Ok(ExitStatus::from_raw(code << 8)),
            ToolExit::Signal(signal) => Ok(ExitStatus::from_raw(signal)),
            ToolExit::NotFound(_) => Ok(ExitStatus::from_raw(127 << 8)),
            ToolExit::NotExecutable(_) => Ok(ExitStatus::from_raw(126 << 8)),
            ToolExit::TimedOut(_) => Ok(ExitStatus::from_raw(124 << 8)),
            ToolExit::Cancelled => Err(VmError::Interrupted),
            ToolExit::Lost(message) => Err(VmError::Lost { message, source: None }),
        }
    }

    /// Runs one tool with everything that can be said about it; its output goes to `output` as
    /// it comes.
    ///
    /// # Errors
    /// [`VmError`] when the backend cannot be reached.
    pub fn run_tool(
        &mut self,
        vfs: &mut Vfs,
        command: &ToolCommand,
        timeout: Option<Duration>,
        output: &mut dyn FnMut(Stream, &[u8]),
    ) -> Result<ToolEnd, VmError> {
        self.carry_in(vfs)?;
        let (sender, messages) = mpsc::sync_channel(32);
        let running = self.session().start_tool(vfs, command, sender, &Cancel::new())?;
        let limits = Limits {
            timeout,
            no_output_timeout: None,
            grace: GRACE_PERIOD,
            deadline_of_run: None,
        };
        let mut on_output = |stream: Stream, bytes: Vec<u8>| output(stream, &bytes);
        let end = supervise(running, &messages, &limits, &Cancel::new(), &mut on_output, &mut |_| {});
        // Also after a tool that failed: what it left is part of the tree.
        if !matches!(end.exit, ToolExit::Lost(_)) {
            self.carry_out(vfs)?;
        }
        Ok(end)
    }

    /// The guest gets what the caller has changed since the last tool.
    fn carry_in(&mut self, vfs: &Vfs) -> Result<(), VmError> {
        match self {
            Self::Host(_) => Ok(()),
            Self::Gamma(session) => quietly(|cx| session.push(vfs, cx)),
            Self::Beta(session) => quietly(|cx| session.push(vfs, cx)),
        }
    }

    /// The caller sees what the tool has changed.
    fn carry_out(&mut self, vfs: &mut Vfs) -> Result<(), VmError> {
        match self {
            Self::Host(_) => Ok(()),
            Self::Gamma(session) => quietly(|cx| session.pull(vfs, cx)),
            Self::Beta(session) => quietly(|cx| session.pull(vfs, cx)),
        }
    }

    /// Brings the tools' changes into `vfs`, then lets the backend go.
    ///
    /// # Errors
    /// [`VmError::Sync`] when the changes could not be brought back, [`VmError::Lost`] when the backend was lost
    /// before they were asked for; `vfs` then has what could be had.
    pub fn shutdown(&mut self, vfs: &mut Vfs, vfs_cwd: &str) -> Result<(), VmError> {
        parse(vfs_cwd)?;
        self.shutdown_with_baseline(vfs).map(|_| ())
    }

    /// As [`Self::shutdown`], and gives what [`crate::workspace::commit`] needs to write the
    /// changes to the real tree.
    ///
    /// # Errors
    /// As [`Self::shutdown`].
    pub fn shutdown_with_baseline(&mut self, vfs: &mut Vfs) -> Result<Baseline, VmError> {
        quietly(|cx| {
            let collected = self.session().collect(vfs, cx);
            let released = self.session().release(cx);
            let collected = collected?;
            match collected.missing {
                Some(lost) => Err(lost),
                None => released.map(|()| collected.baseline),
            }
        })
    }

    /// Access to files inside the guest, with the session's mount: `None` where the host's tree
    /// is the truth.
    pub fn guest_primary_fs_ops_mut(&mut self) -> Option<(&mut dyn GuestFsOps, String)> {
        match self {
            Self::Host(_) => None,
            Self::Gamma(session) => session.guest_fs(),
            Self::Beta(session) => session.guest_fs(),
        }
    }

    /// Whether the backend's own tree is the truth.
    #[must_use]
    pub fn is_guest_primary(&self) -> bool {
        match self {
            Self::Host(_) => false,
            Self::Gamma(session) => session.settings().mode == WorkspaceMode::Guest,
            Self::Beta(session) => session.settings().mode == WorkspaceMode::Guest,
        }
    }

    /// Whether a Lima guest's own tree is the truth.
    #[must_use]
    pub fn is_guest_primary_gamma(&self) -> bool {
        match self {
            Self::Gamma(_) => self.is_guest_primary(),
            Self::Host(_) | Self::Beta(_) => false,
        }
    }

    /// The session in a Lima guest whose own tree is the truth.
    pub fn guest_primary_gamma_mut(&mut self) -> Option<&mut GammaSession> {
        match self {
            Self::Gamma(session) if session.settings().mode == WorkspaceMode::Guest => Some(session),
            Self::Host(_) | Self::Gamma(_) | Self::Beta(_) => None,
        }
    }

    /// Whether tools run on this host.
    #[must_use]
    pub fn is_host_only(&self) -> bool {
        match self {
            Self::Host(_) => true,
            Self::Gamma(_) | Self::Beta(_) => false,
        }
    }

    /// Replaces this process by an interactive shell in the Lima guest; returns only when that
    /// is not possible, with the reason.
    #[must_use]
    pub fn exec_lima_interactive_shell(&self) -> io::Error {
        match self {
            Self::Host(_) => io::Error::new(
                io::ErrorKind::Unsupported,
                "the session runs on this host, not in a Lima guest",
            ),
            Self::Gamma(session) => session.exec_shell(),
            Self::Beta(_) => io::Error::new(
                io::ErrorKind::Unsupported,
                "the session runs at a sidecar, not in a Lima guest",
            ),
        }
    }
}

fn parse(vfs_cwd: &str) -> Result<VfsPath, VmError> {
    VfsPath::parse(vfs_cwd).map_err(|error| VmError::Config(error.to_string()))
}

/// Calls a step of a session for a caller who wants no events.
fn quietly<T>(step: impl FnOnce(&mut Context) -> T) -> T {
    struct Nobody;
    impl EventSink for Nobody {
        fn emit(&mut self, _: &Event) -> io::Result<()> {
            Ok(())
        }
    }
    let mut nobody = Nobody;
    let mut emitter = Emitter::new(&mut nobody);
    let cancel = Cancel::new();
    step(&mut Context {
        emitter: &mut emitter,
        cancel: &cancel,
        lock: None,
    })
}
