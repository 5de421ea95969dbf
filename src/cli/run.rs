//! `devshell run` and `devshell exec`.

use std::io;

use anyhow::{Context as _, anyhow};

use crate::event::{Emitter, EventBody, EventSink};
use crate::exit::{End, ExitCodePolicy};
use crate::plan::{Backend, Plan, Require, Strategy, require_tools};
use crate::process::{Cancel, Stdin, forward_to};
use crate::report::{JsonReporter, Pipe, last_line};
use crate::runner::{Runner, Setup};
use crate::session;
use crate::workspace::results;

use super::args::{Exec, Output, Reports, Run};
use super::context::{Loading, plan_error};
use super::end::{CliError, say_line};
use super::nested::{Nesting, nesting};
use super::reporters::{event_log, leave_out, pipe, reporters};
use super::terminal::terminal;

pub(super) fn run(command: &Run) -> u8 {
    let plan = || {
        let plan =
            Loading::new(command.file.as_deref(), &command.layers)?.plan_of_tools(&command.choice.selection())?;
        require_tools(&plan).map_err(plan_error)?;
        Ok(plan)
    };
    ended(&command.reports, start(&command.reports, Stdin::Null, plan, |_| Ok(())))
}

pub(super) fn exec(command: &Exec) -> u8 {
    let plan = || {
        if command.argv.first().is_none_or(|program| program.is_empty()) {
            return Err(CliError::new(End::Usage, anyhow!("the name of the program is empty")));
        }
        Loading::optional(command.file.as_deref(), &command.layers)?.plan_of_program(&command.argv)
    };
    ended(
        &command.reports,
        start(&command.reports, Stdin::Inherit, plan, |_| Ok(())),
    )
}

/// Resolves the plan, opens the session and the reports, and runs. `before` sees the plan that
/// holds, and may refuse it.
pub(super) fn start(
    reports: &Reports,
    stdin: Stdin,
    plan: impl FnOnce() -> Result<Plan, CliError>,
    before: impl FnOnce(&Plan) -> Result<(), CliError>,
) -> Result<u8, CliError> {
    let cancel = Cancel::new();
    let mut plan = plan()?;
    let log = event_log(reports)?;
    leave_out(&mut plan, reports);
    // From here on a signal is a wish that somebody looks at; before, it just ends the process.
    let _signals = forward_to(cancel.clone())
        .context("cannot listen for signals")
        .map_err(|error| CliError::new(End::Internal, error))?;
    let mut setup = setup(&mut plan, stdin)?;
    setup.terminal = terminal(reports.output, stdin);
    before(&plan)?;
    let mut session = session::open(&plan).map_err(|error| CliError::new(error.end(None), error))?;
    let mut sink = reporters(reports.output, log, stdin, &cancel);
    let outcome = Runner::run(&plan, setup, session.as_mut(), &mut sink, cancel);
    Ok(outcome.end.code(plan.exit_code))
}

/// What the run gets besides the plan. Inside the view of another run of the workspace it takes
/// no lock and makes no view.
fn setup(plan: &mut Plan, stdin: Stdin) -> Result<Setup, CliError> {
    let nesting = nesting(plan);
    if nesting == Nesting::Beside {
        let why = anyhow!(
            "this devshell was started by a tool of a run of `{}`, which works on a copy elsewhere because no \
             mounts of its own could be had: start it in the tool's own folder instead",
            plan.workspace.display()
        );
        return Err(CliError::new(End::Isolation, why));
    }
    let inside = nesting == Nesting::Inside;
    if inside && let Backend::Host(host) = &mut plan.backend {
        host.strategy = Strategy::InPlace;
        // The isolation is the outer run's, which had its own say.
        host.require = Require::None;
        "inside the view of another run".clone_into(&mut plan.backend_why);
    }
    Ok(Setup {
        run_id: results::time_name(|_| false),
        env: std::env::vars_os().collect(),
        stdin,
        terminal: None,
        lock: !inside,
    })
}

/// Ends the command. A run that never began is reported to the same places as one that did.
pub(super) fn ended(reports: &Reports, result: Result<u8, CliError>) -> u8 {
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
