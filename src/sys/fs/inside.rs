//! Paths below an open folder, given by somebody who is not trusted: links are followed as long as
//! none leads out, and that is decided by the kernel at the very moment of the use. Where there is
//! no openat2(2), no link is followed at all.

use std::ffi::{OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RawDir, RenameFlags, openat};
use rustix::io::Errno;

use super::{before_change, make_reachable, open_child_dir, remove_dir, to_mode};

/// How deep a removal goes into a tree before it moves what lies deeper up: each level costs a descriptor.
const DEPTH: usize = 32;
/// How many names a removal holds at once.
const BATCH: usize = 1024;

/// Opens a folder, to list it.
pub(crate) fn folder_inside(root: impl AsFd, relative: &Path) -> io::Result<OwnedFd> {
    open_inside(root, relative, OFlags::RDONLY | OFlags::DIRECTORY)
}

/// Opens a folder as a place to work in; it need not be readable.
pub(crate) fn anchor_inside(root: impl AsFd, relative: &Path) -> io::Result<OwnedFd> {
    #[cfg(target_os = "linux")]
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    #[cfg(not(target_os = "linux"))]
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    open_inside(root, relative, flags)
}

/// Opens whatever is there for reading, and never waits for it: the caller looks at its kind.
pub(crate) fn entry_inside(root: impl AsFd, relative: &Path) -> io::Result<OwnedFd> {
    open_inside(root, relative, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)
}

fn open_inside(root: impl AsFd, relative: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let relative = if relative.as_os_str().is_empty() {
        Path::new(".")
    } else {
        relative
    };
    let flags = flags | OFlags::CLOEXEC;
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{ResolveFlags, openat2};
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let mut tries = 0;
        loop {
            match openat2(&root, relative, flags, Mode::empty(), resolve) {
                // Something was renamed meanwhile, and the kernel could not be sure: who does
                // that all the time does not get in.
                Err(Errno::AGAIN) if tries < 128 => tries += 1,
                Err(Errno::AGAIN) => return Err(Errno::XDEV.into()),
                Err(Errno::NOSYS | Errno::PERM) => break,
                other => return Ok(other?),
            }
        }
    }
    open_by_components(root, relative, flags)
}

fn open_by_components(root: impl AsFd, relative: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    if relative.is_absolute() {
        return Err(Errno::XDEV.into());
    }
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in relative.as_os_str().as_bytes().split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return Err(Errno::XDEV.into()),
            name => parts.push(name),
        }
    }
    let Some((last, way)) = parts.split_last() else {
        return Ok(openat(root, ".", flags, Mode::empty())?);
    };
    let mut folder = root.as_fd().try_clone_to_owned()?;
    for name in way {
        folder = child_anchor(&folder, OsStr::from_bytes(name))?;
    }
    let flags = flags | OFlags::NOFOLLOW;
    Ok(openat(&folder, OsStr::from_bytes(last), flags, Mode::empty())?)
}

fn child_anchor(dir: &OwnedFd, name: &OsStr) -> io::Result<OwnedFd> {
    #[cfg(target_os = "linux")]
    let access = OFlags::PATH;
    #[cfg(not(target_os = "linux"))]
    let access = OFlags::RDONLY;
    let flags = access | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(dir, name, flags, Mode::empty())?)
}

/// A new file without a name in a folder: it is gone when nobody holds it any more. An error of
/// the kind `Unsupported` where the file system cannot have one.
pub(crate) fn nameless_file(dir: impl AsFd, mode: u32) -> io::Result<OwnedFd> {
    #[cfg(target_os = "linux")]
    {
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        match openat(dir, ".", flags, to_mode(mode)) {
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOSYS) => {
                Err(io::ErrorKind::Unsupported.into())
            }
            other => Ok(other?),
        }
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (dir, mode);
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Gives a nameless file a name that nothing has.
pub(crate) fn give_name(file: impl AsFd, dir: impl AsFd, name: &OsStr) -> io::Result<()> {
    let path = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
    Ok(rustix::fs::linkat(
        CWD,
        path.as_str(),
        dir,
        name,
        AtFlags::SYMLINK_FOLLOW,
    )?)
}

/// A new file for writing at a name that nothing has.
pub(crate) fn new_file(dir: impl AsFd, name: &OsStr, mode: u32) -> io::Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(dir, name, flags, to_mode(mode))?)
}

/// Removes an entry with everything below it, without following links, with few descriptors and
/// little memory however deep and wide it is. Folders that lack the owner's permissions get them
/// first. What is missing is `NotFound`.
pub(crate) fn remove_whole(dir: impl AsFd, name: &OsStr) -> io::Result<()> {
    if remove_one(&dir, name)? {
        return Ok(());
    }
    make_reachable(&dir, name)?;
    let folder = open_child_dir(&dir, name)?;
    Removal { top: &folder, moved: 0 }.clear(&folder, 1)?;
    remove_dir(&dir, name)
}

/// Whether it is gone: it was no folder, or an empty one.
fn remove_one(dir: impl AsFd, name: &OsStr) -> io::Result<bool> {
    before_change();
    match rustix::fs::unlinkat(&dir, name, AtFlags::empty()) {
        Ok(()) => return Ok(true),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    match rustix::fs::unlinkat(&dir, name, AtFlags::REMOVEDIR) {
        Ok(()) => Ok(true),
        Err(Errno::NOTEMPTY | Errno::EXIST | Errno::ACCESS) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

struct Removal<'a> {
    /// The folder that is emptied; what lies too deep is moved to it.
    top: &'a OwnedFd,
    moved: u64,
}

impl Removal<'_> {
    fn clear(&mut self, folder: &OwnedFd, depth: usize) -> io::Result<()> {
        loop {
            let names = some_names(folder, BATCH)?;
            let mut gone = 0;
            for name in &names {
                match self.take_away(folder, name, depth) {
                    Ok(()) => gone += 1,
                    // Somebody else was faster.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
            // Names that are listed and cannot be found would be listed for ever: the folder says that it is not empty.
            if gone == 0 {
                return Ok(());
            }
        }
    }

    fn take_away(&mut self, folder: &OwnedFd, name: &OsStr, depth: usize) -> io::Result<()> {
        if remove_one(folder, name)? {
            return Ok(());
        }
        if depth >= DEPTH {
            return self.move_up(folder, name);
        }
        make_reachable(folder, name)?;
        let below = open_child_dir(folder, name)?;
        self.clear(&below, depth + 1)?;
        remove_dir(folder, name)
    }

    fn move_up(&mut self, folder: &OwnedFd, name: &OsStr) -> io::Result<()> {
        loop {
            self.moved += 1;
            let new = OsString::from(format!(".devshell-removed-{}", self.moved));
            before_change();
            match rustix::fs::renameat_with(folder, name, self.top, &new, RenameFlags::NOREPLACE) {
                Err(Errno::EXIST) => {}
                // Not every file system can; what would be replaced is to be removed as well.
                Err(Errno::INVAL | Errno::NOSYS) => return Ok(rustix::fs::renameat(folder, name, self.top, &new)?),
                // A folder of which its owner may not even change the `..`.
                Err(Errno::ACCESS) if make_reachable(folder, name)?.is_some() => {}
                other => return Ok(other?),
            }
        }
    }
}

/// The first names of a folder, in no order.
fn some_names(dir: &OwnedFd, most: usize) -> io::Result<Vec<OsString>> {
    rustix::fs::seek(dir, rustix::fs::SeekFrom::Start(0))?;
    let mut names = Vec::new();
    let mut buffer = [MaybeUninit::<u8>::uninit(); 32 * 1024];
    let mut entries = RawDir::new(dir, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(OsStr::from_bytes(name).to_owned());
        }
        if names.len() >= most {
            break;
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    fn root(temp: &Path) -> OwnedFd {
        super::super::open_dir(temp).unwrap()
    }

    #[test]
    fn links_that_stay_inside_are_followed_and_others_are_not() {
        let temp = tempfile::tempdir().unwrap();
        let base = temp.path().join("root");
        fs::create_dir_all(base.join("a/b")).unwrap();
        fs::write(base.join("a/file"), "x").unwrap();
        fs::create_dir(temp.path().join("outside")).unwrap();
        for (target, link) in [
            ("a/b", "inner"),
            ("../outside", "out"),
            ("/", "absolute"),
            ("loop", "loop"),
            ("a/b/../../../root/a", "round"),
        ] {
            symlink(target, base.join(link)).unwrap();
        }
        let root = root(&base);
        let open = |path: &str| open_inside(&root, Path::new(path), OFlags::RDONLY);
        for good in ["", ".", "a", "a//b/", "inner", "inner/..", "a/file"] {
            assert!(open(good).is_ok(), "{good}");
        }
        for bad in [
            "out",
            "out/x",
            "absolute",
            "absolute/etc",
            "loop",
            "round",
            "..",
            "a/../..",
            "/",
            "/etc",
        ] {
            let errno = open(bad).unwrap_err().raw_os_error().and_then(|errno| {
                [Errno::XDEV, Errno::LOOP]
                    .into_iter()
                    .find(|known| known.raw_os_error() == errno)
            });
            assert!(errno.is_some(), "{bad}: {:?}", open(bad));
        }
        let simple = |path: &str| open_by_components(&root, Path::new(path), OFlags::RDONLY);
        for good in ["", ".", "a//b/", "a/file"] {
            assert!(simple(good).is_ok(), "{good}");
        }
        for bad in ["inner", "inner/x", "out", "absolute", "..", "a/..", "/etc"] {
            assert!(simple(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_fifo_is_opened_without_waiting() {
        let temp = tempfile::tempdir().unwrap();
        let root = root(temp.path());
        rustix::fs::mknodat(&root, "pipe", rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert!(entry_inside(&root, Path::new("pipe")).is_ok());
    }

    #[test]
    fn a_tree_deeper_than_descriptors_reach_goes_and_link_targets_stay() {
        let temp = tempfile::tempdir().unwrap();
        fs::create_dir(temp.path().join("kept")).unwrap();
        fs::write(temp.path().join("kept/file"), "x").unwrap();
        let top = root(temp.path());
        rustix::fs::mkdirat(&top, "tree", Mode::RWXU).unwrap();
        let mut at = open_child_dir(&top, OsStr::new("tree")).unwrap();
        for depth in 0..3000 {
            rustix::fs::mkdirat(&at, "d", Mode::RWXU).unwrap();
            if depth % 500 == 0 {
                rustix::fs::symlinkat("../kept", &at, "link").unwrap();
                rustix::fs::mknodat(&at, "fifo", rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
            }
            at = open_child_dir(&at, OsStr::new("d")).unwrap();
        }
        symlink("../kept", temp.path().join("tree/link2")).unwrap();
        let closed = temp.path().join("tree/closed");
        fs::create_dir_all(closed.join("x")).unwrap();
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o0)).unwrap();
        for wide in 0..3000 {
            fs::write(temp.path().join(format!("tree/file{wide}")), "").unwrap();
        }
        remove_whole(&top, OsStr::new("tree")).unwrap();
        assert!(!temp.path().join("tree").exists());
        assert!(temp.path().join("kept/file").exists());
        assert_eq!(
            remove_whole(&top, OsStr::new("tree")).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
    }

    #[test]
    fn a_link_itself_is_removed() {
        let temp = tempfile::tempdir().unwrap();
        fs::create_dir(temp.path().join("kept")).unwrap();
        symlink("kept", temp.path().join("link")).unwrap();
        remove_whole(root(temp.path()), OsStr::new("link")).unwrap();
        assert!(temp.path().join("kept").exists() && !temp.path().join("link").is_symlink());
    }

    #[test]
    fn a_nameless_file_gets_a_name_once() {
        let temp = tempfile::tempdir().unwrap();
        let dir = root(temp.path());
        let file = match nameless_file(&dir, 0o640) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => return,
            file => file.unwrap(),
        };
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0);
        give_name(&file, &dir, OsStr::new("a")).unwrap();
        assert!(temp.path().join("a").is_file());
        assert_eq!(
            give_name(&file, &dir, OsStr::new("a")).unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
    }
}
