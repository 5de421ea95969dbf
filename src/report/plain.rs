//! The plain reporter: for people, pipes and CI logs.

use std::io;

use crate::event::{Event, EventBody, EventSink, Stream, Survivor, ToolOutcome};
use crate::quote::command_line;

use super::failure::closing;
use super::own_lines::OwnLines;
use super::paint::Paint;
use super::pipe::Pipe;
use super::record::Record;
use super::said::Tone;
use super::summary::summary;
use super::tail::cut;
use super::words::{how, last_line_of, time};

/// Why a tool is skipped that the command line does not choose, as the plan words it.
const NOT_CHOSEN: &str = "not in --only";

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
    /// Where the last line goes, if not to `err`.
    last: Option<Pipe>,
    own: OwnLines,
    /// Tools that `--only` leaves out. Who names one of many knows that of the others.
    not_chosen: Vec<String>,
    /// Whether `out` and `err` lead to one place.
    joined: bool,
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
            last: None,
            own: OwnLines::default(),
            not_chosen: Vec::new(),
            joined: terminals.stdout && terminals.stderr,
            terminals,
            record: Record::default(),
            paint: Paint::default(),
            columns: None,
        }
    }

    /// The same with lines of devshell's own that look so.
    #[must_use]
    pub fn with_lines(self, own: OwnLines) -> Self {
        Self { own, ..self }
    }

    /// The same where both streams lead to one place, as `2>&1` makes them.
    #[must_use]
    pub fn joined(self, joined: bool) -> Self {
        Self {
            joined: self.joined || joined,
            ..self
        }
    }

    /// For a log that is one stream: everything that devshell says goes to `log`, but the last
    /// line to `last`, where scripts look for it.
    pub(super) fn in_one_stream(log: Pipe, last: Pipe, own: OwnLines) -> Self {
        Self {
            last: Some(last),
            own,
            ..Self::new(Pipe::nowhere(), log, Terminals::default())
        }
    }

    /// What has happened so far.
    pub(super) fn record(&self) -> &Record {
        &self.record
    }

    /// Takes an event without saying anything of it.
    pub(super) fn note(&mut self, event: &Event) {
        self.record.note(event);
    }

    /// Bytes that are not devshell's words, to where those go.
    pub(super) fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.err.write(bytes)
    }

    /// Ends a line that is not at its end.
    pub(super) fn start_line(&mut self) -> io::Result<()> {
        match self.err.at_line_start() {
            true => Ok(()),
            false => self.err.write(b"\n"),
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
        let both = self.joined && !self.out.at_line_start();
        if !self.err.at_line_start() || both {
            self.err.write(b"\n")?;
        }
        if both {
            self.out.line_was_ended();
        }
        let text = self.own.text(text);
        self.err.write(format!("{}\n", self.paint.line(tone, &text)).as_bytes())
    }

    /// The last line, as scripts know it.
    fn say_last(&mut self, line: &str) -> io::Result<()> {
        self.start_line()?;
        let line = format!("{line}\n");
        self.last.as_mut().unwrap_or(&mut self.err).write(line.as_bytes())
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

    /// `[2/5] clippy (attempt 2): cargo clippy`
    pub(super) fn title(&self, tool: &str, argv: &[String], attempt: u32) -> String {
        let attempt = match attempt {
            1 => String::new(),
            number => format!(" (attempt {number})"),
        };
        format!("{}{attempt}: {}", self.label(tool), command_line(argv))
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
                tool, argv, attempt, ..
            } => {
                let mut text = self.title(tool, argv, *attempt);
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
            EventBody::ToolSkipped { tool, why } if why == NOT_CHOSEN => {
                self.not_chosen.push(tool.clone());
                Ok(())
            }
            EventBody::ToolSkipped { tool, why } => self.say_in(Tone::Faint, &format!("{tool} skipped: {why}")),
            EventBody::Warning { message } => self.say(&format!("warning: {message}")),
            EventBody::RunFinished { .. } => {
                match std::mem::take(&mut self.not_chosen).as_slice() {
                    [] => {}
                    [tool] => self.say_in(Tone::Faint, &format!("{tool} skipped: {NOT_CHOSEN}"))?,
                    tools => self.say_in(Tone::Faint, &format!("{} tools skipped: {NOT_CHOSEN}", tools.len()))?,
                }
                for line in summary(&self.record, self.columns)
                    .into_iter()
                    .chain(closing(&self.record))
                {
                    self.say_in(line.tone, &line.text)?;
                }
                let last = last_line_of(&event.body).unwrap_or_default();
                self.say_last(&last)?;
                let lost = self.out.finish()?;
                if lost > 0 {
                    // Nobody reads stdout; somebody may still read this.
                    self.say(&format!(
                        "warning: {lost} bytes of output were dropped, nobody read them"
                    ))?;
                    self.say_last(&last)?;
                }
                self.err.finish()?;
                self.last.as_mut().map_or(Ok(0), Pipe::finish).map(|_| ())
            }
            // The silent ones.
            _ => Ok(()),
        }
    }
}
