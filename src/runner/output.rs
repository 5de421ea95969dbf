//! Output cut at the borders of characters.

use crate::event::Stream;

/// Holds back the beginning of a character whose rest has not come yet, at most three bytes of
/// each stream, so that a piece of text is text in the events, too.
#[derive(Debug, Default)]
pub(super) struct Tails {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Tails {
    /// What can be handed on once `bytes` have come.
    pub(super) fn whole(&mut self, stream: Stream, bytes: Vec<u8>) -> Vec<u8> {
        let tail = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        let mut whole = bytes;
        if !tail.is_empty() {
            let mut joined = std::mem::take(tail);
            joined.append(&mut whole);
            whole = joined;
        }
        *tail = whole.split_off(whole.len() - unfinished(&whole));
        whole
    }

    /// What is left at the end.
    pub(super) fn rest(self) -> impl Iterator<Item = (Stream, Vec<u8>)> {
        [(Stream::Stdout, self.stdout), (Stream::Stderr, self.stderr)]
            .into_iter()
            .filter(|(_, bytes)| !bytes.is_empty())
    }
}

/// The last bytes of a stream, for what is to be said after a failure.
#[derive(Debug, Default)]
pub(super) struct Recent {
    bytes: Vec<u8>,
}

impl Recent {
    const KEPT: usize = 8 * 1024;

    pub(super) fn push(&mut self, bytes: &[u8]) {
        let tail = &bytes[bytes.len().saturating_sub(Self::KEPT)..];
        let over = (self.bytes.len() + tail.len()).saturating_sub(Self::KEPT);
        self.bytes.drain(..over.min(self.bytes.len()));
        self.bytes.extend_from_slice(tail);
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// How many bytes at the end begin a character that is not complete.
fn unfinished(bytes: &[u8]) -> usize {
    for back in 1..=bytes.len().min(3) {
        let byte = bytes[bytes.len() - back];
        let length = match byte {
            0x80..=0xbf => continue,
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            _ => 1,
        };
        return if back < length { back } else { 0 };
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_text_are_text_wherever_they_are_cut_and_no_byte_is_lost() {
        let text = "xé€𝄞\n".repeat(20).into_bytes();
        for size in 1..9 {
            let mut tails = Tails::default();
            let mut joined = Vec::new();
            for piece in text.chunks(size) {
                let whole = tails.whole(Stream::Stdout, piece.to_vec());
                assert!(std::str::from_utf8(&whole).is_ok(), "{size}: {whole:?}");
                joined.extend(whole);
            }
            assert_eq!(tails.rest().count(), 0);
            assert_eq!(joined, text);
        }
    }

    #[test]
    fn only_the_last_bytes_are_kept() {
        let mut recent = Recent::default();
        recent.push(&[b'a'; 5000]);
        recent.push(&[b'b'; 5000]);
        assert_eq!(recent.bytes().len(), Recent::KEPT);
        assert!(recent.bytes().ends_with(&[b'b'; 5000]) && recent.bytes().starts_with(b"a"));
        recent.push(&[b'c'; 20_000]);
        assert_eq!(recent.bytes(), [b'c'; Recent::KEPT]);
    }

    #[test]
    fn bytes_that_are_no_text_are_handed_on_and_an_open_end_comes_last() {
        let mut tails = Tails::default();
        assert_eq!(tails.whole(Stream::Stderr, b"\xff\xfe".to_vec()), b"\xff\xfe");
        assert_eq!(tails.whole(Stream::Stderr, b"a\xe2\x82".to_vec()), b"a");
        assert_eq!(
            tails.rest().collect::<Vec<_>>(),
            [(Stream::Stderr, b"\xe2\x82".to_vec())]
        );
    }
}
