//! Colours of devshell's own words.

use anstyle::{AnsiColor, Style};

use super::said::Tone;

/// Puts colours on what is said, or does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Paint {
    on: bool,
}

impl Paint {
    /// With colours or without.
    pub(super) fn new(on: bool) -> Self {
        Self { on }
    }

    /// A whole line of devshell's own.
    pub(super) fn line(self, tone: Tone, text: &str) -> String {
        if !self.on {
            return format!("devshell: {text}");
        }
        let prefix = self.word(Tone::Faint, "devshell:");
        // Of a long message only the word is in colour that says what it is.
        let text = match text.split_once(": ") {
            Some((word @ ("error" | "warning"), rest)) => format!("{}: {rest}", self.word(tone, word)),
            _ => self.word(tone, text),
        };
        format!("{prefix} {text}")
    }

    /// A piece of a line.
    pub(super) fn word(self, tone: Tone, text: &str) -> String {
        let style = style(tone);
        if !self.on || style == Style::new() {
            return text.to_owned();
        }
        format!("{}{text}{}", style.render(), style.render_reset())
    }
}

fn style(tone: Tone) -> Style {
    let colour = |colour: AnsiColor| Style::new().fg_color(Some(colour.into()));
    match tone {
        Tone::Plain => Style::new(),
        Tone::Good => colour(AnsiColor::Green),
        Tone::Bad => colour(AnsiColor::Red).bold(),
        Tone::Caution => colour(AnsiColor::Yellow),
        Tone::Faint => Style::new().dimmed(),
        Tone::Head => Style::new().bold(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_that_says_what_it_is_has_the_colour() {
        let paint = Paint::new(true);
        assert_eq!(
            paint.line(Tone::Bad, "error: a: b"),
            "\x1b[2mdevshell:\x1b[0m \x1b[1m\x1b[31merror\x1b[0m: a: b"
        );
        assert_eq!(paint.line(Tone::Plain, "text"), "\x1b[2mdevshell:\x1b[0m text");
        assert_eq!(Paint::default().line(Tone::Bad, "error: a"), "devshell: error: a");
    }
}
