//! A folder to try things in, which goes with everything that had to be made for it.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::sys::fs::{self, Time, existing};

/// As runs call theirs: what a doctor that was killed leaves is removed by the next run there.
const PREFIX: &str = "run-doctor-";

/// Removed when it is dropped, with the folders on the way that were not there before; the one
/// that was there keeps its time.
#[derive(Debug)]
pub(super) struct Throwaway {
    path: PathBuf,
    /// The outermost first.
    made: Vec<PathBuf>,
    above: (PathBuf, Time),
    /// Tells runs that somebody is using it.
    _lock: Option<File>,
}

impl Throwaway {
    /// Makes one below `folder`, which need not be there.
    pub(super) fn below(folder: &Path) -> io::Result<Self> {
        let above = existing(folder);
        let before = fs::stat_fd(fs::open_dir(above)?)?.stamp.mtime();
        let mut new = Self {
            path: PathBuf::new(),
            made: Vec::new(),
            above: (above.to_path_buf(), before),
            _lock: None,
        };
        let rest: Vec<&Path> = folder.ancestors().take_while(|part| *part != above).collect();
        for part in rest.into_iter().rev() {
            fs::make_private_dirs(part)?;
            new.made.push(part.to_path_buf());
        }
        loop {
            let path = tempfile::Builder::new()
                .prefix(PREFIX)
                .permissions(PermissionsExt::from_mode(0o700))
                .tempdir_in(folder)?
                .keep();
            let lock = File::open(&path)?;
            // A run that clears up may have been quicker.
            if lock.try_lock().is_ok() && path.metadata().is_ok_and(|now| is(&lock, &now)) {
                new.path = path;
                new._lock = Some(lock);
                return Ok(new);
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Throwaway {
    fn drop(&mut self) {
        if let (Some(parent), Some(name)) = (self.path.parent(), self.path.file_name())
            && let Ok(parent) = fs::open_dir(parent)
        {
            let _ = fs::remove_tree(parent, name);
        }
        // Only what is empty: another devshell may have begun to use it.
        for folder in self.made.iter().rev() {
            let _ = std::fs::remove_dir(folder);
        }
        let (above, before) = &self.above;
        if let Ok(above) = fs::open_dir(above) {
            let _ = fs::set_mtime_fd(above, *before);
        }
    }
}

fn is(open: &File, there: &std::fs::Metadata) -> bool {
    open.metadata()
        .is_ok_and(|open| (open.dev(), open.ino()) == (there.dev(), there.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_with_what_was_made_for_it_and_spares_what_was_there() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir(temp.path().join("there")).unwrap();
        let long_ago = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
        File::open(temp.path().join("there"))
            .unwrap()
            .set_modified(long_ago)
            .unwrap();
        let throwaway = Throwaway::below(&temp.path().join("there/a/b")).unwrap();
        std::fs::write(throwaway.path().join("x"), "x").unwrap();
        assert!(throwaway.path().starts_with(temp.path().join("there/a/b")));
        drop(throwaway);
        let there = temp.path().join("there").metadata().unwrap();
        assert_eq!(std::fs::read_dir(temp.path().join("there")).unwrap().count(), 0);
        assert_eq!(there.modified().unwrap(), long_ago);
    }

    #[test]
    fn what_another_has_put_beside_it_stays() {
        let temp = tempfile::tempdir().unwrap();
        let throwaway = Throwaway::below(&temp.path().join("a")).unwrap();
        std::fs::write(temp.path().join("a/another"), "x").unwrap();
        drop(throwaway);
        assert!(temp.path().join("a/another").exists());
    }
}
