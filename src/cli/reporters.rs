//! The reporters that were asked for.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, IsTerminal as _};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};

use crate::event::{Event, EventSink};
use crate::exit::End;
use crate::plan::Plan;
use crate::process::{Cancel, Stdin, Terminal};
use crate::report::{
    EventLog, GithubReporter, GitlabReporter, JsonReporter, JunitReporter, OwnLines, Pipe, PlainReporter, Tee,
    TerminalReporter, TerminalStyle, Terminals, ToolCommands,
};
use crate::sys::output::are_one;

use super::args::{Output, Reports};
use super::dialect::output;
use super::end::CliError;

/// The reports that go to files; each opened, and this run's.
#[derive(Default)]
pub(super) struct ReportFiles {
    pub(super) events: Option<Named<EventLog<File>>>,
    pub(super) junit: Option<Named<JunitReporter>>,
}

/// A report that says of its failures which file it is.
pub(super) struct Named<S> {
    path: PathBuf,
    sink: S,
}

impl<S: EventSink> EventSink for Named<S> {
    fn emit(&mut self, event: &Event) -> io::Result<()> {
        self.sink.emit(event).map_err(|error| {
            let path = self.path.display();
            io::Error::new(error.kind(), format!("{path}: {error}"))
        })
    }
}

impl ReportFiles {
    /// Opens them.
    pub(super) fn open(reports: &Reports) -> Result<Self, CliError> {
        let events = event_log(reports)?;
        // Now that the one is there, another name for it can be told.
        if are_one_file(reports) {
            let why = anyhow!("`--events` and `--junit` name the same file: give each one of its own");
            return Err(CliError::new(End::Usage, why));
        }
        Ok(Self {
            events,
            junit: junit(reports)?,
        })
    }

    /// Opens those that can be; for a run whose error is known already.
    pub(super) fn open_what_can_be(reports: &Reports) -> Self {
        let events = event_log(reports).unwrap_or_default();
        let junit = match are_one_file(reports) {
            true => None,
            false => junit(reports).unwrap_or_default(),
        };
        Self { events, junit }
    }

    /// As one sink. What fails at the very end is told by those behind it, so the report that
    /// scripts read for the end comes behind the one that is written whole then.
    pub(super) fn tee(self) -> Tee {
        let mut tee = Tee::default();
        if let Some(junit) = self.junit {
            tee.push(Box::new(junit));
        }
        if let Some(events) = self.events {
            tee.push(Box::new(events));
        }
        tee
    }
}

/// All reporters of a run whose tools read `stdin` and have `terminal`.
pub(super) fn reporters(
    reports: &Reports,
    files: ReportFiles,
    stdin: Stdin,
    terminal: Option<Terminal>,
    cancel: &Cancel,
) -> Tee {
    let mut tee = files.tee();
    let out = pipe(io::stdout(), cancel);
    let mut err = pipe(io::stderr(), cancel);
    let typed_at = terminal.is_some_and(|terminal| terminal.interactive);
    if typed_at && io::stderr().is_terminal() {
        err = err.with_returns();
    }
    tee.push(screen(reports, out, err, stdin, typed_at));
    tee
}

/// The reporter for people, or for the CI system that shows them a log. `typed_at`: a tool has the
/// terminal for itself while it runs, and nothing of devshell's may move there.
fn screen(reports: &Reports, out: Pipe, err: Pipe, stdin: Stdin, typed_at: bool) -> Box<dyn EventSink> {
    let own = OwnLines::new(reports.timestamps);
    let output = output(reports.output, stdin);
    match output {
        Output::Json => return Box::new(JsonReporter::new(out, err)),
        Output::Gitlab => return Box::new(GitlabReporter::new(out, err, own)),
        Output::Github => return Box::new(github(reports, out, err, own)),
        Output::Auto | Output::Terminal | Output::Plain => {}
    }
    let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    // What the user types to a tool would be torn by a line that moves.
    let typed_to = stdin == Stdin::Inherit && io::stdin().is_terminal();
    let moves = io::stderr().is_terminal() && !dumb && !typed_at && (output == Output::Terminal || !typed_to);
    let terminals = Terminals {
        stdout: io::stdout().is_terminal(),
        stderr: io::stderr().is_terminal(),
    };
    // `NO_COLOR`, `CLICOLOR_FORCE` and their kin are heard there.
    let colours = anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never;
    if output != Output::Plain && (terminals.stderr || colours) {
        let style = TerminalStyle {
            colours,
            view: io::stderr().as_fd().try_clone_to_owned().ok().filter(|_| moves),
            own,
        };
        return Box::new(TerminalReporter::new(out, err, terminals, style));
    }
    Box::new(
        PlainReporter::new(out, err, terminals)
            .with_lines(own)
            .joined(are_one(io::stdout(), io::stderr())),
    )
}

/// The reporter for GitHub's log, with the summary of the step where GitHub wants one.
pub(super) fn github(reports: &Reports, out: Pipe, err: Pipe, own: OwnLines) -> GithubReporter {
    let summary = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty());
    let commands = match reports.allow_commands {
        true => ToolCommands::Obeyed,
        false => ToolCommands::Neutralised,
    };
    GithubReporter::new(out, err, own, commands, summary.map(PathBuf::from))
}

/// One of devshell's own streams, which lets the run go when a signal or a deadline wants it.
pub(super) fn pipe(stream: impl AsFd, cancel: &Cancel) -> Pipe {
    let cancel = cancel.clone();
    match stream.as_fd().try_clone_to_owned() {
        Ok(stream) => Pipe::new(stream, move || cancel.wants_attention()),
        // A stream that is closed has no reader.
        Err(_) => Pipe::nowhere(),
    }
}

fn are_one_file(reports: &Reports) -> bool {
    let (Some(events), Some(junit)) = (&reports.events, &reports.junit) else {
        return false;
    };
    let real = |path: &PathBuf| path.canonicalize().ok();
    events == junit || real(events).is_some_and(|events| Some(events) == real(junit))
}

/// The file of `--junit`.
fn junit(reports: &Reports) -> Result<Option<Named<JunitReporter>>, CliError> {
    named(reports.junit.as_ref(), "the JUnit report", |path| {
        Ok(JunitReporter::create(path)?)
    })
}

/// The file of `--events`, empty and this run's alone.
fn event_log(reports: &Reports) -> Result<Option<Named<EventLog<File>>>, CliError> {
    named(reports.events.as_ref(), "the events", |path| {
        Ok(EventLog::new(open_alone(path)?))
    })
}

fn named<S>(
    path: Option<&PathBuf>,
    what: &str,
    open: impl FnOnce(&Path) -> anyhow::Result<S>,
) -> Result<Option<Named<S>>, CliError> {
    let Some(path) = path else {
        return Ok(None);
    };
    let sink = open(path)
        .with_context(|| format!("cannot write {what} to `{}`", path.display()))
        .map_err(|error| CliError::new(End::Usage, error))?;
    let path = path.clone();
    Ok(Some(Named { path, sink }))
}

fn open_alone(path: &Path) -> anyhow::Result<File> {
    let file = OpenOptions::new().append(true).create(true).open(path)?;
    if file.metadata()?.is_file() {
        match file.try_lock() {
            Ok(()) => file.set_len(0)?,
            Err(TryLockError::WouldBlock) => return Err(anyhow!("another devshell is writing its events there")),
            // Some file systems have no locks; most runs have a file of their own.
            Err(TryLockError::Error(_)) => file.set_len(0)?,
        }
    }
    Ok(file)
}

/// Keeps the files of reports out of the view and out of the conflict check where they lie in
/// the workspace: it is devshell that writes them.
pub(super) fn leave_out(plan: &mut Plan, reports: &Reports) {
    for path in reports.events.iter().chain(&reports.junit) {
        let Ok(path) = path.canonicalize() else {
            continue;
        };
        if let Some(relative) = path.strip_prefix(&plan.workspace).ok().and_then(Path::to_str) {
            let literal: String = relative
                .chars()
                .flat_map(|c| {
                    ['\\'; 1]
                        .into_iter()
                        .filter(move |_| "*?[]\\!# ".contains(c))
                        .chain([c])
                })
                .collect();
            plan.ignore.push(format!("/{literal}"));
        }
    }
}
