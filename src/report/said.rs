//! A line of devshell's own, and in what tone it is said.

/// A line without its `devshell: `.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) tone: Tone,
    pub(super) text: String,
}

/// How a line is meant; reporters with colours show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Good,
    Bad,
    /// To be known, and nothing that decides.
    Caution,
    /// Of less weight than the rest.
    Faint,
    /// Begins a block.
    Head,
}

impl Said {
    pub(super) fn new(tone: Tone, text: impl Into<String>) -> Self {
        Self {
            tone,
            text: text.into(),
        }
    }
}
