//! A folder of the server's own choice, for a client that shares none with it: lasting, one session at a time.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::sidecar::{ErrorCode, TransferFolder};
use crate::sys::fs::{coarse_now, make_dir, open_child_dir, set_mtime_fd, stat_at, stat_fd, try_lock};

use super::refusal::Refusal;
use super::staging::{Roots, Staging};

/// Beneath the first root: holds the folders of all keys.
pub(super) const TREES: &str = ".devshell-trees";
/// Beneath the folder of a key: what tools see.
const TREE: &str = "tree";
/// How long an earlier session may take to let the folder go.
const LAST_BREATH: Duration = Duration::from_secs(5);
/// How long a key may be.
const KEY: usize = 64;

/// The folder of a key, held by one session.
#[derive(Debug)]
pub(super) struct OwnFolder {
    path: PathBuf,
    /// What tells a client that nobody else has had the folder since.
    state: String,
    /// The lock goes with it. Its mtime is when the tree was last used.
    folder: OwnedFd,
}

impl OwnFolder {
    /// The digests of the tree's contents.
    pub(super) fn index(&self) -> PathBuf {
        self.path.join("index")
    }

    /// Contents that have come and have no place yet.
    pub(super) fn store(&self) -> PathBuf {
        self.path.join("store")
    }

    pub(super) fn state(&self) -> &str {
        &self.state
    }
}

impl Drop for OwnFolder {
    fn drop(&mut self) {
        // A session may have taken days; where this fails, what is noted of its beginning counts.
        let _ = note_use(&self.folder);
    }
}

impl Roots {
    /// Makes and takes the folder of a key.
    ///
    /// # Errors
    /// `bad_request`, `session_exists` or `bad_staging`.
    pub(super) fn own_folder(&self, wanted: &TransferFolder) -> Result<(Staging, OwnFolder), Refusal> {
        if !is_key(&wanted.key) {
            return Err(Refusal::bad_request(
                "transfer.key has to be 1 to 64 letters, digits, `-`, `_` and `.`, which does not come first",
            ));
        }
        let Some((root, root_path)) = self.first() else {
            return Err(Refusal::new(ErrorCode::Forbidden, "the server has no root"));
        };
        let path = root_path.join(TREES).join(&wanted.key);
        let failed = |error: io::Error| {
            Refusal::new(
                ErrorCode::BadStaging,
                format!("the folder `{}` cannot be used: {error}", path.display()),
            )
        };
        let trees = child(root, OsStr::new(TREES)).map_err(failed)?;
        let mut folder = child(&trees, OsStr::new(&wanted.key)).map_err(failed)?;
        let start = Instant::now();
        loop {
            if try_lock(&folder).map_err(failed)? {
                if is_at(&folder, &trees, &wanted.key) {
                    break;
                }
                // It was old and has been removed between being opened and being locked.
                folder = child(&trees, OsStr::new(&wanted.key)).map_err(failed)?;
                continue;
            }
            if start.elapsed() > LAST_BREATH {
                return Err(Refusal::new(
                    ErrorCode::SessionExists,
                    format!("another session works in the folder `{}`", path.display()),
                ));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        note_use(&folder).map_err(failed)?;
        let tree = child(&folder, OsStr::new(TREE)).map_err(failed)?;
        let state = state_of(&path, wanted.state.as_deref()).map_err(failed)?;
        let staging = Staging::new(tree, path.join(TREE));
        let own = OwnFolder { path, state, folder };
        Ok((staging, own))
    }
}

pub(super) fn is_key(key: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=KEY).contains(&key.len()) && !key.starts_with('.') && key.bytes().all(fits)
}

/// A private folder, made where it is missing. A link in its place is refused.
fn child(dir: &OwnedFd, name: &OsStr) -> io::Result<OwnedFd> {
    match make_dir(dir, name, 0o700) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => open_child_dir(dir, name),
    }
}

/// Notes that a key's tree is used now.
fn note_use(folder: &OwnedFd) -> io::Result<()> {
    set_mtime_fd(folder, coarse_now())
}

/// Whether an open folder still has this name.
fn is_at(folder: &OwnedFd, dir: &OwnedFd, name: &str) -> bool {
    match (stat_fd(folder), stat_at(dir, OsStr::new(name))) {
        (Ok(open), Ok(named)) => open.id() == named.id(),
        _ => false,
    }
}

/// What the folder's state is from now on: that of the client, if it knows the last one.
fn state_of(folder: &Path, known: Option<&str>) -> io::Result<String> {
    let path = folder.join("state");
    if let Some(known) = known
        && std::fs::read(&path).is_ok_and(|last| last == known.as_bytes())
    {
        return Ok(known.to_owned());
    }
    let state = crate::sys::random::token();
    std::fs::write(path, &state)?;
    Ok(state)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn wanted(key: &str, state: Option<&str>) -> TransferFolder {
        TransferFolder {
            key: key.to_owned(),
            state: state.map(str::to_owned),
        }
    }

    #[test]
    fn a_key_is_one_folder_and_its_state_changes_when_somebody_else_comes() {
        let temp = tempfile::tempdir().unwrap();
        let roots = Roots::open(&[temp.path().to_owned()]).unwrap();
        let (staging, own) = roots.own_folder(&wanted("k-1", None)).unwrap();
        let path = staging.path().to_owned();
        assert!(path.ends_with(".devshell-trees/k-1/tree") && path.is_dir());
        let first = own.state().to_owned();
        drop((staging, own));
        let again = roots.own_folder(&wanted("k-1", Some(&first))).unwrap();
        assert_eq!((again.0.path(), again.1.state()), (path.as_path(), first.as_str()));
        drop(again);
        let other = roots.own_folder(&wanted("k-1", None)).unwrap();
        assert_ne!(other.1.state(), first);
        drop(other);
        let back = roots.own_folder(&wanted("k-1", Some(&first))).unwrap();
        assert_ne!(back.1.state(), first);
    }

    #[test]
    fn keys_that_lead_elsewhere_and_links_are_refused() {
        let temp = tempfile::tempdir().unwrap();
        let roots = Roots::open(&[temp.path().to_owned()]).unwrap();
        let long = "k".repeat(KEY + 1);
        for key in ["", ".", "..", ".k", "a/b", "a\0", "é", long.as_str()] {
            let refusal = roots.own_folder(&wanted(key, None)).unwrap_err();
            assert_eq!(refusal.code, ErrorCode::BadRequest, "{key:?}");
        }
        std::fs::create_dir(temp.path().join("outside")).unwrap();
        symlink("outside", temp.path().join(TREES)).unwrap();
        let refusal = roots.own_folder(&wanted("k", None)).unwrap_err();
        assert_eq!(refusal.code, ErrorCode::BadStaging);
        assert_eq!(std::fs::read_dir(temp.path().join("outside")).unwrap().count(), 0);
    }

    #[test]
    fn two_sessions_do_not_have_one_folder() {
        let temp = tempfile::tempdir().unwrap();
        let roots = Roots::open(&[temp.path().to_owned()]).unwrap();
        let held = roots.own_folder(&wanted("k", None)).unwrap();
        assert!(roots.own_folder(&wanted("other", None)).is_ok());
        let refusal = roots.own_folder(&wanted("k", None)).unwrap_err();
        assert_eq!(refusal.code, ErrorCode::SessionExists);
        drop(held);
        assert!(roots.own_folder(&wanted("k", None)).is_ok());
    }
}
