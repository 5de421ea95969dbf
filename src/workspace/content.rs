//! Putting a change's content into a folder, and comparing contents.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use crate::sys::fs::{self, CopyMemory, Stamp, Time};
use crate::vfs::{Base, Content, FileNode, Lease, Node, is_absent, open_content, open_parent};

use super::error::At as _;
use super::{CancelFn, SyncError};

/// Makes the file or link `name` as the node says, in a tree of devshell's own; `path` is for messages.
/// Returns the bytes of content. Folders and deletions are the caller's.
pub(crate) fn put(
    node: &Node,
    dir: &OwnedFd,
    name: &OsStr,
    path: &Path,
    memory: &CopyMemory,
    cancel: CancelFn,
) -> Result<u64, SyncError> {
    match node {
        Node::File(file) => {
            let bytes = match &file.content {
                Content::Bytes(bytes) => {
                    let write = || {
                        let to = fs::create_file(dir, name, 0o600)?;
                        fs::write_all(&to, bytes)?;
                        dress_file(&to, file.mode, file.mtime, file.owner)
                    };
                    write().at("write", path)?;
                    bytes.len() as u64
                }
                Content::File { path: from_path, .. } => {
                    let from = open_content(from_path).at("open", from_path)?;
                    let write = || {
                        let to = fs::create_file(dir, name, 0o600)?;
                        let bytes = fs::copy_contents(&from, &to, memory, cancel)?;
                        dress_file(&to, file.mode, file.mtime, file.owner)?;
                        Ok(bytes)
                    };
                    write().at("copy to", path)?
                }
            };
            Ok(bytes)
        }
        Node::Symlink { target, mtime } => {
            let write = || {
                fs::remove_tree(dir, name)?;
                fs::make_symlink(target, dir, name)?;
                mtime.map_or(Ok(()), |mtime| fs::set_mtime_at(dir, name, mtime))
            };
            write().at("make the link", path)?;
            Ok(0)
        }
        Node::Dir { .. } | Node::Deleted => Ok(0),
    }
}

/// The change that a file in a folder of devshell's own is, by reference. `full` is where it lies.
pub(crate) fn node_of_file(full: PathBuf, now: &Stamp, lease: Option<&Lease>) -> Node {
    Node::File(FileNode {
        content: Content::File {
            path: full,
            len: now.size,
            lease: lease.cloned(),
        },
        mode: now.mode(),
        mtime: Some(now.mtime()),
        owner: (fs::caller().0 == 0).then_some((now.uid, now.gid)),
    })
}

/// The name of a content in a folder of contents or undo copies.
pub(crate) fn slot_name(slot: u32) -> OsString {
    slot.to_string().into()
}

/// Moves the file that a [`Content::File`] names to `name` in another folder of devshell's own.
/// `false` when that cannot be: it has other names, or lies on another file system.
pub(crate) fn move_content(from: &Path, to: &OwnedFd, name: &OsStr) -> io::Result<bool> {
    let (Some(parent), Some(from_name)) = (from.parent(), from.file_name()) else {
        return Ok(false);
    };
    let folder = fs::open_absolute(parent)?;
    if fs::stat_at(&folder, from_name)?.nlink != 1 {
        return Ok(false);
    }
    let moved = match fs::rename_new(&folder, from_name, to, name) {
        // A tool has closed the folder; the change that carries its mode is in the Vfs already.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            if let (Some(above), Some(own_name)) = (parent.parent(), parent.file_name()) {
                fs::make_reachable(&fs::open_absolute(above)?, own_name)?;
            }
            fs::rename_new(&folder, from_name, to, name)
        }
        other => other,
    };
    match moved {
        Ok(()) => Ok(true),
        Err(error) if fs::is_cross_device(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Gives a new file its owner (as root), mode and mtime.
pub(crate) fn dress_file(file: impl AsFd, mode: u32, mtime: Option<Time>, owner: Option<(u32, u32)>) -> io::Result<()> {
    let file = file.as_fd();
    let caller = fs::caller();
    if let Some((uid, gid)) = owner.filter(|owner| caller.0 == 0 && *owner != caller) {
        fs::set_owner_fd(file, uid, gid)?;
    }
    // After the owner: changing that clears setuid and setgid.
    fs::set_mode_fd(file, mode)?;
    mtime.map_or(Ok(()), |mtime| fs::set_mtime_fd(file, mtime))
}

/// The outcome of setting a folder's time. Only its owner may do that, while others may write in
/// it all the same, and the time is not worth a failure.
pub(crate) fn if_allowed(set: io::Result<()>) -> io::Result<()> {
    match set {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        other => other,
    }
}

/// Whether two open files hold the same bytes.
pub(crate) fn same_bytes(a: &OwnedFd, b: &OwnedFd, cancel: CancelFn) -> io::Result<bool> {
    let (mut left, mut right) = (vec![0; 128 * 1024], vec![0; 128 * 1024]);
    let mut at = 0;
    loop {
        if cancel() {
            return Err(fs::cancelled());
        }
        let count = fs::read_full_at(a, &mut left, at)?;
        if count != fs::read_full_at(b, &mut right, at)? || left[..count] != right[..count] {
            return Ok(false);
        }
        if count == 0 {
            return Ok(true);
        }
        at += count as u64;
    }
}

/// Whether the base has a file at `relative` with the bytes of an open one.
pub(crate) fn is_same_as_base(base: &Base, relative: &Path, file: &OwnedFd, cancel: CancelFn) -> io::Result<bool> {
    let opened =
        open_parent(base.root(), relative).and_then(|(dir, name): (OwnedFd, &OsStr)| fs::open_file(&dir, name));
    match opened {
        Ok(there) => same_bytes(file, &there, cancel),
        Err(error) if is_absent(&error) || fs::is_other_kind(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether an open file holds these bytes.
pub(crate) fn holds_bytes(file: &OwnedFd, bytes: &[u8]) -> io::Result<bool> {
    let mut buffer = vec![0; 128 * 1024];
    let mut rest = bytes;
    loop {
        let count = fs::read_full_at(file, &mut buffer, (bytes.len() - rest.len()) as u64)?;
        if count == 0 {
            return Ok(rest.is_empty());
        }
        match rest.strip_prefix(&buffer[..count]) {
            Some(more) => rest = more,
            None => return Ok(false),
        }
    }
}
