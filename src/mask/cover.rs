//! Which bytes of a text are hidden, and from where on that is not known yet.

use std::ops::Range;

use aho_corasick::{AhoCorasick, AhoCorasickKind, BuildError, Input, MatchKind};

use super::base64::is_digit;

/// The shortest line of digits that a program that writes base64 goes on with in the next line;
/// 60, 64 and 76 are in use.
const WRAPPED: usize = 60;
/// Up to so many bytes of patterns the fastest automaton is not too large.
const FAST: usize = 8 * 1024;

/// What is searched for.
pub(super) struct Patterns {
    automaton: AhoCorasick,
    /// In order, each once.
    sorted: Vec<Vec<u8>>,
    /// Whether a pattern begins with this byte.
    first: [bool; 256],
    longest: usize,
}

/// What is known of a text.
#[derive(Debug)]
pub(super) struct Cover {
    /// What is hidden, in order; no two of them touch.
    pub(super) spans: Vec<Range<usize>>,
    /// From here on the text may be the beginning of a pattern whose rest has not come.
    pub(super) live: usize,
}

impl Cover {
    /// Hides more, which starts behind the start of all others.
    pub(super) fn add(&mut self, span: Range<usize>) {
        match self.spans.last_mut() {
            Some(last) if span.start <= last.end => last.end = last.end.max(span.end),
            _ => self.spans.push(span),
        }
    }
}

impl Patterns {
    /// `sorted`: in order, each once, none of them empty.
    pub(super) fn new(sorted: Vec<Vec<u8>>) -> Result<Self, BuildError> {
        let bytes: usize = sorted.iter().map(Vec::len).sum();
        let kind = if bytes <= FAST {
            AhoCorasickKind::DFA
        } else {
            AhoCorasickKind::ContiguousNFA
        };
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .kind(Some(kind))
            .build(&sorted)?;
        let mut first = [false; 256];
        for pattern in &sorted {
            first[usize::from(pattern[0])] = true;
        }
        Ok(Self {
            automaton,
            first,
            longest: sorted.iter().map(Vec::len).max().unwrap_or(0),
            sorted,
        })
    }

    /// Looks at a text. `digits` is how many digits of base64 stand directly before it.
    pub(super) fn cover(&self, text: &[u8], digits: usize) -> Cover {
        let mut cover = Cover {
            spans: Vec::new(),
            live: self.live(text),
        };
        let Some(joined) = Joined::new(text, digits) else {
            self.found(text).for_each(|span| cover.add(span));
            return cover;
        };
        cover.live = cover.live.min(joined.start_of(self.live(&joined.text)));
        let over_ends = self.found(&joined.text).map(|span| joined.original(&span));
        let mut spans: Vec<_> = self.found(text).chain(over_ends).collect();
        spans.sort_by_key(|span| span.start);
        spans.into_iter().for_each(|span| cover.add(span));
        cover
    }

    /// What patterns are found: at each place at which any begins the longest one, since the
    /// shorter ones lie in it.
    fn found<'t>(&'t self, text: &'t [u8]) -> impl Iterator<Item = Range<usize>> + 't {
        let mut from = 0;
        std::iter::from_fn(move || {
            let found = self.automaton.find(Input::new(text).range(from..))?;
            from = found.start() + 1;
            Some(found.range())
        })
    }

    /// Where the longest end of a text begins that a pattern goes on from.
    fn live(&self, text: &[u8]) -> usize {
        let window = text.len().saturating_sub(self.longest.saturating_sub(1));
        (window..text.len())
            .find(|at| self.first[usize::from(text[*at])] && self.goes_on(&text[*at..]))
            .unwrap_or(text.len())
    }

    /// Whether a pattern begins so and is longer.
    fn goes_on(&self, start: &[u8]) -> bool {
        let at = self.sorted.partition_point(|pattern| pattern.as_slice() <= start);
        self.sorted.get(at).is_some_and(|pattern| pattern.starts_with(start))
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
