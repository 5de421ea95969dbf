//! Trees that no session has used for long are removed: what they hold is at the clients, too, or is built again.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::sys::fs::{coarse_now, names, open_child_dir, remove_tree, rename_new, stat_fd, try_lock};

use super::log::Log;
use super::own_folder::{TREES, is_key};
use super::serving::Shared;
use super::staging::Roots;

/// How often a server looks for old trees, at most.
const PAUSE: Duration = Duration::from_secs(60 * 60);
/// Begins the name of a tree that is being removed. No key begins so.
const GONE: &str = ".gone-";

/// When a server looked for old trees.
#[derive(Debug, Default)]
pub(super) struct OldTrees(Mutex<Option<Instant>>);

impl OldTrees {
    /// Whether it is time to look again; from now on it is not.
    fn is_due(&self, now: Instant) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_some_and(|last| now.saturating_duration_since(last) < PAUSE) {
            return false;
        }
        *last = Some(now);
        true
    }
}

impl Shared {
    /// Removes old trees, where that is wished and due, in a thread of its own: no client waits for it. A server that
    /// ends meanwhile leaves the rest to the next.
    pub(super) fn forget_old_trees(self: &Arc<Self>) {
        let Some(age) = self.settings.forget_trees_after else {
            return;
        };
        if !self.old_trees.is_due(Instant::now()) {
            return;
        }
        let shared = Arc::clone(self);
        let spawned = std::thread::Builder::new()
            .name("devshell-vm-old".to_owned())
            .spawn(move || shared.roots.forget_trees(age, &shared.log));
        if let Err(error) = spawned {
            self.log.warn("trees_not_looked_at", &[("why", &error)]);
        }
    }
}

impl Roots {
    /// Removes the trees that nobody has and that were last used longer than `age` ago.
    fn forget_trees(&self, age: Duration, log: &Log) {
        let Some((root, root_path)) = self.first() else { return };
        let path = root_path.join(TREES);
        let listed = open_child_dir(root, OsStr::new(TREES)).and_then(|trees| Ok((names(&trees)?, trees)));
        let (found, trees) = match listed {
            Ok(found) => found,
            // No tree was ever carried to here.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => return not_forgotten(log, &path, &error),
        };
        for name in found {
            match forget(&trees, &name, age) {
                Ok(None) => {}
                Ok(Some(days)) => {
                    let path = path.join(&name);
                    log.info("tree_forgotten", &[("tree", &path.display()), ("unused_days", &days)]);
                }
                Err(error) => not_forgotten(log, &path.join(&name), &error),
            }
        }
    }
}

fn not_forgotten(log: &Log, path: &Path, error: &io::Error) {
    log.warn("tree_not_forgotten", &[("tree", &path.display()), ("why", error)]);
}

/// Removes one tree, if it is old; gives for how many days nobody had used it.
fn forget(trees: &OwnedFd, name: &OsStr, age: Duration) -> io::Result<Option<i64>> {
    let half_gone = name.as_bytes().starts_with(GONE.as_bytes());
    if !half_gone && !name.to_str().is_some_and(is_key) {
        return Ok(None);
    }
    let folder = match open_child_dir(trees, name) {
        Ok(folder) => folder,
        // Another server was faster.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    // A session may come between a look and the lock, so the look is behind it.
    if !try_lock(&folder)? {
        return Ok(None);
    }
    let (used, now) = (stat_fd(&folder)?.stamp.mtime(), coarse_now());
    if half_gone {
        remove_tree(trees, name)?;
        return Ok(None);
    }
    if used.plus(age) > now {
        return Ok(None);
    }
    // From here on a session with this key begins anew, however long the removal takes.
    let mut gone = OsString::from(GONE);
    gone.push(name);
    remove_tree(trees, &gone)?;
    rename_new(trees, name, trees, &gone)?;
    remove_tree(trees, &gone)?;
    Ok(Some((now.secs() - used.secs()) / (24 * 60 * 60)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::PathBuf;

    use super::super::log::Level;
    use super::super::own_folder::OwnFolder;
    use crate::sidecar::TransferFolder;
    use crate::sys::fs::{Time, open_dir, set_mtime_fd};

    const DAY: u64 = 24 * 60 * 60;
    const AGE: Duration = Duration::from_secs(30 * DAY);

    struct Trees {
        _temp: tempfile::TempDir,
        roots: Roots,
        path: PathBuf,
    }

    impl Trees {
        fn new() -> Self {
            let temp = tempfile::tempdir().unwrap();
            let root = temp.path().canonicalize().unwrap();
            Self {
                roots: Roots::open(std::slice::from_ref(&root)).unwrap(),
                path: root.join(TREES),
                _temp: temp,
            }
        }

        fn open(&self, key: &str) -> OwnFolder {
            let wanted = TransferFolder {
                key: key.to_owned(),
                state: None,
            };
            self.roots.own_folder(&wanted).unwrap().1
        }

        /// A tree with a file that was used so many days ago.
        fn used(&self, key: &str, days: u64) {
            drop(self.open(key));
            let tree = self.path.join(key).join("tree");
            fs::write(tree.join("file"), "x").unwrap();
            fs::set_permissions(&tree, fs::Permissions::from_mode(0o500)).unwrap();
            self.age(key, days);
        }

        fn age(&self, key: &str, days: u64) {
            let then = coarse_now().secs() - i64::try_from(days * DAY).unwrap() - 1;
            set_mtime_fd(open_dir(&self.path.join(key)).unwrap(), Time::new(then, 0)).unwrap();
        }

        fn forget(&self) -> Vec<String> {
            let (sender, lines) = std::sync::mpsc::channel();
            let log = Log::new(Level::Info, move |line| sender.send(line.to_owned()).unwrap());
            self.roots.forget_trees(AGE, &log);
            drop(log);
            lines.iter().collect()
        }

        fn left(&self) -> Vec<OsString> {
            names(&open_dir(&self.path).unwrap()).unwrap()
        }
    }

    #[test]
    fn what_was_not_used_for_long_goes_and_is_told_of() {
        let trees = Trees::new();
        assert!(trees.forget().is_empty(), "there is no folder of trees yet");
        trees.used("old", 31);
        trees.used("young", 29);
        fs::create_dir(trees.path.join(".strange")).unwrap();
        fs::write(trees.path.join("file"), "").unwrap();
        let told = trees.forget();
        assert_eq!(trees.left(), [".strange", "file", "young"]);
        assert!(
            told.iter().any(|line| line.contains("tree_forgotten")
                && line.contains("/.devshell-trees/old")
                && line.contains("unused_days=31")),
            "{told:?}"
        );
        assert!(!told.iter().any(|line| line.contains("young")), "{told:?}");
    }

    #[test]
    fn a_tree_that_a_session_has_stays_and_counts_as_used_from_its_end() {
        let trees = Trees::new();
        trees.used("k", 40);
        let held = trees.open("k");
        trees.age("k", 40);
        assert!(trees.forget().is_empty());
        assert_eq!(trees.left(), ["k"]);
        drop(held);
        assert!(trees.forget().is_empty());
        assert_eq!(trees.left(), ["k"]);
        trees.age("k", 40);
        assert_eq!(trees.forget().len(), 1);
        assert!(trees.left().is_empty());
    }

    #[test]
    fn a_session_counts_as_use_from_its_beginning() {
        let trees = Trees::new();
        trees.used("k", 40);
        let held = trees.open("k");
        let used = stat_fd(open_dir(&trees.path.join("k")).unwrap()).unwrap().stamp.mtime();
        assert!(used.plus(Duration::from_secs(DAY)) > coarse_now());
        drop(held);
    }

    #[test]
    fn a_removal_that_was_cut_short_is_gone_on_with() {
        let trees = Trees::new();
        trees.used("k", 0);
        fs::rename(trees.path.join("k"), trees.path.join(format!("{GONE}k"))).unwrap();
        trees.used("k", 40);
        trees.forget();
        assert!(trees.left().is_empty(), "{:?}", trees.left());
    }

    #[test]
    fn a_server_looks_again_after_a_while_and_not_all_the_time() {
        let (old, start) = (OldTrees::default(), Instant::now());
        for (after, is_due) in [
            (Duration::ZERO, true),
            (PAUSE / 2, false),
            (PAUSE, true),
            (PAUSE * 3 / 2, false),
            (PAUSE * 3, true),
        ] {
            assert_eq!(old.is_due(start + after), is_due, "{after:?}");
        }
    }
}
