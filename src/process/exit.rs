//! How a tool ended.

use crate::event::Survivor;

/// How a tool ended: the closed set that every backend maps to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToolExit {
    /// Exit code 0.
    Success,
    /// Another exit code, 1 to 255.
    Code(i32),
    /// Ended by this signal (1 to 64), which devshell did not send.
    Signal(i32),
    /// Stopped at a deadline; the text says which.
    TimedOut(String),
    /// Stopped because the run was interrupted.
    Cancelled,
    /// No such program in the backend; the text says what was looked for and where.
    NotFound(String),
    /// The program is there and cannot be executed, or its working folder cannot be entered;
    /// the text says why.
    NotExecutable(String),
    /// The backend was lost; the text says how.
    Lost(String),
}

/// The end of a tool with what is known besides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolEnd {
    /// How it ended.
    pub exit: ToolExit,
    /// What it left running and what was ended for that.
    pub survivors: Vec<Survivor>,
    /// Whether something outside devshell's reach still held the output pipes after the leak time.
    pub leaked: bool,
}

impl From<ToolExit> for ToolEnd {
    /// An end of which nothing else is to be told.
    fn from(exit: ToolExit) -> Self {
        Self {
            exit,
            survivors: Vec::new(),
            leaked: false,
        }
    }
}
