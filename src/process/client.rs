//! A program of this host that stands for something elsewhere: limactl, ssh.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use crate::event::Stream;

use super::{Cancel, CaptureLimits, Captured, Limits, Message, Running, Stdin, ToolExit, supervise};

/// What a pipe holds at most, as long as nobody asks for more.
const CHUNK: usize = 64 * 1024;
/// How many messages may wait.
const MESSAGES: usize = 4;
/// Between the polite stop and the kill of a program that takes too long.
const GRACE: std::time::Duration = std::time::Duration::from_secs(2);

/// A running client: with the caller's environment, in a process group of its own, so that
/// Ctrl-C reaches devshell alone. Unlike a tool it may leave something running, such as a
/// virtual machine. Dropped before its end, it is killed.
#[derive(Debug)]
pub struct Client {
    /// None once it has ended: its number may be another's then.
    group: Arc<Mutex<Option<Pid>>>,
}

impl Client {
    /// Starts a program in `/`; its output and its end arrive in `messages`, the end perhaps
    /// before the last of the output.
    ///
    /// # Errors
    /// What the system says of the program: not found, not executable.
    pub fn start(argv: &[OsString], stdin: Stdin, messages: SyncSender<Message>) -> io::Result<Self> {
        let (program, arguments) = argv
            .split_first()
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no program is named"))?;
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(match stdin {
                Stdin::Null => Stdio::null(),
                Stdin::Inherit => Stdio::inherit(),
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()?;
        let group = Arc::new(Mutex::new(i32::try_from(child.id()).ok().and_then(Pid::from_raw)));
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
        let (of_stdout, of_stderr) = (messages.clone(), messages.clone());
        thread("devshell-stdout").spawn(move || pump(stdout, Stream::Stdout, &of_stdout))?;
        thread("devshell-stderr").spawn(move || pump(stderr, Stream::Stderr, &of_stderr))?;
        let shared = Arc::clone(&group);
        thread("devshell-client").spawn(move || {
            let exit = wait(child, &shared);
            let _ = messages.send(Message::Ended(exit.into()));
        })?;
        Ok(Self { group })
    }

    fn signal(&self, signal: Signal) {
        let group = self.group.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(group) = *group {
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Running for Client {
    fn terminate(&mut self) {
        self.signal(Signal::TERM);
    }

    fn kill(&mut self) {
        self.signal(Signal::KILL);
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// Waits without reaping first, so that nobody signals a number that is free already.
fn wait(mut child: Child, group: &Mutex<Option<Pid>>) -> ToolExit {
    let pid = *group.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(pid) = pid {
        while waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)
            .is_err_and(|e| e == rustix::io::Errno::INTR)
        {}
    }
    *group.lock().unwrap_or_else(PoisonError::into_inner) = None;
    match child.wait() {
        Ok(status) => exit(status),
        Err(error) => ToolExit::Lost(format!("how it ended is not known: {error}")),
    }
}

fn exit(status: ExitStatus) -> ToolExit {
    match (status.code(), status.signal()) {
        (Some(0), _) => ToolExit::Success,
        (Some(code), _) => ToolExit::Code(code),
        (None, Some(signal)) => ToolExit::Signal(signal),
        (None, None) => ToolExit::Lost(format!("it ended with a status that is not known: {status}")),
    }
}

fn pump(pipe: Option<impl Read>, stream: Stream, messages: &SyncSender<Message>) {
    if let Some(mut pipe) = pipe {
        let mut buffer = vec![0; CHUNK];
        loop {
            match pipe.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => {
                    let bytes = buffer.get(..length).unwrap_or_default().to_vec();
                    if messages.send(Message::Output(stream, bytes)).is_err() {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
    }
    let _ = messages.send(Message::Closed(stream));
}

/// Replaces this process by a program, with its terminal and everything; returns only when that
/// is not possible, with what the system says.
#[must_use]
pub fn replace(argv: &[OsString]) -> io::Error {
    match argv.split_first() {
        Some((program, arguments)) => Command::new(program).args(arguments).exec(),
        None => io::Error::new(io::ErrorKind::InvalidInput, "no program is named"),
    }
}

/// Runs a client to its end and gives what it says, the last of it where that is more than
/// `limits` keep; what it writes on stderr goes to `on_stderr`, too, as it comes. What it leaves
/// running stays. A deadline of `cancel` counts as well as the limit.
///
/// # Errors
/// What the system says of the program: not found, not executable.
pub fn consult(
    argv: &[OsString],
    limits: CaptureLimits,
    cancel: &Cancel,
    on_stderr: &mut dyn FnMut(&[u8]),
) -> io::Result<Captured> {
    let (sender, messages) = mpsc::sync_channel(MESSAGES);
    let client = Client::start(argv, Stdin::Null, sender.clone())?;
    cancel.wake(Some(sender));
    let mut kept = [Vec::new(), Vec::new()];
    let mut cut = false;
    let mut keep = |stream: Stream, bytes: Vec<u8>| {
        let [stdout, stderr] = &mut kept;
        let kept = match stream {
            Stream::Stdout => stdout,
            Stream::Stderr => {
                on_stderr(&bytes);
                stderr
            }
        };
        kept.extend_from_slice(&bytes);
        let surplus = kept.len().saturating_sub(limits.bytes);
        cut |= surplus > 0;
        kept.drain(..surplus);
    };
    let timeout = cancel
        .remaining()
        .map_or(limits.timeout, |left| left.min(limits.timeout));
    let limits_of_client = Limits {
        timeout: Some(timeout),
        no_output_timeout: None,
        grace: GRACE,
        deadline_of_run: None,
    };
    let end = supervise(
        Box::new(client),
        &messages,
        &limits_of_client,
        cancel,
        &mut keep,
        &mut |_| {},
    );
    cancel.wake(None);
    let [stdout, stderr] = kept;
    Ok(Captured {
        exit: end.exit,
        stdout,
        stderr,
        cut,
    })
}
