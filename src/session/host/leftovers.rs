//! Staged copies that lie about.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use super::staging::{WORKSPACE, remove_folder};

/// A staged copy that no session uses now; locked, so that none can begin to.
#[derive(Debug)]
pub struct Leftover {
    /// The workspace's part of the cache folder.
    pub folder: PathBuf,
    /// Whose copy it is, where that can be read.
    pub workspace: Option<PathBuf>,
    _lock: File,
}

impl Leftover {
    /// Removes it, read-only folders included.
    ///
    /// # Errors
    /// What the system said; the rest of it stays.
    pub fn remove(&self) -> io::Result<()> {
        remove_folder(&self.folder)
    }
}

/// The staged copies below the cache folder of all workspaces that are in nobody's use.
///
/// # Errors
/// When the folder is there and cannot be read.
pub fn leftovers(cache_root: &Path) -> io::Result<Vec<Leftover>> {
    if !cache_root.exists() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for entry in WalkDir::new(cache_root).min_depth(1).max_depth(1).sort_by_file_name() {
        let folder = entry?.into_path();
        // Only what is ours: other things may lie where DEVSHELL_EXPORT_BASE points.
        let copy = folder.join("copy");
        let Ok(lock) = File::open(&copy) else { continue };
        if lock.try_lock().is_err() {
            continue;
        }
        let workspace = std::fs::read(copy.join(WORKSPACE)).ok();
        let workspace = workspace.map(|path| PathBuf::from(OsStr::from_bytes(&path)));
        found.push(Leftover {
            folder,
            workspace,
            _lock: lock,
        });
    }
    Ok(found)
}
