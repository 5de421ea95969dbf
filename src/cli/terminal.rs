//! Whether the tools get a terminal of their own.

use std::io::{self, IsTerminal as _};

use crate::process::{Stdin, Terminal};
use crate::sys::pty;

use super::args::Output;
use super::dialect::output;

/// A terminal for the tools where stdout is one and shows their output as it is: what is a pipe
/// for devshell is one for them, `plain` promises lines only, and the log of a job is no terminal.
pub(super) fn terminal(asked: Output, stdin: Stdin) -> Option<Terminal> {
    let shown = match output(asked, stdin) {
        Output::Auto | Output::Terminal => true,
        Output::Plain | Output::Json | Output::Github | Output::Gitlab => false,
    };
    // Where there is no pseudo-terminal to be had, the tools get pipes as ever.
    if !shown || !io::stdout().is_terminal() || pty::open().is_err() {
        return None;
    }
    Some(Terminal {
        joined: io::stderr().is_terminal(),
        interactive: stdin == Stdin::Inherit && io::stdin().is_terminal(),
    })
}
