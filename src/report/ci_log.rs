//! What the dialects of CI systems have in common: a log that is one stream.

use std::io;

use crate::event::{Event, EventBody, EventSink, Stream};

use super::lines::Lines;
use super::own_lines::OwnLines;
use super::pipe::Pipe;
use super::plain::PlainReporter;
use super::record::Record;
use super::tail::cut;

/// A title longer than this is cut: the log has the whole command in the closing block.
const COLUMNS: usize = 200;

/// A log that a CI system reads.
///
/// It is one stream, stdout, with everything in it: markers, both streams of the tools, devshell's
/// own lines. A CI system reads stdout and stderr through two pipes and puts them together as they
/// happen to come, so a marker on one of them frames nothing that is on the other; and what has to
/// stand between two markers lest it be taken for a command would not surely stand there. Only the
/// last line of a run goes to stderr, as always.
pub(super) struct CiLog {
    plain: PlainReporter,
    lines: Lines,
}

impl CiLog {
    /// A log on `out`; the last line goes to `err`.
    pub(super) fn new(out: Pipe, err: Pipe, own: OwnLines) -> Self {
        let own = OwnLines { harmless: true, ..own };
        Self {
            plain: PlainReporter::in_one_stream(out, err, own),
            lines: Lines::default(),
        }
    }

    /// What has happened so far.
    pub(super) fn record(&self) -> &Record {
        self.plain.record()
    }

    /// Takes an event without saying anything of it.
    pub(super) fn note(&mut self, event: &Event) {
        self.plain.note(event);
    }

    /// Says of an event what the plain reporter says.
    pub(super) fn say(&mut self, event: &Event) -> io::Result<()> {
        self.plain.emit(event)
    }

    /// Takes the start of a tool and gives its title, in one line.
    pub(super) fn title(&mut self, event: &Event) -> String {
        self.plain.note(event);
        match &event.body {
            EventBody::ToolStarted {
                tool, argv, attempt, ..
            } => cut(&self.plain.title(tool, argv, *attempt), COLUMNS),
            _ => String::new(),
        }
    }

    /// Takes output of a tool and hands on what of it is whole lines.
    pub(super) fn output(&mut self, event: &Event, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        self.plain.note(event);
        self.lines.push(stream, bytes, |bytes| self.plain.raw(bytes))
    }

    /// Hands on what is left of a tool's output and ends its last line.
    pub(super) fn end_output(&mut self) -> io::Result<()> {
        self.lines.flush(|bytes| {
            self.plain.start_line()?;
            self.plain.raw(bytes)
        })?;
        self.plain.start_line()
    }

    /// A line of the dialect.
    pub(super) fn marker(&mut self, marker: &str) -> io::Result<()> {
        self.plain.start_line()?;
        self.plain.raw(format!("{marker}\n").as_bytes())
    }
}
