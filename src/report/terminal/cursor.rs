//! Where tools have left the cursor of the terminal.

/// Follows what is written to a terminal, as far as is needed to know whether something can be
/// shown below it for a while and taken away again without a trace.
#[derive(Debug)]
pub(super) struct Cursor {
    state: State,
    /// The parameters of the control sequence that is being read.
    params: Vec<u8>,
    /// The line that the cursor is on holds nothing.
    on_empty_line: bool,
    in_first_column: bool,
    /// Colours and the like that are on, a bit a kind.
    attributes: u32,
    /// The cursor was moved to what is on the screen already: a tool has a display of its own
    /// there, and gets the screen to itself. A view would also make the terminal scroll, and the
    /// tool could not come back to lines that are above it then.
    draws_itself: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Text,
    Escape,
    /// An escape sequence with bytes before its last one.
    Intermediate,
    Control,
    /// A title, a link or the like, up to its end.
    String,
    StringEscape,
}

/// Longer parameters are none that matter here.
const MOST_PARAMS: usize = 64;

impl Default for Cursor {
    /// At the start of a line.
    fn default() -> Self {
        Self {
            state: State::Text,
            params: Vec::new(),
            on_empty_line: true,
            in_first_column: true,
            attributes: 0,
            draws_itself: false,
        }
    }
}

impl Cursor {
    /// Whether something may be shown at the cursor: it is on an empty line below everything
    /// else, and nothing is half written or still in colour.
    pub(super) fn is_free(&self) -> bool {
        self.on_empty_line
            && self.in_first_column
            && self.state == State::Text
            && self.attributes == 0
            && !self.draws_itself
    }

    /// Whether text would be shown in a colour that a tool has left on.
    pub(super) fn is_coloured(&self) -> bool {
        self.attributes != 0
    }

    /// Follows these bytes.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            match self.state {
                State::Text => self.text(byte),
                State::Escape => self.escape(byte),
                State::Intermediate if (0x20..0x30).contains(&byte) => {}
                State::Intermediate => self.state = State::Text,
                State::Control => self.control(byte),
                State::String => match byte {
                    0x07 | 0x18 | 0x1a => self.state = State::Text,
                    0x1b => self.state = State::StringEscape,
                    _ => {}
                },
                State::StringEscape if byte == b'\\' => self.state = State::Text,
                State::StringEscape => self.escape(byte),
            }
        }
    }

    fn text(&mut self, byte: u8) {
        match byte {
            b'\n' => (self.on_empty_line, self.in_first_column) = (true, true),
            b'\r' => self.in_first_column = true,
            0x1b => self.state = State::Escape,
            b'\t' | 0x20..=0x7e | 0x80.. => (self.on_empty_line, self.in_first_column) = (false, false),
            _ => {}
        }
    }

    fn escape(&mut self, byte: u8) {
        self.state = match byte {
            b'[' => {
                self.params.clear();
                State::Control
            }
            b']' | b'P' | b'X' | b'^' | b'_' => State::String,
            0x1b => State::Escape,
            0x20..0x30 => State::Intermediate,
            _ => State::Text,
        };
        // Up a line, back to a noted place, all anew.
        self.draws_itself |= matches!(byte, b'M' | b'8' | b'c');
    }

    fn control(&mut self, byte: u8) {
        match byte {
            0x20..0x40 if self.params.len() < MOST_PARAMS => self.params.push(byte),
            0x20..0x40 => {}
            0x40..=0x7e => {
                self.state = State::Text;
                self.sequence(byte);
            }
            0x1b => self.state = State::Escape,
            b'\n' | b'\r' => self.text(byte),
            _ => self.state = State::Text,
        }
    }

    fn sequence(&mut self, last: u8) {
        match last {
            b'm' => self.colour(),
            b'A' | b'F' | b'H' | b'f' | b'd' | b'r' | b'u' => self.draws_itself = true,
            // A screen of its own.
            b'h' if matches!(self.params.as_slice(), b"?1049" | b"?1047" | b"?47") => self.draws_itself = true,
            b'C' => self.in_first_column = false,
            b'G' | b'`' => self.in_first_column = matches!(self.params.as_slice(), b"" | b"0" | b"1"),
            b'K' => {
                let is_whole_line = self.in_first_column && matches!(self.params.as_slice(), b"" | b"0");
                self.on_empty_line |= is_whole_line || self.params == b"2";
            }
            b'J' => self.on_empty_line |= self.in_first_column && matches!(self.params.as_slice(), b"" | b"0"),
            _ => {}
        }
    }

    /// `ESC [ … m`: each attribute is on until its own end or the end of all.
    fn colour(&mut self) {
        if self.params.iter().any(|byte| matches!(byte, b'<'..=b'?')) {
            return;
        }
        let text = String::from_utf8_lossy(&self.params).into_owned();
        let mut params = text.split(';');
        while let Some(param) = params.next() {
            let code: u32 = param.split(':').next().and_then(|code| code.parse().ok()).unwrap_or(0);
            match code {
                0 => self.attributes = 0,
                1..=9 => self.attributes |= 1 << code,
                22 => self.attributes &= !(1 << 1 | 1 << 2),
                23..=29 => self.attributes &= !(1 << (code - 20)),
                30..=37 | 90..=97 => self.attributes |= 1 << 10,
                39 => self.attributes &= !(1 << 10),
                40..=47 | 100..=107 => self.attributes |= 1 << 11,
                49 => self.attributes &= !(1 << 11),
                38 | 48 => {
                    self.attributes |= 1 << if code == 38 { 10 } else { 11 };
                    // Its own parameters: `5;N` or `2;R;G;B`.
                    if !param.contains(':') {
                        let skipped = if params.next() == Some("2") { 3 } else { 1 };
                        params.by_ref().take(skipped).for_each(drop);
                    }
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(text: &str) -> Cursor {
        let mut cursor = Cursor::default();
        // In one piece and byte by byte is the same.
        cursor.feed(text.as_bytes());
        let mut other = Cursor::default();
        text.bytes().for_each(|byte| other.feed(&[byte]));
        assert_eq!(cursor.is_free(), other.is_free(), "{text:?}");
        cursor
    }

    #[test]
    fn below_whole_lines_there_is_room() {
        for text in [
            "",
            "line\n",
            "line\r\n",
            "\x1b[1;31merror\x1b[0m\n",
            "\x1b[31merror\n\x1b[0m",
            "\x1b[31merror\n\x1b[39m",
            "\x1b[1mbold\x1b[22m \x1b[38;5;9mred\x1b[39m \x1b[48;2;1;2;3mback\x1b[49m\n",
            "\x1b]0;title\x07line\n",
            "\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\\n",
            "\x1b(Bline\n",
            // A progress bar that was wiped away.
            "50%\r\x1b[K",
            "50%\x1b[2K\r",
            "text\r\x1b[J",
        ] {
            assert!(after(text).is_free(), "{text:?}: {:?}", after(text));
        }
    }

    #[test]
    fn there_is_none_where_something_would_be_torn() {
        for text in [
            "line",
            "line\nprompt: ",
            "50%\r",
            "\t",
            "\x1b[31merror\n",
            "\x1b[0;1merror\n",
            "\x1b[38;5;0mblack\n",
            "\x1b[",
            "line\n\x1b]0;title",
            // Displays of a tool's own.
            "a\nb\n\x1b[2Aa\x1b[K\nb\x1b[K\n",
            "text\n\x1b[3;1H",
            "\x1b[2J\x1b[Htext\n",
            "\x1b[?1049h\x1b[2J",
            "a\n\x1bMb\n",
        ] {
            assert!(!after(text).is_free(), "{text:?}: {:?}", after(text));
        }
    }
}
