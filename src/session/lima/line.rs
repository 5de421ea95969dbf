//! The connection to the resident shell of a session in the guest.

use std::fmt::Write as _;
use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::process::{Cancel, Peer, PeerPipes};

use super::limactl::Limactl;

const LINE: &str = include_str!("line.sh");
/// What ends what belongs to a tool.
pub(super) const SWEEP: &str = include_str!("sweep.sh");

/// Between two looks at the caller's wish to stop.
const LOOK: Duration = Duration::from_millis(100);
/// How many lines of an answer may wait.
const WAITING: usize = 256;
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
    peer: Peer,
    /// Closed before the peer is waited for.
    to: Option<OwnedFd>,
    lines: Receiver<Vec<u8>>,
}

/// How long something may take, and who may call it off.
pub(super) struct Patience<'a> {
    pub(super) limit: Duration,
    pub(super) cancel: &'a Cancel,
}

impl Line {
    /// Connects.
    pub(super) fn open(limactl: &Limactl, patience: &Patience) -> Result<Self, LineError> {
        let (a, b) = (random(), random());
        let argv = limactl.shell(&["sh", "-c", LINE, "sh", &a, &b, SWEEP]);
        let (peer, PeerPipes { to, from }) = Peer::start(&argv, Box::new(|_| {})).map_err(LineError::Here)?;
        rustix::io::ioctl_fionbio(&to, true).map_err(|error| LineError::Here(error.into()))?;
        let (sender, lines) = mpsc::sync_channel(WAITING);
        std::thread::Builder::new()
            .name("devshell-lima".to_owned())
            .spawn(move || {
                let mut from = BufReader::new(std::fs::File::from(from));
                let mut line = Vec::new();
                while from.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
                    if sender.send(std::mem::take(&mut line)).is_err() {
                        break;
                    }
                }
            })
            .map_err(LineError::Here)?;
        let mut open = Self {
            peer,
            to: Some(to),
            lines,
        };
        let until = Instant::now() + patience.limit;
        let greeting = format!("{a}{b}\n");
        // A login shell may say something of its own before.
        while !open.next(until, patience)?.ends_with(greeting.as_bytes()) {}
        Ok(open)
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
            let Some(to) = &self.to else {
                return Err(self.lost());
            };
            match rustix::io::write(to, bytes) {
                Ok(length) => bytes = bytes.get(length..).unwrap_or_default(),
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => {
                    let look = Timespec {
                        tv_sec: 0,
                        tv_nsec: i64::from(LOOK.subsec_nanos()),
                    };
                    let _ = poll(&mut [PollFd::from_borrowed_fd(to.as_fd(), PollFlags::OUT)], Some(&look));
                    check(until, patience)?;
                }
                Err(_) => return Err(self.lost()),
            }
        }
        Ok(())
    }

    fn next(&mut self, until: Instant, patience: &Patience) -> Result<Vec<u8>, LineError> {
        loop {
            match self.lines.recv_timeout(LOOK) {
                Ok(line) => return Ok(line),
                Err(RecvTimeoutError::Timeout) => check(until, patience)?,
                Err(RecvTimeoutError::Disconnected) => return Err(self.lost()),
            }
        }
    }

    /// How the connection ended.
    fn lost(&mut self) -> LineError {
        let ended = self.peer.end_in_words();
        LineError::Lost(ended.unwrap_or_else(|| "the connection was closed".to_owned()))
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        // The shell there ends with its input; only then is it waited for.
        self.to = None;
    }
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

/// A word that nobody guesses: 128 bits.
pub(super) fn random() -> String {
    let mut bytes = [0_u8; 16];
    let filled = std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    if filled.is_err() {
        // Not secret then, but still of this process and moment alone.
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        bytes = (now.unwrap_or_default().as_nanos() ^ (u128::from(std::process::id()) << 96)).to_ne_bytes();
    }
    bytes.iter().fold(String::with_capacity(32), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
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
        assert_ne!(random(), random());
        assert_eq!(random().len(), 32);
    }
}
