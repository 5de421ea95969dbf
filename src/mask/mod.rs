//! Hiding known values in whatever is shown: `***` in their place, in each form in which tools
//! commonly print them.
//!
//! Every byte that belongs to an occurrence of a form is hidden, also where occurrences overlap;
//! a run of hidden bytes becomes one `***`, so that neither the length nor the number of what
//! stood there is told. A text and a stream that is cut anywhere come out the same.

mod base64;
mod cover;
mod escapes;
mod forms;
mod patterns;
mod stream;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use cover::Cover;
use patterns::Patterns;

pub use stream::MaskStream;

/// What stands in the place of a value.
pub const STARS: &str = "***";

/// The fewest bytes, blanks around them aside, of a value that can be hidden. Fewer are found
/// all over any output: it would be blotted out, and the blots would tell the value.
pub const SHORTEST: usize = 4;

/// The values to hide. The default hides nothing and costs nothing. A clone shares them.
#[derive(Clone, Default)]
pub struct Mask {
    patterns: Option<Arc<Patterns>>,
}

impl Mask {
    /// Hides these values, and each line of those that have several. What is shorter than
    /// [`SHORTEST`] is not hidden.
    #[must_use]
    pub fn new<'v>(values: impl IntoIterator<Item = &'v [u8]>) -> Self {
        let forms = forms::forms(values);
        Self {
            patterns: (!forms.is_empty()).then(|| Arc::new(Patterns::new(forms))),
        }
    }

    /// A text without the values.
    #[must_use]
    pub fn text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let Some(patterns) = &self.patterns else {
            return Cow::Borrowed(text);
        };
        match Cover::new(patterns, text.as_bytes(), 0).spans.as_slice() {
            [] => Cow::Borrowed(text),
            spans => Cow::Owned(starred(text, spans)),
        }
    }

    /// As [`Self::text`], of a text that may have been cut: the beginning of a value at its end is
    /// hidden, too.
    #[must_use]
    pub fn cut_text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let Some(patterns) = &self.patterns else {
            return Cow::Borrowed(text);
        };
        let mut cover = Cover::new(patterns, text.as_bytes(), 0);
        if text.len() - cover.live >= SHORTEST {
            // What begins in it lies in it.
            cover.spans.retain(|span| span.start < cover.live);
            cover.add(cover.live..text.len());
        }
        match cover.spans.as_slice() {
            [] => Cow::Borrowed(text),
            spans => Cow::Owned(starred(text, spans)),
        }
    }

    /// A stream of bytes without the values.
    #[must_use]
    pub fn stream(&self) -> MaskStream {
        MaskStream::new(self.patterns.clone())
    }
}

/// Says whether there is anything to hide, and nothing of it.
impl fmt::Debug for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = self.patterns.as_ref().map_or("nothing", |_| STARS);
        f.debug_tuple("Mask").field(&what).finish()
    }
}

fn starred(text: &str, spans: &[std::ops::Range<usize>]) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    for span in spans {
        out.extend_from_slice(&text.as_bytes()[at..span.start]);
        out.extend_from_slice(STARS.as_bytes());
        at = span.end;
    }
    out.extend_from_slice(&text.as_bytes()[at..]);
    // A value that is no text may end inside of a character.
    String::from_utf8(out).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

#[cfg(test)]
mod tests;
