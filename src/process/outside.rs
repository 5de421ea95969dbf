//! A read-only host: what tools may still write.

use std::ffi::CString;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use crate::sys::keeper::{self as raw, Kept, Made, Private};

use super::KeeperError;
use super::keeper::resolve;

/// What the devices are that every program counts on; of root's tools all others are kept away.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// Everything is read-only to the tools but this.
#[derive(Debug, Default)]
pub struct ReadOnlyHost {
    /// Files and folders that stay as they are, with all mounts below them. All must exist.
    pub writable: Vec<PathBuf>,
    /// Folders for temporary files. Those that exist get an empty file system in memory, which
    /// goes with the last keeper that has it.
    pub temporary: Vec<PathBuf>,
    /// Those of the keeper before.
    pub earlier: PrivateFolders,
}

/// Folders for temporary files that a keeper has had.
#[derive(Debug, Default)]
pub struct PrivateFolders(Vec<(CString, OwnedFd)>);

impl PrivateFolders {
    pub(super) fn of(outside: Option<&raw::Outside>, descriptors: Vec<OwnedFd>) -> Self {
        let places = outside.into_iter().flat_map(|outside| &outside.private);
        Self(places.map(|private| private.at.clone()).zip(descriptors).collect())
    }

    pub(super) fn descriptors(&self) -> impl Iterator<Item = RawFd> + '_ {
        self.0.iter().map(|(_, fd)| fd.as_raw_fd())
    }

    fn at(&self, place: &CString) -> Option<RawFd> {
        self.0.iter().find(|(at, _)| at == place).map(|(_, fd)| fd.as_raw_fd())
    }
}

impl ReadOnlyHost {
    /// As the keeper can make it, which cannot allocate; `own_proc` says that it gets a /proc.
    pub(super) fn prepared(&self, own_proc: bool) -> Result<raw::Outside, KeeperError> {
        let root = rustix::process::geteuid().is_root() || raw::may_mount();
        let mut writable = self
            .writable
            .iter()
            .map(|path| real(path))
            .collect::<Result<Vec<_>, _>>()?;
        writable.sort();
        // One below another is there with it.
        writable.dedup_by(|below, above| below.starts_with(above));
        let mut temporary: Vec<PathBuf> = self
            .temporary
            .iter()
            .filter_map(|path| path.canonicalize().ok())
            .filter(|path| path.is_dir() && path != Path::new("/"))
            .collect();
        temporary.sort();
        // One in another is there as a folder of that one's, and one in what stays is as it is.
        let mut private: Vec<PathBuf> = Vec::new();
        let mut made = Vec::new();
        for path in temporary {
            if writable.iter().any(|kept| path.starts_with(kept)) || private.contains(&path) {
                continue;
            }
            match private.iter().find(|above| path.starts_with(above)) {
                Some(above) => make_way(above, &path, true, &mut made)?,
                None if private.len() < raw::PRIVATE => private.push(path),
                None => {}
            }
        }
        for path in &writable {
            if let Some(above) = private.iter().find(|above| path.starts_with(above)) {
                make_way(above, path, path.is_dir(), &mut made)?;
            }
        }
        let system = system(root, own_proc).into_iter();
        let system = system.filter(|path| !writable.iter().any(|kept| path.starts_with(kept)));
        let kept = system.chain(writable.iter().cloned()).map(|path| {
            Ok(Kept {
                devices: path.starts_with("/dev") || path.starts_with("/proc"),
                place: raw::Source::new(c_string(&path)?),
            })
        });
        let private = private.iter().map(|path| {
            let at = c_string(path)?;
            Ok(Private::new(at.clone(), self.earlier.at(&at)))
        });
        Ok(raw::Outside {
            kept: kept.collect::<Result<_, _>>()?,
            private: private.collect::<Result<_, _>>()?,
            made,
            terminals: !stays(&writable, "/dev/pts") && Path::new("/dev/pts").is_dir(),
            ptmx: !stays(&writable, "/dev/ptmx") && is_device(Path::new("/dev/ptmx")),
            root,
        })
    }
}

/// What every program counts on.
fn system(root: bool, own_proc: bool) -> Vec<PathBuf> {
    let is_device = |path: &PathBuf| {
        path.symlink_metadata()
            .is_ok_and(|meta| meta.file_type().is_char_device())
    };
    let mut system: Vec<PathBuf> = Vec::new();
    if root {
        system.extend(
            DEVICES
                .iter()
                .map(|name| Path::new("/dev").join(name))
                .filter(is_device),
        );
    }
    // Processes write to their own part of it.
    if !own_proc && Path::new("/proc/self").exists() {
        system.push("/proc".into());
    }
    system
}

fn is_device(path: &Path) -> bool {
    path.symlink_metadata()
        .is_ok_and(|meta| meta.file_type().is_char_device())
}

/// Whether a place is among those that stay as they are.
fn stays(writable: &[PathBuf], place: &str) -> bool {
    writable.iter().any(|kept| Path::new(place).starts_with(kept))
}

/// What is to be made in the empty folder `above` so that `path` is there.
fn make_way(above: &Path, path: &Path, folder: bool, made: &mut Vec<Made>) -> Result<(), KeeperError> {
    let mut ways: Vec<&Path> = path.ancestors().take_while(|way| *way != above).collect();
    while let Some(way) = ways.pop() {
        made.push(Made {
            path: c_string(way)?,
            folder: folder || !ways.is_empty(),
        });
    }
    Ok(())
}

fn real(path: &Path) -> Result<PathBuf, KeeperError> {
    let real = resolve(path)?;
    Ok(PathBuf::from(std::ffi::OsStr::from_bytes(real.as_bytes())))
}

fn c_string(path: &Path) -> Result<CString, KeeperError> {
    CString::new(path.as_os_str().as_bytes()).map_err(|error| KeeperError::Path {
        path: path.to_owned(),
        source: error.into(),
    })
}
