//! Which runs use an instance, so that none stops it under another.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::process::Cancel;
use crate::session::owner::Owner;

/// Between two looks whether another run has brought the instance where it wants it.
const LOOK: Duration = Duration::from_millis(50);

/// The right to start or stop the instance, one run at a time. Free when it is dropped, and
/// when the process ends.
#[derive(Debug)]
pub(super) struct Turn(#[expect(dead_code, reason = "held for its lock")] File);

/// A note that this run uses the instance. Goes when it is dropped; that of a process that is
/// dead counts for nothing.
#[derive(Debug)]
pub(super) struct Lease {
    file: PathBuf,
    folder: PathBuf,
}

/// Waits for the right to start or stop; none where the caller wished to stop.
pub(super) fn turn(leases: &Path, instance: &str, cancel: &Cancel) -> io::Result<Option<Turn>> {
    let folder = leases.join(instance);
    crate::sys::fs::make_private_dirs(&folder)?;
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(folder.join("turn"))?;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Some(Turn(file))),
            Err(TryLockError::WouldBlock) if cancel.is_raised() => return Ok(None),
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOOK),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

impl Lease {
    /// Notes it.
    pub(super) fn take(leases: &Path, instance: &str) -> io::Result<Self> {
        let folder = leases.join(instance);
        crate::sys::fs::make_private_dirs(&folder)?;
        let owner = Owner::this_process();
        // A process may have several sessions.
        let name = format!("{}-{}", std::process::id(), crate::sys::random::token());
        let (file, unfinished) = (folder.join(format!("run-{name}")), folder.join(format!("new-{name}")));
        // Under its name it is whole: one that says nothing would count as that of a dead run.
        std::fs::write(&unfinished, owner.to_string())?;
        std::fs::rename(unfinished, &file)?;
        Ok(Self { file, folder })
    }

    /// Whether another run that is alive uses the instance; notes of dead ones are removed.
    pub(super) fn is_shared(&self) -> bool {
        let Ok(entries) = std::fs::read_dir(&self.folder) else {
            // Not known: then better not stopped.
            return true;
        };
        let mut shared = false;
        for path in entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| *path != self.file)
        {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if !name.starts_with("run-") {
                continue;
            }
            let owner = std::fs::read_to_string(&path)
                .ok()
                .and_then(|text| text.parse::<Owner>().ok());
            if owner.is_some_and(|owner| owner.is_alive()) {
                shared = true;
            } else {
                let _ = std::fs::remove_file(&path);
            }
        }
        shared
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lease_of_a_dead_run_is_reaped_and_that_of_a_live_one_counts() {
        let place = tempfile::tempdir().unwrap();
        let mine = Lease::take(place.path(), "t").unwrap();
        assert!(!mine.is_shared());
        let dead = place.path().join("t/run-1-x");
        std::fs::write(&dead, "1 0 another-boot").unwrap();
        assert!(!mine.is_shared() && !dead.exists());
        let other = Lease::take(place.path(), "t").unwrap();
        assert!(mine.is_shared());
        drop(other);
        assert!(!mine.is_shared());
    }

    #[test]
    fn only_one_run_at_a_time_has_the_turn() {
        let place = tempfile::tempdir().unwrap();
        let cancel = Cancel::new();
        let first = turn(place.path(), "t", &cancel).unwrap();
        assert!(first.is_some());
        cancel.stop();
        assert!(turn(place.path(), "t", &cancel).unwrap().is_none());
        drop(first);
        assert!(turn(place.path(), "t", &cancel).unwrap().is_some());
    }
}
