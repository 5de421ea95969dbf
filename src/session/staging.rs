//! The folder of a staged copy.

use std::any::Any;
use std::fs::{File, TryLockError};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::sys::fs::remove_tree;
use crate::vfs::VfsPath;
use crate::workspace::{StagingDir, SyncError};

/// Where a staged copy lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StagingPlace {
    /// In this folder, for the next run too; only what changed is carried then.
    Fixed(PathBuf),
    /// The tree in a folder that is shared with a guest, what belongs to it in another.
    Apart {
        /// Holds the index; for the next run too.
        folder: PathBuf,
        /// Below it a Vfs path stands as it is.
        tree: PathBuf,
    },
    /// In a temporary folder that goes with the last reference to its contents.
    Temporary,
}

/// A staging folder that belongs to one session at a time.
///
/// The lease is held by the session and by every content that the Vfs refers to: a folder that
/// stays for the next run is not staged anew, and a temporary one is not removed, before the
/// last of them is gone.
pub(super) struct Staging {
    /// Holds the index.
    folder: PathBuf,
    tree: PathBuf,
    /// Above the tree, and nothing that a tool could put something else in the place of.
    place: PathBuf,
    lease: Arc<dyn Any + Send + Sync>,
    /// The lock of a folder that stays; held by the lease, too.
    lock: Option<Arc<File>>,
}

/// How long the tools of a run that was killed may take to end and let the folder go.
const LAST_BREATH: Duration = Duration::from_secs(5);

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
                    lock: None,
                    tree: folder.join("tree"),
                    place: folder.clone(),
                    folder,
                })
            }
            StagingPlace::Fixed(folder) => Self::lasting(folder, folder.join("tree"), folder),
            StagingPlace::Apart { folder, tree } => {
                let place = tree.parent().ok_or(io::ErrorKind::InvalidInput)?;
                Self::lasting(folder, tree.clone(), place)
            }
        }
    }

    fn lasting(folder: &Path, tree: PathBuf, place: &Path) -> io::Result<Self> {
        let lock = Arc::new(locked(folder)?);
        Ok(Self {
            folder: folder.to_path_buf(),
            tree,
            place: place.to_path_buf(),
            lease: Arc::<File>::clone(&lock),
            lock: Some(lock),
        })
    }

    /// The lock, for a process that must end before it is free.
    pub(super) fn lock(&self) -> io::Result<Option<OwnedFd>> {
        self.lock
            .as_ref()
            .map(|lock| lock.as_fd().try_clone_to_owned())
            .transpose()
    }

    /// Where the tree lies: below it a Vfs path stands as it is.
    pub(super) fn tree(&self) -> &Path {
        &self.tree
    }

    /// The folder of a workspace in the tree, whatever an earlier run's tools have put in its place.
    pub(super) fn open_folder(&self, workspace: &VfsPath) -> Result<StagingDir, SyncError> {
        let folder = workspace.under(&self.tree);
        let relative = folder.strip_prefix(&self.place).unwrap_or(&folder);
        StagingDir::beneath(&self.place, relative)
    }

    /// The index file.
    pub(super) fn index(&self) -> PathBuf {
        self.folder.join("index")
    }

    /// The copy of the copy that a retry goes back to, the index of the way there, and that of
    /// the way back.
    pub(super) fn saved(&self) -> [PathBuf; 3] {
        ["saved", "saved-index", "back-index"].map(|name| self.folder.join(name))
    }

    /// Removes that.
    pub(super) fn forget_saved(&self) {
        for path in self.saved() {
            let _ = remove_folder(&path);
        }
    }

    /// What keeps it alive.
    pub(super) fn lease(&self) -> Arc<dyn Any + Send + Sync> {
        Arc::clone(&self.lease)
    }
}

/// Makes the folder of a tree that is shared with a guest, which may have put anything in its place.
pub(super) fn make_shared(tree: &Path) -> Result<(), SyncError> {
    let (place, name) = (tree.parent().unwrap_or(tree), tree.file_name().unwrap_or_default());
    StagingDir::beneath(place, Path::new(name)).map(|_| ())
}

/// Where contents lie that come from a sidecar, until they have their place in the staged tree.
pub(super) fn incoming(tree: &Path) -> PathBuf {
    let key = tree.file_name().unwrap_or_default().to_string_lossy();
    tree.with_file_name(format!(".{key}.incoming"))
}

/// Opens and locks a folder that is there: `clean` may take it away in between.
fn locked(folder: &Path) -> io::Result<File> {
    let start = Instant::now();
    loop {
        crate::sys::fs::make_private_dirs(folder)?;
        let lock = File::open(folder)?;
        match lock.try_lock() {
            Ok(()) if is_at(&lock, folder) => return Ok(lock),
            Ok(()) => {}
            Err(TryLockError::WouldBlock) if start.elapsed() < LAST_BREATH => {
                std::thread::sleep(Duration::from_millis(5))
            }
            Err(TryLockError::WouldBlock) => return Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    let (Ok(open), Ok(there)) = (file.metadata(), path.metadata()) else {
        return false;
    };
    (open.dev(), open.ino()) == (there.dev(), there.ino())
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
