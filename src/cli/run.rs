//! `devshell run` and `devshell exec`.

use anyhow::{Context as _, anyhow};

use crate::doctor::preflight;
use crate::exit::End;
use crate::plan::{Backend, HostAccess, Plan, Require, Strategy, require_tools};
use crate::process::{Cancel, Stdin, Terminal, forward_to};
use crate::runner::{Commands, Runner, Secrets, Setup};
use crate::session;
use crate::workspace::results;

use super::args::{Exec, Reports, Run};
use super::context::{Loading, plan_error};
use super::end::CliError;
use super::nested::{Nesting, is_shut_off, nesting};
use super::never_began::ended;
use super::repeat::{commands_of_exec, commands_of_run};
use super::reporters::{ReportFiles, leave_out, reporters};
use super::secrets;
use super::terminal::terminal;

pub(super) fn run(command: &Run) -> u8 {
    let plan = || {
        let plan =
            Loading::new(command.file.as_deref(), &command.layers)?.plan_of_tools(&command.choice.selection())?;
        require_tools(&plan).map_err(plan_error)?;
        Ok(plan)
    };
    let commands = commands_of_run(command);
    let done = start(&command.reports, Stdin::Null, commands, plan, |_| Ok(()));
    ended(&command.reports, Stdin::Null, done)
}

pub(super) fn exec(command: &Exec) -> u8 {
    let plan = || {
        if command.argv.first().is_none_or(|program| program.is_empty()) {
            return Err(CliError::new(End::Usage, anyhow!("the name of the program is empty")));
        }
        Loading::optional(command.file.as_deref(), &command.layers)?.plan_of_program(&command.argv)
    };
    let commands = commands_of_exec(command);
    let done = start(&command.reports, Stdin::Inherit, commands, plan, |_| Ok(()));
    ended(&command.reports, Stdin::Inherit, done)
}

/// Resolves the plan, opens the session and the reports, and runs. `before` sees the plan that
/// holds, and may refuse it.
pub(super) fn start(
    reports: &Reports,
    stdin: Stdin,
    commands: Commands,
    plan: impl FnOnce() -> Result<Plan, CliError>,
    before: impl FnOnce(&Plan) -> Result<(), CliError>,
) -> Result<u8, CliError> {
    let cancel = Cancel::new();
    let mut plan = plan()?;
    let secrets = secrets::read(&mut plan)?;
    let mask = secrets.mask().clone();
    let given = Given {
        stdin,
        terminal: terminal(reports.output, stdin).filter(|terminal| has_terminals(&plan, *terminal)),
        commands,
        secrets,
    };
    pass(reports, given, &mut plan, before, cancel).map_err(|error| error.hiding(&mask))
}

/// Whether tools can have a terminal where they run.
fn has_terminals(plan: &Plan, terminal: Terminal) -> bool {
    match &plan.backend {
        Backend::Host(_) => true,
        // ssh carries one there only together with what is typed, and past the agent, which holds together what a
        // tool starts.
        Backend::Lima(lima) => terminal.interactive && lima.guest.require == Require::None,
        Backend::Beta(_) | Backend::Remote => false,
    }
}

/// What a run is given besides its plan.
struct Given {
    stdin: Stdin,
    terminal: Option<Terminal>,
    commands: Commands,
    secrets: Secrets,
}

/// The run itself, once it is known what it is.
fn pass(
    reports: &Reports,
    given: Given,
    plan: &mut Plan,
    before: impl FnOnce(&Plan) -> Result<(), CliError>,
    cancel: Cancel,
) -> Result<u8, CliError> {
    let files = ReportFiles::open(reports)?;
    leave_out(plan, reports);
    // From here on a signal is a wish that somebody looks at; before, it just ends the process.
    let _signals = forward_to(cancel.clone())
        .context("cannot listen for signals")
        .map_err(|error| CliError::new(End::Isolation, error))?;
    let stdin = given.stdin;
    let terminal = given.terminal;
    let setup = setup(plan, given)?;
    preflight(plan).map_err(|error| CliError::new(error.end(), error))?;
    before(plan)?;
    let mut session = session::open(plan).map_err(|error| CliError::new(error.end(None), error))?;
    let mut sink = reporters(reports, files, stdin, terminal, &cancel);
    let outcome = Runner::run(plan, setup, session.as_mut(), &mut sink, cancel);
    Ok(outcome.end.code(plan.exit_code))
}

/// What the run gets besides the plan. Inside the view of another run of the workspace it takes
/// no lock and makes no view.
fn setup(plan: &mut Plan, given: Given) -> Result<Setup, CliError> {
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
        let [network, outside] = is_shut_off();
        host.network |= network;
        if outside {
            host.host = HostAccess::ReadWrite;
        }
        "inside the view of another run".clone_into(&mut plan.backend_why);
    }
    Ok(Setup {
        run_id: results::time_name(|_| false),
        env: std::env::vars_os().collect(),
        secrets: given.secrets,
        stdin: given.stdin,
        terminal: given.terminal,
        lock: !inside,
        commands: given.commands,
    })
}
