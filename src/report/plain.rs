//! The plain reporter: for people, pipes and CI logs.

use std::io;

use crate::event::{Event, EventBody, EventSink, Stream, Survivor, ToolOutcome};
use crate::quote::command_line;

use super::failure::closing;
use super::paint::Paint;
use super::pipe::Pipe;
use super::record::Record;
use super::said::Tone;
use super::summary::summary;
use super::tail::cut;
use super::words::{how, last_line_of, time};

/// Which of devshell's own streams are terminals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Terminals {
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
}

/// Tools' output to stdout and stderr as it comes, unchanged; what devshell says to stderr, a
/// line each.
pub struct PlainReporter {
    pub(super) out: Pipe,
    pub(super) err: Pipe,
    pub(super) terminals: Terminals,
    pub(super) record: Record,
    pub(super) paint: Paint,
    /// How wide the terminal is on which devshell's own lines are read, if they are.
    pub(super) columns: Option<usize>,
}

impl PlainReporter {
    /// Reports to these streams.
    #[must_use]
    pub fn new(out: Pipe, err: Pipe, terminals: Terminals) -> Self {
        Self {
            out,
            err,
            terminals,
            record: Record::default(),
            paint: Paint::default(),
            columns: None,
        }
    }

    /// A line of devshell's own. A tool's unfinished line is ended first: the bytes of the tool
    /// stay as they are, and a script finds devshell's lines at the start of a line.
    fn say(&mut self, text: &str) -> io::Result<()> {
        let tone = if text.starts_with("warning: ") {
            Tone::Caution
        } else {
            Tone::Plain
        };
        self.say_in(tone, text)
    }

    fn say_in(&mut self, tone: Tone, text: &str) -> io::Result<()> {
        let on_screen = self.terminals.stdout && self.terminals.stderr && !self.out.at_line_start();
        if !self.err.at_line_start() || on_screen {
            self.err.write(b"\n")?;
        }
        if on_screen {
            self.out.line_was_ended();
        }
        self.err.write(format!("{}\n", self.paint.line(tone, text)).as_bytes())
    }

    /// Whether nothing is said of such an event.
    pub(super) fn is_silent(body: &EventBody) -> bool {
        matches!(
            body,
            EventBody::RunStarted { .. }
                | EventBody::SessionStarting { .. }
                | EventBody::SyncProgress { .. }
                | EventBody::SyncFinished { .. }
                | EventBody::SessionFinished { .. }
                | EventBody::WriteBackFinished { .. }
        )
    }

    /// `[2/5] clippy`
    fn label(&self, tool: &str) -> String {
        let tools = &self.record.tools;
        match tools.iter().position(|record| record.name == tool) {
            Some(index) => format!("[{}/{}] {tool}", index + 1, tools.len()),
            None => tool.to_owned(),
        }
    }

    fn survivors(&mut self, tool: &str, survivors: &[Survivor]) -> io::Result<()> {
        if survivors.is_empty() {
            return Ok(());
        }
        let left = match survivors.len() {
            1 => "a process".to_owned(),
            number => format!("{number} processes"),
        };
        self.say(&format!("warning: `{tool}` left {left} running, ended by devshell:"))?;
        for Survivor { pid, argv } in survivors {
            self.say(&format!("  pid {pid}: {argv}"))?;
        }
        Ok(())
    }
}

impl EventSink for PlainReporter {
    fn emit(&mut self, event: &Event) -> io::Result<()> {
        self.record.note(event);
        match &event.body {
            body if Self::is_silent(body) => Ok(()),
            EventBody::LockWaiting {
                pid,
                running_ms,
                limit_ms,
            } => {
                let who = match (pid, running_ms) {
                    (Some(pid), Some(ms)) => format!("pid {pid}, running for {}", time(*ms)),
                    (Some(pid), None) => format!("pid {pid}"),
                    (None, _) => "another process".to_owned(),
                };
                let limit = match limit_ms {
                    Some(ms) => format!("at most {}", time(*ms)),
                    None => "without a limit".to_owned(),
                };
                self.say(&format!(
                    "waiting for another run in this workspace ({who}), {limit} (run.lock_timeout); Ctrl-C gives up"
                ))
            }
            EventBody::SessionReady {
                backend,
                strategy,
                isolation,
                why,
                elapsed_ms,
            } => {
                let strategy = strategy
                    .as_ref()
                    .map(|strategy| format!(", {strategy}"))
                    .unwrap_or_default();
                let why = why.as_ref().map(|why| format!("; {why}")).unwrap_or_default();
                self.say(&format!(
                    "{backend}{strategy}, isolation {isolation}, ready in {}{why}",
                    time(*elapsed_ms)
                ))
            }
            EventBody::ToolStarted {
                tool,
                argv,
                cwd: _,
                attempt,
            } => {
                let attempt = match attempt {
                    1 => String::new(),
                    number => format!(" (attempt {number})"),
                };
                let mut text = format!("{}{attempt}: {}", self.label(tool), command_line(argv));
                // A script may be long; the whole of it is in the plan.
                if let Some(columns) = self.columns {
                    text = cut(&text, columns.saturating_sub("devshell: ".len() + 1).max(40));
                }
                self.say_in(Tone::Head, &text)
            }
            EventBody::ToolOutput { stream, data, .. } => match stream {
                Stream::Stdout => self.out.write(&data.0),
                Stream::Stderr => self.err.write(&data.0),
            },
            EventBody::ToolFinished {
                tool,
                outcome,
                exit_code,
                signal,
                message,
                tolerated,
                will_retry,
                elapsed_ms,
                survivors,
                ..
            } => {
                self.survivors(tool, survivors)?;
                let how = how(*outcome, *exit_code, *signal);
                let message = message
                    .as_ref()
                    .filter(|_| *tolerated || *will_retry)
                    .map(|text| format!(": {text}"))
                    .unwrap_or_default();
                let what_follows = match (tolerated, will_retry) {
                    (true, _) => " (tolerated)",
                    (_, true) => " (it is run once more)",
                    _ => "",
                };
                let text = format!(
                    "{} {how}{what_follows} after {}{message}",
                    self.label(tool),
                    time(*elapsed_ms)
                );
                let tone = match outcome {
                    ToolOutcome::Success => Tone::Good,
                    _ if *tolerated || *will_retry => Tone::Caution,
                    _ => Tone::Bad,
                };
                self.say_in(tone, &text)
            }
            EventBody::ToolSkipped { tool, why } => self.say_in(Tone::Faint, &format!("{tool} skipped: {why}")),
            EventBody::Warning { message } => self.say(&format!("warning: {message}")),
            EventBody::RunFinished { .. } => {
                for line in summary(&self.record, self.columns)
                    .into_iter()
                    .chain(closing(&self.record))
                {
                    self.say_in(line.tone, &line.text)?;
                }
                // For scripts: without colours, whatever the rest has.
                self.paint = Paint::default();
                let last = last_line_of(&event.body).unwrap_or_default();
                self.say(last.trim_start_matches("devshell: "))?;
                let lost = self.out.finish()?;
                if lost > 0 {
                    // Nobody reads stdout; somebody may still read this.
                    self.say(&format!(
                        "warning: {lost} bytes of output were dropped, nobody read them"
                    ))?;
                    self.say(last.trim_start_matches("devshell: "))?;
                }
                self.err.finish().map(|_| ())
            }
            // The silent ones.
            _ => Ok(()),
        }
    }
}
