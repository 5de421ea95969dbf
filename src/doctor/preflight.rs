//! What a run can know before it costs anything: a look at the file systems that the commit will
//! need, so that nobody learns after an hour of tools that the disk is full.

use std::path::{Path, PathBuf};

use crate::exit::End;
use crate::plan::{Backend, Plan, Strategy};
use crate::sys::fs;
use crate::sys::room::room;

use super::facts::{is_full, words};
use super::throwaway::existing;

/// Why a run is not begun.
#[derive(Debug, thiserror::Error)]
pub enum Unready {
    /// A file system that will be written to is full.
    #[error("the file system of {what} `{}` is full ({left}): make room, or {remedy}", path.display())]
    Full {
        /// What would be written there.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// What is left, in words.
        left: String,
        /// What helps besides room.
        remedy: &'static str,
    },
    /// A folder of devshell's own cannot be written to.
    #[error("{what} `{}` cannot be written to, and a result could be neither committed nor kept: {remedy}", path.display())]
    NotWritable {
        /// Which.
        what: &'static str,
        /// The folder that says no.
        path: PathBuf,
        /// What helps.
        remedy: &'static str,
    },
}

impl Unready {
    /// How a run that meets it ends.
    #[must_use]
    pub fn end(&self) -> End {
        End::Sync
    }
}

const STATE: &str = "devshell's state folder";
const MOVE_STATE: &str = "set XDG_STATE_HOME to a folder elsewhere";

/// Looks whether what the tools make could be committed at all. Costs a few system calls, makes
/// nothing, and says nothing where it cannot tell.
///
/// # Errors
/// [`Unready`].
pub fn preflight(plan: &Plan) -> Result<(), Unready> {
    let mut needed = Vec::with_capacity(3);
    if let Backend::Host(host) = &plan.backend {
        match host.strategy {
            // Nothing is committed.
            Strategy::InPlace => return Ok(()),
            Strategy::Copy => needed.push(("devshell's cache folder", &plan.places.cache, MOVE_CACHE)),
            Strategy::Auto | Strategy::Overlay => {}
        }
    }
    let state = &plan.places.state;
    if let Some(folder) = forbidding(state) {
        return Err(Unready::NotWritable {
            what: STATE,
            path: folder,
            remedy: MOVE_STATE,
        });
    }
    needed.push((STATE, state, MOVE_STATE));
    needed.push(("the workspace", &plan.workspace, "move the workspace to another disk"));
    for (what, path, remedy) in needed {
        if let Ok(room) = room(existing(path))
            && is_full(room)
        {
            return Err(Unready::Full {
                what,
                path: path.clone(),
                left: words(room),
                remedy,
            });
        }
    }
    Ok(())
}

const MOVE_CACHE: &str = "set XDG_CACHE_HOME or DEVSHELL_EXPORT_BASE to a folder elsewhere";

/// The folder on the way to `path` that does not let the caller make it.
fn forbidding(path: &Path) -> Option<PathBuf> {
    let at = existing(path);
    let (parent, name) = (at.parent().unwrap_or(at), at.file_name().unwrap_or(".".as_ref()));
    let parent = fs::open_dir(parent).ok()?;
    (!fs::may_write(parent, name).ok()?).then(|| at.to_path_buf())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_folder_that_says_no_is_found_before_it_is_needed() {
        let temp = tempfile::tempdir().unwrap();
        let locked = temp.path().join("locked");
        std::fs::create_dir(&locked).unwrap();
        assert_eq!(forbidding(&locked.join("state/key")), None);
        std::fs::set_permissions(&locked, PermissionsExt::from_mode(0o500)).unwrap();
        let found = forbidding(&locked.join("state/key"));
        std::fs::set_permissions(&locked, PermissionsExt::from_mode(0o700)).unwrap();
        // Modes do not stop root.
        let root = rustix::process::geteuid().is_root();
        assert_eq!(found, (!root).then_some(locked));
    }
}
