//! The plain reporter: for people, pipes and CI logs.

use std::io;

use crate::event::{Event, EventBody, EventSink, Stream, Survivor, ToolOutcome, WriteBackState};
use crate::quote::command_line;

use super::pipe::Pipe;
use super::progress::Progress;
use super::words::{last_line_of, time};

/// Which of devshell's own streams are terminals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Terminals {
    /// Standard output.
    pub stdout: bool,
    /// Standard error, with a cursor that can be moved: the progress line is shown there.
    pub stderr: bool,
}

/// Tools' output to stdout and stderr as it comes, unchanged; what devshell says to stderr, a
/// line each, with a progress line where stderr is a terminal.
pub struct PlainReporter {
    out: Pipe,
    err: Pipe,
    terminals: Terminals,
    progress: Progress,
    tools: Vec<String>,
}

impl PlainReporter {
    /// Reports to these streams.
    #[must_use]
    pub fn new(out: Pipe, err: Pipe, terminals: Terminals) -> Self {
        Self {
            out,
            err,
            terminals,
            progress: Progress::new(terminals.stderr),
            tools: Vec::new(),
        }
    }

    /// A line of devshell's own. A tool's unfinished line is ended first: the bytes of the tool
    /// stay as they are, and a script finds devshell's lines at the start of a line.
    fn say(&mut self, text: &str) -> io::Result<()> {
        self.progress.clear();
        let on_screen = self.terminals.stdout && self.terminals.stderr && !self.out.at_line_start();
        if !self.err.at_line_start() || on_screen {
            self.err.write(b"\n")?;
        }
        self.err.write(format!("devshell: {text}\n").as_bytes())
    }

    /// `[2/5] clippy`
    fn label(&self, tool: &str) -> String {
        match self.tools.iter().position(|name| name == tool) {
            Some(index) => format!("[{}/{}] {tool}", index + 1, self.tools.len()),
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
        match &event.body {
            EventBody::RunStarted { tools, .. } => {
                self.tools.clone_from(tools);
                Ok(())
            }
            EventBody::LockWaiting { pid, running_ms } => {
                let who = match (pid, running_ms) {
                    (Some(pid), Some(ms)) => format!("pid {pid}, running for {}", time(*ms)),
                    (Some(pid), None) => format!("pid {pid}"),
                    (None, _) => "another process".to_owned(),
                };
                self.say(&format!("waiting for another run in this workspace ({who})"))?;
                self.progress.show("waiting for another run in this workspace");
                Ok(())
            }
            EventBody::SessionStarting { backend } => {
                self.progress.show(&format!("preparing the {backend} backend"));
                Ok(())
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
            EventBody::SyncFinished { .. } | EventBody::SessionFinished { .. } => Ok(()),
            EventBody::ToolStarted {
                tool, argv, attempt, ..
            } => {
                let attempt = match attempt {
                    1 => String::new(),
                    number => format!(" (attempt {number})"),
                };
                let text = format!("{}{attempt}: {}", self.label(tool), command_line(argv));
                self.say(&text)?;
                self.progress.show(&text);
                Ok(())
            }
            EventBody::ToolOutput { stream, data, .. } => {
                if (*stream == Stream::Stdout && self.terminals.stdout)
                    || (*stream == Stream::Stderr && self.terminals.stderr)
                {
                    self.progress.clear();
                }
                match stream {
                    Stream::Stdout => self.out.write(&data.0),
                    Stream::Stderr => self.err.write(&data.0),
                }
            }
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
                let how = match (outcome, exit_code, signal) {
                    (ToolOutcome::Success, ..) => "ok".to_owned(),
                    (ToolOutcome::Failed, Some(code), _) => format!("failed with code {code}"),
                    (ToolOutcome::Failed, None, Some(signal)) => format!("ended by signal {signal}"),
                    (ToolOutcome::Failed, None, None) => "could not be executed".to_owned(),
                    (ToolOutcome::Timeout, ..) => "stopped at its timeout".to_owned(),
                    (ToolOutcome::Cancelled, ..) => "stopped".to_owned(),
                    (ToolOutcome::Lost, ..) => "lost".to_owned(),
                    (ToolOutcome::NotFound, ..) => "not found".to_owned(),
                };
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
                self.say(&text)
            }
            EventBody::ToolSkipped { tool, why } => {
                let text = format!("{tool} skipped: {why}");
                self.say(&text)
            }
            EventBody::WriteBackFinished {
                state,
                written,
                deleted,
                conflicts,
            } => match state {
                WriteBackState::Committed => self.say(&format!("committed: {written} written, {deleted} deleted")),
                WriteBackState::Refused => {
                    for path in conflicts {
                        self.say(&format!("conflict: {path}"))?;
                    }
                    Ok(())
                }
                WriteBackState::Dropped => self.say("dropped: nothing of what was changed is left"),
                WriteBackState::Kept | WriteBackState::None => Ok(()),
            },
            EventBody::Warning { message } => self.say(&format!("warning: {message}")),
            EventBody::RunFinished { error, kept, .. } => {
                if let Some(error) = error {
                    self.say(&format!("error: {error}"))?;
                }
                if let Some(kept) = kept {
                    self.say(&format!(
                        "the result is kept: `devshell results diff {kept}` shows it, `devshell results apply {kept}` applies it"
                    ))?;
                }
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
        }
    }
}
