//! `devshell plan`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use crate::doctor::{Case, Outlook, outlook};
use crate::exit::End;
use crate::plan::{Backend, Plan, tool_environment};
use crate::quote::command_line;

use super::args;
use super::context::Loading;
use super::end::{CliError, answer, say};
use super::plan_json;
use super::plan_tools::{Verdict, verdict};
use super::recovery::mention_unfinished;

pub(super) fn plan(command: &args::Plan) -> Result<u8, CliError> {
    let loading = Loading::new(command.file.as_deref(), &command.layers)?;
    let plan = loading.plan_of_tools(&command.choice.selection())?;
    for warning in &plan.warnings {
        say(&format!("warning: {warning}"));
    }
    mention_unfinished(&plan)?;
    let case = Case {
        plan: plan.clone(),
        ..loading.case()?
    };
    let ahead = outlook(&case);
    let programs = programs(&plan, &case.env);
    match command.format {
        args::PlanFormat::Text => answer(&format!("{plan}\n{}{}", now(&plan, &case, &ahead), in_lines(&programs))),
        args::PlanFormat::Json => {
            let json = plan_json::describe(&plan, &case, &ahead, &programs);
            let json = serde_json::to_value(json).map_err(|error| CliError::new(End::Internal, error))?;
            answer(&format!("{json:#}\n"))
        }
    }
}

/// What can be said of a run that began at this moment.
fn now(plan: &Plan, case: &Case, ahead: &Outlook) -> String {
    let mut text = String::from("now\n");
    match &ahead.view {
        None => {
            let _ = writeln!(
                text,
                "  view        asked of the {} backend by a run only",
                plan.backend.name()
            );
        }
        Some(Err(why)) => {
            let _ = writeln!(text, "  view        none: {why}");
        }
        Some(Ok(view)) => {
            let why = view.why.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
            let _ = writeln!(
                text,
                "  view        {}, isolation {}{why}",
                view.strategy,
                view.isolation.word()
            );
            if view.is_too_little {
                let _ = writeln!(
                    text,
                    "              less than sandbox.require: a run ends with 71 before any tool"
                );
            }
            for warning in &view.warnings {
                let _ = writeln!(text, "              warning: {warning}");
            }
        }
    }
    match &ahead.push {
        None => {}
        Some(Err(why)) => {
            let _ = writeln!(text, "  push        cannot be counted: {why}");
        }
        Some(Ok(push)) => {
            let _ = writeln!(
                text,
                "  push        {} files and links, {} bytes; {} entries to remove",
                push.files, push.bytes, push.deleted
            );
        }
    }
    if let Some(holder) = &ahead.holder {
        let _ = writeln!(text, "  lock        held by {holder}: a run waits");
    }
    for tool in plan.tools.iter().filter(|tool| tool.left_out.is_none()) {
        match verdict(tool, plan, &case.env) {
            Verdict::Due => {}
            Verdict::Skipped(why) => {
                let _ = writeln!(text, "  {:<11} would be skipped: {why}", tool.name);
            }
            Verdict::Depends(why) => {
                let _ = writeln!(text, "  {:<11} depends: {why}", tool.name);
            }
        }
    }
    text
}

/// Where this host has the programs that the tools name. Only the host backend looks for them
/// here, and even there a tool may make the program of a later one: so this is no judgement.
fn programs(plan: &Plan, caller: &[(std::ffi::OsString, std::ffi::OsString)]) -> BTreeSet<(String, Option<String>)> {
    let mut found = BTreeSet::new();
    if !matches!(plan.backend, Backend::Host(_)) {
        return found;
    }
    for tool in plan.tools.iter().filter(|tool| tool.left_out.is_none()) {
        let Some(program) = tool.argv.first() else { continue };
        if Path::new(program).components().count() > 1 {
            continue;
        }
        let env = tool_environment(tool, caller);
        let path = env.iter().find(|(name, _)| name == "PATH").map(|(_, path)| path);
        let place = which::which_in(program, path, plan.workspace.join(&tool.cwd)).ok();
        found.insert((
            program.to_string_lossy().into_owned(),
            place.map(|place| place.display().to_string()),
        ));
    }
    found
}

fn in_lines(programs: &BTreeSet<(String, Option<String>)>) -> String {
    let mut text = String::new();
    for (index, (program, place)) in programs.iter().enumerate() {
        let place = place.as_deref().unwrap_or("not in PATH now");
        let head = if index == 0 { "programs\n" } else { "" };
        let _ = writeln!(text, "{head}  {}: {place}", command_line([program.as_str()]));
    }
    text
}
