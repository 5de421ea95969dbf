//! Lines and raw bytes on their way out.

use std::io::{self, IoSlice, Write};

use serde::Serialize;

use super::decode::Addressed;
use super::reply::Reply;
use super::request::Request;

impl<M: Serialize> Addressed<M> {
    /// The line, with its end.
    #[must_use]
    pub fn to_line(&self) -> Vec<u8> {
        #[derive(Serialize)]
        struct Line<'a, M> {
            #[serde(flatten)]
            body: &'a M,
            #[serde(skip_serializing_if = "Option::is_none")]
            id: Option<u64>,
        }
        let line = Line {
            body: &self.body,
            id: self.id,
        };
        // Strings, numbers and lists of them cannot fail to be written to memory.
        let mut text = serde_json::to_vec(&line).unwrap_or_default();
        text.push(b'\n');
        text
    }
}

impl Request {
    /// The line without an `id` of its own, as version 1 has it.
    #[must_use]
    pub fn to_line(self) -> Vec<u8> {
        Addressed { id: None, body: self }.to_line()
    }
}

impl Reply {
    /// The line without an `id` of its own, as version 1 has it.
    #[must_use]
    pub fn to_line(self) -> Vec<u8> {
        Addressed { id: None, body: self }.to_line()
    }
}

/// Writes a line and the raw bytes that belong to it, as one as far as the system goes along.
///
/// # Errors
/// As [`Write::write_all`]; then the peer can make no sense of anything that follows.
pub fn write_message(to: &mut impl Write, line: &[u8], raw: &[u8]) -> io::Result<()> {
    let (mut line, mut raw) = (line, raw);
    while !line.is_empty() {
        let pieces = [IoSlice::new(line), IoSlice::new(raw)];
        match to.write_vectored(&pieces) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                let of_line = written.min(line.len());
                line = line.get(of_line..).unwrap_or_default();
                raw = raw.get(written - of_line..).unwrap_or_default();
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    to.write_all(raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes a few bytes at a time.
    struct Narrow(Vec<u8>, usize);

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(self.1);
            self.0.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
            let mut taken = 0;
            for piece in pieces {
                let some = piece.len().min(self.1 - taken);
                self.0.extend_from_slice(&piece[..some]);
                taken += some;
            }
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn partial_writes_lose_nothing() {
        for width in 1..12 {
            let mut narrow = Narrow(Vec::new(), width);
            write_message(&mut narrow, b"line\n", b"raw\nbytes").unwrap();
            assert_eq!(narrow.0, b"line\nraw\nbytes", "{width}");
        }
        assert!(write_message(&mut Narrow(Vec::new(), 0), b"a", b"").is_err());
    }

    #[test]
    fn a_version_1_line_has_no_id() {
        let line = Reply::SyncOk(super::super::SessionId {
            session_id: "s".to_owned(),
        })
        .to_line();
        assert_eq!(line, b"{\"op\":\"sync_ok\",\"session_id\":\"s\"}\n");
    }
}
