//! Where the upper layer of an overlay may lie: on the workspace's own file system and mount, so
//! that what the tools wrote comes to its place by a rename.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::sys::fs;
use crate::sys::mounts;

/// The last resort's name at the root of the workspace.
const INSIDE: &str = ".devshell";
/// What it holds besides runs: git must not see it.
const GITIGNORE: (&str, &str) = (".gitignore", "# Made by devshell while it runs.\n*\n");

/// A folder in which a run's folder may be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewPlace {
    /// The folder.
    pub folder: PathBuf,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It belongs to everybody: each has only what is named after itself.
    Shared,
    /// It stays when it is empty.
    Lasting,
    /// It goes when it is empty.
    Passing,
    /// And it lies in the workspace.
    Inside,
}

impl ViewPlace {
    /// One in a folder of devshell's own.
    #[must_use]
    pub fn lasting(folder: PathBuf) -> Self {
        Self {
            folder,
            kind: Kind::Lasting,
        }
    }

    /// A folder for temporary things of all kinds.
    #[must_use]
    pub fn shared(folder: PathBuf) -> Self {
        Self {
            folder,
            kind: Kind::Shared,
        }
    }

    /// Whether all that has the name of a run here is a run of this workspace.
    pub(super) fn is_own(&self) -> bool {
        self.kind != Kind::Shared
    }

    /// All places of a workspace in the order of choice: its parts of the cache folder and of
    /// the guests' staging, a hidden folder beside it, and a hidden one in it.
    #[must_use]
    pub fn all(cache: &Path, staging: &Path, workspace: &Path, key: &str) -> Vec<Self> {
        let mut all = vec![Self::lasting(cache.join("view")), Self::lasting(staging.join("view"))];
        if let Some(parent) = workspace.parent() {
            all.push(Self {
                folder: parent.join(format!("{INSIDE}-{key}")),
                kind: Kind::Passing,
            });
        }
        all.push(Self {
            folder: workspace.join(INSIDE),
            kind: Kind::Inside,
        });
        all
    }

    /// Why the upper layer over `workspace` cannot lie here, in words; none when it can. Makes
    /// nothing that stays.
    pub(super) fn unfit(&self, workspace: &Path) -> io::Result<Option<String>> {
        let existing = self
            .folder
            .ancestors()
            .find(|at| at.symlink_metadata().is_ok())
            .unwrap_or(Path::new("/"));
        let there = fs::open_dir(existing)?;
        if fs::mount_of(&there)? != fs::mount_of(fs::open_dir(workspace)?)? {
            return Ok(Some("on another file system or mount".to_owned()));
        }
        if self.kind == Kind::Inside && self.folder.exists() && !self.is_ours() {
            return Ok(Some("there is a folder of that name".to_owned()));
        }
        if let Some(name) = mounts::unfit_for_upper(existing)? {
            return Ok(Some(format!("on {name}, which cannot hold it")));
        }
        Ok(None)
    }

    /// Makes the folder.
    pub(super) fn make(&self) -> io::Result<()> {
        match self.kind {
            Kind::Shared => return Ok(()),
            Kind::Lasting | Kind::Passing => return fs::make_private_dirs(&self.folder),
            Kind::Inside => {}
        }
        self.unnoticed(|| {
            fs::make_private_dirs(&self.folder)?;
            let (name, text) = GITIGNORE;
            File::create(self.folder.join(name))?.write_all(text.as_bytes())
        })
    }

    /// Removes the folder where it is not to stay, unless another run has something there.
    pub(super) fn leave(&self) {
        let (name, _) = GITIGNORE;
        let _ = match self.kind {
            Kind::Shared | Kind::Lasting => Ok(()),
            Kind::Passing => std::fs::remove_dir(&self.folder),
            Kind::Inside => self.unnoticed(|| {
                if super::run_folder::is_in_use(&self.folder) {
                    return Ok(());
                }
                std::fs::remove_file(self.folder.join(name))?;
                std::fs::remove_dir(&self.folder)
            }),
        };
    }

    /// Does something in the workspace's folder and puts that folder's time back.
    fn unnoticed(&self, act: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let Some(parent) = self.folder.parent() else {
            return act();
        };
        let parent = fs::open_dir(parent)?;
        let before = fs::stat_fd(&parent)?.stamp.mtime();
        let outcome = act();
        // Only its owner may set it.
        let _ = fs::set_mtime_fd(&parent, before);
        outcome
    }

    fn is_ours(&self) -> bool {
        let (name, text) = GITIGNORE;
        std::fs::read(self.folder.join(name)).is_ok_and(|found| found == text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_resort_leaves_no_trace_and_spares_a_folder_of_the_users() {
        let temp = tempfile::tempdir().unwrap();
        let workspace = temp.path();
        let long_ago = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
        File::open(workspace).unwrap().set_modified(long_ago).unwrap();
        let all = ViewPlace::all(Path::new("/c"), Path::new("/s"), workspace, "key");
        let inside = all.last().unwrap();
        assert_eq!(inside.folder, workspace.join(".devshell"));
        assert_eq!(inside.unfit(workspace).unwrap(), None);
        inside.make().unwrap();
        assert_eq!(inside.unfit(workspace).unwrap(), None, "its own is no obstacle");
        inside.leave();
        assert!(!inside.folder.exists());
        assert_eq!(workspace.metadata().unwrap().modified().unwrap(), long_ago);

        std::fs::create_dir(&inside.folder).unwrap();
        assert!(inside.unfit(workspace).unwrap().is_some());
        assert_eq!(
            ViewPlace::lasting("/proc/x".into())
                .unfit(workspace)
                .unwrap()
                .as_deref(),
            Some("on another file system or mount")
        );
    }
}
