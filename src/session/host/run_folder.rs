//! The folder of one run's overlay: its upper layers, on the workspace's own file system.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::owner::Owner;
use crate::session::staging::remove_folder;

use super::view_place::ViewPlace;

/// What the names of runs' folders begin with.
const PREFIX: &str = "run-";
/// The link whose target says who made a run's folder: unlike a file it takes no block.
const OWNER: &str = "owner";

/// A folder that goes with the last reference to it. Its lock is free once the run is dead,
/// however it ended: the keeper holds it, too.
#[derive(Debug)]
pub(super) struct RunFolder {
    path: PathBuf,
    lock: File,
    place: ViewPlace,
}

impl RunFolder {
    /// Makes one; what dead runs left at the same place goes.
    pub(super) fn make(place: &ViewPlace) -> io::Result<Self> {
        place.make()?;
        let prefix = if place.is_own() { PREFIX } else { "devshell-run-" };
        if place.is_own() {
            for dead in DeadRun::all_at(&place.folder) {
                let _ = dead.remove();
            }
        }
        loop {
            let path = tempfile::Builder::new()
                .prefix(prefix)
                .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700))
                .tempdir_in(&place.folder)?
                .keep();
            let lock = File::open(&path)?;
            // Somebody who cleans may have been quicker.
            if lock.try_lock().is_ok() && path.metadata().is_ok_and(|now| is(&lock, &now)) {
                std::os::unix::fs::symlink(Owner::this_process().to_string(), path.join(OWNER))?;
                return Ok(Self {
                    path,
                    lock,
                    place: place.clone(),
                });
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The lock, for a process that must end before it is free.
    pub(super) fn lock(&self) -> io::Result<OwnedFd> {
        self.lock.as_fd().try_clone_to_owned()
    }

    /// The folders of the layer with this number: what is written, and what the kernel needs
    /// beside it.
    pub(super) fn layer(&self, number: usize) -> [PathBuf; 2] {
        ["up", "work"].map(|name| self.path.join(format!("{name}{number}")))
    }

    /// Removes a layer.
    pub(super) fn remove_layer(&self, number: usize) -> io::Result<()> {
        self.layer(number).iter().try_for_each(|folder| remove_folder(folder))
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        let _ = remove_folder(&self.path);
        self.place.leave();
    }
}

fn is(open: &File, there: &std::fs::Metadata) -> bool {
    open.metadata()
        .is_ok_and(|open| (open.dev(), open.ino()) == (there.dev(), there.ino()))
}

/// The folder of a run that is dead; locked, so that no other cleaner works on it.
#[derive(Debug)]
pub(super) struct DeadRun {
    path: PathBuf,
    _lock: File,
}

impl DeadRun {
    /// Those at a place. What cannot be looked at is left alone.
    pub(super) fn all_at(place: &Path) -> Vec<Self> {
        runs_at(place)
            .filter_map(|path| {
                let lock = File::open(&path).ok()?;
                let free = lock.try_lock().is_ok();
                // Where locks do not reach, such as on a network, the process itself tells.
                let alive = std::fs::read_link(path.join(OWNER))
                    .ok()
                    .and_then(|text| text.to_str()?.parse::<Owner>().ok())
                    .is_some_and(|owner| owner.is_alive());
                (free && !alive).then_some(Self { path, _lock: lock })
            })
            .collect()
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn remove(&self) -> io::Result<()> {
        remove_folder(&self.path)
    }
}

/// Whether a run that is alive has its folder at a place.
pub(super) fn is_in_use(place: &Path) -> bool {
    runs_at(place).any(|path| File::open(path).is_ok_and(|folder| folder.try_lock().is_err()))
}

fn runs_at(place: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = std::fs::read_dir(place).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes()))
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_live_runs_folder_stays_and_a_dead_ones_goes() {
        let temp = tempfile::tempdir().unwrap();
        let place = ViewPlace::lasting(temp.path().join("view"));
        let live = RunFolder::make(&place).unwrap();
        assert!(is_in_use(&place.folder));
        let dead = place.folder.join("run-dead");
        std::fs::create_dir_all(dead.join("up0/d")).unwrap();
        std::fs::create_dir(place.folder.join("other")).unwrap();
        let found = DeadRun::all_at(&place.folder);
        assert_eq!(found.iter().map(DeadRun::path).collect::<Vec<_>>(), [dead.as_path()]);
        drop(found);
        let second = RunFolder::make(&place).unwrap();
        assert!(!dead.exists() && live.path().exists() && place.folder.join("other").exists());
        let path = live.path().to_owned();
        drop((live, second));
        assert!(!path.exists());
        assert!(!is_in_use(&place.folder));
    }

    #[test]
    fn a_process_that_lives_keeps_its_folder_also_where_locks_do_not_reach() {
        let temp = tempfile::tempdir().unwrap();
        let run = temp.path().join("run-x");
        std::fs::create_dir(&run).unwrap();
        let owned = |by: &str| {
            let _ = std::fs::remove_file(run.join(OWNER));
            std::os::unix::fs::symlink(by, run.join(OWNER)).unwrap();
        };
        owned(&Owner::this_process().to_string());
        assert!(DeadRun::all_at(temp.path()).is_empty());
        owned("0 0 another-boot");
        assert_eq!(DeadRun::all_at(temp.path()).len(), 1);
    }
}
