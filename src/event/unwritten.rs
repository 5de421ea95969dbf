//! The end of a run a report of which could not be written.

use crate::exit::{Class, End, ExitCodePolicy};

use super::EventBody;

impl EventBody {
    /// Makes the end of a run say that a report of it could not be written. A run that went well
    /// ends with that; one that did not keeps its own end.
    pub(crate) fn note_unwritten(&mut self, failure: &std::io::Error) {
        let Self::RunFinished {
            class,
            exit_code,
            error,
            ..
        } = self
        else {
            return;
        };
        if *class == Class::Ok {
            *class = Class::Sync;
            *exit_code = End::Sync.code(ExitCodePolicy::Tool);
            *error = Some(unwritten(failure));
            return;
        }
        let failure = failure.to_string();
        *error = match error.take() {
            Some(text) if text.contains(&failure) => Some(text),
            Some(text) => Some(format!("{text}; and a report could not be written: {failure}")),
            None => Some(format!("a report could not be written: {failure}")),
        };
    }
}

/// What is said of a run that went well and whose report could not be written.
pub(crate) fn unwritten(failure: &std::io::Error) -> String {
    format!("everything is done, but a report could not be written: {failure}")
}
