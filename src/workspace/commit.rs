//! Write-back: the changes of the Vfs are applied to the workspace, whole or not at all.
//!
//! The steps have values between them: [`plan`] compares with the workspace and gives numbered
//! operations, [`work`] holds the new contents, complete and on the disk, on the workspace's own
//! file system, [`journal`] says what will be done and what was there, [`apply`] carries the
//! operations out. [`undo`] goes by the journal, in the process that failed and in the next one,
//! which finds a dead one's work by [`recover`].

mod apply;
pub(super) mod fault;
mod folder;
mod inside;
mod journal;
mod order;
mod plan;
mod recover;
mod steps;
mod tree;
mod undo;
mod work;

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};

use crate::sys::fs;
use crate::vfs::{Vfs, VfsPath};

use super::error::{At as _, stop_if};
use super::{Baseline, CancelFn, IndexBaseline, Rules, SyncError};

use apply::Applier;
use folder::WorkFolder;
use journal::{Journal, new_tag};
use plan::plan;
use steps::{Planned, Step};
use tree::{Standing, Tree};
use undo::{Undone, undo};
use work::Work;

pub use recover::{
    RecoverError, Recovered, commit_targets, drop_originals, kept_originals, needs_recovery, recover,
    unfinished_commits,
};
pub use undo::Left;

/// What a commit did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommitReport {
    /// Files, links and folders written.
    pub written: u64,
    /// Entries deleted, each file and folder counted.
    pub deleted: u64,
}

/// Why nothing was committed.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The workspace changed under the run. It is as it was.
    #[error("the result and the workspace are at odds: {}", Listed(paths))]
    Conflict {
        /// Every path that stood in the way.
        paths: Vec<Conflict>,
    },
    /// Something failed, and everything was undone: the workspace is as it was.
    #[error("the result could not be applied; the workspace is as it was")]
    Io(#[source] SyncError),
    /// Something failed, and undoing it failed as well.
    #[error(
        "the result could not be applied, and undoing it failed for {}; what was replaced lies in `{}`, and the next \
         devshell command in the workspace tries again",
        Listed(rollback), kept.display()
    )]
    RollbackIncomplete {
        /// What failed first.
        #[source]
        source: SyncError,
        /// What failed while it was undone.
        rollback: Vec<SyncError>,
        /// Where the replaced files are.
        kept: PathBuf,
    },
    /// The caller wished to stop. The workspace is as it was.
    #[error("interrupted")]
    Cancelled,
}

/// A path on which the workspace and the result disagree.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Conflict {
    /// Relative to the workspace; empty for the workspace's folder itself, which is shown as `.`.
    pub path: PathBuf,
    /// In which way.
    pub reason: ConflictReason,
}

/// What happened to the path on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConflictReason {
    /// It was changed.
    Changed,
    /// It came into being.
    Appeared,
    /// It went.
    Missing,
    /// It was a folder on the way, and is none any more.
    NoFolder,
    /// It must give way to a file, and holds entries that are not carried.
    HoldsUncarried,
}

impl fmt::Display for ConflictReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Changed => "changed",
            Self::Appeared => "appeared",
            Self::Missing => "is missing",
            Self::NoFolder => "is no folder any more",
            Self::HoldsUncarried => "holds ignored files and would have to become a file",
        })
    }
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            &self.path
        };
        write!(f, "`{}` {}", readable(path), self.reason)
    }
}

/// A newline in a name must not look like the next line of a list.
fn readable(path: &Path) -> String {
    let path = path.display().to_string();
    if path.contains(char::is_control) {
        path.escape_debug().to_string()
    } else {
        path
    }
}

struct Listed<'a, T>(&'a [T]);

impl<T: fmt::Display> fmt::Display for Listed<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 5;
        for (number, item) in self.0.iter().take(SHOWN).enumerate() {
            write!(f, "{}{item}", if number == 0 { "" } else { ", " })?;
        }
        match self.0.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// How a failure inside reaches the caller.
enum Failure {
    Conflict(Vec<Conflict>),
    Sync(SyncError),
}

impl From<SyncError> for Failure {
    fn from(error: SyncError) -> Self {
        Self::Sync(error)
    }
}

impl From<Failure> for CommitError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Conflict(mut paths) => {
                paths.sort();
                paths.dedup();
                Self::Conflict { paths }
            }
            Failure::Sync(SyncError::Cancelled) => Self::Cancelled,
            Failure::Sync(error) => Self::Io(error),
        }
    }
}

/// Applies the changes of `vfs` to the folder `target`. `area` is a folder of devshell's own for
/// new contents and undo copies; where it does not lie on the target's own file system and
/// mount, `.devshell-commit` in the target takes its part until the end. On success the Vfs has
/// no changes any more. When the process dies on the way, [`recover`] makes the target whole.
///
/// The caller's wish to stop is heard until the last step is on the disk; what was done is then
/// undone. The caller holds the workspace's lock, and has called [`recover`] before.
///
/// # Errors
/// [`CommitError`]. Bytes, modes, links and mtimes of the target are then what they were, unless
/// it says otherwise, and the changes of the Vfs are still whole: they can be kept, or committed
/// again. (Moving a file to and fro changes its ctime, so `baseline` learns the new one.)
pub fn commit(
    vfs: &mut Vfs,
    baseline: &mut Baseline,
    target: &Path,
    area: &Path,
    rules: &Rules,
    cancel: CancelFn,
) -> Result<CommitReport, CommitError> {
    let Baseline::Index(baseline) = baseline else {
        vfs.clear_changes();
        return Ok(CommitReport::default());
    };
    let root = fs::open_dir(target).at("open", target).map_err(CommitError::Io)?;
    let stat = fs::stat_fd(&root).at("look at", target).map_err(CommitError::Io)?;
    if baseline.root.is_some_and(|before| !before.is(&stat)) {
        return Err(CommitError::Conflict {
            paths: vec![Conflict {
                path: PathBuf::new(),
                reason: ConflictReason::Changed,
            }],
        });
    }
    let check = |vfs: &Vfs, baseline: &IndexBaseline| -> Result<Planned, Failure> {
        stop_if(cancel)?;
        let planned = plan(vfs, baseline, &root, target, rules, cancel)?;
        if planned.conflicts.is_empty() {
            Ok(planned)
        } else {
            Err(Failure::Conflict(planned.conflicts))
        }
    };
    // Before anything is brought over: most conflicts are found here, at no cost.
    if check(vfs, baseline)?.is_empty() {
        vfs.clear_changes();
        return Ok(CommitReport::default());
    }
    let mut work = begin(&root, target, area).map_err(CommitError::Io)?;
    let tree = Tree::new(&root, target);
    let outcome = check(vfs, baseline).and_then(|planned| {
        work.bring(vfs, &planned, cancel)?;
        // What changed while contents were copied is seen by a second look.
        let planned = check(vfs, baseline)?;
        let journal = work.write_journal(&planned, &tree)?;
        Ok((planned, journal))
    });
    let (planned, journal) = match outcome {
        Ok(planned) => planned,
        Err(failure) => return Err(abandon(work, failure, Undone::default(), &tree)),
    };
    let mut applier = Applier::new(&tree, &work.folder, &journal, baseline, vfs.workspace(), cancel);
    let ran = catch_unwind(AssertUnwindSafe(|| {
        applier.run()?;
        work.folder.commit().at("end the commit in", work.folder.path())?;
        Ok(())
    }));
    let (begun, has_beside) = (applier.begun, applier.has_beside);
    let mut undo_all = |work: Work, failure: Failure| {
        let undone = undo(&journal, begun, &tree, &work.folder);
        learn_ctimes(&planned, &vfs.workspace(), baseline, &tree);
        abandon(work, failure, undone, &tree)
    };
    match ran {
        Ok(Ok(())) => {}
        Ok(Err(failure)) => return Err(undo_all(work, failure)),
        Err(panic) if fault::is_death(&*panic) => resume_unwind(panic),
        Err(panic) => {
            let failure = SyncError::Io {
                action: "apply the result to",
                path: target.to_owned(),
                source: std::io::Error::other("a defect of devshell"),
            };
            undo_all(work, failure.into());
            resume_unwind(panic);
        }
    }
    clear_up(work, &journal, has_beside, &tree);
    vfs.clear_changes();
    Ok(CommitReport {
        written: planned.written,
        deleted: planned.deleted,
    })
}

/// Makes the work folder, unless another commit's waits for its recovery.
fn begin(root: &OwnedFd, target: &Path, area: &Path) -> Result<Work, SyncError> {
    fs::make_private_dirs(area).at("make the folder", area)?;
    if let Err(error) = recover::clear_stale(area, target) {
        return Err(io::Error::other(error)).at("begin a commit to", target);
    }
    let tag = new_tag();
    Ok(Work::new(WorkFolder::make(root, target, area, &tag)?, tag))
}

/// After a commit. It is done, whatever fails here: the next command clears up then.
fn clear_up(work: Work, journal: &Journal, has_beside: bool, tree: &Tree) {
    if has_beside && journal.discard_beside(tree).is_err() {
        return;
    }
    let _ = work.folder.remove();
}

/// After an undo: what was moved to and fro is still what the run began with.
fn learn_ctimes(planned: &Planned, workspace: &VfsPath, baseline: &mut IndexBaseline, tree: &Tree) {
    let moved: HashSet<u64> = planned.steps.iter().filter_map(Step::moved_inode).collect();
    for (path, known) in &mut baseline.known {
        if let Some(stamp) = known
            && moved.contains(&stamp.ino)
            && let Some(relative) = path.strip_prefix(workspace)
            && let Ok(Standing::Entry(now)) = tree.look(relative)
            && now.stamp.same_but_ctime(stamp)
        {
            *stamp = now.stamp;
        }
    }
}

/// Gives the contents back to the Vfs and removes the work folder, unless it is still needed.
fn abandon(work: Work, failure: Failure, undone: Undone, tree: &Tree) -> CommitError {
    let kept = work.folder.path();
    let mut failures = undone.failures;
    let is_undone = failures.is_empty();
    let not_given_back = work.give_back();
    let keeps_contents = !not_given_back.is_empty();
    failures.extend(not_given_back);
    for left in undone.left {
        if let Some(original) = left.original {
            failures.push(SyncError::Io {
                action: "restore",
                path: tree.full(&left.path),
                source: io::Error::other(format!(
                    "it was changed meanwhile; its original is `{}`",
                    original.display()
                )),
            });
        }
    }
    // With its journal in it, the next command goes on with what could not be undone here.
    if is_undone {
        failures.extend(work.end(keeps_contents, tree).err());
    }
    if failures.is_empty() {
        return failure.into();
    }
    let source = match failure {
        Failure::Sync(error) => error,
        Failure::Conflict(paths) => SyncError::Io {
            action: "apply the result to",
            path: paths
                .into_iter()
                .next()
                .map_or_else(PathBuf::new, |conflict| conflict.path),
            source: io::Error::other("it changed during the run"),
        },
    };
    CommitError::RollbackIncomplete {
        source,
        rollback: failures,
        kept,
    }
}
