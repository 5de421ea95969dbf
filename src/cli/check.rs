//! `devshell check`.

use super::args::Check;
use super::context::Loading;
use super::end::{CliError, answer, say};
use super::recovery::mention_unfinished;

pub(super) fn check(command: &Check) -> Result<u8, CliError> {
    let loading = Loading::new(command.file.as_deref(), &command.layers)?;
    // Choosing no tools, the plan still says whether the workspace can be used.
    let (plan, missing) = loading.plan_to_look()?;
    for warning in &plan.warnings {
        say(&format!("warning: {warning}"));
    }
    match missing {
        // The file is as valid where it cannot be run.
        Some(missing) => say(&format!("warning: a run would not begin here: {missing}")),
        None => mention_unfinished(&plan)?,
    }
    let file = plan
        .config_file
        .as_ref()
        .map(|file| file.display().to_string())
        .unwrap_or_default();
    let tools = match plan.tools.len() {
        1 => "1 tool".to_owned(),
        number => format!("{number} tools"),
    };
    answer(&format!("{file}: valid, {tools}\n"))
}
