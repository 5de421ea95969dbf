//! File-system calls relative to folder descriptors, which never follow a symbolic link.

mod acl;
mod copy;
#[cfg(test)]
pub(crate) mod death;
mod inside;
mod obstacle;
mod open;
mod remove;
mod stat;
mod time;
mod xattr;

use std::ffi::{OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, RenameFlags};

pub(crate) use acl::Acl;
#[cfg(target_os = "linux")]
pub(crate) use copy::reflink;
pub(crate) use copy::{CopyMemory, copy_contents, read_full_at, write_all, write_all_at};
pub(crate) use inside::{anchor_inside, entry_inside, folder_inside, give_name, nameless_file, new_file, remove_whole};
pub(crate) use obstacle::{denial, existing, obstacle};
pub(crate) use open::{
    create_file, make_open, make_reachable, open_absolute, open_beneath, open_beneath_forced, open_child_dir, open_dir,
    open_file, open_file_forced, open_to_go_on, own_dirs_beneath,
};
pub(crate) use remove::remove_tree;
pub use stat::Kind;
pub(crate) use stat::{Stamp, Stat};
pub use time::Time;
pub(crate) use xattr::{attribute, attributes, remove_attribute, set_attribute};

/// `fstatat` without following.
pub(crate) fn stat_at(dir: impl AsFd, name: &OsStr) -> io::Result<Stat> {
    Ok(rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?.into())
}

/// `fstat`.
pub(crate) fn stat_fd(fd: impl AsFd) -> io::Result<Stat> {
    Ok(rustix::fs::fstat(fd)?.into())
}

/// The file system and the mount that a folder lies on: only within one of these can be renamed.
pub(crate) fn mount_of(fd: impl AsFd) -> io::Result<(u64, Option<u64>)> {
    let dev = stat_fd(fd.as_fd())?.dev;
    Ok((dev, mount_id(fd, OsStr::new(""), AtFlags::EMPTY_PATH)))
}

/// As [`mount_of`], for an entry that need not be opened; a link is looked at itself.
pub(crate) fn mount_at(dir: impl AsFd, name: &OsStr) -> io::Result<(u64, Option<u64>)> {
    let dev = stat_at(dir.as_fd(), name)?.dev;
    Ok((dev, mount_id(dir, name, AtFlags::SYMLINK_NOFOLLOW)))
}

#[cfg(target_os = "linux")]
fn mount_id(dir: impl AsFd, name: &OsStr, flags: AtFlags) -> Option<u64> {
    use rustix::fs::StatxFlags;
    rustix::fs::statx(dir, name, flags, StatxFlags::MNT_ID)
        .ok()
        .filter(|answer| answer.stx_mask & StatxFlags::MNT_ID.bits() != 0)
        .map(|answer| answer.stx_mnt_id)
}

#[cfg(not(target_os = "linux"))]
fn mount_id(_dir: impl AsFd, _name: &OsStr, _flags: AtFlags) -> Option<u64> {
    None
}

/// Before each call that changes something: a test may have the caller die here.
#[inline]
fn before_change() {
    #[cfg(test)]
    death::before_change();
}

/// Calls `each` with the name of every entry but `.` and `..`, in no order.
pub(crate) fn for_each_name(dir: &OwnedFd, mut each: impl FnMut(&OsStr)) -> io::Result<()> {
    for_each_entry(dir, |name, _| each(name))
}

/// As [`for_each_name`], with the inode number that the folder itself has for the entry; at a mount point that is
/// the number of what is mounted over.
pub(crate) fn for_each_entry(dir: &OwnedFd, mut each: impl FnMut(&OsStr, u64)) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        rustix::fs::seek(dir, rustix::fs::SeekFrom::Start(0))?;
        let mut buffer = [MaybeUninit::<u8>::uninit(); 32 * 1024];
        let mut entries = rustix::fs::RawDir::new(dir, &mut buffer);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                each(OsStr::from_bytes(name), entry.ino());
            }
        }
    }
    #[cfg(not(target_os = "linux"))]
    for entry in rustix::fs::Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            each(OsStr::from_bytes(name), entry.ino());
        }
    }
    Ok(())
}

/// The names of a folder, sorted by their bytes.
pub(crate) fn names(dir: &OwnedFd) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for_each_name(dir, |name| names.push(name.to_owned()))?;
    names.sort_unstable();
    Ok(names)
}

/// The target of a symbolic link.
pub(crate) fn read_link_at(dir: impl AsFd, name: &OsStr) -> io::Result<PathBuf> {
    let target = rustix::fs::readlinkat(dir, name, Vec::new())?;
    Ok(PathBuf::from(OsString::from_vec(target.into_bytes())))
}

/// `mkdirat`.
pub(crate) fn make_dir(dir: impl AsFd, name: &OsStr, mode: u32) -> io::Result<()> {
    before_change();
    Ok(rustix::fs::mkdirat(dir, name, to_mode(mode))?)
}

/// What stands in a layer of an overlay for "nothing": a character device 0:0, which anybody may make.
pub(crate) fn make_whiteout(dir: impl AsFd, name: &OsStr) -> io::Result<()> {
    let kind = rustix::fs::FileType::CharacterDevice;
    Ok(rustix::fs::mknodat(dir, name, kind, Mode::empty(), 0)?)
}

/// `symlinkat`.
pub(crate) fn make_symlink(target: &Path, dir: impl AsFd, name: &OsStr) -> io::Result<()> {
    before_change();
    Ok(rustix::fs::symlinkat(target, dir, name)?)
}

/// A second name for an entry; a link is linked itself.
pub(crate) fn make_hard_link(from: impl AsFd, from_name: &OsStr, to: impl AsFd, to_name: &OsStr) -> io::Result<()> {
    before_change();
    Ok(rustix::fs::linkat(from, from_name, to, to_name, AtFlags::empty())?)
}

/// `unlinkat` of anything but a folder.
pub(crate) fn unlink(dir: impl AsFd, name: &OsStr) -> io::Result<()> {
    before_change();
    Ok(rustix::fs::unlinkat(dir, name, AtFlags::empty())?)
}

/// `rmdir`.
pub(crate) fn remove_dir(dir: impl AsFd, name: &OsStr) -> io::Result<()> {
    before_change();
    Ok(rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR)?)
}

/// `renameat`, which replaces.
pub(crate) fn rename(from: impl AsFd, from_name: &OsStr, to: impl AsFd, to_name: &OsStr) -> io::Result<()> {
    before_change();
    Ok(rustix::fs::renameat(from, from_name, to, to_name)?)
}

/// Renames only where nothing stands.
pub(crate) fn rename_new(from: impl AsFd, from_name: &OsStr, to: impl AsFd, to_name: &OsStr) -> io::Result<()> {
    before_change();
    match rustix::fs::renameat_with(&from, from_name, &to, to_name, RenameFlags::NOREPLACE) {
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
            // A file system without the flag: a test just before is all there is.
            match stat_at(to.as_fd(), to_name) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => rename(from, from_name, to, to_name),
                Err(error) => Err(error),
                Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
            }
        }
        other => Ok(other?),
    }
}

/// Swaps two entries in one step. Some file systems cannot ([`io::ErrorKind::InvalidInput`]).
pub(crate) fn exchange(from: impl AsFd, from_name: &OsStr, to: impl AsFd, to_name: &OsStr) -> io::Result<()> {
    before_change();
    Ok(rustix::fs::renameat_with(
        from,
        from_name,
        to,
        to_name,
        RenameFlags::EXCHANGE,
    )?)
}

/// Sets permission bits through a descriptor that was opened for reading or writing.
pub(crate) fn set_mode_fd(fd: impl AsFd, mode: u32) -> io::Result<()> {
    before_change();
    Ok(rustix::fs::fchmod(fd, to_mode(mode))?)
}

/// Sets permission bits of a file or folder, also of one that may not be opened; never of a link's target.
pub(crate) fn set_mode_at(dir: impl AsFd, name: &OsStr, mode: u32) -> io::Result<()> {
    before_change();
    let fd = open::open_path_only(dir, name)?;
    set_mode_opath(&fd, mode)
}

fn set_mode_opath(fd: &OwnedFd, mode: u32) -> io::Result<()> {
    // fchmod refuses O_PATH descriptors; the magic link names the very inode, not a path.
    #[cfg(target_os = "linux")]
    return Ok(rustix::fs::chmod(
        format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(fd)).as_str(),
        to_mode(mode),
    )?);
    #[cfg(not(target_os = "linux"))]
    set_mode_fd(fd, mode)
}

/// Makes a folder of devshell's own with its parents; what is made is the caller's alone.
pub(crate) fn make_private_dirs(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Sets the mtime and leaves the atime, without following.
pub(crate) fn set_mtime_at(dir: impl AsFd, name: &OsStr, mtime: Time) -> io::Result<()> {
    before_change();
    Ok(rustix::fs::utimensat(
        dir,
        name,
        &mtime.as_mtime_only(),
        AtFlags::SYMLINK_NOFOLLOW,
    )?)
}

/// Sets the mtime and leaves the atime.
pub(crate) fn set_mtime_fd(fd: impl AsFd, mtime: Time) -> io::Result<()> {
    before_change();
    Ok(rustix::fs::futimens(fd, &mtime.as_mtime_only())?)
}

/// Sets owner and group, without following.
pub(crate) fn set_owner_at(dir: impl AsFd, name: &OsStr, uid: Option<u32>, gid: Option<u32>) -> io::Result<()> {
    before_change();
    Ok(rustix::fs::chownat(
        dir,
        name,
        uid.map(rustix::fs::Uid::from_raw),
        gid.map(rustix::fs::Gid::from_raw),
        AtFlags::SYMLINK_NOFOLLOW,
    )?)
}

/// Sets owner and group.
pub(crate) fn set_owner_fd(fd: impl AsFd, uid: u32, gid: u32) -> io::Result<()> {
    before_change();
    Ok(rustix::fs::fchown(
        fd,
        Some(rustix::fs::Uid::from_raw(uid)),
        Some(rustix::fs::Gid::from_raw(gid)),
    )?)
}

/// Whether the caller may change a folder's content, by its permissions, attributes and mount.
pub(crate) fn may_write(dir: impl AsFd, name: &OsStr) -> io::Result<bool> {
    use rustix::io::Errno;
    let flags = AtFlags::EACCESS | AtFlags::SYMLINK_NOFOLLOW;
    match rustix::fs::accessat(dir, name, rustix::fs::Access::WRITE_OK, flags) {
        Ok(()) => Ok(true),
        Err(Errno::ACCESS | Errno::PERM | Errno::ROFS) => Ok(false),
        // A kernel that cannot tell: the commit itself finds out.
        Err(Errno::NOSYS | Errno::INVAL) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// Effective user and group of this process.
pub(crate) fn caller() -> (u32, u32) {
    (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
}

/// The clock that file systems stamp with, which lags behind by up to a tick.
pub(crate) fn coarse_now() -> Time {
    #[cfg(target_os = "linux")]
    let clock = rustix::time::ClockId::RealtimeCoarse;
    #[cfg(not(target_os = "linux"))]
    let clock = rustix::time::ClockId::Realtime;
    let now = rustix::time::clock_gettime(clock);
    Time::new(now.tv_sec, u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// By how many nanoseconds the wall clock is ahead of the clock that only runs forward, and by how much that may be
/// off: a fall of the first tells that somebody has set the clock back.
pub(crate) fn clock_lead() -> (i128, i128) {
    #[cfg(target_os = "linux")]
    const STEADY: rustix::time::ClockId = rustix::time::ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    const STEADY: rustix::time::ClockId = rustix::time::ClockId::Monotonic;
    let nanos = |clock| {
        let now = rustix::time::clock_gettime(clock);
        i128::from(now.tv_sec) * 1_000_000_000 + i128::from(now.tv_nsec)
    };
    // The two are not read at once: the closest of some readings counts.
    let readings = (0..5).map(|_| {
        let before = nanos(STEADY);
        let wall = nanos(rustix::time::ClockId::Realtime);
        let after = nanos(STEADY);
        (wall - before, after - before)
    });
    readings.min_by_key(|(_, off)| *off).unwrap_or_default()
}

/// Brings one file's content to the disk.
pub(crate) fn sync_file(fd: impl AsFd) -> io::Result<()> {
    before_change();
    Ok(rustix::fs::fsync(fd)?)
}

/// Brings the names in a folder to the disk, where the file system can.
pub(crate) fn sync_folder(fd: impl AsFd) -> io::Result<()> {
    match sync_file(fd) {
        Err(error) if is_unsupported(&error) => Ok(()),
        other => other,
    }
}

/// Brings everything of the file system that holds `fd` to the disk.
pub(crate) fn sync_file_system(fd: impl AsFd) -> io::Result<()> {
    before_change();
    #[cfg(target_os = "linux")]
    return Ok(rustix::fs::syncfs(fd)?);
    #[cfg(not(target_os = "linux"))]
    {
        let _ = fd;
        rustix::fs::sync();
        Ok(())
    }
}

/// Whether two paths name the same entry; links on the way are followed.
pub(crate) fn same_file(a: &Path, b: &Path) -> bool {
    let place = |path: &Path| Some(Stat::from(rustix::fs::stat(path).ok()?).id());
    place(a).is_some_and(|a| Some(a) == place(b))
}

/// Takes an exclusive lock on an open folder or file; `false` when another has it.
pub(crate) fn try_lock(fd: impl AsFd) -> io::Result<bool> {
    match rustix::fs::flock(fd, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Waits for an exclusive lock on an open folder or file.
pub(crate) fn lock(fd: impl AsFd) -> io::Result<()> {
    loop {
        match rustix::fs::flock(&fd, rustix::fs::FlockOperation::LockExclusive) {
            Err(rustix::io::Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
}

/// How many bytes the caller may still write to the file system of an open file or folder.
pub(crate) fn free_bytes(fd: impl AsFd) -> io::Result<u64> {
    let stat = rustix::fs::fstatvfs(fd)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// The major and minor number of a device.
#[allow(clippy::unnecessary_cast, reason = "dev_t differs from system to system")]
pub(crate) fn device_numbers(dev: u64) -> (u32, u32) {
    let dev = dev as rustix::fs::Dev;
    (rustix::fs::major(dev) as u32, rustix::fs::minor(dev) as u32)
}

/// Whether the error says that two places lie on different file systems or mounts.
pub(crate) fn is_cross_device(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::CrossesDevices
}

/// Whether the error says that something on the way is a link or no folder.
pub(crate) fn is_not_a_folder(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::NOTDIR, Errno::LOOP]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Whether the file system cannot do what was asked.
pub(crate) fn is_unsupported(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::INVAL, Errno::NOSYS, Errno::OPNOTSUPP]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Whether [`open_file`] met something that is no regular file.
pub(crate) fn is_other_kind(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidData
}

/// The error of work that the caller wished to stop.
pub(crate) fn cancelled() -> io::Error {
    rustix::io::Errno::CANCELED.into()
}

/// Whether the error is the one of a copy that the caller wished to stop.
pub(crate) fn is_cancelled(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::CANCELED.raw_os_error())
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::unnecessary_cast,
    reason = "mode_t is 16 bits wide on some systems"
)]
fn to_mode(mode: u32) -> Mode {
    Mode::from_raw_mode((mode & 0o7777) as rustix::fs::RawMode)
}
