//! `--output gitlab`: the log of a GitLab job.

use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::event::{Event, EventBody, EventSink};

use super::ci_log::CiLog;
use super::own_lines::OwnLines;
use super::pipe::Pipe;

/// A section for each attempt of a tool, folded: GitLab shows how long it took, and whoever wants
/// to see its output opens it. Whether a section is folded has to be said at its start, so that of
/// a tool that failed is folded, too; the closing block at the end of the log repeats its last
/// lines.
pub struct GitlabReporter {
    log: CiLog,
    run_id: String,
    sections: usize,
    /// The section that is open.
    open: Option<String>,
}

impl GitlabReporter {
    /// Writes the log to `out` and the last line to `err`.
    #[must_use]
    pub fn new(out: Pipe, err: Pipe, own: OwnLines) -> Self {
        Self {
            log: CiLog::new(out, err, own),
            run_id: String::new(),
            sections: 0,
            open: None,
        }
    }

    fn open(&mut self, event: &Event, tool: &str) -> io::Result<()> {
        let title = self.log.title(event);
        self.sections += 1;
        let name = section_name(&self.run_id, self.sections, tool);
        // The escape sequences make GitLab's page drop the marker, and a terminal too.
        let marker = format!(
            "\x1b[0Ksection_start:{}:{name}[collapsed=true]\r\x1b[0K{title}",
            unix_time()
        );
        self.open = Some(name);
        self.log.marker(&marker)
    }

    fn close(&mut self) -> io::Result<()> {
        self.log.end_output()?;
        let Some(name) = self.open.take() else {
            return Ok(());
        };
        let marker = format!("\x1b[0Ksection_end:{}:{name}\r\x1b[0K", unix_time());
        self.log.marker(&marker)
    }
}

impl EventSink for GitlabReporter {
    fn emit(&mut self, event: &Event) -> io::Result<()> {
        match &event.body {
            EventBody::RunStarted { run_id, .. } => {
                self.run_id.clone_from(run_id);
                self.log.say(event)
            }
            EventBody::ToolStarted { tool, .. } => self.open(event, tool),
            EventBody::ToolOutput { stream, data, .. } => self.log.output(event, *stream, &data.0),
            EventBody::ToolFinished { .. } | EventBody::RunFinished { .. } => {
                self.close()?;
                self.log.say(event)
            }
            _ => self.log.say(event),
        }
    }
}

/// A name that no other section of the job has: GitLab compares them without case and takes all
/// that is neither letter nor digit for the same.
fn section_name(run_id: &str, number: usize, tool: &str) -> String {
    let name = format!("devshell_{run_id}_{number}_{tool}");
    name.chars()
        .map(|char| match char {
            char if char.is_ascii_alphanumeric() || "_.-".contains(char) => char,
            _ => '_',
        })
        .collect()
}

fn unix_time() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_sections_hold_only_what_gitlab_takes_and_differ() {
        assert_eq!(
            section_name("20261123-203012-1a2b", 2, "a.b"),
            "devshell_20261123-203012-1a2b_2_a.b"
        );
        assert_eq!(section_name("x", 1, "é b:c[d]"), "devshell_x_1___b_c_d_");
        assert_ne!(section_name("x", 1, "A-b"), section_name("x", 2, "a.b"));
    }
}
