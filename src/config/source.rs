//! Where values come from: texts, places in them, and the order of the layers.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

/// The layers, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rank {
    /// Built in.
    Default,
    /// The user's file.
    User,
    /// `devshell.toml`.
    File,
    /// The chosen profile of it.
    Profile,
    /// The environment.
    Environment,
    /// `--set` and the other flags.
    CommandLine,
}

impl Rank {
    /// The layer in one word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::User => "user",
            Self::File => "file",
            Self::Profile => "profile",
            Self::Environment => "environment",
            Self::CommandLine => "command_line",
        }
    }
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
#[derive(Debug)]
pub struct SourceText {
    /// Who holds it.
    pub holder: Holder,
    /// The text.
    pub text: String,
    /// Relative paths in it belong here; absolute.
    pub base: PathBuf,
    /// Where its lines start, once somebody asked: a long file has many places.
    lines: OnceLock<Vec<usize>>,
}

impl SourceText {
    pub(super) fn new(holder: Holder, text: impl Into<String>, base: impl Into<PathBuf>) -> Self {
        Self {
            holder,
            text: text.into(),
            base: base.into(),
            lines: OnceLock::new(),
        }
    }

    /// The line, from 0, that holds this byte, and where it starts.
    fn line_of(&self, at: usize) -> (usize, usize) {
        let starts = self.lines.get_or_init(|| {
            let ends = self.text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
            std::iter::once(0).chain(ends.map(|(at, _)| at + 1)).collect()
        });
        let line = starts.partition_point(|start| *start <= at).saturating_sub(1);
        (line, starts[line])
    }
}

impl PartialEq for SourceText {
    fn eq(&self, other: &Self) -> bool {
        (&self.holder, &self.text, &self.base) == (&other.holder, &other.text, &other.base)
    }
}

impl Eq for SourceText {}

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
        let start = self.start();
        let (line, first) = self.source.line_of(start);
        let column = self.source.text[first..start].chars().count();
        (line + 1, column + 1)
    }

    /// The line that holds the place, without its end, and where the span lies in it.
    pub(super) fn line(&self) -> (&str, Range<usize>) {
        let text = &self.source.text;
        let start = self.start();
        let (_, first) = self.source.line_of(start);
        let line = text[first..].split('\n').next().unwrap_or_default();
        let line = line.strip_suffix('\r').unwrap_or(line);
        let from = (start - first).min(line.len());
        let to = floor(text, self.span.end).saturating_sub(first).clamp(from, line.len());
        (line, from..to)
    }

    /// Whether it is a place in a file, and not a value of its own.
    pub(super) fn is_in_file(&self) -> bool {
        matches!(self.source.holder, Holder::File { .. })
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
    /// The value, as TOML writes it in one line; `None` for what looks like a secret.
    pub value: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str, span: Range<usize>) -> Place {
        let holder = Holder::File {
            path: "/w/devshell.toml".into(),
            shown: "devshell.toml".into(),
        };
        Place {
            source: Arc::new(SourceText::new(holder, text, "/w")),
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
