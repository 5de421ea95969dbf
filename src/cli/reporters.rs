//! The reporters that were asked for.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, IsTerminal as _};
use std::os::fd::AsFd;
use std::path::Path;

use anyhow::{Context as _, anyhow};

use crate::exit::End;
use crate::plan::Plan;
use crate::process::{Cancel, Stdin};
use crate::report::{EventLog, JsonReporter, Pipe, PlainReporter, Tee, Terminals};

use super::args::{Output, Reports};
use super::end::CliError;
use super::terminal::terminal;

/// All reporters of a run; `log` is the event file, if one was asked for.
pub(super) fn reporters(output: Output, log: Option<EventLog<File>>, stdin: Stdin, cancel: &Cancel) -> Tee {
    let mut tee = Tee::default();
    if let Some(log) = log {
        tee.push(Box::new(log));
    }
    let out = pipe(io::stdout(), cancel);
    let mut err = pipe(io::stderr(), cancel);
    let typed_at = terminal(output, stdin).is_some_and(|terminal| terminal.interactive);
    if typed_at && io::stderr().is_terminal() {
        err = err.with_returns();
    }
    let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    // What the user types to a tool would be torn by a line that moves.
    let typed_to = stdin == Stdin::Inherit && io::stdin().is_terminal();
    let moves = io::stderr().is_terminal()
        && match output {
            Output::Auto => !dumb && !typed_to,
            Output::Terminal => !typed_at,
            Output::Plain | Output::Json => false,
        };
    let terminals = Terminals {
        stdout: io::stdout().is_terminal(),
        stderr: moves,
    };
    tee.push(match output {
        Output::Json => Box::new(JsonReporter::new(out, err)),
        _ => Box::new(PlainReporter::new(out, err, terminals)),
    });
    tee
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

/// The file of `--events`, empty and this run's alone.
pub(super) fn event_log(reports: &Reports) -> Result<Option<EventLog<File>>, CliError> {
    let Some(path) = &reports.events else {
        return Ok(None);
    };
    let file = open_alone(path)
        .with_context(|| format!("cannot write the events to `{}`", path.display()))
        .map_err(|error| CliError::new(End::Usage, error))?;
    Ok(Some(EventLog::new(file)))
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

/// Keeps the event file out of the view and out of the conflict check where it lies in the
/// workspace: it is devshell that writes it.
pub(super) fn leave_out(plan: &mut Plan, reports: &Reports) {
    let Some(path) = reports.events.as_ref().and_then(|path| path.canonicalize().ok()) else {
        return;
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
