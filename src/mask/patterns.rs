//! The forms of values, and where one of them stands.
//!
//! Most of a text is not looked at: three bytes tell how far it is at least to the next place at
//! which a form may begin (after Wu and Manber, "A fast algorithm for multi-pattern searching",
//! 1994), which takes longer steps the longer the shortest form is, and hardly shorter ones for
//! many forms. A list of the forms in order does the rest, and also tells which end of a text a form
//! goes on from.

use std::ops::Range;

use super::SHORTEST;

/// The bytes that tell how far to go.
type Block = [u8; 3];
/// Steps are no longer, so that they are bytes.
const LONGEST_STEP: usize = u8::MAX as usize;

/// What is searched for.
pub(super) struct Patterns {
    /// In order, each once.
    sorted: Vec<Vec<u8>>,
    /// For each the longest other one that it begins with.
    shorter: Vec<Option<usize>>,
    steps: Steps,
    /// Whether one begins with these two bytes.
    starts: Vec<bool>,
    longest: usize,
}

impl Patterns {
    /// `sorted`: in order, each once, none of them shorter than [`SHORTEST`].
    pub(super) fn new(sorted: Vec<Vec<u8>>) -> Self {
        let mut starts = vec![false; 1 << 16];
        for pattern in &sorted {
            starts[start(pattern)] = true;
        }
        let mut shorter: Vec<Option<usize>> = Vec::with_capacity(sorted.len());
        for (index, pattern) in sorted.iter().enumerate() {
            // Whatever a pattern begins with stands directly before it, or begins that.
            let mut before = index.checked_sub(1);
            while let Some(other) = before.filter(|other| !pattern.starts_with(&sorted[*other])) {
                before = shorter[other];
            }
            shorter.push(before);
        }
        Self {
            steps: Steps::new(&sorted),
            longest: sorted.iter().map(Vec::len).max().unwrap_or(0),
            sorted,
            shorter,
            starts,
        }
    }

    /// What is found: at each place at which any pattern begins the longest one, since the shorter
    /// ones lie in it.
    pub(super) fn found<'t>(&'t self, text: &'t [u8]) -> impl Iterator<Item = Range<usize>> + 't {
        let mut from = 0;
        std::iter::from_fn(move || {
            while let Some(at) = self.steps.next(text, from) {
                from = at + 1;
                if let Some(length) = self.longest_of(&text[at..]) {
                    return Some(at..at + length);
                }
            }
            None
        })
    }

    /// Where the longest end of a text begins that a pattern goes on from.
    pub(super) fn live(&self, text: &[u8]) -> usize {
        let window = text.len().saturating_sub(self.longest.saturating_sub(1));
        (window..text.len())
            .find(|at| {
                let end = &text[*at..];
                (end.len() < 2 || self.starts[start(end)]) && self.goes_on(end)
            })
            .unwrap_or(text.len())
    }

    /// The length of the longest pattern that a text begins with.
    fn longest_of(&self, text: &[u8]) -> Option<usize> {
        // The last one that is not behind the text either is it or begins with it.
        let behind = self.sorted.partition_point(|pattern| pattern.as_slice() <= text);
        let mut pattern = behind.checked_sub(1);
        while let Some(other) = pattern.filter(|other| !text.starts_with(&self.sorted[*other])) {
            pattern = self.shorter[other];
        }
        pattern.map(|pattern| self.sorted[pattern].len())
    }

    /// Whether a pattern begins so and is longer.
    fn goes_on(&self, start: &[u8]) -> bool {
        let behind = self.sorted.partition_point(|pattern| pattern.as_slice() <= start);
        self.sorted
            .get(behind)
            .is_some_and(|pattern| pattern.starts_with(start))
    }
}

/// The first two bytes as one number.
fn start(text: &[u8]) -> usize {
    usize::from(text[0]) << 8 | usize::from(text[1])
}

/// How far it is from a block of bytes to the next place at which a pattern may begin.
struct Steps {
    /// By the block's place; 0: this block may be the last of the window that a pattern begins with.
    steps: Vec<u8>,
    shift: u32,
    /// The length of the window: as many bytes as every pattern has.
    window: usize,
}

impl Steps {
    fn new(patterns: &[Vec<u8>]) -> Self {
        let shortest = patterns.iter().map(Vec::len).min().unwrap_or(SHORTEST);
        let window = shortest.min(LONGEST_STEP);
        // Small enough for fast memory, large enough for few blocks to share a place.
        let places = (patterns.len() * window * 4)
            .next_power_of_two()
            .clamp(1 << 14, 1 << 20);
        let longest = window + 1 - size_of::<Block>();
        let mut steps = Self {
            steps: vec![byte(longest); places],
            shift: 32 - places.ilog2(),
            window,
        };
        for pattern in patterns {
            for (at, block) in pattern[..window].array_windows().enumerate() {
                let place = steps.place(*block);
                let step = &mut steps.steps[place];
                *step = byte(longest - 1 - at).min(*step);
            }
        }
        steps
    }

    /// The next place at which a pattern may begin.
    fn next(&self, text: &[u8], from: usize) -> Option<usize> {
        let mut end = from + self.window;
        while let Some(block) = text.get(..end).and_then(|text| text.last_chunk()) {
            match self.steps[self.place(*block)] {
                0 => return Some(end - self.window),
                step => end += usize::from(step),
            }
        }
        None
    }

    /// The upper bits of a product with an odd number (2^32 divided by the golden ratio), in which
    /// every bit of the block has a part.
    fn place(&self, [a, b, c]: Block) -> usize {
        let product = u32::from_le_bytes([a, b, c, 0]).wrapping_mul(0x9e37_79b1);
        (product >> self.shift) as usize
    }
}

fn byte(step: usize) -> u8 {
    u8::try_from(step).unwrap_or(u8::MAX)
}
