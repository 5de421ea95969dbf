//! The lines that stand below the tools' output for a while.

/// What is on the terminal below the tools' output now.
///
/// indicatif's own drawing is not used for it: it fills rows up to the last column and relies
/// on the terminal to break them, so that a terminal that is made narrower keeps pieces of them,
/// and it writes whenever it likes, also to a reader that does not read.
#[derive(Debug, Default)]
pub(super) struct Screen {
    /// The width of each row that is there.
    shown: Vec<usize>,
    text: String,
}

/// A row: its width in columns, and the text with its colours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Drawn {
    pub(super) width: usize,
    pub(super) text: String,
}

impl Screen {
    /// Whether anything is there.
    pub(super) fn is_shown(&self) -> bool {
        !self.shown.is_empty()
    }

    /// What has to be written so that these rows, and nothing else, are there; each must be
    /// narrower than the terminal. `None` when they are there already.
    pub(super) fn draw(&mut self, rows: &[Drawn], columns: usize) -> Option<String> {
        let texts: Vec<&str> = rows.iter().map(|row| row.text.as_str()).collect();
        // Each row is written over the old one, the rest of it erased behind: nothing flickers.
        let text = texts.join("\x1b[K\r\n");
        if text == self.text && self.height(columns) == self.shown.len() {
            return None;
        }
        let bytes = format!("{}{text}\x1b[J", self.back(columns));
        self.shown = rows.iter().map(|row| row.width).collect();
        self.text = text;
        Some(bytes)
    }

    /// What has to be written so that nothing of it is there and the cursor is where it was
    /// before.
    pub(super) fn erase(&mut self, columns: usize) -> Option<String> {
        let bytes = self.is_shown().then(|| format!("{}\x1b[J", self.back(columns)));
        self.shown.clear();
        self.text.clear();
        bytes
    }

    /// To the start of the first row.
    fn back(&self, columns: usize) -> String {
        match self.height(columns).saturating_sub(1) {
            0 => "\r".to_owned(),
            up => format!("\r\x1b[{up}A"),
        }
    }

    /// On how many lines of the terminal the rows are: of one that has been made narrower
    /// meanwhile, more than there are rows, for it breaks what was too wide.
    fn height(&self, columns: usize) -> usize {
        self.shown
            .iter()
            .map(|width| width.div_ceil(columns.max(1)).max(1))
            .sum()
    }
}
