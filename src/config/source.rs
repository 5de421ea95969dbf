//! Where values come from: texts, places in them, and the order of the layers.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

/// The layers, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rank {
    /// Built in.
    Default,
    /// `devshell.toml`.
    File,
    /// The chosen profile of it.
    Profile,
    /// The environment.
    Environment,
    /// `--set` and the other flags.
    CommandLine,
}

/// Who holds a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// The embedded defaults.
    Default,
    /// A file: its path, and the path as messages show it.
    File {
        /// Absolute.
        path: PathBuf,
        /// Relative to the current folder where it lies below it.
        shown: String,
    },
    /// A variable of this name.
    Variable(String),
    /// A flag, as `--backend` or `--set vm.backend`.
    Flag(String),
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { shown, .. } => f.write_str(shown),
            Self::Variable(name) | Self::Flag(name) => f.write_str(name),
        }
    }
}

/// A text that values are read from: a whole file, or the value of a variable or a flag.
#[derive(Debug, PartialEq, Eq)]
pub struct SourceText {
    /// Who holds it.
    pub holder: Holder,
    /// The text.
    pub text: String,
    /// Relative paths in it belong here; absolute.
    pub base: PathBuf,
}

/// A stretch of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The text.
    pub source: Arc<SourceText>,
    /// Bytes of it.
    pub span: Range<usize>,
}

impl Place {
    /// Line and column, both from 1; the column counts characters.
    #[must_use]
    pub fn line_and_column(&self) -> (usize, usize) {
        let before = &self.source.text[..self.start()];
        let line = before.matches('\n').count() + 1;
        let column = before[before.rfind('\n').map_or(0, |at| at + 1)..].chars().count() + 1;
        (line, column)
    }

    /// The line that holds the place, without its end, and where the span lies in it.
    pub(super) fn line(&self) -> (&str, Range<usize>) {
        let text = &self.source.text;
        let start = self.start();
        let first = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line = text[first..].split('\n').next().unwrap_or_default();
        let line = line.strip_suffix('\r').unwrap_or(line);
        let from = (start - first).min(line.len());
        let to = floor(text, self.span.end).saturating_sub(first).clamp(from, line.len());
        (line, from..to)
    }

    fn start(&self) -> usize {
        floor(&self.source.text, self.span.start)
    }
}

/// The nearest character boundary at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.source.holder)?;
        if let Holder::File { .. } = self.source.holder {
            let (line, column) = self.line_and_column();
            write!(f, ":{line}:{column}")?;
        }
        Ok(())
    }
}

/// One value that a key was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// By which layer.
    pub rank: Rank,
    /// Where in it.
    pub place: Place,
    /// The value, as TOML writes it.
    pub value: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str, span: Range<usize>) -> Place {
        let holder = Holder::File {
            path: "/w/devshell.toml".into(),
            shown: "devshell.toml".into(),
        };
        let source = SourceText {
            holder,
            text: text.into(),
            base: "/w".into(),
        };
        Place {
            source: Arc::new(source),
            span,
        }
    }

    #[test]
    fn columns_count_characters_and_lines_end_before_crlf() {
        let place = place("a = 1\r\n\"ü\" = 2\r\n", 14..15);
        assert_eq!(place.to_string(), "devshell.toml:2:7");
        assert_eq!(place.line(), ("\"ü\" = 2", 7..8));
    }

    #[test]
    fn a_place_at_the_end_of_the_text_is_on_its_last_line() {
        assert_eq!(place("a = ", 4..4).to_string(), "devshell.toml:1:5");
        assert_eq!(place("", 0..0).to_string(), "devshell.toml:1:1");
        assert_eq!(place("ü", 1..9).line(), ("ü", 0..2));
    }
}
