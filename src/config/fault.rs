//! One thing that is wrong with a config, and how it is shown.

use std::fmt;
use std::ops::Range;

use anstyle::{AnsiColor, Effects, Style};
use unicode_width::UnicodeWidthChar;

use super::secret;
use super::secret_table;
use super::source::{Holder, Place};

/// Lines up to this many columns are shown whole.
const WIDEST: usize = 200;
/// What is shown of longer ones, before and after the start of the fault.
const BEFORE: usize = 60;
const AFTER: usize = 100;

/// One thing that is wrong.
///
/// `Display` shows it over several lines, without a newline at the end: what, where, the
/// source line with the place marked, help.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong, in one line.
    pub message: String,
    /// Where; `None` when it is nowhere in particular.
    pub place: Option<Place>,
    /// How to mend it, best first.
    pub help: Vec<String>,
    /// The key whose value is at fault.
    pub key: Option<String>,
}

impl Fault {
    /// A fault at a place.
    pub(super) fn new(message: impl Into<String>, place: Place) -> Self {
        Self {
            message: message.into(),
            place: Some(place),
            help: Vec::new(),
            key: None,
        }
    }

    /// With one more line of help.
    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help.push(help.into());
        self
    }

    /// With help that there may not be.
    pub(super) fn maybe_help(mut self, help: Option<String>) -> Self {
        self.help.extend(help);
        self
    }

    /// As a fault of this key's value.
    pub(super) fn of(mut self, key: &str) -> Self {
        self.key = Some(key.to_owned());
        self
    }
}

/// What the parts of a fault are painted with.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Paint {
    error: Style,
    message: Style,
    frame: Style,
    mark: Style,
    help: Style,
}

impl Paint {
    /// Nothing.
    pub(super) const PLAIN: Self = Self {
        error: Style::new(),
        message: Style::new(),
        frame: Style::new(),
        mark: Style::new(),
        help: Style::new(),
    };

    /// As rustc and cargo paint theirs.
    pub(super) const COLOURED: Self = Self {
        error: AnsiColor::BrightRed.on_default().effects(Effects::BOLD),
        message: Style::new().effects(Effects::BOLD),
        frame: AnsiColor::BrightBlue.on_default().effects(Effects::BOLD),
        mark: AnsiColor::BrightRed.on_default().effects(Effects::BOLD),
        help: AnsiColor::BrightCyan.on_default().effects(Effects::BOLD),
    };
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, Paint::PLAIN)
    }
}

impl Fault {
    pub(super) fn write(&self, f: &mut fmt::Formatter<'_>, paint: Paint) -> fmt::Result {
        let Paint {
            error,
            message,
            frame,
            mark,
            help: helping,
        } = paint;
        write!(f, "{error}error{error:#}{message}: {}{message:#}", clean(&self.message))?;
        let mut gutter = String::from(" ");
        if let Some(place) = &self.place {
            let in_file = place.is_in_file();
            if in_file && place.source.text.is_empty() {
                // The file as a whole is at fault: there is nothing to show of it.
                write!(
                    f,
                    "\n{gutter}{frame}-->{frame:#} {}",
                    clean(&place.source.holder.to_string())
                )?;
            } else {
                let (line, marked) = place.line();
                let number = match in_file {
                    true => place.line_and_column().0.to_string(),
                    false => String::new(),
                };
                gutter = " ".repeat(number.len() + 1);
                let place = clean(&place.to_string());
                write!(f, "\n{gutter}{frame}-->{frame:#} {place}\n{gutter}{frame}|{frame:#}")?;
                let (shown, indent, width) = window(&self.shown(line), marked);
                let numbered = gutter.len() - 1;
                write!(f, "\n{frame}{number:>numbered$} |{frame:#} {shown}")?;
                let (indent, marks) = (" ".repeat(indent), "^".repeat(width.max(1)));
                write!(f, "\n{gutter}{frame}|{frame:#} {indent}{mark}{marks}{mark:#}")?;
            }
        }
        for help in &self.help {
            write!(
                f,
                "\n{gutter}{frame}={frame:#} {helping}help{helping:#}: {}",
                clean(help)
            )?;
        }
        Ok(())
    }

    /// The line as it may be shown. A variable or a flag is a value without the name before it.
    fn shown(&self, line: &str) -> String {
        let in_file = self.place.as_ref().is_some_and(Place::is_in_file);
        if self.key.as_deref().is_some_and(secret_table::is_part) {
            return match line.starts_with('{') || in_file {
                true => secret::blot_secrets(line),
                false => "*".repeat(line.len()),
            };
        }
        let named = self.place.as_ref().is_some_and(|place| match &place.source.holder {
            Holder::Variable(name) => secret::name_hides(name),
            // Of a wrong key, the flag's text has name and value.
            Holder::Flag(flag) => secret::name_hides(flag) && !line.contains('='),
            Holder::Default | Holder::File { .. } => false,
        });
        if named {
            "*".repeat(line.len())
        } else {
            secret::blot(line)
        }
    }
}

/// A line as it is printed, and column and width of what is marked in it.
fn window(line: &str, marked: Range<usize>) -> (String, usize, usize) {
    let columns = |text: &str| text.chars().map(width).sum::<usize>();
    let total = columns(line);
    let start = columns(&line[..marked.start]);
    let (from, to) = if total <= WIDEST {
        (0, total)
    } else {
        (start.saturating_sub(BEFORE), start + AFTER)
    };

    let mut shown = String::new();
    let (mut indent, mut marked_width, mut column) = (0, 0, 0);
    if from > 0 {
        shown.push_str("...");
        indent = 3;
    }
    for (at, char) in line.char_indices() {
        let here = column;
        column += width(char);
        if here < from {
            continue;
        }
        if column > to {
            shown.push_str("...");
            break;
        }
        push(&mut shown, char);
        if at < marked.start {
            indent += width(char);
        } else if at < marked.end {
            marked_width += width(char);
        }
    }
    (shown, indent, marked_width)
}

/// Columns of a character as [`push`] prints it.
fn width(char: char) -> usize {
    match char {
        '\t' => 4,
        _ => char.width().unwrap_or(1),
    }
}

/// Tabs as blanks, so that the mark below lines up; no control characters, so that a file
/// cannot talk to the terminal.
fn push(out: &mut String, char: char) {
    match char {
        '\t' => out.push_str("    "),
        char if char.is_control() => out.push(char::REPLACEMENT_CHARACTER),
        char => out.push(char),
    }
}

/// What is shown of a text that quotes a value, at its start and at its end.
const HEAD: usize = 500;
const TAIL: usize = 100;

/// A text of ours that may quote somebody else's, in one line: no control characters, no
/// secrets, and of a long value only the start and the end.
pub(super) fn clean(text: &str) -> String {
    let mut out = String::new();
    let length = text.chars().count();
    for (at, char) in secret::blot(text).chars().enumerate() {
        if length <= HEAD + TAIL || at < HEAD || at + TAIL >= length {
            match char {
                '\n' => out.push_str("\\n"),
                char => push(&mut out, char),
            }
        } else if at == HEAD {
            out.push_str(" ... ");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::source::SourceText;

    fn fault(text: &str, wrong: &str) -> String {
        let start = text.find(wrong).unwrap();
        let holder = Holder::File {
            path: "/w/devshell.toml".into(),
            shown: "devshell.toml".into(),
        };
        let source = Arc::new(SourceText::new(holder, text, "/w"));
        let place = Place {
            source,
            span: start..start + wrong.len(),
        };
        Fault::new("wrong", place).help("mend it").to_string()
    }

    /// Columns of the marked text and of the mark must be the same.
    fn mark_is_below(shown: &str, wrong: &str) {
        let lines: Vec<&str> = shown.lines().collect();
        let before = &lines[3][..lines[3].find(wrong).unwrap()];
        let mark = lines[4].find('^').unwrap();
        assert_eq!(before.chars().map(width).sum::<usize>(), mark, "{shown}");
    }

    #[test]
    fn the_mark_lines_up_behind_tabs_and_wide_characters() {
        let shown = fault("\t\"日本\" = 'é' # x\r\n", "'é'");
        mark_is_below(&shown, "'é'");
        insta::assert_snapshot!(shown, @r#"
        error: wrong
          --> devshell.toml:1:9
          |
        1 |     "日本" = 'é' # x
          |              ^^^
          = help: mend it
        "#);
    }

    #[test]
    fn of_a_long_line_a_window_is_shown() {
        let text = format!("a = [{}\"WRONG\", {}]", "\"x\", ".repeat(200), "\"y\", ".repeat(200));
        let shown = fault(&text, "\"WRONG\"");
        mark_is_below(&shown, "\"WRONG\"");
        let line = shown.lines().nth(3).unwrap();
        assert!(
            line.len() < 200 && line.ends_with("...") && line.starts_with("1 | ..."),
            "{line}"
        );
    }

    #[test]
    fn of_a_value_over_several_lines_the_first_is_marked() {
        let shown = fault("a = [\n 1,\n 2,\n]\n", "[\n 1,\n 2,\n]");
        assert!(shown.contains("1 | a = [\n  |     ^\n"), "{shown}");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert!(!fault("a = \u{1b}[31m WRONG", "WRONG").contains('\u{1b}'));
    }
}
