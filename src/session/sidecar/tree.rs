//! The sidecar's own tree in guest mode.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

use crate::guest_fs::{GuestFsError, GuestFsOps as _};
use crate::session::guest_tree::{GuestStat, GuestTree, path_of};
use crate::sidecar::{FsKind, FsOperation, FsStat};
use crate::sys::fs::{Kind, Time};

use super::files::RemoteFiles;

/// What files are made with where a sidecar of version 1 knows no modes.
const PLAIN: (u32, u32) = (0o644, 0o755);

fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn stat_of(stat: &FsStat) -> GuestStat {
    let kind = match stat.kind {
        FsKind::File => Kind::File,
        FsKind::Dir => Kind::Dir,
        FsKind::Symlink => Kind::Symlink,
        FsKind::Special => Kind::Special,
    };
    GuestStat {
        kind,
        size: if kind == Kind::File { stat.size } else { 0 },
        mode: if kind == Kind::Symlink { 0 } else { stat.mode & 0o7777 },
        mtime: Time::new(stat.mtime_s, stat.mtime_ns),
        target: stat.target_bytes().map(path_of),
    }
}

impl RemoteFiles {
    /// Version 1: what a path is can only be found out by trying.
    fn guess(&mut self, path: &Path) -> Result<Option<GuestStat>, GuestFsError> {
        let path = shown(path);
        let (kind, mode) = match self.list_dir(&path) {
            Ok(_) => (Kind::Dir, PLAIN.1),
            Err(GuestFsError::NotADirectory(_)) => (Kind::File, PLAIN.0),
            Err(GuestFsError::NotFound(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(Some(GuestStat {
            kind,
            size: 0,
            mode,
            // Of no time that anything has, so that it is always carried.
            mtime: Time::new(0, 0),
            target: None,
        }))
    }
}

impl GuestTree for RemoteFiles {
    fn stat(&mut self, path: &Path) -> Result<Option<GuestStat>, GuestFsError> {
        if !self.is_raw() {
            return self.guess(path);
        }
        let request = self.request(FsOperation::Stat, path.as_os_str().as_bytes());
        match self.ask(&shown(path), request) {
            Ok(done) => Ok(done.stat.as_ref().map(stat_of)),
            Err(GuestFsError::NotFound(_) | GuestFsError::NotADirectory(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn list(&mut self, path: &Path) -> Result<Vec<(OsString, GuestStat)>, GuestFsError> {
        let mut found: Vec<(OsString, GuestStat)> = Vec::new();
        if !self.is_raw() {
            for name in self.list_dir(&shown(path))? {
                if let Some(stat) = self.guess(&path.join(&name))? {
                    found.push((name.into(), stat));
                }
            }
            return Ok(found);
        }
        loop {
            let mut request = self.request(FsOperation::ListDir, path.as_os_str().as_bytes());
            request.stat = Some(true);
            if let Some((last, _)) = found.last() {
                request = request.after(last.as_bytes());
            }
            let page = self.ask(&shown(path), request)?;
            let entries = page.entries.unwrap_or_default();
            let more = page.more.unwrap_or(false);
            if more && entries.is_empty() {
                let what = format!(
                    "of `{}` there are more entries, and none of them is told",
                    path.display()
                );
                return Err(GuestFsError::Internal(what));
            }
            for entry in entries {
                let name = entry
                    .name_bytes()
                    .ok_or_else(|| GuestFsError::Internal(format!("a name in `{}` makes no sense", path.display())))?;
                found.push((OsString::from_vec(name), stat_of(&entry.stat)));
            }
            if !more {
                return Ok(found);
            }
        }
    }

    fn read(&mut self, path: &Path, to: &mut dyn Write) -> Result<(), GuestFsError> {
        if self.is_raw() {
            let request = self.request(FsOperation::ReadFile, path.as_os_str().as_bytes());
            return self
                .read_raw(&shown(path), request, &mut |bytes| to.write_all(bytes))
                .map(|_| ());
        }
        let content = self.read_file(&shown(path))?;
        to.write_all(&content)
            .map_err(|error| GuestFsError::Internal(format!("cannot keep `{}`: {error}", path.display())))
    }

    fn write(&mut self, path: &Path, from: &mut dyn Read, mode: u32, mtime: Time) -> Result<(), GuestFsError> {
        if self.is_raw() {
            let mut request = self.request(FsOperation::WriteFile, path.as_os_str().as_bytes());
            request.mode = Some(mode);
            request.mtime_s = Some(mtime.secs());
            request.mtime_ns = Some(mtime.nanos());
            return self.write_raw(&shown(path), request, &mut |buffer| from.read(buffer));
        }
        let mut content = Vec::new();
        from.read_to_end(&mut content).map_err(|error| {
            GuestFsError::Internal(format!("cannot read what `{}` is to hold: {error}", path.display()))
        })?;
        self.write_file(&shown(path), &content)
    }

    fn make_folder(&mut self, path: &Path) -> Result<(), GuestFsError> {
        let request = self.request(FsOperation::Mkdir, path.as_os_str().as_bytes());
        self.ask(&shown(path), request).map(|_| ())
    }

    fn link(&mut self, path: &Path, target: &Path, mtime: Time) -> Result<(), GuestFsError> {
        if !self.is_raw() {
            return Err(GuestFsError::Internal(format!(
                "`{}` is a link, which a sidecar of version 1 cannot be told to make: leave it out of the inputs",
                path.display()
            )));
        }
        let mut request = self
            .request(FsOperation::Symlink, path.as_os_str().as_bytes())
            .target(target.as_os_str().as_bytes());
        request.mtime_s = Some(mtime.secs());
        request.mtime_ns = Some(mtime.nanos());
        self.ask(&shown(path), request).map(|_| ())
    }

    fn set_folder(&mut self, path: &Path, mode: u32, mtime: Time) -> Result<(), GuestFsError> {
        if !self.is_raw() {
            return Ok(());
        }
        let mut request = self.request(FsOperation::SetStat, path.as_os_str().as_bytes());
        request.mode = Some(mode);
        request.mtime_s = Some(mtime.secs());
        request.mtime_ns = Some(mtime.nanos());
        self.ask(&shown(path), request).map(|_| ())
    }

    fn remove(&mut self, path: &Path) -> Result<(), GuestFsError> {
        let request = self.request(FsOperation::Remove, path.as_os_str().as_bytes());
        self.ask(&shown(path), request).map(|_| ())
    }
}
