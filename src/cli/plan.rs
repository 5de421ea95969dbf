//! `devshell plan`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use crate::plan::{Backend, Plan, tool_environment};

use super::args;
use super::context::Loading;
use super::end::{CliError, answer, say};
use super::recovery::mention_unfinished;

pub(super) fn plan(command: &args::Plan) -> Result<u8, CliError> {
    let loading = Loading::new(command.file.as_deref(), &command.layers)?;
    let plan = loading.plan_of_tools(&command.choice.selection())?;
    for warning in &plan.warnings {
        say(&format!("warning: {warning}"));
    }
    mention_unfinished(&plan)?;
    answer(&format!("{plan}\n{}", programs(&plan)))
}

/// Where this host has the programs that the tools name. Only the host backend looks for them
/// here, and even there a tool may make the program of a later one: so this is no judgement.
fn programs(plan: &Plan) -> String {
    if !matches!(plan.backend, Backend::Host(_)) {
        return String::new();
    }
    let caller: Vec<_> = std::env::vars_os().collect();
    let mut lines = BTreeSet::new();
    for tool in plan.tools.iter().filter(|tool| tool.left_out.is_none()) {
        let Some(program) = tool.argv.first() else { continue };
        if Path::new(program).components().count() > 1 {
            continue;
        }
        let env = tool_environment(tool, &caller);
        let path = env.iter().find(|(name, _)| name == "PATH").map(|(_, path)| path);
        let found = which::which_in(program, path, plan.workspace.join(&tool.cwd));
        let place = found.map_or_else(|_| "not in PATH now".to_owned(), |path| path.display().to_string());
        lines.insert(format!("  {}: {place}", program.display()));
    }
    let mut text = String::new();
    for (index, line) in lines.iter().enumerate() {
        let _ = writeln!(text, "{}{line}", if index == 0 { "programs\n" } else { "" });
    }
    text
}
