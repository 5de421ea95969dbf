//! Events as JSON lines, on stdout and in a file.

use std::io::{self, BufWriter, Write};

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
pub struct EventLog<W: Write> {
    file: BufWriter<W>,
}

impl<W: Write> EventLog<W> {
    /// Writes to `file`.
    pub fn new(file: W) -> Self {
        Self {
            file: BufWriter::new(file),
        }
    }
}

impl<W: Write + Send> EventSink for EventLog<W> {
    fn emit(&mut self, event: &Event) -> io::Result<()> {
        serde_json::to_writer(&mut self.file, event)?;
        self.file.write_all(b"\n")?;
        if matches!(event.body, EventBody::ToolOutput { .. }) {
            return Ok(());
        }
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{OutputData, Stream};

    fn line(body: EventBody) -> serde_json::Value {
        let mut log = EventLog::new(Vec::new());
        log.emit(&Event { v: 1, t_ms: 7, body }).unwrap();
        let bytes = log.file.into_inner().unwrap();
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
}
