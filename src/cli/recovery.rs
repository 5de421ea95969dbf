//! What a killed commit left, said on stderr.

use std::path::Path;

use crate::exit::End;
use crate::plan::Plan;
use crate::workspace::{self, WorkspaceLock};

use super::end::{CliError, say};

/// Makes a workspace whole whose lock the caller has, and says what was done.
pub(super) fn recover(area: &Path, workspace: &Path) -> Result<(), CliError> {
    let recovered = workspace::recover(area, workspace).map_err(|error| CliError::new(End::Sync, error))?;
    if let Some(recovered) = recovered {
        say(&format!("warning: {recovered}"));
    }
    Ok(())
}

/// The same where nobody has the lock. Whoever has it has recovered already.
pub(super) fn recover_if_idle(area: &Path, workspace: &Path) -> Result<(), CliError> {
    match idle_and_unfinished(area, workspace)? {
        Some(_lock) => recover(area, workspace),
        None => Ok(()),
    }
}

/// Only says that there is something to recover, for commands that change nothing.
pub(super) fn mention_unfinished(plan: &Plan) -> Result<(), CliError> {
    if idle_and_unfinished(&plan.places.commit_area(), &plan.workspace)?.is_some() {
        say("warning: a run was killed in the middle of its commit; the next run finishes or undoes that first");
    }
    Ok(())
}

/// The lock of a workspace with a commit that was cut short. A commit that is being made looks
/// the same, but for the lock; and without anything to recover, nobody is kept from having it.
fn idle_and_unfinished(area: &Path, workspace: &Path) -> Result<Option<WorkspaceLock>, CliError> {
    let unfinished = workspace::unfinished_commits(area, workspace).map_err(|error| CliError::new(End::Sync, error))?;
    if unfinished.is_empty() {
        return Ok(None);
    }
    WorkspaceLock::try_acquire(workspace).map_err(|error| CliError::new(End::Sync, error))
}
