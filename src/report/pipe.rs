//! Standard output and standard error as a reader may close them.

use std::io::{self, Write};

/// A stream whose reader may go away (`devshell run | head -1`): what comes after that is
/// dropped and the run goes on. Other failures, a full disk say, are returned.
pub struct Pipe {
    inner: Option<Box<dyn Write + Send>>,
    at_line_start: bool,
}

impl Pipe {
    /// Wraps a stream that stands at the start of a line.
    pub fn new(inner: Box<dyn Write + Send>) -> Self {
        Self {
            inner: Some(inner),
            at_line_start: true,
        }
    }

    /// Writes bytes as they are and flushes.
    ///
    /// # Errors
    /// What the stream says, except that its reader has gone.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (Some(inner), Some(last)) = (&mut self.inner, bytes.last()) else {
            return Ok(());
        };
        self.at_line_start = *last == b'\n';
        match inner.write_all(bytes).and_then(|()| inner.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.inner = None;
                Ok(())
            }
            result => result,
        }
    }

    /// Whether the last byte written ended a line.
    #[must_use]
    pub fn at_line_start(&self) -> bool {
        self.at_line_start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fails(io::ErrorKind);

    impl Write for Fails {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_went_away_is_no_failure_and_a_full_disk_is() {
        let mut gone = Pipe::new(Box::new(Fails(io::ErrorKind::BrokenPipe)));
        assert!(gone.write(b"a").is_ok());
        assert!(gone.write(b"b").is_ok());
        let mut full = Pipe::new(Box::new(Fails(io::ErrorKind::StorageFull)));
        assert_eq!(full.write(b"a").unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
