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

/// The same where nobody has the lock, for commands that only show what is kept: they do it also where this fails.
/// Whoever has the lock has recovered already.
pub(super) fn recover_if_idle(area: &Path, workspace: &Path) {
    let recovered = || {
        // Without anything to do, nobody is kept from having the lock.
        let needed = workspace::needs_recovery(area, workspace).map_err(|error| CliError::new(End::Sync, error))?;
        match needed.then(|| try_lock(workspace)).transpose()?.flatten() {
            Some(_lock) => recover(area, workspace),
            None => Ok(()),
        }
    };
    if let Err(error) = recovered() {
        say(&format!("warning: {}", error.text()));
    }
}

/// Only says that there is something to recover, for commands that change nothing.
pub(super) fn mention_unfinished(plan: &Plan) -> Result<(), CliError> {
    let unfinished = workspace::unfinished_commits(&plan.places.commit_area(), &plan.workspace);
    let unfinished = unfinished.map_err(|error| CliError::new(End::Sync, error))?;
    // A commit that is being made looks the same, but for the lock.
    if !unfinished.is_empty() && try_lock(&plan.workspace)?.is_some() {
        say("warning: a run was killed in the middle of its commit; the next run finishes or undoes that first");
    }
    Ok(())
}

fn try_lock(workspace: &Path) -> Result<Option<WorkspaceLock>, CliError> {
    WorkspaceLock::try_acquire(workspace).map_err(|error| CliError::new(End::Sync, error))
}
