//! The folders of a layer, made to look like what they cover.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use crate::sys::fs::{self, Acl, Stat};

/// What a folder looks like: owner, permissions, access lists, time.
pub(super) struct Look {
    stat: Stat,
    acl: Acl,
}

impl Look {
    pub(super) fn of(folder: &OwnedFd) -> io::Result<Self> {
        Ok(Self {
            stat: fs::stat_fd(folder)?,
            acl: Acl::of(folder)?,
        })
    }

    pub(super) fn give_to(&self, folder: &OwnedFd) -> io::Result<()> {
        let stamp = &self.stat.stamp;
        let now = fs::stat_fd(folder)?.stamp;
        if (now.uid, now.gid) != (stamp.uid, stamp.gid) {
            fs::set_owner_fd(folder, stamp.uid, stamp.gid)?;
        }
        // After the owner: changing that clears setgid.
        fs::set_mode_fd(folder, stamp.mode())?;
        self.acl.give_to(folder)?;
        fs::set_mtime_fd(folder, stamp.mtime())
    }
}

/// Makes the layer with the root `upper` hide a path of the tree with the root `real`, whether it
/// is there or not.
pub(super) fn hide(upper: &OwnedFd, real: &OwnedFd, path: &Path) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let mut made = Vec::new();
    let mut at = upper.try_clone()?;
    let mut like = real.try_clone()?;
    for part in parent {
        // Below what is not there, nothing needs to be hidden.
        like = match fs::open_child_dir(&like, part) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        match fs::make_dir(&at, part, 0o700) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        at = fs::open_child_dir(&at, part)?;
        made.push((at.try_clone()?, Look::of(&like)?));
    }
    match fs::make_whiteout(&at, name) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    made.iter().rev().try_for_each(|(folder, look)| look.give_to(folder))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt};

    #[test]
    fn what_is_hidden_is_covered_and_the_folders_on_the_way_look_alike() {
        let temp = tempfile::tempdir().unwrap();
        let [real, upper] = ["real", "upper"].map(|name| temp.path().join(name));
        std::fs::create_dir_all(real.join("a/b/own")).unwrap();
        std::fs::create_dir(&upper).unwrap();
        std::fs::set_permissions(real.join("a"), PermissionsExt::from_mode(0o2751)).unwrap();
        let [real_fd, upper_fd] = [&real, &upper].map(|path| fs::open_dir(path).unwrap());
        for path in ["a/b/own", "a/other", "gone/x"] {
            hide(&upper_fd, &real_fd, Path::new(path)).unwrap();
        }
        for path in ["a/b/own", "a/other"] {
            let there = upper.join(path).symlink_metadata().unwrap();
            assert!(there.file_type().is_char_device() && there.rdev() == 0);
        }
        assert!(!upper.join("gone").exists());
        let look = |path: &Path| {
            let found = path.metadata().unwrap();
            (found.mode(), found.mtime_nsec())
        };
        assert_eq!(look(&upper.join("a")), look(&real.join("a")));
        assert_eq!(look(&upper.join("a/b")), look(&real.join("a/b")));
    }
}
