//! Tools as processes: what to run, how it ended, its output, and the staged stop.

mod command;
mod exit;
mod message;

pub use command::{Stdin, ToolCommand};
pub use exit::{ToolEnd, ToolExit};
pub use message::{Cancel, Message, Running};
