//! What can be typed after a run.

use crate::event::{Next, Word};

/// The command line of the run as far as it matters for typing the next one; a caller without a
/// command line leaves it empty.
#[derive(Debug, Clone, Default)]
pub struct Commands {
    /// The run itself, without a choice of tools and without its reports.
    pub run: Vec<Word>,
    /// Whether `--only NAME` behind it chooses a tool; else it runs one only.
    pub chooses: bool,
    /// `devshell results` for its workspace.
    pub results: Vec<Word>,
}

impl Commands {
    /// What may be typed after a run that this tool decided and that kept this result.
    pub(super) fn next(&self, tool: Option<&str>, kept: Option<&str>) -> Next {
        let on = |command: &[Word], words: &[&str]| {
            let words = words.iter().map(|&word| Word::from(word));
            (!command.is_empty()).then(|| command.iter().cloned().chain(words).collect())
        };
        let choice = |tool| if self.chooses { vec!["--only", tool] } else { Vec::new() };
        Next {
            repeat: tool.and_then(|tool| on(&self.run, &choice(tool))),
            diff: kept.and_then(|id| on(&self.results, &["diff", id])),
            apply: kept.and_then(|id| on(&self.results, &["apply", id])),
        }
    }
}
