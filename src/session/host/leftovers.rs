//! What dead runs left in devshell's own folders.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use super::run_folder::{self, DeadRun};
use super::view_place::ViewPlace;
use crate::session::notes::{WORKSPACE, tree_of, workspace_of};
use crate::session::staging::{incoming, remove_folder};
use crate::workspace::WorkspaceLock;

/// Something that is in nobody's use; locked, so that none can begin to use it.
#[derive(Debug)]
pub struct Leftover {
    /// Where it lies.
    pub path: PathBuf,
    /// Whose it is, where that can be read.
    pub workspace: Option<PathBuf>,
    /// What it is.
    pub kind: LeftoverKind,
    holds: Holds,
}

/// What a leftover is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeftoverKind {
    /// A staged copy: the next run with `copy` would carry only what has changed since.
    Copy,
    /// The layers of a run that was killed: of no use to anybody.
    Run,
}

#[derive(Debug)]
enum Holds {
    Copy {
        _lock: File,
    },
    /// With what belongs to the copy beside it.
    GuestCopy {
        _workspace: Option<WorkspaceLock>,
        _locks: Vec<File>,
        folder: PathBuf,
    },
    Run(DeadRun, ViewPlace),
}

impl Leftover {
    /// Removes it, read-only folders included.
    ///
    /// # Errors
    /// What the system said; the rest of it stays.
    pub fn remove(&self) -> io::Result<()> {
        match &self.holds {
            Holds::Copy { .. } => {
                remove_folder(&self.path)?;
                forget_empty(&self.path);
                Ok(())
            }
            Holds::GuestCopy { folder, .. } => {
                for path in [&self.path, &incoming(&self.path), folder] {
                    match remove_folder(path) {
                        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                        _ => {}
                    }
                }
                forget_empty(folder);
                Ok(())
            }
            Holds::Run(run, place) => {
                run.remove()?;
                place.leave();
                Ok(())
            }
        }
    }
}

/// Removes a workspace's part of the cache folder, of which this was one, if nothing is in it any more.
fn forget_empty(removed: &Path) {
    let Some(cache) = removed.parent() else { return };
    let _ = std::fs::remove_dir(cache.join("view"));
    let others = |name: &OsStr| name != OsStr::new(WORKSPACE);
    let empty = std::fs::read_dir(cache)
        .is_ok_and(|mut all| !all.any(|entry| entry.is_ok_and(|entry| others(&entry.file_name()))));
    if empty {
        let _ = std::fs::remove_file(cache.join(WORKSPACE));
        let _ = std::fs::remove_dir(cache);
    }
}

/// What lies below the cache folder of all workspaces, or where these workspaces have their
/// views, and is in nobody's use.
///
/// # Errors
/// When the folder is there and cannot be read.
pub fn leftovers(cache_root: &Path) -> io::Result<Vec<Leftover>> {
    if !cache_root.exists() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for entry in WalkDir::new(cache_root).min_depth(1).max_depth(1).sort_by_file_name() {
        let entry = entry?;
        let (key, folder) = (entry.file_name().to_string_lossy().into_owned(), entry.path());
        let workspace = workspace_of(folder);
        let place = ViewPlace::lasting(folder.join("view"));
        let mut places = match &workspace {
            Some(workspace) => ViewPlace::all(folder, &cache_root.join("staging").join(&key), workspace, &key),
            None => vec![place],
        };
        // A place that is no folder has nothing.
        places.retain(|place| place.folder.is_dir());
        for place in places {
            found.extend(DeadRun::all_at(&place.folder).into_iter().map(|run| Leftover {
                path: run.path().to_path_buf(),
                workspace: workspace.clone(),
                kind: LeftoverKind::Run,
                holds: Holds::Run(run, place.clone()),
            }));
        }
        found.extend(guest_copy(folder, &key, workspace.clone()));
        // Only what is ours: other things may lie where DEVSHELL_EXPORT_BASE points.
        let Ok(lock) = File::open(folder.join("copy")) else {
            continue;
        };
        if lock.try_lock().is_ok() {
            found.push(Leftover {
                path: folder.join("copy"),
                workspace,
                kind: LeftoverKind::Copy,
                holds: Holds::Copy { _lock: lock },
            });
        }
    }
    Ok(found)
}

/// The copy of a workspace that a guest or a sidecar was to see, where no run uses it.
fn guest_copy(cache: &Path, key: &str, workspace: Option<PathBuf>) -> Option<Leftover> {
    let (folder, tree) = tree_of(cache)?;
    // Whatever the note says, only what bears this key is removed.
    if tree.file_name() != Some(OsStr::new(key)) {
        return None;
    }
    // Until its folder is locked a run has the workspace's lock alone, and one that has another cache folder always.
    let held = match workspace.as_deref().filter(|workspace| workspace.is_dir()) {
        Some(workspace) => Some(WorkspaceLock::try_acquire(workspace).ok()??),
        None => None,
    };
    let mut locks = Vec::new();
    for used in [folder.clone(), folder.join("inputs"), folder.join("outputs")] {
        match File::open(used) {
            Ok(lock) => {
                lock.try_lock().ok()?;
                locks.push(lock);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(_) => return None,
        }
    }
    Some(Leftover {
        path: tree,
        workspace,
        kind: LeftoverKind::Copy,
        holds: Holds::GuestCopy {
            _workspace: held,
            _locks: locks,
            folder,
        },
    })
}

/// Whether a live run of the workspace has an overlay.
#[must_use]
pub fn is_view_in_use(places: &[ViewPlace]) -> bool {
    places.iter().any(|place| run_folder::is_in_use(&place.folder))
}
