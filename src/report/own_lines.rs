//! How devshell's own lines look.

use std::time::SystemTime;

/// How devshell's own lines look; tools' bytes are never touched by it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OwnLines {
    /// With the time in front.
    pub(super) timestamps: bool,
    /// Without anything in them that a CI system would take for a command.
    pub(super) harmless: bool,
}

impl OwnLines {
    /// With the time (RFC 3339, in UTC) in them, or without.
    #[must_use]
    pub fn new(timestamps: bool) -> Self {
        Self {
            timestamps,
            ..Self::default()
        }
    }

    /// What stands behind `devshell: `, by which scripts find these lines; so the time comes
    /// there, too.
    pub(super) fn text(self, text: &str) -> String {
        let text = if self.harmless { harmless(text) } else { text.to_owned() };
        if self.timestamps {
            let now = humantime::format_rfc3339_millis(SystemTime::now());
            format!("{now} {text}")
        } else {
            text
        }
    }
}

/// A text of devshell's own that quotes somebody else's (names of files, command lines, what a
/// tool has written), so that no line of it is a command to a CI system: GitHub takes `::` at the
/// start of a line and `##[` anywhere in it, GitLab an escape sequence.
pub(super) fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        // GitHub's runner trims what any of the world's scripts has for a blank.
        if line.trim_start().starts_with("::") {
            out.push_str("| ");
        }
        for char in line.replace("##[", "# #[").chars() {
            match char {
                '\n' | '\t' => out.push(char),
                char if char.is_control() => out.extend(char.escape_default()),
                char => out.push(char),
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_holds_a_command_afterwards() {
        assert_eq!(harmless("plain: a::b #[x]"), "plain: a::b #[x]");
        assert_eq!(harmless("a\n \u{a0}::error::x\n"), "a\n|  \u{a0}::error::x\n");
        assert_eq!(harmless("a ##[add-mask]x ###[y]"), "a # #[add-mask]x ## #[y]");
        assert_eq!(harmless("a\r::error::x"), "a\\r::error::x");
        assert_eq!(
            harmless("\u{1b}[0Ksection_end:1:x\r\u{1b}[0K"),
            "\\u{1b}[0Ksection_end:1:x\\r\\u{1b}[0K"
        );
    }

    #[test]
    fn a_time_stands_in_front() {
        assert_eq!(OwnLines::new(false).text("hello"), "hello");
        let text = OwnLines::new(true).text("hello");
        let time = text.strip_suffix(" hello").unwrap();
        let then = humantime::parse_rfc3339(time).unwrap();
        assert!(
            SystemTime::now().duration_since(then).unwrap().as_secs() < 600,
            "{time}"
        );
        assert_eq!(time.len(), "2026-11-23T20:30:12.345Z".len());
    }
}
