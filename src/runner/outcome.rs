//! How a run ended.

use crate::event::unwritten;
use crate::exit::End;
use crate::mask::Mask;
use crate::process::ToolExit;

/// How a run ended: what the exit code and the last line are made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The end that decides.
    pub end: End,
    /// The tool that decided, if one did.
    pub tool: Option<String>,
    /// The cause and its remedy, in words.
    pub message: Option<String>,
    /// Id of the kept result.
    pub kept: Option<String>,
}

impl Outcome {
    /// Without a failure the run succeeded.
    pub(super) fn of(failure: Option<Failure>, kept: Option<String>) -> Self {
        let (end, tool, message) = match failure {
            None => (End::Ok, None, None),
            Some(Failure { end, tool, message }) => (end, tool, message),
        };
        Self {
            end,
            tool,
            message,
            kept,
        }
    }

    /// Makes a run that went well end with the report of it that could not be written, where
    /// there is one.
    pub(super) fn note_unwritten(&mut self, failure: Option<&std::io::Error>) {
        if let (End::Ok, Some(failure)) = (self.end, failure) {
            self.end = End::Sync;
            self.message = Some(unwritten(failure));
        }
    }
}

impl Outcome {
    /// Hides the values of secrets, as the events do.
    pub(super) fn hide(&mut self, mask: &Mask) {
        for text in [&mut self.tool, &mut self.message].into_iter().flatten() {
            *text = mask.text(text).into_owned();
        }
    }
}

/// What decided that the run did not succeed. The first one stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The end that it means.
    pub end: End,
    /// The tool, where it was one.
    pub tool: Option<String>,
    /// The cause and its remedy, in words.
    pub message: Option<String>,
}

impl Failure {
    /// A failure that no tool is to blame for; the chain of sources becomes the message.
    pub(super) fn of(end: End, error: &dyn std::error::Error) -> Self {
        Self {
            end,
            tool: None,
            message: Some(chain(error)),
        }
    }

    /// Whether it decides over a tool's failure that came before it: what devshell itself could
    /// not do and an interrupt say that the rest is not known.
    pub(super) fn outweighs_tools(&self) -> bool {
        self.tool.is_none() || matches!(self.end, End::Interrupted(_) | End::Lost | End::Protocol)
    }

    /// What is said of it where another one decides: there the tool's name does not stand above it.
    pub(super) fn beside(self) -> Option<String> {
        let message = self.message?;
        Some(match self.tool {
            Some(tool) => format!("`{tool}`: {message}"),
            None => message,
        })
    }

    /// What a tool's end means for the run, `None` for a success.
    /// A cancelled tool decides nothing by itself: the caller knows who cancelled it.
    pub(super) fn of_tool(tool: &str, exit: &ToolExit) -> Option<Self> {
        let (end, message) = match exit {
            ToolExit::Success | ToolExit::Cancelled => return None,
            ToolExit::Code(code) => (End::ToolCode(*code), None),
            ToolExit::Signal(signal) => (End::ToolSignal(*signal), None),
            ToolExit::TimedOut(message) => (End::Timeout, Some(message.clone())),
            ToolExit::NotFound(message) => (End::ToolNotFound, Some(message.clone())),
            ToolExit::NotExecutable(message) => (End::ToolNotExecutable, Some(message.clone())),
            ToolExit::Lost(message) => (End::Lost, Some(message.clone())),
        };
        Some(Self {
            end,
            tool: Some(tool.to_owned()),
            message,
        })
    }
}

/// An error and its sources in one line. A source that its error already repeats is left out.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let line = error.to_string();
        if !text.contains(&line) {
            text.push_str(": ");
            text.push_str(&line);
        }
        source = error.source();
    }
    text
}
