//! Finishing or undoing what a killed process or a power cut left of a commit.

use std::fmt;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use crate::sys::fs;
use crate::vfs::is_absent;
use crate::workspace::SyncError;
use crate::workspace::error::At as _;

use super::Listed;
use super::folder::{Place, WorkFolder, find, find_in_area};
use super::inside::{self, Inside};
use super::journal::{Journal, State};
use super::tree::Tree;
use super::undo::{Left, undo};

/// What a recovery found and did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Whether the commit had done all its steps: then it is finished, else undone.
    pub finished: bool,
    /// Entries that belong to the commit, where it is finished; else those that were put back or
    /// taken away again.
    pub entries: u64,
    /// What the host changed meanwhile. It stays as it is.
    pub left: Vec<Left>,
    /// The folder that stays, with the originals of what was left.
    pub kept: Option<PathBuf>,
}

impl fmt::Display for Recovered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = match self.entries {
            1 => "1 entry".to_owned(),
            more => format!("{more} entries"),
        };
        f.write_str("a run was killed in the middle of its commit; ")?;
        if self.finished {
            return write!(
                f,
                "all of it ({entries}) was in place already, and the rest was cleared up"
            );
        }
        write!(f, "the commit was undone ({entries})")?;
        if !self.left.is_empty() {
            let paths: Vec<_> = self.left.iter().map(Shown).collect();
            write!(f, "; changed since then, and left as it is: {}", Listed(&paths))?;
        }
        if let Some(kept) = &self.kept {
            write!(
                f,
                "; what the commit had replaced there is kept in `{}` (`devshell clean --originals` removes it)",
                kept.display()
            )?;
        }
        Ok(())
    }
}

/// A path that was left, with its original where that is not in the folder of originals.
struct Shown<'a>(&'a Left);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", super::readable(&self.0.path))?;
        match self.0.original.as_deref().and_then(Path::file_name) {
            Some(name) if self.0.path.file_name() != Some(name) => {
                write!(f, " (its original: `{}` beside it)", super::readable(Path::new(name)))
            }
            _ => Ok(()),
        }
    }
}

/// Why a commit that was cut short could not be finished or undone. Nothing was thrown away.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The journal cannot be used.
    #[error(
        "a run was killed in the middle of its commit, and that is not undone: {why}; what was replaced lies in \
         `{}`, in `new` and `old`: put back what is needed, then remove that folder", folder.display()
    )]
    Unusable {
        /// The work folder.
        folder: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A file system that the commit wrote to is not mounted.
    #[error(
        "a run was killed in the middle of its commit, which wrote to a file system at `{}` that is not mounted now: \
         mount it, and run again", at.display()
    )]
    NotMounted {
        /// Where it belongs.
        at: PathBuf,
    },
    /// Undoing failed; the next attempt goes on with it.
    #[error(
        "a run was killed in the middle of its commit, and undoing that failed for {}; what was replaced lies in \
         `{}`, and the next devshell command here tries again", Listed(failures), folder.display()
    )]
    Incomplete {
        /// The work folder.
        folder: PathBuf,
        /// What failed.
        failures: Vec<SyncError>,
    },
    /// The work folders could not be looked at or cleared up.
    #[error(transparent)]
    Sync(#[from] SyncError),
}

/// Finishes or undoes what commits to the folder `target` left that were cut short, and clears up
/// after those that had not begun. The tree is then exactly the old or the new one, but for what
/// the host changed meanwhile, which stays. The caller holds the workspace's lock, and `area` is
/// the one that is given to [`commit`](super::commit). `None` when there was nothing to do.
///
/// # Errors
/// [`RecoverError`]; then nothing was thrown away, and no commit can be made.
pub fn recover(area: &Path, target: &Path) -> Result<Option<Recovered>, RecoverError> {
    let root = match fs::open_dir(target) {
        Err(error) if is_absent(&error) => None,
        other => Some(other.at("open", target)?),
    };
    if let Some(root) = &root
        && let Ok(area_fd) = fs::open_dir(area)
    {
        inside::clear_up(root, &area_fd).at("clear up in", target)?;
    }
    let mut all: Option<Recovered> = None;
    for place in find(area, target)? {
        let state = place.state()?;
        let one = match state {
            Some(State::Kept) => continue,
            None => {
                // What cannot be removed, such as another user's files in a folder that a tool has
                // deleted, or anything on a file system that is read-only now, is in nobody's way.
                let _ = place.open(false).map(WorkFolder::remove);
                continue;
            }
            Some(state) => recover_one(place, state, root.as_ref(), target)?,
        };
        all = Some(match all {
            None => one,
            Some(before) => Recovered {
                finished: before.finished && one.finished,
                entries: before.entries + one.entries,
                left: [before.left, one.left].concat(),
                kept: one.kept.or(before.kept),
            },
        });
    }
    Ok(all)
}

fn recover_one(place: Place, state: State, root: Option<&OwnedFd>, target: &Path) -> Result<Recovered, RecoverError> {
    let folder = place.path();
    let unusable = |why: String| RecoverError::Unusable {
        folder: folder.clone(),
        why,
    };
    let work = place.open(false)?;
    let journal = Journal::read(&work.fd, state).map_err(|error| unusable(error.to_string()))?;
    let root = match root {
        Some(root) if fs::stat_fd(root).at("look at", target)?.stamp.ino == journal.root => root,
        _ => {
            let why = format!(
                "it was a commit to another folder, which was `{}`",
                journal.target.display()
            );
            return Err(unusable(why));
        }
    };
    let tree = Tree::new(root, target);
    if let Some(at) = journal.unmounted(&tree).at("look at", target)? {
        return Err(RecoverError::NotMounted { at: target.join(at) });
    }
    if state == State::Committed {
        journal.discard_beside(&tree).at("clear up in", target)?;
        let entries = journal.entries();
        let _ = work.remove();
        return Ok(Recovered {
            finished: true,
            entries,
            ..Recovered::default()
        });
    }
    let undone = undo(&journal, journal.steps.len(), &tree, &work);
    if !undone.failures.is_empty() {
        return Err(RecoverError::Incomplete {
            folder,
            failures: undone.failures,
        });
    }
    let kept = end(work).at("remove", &folder)?;
    Ok(Recovered {
        finished: false,
        entries: undone.entries,
        left: undone.left,
        kept,
    })
}

/// Ends an undo; says which folder stays.
fn end(work: WorkFolder) -> std::io::Result<Option<PathBuf>> {
    let path = work.path();
    let keeps = work.has_originals()?;
    work.end(false)?;
    Ok(keeps.then_some(path))
}

/// Clears up after commits that had changed nothing when they were cut short.
///
/// # Errors
/// When there is one that had.
pub(super) fn clear_stale(area: &Path, target: &Path) -> Result<(), RecoverError> {
    match unfinished_commits(area, target)?.into_iter().next() {
        None => recover(area, target).map(|_| ()),
        Some(folder) => Err(SyncError::Io {
            action: "begin a commit beside",
            path: folder,
            source: std::io::Error::other("it was cut short, and must be recovered first"),
        }
        .into()),
    }
}

/// The work folders of commits to `target` that were cut short while they were applied, for who
/// wants to look without changing anything. `area` is the one that is given to
/// [`commit`](super::commit).
///
/// # Errors
/// [`SyncError::Io`] when it cannot be told.
pub fn unfinished_commits(area: &Path, target: &Path) -> Result<Vec<PathBuf>, SyncError> {
    let mut found = Vec::new();
    for place in find(area, target)? {
        if matches!(place.state()?, Some(State::Applying | State::Committed)) {
            found.push(place.path());
        }
    }
    Ok(found)
}

/// Whether [`recover`] has anything to do, be it only to clear up. So it looks during a commit, too.
///
/// # Errors
/// [`SyncError::Io`] when it cannot be told.
pub fn needs_recovery(area: &Path, target: &Path) -> Result<bool, SyncError> {
    for place in find(area, target)? {
        if place.state()? != Some(State::Kept) {
            return Ok(true);
        }
    }
    Ok(fs::open_dir(area).is_ok_and(|area| inside::is_noted(&area)))
}

/// The workspaces of commits that left something in an area. `Err` has a work folder whose journal
/// cannot be read.
#[must_use]
pub fn commit_targets(area: &Path) -> Vec<Result<PathBuf, PathBuf>> {
    let mut targets = Vec::new();
    for place in find_in_area(area).unwrap_or_default() {
        let folder = place.path();
        let target = match place.state() {
            Ok(Some(state)) => place
                .open(false)
                .ok()
                .and_then(|work| Journal::read(&work.fd, state).ok())
                .map(|journal| journal.target),
            // Of no worth: the next commit there removes it.
            Ok(None) => continue,
            Err(_) => None,
        };
        targets.push(target.ok_or(folder));
    }
    if let Ok(fd) = fs::open_dir(area) {
        targets.extend(Inside::targets(&fd).into_iter().map(Ok));
    }
    targets.sort_unstable();
    targets.dedup();
    targets
}

/// The folders with originals that recoveries kept.
///
/// # Errors
/// [`SyncError::Io`] when they cannot be looked at.
pub fn kept_originals(area: &Path, target: &Path) -> Result<Vec<PathBuf>, SyncError> {
    let kept = with_state(area, target, State::Kept)?;
    Ok(kept.iter().map(Place::path).collect())
}

/// Removes the originals that recoveries kept; returns the folders. The caller holds the lock of
/// the workspace, where that is there.
///
/// # Errors
/// [`SyncError::Io`] when one cannot be removed.
pub fn drop_originals(area: &Path, target: &Path) -> Result<Vec<PathBuf>, SyncError> {
    let mut removed = Vec::new();
    for place in with_state(area, target, State::Kept)? {
        let folder = place.path();
        let work = place.open(false)?;
        if let Ok(journal) = Journal::read(&work.fd, State::Kept)
            && let Ok(root) = fs::open_dir(target)
            && fs::stat_fd(&root).at("look at", target)?.stamp.ino == journal.root
        {
            let tree = Tree::new(&root, target);
            journal.discard_beside(&tree).at("remove originals in", target)?;
        }
        work.remove().at("remove", &folder)?;
        removed.push(folder);
    }
    if let Ok(area_fd) = fs::open_dir(area) {
        inside::forget_kept(&area_fd).at("clear up in", area)?;
    }
    Ok(removed)
}

fn with_state(area: &Path, target: &Path, wanted: State) -> Result<Vec<Place>, SyncError> {
    let mut found = Vec::new();
    for place in find(area, target)? {
        if place.state()? == Some(wanted) {
            found.push(place);
        }
    }
    Ok(found)
}
