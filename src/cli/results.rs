//! `devshell results`: what failed runs left to look at.

use std::fmt::Write as _;
use std::io::Write as _;

use anyhow::Context as _;

use crate::event::Word;
use crate::exit::End;
use crate::plan::Plan;
use crate::process::{Cancel, forward_to};
use crate::report::typed;
use crate::runner::lock_end;
use crate::workspace::results::{self, ResultSummary, ResultsError};
use crate::workspace::{CommitError, Conflict, Holder, SyncError, WorkspaceLock};

use super::args::{Layers, Results, ResultsCommand};
use super::context::Loading;
use super::end::{CliError, answer, say};
use super::nested::{Nesting, nesting};
use super::recovery::{recover, recover_if_idle};
use super::repeat::results_command;

pub(super) fn results(command: &Results) -> Result<u8, CliError> {
    // Without a config the current folder is the workspace, as for `exec`.
    let layers = Layers {
        profile: command.profile.clone(),
        set: command.set.clone(),
        ..Layers::default()
    };
    let loading = Loading::optional(command.file.as_deref(), &layers)?;
    let plan = loading.plan_of_tools(&crate::plan::Selection::default())?;
    if nesting(&plan) == Nesting::Outside
        && let Some(ResultsCommand::List | ResultsCommand::Diff { .. }) | None = &command.what
    {
        recover_if_idle(&plan.places.commit_area(), &plan.workspace);
    }
    match command.what.as_ref().unwrap_or(&ResultsCommand::List) {
        ResultsCommand::List => list(&plan),
        ResultsCommand::Diff { id } => diff(&plan, id.as_deref()),
        ResultsCommand::Apply { id } => apply(&plan, &results_command(command.file.as_deref(), &layers), id.as_deref()),
        ResultsCommand::Drop { id, .. } => match id {
            Some(id) => drop_one(&plan, id),
            None => {
                let dropped = results::drop_all(&plan.places.state).map_err(results_error)?;
                answer(&format!("dropped {dropped}\n"))
            }
        },
    }
}

fn list(plan: &Plan) -> Result<u8, CliError> {
    let kept = results::list(&plan.places.state).map_err(state_error)?;
    if kept.is_empty() {
        return answer(&format!("no kept results of {}\n", plan.workspace.display()));
    }
    let mut text = String::new();
    for result in &kept {
        let ResultSummary {
            id,
            class,
            tool,
            written,
            deleted,
            bytes,
            ..
        } = result;
        let tool = tool.as_ref().map(|tool| format!(" tool={tool}")).unwrap_or_default();
        let _ = writeln!(
            text,
            "{id}  class={class}{tool}  {written} written, {deleted} deleted, {bytes} bytes"
        );
    }
    answer(&text)
}

fn diff(plan: &Plan, id: Option<&str>) -> Result<u8, CliError> {
    let id = find(plan, id)?;
    let kept = results::load(&plan.places.state, &id).map_err(results_error)?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    match results::diff(&kept, &plan.workspace, &mut out) {
        Err(ResultsError::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(0),
        diff => {
            diff.map_err(results_error)?;
            out.flush()
                .map_err(|error| results_error(ResultsError::Output(error)))?;
            Ok(0)
        }
    }
}

fn apply(plan: &Plan, typed_as: &[Word], id: Option<&str>) -> Result<u8, CliError> {
    if nesting(plan) != Nesting::Outside {
        let why = "a tool of a run of this workspace cannot apply a result: it would wait for its own run";
        return Err(CliError::new(End::Usage, anyhow::anyhow!(why)));
    }
    let cancel = Cancel::new();
    let _signals = forward_to(cancel.clone())
        .context("cannot listen for signals")
        .map_err(|error| CliError::new(End::Sync, error))?;
    let waiting = &mut |holder: &Holder| {
        say(&format!("waiting for another run in this workspace ({holder})"));
    };
    let _lock = WorkspaceLock::acquire(&plan.workspace, plan.lock_timeout, &|| cancel.is_raised(), waiting)
        .map_err(|error| CliError::new(lock_end(&error, &cancel), error))?;
    let area = plan.places.commit_area();
    recover(&area, &plan.workspace)?;
    let id = find(plan, id)?;
    let report = results::apply(&plan.places.state, &id, &plan.workspace, &area, &|| cancel.is_raised());
    let report = report.map_err(|error| match error {
        ResultsError::Commit(CommitError::Cancelled) => {
            CliError::new(End::Interrupted(cancel.signal().unwrap_or(2)), error)
        }
        ResultsError::Commit(CommitError::Conflict { paths }) => at_odds(plan, typed_as, &id, paths),
        error => results_error(error),
    })?;
    answer(&format!(
        "applied {id}: {} written, {} deleted\n",
        report.written, report.deleted
    ))
}

/// A result that cannot be applied, with what can be done about it. Its contents have numbers for names, so the way
/// to those that are at odds is told.
fn at_odds(plan: &Plan, typed_as: &[Word], id: &str, paths: Vec<Conflict>) -> CliError {
    /// As many as the error itself names.
    const SHOWN: usize = 5;
    let mut diff = typed_as.to_vec();
    diff.extend(["diff", id].map(Word::from));
    let mut contents = String::new();
    if let Ok(kept) = results::load(&plan.places.state, id) {
        for Conflict { path, .. } in paths.iter().take(SHOWN) {
            if let Some(content) = kept.content(path) {
                let _ = write!(contents, ", its `{}` is {}", path.display(), content.display());
            }
        }
    }
    let error = CommitError::Conflict { paths };
    let why = anyhow::anyhow!(
        "{error}; nothing was applied, and the result is kept. `{}` shows what it would change{contents}: copy from it \
         what you want, or run again",
        typed(&diff)
    );
    CliError::new(End::Conflict, why)
}

fn drop_one(plan: &Plan, id: &str) -> Result<u8, CliError> {
    let id = find(plan, Some(id))?;
    results::drop_result(&plan.places.state, &id).map_err(results_error)?;
    answer(&format!("dropped {id}\n"))
}

/// The result that is meant: the newest where none is named.
fn find(plan: &Plan, id: Option<&str>) -> Result<String, CliError> {
    if let Some(id) = id {
        return results::resolve(&plan.places.state, id).map_err(results_error);
    }
    let kept = results::list(&plan.places.state).map_err(state_error)?;
    match kept.first() {
        Some(newest) => Ok(newest.id.clone()),
        None => Err(CliError::new(
            End::Usage,
            anyhow::anyhow!("there is no kept result of this workspace"),
        )),
    }
}

fn state_error(error: SyncError) -> CliError {
    CliError::of_own_folder(error, "XDG_STATE_HOME")
}

fn results_error(error: ResultsError) -> CliError {
    if let ResultsError::Sync(error) = error {
        return state_error(error);
    }
    let end = match &error {
        ResultsError::NotFound(_) | ResultsError::Ambiguous { .. } => End::Usage,
        ResultsError::InUse(_) => End::Lost,
        ResultsError::Commit(CommitError::Conflict { .. }) => End::Conflict,
        ResultsError::Damaged { .. } | ResultsError::Output(_) | ResultsError::Sync(_) | ResultsError::Commit(_) => {
            End::Sync
        }
    };
    CliError::new(end, error)
}
