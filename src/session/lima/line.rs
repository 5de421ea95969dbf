//! The connection to the resident shell of a session in the guest.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::process::{Cancel, Peer, PeerPipes};
use crate::sys::random::token;

use super::connect::quoted;
use super::limactl::Limactl;
use super::shortcut::Shortcut;

const LINE: &str = include_str!("line.sh");
/// What ends what belongs to a tool.
pub(super) const SWEEP: &str = include_str!("sweep.sh");

/// Between two looks at the caller's wish to stop.
const LOOK: Duration = Duration::from_millis(100);
/// What goes into the pipe at once.
const PIECE: usize = 32 * 1024;

/// Why the line gave no answer. It is of no use afterwards.
#[derive(Debug)]
pub(super) enum LineError {
    /// The connection is gone; in words.
    Lost(String),
    /// No answer in time.
    Late(Duration),
    /// The caller wished to stop.
    Cancelled,
    /// What was to be sent, or to be done with the answer, failed here.
    Here(io::Error),
}

/// What a script in the guest answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    /// None where it was no script that was asked for.
    pub(super) code: Option<i32>,
    pub(super) stderr: String,
}

/// A connection to the guest that lasts as long as a session.
#[derive(Debug)]
pub(super) struct Line {
    // Closed before the peer is waited for: the shell there ends with its input.
    to: OwnedFd,
    from: OwnedFd,
    peer: Peer,
    /// What has come, read up to `taken`.
    held: Vec<u8>,
    taken: usize,
    /// What the shell says first.
    word: String,
}

/// What the shell does at once, instead of waiting to be told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct AtOnce {
    /// Becomes the agent of this digest where the guest has it already.
    pub(super) agent: Option<String>,
    /// Only where there is a C compiler, too.
    pub(super) needs_cc: bool,
    /// The folder that the agent serves besides its own, where it is there.
    pub(super) root: String,
}

/// How long something may take, and who may call it off.
pub(super) struct Patience<'a> {
    pub(super) limit: Duration,
    pub(super) cancel: &'a Cancel,
}

impl Line {
    /// Begins to connect.
    pub(super) fn start(limactl: &Limactl, at_once: &AtOnce) -> io::Result<Self> {
        let (a, b) = (token(), token());
        let agent = at_once.agent.as_deref().unwrap_or_default();
        let needs = if at_once.needs_cc { "cc" } else { "" };
        Self::of(
            &limactl.shell(&["sh", "-c", LINE, "sh", &a, &b, SWEEP, agent, &at_once.root, needs]),
            a + &b,
        )
    }

    /// Begins to connect to the agent itself, which serves its own folder and, where it is seen there, `root`.
    pub(super) fn to_agent(limactl: &Limactl, shortcut: &Shortcut, root: &str) -> io::Result<Self> {
        let (word, program) = (token(), shortcut.program.as_str());
        let greeting = format!("{word} agent {program}");
        let own = program.rsplit_once('/').map_or("/", |(folder, _)| folder);
        let mut serve = vec![program, "--serve-stdio", "--root", own];
        if shortcut.shows {
            serve.extend(["--root", root]);
        }
        serve.extend(["--pass-env", "*"]);
        let argv = match shortcut.ssh_config.as_str() {
            "" => limactl.shell(&[&serve[..], &["--greeting", &greeting]].concat()),
            config => limactl.ssh(config, &shortcut.shell, &greet_and_become(&greeting, &serve)),
        };
        Self::of(&argv, word)
    }

    fn of(argv: &[OsString], word: String) -> io::Result<Self> {
        let (peer, PeerPipes { to, from }) = Peer::start(argv, Box::new(|_| {}))?;
        rustix::io::ioctl_fionbio(&to, true)?;
        Ok(Self {
            to,
            from,
            peer,
            held: Vec::new(),
            taken: 0,
            word,
        })
    }

    /// Waits until the guest answers; gives where the agent lies that does, where it is that.
    pub(super) fn greeted(&mut self, patience: &Patience) -> Result<Option<String>, LineError> {
        let until = Instant::now() + patience.limit;
        loop {
            // A login shell may say something of its own before.
            let line = String::from_utf8_lossy(&self.next(until, patience)?).into_owned();
            let Some((_, behind)) = line.trim_end_matches('\n').split_once(&self.word) else {
                continue;
            };
            return Ok(behind.strip_prefix(" agent ").map(str::to_owned));
        }
    }

    /// Has the shell become the agent of this digest, which is in the guest; gives where it lies.
    pub(super) fn serve(&mut self, digest: &str, patience: &Patience) -> Result<String, LineError> {
        let until = Instant::now() + patience.limit;
        self.send(format!("serve {digest}\n").as_bytes(), until, patience)?;
        let program = self.greeted(patience)?;
        program.ok_or_else(|| LineError::Lost("it does not become the agent".to_owned()))
    }

    /// The connection for whoever speaks with the agent.
    pub(super) fn into_pipes(self) -> (Peer, PeerPipes) {
        let (to, from) = (self.to, self.from);
        (self.peer, PeerPipes { to, from })
    }

    /// Names what has to end when this connection does.
    pub(super) fn mark(&mut self, mark: &str, patience: &Patience) -> Result<(), LineError> {
        self.ask(&format!("mark {mark}"), None, &mut io::sink(), patience)
            .map(|_| ())
    }

    /// Runs a script, which must be one line, and hands on its stdout. What it is to read
    /// behind its own text has to be as long as the script expects.
    pub(super) fn run(
        &mut self,
        script: &str,
        input: Option<&mut dyn Read>,
        output: &mut dyn Write,
        patience: &Patience,
    ) -> Result<Answer, LineError> {
        let answer = self.ask(&format!("do {script}"), input, output, patience)?;
        if answer.code.is_none() {
            let why = "it gives no answer that can be read (is `base64` missing there?)";
            return Err(LineError::Lost(why.to_owned()));
        }
        Ok(answer)
    }

    fn ask(
        &mut self,
        line: &str,
        input: Option<&mut dyn Read>,
        output: &mut dyn Write,
        patience: &Patience,
    ) -> Result<Answer, LineError> {
        let until = Instant::now() + patience.limit;
        self.send(line.as_bytes(), until, patience)?;
        self.send(b"\n", until, patience)?;
        if let Some(input) = input {
            let mut buffer = vec![0; PIECE];
            loop {
                let length = input.read(&mut buffer).map_err(LineError::Here)?;
                if length == 0 {
                    break;
                }
                self.send(buffer.get(..length).unwrap_or_default(), until, patience)?;
            }
        }
        let mut held = Vec::new();
        loop {
            let line = self.next(until, patience)?;
            let line = line.trim_ascii();
            if line == b"." {
                return answer(&held, output).map_err(LineError::Here);
            }
            let bytes = BASE64
                .decode(line)
                .map_err(|_| LineError::Lost("it answers with what is no answer".to_owned()))?;
            held.extend_from_slice(&bytes);
            // Everything before the last two NULs is output; the rest is short.
            if held.len() > 2 * PIECE {
                let ready = held.len() - PIECE;
                output
                    .write_all(held.get(..ready).unwrap_or_default())
                    .map_err(LineError::Here)?;
                held.drain(..ready);
            }
        }
    }

    fn send(&mut self, mut bytes: &[u8], until: Instant, patience: &Patience) -> Result<(), LineError> {
        while !bytes.is_empty() {
            match rustix::io::write(&self.to, bytes) {
                Ok(length) => bytes = bytes.get(length..).unwrap_or_default(),
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => {
                    look(&self.to, PollFlags::OUT);
                    check(until, patience)?;
                }
                Err(_) => return Err(self.lost()),
            }
        }
        Ok(())
    }

    /// The next line, with its end.
    fn next(&mut self, until: Instant, patience: &Patience) -> Result<Vec<u8>, LineError> {
        let mut seen = self.taken;
        loop {
            let new = self.held.get(seen..).unwrap_or_default();
            if let Some(end) = memchr::memchr(b'\n', new) {
                let end = seen + end + 1;
                let line = self.held.get(self.taken..end).unwrap_or_default().to_vec();
                self.taken = end;
                return Ok(line);
            }
            self.held.drain(..self.taken);
            self.taken = 0;
            seen = self.held.len();
            while !look(&self.from, PollFlags::IN) {
                check(until, patience)?;
            }
            self.held.resize(seen + PIECE, 0);
            let read = rustix::io::retry_on_intr(|| {
                rustix::io::read(&self.from, self.held.get_mut(seen..).unwrap_or_default())
            });
            self.held.truncate(seen + read.unwrap_or(0));
            if self.held.len() == seen {
                return Err(self.lost());
            }
        }
    }

    /// How the connection ended.
    fn lost(&mut self) -> LineError {
        let ended = self.peer.end_in_words();
        LineError::Lost(ended.unwrap_or_else(|| "the connection was closed".to_owned()))
    }
}

/// What has a login shell say the greeting and become a program. Said by the shell, once it has read its profile, so
/// that what the program is asked is on its way while it starts.
pub(super) fn greet_and_become(greeting: &str, program: &[&str]) -> String {
    let words: Vec<_> = program.iter().map(|word| quoted(word)).collect();
    format!("echo {}; exec {}", quoted(greeting), words.join(" "))
}

/// Waits a moment for a pipe; says whether it is ready, or broken.
fn look(pipe: &OwnedFd, wanted: PollFlags) -> bool {
    let look = Timespec {
        tv_sec: 0,
        tv_nsec: i64::from(LOOK.subsec_nanos()),
    };
    poll(&mut [PollFd::from_borrowed_fd(pipe.as_fd(), wanted)], Some(&look)).is_ok_and(|ready| ready > 0)
}

fn check(until: Instant, patience: &Patience) -> Result<(), LineError> {
    if patience.cancel.is_raised() {
        return Err(LineError::Cancelled);
    }
    if Instant::now() >= until {
        return Err(LineError::Late(patience.limit));
    }
    Ok(())
}

/// Splits code and stderr off the end and hands on the rest.
fn answer(held: &[u8], output: &mut dyn Write) -> io::Result<Answer> {
    let mut parts = held.rsplitn(3, |byte| *byte == 0);
    let stderr = parts.next().unwrap_or_default();
    let code = parts.next().unwrap_or_default();
    output.write_all(parts.next().unwrap_or_default())?;
    Ok(Answer {
        code: String::from_utf8_lossy(code).parse().ok(),
        stderr: String::from_utf8_lossy(stderr).trim().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_split_from_behind() {
        let mut output = Vec::new();
        let said = answer(b"a\0b\n\x003\0oops\n", &mut output).unwrap();
        assert_eq!(output, b"a\0b\n");
        assert_eq!((said.code, said.stderr.as_str()), (Some(3), "oops"));
        assert_eq!(answer(b"", &mut output).unwrap().code, None);
    }

    #[test]
    fn no_two_words_are_alike() {
        assert_ne!(token(), token());
        assert_eq!(token().len(), 32);
    }
}
