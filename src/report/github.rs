//! `--output github`: the log of a GitHub Actions step.

use std::io;
use std::path::PathBuf;

use crate::event::{Event, EventBody, EventSink, ToolOutcome};
use crate::exit::Class;
use crate::sys::random::token;

use super::ci_log::CiLog;
use super::failure::closing;
use super::own_lines::{OwnLines, harmless};
use super::pipe::Pipe;
use super::step_summary;
use super::words::{how, time};

/// What the runner does with workflow commands in the output of tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ToolCommands {
    /// Nothing: they are output as any other.
    #[default]
    Neutralised,
    /// What they say: annotations, masks, groups.
    Obeyed,
}

/// A place in a file and what is wrong there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marked {
    /// The file, absolute or relative to the repository.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// What is wrong.
    pub message: String,
}

/// A group for each tool, annotations for failures and warnings, and a summary of the step.
///
/// The group of a tool that failed is not closed: GitHub shows a group folded from its
/// `::endgroup::` on, and cannot unfold one. It is closed when another tool follows after all
/// (`--keep-going`), because groups do not nest.
///
/// Around the output of each tool the runner is told to obey no commands, until it sees a token
/// that nobody can guess; so the output stays as it is, byte for byte.
pub struct GithubReporter {
    log: CiLog,
    summary: Option<PathBuf>,
    commands: ToolCommands,
    /// What makes the runner obey again, while a tool runs.
    resume: Option<String>,
    /// Whether the group of a tool that failed is still open.
    left_open: bool,
    /// The tools whose failure has its annotation.
    annotated: Vec<String>,
}

impl GithubReporter {
    /// Writes the log to `out` and the last line to `err`; `summary` is the file that
    /// `GITHUB_STEP_SUMMARY` names.
    #[must_use]
    pub fn new(out: Pipe, err: Pipe, own: OwnLines, commands: ToolCommands, summary: Option<PathBuf>) -> Self {
        Self {
            log: CiLog::new(out, err, own),
            summary,
            commands,
            resume: None,
            left_open: false,
            annotated: Vec::new(),
        }
    }

    /// Says why a run never began: `text`, with an annotation at each of the places, or one
    /// without a place where there are none. `event` is the run's only one, its end.
    ///
    /// # Errors
    /// What the streams say.
    pub fn say_never_began(&mut self, event: &Event, text: &str, places: &[Marked]) -> io::Result<()> {
        let mut event = event.clone();
        if let EventBody::RunFinished { error: Some(error), .. } = &mut event.body {
            // The faults of a config say themselves that they are errors.
            *error = error.trim_start_matches("error: ").to_owned();
        }
        self.log.note(&event);
        for Marked {
            file,
            line,
            column,
            message,
        } in places
        {
            let (line, column) = (line.to_string(), column.to_string());
            let title = ("title", "devshell: config");
            let properties = [("file", file.as_str()), ("line", &line), ("col", &column), title];
            self.log.marker(&command("error", &properties, message))?;
        }
        if let (EventBody::RunFinished { class, .. }, []) = (&event.body, places) {
            self.annotate("error", class.word(), text)?;
        }
        self.log.marker(&harmless(text))?;
        self.summarise()
    }

    fn open(&mut self, event: &Event) -> io::Result<()> {
        if std::mem::take(&mut self.left_open) {
            self.log.marker(&command("endgroup", &[], ""))?;
        }
        let title = self.log.title(event);
        self.log.marker(&command("group", &[], &title))?;
        if self.commands == ToolCommands::Neutralised {
            let token = token();
            self.log.marker(&command("stop-commands", &[], &token))?;
            self.resume = Some(token);
        }
        Ok(())
    }

    fn close(&mut self, event: &Event) -> io::Result<()> {
        self.log.end_output()?;
        if let Some(token) = self.resume.take() {
            self.log.marker(&command(&token, &[], ""))?;
        }
        let EventBody::ToolFinished {
            tool,
            outcome,
            exit_code,
            signal,
            message,
            tolerated,
            will_retry,
            elapsed_ms,
            ..
        } = &event.body
        else {
            return Ok(());
        };
        let failed = *outcome != ToolOutcome::Success && !tolerated && !will_retry;
        self.left_open = failed;
        if !failed {
            self.log.marker(&command("endgroup", &[], ""))?;
        }
        self.log.say(event)?;
        let kind = match (outcome, tolerated) {
            // An interrupt is the run's end, and has its annotation there.
            (ToolOutcome::Success | ToolOutcome::Cancelled, _) => return Ok(()),
            (_, true) => "warning",
            _ if failed => "error",
            // What comes of the retry says the rest.
            _ => return Ok(()),
        };
        let how = how(*outcome, *exit_code, *signal);
        let mut text = format!("`{tool}` {how} after {}", time(*elapsed_ms));
        if let Some(message) = message {
            text = format!("{text}: {message}");
        }
        if failed {
            self.annotated.push(tool.clone());
        } else {
            text.push_str(" (tolerated)");
        }
        self.annotate(kind, tool, &text)
    }

    fn finish(&mut self, event: &Event) -> io::Result<()> {
        self.log.end_output()?;
        let EventBody::RunFinished { class, tool, .. } = &event.body else {
            return Ok(());
        };
        self.log.note(event);
        let is_told = tool.as_ref().is_some_and(|tool| self.annotated.contains(tool));
        if *class != Class::Ok && !is_told {
            let headline = closing(self.log.record()).into_iter().next();
            let text = headline.map(|line| line.text).unwrap_or_default();
            self.annotate("error", class.word(), text.trim_start_matches("error: "))?;
        }
        self.summarise()?;
        self.log.say(event)
    }

    fn summarise(&mut self) -> io::Result<()> {
        if let Some(path) = &self.summary
            && let Err(error) = step_summary::append(path, self.log.record())
        {
            // The run is none the worse for it.
            let text = format!(
                "the summary of the step cannot be written to {}: {error}",
                path.display()
            );
            self.annotate("warning", "summary", &text)?;
        }
        Ok(())
    }

    fn annotate(&mut self, kind: &str, about: &str, text: &str) -> io::Result<()> {
        let title = match about {
            "" => "devshell".to_owned(),
            about => format!("devshell: {about}"),
        };
        self.log.marker(&command(kind, &[("title", &title)], text))
    }
}

impl EventSink for GithubReporter {
    fn emit(&mut self, event: &Event) -> io::Result<()> {
        match &event.body {
            EventBody::ToolStarted { .. } => self.open(event),
            EventBody::ToolOutput { stream, data, .. } => self.log.output(event, *stream, &data.0),
            EventBody::ToolFinished { .. } => self.close(event),
            // While a tool runs the runner does not listen.
            EventBody::Warning { message } if self.resume.is_none() => self.annotate("warning", "", message),
            EventBody::RunFinished { .. } => self.finish(event),
            _ => self.log.say(event),
        }
    }
}

/// A workflow command.
fn command(name: &str, properties: &[(&str, &str)], data: &str) -> String {
    let properties: Vec<String> = properties
        .iter()
        .map(|(name, value)| format!("{name}={}", escape(value, true)))
        .collect();
    let blank = if properties.is_empty() { "" } else { " " };
    format!("::{name}{blank}{}::{}", properties.join(","), escape(data, false))
}

fn escape(text: &str, in_property: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '%' => out.push_str("%25"),
            '\r' => out.push_str("%0D"),
            '\n' => out.push_str("%0A"),
            ':' if in_property => out.push_str("%3A"),
            ',' if in_property => out.push_str("%2C"),
            char => out.push(char),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_escaped_as_the_runner_reads_them() {
        assert_eq!(command("endgroup", &[], ""), "::endgroup::");
        let properties = [("file", "a,b:c%"), ("title", "x\ny")];
        assert_eq!(
            command("error", &properties, "100%: a,b\r\nc"),
            "::error file=a%2Cb%3Ac%25,title=x%0Ay::100%25: a,b%0D%0Ac"
        );
    }
}
