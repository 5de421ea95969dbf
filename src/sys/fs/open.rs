//! Opening folders and files without following a link anywhere on the way.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;

use super::{before_change, make_dir, remove_tree, set_mode_opath, stat_fd, to_mode};

const DIR: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Opens a folder by its path; links on the way are followed. For roots that the user named.
pub(crate) fn open_dir(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(openat(CWD, path, flags, Mode::empty())?)
}

/// Opens a direct child that must be a folder.
pub(crate) fn open_child_dir(dir: impl AsFd, name: &OsStr) -> io::Result<OwnedFd> {
    Ok(openat(dir, name, DIR, Mode::empty())?)
}

/// Opens the folder `relative` below `root` for reading; an empty path is `root` itself.
/// A link anywhere on the way is `ELOOP` or `ENOTDIR`, a way out `EXDEV`.
pub(crate) fn open_beneath(root: impl AsFd, relative: &Path) -> io::Result<OwnedFd> {
    open_resolved(root, relative, DIR)
}

/// As [`open_beneath`], for trees of devshell's own: a folder that its owner may not list or enter is opened up, and
/// stays so. The folders on the way are open already.
pub(crate) fn open_beneath_forced(root: &OwnedFd, relative: &Path) -> io::Result<OwnedFd> {
    match open_beneath(root, relative) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let parent = open_beneath(root, relative.parent().unwrap_or(Path::new("")))?;
            make_reachable(&parent, relative.file_name().unwrap_or(OsStr::new(".")))?;
            open_beneath(root, relative)
        }
        // Readable, but not to be entered: the names would come without their stamps.
        Ok(fd) => {
            let mode = stat_fd(&fd)?.stamp.mode();
            if mode & 0o100 == 0 {
                super::set_mode_fd(&fd, mode | 0o700)?;
            }
            Ok(fd)
        }
        other => other,
    }
}

/// Opens the folder `relative` below `root`, of a tree of devshell's own in which others may write, too. What is missing
/// is made, a folder that is closed to its owner is opened up, and what stands there and is no folder goes: a link would
/// lead wherever they like.
pub(crate) fn own_dirs_beneath(root: OwnedFd, relative: &Path) -> io::Result<OwnedFd> {
    let mut current = root;
    for name in relative {
        current = own_child_dir(&current, name)?;
    }
    Ok(current)
}

fn own_child_dir(dir: &OwnedFd, name: &OsStr) -> io::Result<OwnedFd> {
    // Who writes in it meanwhile may do so again and again.
    for _ in 0..16 {
        match open_child_dir(dir, name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => match make_dir(dir, name, 0o700) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            },
            Err(error) if super::is_not_a_folder(&error) => remove_tree(dir, name)?,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                make_reachable(dir, name)?.ok_or(error)?;
            }
            Err(error) => return Err(error),
            Ok(child) => {
                make_open(&child)?;
                return Ok(child);
            }
        }
    }
    Err(io::ErrorKind::ResourceBusy.into())
}

/// Gives the owner of an open folder of devshell's own the permission to read, enter and change it.
pub(crate) fn make_open(dir: &OwnedFd) -> io::Result<()> {
    let mode = stat_fd(dir)?.stamp.mode();
    if mode & 0o700 != 0o700 {
        super::set_mode_fd(dir, mode | 0o700)?;
    }
    Ok(())
}

/// Opens the folder that an absolute path without links names.
pub(crate) fn open_absolute(path: &Path) -> io::Result<OwnedFd> {
    let relative = path
        .strip_prefix("/")
        .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    open_resolved(open_dir(Path::new("/"))?, relative, DIR)
}

fn open_resolved(root: impl AsFd, relative: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let relative = if relative.as_os_str().is_empty() {
        Path::new(".")
    } else {
        relative
    };
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{ResolveFlags, openat2};
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        // EAGAIN: something was renamed meanwhile, and the kernel could not be sure.
        for _ in 0..16 {
            match openat2(&root, relative, flags, Mode::empty(), resolve) {
                Err(Errno::AGAIN) => {}
                // Old kernels and some sandboxes do not have the call.
                Err(Errno::NOSYS | Errno::PERM) => break,
                other => return Ok(other?),
            }
        }
    }
    open_by_components(root, relative, flags)
}

fn open_by_components(root: impl AsFd, relative: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let mut current = openat(root, ".", flags, Mode::empty())?;
    for part in relative.as_os_str().as_bytes().split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return Err(Errno::XDEV.into()),
            name => current = openat(&current, OsStr::from_bytes(name), flags, Mode::empty())?,
        }
    }
    Ok(current)
}

/// Opens a regular file for reading. What has become something else meanwhile is refused, and a
/// FIFO does not make it wait.
pub(crate) fn open_file(dir: impl AsFd, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let fd = openat(dir, name, flags, Mode::empty())?;
    if stat_fd(&fd)?.stamp.kind() != super::Kind::File {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "it is no regular file any more",
        ));
    }
    Ok(fd)
}

/// As [`open_file`], for trees of devshell's own: a file without read permission is opened all the same.
pub(crate) fn open_file_forced(dir: impl AsFd, name: &OsStr) -> io::Result<OwnedFd> {
    match open_file(&dir, name) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let path = open_path_only(&dir, name)?;
            let mode = stat_fd(&path)?.stamp.mode();
            set_mode_opath(&path, mode | 0o400)?;
            let opened = open_file(&dir, name);
            set_mode_opath(&path, mode)?;
            opened
        }
        other => other,
    }
}

/// Opens a file of devshell's own that is there, to read it and to write on.
pub(crate) fn open_to_go_on(dir: impl AsFd, name: &OsStr) -> io::Result<OwnedFd> {
    before_change();
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    Ok(openat(dir, name, flags, Mode::empty())?)
}

/// A descriptor that only names the entry; no permission on it is needed.
pub(super) fn open_path_only(dir: impl AsFd, name: &OsStr) -> io::Result<OwnedFd> {
    #[cfg(target_os = "linux")]
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    #[cfg(not(target_os = "linux"))]
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(dir, name, flags, Mode::empty())?)
}

/// Gives the owner of a folder of devshell's own the permission to read, enter and change it.
/// Returns the mode that it had, if that was changed.
pub(crate) fn make_reachable(dir: impl AsFd, name: &OsStr) -> io::Result<Option<u32>> {
    let path = open_path_only(dir, name)?;
    let stamp = stat_fd(&path)?.stamp;
    if stamp.kind() != super::Kind::Dir || stamp.mode() & 0o700 == 0o700 {
        return Ok(None);
    }
    set_mode_opath(&path, stamp.mode() | 0o700)?;
    Ok(Some(stamp.mode()))
}

/// Makes a new file for writing. What stands there in a tree of devshell's own goes first.
pub(crate) fn create_file(dir: impl AsFd, name: &OsStr, mode: u32) -> io::Result<OwnedFd> {
    before_change();
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(&dir, name, flags, to_mode(mode)) {
        Err(Errno::EXIST) => {
            remove_tree(&dir, name)?;
            Ok(openat(&dir, name, flags, to_mode(mode))?)
        }
        other => Ok(other?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_link_on_the_way_or_at_its_end_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        fs::create_dir_all(temp.path().join("root/a/b")).unwrap();
        fs::create_dir(temp.path().join("outside")).unwrap();
        symlink("../outside", temp.path().join("root/link")).unwrap();
        let root = open_dir(&temp.path().join("root")).unwrap();
        for by_components in [false, true] {
            let open = |path: &str| match by_components {
                true => open_by_components(&root, Path::new(path), DIR),
                false => open_resolved(&root, Path::new(path), DIR),
            };
            assert!(open("a/b").is_ok());
            assert!(open(".").is_ok());
            assert!(open("link").is_err());
            assert!(open("link/x").is_err());
            assert!(open("../outside").is_err());
        }
    }

    #[test]
    fn a_fifo_is_refused_without_waiting_for_a_writer() {
        let temp = tempfile::tempdir().unwrap();
        let root = open_dir(temp.path()).unwrap();
        rustix::fs::mknodat(&root, "pipe", rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert!(open_file(&root, OsStr::new("pipe")).is_err());
    }
}
