//! The folder of the `copy` strategy.

use std::any::Any;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::sys::fs::remove_tree;

use super::settings::StagingPlace;

/// The file that says whose copy a folder holds.
pub(super) const WORKSPACE: &str = "workspace";

/// A staging folder that belongs to one session at a time.
///
/// The lease is held by the session and by every content that the Vfs refers to: a folder that
/// stays for the next run is not staged anew, and a temporary one is not removed, before the
/// last of them is gone.
pub(super) struct Staging {
    /// Holds `tree` and the index.
    folder: PathBuf,
    lease: Arc<dyn Any + Send + Sync>,
}

impl Staging {
    /// Makes the folder and takes the lease.
    ///
    /// # Errors
    /// What the system said; `WouldBlock` when another session holds the folder.
    pub(super) fn open(place: &StagingPlace) -> io::Result<Self> {
        match place {
            StagingPlace::Temporary => {
                let folder = tempfile::Builder::new().prefix("devshell-").tempdir()?.keep();
                Ok(Self {
                    lease: Arc::new(Temporary(folder.clone())),
                    folder,
                })
            }
            StagingPlace::Fixed(folder) => {
                crate::sys::fs::make_private_dirs(folder)?;
                let lock = File::open(folder)?;
                lock.try_lock().map_err(|error| match error {
                    std::fs::TryLockError::WouldBlock => io::ErrorKind::WouldBlock.into(),
                    std::fs::TryLockError::Error(error) => error,
                })?;
                Ok(Self {
                    folder: folder.clone(),
                    lease: Arc::new(lock),
                })
            }
        }
    }

    /// Where the tree lies: below it a Vfs path stands as it is.
    pub(super) fn tree(&self) -> PathBuf {
        self.folder.join("tree")
    }

    /// The index file.
    pub(super) fn index(&self) -> PathBuf {
        self.folder.join("index")
    }

    /// Writes down whose copy this is, for `clean`.
    pub(super) fn belongs_to(&self, workspace: &Path) -> io::Result<()> {
        let file = self.folder.join(WORKSPACE);
        let bytes = workspace.as_os_str().as_bytes();
        if std::fs::read(&file).is_ok_and(|known| known == bytes) {
            Ok(())
        } else {
            std::fs::write(file, bytes)
        }
    }

    /// What keeps it alive.
    pub(super) fn lease(&self) -> Arc<dyn Any + Send + Sync> {
        Arc::clone(&self.lease)
    }
}

/// A folder that goes with the last reference to it. tempfile's own cannot remove what lies in
/// read-only folders, which a tool or the tree itself may have made.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = remove_folder(&self.0);
    }
}

/// Removes a folder with everything below it, read-only folders included.
pub(super) fn remove_folder(folder: &Path) -> io::Result<()> {
    let (Some(parent), Some(name)) = (folder.parent(), folder.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    remove_tree(File::open(parent)?, name)
}
