//! The last lines of a tool's output as people can be shown them.

use unicode_width::UnicodeWidthChar as _;

/// The last bytes of a stream: enough for the lines that are shown after a failure.
#[derive(Debug, Default)]
pub(super) struct Tail {
    bytes: Vec<u8>,
    /// Whether something came before them.
    cut: bool,
}

impl Tail {
    const KEPT: usize = 16 * 1024;

    pub(super) fn push(&mut self, bytes: &[u8]) {
        if bytes.len() >= Self::KEPT {
            self.cut |= !self.bytes.is_empty() || bytes.len() > Self::KEPT;
            self.bytes.clear();
            self.bytes.extend_from_slice(&bytes[bytes.len() - Self::KEPT..]);
            return;
        }
        self.bytes.extend_from_slice(bytes);
        // Not at each push, so that many small ones do not move all of it each time.
        if self.bytes.len() > 2 * Self::KEPT {
            self.bytes.drain(..self.bytes.len() - Self::KEPT);
            self.cut = true;
        }
    }

    /// The last `most` lines that hold something, oldest first, without what is no text.
    pub(super) fn lines(&self, most: usize) -> Vec<String> {
        let mut lines = self.newest_first().take(most).collect::<Vec<_>>();
        lines.reverse();
        lines
    }

    /// The last line that holds something.
    pub(super) fn last_line(&self) -> Option<String> {
        self.newest_first().next()
    }

    /// All that is kept as text: whole lines, where something came before them, as they were
    /// printed but for escape sequences. What a progress bar overwrote has lines of its own.
    pub(super) fn text(&self) -> Text {
        let over = self.bytes.len().saturating_sub(Self::KEPT);
        let (kept, cut) = (&self.bytes[over..], self.cut || over > 0);
        let first = kept.iter().position(|byte| *byte == b'\n');
        let start = match first {
            Some(first) if cut && first + 1 < kept.len() => first + 1,
            _ => 0,
        };
        let text = String::from_utf8_lossy(&kept[start..]);
        let text = anstream::adapter::strip_str(&text).to_string();
        Text {
            text: text.replace("\r\n", "\n").replace('\r', "\n"),
            cut,
        }
    }

    fn newest_first(&self) -> impl Iterator<Item = String> {
        let mut rest = Some(self.bytes.as_slice());
        std::iter::from_fn(move || {
            let bytes = rest?;
            let Some(end) = bytes.iter().rposition(|byte| *byte == b'\n') else {
                rest = None;
                return Some((bytes, true));
            };
            rest = Some(&bytes[..end]);
            Some((&bytes[end + 1..], false))
        })
        // The first line may have lost its beginning, and half an escape sequence with it.
        .filter(|(line, first)| !(*first && self.cut && line.len() < self.bytes.len()))
        .map(|(line, _)| clean(line))
        .filter(|line| !line.trim().is_empty())
    }
}

/// The end of a stream as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Text {
    pub(super) text: String,
    /// Whether something that came before is left out.
    pub(super) cut: bool,
}

/// One line as text that cannot do anything to a terminal: no escape sequences, no control
/// characters, nothing that turns the direction of reading. Of what was overwritten on the
/// line (progress bars) the last state is shown.
pub(super) fn clean(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let text = anstream::adapter::strip_str(&text).to_string();
    let last = text
        .split('\r')
        .rfind(|state| !state.trim().is_empty())
        .unwrap_or_default();
    let mut clean = String::with_capacity(last.len());
    for char in last.trim_end().chars() {
        match char {
            '\t' => clean.push_str("    "),
            char if char.is_control() || turns_text(char) => {}
            char => clean.push(char),
        }
    }
    clean
}

fn turns_text(char: char) -> bool {
    matches!(char, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// How many columns a text takes on a terminal.
pub(super) fn width(text: &str) -> usize {
    text.chars().map(|char| char.width().unwrap_or(0)).sum()
}

/// The beginning of a text that fits into `columns`; what was cut off shows as `…`.
pub(super) fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut cut = String::new();
    let mut room = columns.saturating_sub(1);
    for char in text.chars() {
        let Some(left) = room.checked_sub(char.width().unwrap_or(0)) else {
            break;
        };
        room = left;
        cut.push(char);
    }
    if columns > 0 {
        cut.push('…');
    }
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_without_escape_sequences_and_controls() {
        assert_eq!(
            clean(b"\x1b[1;31merror\x1b[0m: \x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\ \x07\x08end\x7f"),
            "error: link end"
        );
        assert_eq!(clean(b"a\tb\xff\x00"), "a    b\u{fffd}");
        assert_eq!(clean("safe \u{202e}txt.exe \u{9b}31m".as_bytes()), "safe txt.exe 31m");
        assert_eq!(clean(b" 10%\r 50%\r100%\r\n".trim_ascii_end()), "100%");
        assert_eq!(clean(b" 10%\r 50%\r100% done\r        \r"), "100% done");
    }

    #[test]
    fn an_unfinished_sequence_hides_no_more_than_its_line() {
        let mut tail = Tail::default();
        tail.push(b"one\n\x1b]0;title\ntwo\n\n   \nthree");
        assert_eq!(tail.lines(20), ["one", "two", "three"]);
        assert_eq!(tail.lines(2), ["two", "three"]);
        assert_eq!(tail.last_line().as_deref(), Some("three"));
    }

    #[test]
    fn only_whole_lines_of_the_end_are_kept_however_they_came() {
        let text: String = (0..20_000).map(|n| format!("line {n}\n")).collect();
        for size in [1, 7, 4096, 1 << 20] {
            let mut tail = Tail::default();
            for piece in text.as_bytes().chunks(size) {
                tail.push(piece);
                assert!(tail.bytes.len() <= 2 * Tail::KEPT);
            }
            assert_eq!(tail.lines(2), ["line 19998", "line 19999"], "{size}");
            let all = tail.lines(usize::MAX);
            let from: usize = all[0].strip_prefix("line ").unwrap().parse().unwrap();
            assert_eq!(all.len(), 20_000 - from, "no half line: {}", all[0]);
        }
    }

    #[test]
    fn the_whole_text_keeps_blank_lines_and_says_when_it_is_not_whole() {
        let mut tail = Tail::default();
        tail.push(b"\x1b[31ma\x1b[0m\r\n\n  b 1%\r2%\nend");
        let text = |text: &str, cut| Text {
            text: text.to_owned(),
            cut,
        };
        assert_eq!(tail.text(), text("a\n\n  b 1%\n2%\nend", false));
        for _ in 0..3 {
            tail.push(&[b'x'; Tail::KEPT - 1]);
            tail.push(b"\nlast\n");
            assert_eq!(tail.text(), text("last\n", true));
        }
        assert_eq!(Tail::default().text(), text("", false));
    }

    #[test]
    fn one_endless_line_shows_its_end() {
        let mut tail = Tail::default();
        tail.push(&[b'x'; 100_000]);
        tail.push(b"end");
        assert!(tail.last_line().unwrap().ends_with("xend"));
    }

    #[test]
    fn texts_are_cut_by_columns_not_by_bytes() {
        assert_eq!(cut("hello", 5), "hello");
        assert_eq!(cut("hello!", 5), "hell…");
        assert_eq!(cut("日本語", 6), "日本語");
        assert_eq!(cut("日本語", 5), "日本…");
        assert_eq!(cut("日本語", 4), "日…");
        assert_eq!(cut("x", 0), "");
        assert_eq!(width("é日"), 3);
    }
}
