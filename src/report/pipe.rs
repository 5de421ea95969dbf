//! Standard output and standard error as their readers take them.

use std::io::{self, IsTerminal as _};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::sys::output::write_some;

/// How long one wait for the reader takes before the caller is asked again.
const SLICE: Duration = Duration::from_millis(50);
/// What may wait for a reader that does not read while the run has to go on.
const MOST_PENDING: usize = 1 << 20;
/// How long the end of the run waits for such a reader.
const LAST_WAIT: Duration = Duration::from_secs(2);

/// A stream to a reader that may go away or not read.
///
/// When it goes away (`devshell run | head -1`), what comes after that is dropped and the run
/// goes on. While it does not read, the tool has to wait with it; but once the run is wanted for
/// something else, a signal or a deadline, what is left is put aside and later tried again.
/// Other failures, a full disk say, are returned.
pub struct Pipe {
    stream: Option<OwnedFd>,
    is_terminal: bool,
    at_line_start: bool,
    wanted_elsewhere: Box<dyn Fn() -> bool + Send>,
    pending: Vec<u8>,
    dropped: usize,
    /// Whether the last wait was in vain: then no second one while the run is wanted elsewhere.
    stuck: bool,
    /// Whether each LF goes out as CR LF.
    returns: bool,
}

impl Pipe {
    /// A stream that stands at the start of a line; `wanted_elsewhere` says whether the run has
    /// something better to do than to wait for the reader.
    pub fn new(stream: OwnedFd, wanted_elsewhere: impl Fn() -> bool + Send + 'static) -> Self {
        Self {
            is_terminal: stream.is_terminal(),
            stream: Some(stream),
            wanted_elsewhere: Box::new(wanted_elsewhere),
            ..Self::nowhere()
        }
    }

    /// A stream that nobody reads.
    #[must_use]
    pub fn nowhere() -> Self {
        Self {
            stream: None,
            is_terminal: false,
            at_line_start: true,
            wanted_elsewhere: Box::new(|| false),
            pending: Vec::new(),
            dropped: 0,
            stuck: false,
            returns: false,
        }
    }

    /// For a terminal that a tool may have put into raw mode, and for nothing but devshell's own
    /// words: a line starts at its left edge all the same.
    #[must_use]
    pub fn with_returns(self) -> Self {
        Self { returns: true, ..self }
    }

    /// Writes bytes as they are.
    ///
    /// # Errors
    /// What the stream says, except that its reader has gone.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(last) = bytes.last() else {
            return self.wipe(bytes);
        };
        self.at_line_start = *last == b'\n';
        if self.returns {
            let lines = bytes.split(|&byte| byte == b'\n');
            return self.wipe(&lines.collect::<Vec<_>>().join(&b"\r\n"[..]));
        }
        self.wipe(bytes)
    }

    /// As [`Self::write`], for what only moves things on a terminal: where lines begin does not
    /// change by it.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub(super) fn wipe(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.push_pending(None)?;
        // Order comes before everything: nothing overtakes what is put aside.
        let rest = if self.pending.is_empty() {
            self.push(bytes, None)?.to_vec()
        } else {
            bytes.to_vec()
        };
        let room = MOST_PENDING.saturating_sub(self.pending.len());
        let kept = rest.len().min(room);
        self.pending.extend_from_slice(&rest[..kept]);
        self.dropped += rest.len() - kept;
        Ok(())
    }

    /// As [`Self::wipe`], for what nobody waits for; what does not go now goes before anything
    /// else later.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub(super) fn draw(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.catch_up()? {
            let rest = self.push(bytes, Some(Instant::now()))?.to_vec();
            self.pending = rest;
        } else {
            self.pending.extend_from_slice(bytes);
        }
        Ok(())
    }

    /// Writes what was put aside as far as it goes without a wait; says whether that was all.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub(super) fn catch_up(&mut self) -> io::Result<bool> {
        self.push_pending(Some(Instant::now()))?;
        Ok(self.pending.is_empty())
    }

    fn push_pending(&mut self, until: Option<Instant>) -> io::Result<()> {
        if !self.pending.is_empty() {
            let pending = std::mem::take(&mut self.pending);
            let rest = self.push(&pending, until)?.len();
            self.pending = pending[pending.len() - rest..].to_vec();
        }
        Ok(())
    }

    /// Tries for a short time to write what was put aside; gives how many bytes nobody took.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn finish(&mut self) -> io::Result<usize> {
        let pending = std::mem::take(&mut self.pending);
        let rest = self.push(&pending, Some(Instant::now() + LAST_WAIT))?.len();
        Ok(std::mem::take(&mut self.dropped) + rest)
    }

    /// Whether the last byte written ended a line.
    #[must_use]
    pub fn at_line_start(&self) -> bool {
        self.at_line_start
    }

    /// Somebody else has ended the last line, on the terminal that both write to.
    pub(super) fn line_was_ended(&mut self) {
        self.at_line_start = true;
    }

    /// Whether a terminal has gone away. SIGHUP says so, too, and ends the run; who has that
    /// ignored wants the run to go on.
    fn has_hung_up(&self, error: &io::Error) -> bool {
        self.is_terminal && error.raw_os_error() == Some(Errno::IO.raw_os_error())
    }

    /// Writes until all is written or the wait is to end; gives the rest.
    fn push<'b>(&mut self, mut bytes: &'b [u8], until: Option<Instant>) -> io::Result<&'b [u8]> {
        while let (Some(stream), false) = (&self.stream, bytes.is_empty()) {
            let give_up = || until.map_or_else(|| (self.wanted_elsewhere)(), |until| Instant::now() >= until);
            let wait = if self.stuck && give_up() { Duration::ZERO } else { SLICE };
            match write_some(stream, bytes, wait) {
                Ok(0) => {
                    self.stuck = true;
                    if give_up() {
                        return Ok(bytes);
                    }
                }
                Ok(written) => {
                    self.stuck = false;
                    bytes = &bytes[written..];
                }
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe || self.has_hung_up(&error) => {
                    self.stream = None;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(&[])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;
    use std::os::fd::AsFd as _;

    #[test]
    fn a_reader_that_went_away_is_no_failure_and_a_full_disk_is() {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut gone = Pipe::new(writer.into(), || false);
        assert!(gone.write(b"a").is_ok());
        assert!(gone.write(b"b").is_ok());
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut full = Pipe::new(full.into(), || false);
        assert_eq!(full.write(b"a").unwrap_err().kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn lines_return_to_the_left_edge_where_the_terminal_does_not_see_to_it() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let mut pipe = Pipe::new(writer.into(), || false).with_returns();
        pipe.write(b"\na\nb").unwrap();
        pipe.write(b"c\n").unwrap();
        assert!(pipe.at_line_start());
        drop(pipe);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "\r\na\r\nbc\r\n");
    }

    #[test]
    fn a_stream_that_does_not_block_loses_nothing() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        rustix::fs::fcntl_setfl(writer.as_fd(), rustix::fs::OFlags::NONBLOCK).unwrap();
        let sent: Vec<u8> = (0..500_000_u32).map(|n| (n % 251) as u8).collect();
        let read = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes).unwrap();
            bytes
        });
        let mut pipe = Pipe::new(writer.into(), || false);
        pipe.write(&sent).unwrap();
        assert_eq!(pipe.finish().unwrap(), 0);
        drop(pipe);
        assert!(read.join().unwrap() == sent);
    }

    #[test]
    fn a_reader_that_does_not_read_holds_nobody_who_is_wanted_elsewhere() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let mut pipe = Pipe::new(writer.into(), || true);
        let sent = vec![b'x'; 3 << 20];
        pipe.write(&sent).unwrap();
        pipe.write(b"end").unwrap();
        let read = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes).unwrap();
            bytes.len()
        });
        let lost = pipe.finish().unwrap();
        drop(pipe);
        assert!(lost > 0);
        assert_eq!(read.join().unwrap() + lost, sent.len() + 3);
    }
}
