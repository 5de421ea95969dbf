//! The words by which the starter in the guest marks where a tool's output begins, and how it
//! ended.

/// What is kept of what comes before a tool's output: what a login shell or ssh says.
const BEFORE: usize = 8 * 1024;

/// Finds a word in a stream that comes in pieces.
#[derive(Debug)]
struct Finder {
    word: Vec<u8>,
    held: Vec<u8>,
}

impl Finder {
    fn new(word: String) -> Self {
        Self {
            word: word.into_bytes(),
            held: Vec::new(),
        }
    }

    /// What certainly comes before the word, and, once it was found, what comes behind it.
    fn feed(&mut self, bytes: &[u8]) -> (Vec<u8>, Option<Vec<u8>>) {
        self.held.extend_from_slice(bytes);
        if let Some(at) = find(&self.held, &self.word) {
            let rest = self.held.split_off(at + self.word.len());
            self.held.truncate(at);
            return (std::mem::take(&mut self.held), Some(rest));
        }
        // The word may have begun at the end.
        let may_be = |from: &usize| self.word.starts_with(&self.held[*from..]);
        let first = self.held.len().saturating_sub(self.word.len());
        let keep = (first..self.held.len()).find(may_be).unwrap_or(self.held.len());
        let rest = self.held.split_off(keep);
        (std::mem::replace(&mut self.held, rest), None)
    }
}

fn find(bytes: &[u8], word: &[u8]) -> Option<usize> {
    let first = *word.first()?;
    let mut from = 0;
    while let Some(at) = bytes.get(from..)?.iter().position(|byte| *byte == first) {
        if bytes[from + at..].starts_with(word) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}

#[derive(Debug)]
enum State {
    Before(Finder, Vec<u8>),
    Output(Finder),
    Report(Finder, Vec<u8>),
    Done,
}

/// One stream of a tool in the guest.
#[derive(Debug)]
pub(super) struct Marked {
    word: String,
    state: State,
    report: Option<String>,
}

impl Marked {
    pub(super) fn new(word: &str) -> Self {
        Self {
            word: word.to_owned(),
            state: State::Before(Finder::new(format!("{word}<")), Vec::new()),
            report: None,
        }
    }

    /// The tool's own bytes among these.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut own = Vec::new();
        let mut rest = bytes.to_vec();
        loop {
            let next = match &mut self.state {
                State::Before(finder, before) => {
                    let (said, behind) = finder.feed(&rest);
                    before.extend_from_slice(&said);
                    before.drain(..before.len().saturating_sub(BEFORE));
                    behind.map(|behind| (State::Output(Finder::new(format!("{}>", self.word))), behind))
                }
                State::Output(finder) => {
                    let (output, behind) = finder.feed(&rest);
                    own.extend_from_slice(&output);
                    behind.map(|behind| {
                        (
                            State::Report(Finder::new(format!("{}.", self.word)), Vec::new()),
                            behind,
                        )
                    })
                }
                State::Report(finder, report) => {
                    let (text, behind) = finder.feed(&rest);
                    report.extend_from_slice(&text);
                    if behind.is_some() {
                        self.report = Some(String::from_utf8_lossy(report).into_owned());
                    }
                    behind.map(|_| (State::Done, Vec::new()))
                }
                State::Done => None,
            };
            let Some((state, behind)) = next else { return own };
            self.state = state;
            rest = behind;
        }
    }

    /// What was held back because it might have been the beginning of a word, at the stream's end.
    pub(super) fn rest(&mut self) -> Vec<u8> {
        match &mut self.state {
            State::Output(finder) => std::mem::take(&mut finder.held),
            _ => Vec::new(),
        }
    }

    /// Whether the tool's starter has been heard of.
    pub(super) fn has_begun(&self) -> bool {
        !matches!(self.state, State::Before(..))
    }

    /// What was said before that, as text.
    pub(super) fn before(&self) -> String {
        match &self.state {
            State::Before(finder, before) => {
                let all = [before.as_slice(), &finder.held].concat();
                String::from_utf8_lossy(&all).trim().to_owned()
            }
            _ => String::new(),
        }
    }

    /// How the tool ended, once that has come whole.
    pub(super) fn report(&self) -> Option<&str> {
        self.report.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &[u8] = b"motd\nWW<out WW put\xffW>WW>exit 3\nsurvivor 7 x\nWW.late";

    #[test]
    fn output_and_report_are_found_however_the_stream_is_cut() {
        for size in 1..STREAM.len() {
            let mut marked = Marked::new("WW");
            let mut own = Vec::new();
            for piece in STREAM.chunks(size) {
                own.extend(marked.feed(piece));
            }
            own.extend(marked.rest());
            assert_eq!(own, b"out WW put\xffW>", "{size}");
            assert_eq!(marked.report(), Some("exit 3\nsurvivor 7 x\n"), "{size}");
        }
    }

    #[test]
    fn a_stream_that_breaks_off_loses_nothing_and_reports_nothing() {
        let mut marked = Marked::new("WW");
        let mut own = marked.feed(b"WW<abcW");
        assert_eq!(own, b"abc");
        own.extend(marked.rest());
        assert_eq!((own.as_slice(), marked.report()), (b"abcW".as_slice(), None));
        let mut never = Marked::new("WW");
        assert_eq!(never.feed(b"ssh: connect: refused\n"), b"");
        assert!(!never.has_begun());
        assert_eq!(never.before(), "ssh: connect: refused");
    }
}
