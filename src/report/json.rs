//! Events as JSON lines, on stdout and in a file.

use std::io::{self, Write};

use crate::event::{Event, EventBody, EventSink};

use super::pipe::Pipe;
use super::words;

/// `--output json`: one object a line on stdout and nothing else there; errors, warnings and the
/// last line go to stderr as always.
pub struct JsonReporter {
    out: Pipe,
    err: Pipe,
}

impl JsonReporter {
    /// Reports to these streams.
    #[must_use]
    pub fn new(out: Pipe, err: Pipe) -> Self {
        Self { out, err }
    }
}

impl EventSink for JsonReporter {
    fn emit(&mut self, event: &Event) -> io::Result<()> {
        let mut line = serde_json::to_vec(event)?;
        line.push(b'\n');
        self.out.write(&line)?;
        match &event.body {
            EventBody::Warning { message } => self.err.write(format!("devshell: warning: {message}\n").as_bytes()),
            EventBody::RunFinished { error, .. } => {
                if let Some(error) = error {
                    self.err.write(format!("devshell: error: {error}\n").as_bytes())?;
                }
                let last = words::last_line_of(&event.body).unwrap_or_default();
                self.err.write(format!("{last}\n").as_bytes())?;
                self.out.finish()?;
                self.err.finish().map(|_| ())
            }
            _ => Ok(()),
        }
    }
}

/// `--events FILE`: the same lines in a file. Buffered while output streams by, on disk after
/// every other event.
///
/// When the file takes no more, a full disk say, nothing is written behind the line that was
/// torn: what is there stays whole lines but for the last one.
pub struct EventLog<W: Write> {
    file: W,
    lines: Vec<u8>,
    failed: Option<io::ErrorKind>,
}

impl<W: Write> EventLog<W> {
    /// So many bytes may wait.
    const BUFFER: usize = 64 * 1024;

    /// Writes to `file`.
    pub fn new(file: W) -> Self {
        Self {
            file,
            lines: Vec::new(),
            failed: None,
        }
    }

    fn write_out(&mut self) -> io::Result<()> {
        let lines = std::mem::take(&mut self.lines);
        let written = self.file.write_all(&lines).and_then(|()| self.file.flush());
        self.failed = written.as_ref().err().map(io::Error::kind);
        written
    }
}

impl<W: Write + Send> EventSink for EventLog<W> {
    fn emit(&mut self, event: &Event) -> io::Result<()> {
        if let Some(failed) = self.failed {
            return Err(failed.into());
        }
        serde_json::to_writer(&mut self.lines, event)?;
        self.lines.push(b'\n');
        if matches!(event.body, EventBody::ToolOutput { .. }) && self.lines.len() < Self::BUFFER {
            return Ok(());
        }
        self.write_out()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{OutputData, Stream};

    fn line(body: EventBody) -> serde_json::Value {
        let mut log = EventLog::new(Vec::new());
        log.emit(&Event { v: 1, t_ms: 7, body }).unwrap();
        let mut bytes = log.file;
        bytes.append(&mut log.lines);
        assert_eq!(
            bytes.iter().filter(|byte| **byte == b'\n').count(),
            1,
            "one line an event"
        );
        serde_json::from_slice(&bytes).unwrap()
    }

    #[test]
    fn output_is_text_where_it_is_utf8_and_base64_else() {
        let output = |bytes: &[u8]| EventBody::ToolOutput {
            tool: "t".to_owned(),
            stream: Stream::Stderr,
            data: OutputData(bytes.to_vec()),
        };
        assert_eq!(
            line(output("é\n".as_bytes())),
            serde_json::json!({"v": 1, "t_ms": 7, "type": "tool_output", "tool": "t", "stream": "stderr", "text": "é\n"})
        );
        assert_eq!(line(output(b"\xff\x00"))["base64"], "/wA=");
    }

    #[test]
    fn nothing_is_written_behind_a_torn_line() {
        /// Takes so many bytes once, then everything again.
        struct Small(Vec<u8>, usize);
        impl Write for Small {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let room = self.1.saturating_sub(self.0.len()).min(bytes.len());
                if room == 0 {
                    self.1 = usize::MAX;
                    return Err(io::ErrorKind::StorageFull.into());
                }
                self.0.extend_from_slice(&bytes[..room]);
                Ok(room)
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut log = EventLog::new(Small(Vec::new(), 100));
        let warning = |message: &str| Event {
            v: 1,
            t_ms: 7,
            body: EventBody::Warning {
                message: message.to_owned(),
            },
        };
        log.emit(&warning("fits")).unwrap();
        let full = |done: io::Result<()>| done.unwrap_err().kind() == io::ErrorKind::StorageFull;
        assert!(full(log.emit(&warning(&"x".repeat(200)))));
        assert!(full(log.emit(&warning("later"))));
        let text = String::from_utf8(log.file.0).unwrap();
        assert_eq!(text.len(), 100);
        assert_eq!(text.lines().count(), 2);
    }
}
