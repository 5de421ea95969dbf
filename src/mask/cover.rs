//! Which bytes of a text are hidden, and from where on that is not known yet.

use std::ops::Range;

use super::base64::is_digit;
use super::patterns::Patterns;

/// The shortest line of digits that a program that writes base64 goes on with in the next line;
/// 60, 64 and 76 are in use.
const WRAPPED: usize = 60;

/// What is known of a text.
#[derive(Debug)]
pub(super) struct Cover {
    /// What is hidden, in order; no two of them touch.
    pub(super) spans: Vec<Range<usize>>,
    /// From here on the text may be the beginning of a pattern whose rest has not come.
    pub(super) live: usize,
}

impl Cover {
    /// Looks at a text. `digits` is how many digits of base64 stand directly before it.
    pub(super) fn new(patterns: &Patterns, text: &[u8], digits: usize) -> Self {
        let mut cover = Self {
            spans: Vec::new(),
            live: patterns.live(text),
        };
        let Some(joined) = Joined::new(text, digits) else {
            patterns.found(text).for_each(|span| cover.add(span));
            return cover;
        };
        cover.live = cover.live.min(joined.start_of(patterns.live(&joined.text)));
        let over_ends = patterns.found(&joined.text).map(|span| joined.original(&span));
        let mut spans: Vec<_> = patterns.found(text).chain(over_ends).collect();
        spans.sort_by_key(|span| span.start);
        spans.into_iter().for_each(|span| cover.add(span));
        cover
    }

    /// Hides more, which starts behind the start of all others.
    pub(super) fn add(&mut self, span: Range<usize>) {
        match self.spans.last_mut() {
            Some(last) if span.start <= last.end => last.end = last.end.max(span.end),
            _ => self.spans.push(span),
        }
    }
}

/// A text whose long lines of base64 are joined with the lines behind them.
struct Joined {
    text: Vec<u8>,
    /// Each place in it at which a line ended, with how many bytes have been left out up to there.
    seams: Vec<(usize, usize)>,
}

impl Joined {
    /// `None` when there is nothing to join. `digits` is how many stand directly before the text.
    fn new(text: &[u8], digits: usize) -> Option<Self> {
        let mut joined = Self {
            text: Vec::new(),
            seams: Vec::new(),
        };
        let mut taken = 0;
        for newline in memchr::memchr_iter(b'\n', text).chain(text.ends_with(b"\r").then_some(text.len())) {
            // Of `\r\n`, at the end of the text also without the `\n` that may come.
            let end = match newline.checked_sub(1) {
                Some(before) if text[before] == b'\r' => before,
                _ => newline,
            };
            if end < taken || count_digits(&text[..end], digits) < WRAPPED {
                continue;
            }
            joined.text.extend_from_slice(&text[taken..end]);
            taken = text.len().min(newline + 1);
            joined.seams.push((joined.text.len(), taken - joined.text.len()));
        }
        if taken == 0 {
            return None;
        }
        joined.text.extend_from_slice(&text[taken..]);
        Some(joined)
    }

    /// Where the byte at a place stood.
    fn start_of(&self, at: usize) -> usize {
        let before = self.seams.partition_point(|(seam, _)| *seam <= at);
        let left_out = before.checked_sub(1).map_or(0, |seam| self.seams[seam].1);
        at + left_out
    }

    fn original(&self, span: &Range<usize>) -> Range<usize> {
        self.start_of(span.start)..self.start_of(span.end - 1) + 1
    }
}

/// How many digits of base64 end a text, no more than matter; `before` stand before it.
pub(super) fn count_digits(text: &[u8], before: usize) -> usize {
    let last = &text[text.len().saturating_sub(WRAPPED)..];
    let digits = last.iter().rev().take_while(|byte| is_digit(**byte)).count();
    if digits == text.len() {
        (digits + before).min(WRAPPED)
    } else {
        digits
    }
}
