//! Guest mode: what is put into the guest's own tree before the tools, and taken out behind them.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::event::Direction;
use crate::guest_fs::{GuestFsError, logical_path_to_guest};
use crate::sys::fs::{self, Kind, Time};
use crate::vfs::{Vfs, VfsPath};
use crate::workspace::{Baseline, Class, Rules, SyncError};

use super::staged_tree::StagedTree;
use super::words::synced;
use super::{Context, StagingPlace, VmError};

/// What an entry of the guest is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct GuestStat {
    pub(super) kind: Kind,
    pub(super) size: u64,
    pub(super) mode: u32,
    pub(super) mtime: Time,
    /// Of a link.
    pub(super) target: Option<PathBuf>,
}

/// A guest's files with all that a tree is made of; paths are absolute guest paths.
pub(super) trait GuestTree {
    /// An entry, of a link itself; none where nothing is.
    fn stat(&mut self, path: &Path) -> Result<Option<GuestStat>, GuestFsError>;
    /// What a folder holds.
    fn list(&mut self, path: &Path) -> Result<Vec<(OsString, GuestStat)>, GuestFsError>;
    /// Brings a file's bytes.
    fn read(&mut self, path: &Path, to: &mut dyn Write) -> Result<(), GuestFsError>;
    /// Writes a whole file.
    fn write(&mut self, path: &Path, from: &mut dyn Read, mode: u32, mtime: Time) -> Result<(), GuestFsError>;
    /// Makes a folder with its parents.
    fn make_folder(&mut self, path: &Path) -> Result<(), GuestFsError>;
    /// Makes a link in the place of a file or link.
    fn link(&mut self, path: &Path, target: &Path, mtime: Time) -> Result<(), GuestFsError>;
    /// Sets mode and time of a folder.
    fn set_folder(&mut self, path: &Path, mode: u32, mtime: Time) -> Result<(), GuestFsError>;
    /// Removes an entry with everything below it.
    fn remove(&mut self, path: &Path) -> Result<(), GuestFsError>;
}

/// What was carried: files and links, bytes of them, entries removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Carried {
    pub(super) files: u64,
    pub(super) bytes: u64,
    pub(super) deleted: u64,
}

impl Carried {
    pub(super) fn counts(self) -> [u64; 3] {
        [self.files, self.bytes, self.deleted]
    }
}

/// The caller's wish to stop.
type Wish<'a> = &'a dyn Fn() -> bool;

/// Puts everything below the local folder `from` into the guest's folder `to`, which is made.
/// What is there already with the same size, mode and time is not written again.
pub(super) fn put_in(guest: &mut dyn GuestTree, from: &Path, to: &Path, stop: Wish) -> Result<Carried, VmError> {
    let mut carried = Carried::default();
    guest.make_folder(to).map_err(|error| guest_error("make", to, error))?;
    if from.is_dir() {
        put_folder(guest, from, to, stop, &mut carried)?;
    }
    Ok(carried)
}

fn put_folder(
    guest: &mut dyn GuestTree,
    from: &Path,
    to: &Path,
    stop: Wish,
    carried: &mut Carried,
) -> Result<(), VmError> {
    let there = guest.list(to).map_err(|error| guest_error("list", to, error))?;
    let mut entries: Vec<_> = std::fs::read_dir(from)
        .and_then(Iterator::collect::<io::Result<Vec<_>>>)
        .map_err(|source| local("list", from, source))?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        if stop() {
            return Err(VmError::Interrupted);
        }
        let (name, path) = (entry.file_name(), entry.path());
        let target = to.join(&name);
        let found = there.iter().find(|(other, _)| *other == name).map(|(_, stat)| stat);
        let meta = path
            .symlink_metadata()
            .map_err(|source| local("look at", &path, source))?;
        let wanted = stat_of(&path, &meta)?;
        if let Some(found) = found.filter(|found| found.kind != wanted.kind) {
            let needed = found.kind == Kind::Dir || wanted.kind == Kind::Dir;
            if needed {
                guest
                    .remove(&target)
                    .map_err(|error| guest_error("remove", &target, error))?;
                carried.deleted += 1;
            }
        }
        match wanted.kind {
            Kind::Dir => {
                guest
                    .make_folder(&target)
                    .map_err(|error| guest_error("make", &target, error))?;
                put_folder(guest, &path, &target, stop, carried)?;
                guest
                    .set_folder(&target, wanted.mode, wanted.mtime)
                    .map_err(|error| guest_error("set the mode of", &target, error))?;
            }
            _ if found == Some(&wanted) => {}
            Kind::File => {
                let mut file = File::open(&path).map_err(|source| local("read", &path, source))?;
                guest
                    .write(&target, &mut file, wanted.mode, wanted.mtime)
                    .map_err(|error| guest_error("write", &target, error))?;
                carried.files += 1;
                carried.bytes += wanted.size;
            }
            Kind::Symlink => {
                let to = wanted.target.as_deref().unwrap_or(Path::new(""));
                guest
                    .link(&target, to, wanted.mtime)
                    .map_err(|error| guest_error("link", &target, error))?;
                carried.files += 1;
            }
            Kind::Special => {}
        }
    }
    Ok(())
}

/// Takes what `rules` name out of the guest's folder `from` into the local folder `to`, which then
/// holds what the guest has. What a pattern names as a whole and the guest lacks is removed here.
pub(super) fn take_out(
    guest: &mut dyn GuestTree,
    from: &Path,
    to: &Path,
    rules: &Rules,
    stop: Wish,
) -> Result<Carried, VmError> {
    let mut taking = Taking {
        guest,
        rules,
        stop,
        carried: Carried::default(),
    };
    taking.folder(from, to, Path::new(""))?;
    Ok(taking.carried)
}

/// The outputs that are named without a wildcard and that the guest does not have.
pub(super) fn missing(guest: &mut dyn GuestTree, root: &Path, patterns: &[String]) -> Result<Vec<String>, VmError> {
    let mut missing = Vec::new();
    for pattern in patterns
        .iter()
        .filter(|pattern| !pattern.contains(['*', '?', '[', '{']))
    {
        let path = root.join(pattern.trim_start_matches("./").trim_end_matches('/'));
        if guest
            .stat(&path)
            .map_err(|error| guest_error("look at", &path, error))?
            .is_none()
        {
            missing.push(pattern.clone());
        }
    }
    Ok(missing)
}

struct Taking<'a> {
    guest: &'a mut dyn GuestTree,
    rules: &'a Rules,
    stop: Wish<'a>,
    carried: Carried,
}

impl Taking<'_> {
    /// `relative` is the folder's place below the workspace.
    fn folder(&mut self, from: &Path, to: &Path, relative: &Path) -> Result<(), VmError> {
        let listed = self
            .guest
            .list(from)
            .map_err(|error| guest_error("list", from, error))?;
        for (name, stat) in &listed {
            if (self.stop)() {
                return Err(VmError::Interrupted);
            }
            if !is_plain(name) {
                return Err(VmError::Sync(SyncError::Io {
                    action: "take from the guest",
                    path: from.join(name),
                    source: io::Error::new(io::ErrorKind::InvalidData, "that is no name of an entry"),
                }));
            }
            let at = relative.join(name);
            if self.rules.classify(&at, stat.kind == Kind::Dir) == Class::Carry {
                self.entry(&from.join(name), &to.join(name), &at, stat)?;
            }
        }
        self.remove_others(to, relative, &listed)
    }

    fn entry(&mut self, from: &Path, to: &Path, at: &Path, stat: &GuestStat) -> Result<(), VmError> {
        let here = to.symlink_metadata().ok();
        let known = here.as_ref().map(|meta| stat_of(to, meta)).transpose()?;
        if let Some(known) = &known
            && (known.kind == Kind::Dir) != (stat.kind == Kind::Dir)
        {
            remove(to)?;
        }
        match stat.kind {
            Kind::Dir => {
                if !to.is_dir() {
                    std::fs::create_dir_all(to).map_err(|source| local("make", to, source))?;
                }
                self.folder(from, to, at)?;
                set(to, stat, true)?;
            }
            _ if known.as_ref() == Some(stat) => {}
            Kind::File => {
                self.file(from, to)?;
                set(to, stat, true)?;
                self.carried.files += 1;
                self.carried.bytes += stat.size;
            }
            Kind::Symlink => {
                if known.is_some() {
                    remove(to)?;
                }
                let target = stat.target.as_deref().unwrap_or(Path::new(""));
                std::os::unix::fs::symlink(target, to).map_err(|source| local("link", to, source))?;
                set(to, stat, false)?;
                self.carried.files += 1;
            }
            Kind::Special => {}
        }
        Ok(())
    }

    /// Beside its place first: what is there may have other names.
    fn file(&mut self, from: &Path, to: &Path) -> Result<(), VmError> {
        let parent = to.parent().unwrap_or(Path::new("/"));
        std::fs::create_dir_all(parent).map_err(|source| local("make", parent, source))?;
        let mut new = tempfile::Builder::new()
            .prefix(".devshell-commit-")
            .tempfile_in(parent)
            .map_err(|source| local("write into", parent, source))?;
        self.guest
            .read(from, new.as_file_mut())
            .map_err(|error| guest_error("read", from, error))?;
        new.persist(to).map_err(|error| local("write", to, error.error))?;
        Ok(())
    }

    /// Below what a pattern names as a whole, this side is to hold nothing else.
    fn remove_others(&mut self, to: &Path, relative: &Path, listed: &[(OsString, GuestStat)]) -> Result<(), VmError> {
        if relative.as_os_str().is_empty() || !self.rules.names(relative) {
            return Ok(());
        }
        let here: Vec<OsString> = match std::fs::read_dir(to) {
            Ok(entries) => entries.flatten().map(|entry| entry.file_name()).collect(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(local("list", to, source)),
        };
        for name in here
            .iter()
            .filter(|name| !listed.iter().any(|(other, _)| other == *name))
        {
            remove(&to.join(name))?;
            self.carried.deleted += 1;
        }
        Ok(())
    }
}

/// A name, and not a way to somewhere else.
fn is_plain(name: &OsStr) -> bool {
    let bytes = name.as_bytes();
    !bytes.is_empty() && bytes != b"." && bytes != b".." && !bytes.contains(&b'/') && !bytes.contains(&0)
}

fn stat_of(path: &Path, meta: &std::fs::Metadata) -> Result<GuestStat, VmError> {
    let kind = if meta.is_dir() {
        Kind::Dir
    } else if meta.is_file() {
        Kind::File
    } else if meta.is_symlink() {
        Kind::Symlink
    } else {
        Kind::Special
    };
    let target = (kind == Kind::Symlink)
        .then(|| std::fs::read_link(path))
        .transpose()
        .map_err(|source| local("read", path, source))?;
    Ok(GuestStat {
        kind,
        size: if kind == Kind::File { meta.size() } else { 0 },
        mode: if kind == Kind::Symlink { 0 } else { meta.mode() & 0o7777 },
        mtime: Time::new(meta.mtime(), u32::try_from(meta.mtime_nsec()).unwrap_or(0)),
        target,
    })
}

fn set(path: &Path, stat: &GuestStat, with_mode: bool) -> Result<(), VmError> {
    let failed = |source| local("set the time of", path, source);
    let (parent, name) = (
        path.parent().unwrap_or(Path::new("/")),
        path.file_name().unwrap_or_default(),
    );
    let parent = fs::open_dir(parent).map_err(failed)?;
    if with_mode {
        fs::set_mode_at(&parent, name, stat.mode).map_err(failed)?;
    }
    fs::set_mtime_at(&parent, name, stat.mtime).map_err(failed)
}

fn remove(path: &Path) -> Result<(), VmError> {
    super::staging::remove_folder(path).map_err(|source| local("remove", path, source))
}

fn local(action: &'static str, path: &Path, source: io::Error) -> VmError {
    VmError::Sync(SyncError::Io {
        action,
        path: path.to_path_buf(),
        source,
    })
}

/// Where a path of the Vfs stands in a guest.
pub(super) fn in_guest(mount: &str, path: &VfsPath) -> Result<String, VmError> {
    logical_path_to_guest(mount, path.as_os_str()).map_err(|error| VmError::Config(error.to_string()))
}

/// Whether there is an entry in the guest.
pub(super) fn is_there(guest: &mut (impl GuestTree + ?Sized), path: &Path) -> Result<bool, VmError> {
    let found = guest.stat(path).map(|found| found.is_some());
    found.map_err(|error| guest_error("look at", path, error))
}

/// What the guest refused, as a failure to carry.
pub(super) fn guest_error(action: &'static str, path: &Path, error: GuestFsError) -> VmError {
    match error {
        error if error.is_interrupted() => VmError::Interrupted,
        GuestFsError::Vm { message, source } => VmError::Lost {
            message: format!("the guest was lost at `{}`: {message}", path.display()),
            source,
        },
        error => VmError::Sync(SyncError::Io {
            action,
            path: path.to_path_buf(),
            source: io::Error::other(error),
        }),
    }
}

/// Bytes as a path.
pub(super) fn path_of(bytes: Vec<u8>) -> PathBuf {
    OsString::from_vec(bytes).into()
}

/// What a guest session brings home: a staging of the outputs as the workspace has them, which
/// then becomes what the guest has of them.
pub(super) struct Outputs {
    patterns: Vec<String>,
    rules: Rules,
    staged: StagedTree,
}

impl Outputs {
    /// Notes what the workspace holds where outputs will go.
    pub(super) fn note(patterns: &[String], folder: &Path, vfs: &Vfs, cx: &mut Context) -> Result<Self, VmError> {
        let rules = only(patterns)?;
        let place = StagingPlace::Fixed(folder.join("outputs"));
        let staged = StagedTree::quietly(&place, rules.clone(), vfs, cx)?;
        Ok(Self {
            patterns: patterns.to_vec(),
            rules,
            staged,
        })
    }

    /// Takes the outputs out of the guest's folder `from` and brings them into `vfs`.
    pub(super) fn collect(
        &mut self,
        guest: &mut dyn GuestTree,
        from: &Path,
        vfs: &mut Vfs,
        cx: &mut Context,
    ) -> Result<Baseline, VmError> {
        let missing = missing(guest, from, &self.patterns)?;
        if !missing.is_empty() {
            return Err(VmError::Sync(SyncError::Io {
                action: "take the outputs out of",
                path: from.to_path_buf(),
                source: io::Error::new(
                    io::ErrorKind::NotFound,
                    format!("the tools have not made `{}` (workspace.outputs)", missing.join("`, `")),
                ),
            }));
        }
        let cancel = cx.cancel;
        let to = self.staged.folder();
        take_out(guest, from, &to, &self.rules, &|| cancel.is_raised())?;
        self.staged.collect(vfs, cx)
    }
}

/// Puts the inputs of the workspace into the guest's folder `to`.
pub(super) fn put_inputs(
    patterns: &[String],
    folder: &Path,
    guest: &mut dyn GuestTree,
    to: &Path,
    vfs: &Vfs,
    cx: &mut Context,
) -> Result<(), VmError> {
    let start = Instant::now();
    let place = StagingPlace::Fixed(folder.join("inputs"));
    let staged = StagedTree::quietly(&place, only(patterns)?, vfs, cx)?;
    let cancel = cx.cancel;
    let carried = put_in(guest, &staged.folder(), to, &|| cancel.is_raised())?;
    synced(cx, Direction::Push, carried.counts(), start);
    Ok(())
}

fn only(patterns: &[String]) -> Result<Rules, VmError> {
    Rules::only(patterns).map_err(|error| VmError::Config(error.to_string()))
}
