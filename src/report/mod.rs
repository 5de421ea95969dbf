//! Reporters: sinks of the one stream of events. They know nothing else of devshell.

mod attempts;
mod ci_log;
mod failure;
mod github;
mod gitlab;
mod json;
mod junit;
mod lines;
mod own_lines;
mod paint;
mod pipe;
mod plain;
mod progress;
mod record;
mod said;
#[cfg(test)]
mod samples;
mod step_summary;
mod summary;
mod tail;
mod terminal;
mod whole_file;
mod words;
mod xml;

use std::borrow::Cow;
use std::io;

use crate::event::{Event, EventSink};

pub use github::{GithubReporter, Marked, ToolCommands};
pub use gitlab::GitlabReporter;
pub use json::{EventLog, JsonReporter};
pub use junit::JunitReporter;
pub use own_lines::OwnLines;
pub use pipe::Pipe;
pub use plain::{PlainReporter, Terminals};
pub use terminal::{TerminalReporter, TerminalStyle};
pub use words::last_line;
pub(crate) use words::typed;

/// Hands each event to several sinks. All of them get every event, also when one fails; the
/// first failure is returned. A report that cannot be finished is told by the sinks behind it.
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
        let mut event = Cow::Borrowed(event);
        for sink in &mut self.sinks {
            let emitted = sink.emit(&event);
            if let Err(error) = &emitted {
                event.to_mut().body.note_unwritten(error);
            }
            if result.is_ok() {
                result = emitted;
            }
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{EventBody, Next};
    use crate::exit::Class;

    struct Sink(bool, std::sync::mpsc::Sender<(Class, u8, Option<String>)>);

    impl EventSink for Sink {
        fn emit(&mut self, event: &Event) -> io::Result<()> {
            if let EventBody::RunFinished {
                class,
                exit_code,
                error,
                ..
            } = &event.body
            {
                self.1.send((*class, *exit_code, error.clone())).unwrap();
            }
            match self.0 {
                true => Ok(()),
                false => Err(io::Error::new(io::ErrorKind::StorageFull, "disk full")),
            }
        }
    }

    fn told(class: Class, exit_code: u8) -> Vec<(Class, u8, Option<String>)> {
        let (sender, received) = std::sync::mpsc::channel();
        let mut tee = Tee::default();
        for works in [true, false, false, true] {
            tee.push(Box::new(Sink(works, sender.clone())));
        }
        let finished = EventBody::RunFinished {
            class,
            exit_code,
            tool: None,
            error: None,
            elapsed_ms: 0,
            kept: None,
            next: Next::default(),
        };
        let event = Event {
            v: 1,
            t_ms: 0,
            body: finished,
        };
        assert_eq!(tee.emit(&event).unwrap_err().kind(), io::ErrorKind::StorageFull);
        received.try_iter().collect()
    }

    #[test]
    fn a_report_that_cannot_be_finished_is_told_by_those_behind_it() {
        let text = Some("everything is done, but a report could not be written: disk full".to_owned());
        let ok = (Class::Ok, 0, None);
        let sync = (Class::Sync, 74, text.clone());
        assert_eq!(told(Class::Ok, 0), [ok.clone(), ok, sync.clone(), sync]);
    }

    #[test]
    fn a_failure_stays_the_one_that_decided() {
        let told = told(Class::Tool, 101);
        assert!(
            told.iter()
                .all(|(class, code, _)| (*class, *code) == (Class::Tool, 101))
        );
        let text = told[3].2.as_deref().unwrap();
        assert_eq!(text, "a report could not be written: disk full");
    }
}
