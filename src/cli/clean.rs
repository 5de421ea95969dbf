//! `devshell clean`: what dead runs left behind.
//!
//! A staged copy and the folder of a view are locked by the run that uses them, so what can be
//! locked here belongs to nobody. Kept results lie elsewhere and are never touched. Commits that
//! were cut short are finished or undone, in every workspace that is there and in nobody's use.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::exit::{End, ExitCodePolicy};
use crate::plan::own_roots;
use crate::session::host::{Leftover, LeftoverKind, leftovers};
use crate::workspace::{self, At as _, SyncError, WorkspaceLock};

use super::args::Clean;
use super::context::plan_error;
use super::end::{CliError, answer, say};
use super::recovery::recover;

pub(super) fn clean(command: &Clean) -> Result<u8, CliError> {
    let cwd = std::env::current_dir().unwrap_or_else(|_| Path::new("/").to_path_buf());
    let env: Vec<_> = std::env::vars_os().collect();
    let (cache, state) = own_roots(&cwd, &env).map_err(plan_error)?;
    let (mut removed, mut left) = commits(&state, command.originals)?;
    let found = leftovers(&cache).at("look through", &cache);
    let found = found.map_err(|error| CliError::of_own_folder(error, "XDG_CACHE_HOME or DEVSHELL_EXPORT_BASE"))?;
    for leftover in found {
        let Leftover {
            path, workspace, kind, ..
        } = &leftover;
        let gone = workspace.as_ref().is_none_or(|workspace| !workspace.is_dir());
        let what = match kind {
            LeftoverKind::Copy if !gone && !command.all => continue,
            LeftoverKind::Copy => "the staged copy",
            LeftoverKind::Run => "a view that a killed run left",
        };
        let whose = workspace
            .as_ref()
            .map_or("an unknown workspace".to_owned(), |path| path.display().to_string());
        match leftover.remove() {
            Ok(()) => {
                say(&format!("removed `{}`, {what} of {whose}", path.display()));
                removed += 1;
            }
            Err(error) => {
                say(&format!(
                    "error: cannot remove `{}`, {what} of {whose}: {error}",
                    path.display()
                ));
                left += 1;
            }
        }
    }
    answer(&format!("removed {removed}\n"))?;
    Ok(if left == 0 {
        0
    } else {
        End::Sync.code(ExitCodePolicy::Tool)
    })
}

/// Recovers the commits of all workspaces that the state folder knows of. Returns how many
/// folders were removed, and how many workspaces could not be recovered.
fn commits(state: &Path, drop_originals: bool) -> Result<(u64, u64), CliError> {
    let (mut removed, mut left) = (0, 0);
    for (area, target) in areas(state).map_err(|error| CliError::of_own_folder(error, "XDG_STATE_HOME"))? {
        let target = match target {
            Ok(target) => target,
            Err(folder) => {
                say(&format!(
                    "error: the journal of the commit in `{}` cannot be read: put back what is needed from `new` and \
                     `old` in it, then remove that folder",
                    folder.display()
                ));
                left += 1;
                continue;
            }
        };
        let lock = if target.is_dir() {
            match WorkspaceLock::try_acquire(&target) {
                Ok(Some(lock)) => Some(lock),
                // A run is there, and has recovered.
                Ok(None) => continue,
                Err(error) => {
                    CliError::new(End::Sync, error).say();
                    left += 1;
                    continue;
                }
            }
        } else {
            None
        };
        if let Err(error) = recover(&area, &target) {
            error.say();
            left += 1;
            continue;
        }
        if !drop_originals {
            let kept = workspace::kept_originals(&area, &target).map_err(|error| CliError::new(End::Sync, error))?;
            for folder in kept {
                say(&format!(
                    "`{}` holds originals that an undone commit to {} could not put back; `--originals` removes it",
                    folder.display(),
                    target.display()
                ));
            }
            continue;
        }
        match workspace::drop_originals(&area, &target) {
            Ok(folders) => {
                for folder in folders {
                    say(&format!(
                        "removed `{}`, originals of {}",
                        folder.display(),
                        target.display()
                    ));
                    removed += 1;
                }
            }
            Err(error) => {
                CliError::new(End::Sync, error).say();
                left += 1;
            }
        }
        drop(lock);
    }
    Ok((removed, left))
}

/// A commit area with a workspace that it knows of, or with a work folder whose journal cannot be read.
type Area = (PathBuf, Result<PathBuf, PathBuf>);

/// The commit areas below the state folder, each with the workspaces that it knows of.
fn areas(state: &Path) -> Result<BTreeSet<Area>, SyncError> {
    let folders = match std::fs::read_dir(state) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        other => other.at("list", state)?,
    };
    let mut found = BTreeSet::new();
    for folder in folders {
        // As `Places::commit_area` has it.
        let area = folder.at("list", state)?.path().join("commit");
        found.extend(
            workspace::commit_targets(&area)
                .into_iter()
                .map(|target| (area.clone(), target)),
        );
    }
    Ok(found)
}
