//! Two streams in one, line by line.

use std::io;

use crate::event::Stream;

/// Puts the streams of a tool into one, so that no line of one is torn by the other. The bytes
/// of each, and their order, stay as they are.
#[derive(Debug, Default)]
pub(super) struct Lines {
    held: [Vec<u8>; 2],
}

impl Lines {
    /// How much of a line is held back until its end comes. CI systems show lines, and most
    /// tools write whole ones; a progress bar that never ends its line is let through.
    const MOST: usize = 16 * 1024;

    /// Takes what a stream says next; hands what is whole to `write`.
    pub(super) fn push(
        &mut self,
        stream: Stream,
        bytes: &[u8],
        mut write: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let held = match stream {
            Stream::Stdout => &mut self.held[0],
            Stream::Stderr => &mut self.held[1],
        };
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let (whole, rest) = bytes.split_at(whole);
        if !whole.is_empty() {
            let before = std::mem::take(held);
            write(&before)?;
            write(whole)?;
        }
        held.extend_from_slice(rest);
        if held.len() > Self::MOST {
            let long = std::mem::take(held);
            write(&long)?;
        }
        Ok(())
    }

    /// Hands on what is left: of each stream the beginning of a line at most.
    pub(super) fn flush(&mut self, mut write: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        for held in &mut self.held {
            let rest = std::mem::take(held);
            if !rest.is_empty() {
                write(&rest)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(pieces: &[(Stream, &str)]) -> String {
        let mut lines = Lines::default();
        let mut out = Vec::new();
        let mut write = |bytes: &[u8]| {
            out.extend_from_slice(bytes);
            Ok(())
        };
        for (stream, piece) in pieces {
            lines.push(*stream, piece.as_bytes(), &mut write).unwrap();
        }
        lines.flush(&mut write).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn no_line_is_torn_by_the_other_stream() {
        let pieces = [
            (Stream::Stdout, "one "),
            (Stream::Stderr, "warning\nan"),
            (Stream::Stdout, "line\ntw"),
            (Stream::Stderr, "other"),
            (Stream::Stdout, "o"),
        ];
        assert_eq!(joined(&pieces), "warning\none line\ntwoanother");
    }

    #[test]
    fn a_line_that_does_not_end_is_let_through() {
        let long = "x".repeat(Lines::MOST + 1);
        let pieces = [(Stream::Stdout, long.as_str()), (Stream::Stderr, "e\n")];
        assert_eq!(joined(&pieces), format!("{long}e\n"));
    }
}
