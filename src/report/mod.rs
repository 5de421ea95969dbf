//! Reporters: sinks of the one stream of events. They know nothing else of devshell.

mod failure;
mod json;
mod paint;
mod pipe;
mod plain;
mod progress;
mod record;
mod said;
#[cfg(test)]
mod samples;
mod summary;
mod tail;
mod terminal;
mod words;

use std::io;

use crate::event::{Event, EventSink};

pub use json::{EventLog, JsonReporter};
pub use pipe::Pipe;
pub use plain::{PlainReporter, Terminals};
pub use terminal::{TerminalReporter, TerminalStyle};
pub use words::last_line;

/// Hands each event to several sinks. All of them get every event, also when one fails; the
/// first failure is returned.
#[derive(Default)]
pub struct Tee {
    sinks: Vec<Box<dyn EventSink>>,
}

impl Tee {
    /// Adds a sink behind the others.
    pub fn push(&mut self, sink: Box<dyn EventSink>) {
        self.sinks.push(sink);
    }
}

impl EventSink for Tee {
    fn emit(&mut self, event: &Event) -> io::Result<()> {
        let mut result = Ok(());
        for sink in &mut self.sinks {
            let emitted = sink.emit(event);
            if result.is_ok() {
                result = emitted;
            }
        }
        result
    }
}
