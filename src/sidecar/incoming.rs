//! Lines and raw bytes on their way in.

use std::io::{self, Read};

use super::limits::MAX_SKIPPED;

/// What is asked of the system at once.
const CHUNK: usize = 16 * 1024;
/// What is kept for the next line after a long one.
const KEPT: usize = 128 * 1024;

/// Reads lines with a limit, and the raw bytes that may follow one. Its memory grows with what
/// has really come, never beyond the limit.
#[derive(Debug)]
pub struct Incoming<R> {
    from: R,
    /// All of it may be written to; what counts lies between `start` and `end`.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Up to here there is no end of a line.
    scanned: usize,
    limit: usize,
    /// How much of a line that is too long has been dropped.
    skipped: Option<u64>,
    ended: bool,
}

/// Why there is no line.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// The line is longer than the limit. What is left of it is dropped when the next one is
    /// asked for.
    #[error("the line is longer than {limit} bytes")]
    TooLong {
        /// The limit that held.
        limit: usize,
    },
    /// So much of such a line was dropped that its end is not worth waiting for.
    #[error("the line does not end")]
    Endless,
    /// The peer cannot be read from. After a timeout it may be tried again: nothing is lost.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl<R: Read> Incoming<R> {
    /// Reads lines of at most `limit` bytes, their end not counted.
    pub fn new(from: R, limit: usize) -> Self {
        Self {
            from,
            buffer: Vec::new(),
            start: 0,
            end: 0,
            scanned: 0,
            limit,
            skipped: None,
            ended: false,
        }
    }

    /// From the next line on another limit holds.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Where it reads from, to change it.
    pub fn get_mut(&mut self) -> &mut R {
        &mut self.from
    }

    /// The bytes that have come and were not asked for yet: what a peer has said that is no line.
    pub fn pending(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    /// Gives back memory that a long line has needed, if nothing is left in it.
    pub fn shrink(&mut self) {
        if self.start == self.end {
            self.clear();
        }
    }

    /// The next line without its end (`\n` or `\r\n`); none when the peer has ended. What stands
    /// before the end of the stream is a line, too.
    ///
    /// # Errors
    /// [`LineError`]; after [`LineError::TooLong`] the next line can be asked for.
    pub fn line(&mut self) -> Result<Option<&[u8]>, LineError> {
        let (from, to) = loop {
            if let Some(at) = self.newline() {
                let line = (self.start, at);
                self.start = at + 1;
                self.scanned = self.start;
                if self.skipped.take().is_some() {
                    continue;
                }
                // A `\r` before the end does not count.
                if at - line.0 > self.limit && !(at - line.0 == self.limit + 1 && self.byte(at - 1) == Some(b'\r')) {
                    return Err(LineError::TooLong { limit: self.limit });
                }
                break line;
            }
            let length = self.end - self.start;
            if let Some(skipped) = &mut self.skipped {
                *skipped = skipped.saturating_add(length as u64);
                if *skipped > MAX_SKIPPED {
                    return Err(LineError::Endless);
                }
                self.clear();
            } else if length > self.limit + 1 {
                self.skipped = Some(length as u64);
                self.clear();
                return Err(LineError::TooLong { limit: self.limit });
            }
            if self.ended {
                if self.start == self.end {
                    return Ok(None);
                }
                let line = (self.start, self.end);
                self.start = self.end;
                self.scanned = self.end;
                if line.1 - line.0 > self.limit {
                    return Err(LineError::TooLong { limit: self.limit });
                }
                break line;
            }
            self.fill()?;
        };
        let line = self.buffer.get(from..to).unwrap_or_default();
        Ok(Some(line.strip_suffix(b"\r").unwrap_or(line)))
    }

    /// Fills `raw` with the bytes that follow the line.
    ///
    /// # Errors
    /// As [`Read::read_exact`]: `UnexpectedEof` when the peer ended before. A timeout in the
    /// middle loses bytes: the peer is of no use any more.
    pub fn raw(&mut self, raw: &mut [u8]) -> io::Result<()> {
        let held = self.pending();
        let taken = held.len().min(raw.len());
        let (first, rest) = raw.split_at_mut(taken);
        first.copy_from_slice(held.get(..taken).unwrap_or_default());
        self.start += taken;
        self.scanned = self.start;
        self.from.read_exact(rest)
    }

    fn byte(&self, at: usize) -> Option<u8> {
        self.buffer.get(at).copied()
    }

    fn newline(&mut self) -> Option<usize> {
        let from = self.scanned;
        let at = self.buffer.get(from..self.end)?.iter().position(|&byte| byte == b'\n');
        self.scanned = self.end;
        at.map(|at| from + at)
    }

    fn clear(&mut self) {
        (self.start, self.end, self.scanned) = (0, 0, 0);
        if self.buffer.len() > KEPT {
            self.buffer = Vec::new();
        }
    }

    /// Reads once, behind what is there.
    fn fill(&mut self) -> Result<(), LineError> {
        if self.start == self.end {
            self.clear();
        } else if self.start > 0 && self.buffer.len() - self.end < CHUNK {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.scanned -= self.start;
            self.start = 0;
        }
        if self.buffer.len() - self.end < CHUNK {
            // Twice as much each time, and never more than the limit asks for.
            let most = self.limit.saturating_add(2).saturating_add(CHUNK);
            let length = (self.buffer.len() * 2).clamp(self.end + CHUNK, most.max(self.end + CHUNK));
            self.buffer.reserve_exact(length - self.buffer.len());
            self.buffer.resize(length, 0);
        }
        let room = self.buffer.get_mut(self.end..).unwrap_or_default();
        loop {
            match self.from.read(room) {
                Ok(0) => {
                    self.ended = true;
                    return Ok(());
                }
                Ok(length) => {
                    self.end += length;
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives so many bytes at a time.
    struct Slow<'a>(&'a [u8], usize);

    impl Read for Slow<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let length = self.1.min(into.len()).min(self.0.len());
            let (now, later) = self.0.split_at(length);
            into[..length].copy_from_slice(now);
            self.0 = later;
            Ok(length)
        }
    }

    /// What came: a line, or that one was too long.
    fn lines(text: &[u8], limit: usize, width: usize) -> Vec<Result<String, ()>> {
        let mut incoming = Incoming::new(Slow(text, width), limit);
        let mut lines = Vec::new();
        loop {
            match incoming.line() {
                Ok(Some(line)) => lines.push(Ok(String::from_utf8_lossy(line).into_owned())),
                Ok(None) => return lines,
                Err(LineError::TooLong { .. }) => lines.push(Err(())),
                Err(error) => panic!("{error}"),
            }
        }
    }

    #[test]
    fn lines_end_at_lf_and_crlf_and_at_the_end_of_all() {
        for width in [1, 2, 3, 100] {
            let ok = |text: &str| Ok(text.to_owned());
            assert_eq!(
                lines(b"a\r\n\nb\rc\nd", 9, width),
                [ok("a"), ok(""), ok("b\rc"), ok("d")]
            );
            assert_eq!(lines(b"", 9, width), []);
        }
    }

    #[test]
    fn a_line_of_the_limit_passes_and_one_byte_more_does_not() {
        for width in [1, 4, 5, 100] {
            let ok = |text: &str| Ok(text.to_owned());
            assert_eq!(
                lines(b"12345\n123456\n12345\r\n123456\r\n1\n12345678901234567890", 5, width),
                [ok("12345"), Err(()), ok("12345"), Err(()), ok("1"), Err(())],
                "{width}"
            );
        }
    }

    #[test]
    fn memory_stays_within_the_limit_whatever_comes() {
        let mut incoming = Incoming::new(io::repeat(b'x'), 100_000);
        assert!(matches!(incoming.line(), Err(LineError::TooLong { limit: 100_000 })));
        assert!(matches!(incoming.line(), Err(LineError::Endless)));
        assert!(incoming.buffer.len() < 200_000, "{}", incoming.buffer.len());
    }

    #[test]
    fn raw_bytes_follow_their_line_also_when_they_look_like_lines() {
        for width in [1, 7, 100] {
            let mut incoming = Incoming::new(Slow(b"first\n\n{}\n\rlast\n", width), 9);
            assert_eq!(incoming.line().unwrap().unwrap(), b"first");
            let mut raw = [0; 5];
            incoming.raw(&mut raw).unwrap();
            assert_eq!(&raw, b"\n{}\n\r");
            assert_eq!(incoming.line().unwrap().unwrap(), b"last");
            assert_eq!(incoming.raw(&mut raw).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        }
    }

    #[test]
    fn a_timeout_between_bytes_loses_nothing() {
        struct Halting(Vec<Option<&'static [u8]>>);
        impl Read for Halting {
            fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
                match self.0.pop() {
                    Some(Some(bytes)) => {
                        into[..bytes.len()].copy_from_slice(bytes);
                        Ok(bytes.len())
                    }
                    Some(None) => Err(io::ErrorKind::TimedOut.into()),
                    None => Ok(0),
                }
            }
        }
        let mut incoming = Incoming::new(Halting(vec![Some(b"b\n"), None, Some(b"a")]), 9);
        assert!(matches!(incoming.line(), Err(LineError::Io(error)) if error.kind() == io::ErrorKind::TimedOut));
        assert_eq!(incoming.pending(), b"a");
        assert_eq!(incoming.line().unwrap().unwrap(), b"ab");
    }
}
