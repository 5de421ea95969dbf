//! The reports of a run that never began: they go to the same places as those of one that did.

use std::io;

use crate::config::{ConfigError, Fault, Holder};
use crate::event::{EVENT_VERSION, Event, EventBody, EventSink as _, Next};
use crate::exit::ExitCodePolicy;
use crate::process::{Cancel, Stdin};
use crate::report::{JsonReporter, Marked, OwnLines, Pipe, last_line};

use super::args::{Output, Reports};
use super::dialect::output;
use super::end::{CliError, say_line};
use super::reporters::{ReportFiles, github, pipe};

/// Ends the command with the code of its run, or of the error that kept it from beginning.
pub(super) fn ended(reports: &Reports, stdin: Stdin, result: Result<u8, CliError>) -> u8 {
    let error = match result {
        Ok(code) => return code,
        Err(error) => error,
    };
    let finished = Event {
        v: EVENT_VERSION,
        t_ms: 0,
        body: EventBody::RunFinished {
            class: error.end.class(),
            exit_code: error.code(),
            tool: None,
            error: Some(error.text()),
            elapsed_ms: 0,
            kept: None,
            next: Next::default(),
        },
    };
    // What cannot be written here has its error already: the one that is being reported.
    let _ = ReportFiles::open_what_can_be(reports).tee().emit(&finished);
    let out = || pipe(io::stdout(), &Cancel::new());
    match output(reports.output, stdin) {
        Output::Github => {
            let mut log = github(reports, out(), Pipe::nowhere(), OwnLines::new(reports.timestamps));
            let _ = log.say_never_began(&finished, &error.text(), &places(&error));
        }
        Output::Json => {
            let _ = JsonReporter::new(out(), Pipe::nowhere()).emit(&finished);
            error.say();
        }
        Output::Auto | Output::Terminal | Output::Plain | Output::Gitlab => error.say(),
    }
    say_line(&last_line(
        error.end.class(),
        None,
        error.end.code(ExitCodePolicy::Tool),
        None,
        None,
    ));
    error.code()
}

/// Where the faults of a config are, as far as they are in files.
fn places(error: &CliError) -> Vec<Marked> {
    match error.error.downcast_ref() {
        Some(ConfigError::Invalid(faults)) => faults.iter().filter_map(place).collect(),
        _ => Vec::new(),
    }
}

fn place(fault: &Fault) -> Option<Marked> {
    let place = fault.place.as_ref()?;
    let Holder::File { path, .. } = &place.source.holder else {
        return None;
    };
    let (line, column) = place.line_and_column();
    // As it is shown, and not the fields: that has no secrets in it.
    let shown = fault.to_string();
    let said = shown.lines().next()?;
    let help = shown.lines().filter_map(|line| line.trim_start().strip_prefix("= "));
    let message: Vec<&str> = std::iter::once(said.trim_start_matches("error: "))
        .chain(help)
        .collect();
    Some(Marked {
        file: path.display().to_string(),
        line,
        column,
        message: message.join("\n"),
    })
}
