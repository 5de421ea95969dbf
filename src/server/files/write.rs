//! A new content for a file: it is there as a whole or not at all.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::io::Errno;

use crate::sidecar::FsErrorCode;
use crate::sys::fs::{
    Kind, Stat, Time, anchor_inside, caller, give_name, nameless_file, new_file, read_link_at, rename, set_mode_fd,
    set_mtime_fd, set_owner_fd, stat_at, unlink,
};

use super::super::session::Session;
use super::{FsRefusal, Target};

/// How many links are followed at the end of a path.
const LINKS: usize = 40;

/// A file that is being written. Dropped before [`Self::commit`], it never was.
pub(in crate::server) struct NewFile {
    shown: String,
    folder: OwnedFd,
    name: OsString,
    file: File,
    /// The name that it has until it is whole, where it cannot be without one.
    temporary: Option<OsString>,
    before: Option<Stat>,
    mode: Option<u32>,
    mtime: Option<Time>,
}

impl NewFile {
    /// The folder must be there. A link at the place is followed; its target is what is written.
    pub(in crate::server) fn create(
        target: &Target,
        mode: Option<u32>,
        mtime: Option<Time>,
    ) -> Result<Self, FsRefusal> {
        if target.below.is_mount() {
            return Err(target.refuse(&io::ErrorKind::IsADirectory.into()));
        }
        let fault = |error: io::Error| target.refuse(&error);
        let (folder, name, before) = place(target.session, target.below.path().to_owned()).map_err(fault)?;
        match before.as_ref().map(|stat| stat.stamp.kind()) {
            None | Some(Kind::File) => {}
            Some(Kind::Dir) => return Err(fault(io::ErrorKind::IsADirectory.into())),
            Some(Kind::Symlink | Kind::Special) => {
                return Err(FsRefusal::new(
                    FsErrorCode::IoError,
                    format!("`{}` is no regular file", target.shown),
                ));
            }
        }
        let (file, temporary) = open(&folder).map_err(fault)?;
        Ok(Self {
            shown: target.shown.clone(),
            folder,
            name,
            file: file.into(),
            temporary,
            before,
            mode,
            mtime,
        })
    }

    pub(in crate::server) fn write(&mut self, bytes: &[u8]) -> Result<(), FsRefusal> {
        self.file
            .write_all(bytes)
            .map_err(|error| FsRefusal::of(&self.shown, &error))
    }

    /// Puts it in its place.
    pub(in crate::server) fn commit(mut self) -> Result<(), FsRefusal> {
        self.put().map_err(|error| FsRefusal::of(&self.shown, &error))
    }

    fn put(&mut self) -> io::Result<()> {
        if let Some(before) = &self.before {
            let stamp = before.stamp;
            if (stamp.uid, stamp.gid) != caller() {
                // Who may not give files away keeps them.
                let _ = set_owner_fd(&self.file, stamp.uid, stamp.gid);
            }
        }
        // After the owner, which takes bits away.
        if let Some(mode) = self.mode.or(self.before.as_ref().map(|stat| stat.stamp.mode())) {
            set_mode_fd(&self.file, mode)?;
        }
        if let Some(mtime) = self.mtime {
            set_mtime_fd(&self.file, mtime)?;
        }
        if self.temporary.is_none() {
            if self.before.is_none() {
                match give_name(&self.file, &self.folder, &self.name) {
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                    other => return other,
                }
            }
            self.temporary = Some(with_free_name(|name| give_name(&self.file, &self.folder, name))?.1);
        }
        if let Some(temporary) = &self.temporary {
            rename(&self.folder, temporary, &self.folder, &self.name)?;
        }
        self.temporary = None;
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            let _ = unlink(&self.folder, temporary);
        }
    }
}

/// A file in a folder, without a name where that can be had.
fn open(folder: &OwnedFd) -> io::Result<(OwnedFd, Option<OsString>)> {
    match nameless_file(folder, 0o666) {
        Err(error) if error.kind() == io::ErrorKind::Unsupported => {
            let (file, name) = with_free_name(|name| new_file(folder, name, 0o666))?;
            Ok((file, Some(name)))
        }
        file => Ok((file?, None)),
    }
}

/// Tries names until one is free.
pub(super) fn with_free_name<T>(mut make: impl FnMut(&OsStr) -> io::Result<T>) -> io::Result<(T, OsString)> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = OsString::from(format!(".devshell-vm-{}-{number}", std::process::id()));
        match make(&name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => return Ok((made?, name)),
        }
    }
}

/// Where a path leads, links at its end followed: the folder, the name in it, and what is there.
fn place(session: &Session, mut path: PathBuf) -> io::Result<(OwnedFd, OsString, Option<Stat>)> {
    for _ in 0..LINKS {
        // A path that ends in `..` is one of a folder.
        let Some(name) = path.file_name().map(OsStr::to_owned) else {
            return Err(io::ErrorKind::IsADirectory.into());
        };
        let parent = path.parent().map(ToOwned::to_owned).unwrap_or_default();
        let folder = anchor_inside(session, &parent)?;
        let stat = match stat_at(&folder, &name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((folder, name, None)),
            stat => stat?,
        };
        if stat.stamp.kind() != Kind::Symlink {
            return Ok((folder, name, Some(stat)));
        }
        let target = read_link_at(&folder, &name)?;
        if target.is_absolute() {
            return Err(Errno::XDEV.into());
        }
        path = parent.join(target);
    }
    Err(Errno::LOOP.into())
}
