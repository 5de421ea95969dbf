//! The file of a Unix socket: made for its owner alone, never in the place of somebody else's.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::sys::fs::{exchange, is_unsupported, open_dir, rename, rename_new, stat_at, stat_fd, unlink};

/// How often what lies at the path may change while it is looked at.
const ATTEMPTS: usize = 8;

/// A socket's file. Dropped, it is removed, if it is still this one.
#[derive(Debug)]
pub(super) struct SocketFile {
    folder: OwnedFd,
    name: OsString,
    inode: (u64, u64),
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum SocketFileError {
    /// Somebody listens there.
    #[error("address in use: a server listens on `{}` already", path.display())]
    InUse {
        /// Where.
        path: PathBuf,
    },
    /// Something that is no socket lies there.
    #[error("`{}` is there already and is no socket; it is left as it is", path.display())]
    Occupied {
        /// Where.
        path: PathBuf,
    },
    /// Others could put a socket of theirs in its place.
    #[error("the folder `{}` {why}; a socket needs one of your own: mkdir -m 700 DIR", folder.display())]
    Folder {
        /// Which.
        folder: PathBuf,
        /// In words.
        why: String,
    },
    /// The system refused.
    #[error("cannot listen on `{}`", path.display())]
    System {
        /// Where.
        path: PathBuf,
        /// What it said.
        #[source]
        source: io::Error,
    },
}

impl SocketFile {
    /// Makes a socket that listens. What a server that has died left there is replaced.
    pub(super) fn bind(path: &Path, backlog: i32, mode: Mode) -> Result<(Self, OwnedFd), SocketFileError> {
        let fault = |source: io::Error| SocketFileError::System {
            path: path.to_owned(),
            source,
        };
        let Some(name) = path.file_name() else {
            return Err(fault(io::ErrorKind::InvalidInput.into()));
        };
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let folder = own_folder(parent).map_err(|error| match error {
            NotOwn::Why(why) => SocketFileError::Folder {
                folder: parent.to_owned(),
                why,
            },
            NotOwn::System(error) => fault(error),
        })?;
        let in_use = || SocketFileError::InUse { path: path.to_owned() };
        let (socket, temporary) = make(&folder, backlog, mode).map_err(fault)?;
        let _cleared = Cleared(&folder, &temporary);
        let inode = inode(&folder, &temporary).map_err(fault)?;
        // Of two servers at once, the second finds the first one's socket and not what lay there.
        for _ in 0..ATTEMPTS {
            let put = match look(&folder, name).map_err(fault)? {
                Found::Nothing => rename_new(&folder, &temporary, &folder, name).map(|()| true),
                Found::Dead(dead) => replace(&folder, &temporary, name, dead),
                Found::Alive => return Err(in_use()),
                Found::Other => return Err(SocketFileError::Occupied { path: path.to_owned() }),
            };
            match put {
                Ok(true) => {
                    let file = Self {
                        name: name.to_owned(),
                        inode,
                        folder: folder.try_clone().map_err(fault)?,
                    };
                    return Ok((file, socket));
                }
                Ok(false) => {}
                Err(error) if matches!(error.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound) => {}
                Err(error) => return Err(fault(error)),
            }
        }
        Err(in_use())
    }
}

/// Device and inode of an entry.
fn inode(folder: &OwnedFd, name: &OsStr) -> io::Result<(u64, u64)> {
    stat_at(folder, name).map(|stat| stat.id())
}

/// A name that is free again at the end, whatever it has come to name.
struct Cleared<'a>(&'a OwnedFd, &'a OsStr);

impl Drop for Cleared<'_> {
    fn drop(&mut self) {
        let _ = unlink(self.0, self.1);
    }
}

/// Puts `new` in the place of a dead socket; false when that was another entry by then.
fn replace(folder: &OwnedFd, new: &OsStr, name: &OsStr, dead: (u64, u64)) -> io::Result<bool> {
    match exchange(folder, new, folder, name) {
        // A file system that cannot: a moment without a check is all there is.
        Err(error) if is_unsupported(&error) => return rename(folder, new, folder, name).map(|()| true),
        other => other?,
    }
    if inode(folder, new)? == dead {
        return Ok(true);
    }
    exchange(folder, new, folder, name)?;
    Ok(false)
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_ours = stat_at(&self.folder, &self.name).is_ok_and(|stat| stat.id() == self.inode);
        if is_ours {
            let _ = unlink(&self.folder, &self.name);
        }
    }
}

enum NotOwn {
    Why(String),
    System(io::Error),
}

/// Opens a folder in which nobody else can replace anything.
fn own_folder(path: &Path) -> Result<OwnedFd, NotOwn> {
    let folder = open_dir(path).map_err(NotOwn::System)?;
    let stamp = stat_fd(&folder).map_err(NotOwn::System)?.stamp;
    let own = rustix::process::geteuid().as_raw();
    if stamp.uid != own {
        return Err(NotOwn::Why(format!(
            "belongs to user {}, not to you ({own})",
            stamp.uid
        )));
    }
    if stamp.mode() & 0o022 != 0 {
        return Err(NotOwn::Why(format!(
            "can be written by others (mode {:o})",
            stamp.mode()
        )));
    }
    Ok(folder)
}

enum Found {
    Nothing,
    /// A socket that nobody listens on, by device and inode.
    Dead((u64, u64)),
    Alive,
    Other,
}

fn look(folder: &OwnedFd, name: &OsStr) -> io::Result<Found> {
    let stat = match rustix::fs::statat(folder, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(Found::Nothing),
        stat => stat?,
    };
    if FileType::from_raw_mode(stat.st_mode) != FileType::Socket {
        return Ok(Found::Other);
    }
    let stat = crate::sys::fs::Stat::from(stat);
    let inode = stat.id();
    for kind in [SocketType::STREAM, SocketType::SEQPACKET, SocketType::DGRAM] {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None)?;
        match rustix::net::connect(&socket, &address(folder, name)?) {
            // A full queue is a server's, and one that does not let us in is there, too.
            Ok(()) | Err(Errno::AGAIN | Errno::ACCESS | Errno::PERM) => return Ok(Found::Alive),
            Err(Errno::PROTOTYPE) => {}
            Err(Errno::CONNREFUSED) => return Ok(Found::Dead(inode)),
            Err(Errno::NOENT) => return Ok(Found::Nothing),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Found::Alive)
}

/// A socket that listens at a name of its own.
fn make(folder: &OwnedFd, backlog: i32, mode: Mode) -> io::Result<(OwnedFd, OsString)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // What the file's mode will be before it has a name.
    rustix::fs::fchmod(&socket, mode)?;
    let name = OsString::from(format!(".devshell-vm-{}", std::process::id()));
    let _ = unlink(folder, &name);
    rustix::net::bind(&socket, &address(folder, &name)?)?;
    let ready = rustix::fs::chmodat(folder, &name, mode, rustix::fs::AtFlags::empty())
        .and_then(|()| rustix::net::listen(&socket, backlog));
    if let Err(error) = ready {
        let _ = unlink(folder, &name);
        return Err(error.into());
    }
    Ok((socket, name))
}

/// By the folder's descriptor: a path may be longer than an address can be, and the folder may be moved.
fn address(folder: &OwnedFd, name: &OsStr) -> io::Result<SocketAddrUnix> {
    let mut path = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd()));
    path.push(name);
    Ok(SocketAddrUnix::new(&path)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: Mode = Mode::from_raw_mode(0o600);
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::os::unix::net::{UnixListener, UnixStream};

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[test]
    fn a_socket_is_its_owners_alone_and_goes_at_the_end() {
        let temp = folder();
        // Longer than an address can be.
        let deep = temp.path().join("x".repeat(150));
        fs::create_dir(&deep).unwrap();
        let path = deep.join("s");
        let (file, _socket) = SocketFile::bind(&path, 8, OWNER).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(fs::read_dir(&deep).unwrap().count(), 1);
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn a_live_socket_is_not_stolen_and_a_dead_one_is_replaced() {
        let temp = folder();
        let path = temp.path().join("s");
        let (first, socket) = SocketFile::bind(&path, 8, OWNER).unwrap();
        assert!(matches!(
            SocketFile::bind(&path, 8, OWNER),
            Err(SocketFileError::InUse { .. })
        ));
        UnixStream::connect(&path).unwrap();
        drop(socket);
        let (_second, _socket) = SocketFile::bind(&path, 8, OWNER).unwrap();
        // The file is not the first one's any more.
        drop(first);
        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn what_is_no_socket_is_left_as_it_is() {
        let temp = folder();
        fs::write(temp.path().join("file"), "kept").unwrap();
        fs::create_dir(temp.path().join("folder")).unwrap();
        symlink("file", temp.path().join("link")).unwrap();
        drop(UnixListener::bind(temp.path().join("dead")).unwrap());
        symlink("dead", temp.path().join("link-to-dead")).unwrap();
        for name in ["file", "folder", "link", "link-to-dead"] {
            let bound = SocketFile::bind(&temp.path().join(name), 8, OWNER);
            assert!(matches!(bound, Err(SocketFileError::Occupied { .. })), "{name}");
        }
        assert_eq!(fs::read(temp.path().join("file")).unwrap(), b"kept");
        assert!(temp.path().join("link").is_symlink());
    }

    #[test]
    fn a_folder_that_others_may_write_is_refused() {
        let temp = folder();
        for (mode, fits) in [
            (0o777, false),
            (0o1777, false),
            (0o775, false),
            (0o755, true),
            (0o700, true),
        ] {
            fs::set_permissions(temp.path(), fs::Permissions::from_mode(mode)).unwrap();
            let bound = SocketFile::bind(&temp.path().join("s"), 8, OWNER);
            assert_eq!(bound.is_ok(), fits, "{mode:o}");
            if let Err(error) = bound {
                assert!(error.to_string().contains("mkdir -m 700"), "{error}");
            }
        }
        assert!(SocketFile::bind(Path::new("/none/s"), 8, OWNER).is_err());
    }
}
