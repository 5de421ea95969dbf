//! Folders, links, removal, modes and times.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::sidecar::{FsErrorCode, GuestFsOk};
use crate::sys::fs::{
    Kind, Time, anchor_inside, make_dir, make_symlink, open_child_dir, remove_whole, rename, set_mode_at, set_mode_fd,
    set_mtime_at, stat_at, unlink,
};

use super::write::with_free_name;
use super::{FsRefusal, Target};

/// Makes a folder with its parents; `mode` is for one that it makes.
pub(in crate::server) fn mkdir(target: &Target, mode: Option<u32>) -> Result<GuestFsOk, FsRefusal> {
    let mut way = PathBuf::new();
    let mut names = target.below.path().iter().peekable();
    while let Some(name) = names.next() {
        let parent = way.clone();
        way.push(name);
        let mode = mode.filter(|_| names.peek().is_none());
        enter_or_make(target, &parent, name, &way, mode).map_err(|error| target.refuse(&error))?;
    }
    Ok(target.done())
}

fn enter_or_make(target: &Target, parent: &Path, name: &OsStr, way: &Path, mode: Option<u32>) -> io::Result<()> {
    match anchor_inside(target.session, way) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        entered => return entered.map(drop),
    }
    let folder = anchor_inside(target.session, parent)?;
    match make_dir(&folder, name, 0o777) {
        // Somebody else made it, or a link that leads nowhere is there.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return anchor_inside(target.session, way).map(drop);
        }
        made => made?,
    }
    match mode {
        Some(mode) => set_mode_fd(open_child_dir(&folder, name)?, mode),
        None => Ok(()),
    }
}

/// Removes an entry with everything below it; a link itself.
pub(in crate::server) fn remove(target: &Target) -> Result<GuestFsOk, FsRefusal> {
    let (folder, name) = holder(target)?;
    remove_whole(&folder, name).map_err(|error| target.refuse(&error))?;
    Ok(target.done())
}

/// Makes a link, also in the place of a file or another link.
pub(in crate::server) fn symlink(target: &Target, holds: &[u8], mtime: Option<Time>) -> Result<GuestFsOk, FsRefusal> {
    if holds.is_empty() || holds.contains(&0) {
        return Err(FsRefusal::new(
            FsErrorCode::InvalidPath,
            "a link cannot hold an empty target or a NUL byte",
        ));
    }
    let (folder, name) = holder(target)?;
    let holds = Path::new(OsStr::from_bytes(holds));
    let fault = |error: io::Error| target.refuse(&error);
    let ((), temporary) = with_free_name(|new| make_symlink(holds, &folder, new)).map_err(fault)?;
    let put = mtime
        .map_or(Ok(()), |mtime| set_mtime_at(&folder, &temporary, mtime))
        .and_then(|()| rename(&folder, &temporary, &folder, name));
    if put.is_err() {
        let _ = unlink(&folder, &temporary);
    }
    put.map_err(fault)?;
    Ok(target.done())
}

/// Sets mode and time of an entry; of a link only its own time.
pub(in crate::server) fn set_stat(
    target: &Target,
    mode: Option<u32>,
    mtime: Option<Time>,
) -> Result<GuestFsOk, FsRefusal> {
    let fault = |error: io::Error| target.refuse(&error);
    let (folder, name) = match target.below.split() {
        Some((parent, name)) => (anchor_inside(target.session, parent).map_err(fault)?, name),
        None => (
            anchor_inside(target.session, Path::new("")).map_err(fault)?,
            OsStr::new("."),
        ),
    };
    let stat = stat_at(&folder, name).map_err(fault)?;
    if let Some(mode) = mode {
        if stat.stamp.kind() == Kind::Symlink {
            return Err(FsRefusal::new(
                FsErrorCode::InvalidPath,
                format!("`{}` is a link, which has no mode of its own", target.shown),
            ));
        }
        set_mode_at(&folder, name, mode).map_err(fault)?;
    }
    if let Some(mtime) = mtime {
        set_mtime_at(&folder, name, mtime).map_err(fault)?;
    }
    Ok(target.done())
}

/// The folder that holds the entry, and its name there.
fn holder<'t>(target: &'t Target) -> Result<(OwnedFd, &'t OsStr), FsRefusal> {
    let Some((parent, name)) = target.below.split() else {
        return Err(target.refuse_mount());
    };
    let folder = anchor_inside(target.session, parent).map_err(|error| target.refuse(&error))?;
    Ok((folder, name))
}
