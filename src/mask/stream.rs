//! A stream of which pieces come.

use std::ops::Range;
use std::sync::Arc;

use super::STARS;
use super::cover::{Cover, count_digits};
use super::patterns::Patterns;

/// One stream without the values, wherever it is cut.
///
/// What may be the beginning of a value is held back until the stream goes on or ends, and
/// nothing else is.
pub struct MaskStream {
    patterns: Option<Arc<Patterns>>,
    held: Vec<u8>,
    /// How many of the bytes held belong to what has been found already.
    covered: usize,
    /// Whether the stars for the byte before the held ones have been written: they stand for what
    /// follows without a gap, too.
    starred: bool,
    /// Digits of base64 directly before the held bytes.
    digits: usize,
}

impl MaskStream {
    pub(super) fn new(patterns: Option<Arc<Patterns>>) -> Self {
        Self {
            patterns,
            held: Vec::new(),
            covered: 0,
            starred: false,
            digits: 0,
        }
    }

    /// What can be handed on once `bytes` have come.
    #[must_use]
    pub fn push(&mut self, bytes: Vec<u8>) -> Vec<u8> {
        let Some(patterns) = self.patterns.clone() else {
            return bytes;
        };
        let text = self.joined(bytes);
        let mut cover = Cover::new(&patterns, &text, self.digits);
        let live = cover.live;
        self.include_covered(&mut cover.spans);
        let crossing = cover.spans.iter().find(|span| span.start <= live && live < span.end);
        let covered = crossing.map_or(0, |span| span.end - live);
        self.digits = count_digits(&text[..live], self.digits);
        self.covered = covered;
        self.write(text, &cover.spans, live)
    }

    /// What is left at the end of the stream.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        let Some(patterns) = self.patterns.clone() else {
            return Vec::new();
        };
        let text = std::mem::take(&mut self.held);
        let mut cover = Cover::new(&patterns, &text, self.digits);
        self.include_covered(&mut cover.spans);
        let end = text.len();
        self.write(text, &cover.spans, end)
    }

    /// The bytes behind those that were held.
    fn joined(&mut self, mut bytes: Vec<u8>) -> Vec<u8> {
        if self.held.is_empty() {
            return bytes;
        }
        let mut text = std::mem::take(&mut self.held);
        text.append(&mut bytes);
        text
    }

    /// Adds what was found when its beginning was handed on.
    fn include_covered(&self, spans: &mut Vec<Range<usize>>) {
        let mut end = self.covered;
        if end == 0 {
            return;
        }
        let inside = spans.iter().take_while(|span| span.start <= self.covered).count();
        for span in spans.drain(..inside) {
            end = end.max(span.end);
        }
        spans.insert(0, 0..end);
    }

    /// The text up to `until`; the rest is held.
    fn write(&mut self, mut text: Vec<u8>, spans: &[Range<usize>], until: usize) -> Vec<u8> {
        self.held = text.split_off(until);
        if spans.first().is_none_or(|span| span.start >= until) {
            self.starred &= text.is_empty();
            return text;
        }
        let mut out = Vec::with_capacity(text.len());
        let mut at = 0;
        for span in spans.iter().take_while(|span| span.start < until) {
            if span.start > at {
                out.extend_from_slice(&text[at..span.start]);
                self.starred = false;
            }
            if !self.starred {
                out.extend_from_slice(STARS.as_bytes());
                self.starred = true;
            }
            at = span.end.min(until);
        }
        if at < until {
            out.extend_from_slice(&text[at..until]);
            self.starred = false;
        }
        out
    }
}
