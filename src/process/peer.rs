//! A program that is spoken with over its standard streams for as long as a session takes.

use std::ffi::OsString;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

/// How much of what it says on stderr is kept for messages.
const TAIL: usize = 4096;
/// How long it may take to end after its stdin was closed, and again after SIGTERM.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long its end may take to be noticed, and its last words to come.
const MOMENT: Duration = Duration::from_millis(500);

/// What is done with its stderr as it comes.
pub type OnStderr = Box<dyn FnMut(&[u8]) + Send>;

/// A running program with pipes for its standard streams. Dropped, it is ended: its stdin is
/// closed by whoever holds the other end, then come SIGTERM and SIGKILL to its process group.
#[derive(Debug)]
pub struct Peer {
    program: String,
    group: Option<Pid>,
    /// While this is open the program is not reaped.
    _hold: mpsc::Sender<()>,
    ended: Receiver<io::Result<ExitStatus>>,
    status: Option<ExitStatus>,
    /// Closed when its stderr is.
    heard: Receiver<()>,
    tail: Arc<Mutex<Vec<u8>>>,
}

/// The ends of a peer's pipes.
#[derive(Debug)]
pub struct PeerPipes {
    /// What is written here is what it reads.
    pub to: OwnedFd,
    /// What it writes on stdout.
    pub from: OwnedFd,
}

impl Peer {
    /// Starts a program with the caller's environment and working folder, in a process group of
    /// its own, so that Ctrl-C reaches devshell alone.
    ///
    /// # Errors
    /// What the system says of the program: not found, not executable.
    pub fn start(argv: &[OsString], on_stderr: OnStderr) -> io::Result<(Self, PeerPipes)> {
        let (program, arguments) = argv
            .split_first()
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no program is named"))?;
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()?;
        let (Some(to), Some(from), Some(stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(io::Error::other("the pipes of the program are missing"));
        };
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let tail = Arc::new(Mutex::new(Vec::new()));
        let (sender, ended) = mpsc::channel();
        let (hold, held) = mpsc::channel::<()>();
        let kept = Arc::clone(&tail);
        // Two threads: what the program leaves behind may hold its stderr.
        let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
        thread("devshell-peer").spawn(move || {
            let _ = sender.send(end_of(&child));
            drop(sender);
            // Its number is another's only when nobody can signal it any more.
            let _ = held.recv();
            let _ = child.wait();
        })?;
        let (hearing, heard) = mpsc::channel();
        thread("devshell-said").spawn(move || {
            listen(stderr, &kept, on_stderr);
            drop::<mpsc::Sender<()>>(hearing);
        })?;
        let peer = Self {
            program: program.to_string_lossy().into_owned(),
            group,
            _hold: hold,
            ended,
            status: None,
            heard,
            tail,
        };
        Ok((
            peer,
            PeerPipes {
                to: to.into(),
                from: from.into(),
            },
        ))
    }

    /// The last of what it said on stderr, as text.
    #[must_use]
    pub fn last_words(&self) -> String {
        let tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&tail).trim().to_owned()
    }

    /// How it ended, in words, where it has or does so within a moment.
    ///
    /// `None` while it runs.
    pub fn end_in_words(&mut self) -> Option<String> {
        let status = self.ends_within(MOMENT)?;
        // Its last words may still be on their way.
        let _ = self.heard.recv_timeout(MOMENT);
        let mut words = format!("`{}` ended with {status}", self.program);
        let said = self.last_words();
        if !said.is_empty() {
            words.push_str(": ");
            words.push_str(&said);
        }
        Some(words)
    }

    /// Ends it without waiting for what it would still do of itself.
    pub fn dismiss(&self) {
        self.signal(Signal::TERM);
    }

    fn ends_within(&mut self, patience: Duration) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = match self.ended.recv_timeout(patience) {
                Ok(Ok(status)) => Some(status),
                Ok(Err(_)) => {
                    // Where SIGCHLD is ignored the kernel has reaped it: its number may be another's by now.
                    self.group = None;
                    None
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => None,
            };
        }
        self.status
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        for signal in [None, Some(Signal::TERM), Some(Signal::KILL)] {
            if let Some(signal) = signal {
                self.signal(signal);
            }
            if self.ends_within(PATIENCE).is_some() {
                break;
            }
        }
        // What it started and left in its group.
        self.signal(Signal::KILL);
    }
}

/// Waits for the end of a program without reaping it.
fn end_of(child: &Child) -> io::Result<ExitStatus> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or(io::ErrorKind::InvalidInput)?;
    let status = rustix::io::retry_on_intr(|| waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT))?;
    let raw = status.and_then(|status| {
        status
            .exit_status()
            .map(|code| code << 8)
            .or(status.terminating_signal())
    });
    raw.map(ExitStatus::from_raw)
        .ok_or_else(|| io::Error::other("its end cannot be told"))
}

/// Reads stderr to its end.
fn listen(mut stderr: ChildStderr, tail: &Mutex<Vec<u8>>, mut on_stderr: OnStderr) {
    let mut buffer = [0; 4096];
    loop {
        match stderr.read(&mut buffer) {
            Ok(0) => return,
            Ok(length) => {
                let bytes = buffer.get(..length).unwrap_or(&[]);
                on_stderr(bytes);
                let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
                tail.extend_from_slice(bytes);
                let surplus = tail.len().saturating_sub(TAIL);
                tail.drain(..surplus);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_it_ended_is_told_and_its_number_stays_its_own_while_it_may_be_signalled() {
        for (script, told) in [
            ("exit 0", "exit status: 0"),
            ("exit 3", "exit status: 3"),
            ("kill -9 $$", "signal: 9"),
        ] {
            let argv = ["sh", "-c", script].map(OsString::from);
            let (mut peer, pipes) = Peer::start(&argv, Box::new(|_| ())).unwrap();
            let pid = peer.group.unwrap().as_raw_nonzero();
            let words = (0..100).find_map(|_| peer.end_in_words()).unwrap();
            assert!(words.starts_with("`sh` ended with ") && words.contains(told), "{words}");
            let state = || std::fs::read_to_string(format!("/proc/{pid}/stat"));
            assert!(state().unwrap().contains(" Z "), "it is not reaped");
            drop((peer, pipes));
            while state().is_ok_and(|state| state.contains(" Z ")) {
                std::thread::yield_now();
            }
        }
    }
}
