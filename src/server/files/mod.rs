//! Files of the guest. All is done relative to the session's open folder: links are followed as
//! long as none leads out, and that is decided at the moment of the use.

mod list;
mod make;
mod read;
mod write;

use std::io;
use std::os::fd::AsFd;

use rustix::io::Errno;

use crate::sidecar::{FsErrorCode, FsKind, FsStat, GuestFs, GuestFsFailed, GuestFsOk, Reply};
use crate::sys::fs::{Kind, Stat, Time, read_link_at, stat_at, stat_fd};

use super::paths::Below;
use super::session::Session;

pub(super) use list::{Page, list_dir};
pub(super) use make::{mkdir, remove, set_stat, symlink};
pub(super) use read::{Opened, read_whole};
pub(super) use write::NewFile;

/// Why something was not done to a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FsRefusal {
    pub(super) code: FsErrorCode,
    pub(super) message: String,
}

impl FsRefusal {
    pub(super) fn new(code: FsErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// What the system said of a guest path.
    pub(super) fn of(path: &str, error: &io::Error) -> Self {
        Self::new(code(error), format!("`{path}` {}", why(error)))
    }

    pub(super) fn into_reply(self, session_id: &str) -> Reply {
        Reply::GuestFsError(GuestFsFailed {
            session_id: session_id.to_owned(),
            code: self.code,
            message: super::refusal::short(self.message),
        })
    }
}

fn is(error: &io::Error, errnos: &[Errno]) -> bool {
    errnos
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

fn code(error: &io::Error) -> FsErrorCode {
    if is(error, &[Errno::XDEV, Errno::LOOP]) {
        return FsErrorCode::InvalidPath;
    }
    match error.kind() {
        io::ErrorKind::NotFound => FsErrorCode::NotFound,
        io::ErrorKind::NotADirectory => FsErrorCode::NotADirectory,
        io::ErrorKind::IsADirectory => FsErrorCode::IsADirectory,
        io::ErrorKind::InvalidFilename => FsErrorCode::InvalidPath,
        _ => FsErrorCode::IoError,
    }
}

/// The same in words that follow a path.
pub(super) fn why(error: &io::Error) -> String {
    match code(error) {
        FsErrorCode::InvalidPath if error.kind() == io::ErrorKind::InvalidFilename => {
            "holds a name that is too long".to_owned()
        }
        FsErrorCode::InvalidPath => {
            "leads through a link that may not be followed: it leads out, or to itself".to_owned()
        }
        FsErrorCode::NotFound => "does not exist".to_owned(),
        FsErrorCode::NotADirectory => "is not a folder, or leads through something that is none".to_owned(),
        FsErrorCode::IsADirectory => "is a folder".to_owned(),
        _ => format!("cannot be used: {error}"),
    }
}

/// A request about one path, looked through.
pub(super) struct Target<'a> {
    pub(super) session: &'a Session,
    /// As it is told of.
    pub(super) shown: String,
    pub(super) below: Below,
}

impl<'a> Target<'a> {
    /// # Errors
    /// `invalid_path`, and `invalid_base64` where the request has no usable path at all.
    pub(super) fn new(session: &'a Session, request: &GuestFs) -> Result<Self, FsRefusal> {
        let Some(path) = request.path_bytes() else {
            return Err(FsRefusal::new(
                FsErrorCode::InvalidBase64,
                "guest_path_base64 is no base64",
            ));
        };
        let shown = String::from_utf8_lossy(&path).into_owned();
        match session.below(&path) {
            Ok(below) => Ok(Self { session, shown, below }),
            Err(why) => Err(FsRefusal::new(
                FsErrorCode::InvalidPath,
                format!("`{shown}` cannot be used: {why}"),
            )),
        }
    }

    fn refuse(&self, error: &io::Error) -> FsRefusal {
        FsRefusal::of(&self.shown, error)
    }

    fn refuse_mount(&self) -> FsRefusal {
        FsRefusal::new(
            FsErrorCode::InvalidPath,
            format!("`{}` is the session's mount itself", self.shown),
        )
    }

    /// A reply that says only that it was done.
    pub(super) fn done(&self) -> GuestFsOk {
        GuestFsOk {
            session_id: self.session.id().to_owned(),
            ..GuestFsOk::default()
        }
    }

    /// Metadata of the entry; of a link itself.
    pub(super) fn stat(&self) -> Result<GuestFsOk, FsRefusal> {
        let stat = match self.below.split() {
            None => stat_fd(self.session).map(|stat| wire_stat(&stat)),
            Some((parent, name)) => {
                crate::sys::fs::anchor_inside(self.session, parent).and_then(|parent| stat_with_target(&parent, name))
            }
        };
        Ok(GuestFsOk {
            stat: Some(stat.map_err(|error| self.refuse(&error))?),
            ..self.done()
        })
    }
}

/// Metadata of an entry of an open folder, with what a link holds.
fn stat_with_target(dir: impl AsFd, name: &std::ffi::OsStr) -> io::Result<FsStat> {
    use std::os::unix::ffi::OsStrExt as _;
    let stat = stat_at(&dir, name)?;
    let wire = wire_stat(&stat);
    if stat.stamp.kind() != Kind::Symlink {
        return Ok(wire);
    }
    let target = read_link_at(&dir, name)?;
    Ok(wire.with_target(target.as_os_str().as_bytes()))
}

fn wire_stat(stat: &Stat) -> FsStat {
    let stamp = &stat.stamp;
    FsStat {
        kind: match stamp.kind() {
            Kind::File => FsKind::File,
            Kind::Dir => FsKind::Dir,
            Kind::Symlink => FsKind::Symlink,
            Kind::Special => FsKind::Special,
        },
        size: stamp.size,
        mode: stamp.mode(),
        mtime_s: stamp.mtime().secs(),
        mtime_ns: stamp.mtime().nanos(),
        target: None,
        target_base64: None,
    }
}

/// The time that a request gives.
pub(super) fn time_of(request: &GuestFs) -> Option<Time> {
    request
        .mtime_s
        .map(|secs| Time::new(secs, request.mtime_ns.unwrap_or(0)))
}
