//! `devshell shell`.

use std::ffi::OsString;

use anyhow::anyhow;

use crate::exit::End;
use crate::plan::{Backend, Plan, Strategy};
use crate::process::Stdin;

use super::args::Output;
use super::context::Loading;
use super::end::{CliError, say};
use super::never_began::ended;
use super::repeat::commands_of_shell;
use super::run::start;
use super::shell_args::{OnExit, Shell};

/// The user's shell in a guest, which has one of its own.
const LOGIN_SHELL: [&str; 3] = ["sh", "-c", "exec \"${SHELL:-sh}\" -l"];

pub(super) fn shell(command: &Shell) -> u8 {
    let on_exit = command.on_exit.unwrap_or(OnExit::Keep);
    let plan = || {
        let argv = program(&command.argv)?;
        let loading = Loading::optional(command.file.as_deref(), &command.layers.layers())?;
        let mut plan = loading.plan_of_program(&argv)?;
        if matches!(plan.backend, Backend::Lima(_)) && command.argv.is_empty() {
            plan = loading.plan_of_program(&LOGIN_SHELL.map(OsString::from))?;
        }
        // The last command of a shell decides its code, which says nothing about the whole of it.
        plan.write_back = on_exit.write_back();
        // Nobody means a person who sits there.
        plan.run_timeout = None;
        plan.tools.iter_mut().for_each(|tool| tool.timeout = None);
        Ok(plan)
    };
    let before = |plan: &Plan| {
        let in_place = is_in_place(plan);
        if let (true, Some(asked @ (OnExit::Keep | OnExit::Drop))) = (in_place, command.on_exit) {
            return Err(no_view(asked));
        }
        if command.reports.output != Output::Json {
            say(&entering(plan, on_exit, in_place));
        }
        Ok(())
    };
    let commands = commands_of_shell(command);
    let done = start(&command.reports, Stdin::Inherit, commands, plan, before);
    ended(&command.reports, Stdin::Inherit, done)
}

/// What was asked for, else the user's shell, else the one that is everywhere.
fn program(asked: &[OsString]) -> Result<Vec<OsString>, CliError> {
    match asked.first() {
        Some(program) if program.is_empty() => {
            Err(CliError::new(End::Usage, anyhow!("the name of the program is empty")))
        }
        Some(_) => Ok(asked.to_vec()),
        None => {
            let shell = std::env::var_os("SHELL").filter(|shell| !shell.is_empty());
            Ok(vec![shell.unwrap_or_else(|| "sh".into())])
        }
    }
}

fn is_in_place(plan: &Plan) -> bool {
    matches!(&plan.backend, Backend::Host(host) if host.strategy == Strategy::InPlace)
}

/// In which tree the shell works, and what becomes of its changes.
fn entering(plan: &Plan, on_exit: OnExit, in_place: bool) -> String {
    let workspace = plan.workspace.display();
    if in_place {
        return format!(
            "a shell in `{workspace}` itself, without a view of its own: what it changes is changed at once"
        );
    }
    let then = match on_exit {
        OnExit::Keep => "kept aside (`devshell results`); `--on-exit commit` applies it instead",
        OnExit::Commit => "applied, all or nothing",
        OnExit::Drop => "dropped",
    };
    let place = match &plan.backend {
        Backend::Lima(lima) => format!("the Lima instance `{}`, on a copy of", lima.instance),
        _ => "a private view of".to_owned(),
    };
    format!("a shell in {place} `{workspace}`: when it ends, what it changed is {then}")
}

fn no_view(asked: OnExit) -> CliError {
    let word = match asked {
        OnExit::Drop => "drop",
        OnExit::Keep | OnExit::Commit => "keep",
    };
    CliError::new(
        End::ConfigInvalid,
        anyhow!(
            "`--on-exit {word}` needs a view of its own, and the shell would work on the tree itself, where changes \
             are changes at once: leave it out, or choose another strategy where it is `in_place` (`--set \
             vm.host.strategy=auto`)"
        ),
    )
}
