//! `devshell run` and `devshell exec`.

use std::fs::File;
use std::io::{self, IsTerminal as _};
use std::os::fd::AsFd;

use anyhow::Context as _;

use crate::event::{Emitter, EventBody, EventSink};
use crate::exit::{End, ExitCodePolicy};
use crate::plan::{Backend, Plan, Strategy, require_tools};
use crate::process::{Cancel, Stdin, forward_to};
use crate::report::{EventLog, JsonReporter, Pipe, PlainReporter, Tee, Terminals, last_line};
use crate::runner::{Runner, Setup};
use crate::session;
use crate::workspace::results;

use super::args::{Exec, Output, Reports, Run};
use super::context::{Loading, plan_error};
use super::end::{CliError, say_line};
use super::nested::inside_a_run;

pub(super) fn run(command: &Run) -> u8 {
    let plan = || {
        let plan =
            Loading::new(command.file.as_deref(), &command.layers)?.plan_of_tools(&command.choice.selection())?;
        require_tools(&plan).map_err(plan_error)?;
        Ok(plan)
    };
    ended(&command.reports, start(&command.reports, Stdin::Null, plan))
}

pub(super) fn exec(command: &Exec) -> u8 {
    let plan = || Loading::optional(command.file.as_deref(), &command.layers)?.plan_of_program(&command.argv);
    ended(&command.reports, start(&command.reports, Stdin::Inherit, plan))
}

/// Resolves the plan, opens the session and the reports, and runs.
fn start(reports: &Reports, stdin: Stdin, plan: impl FnOnce() -> Result<Plan, CliError>) -> Result<u8, CliError> {
    let cancel = Cancel::new();
    let mut plan = plan()?;
    let _signals = forward_to(cancel.clone())
        .context("cannot listen for signals")
        .map_err(|error| CliError::new(End::Internal, error))?;
    let setup = nested(&mut plan, stdin);
    let mut session = session::open(&plan).map_err(|error| CliError::new(error.end(None), error))?;
    let mut sink = sink(reports, &cancel)?;
    let outcome = Runner::run(&plan, setup, session.as_mut(), &mut sink, cancel);
    Ok(outcome.end.code(plan.exit_code))
}

/// A devshell that a tool of a run in the same workspace starts works in that run's view: the
/// lock is the outer run's, and so is the transaction.
fn nested(plan: &mut Plan, stdin: Stdin) -> Setup {
    let env: Vec<_> = std::env::vars_os().collect();
    let inside = inside_a_run(plan);
    if inside && let Backend::Host(host) = &mut plan.backend {
        host.strategy = Strategy::InPlace;
        host.require = crate::plan::Require::None;
        "inside the view of another run".clone_into(&mut plan.backend_why);
    }
    Setup {
        run_id: results::time_name(|_| false),
        env,
        stdin,
        lock: !inside,
    }
}

/// The reporters that were asked for.
fn sink(reports: &Reports, cancel: &Cancel) -> Result<Tee, CliError> {
    let mut tee = Tee::default();
    if let Some(log) = event_log(reports)? {
        tee.push(Box::new(log));
    }
    let out = pipe(io::stdout(), cancel);
    let err = pipe(io::stderr(), cancel);
    let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    let moves = match reports.output {
        Output::Auto => io::stderr().is_terminal() && !dumb,
        Output::Terminal => io::stderr().is_terminal(),
        Output::Plain | Output::Json => false,
    };
    tee.push(match reports.output {
        Output::Json => Box::new(JsonReporter::new(out, err)),
        _ => Box::new(PlainReporter::new(
            out,
            err,
            Terminals {
                stdout: io::stdout().is_terminal(),
                stderr: moves,
            },
        )),
    });
    Ok(tee)
}

/// One of devshell's own streams, which lets the run go when a signal or a deadline wants it.
fn pipe(stream: impl AsFd, cancel: &Cancel) -> Pipe {
    let cancel = cancel.clone();
    match stream.as_fd().try_clone_to_owned() {
        Ok(stream) => Pipe::new(stream, move || cancel.wants_attention()),
        // A stream that is closed has no reader.
        Err(_) => Pipe::nowhere(),
    }
}

fn event_log(reports: &Reports) -> Result<Option<EventLog<File>>, CliError> {
    let Some(path) = &reports.events else {
        return Ok(None);
    };
    let file = File::create(path)
        .with_context(|| format!("cannot write the events to `{}`", path.display()))
        .map_err(|error| CliError::new(End::Usage, error))?;
    Ok(Some(EventLog::new(file)))
}

/// Ends the command. A run that never began is reported to the same places as one that did.
fn ended(reports: &Reports, result: Result<u8, CliError>) -> u8 {
    let error = match result {
        Ok(code) => return code,
        Err(error) => error,
    };
    let finished = EventBody::RunFinished {
        class: error.end.class(),
        exit_code: error.code(),
        tool: None,
        error: Some(error.text()),
        elapsed_ms: 0,
        kept: None,
    };
    // What cannot be written here has its error already: the one that is being reported.
    if let Ok(Some(mut log)) = event_log(reports) {
        Emitter::new(&mut log).emit(finished.clone());
    }
    if reports.output == Output::Json {
        let mut json = JsonReporter::new(pipe(io::stdout(), &Cancel::new()), Pipe::nowhere());
        Emitter::new(&mut json as &mut dyn EventSink).emit(finished);
    }
    error.say();
    say_line(&last_line(
        error.end.class(),
        None,
        error.end.code(ExitCodePolicy::Tool),
        None,
        None,
    ));
    error.code()
}
