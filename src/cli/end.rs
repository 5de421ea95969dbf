//! What devshell says outside a run, and how a command ends that did not become one.

use std::borrow::Cow;
use std::io::{ErrorKind, Write as _};

use crate::config::ConfigError;
use crate::exit::{End, ExitCodePolicy};
use crate::mask::Mask;
use crate::sys::fs::denial;
use crate::workspace::SyncError;

/// Why a command could not do its part.
#[derive(Debug)]
pub(super) struct CliError {
    pub(super) end: End,
    pub(super) error: anyhow::Error,
}

impl CliError {
    pub(super) fn new(end: End, error: impl Into<anyhow::Error>) -> Self {
        Self {
            end,
            error: error.into(),
        }
    }

    /// One of a folder of devshell's own, which `variable` moves elsewhere. Where the caller may not, it says whose the
    /// folder is.
    pub(super) fn of_own_folder(error: SyncError, variable: &str) -> Self {
        match &error {
            SyncError::Io { path, source, .. } if source.kind() == ErrorKind::PermissionDenied => {
                let (why, whose) = (crate::runner::chain(&error), denial(path));
                let text = format!("{why}: {whose}; set {variable} to a folder of your own");
                Self::new(End::Sync, anyhow::anyhow!(text))
            }
            _ => Self::new(End::Sync, error),
        }
    }

    /// The same without what a mask hides.
    pub(super) fn hiding(self, mask: &Mask) -> Self {
        let text = self.text();
        match mask.text(&text) {
            Cow::Borrowed(_) => self,
            Cow::Owned(hidden) => Self::new(self.end, anyhow::anyhow!(hidden)),
        }
    }

    /// Says it with its causes and gives the exit code.
    pub(super) fn report(&self) -> u8 {
        self.say();
        self.code()
    }

    /// Says it with its causes. The faults of a config come as a text of their own, each with
    /// its place first.
    pub(super) fn say(&self) {
        if let Some(faults @ ConfigError::Invalid(_)) = self.error.downcast_ref() {
            return say_in_colour(&faults.coloured());
        }
        let text = self.text();
        if text.starts_with("error: ") {
            say_line(&text)
        } else {
            say(&format!("error: {text}"))
        }
    }

    /// The error and its causes. A cause that the text before it already contains is left out.
    pub(super) fn text(&self) -> String {
        crate::runner::chain(self.error.as_ref())
    }

    pub(super) fn code(&self) -> u8 {
        self.end.code(ExitCodePolicy::Tool)
    }
}

/// One line of devshell's own on stderr.
pub(super) fn say(text: &str) {
    say_line(&format!("devshell: {text}"));
}

/// A whole line on stderr; a stderr that takes nothing more is nobody's concern.
pub(super) fn say_line(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Lines with colours on stderr, which they reach only where it is a terminal and `NO_COLOR` is
/// not set, or `CLICOLOR_FORCE` is.
fn say_in_colour(text: &str) {
    let _ = writeln!(anstream::stderr(), "{text}");
}

/// As [`answer`], with colours, which reach stdout only where it is a terminal and `NO_COLOR` is
/// not set, or `CLICOLOR_FORCE` is.
pub(super) fn answer_in_colour(text: &str) -> Result<u8, CliError> {
    match anstream::AutoStream::choice(&std::io::stdout()) {
        anstream::ColorChoice::Never => answer(&anstream::adapter::strip_str(text).to_string()),
        _ => answer(text),
    }
}

/// An answer on stdout. A reader that went away has read enough.
pub(super) fn answer(text: &str) -> Result<u8, CliError> {
    let mut out = std::io::stdout().lock();
    answered(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// How the writing of an answer ends the command.
pub(super) fn answered(written: std::io::Result<()>) -> Result<u8, CliError> {
    match written {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(CliError::new(
            End::Sync,
            anyhow::Error::new(error).context("cannot write to stdout"),
        )),
        _ => Ok(0),
    }
}
