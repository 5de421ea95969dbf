//! What a run can know before it costs anything: a look at the file systems that the commit will
//! need, so that nobody learns after an hour of tools that the disk is full.

use std::path::{Path, PathBuf};

use crate::exit::End;
use crate::plan::{Backend, Plan, Strategy};
use crate::sys::fs::{self, existing, obstacle};
use crate::sys::room::room;
use crate::workspace::results;

use super::facts::words;

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
    #[error(
        "{what} `{}` cannot be written to{}, and a result could be neither committed nor kept: {remedy}",
        path.display(), by(path, at)
    )]
    NotWritable {
        /// Which.
        what: &'static str,
        /// Where it is, or is to be.
        path: PathBuf,
        /// The folder that says no.
        at: PathBuf,
        /// What helps.
        remedy: &'static str,
    },
    /// Something else stands where a folder of devshell's own is, or is to be.
    #[error("{what} `{}` cannot be used, and {loss}: {obstacle}, or {remedy}", path.display())]
    Obstructed {
        /// Which.
        what: &'static str,
        /// Where it is, or is to be.
        path: PathBuf,
        /// What stands there, in words, with what helps.
        obstacle: String,
        /// What could not be done.
        loss: &'static str,
        /// What helps, too.
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

/// Which folder says no, where it is another one.
fn by(path: &Path, at: &Path) -> String {
    if path == at {
        return String::new();
    }
    format!(" (nothing can be made in `{}`)", at.display())
}

const STATE: &str = "devshell's state folder";
const CACHE: &str = "devshell's cache folder";
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
            Strategy::Copy => {
                // Who may not write there is told by the copy itself, which knows more of why.
                let copy = plan.places.cache.join("copy");
                if let Some(obstacle) = obstacle(&copy) {
                    return Err(Unready::Obstructed {
                        what: CACHE,
                        path: copy,
                        obstacle: obstacle.to_string(),
                        loss: "there could be no copy of the workspace",
                        remedy: MOVE_CACHE,
                    });
                }
                // A copy that is there may itself be what fills the disk, with what a failed run made: staging takes
                // that away, and the session looks at the room then.
                if !copy.exists() {
                    needed.push((CACHE, &plan.places.cache, CLEAN_CACHE));
                }
            }
            Strategy::Auto | Strategy::Overlay => {}
        }
    }
    let state = &plan.places.state;
    for folder in [results::folder(state), plan.places.commit_area()] {
        state_part(folder)?;
    }
    needed.push((STATE, state, MOVE_STATE));
    needed.push(("the workspace", &plan.workspace, "move the workspace to another disk"));
    for (what, path, remedy) in needed {
        if let Ok(room) = room(existing(path))
            && room.is_full()
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
const CLEAN_CACHE: &str = "remove the copies of other workspaces by `devshell clean --all`, or set XDG_CACHE_HOME or \
                           DEVSHELL_EXPORT_BASE to a folder elsewhere";

/// Whether a part of the state folder is, or can become, a folder that the caller may write in.
fn state_part(path: PathBuf) -> Result<(), Unready> {
    if let Some(obstacle) = obstacle(&path) {
        return Err(Unready::Obstructed {
            what: STATE,
            path,
            obstacle: obstacle.to_string(),
            loss: "a result could be neither committed nor kept",
            remedy: MOVE_STATE,
        });
    }
    match forbidding(&path) {
        None => Ok(()),
        Some(at) => Err(Unready::NotWritable {
            what: STATE,
            path,
            at,
            remedy: MOVE_STATE,
        }),
    }
}

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
