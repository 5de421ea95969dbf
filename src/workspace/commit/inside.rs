//! Work folders in the workspace itself, where no place of devshell's own is on its file system.
//!
//! Making and removing one must not show in the workspace's folder, also when the process dies on
//! the way. So a note in the area says beforehand how the folder looks, and which name is meant.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::sys::fs::{self, Time};
use crate::vfs::is_absent;
use crate::workspace::COMMIT_DIR;
use crate::workspace::content::if_allowed;
use crate::workspace::index::{checked_body, with_checksum};

use super::journal::{look, write_whole};
use super::steps::path_bytes;

const HEAD: &[u8; 8] = b"DSINSID\x01";
/// The note's name in the area.
const NOTE: &str = "inside";
/// Its name until all of it is there.
const TEMPORARY: &str = "inside.new";
/// What it becomes when the work folder stays: then it only says whose area this is.
const KEPT_NOTE: &str = "inside-kept";
/// The file that tells a work folder of devshell's from another folder of that name.
const MARKER: &str = "devshell";
const MARKER_TEXT: &[u8] = b"A work folder of devshell's: the next devshell command here clears it up.\n";
/// So many work folders can stand in one workspace: those with kept originals stay.
const NAMES: u32 = 16;
/// A time that the workspace's folder got later than this after the note is not of our making.
const MOMENT: Duration = Duration::from_secs(10);

/// The note.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Inside {
    /// The workspace.
    #[serde(with = "path_bytes")]
    target: PathBuf,
    root: u64,
    #[serde(with = "path_bytes")]
    name: PathBuf,
    mode: u32,
    mtime: Time,
}

impl Inside {
    fn of(target: &Path, root: &OwnedFd, name: &OsStr) -> io::Result<Self> {
        let stamp = fs::stat_fd(root)?.stamp;
        Ok(Self {
            target: target.to_owned(),
            root: stamp.ino,
            name: name.into(),
            mode: stamp.mode(),
            mtime: stamp.mtime(),
        })
    }

    fn write(&self, area: &OwnedFd) -> io::Result<()> {
        let body = postcard::to_stdvec(self).map_err(io::Error::other)?;
        write_whole(
            area,
            OsStr::new(TEMPORARY),
            OsStr::new(NOTE),
            &with_checksum(HEAD, &body),
        )
    }

    /// The note in an area, with the time at which it was written. A damaged one is none: it was
    /// never needed, since it is complete before anything else is done.
    fn read(area: &OwnedFd, name: &str) -> io::Result<Option<(Self, Time)>> {
        let file = match fs::open_file(area, OsStr::new(name)) {
            Err(error) if is_absent(&error) => return Ok(None),
            other => other?,
        };
        let written = fs::stat_fd(&file)?.stamp.mtime();
        let mut bytes = Vec::new();
        std::fs::File::from(file).take(64 * 1024).read_to_end(&mut bytes)?;
        let note = checked_body(&bytes, HEAD).and_then(|body| postcard::from_bytes::<Self>(body).ok());
        Ok(note.map(|note| (note, written)))
    }

    /// The workspaces that an area has notes of.
    pub(super) fn targets(area: &OwnedFd) -> Vec<PathBuf> {
        let notes = [NOTE, KEPT_NOTE].map(|name| Self::read(area, name).ok().flatten());
        notes.into_iter().flatten().map(|(note, _)| note.target).collect()
    }

    /// Removes the note if the workspace is as it says: without the name, and with the same look.
    fn forget_unless_seen(&self, root: &OwnedFd, area: &OwnedFd) -> io::Result<()> {
        let now = fs::stat_fd(root)?.stamp;
        let is_as_noted = now.mode() == self.mode && now.mtime() == self.mtime;
        if is_as_noted && look(root, self.name.as_os_str())?.is_none() {
            fs::remove_tree(area, OsStr::new(NOTE))?;
        }
        Ok(())
    }

    /// Does something with the noted name; the workspace's folder has the noted look afterwards.
    fn unnoticed<T>(&self, root: &OwnedFd, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let closed = self.mode & 0o300 != 0o300 && fs::stat_fd(root)?.stamp.uid == fs::caller().0;
        if closed {
            fs::set_mode_fd(root, self.mode | 0o300)?;
        }
        let outcome = act();
        if_allowed(fs::set_mtime_fd(root, self.mtime))?;
        if closed {
            fs::set_mode_fd(root, self.mode)?;
        }
        outcome
    }
}

/// Makes a work folder in the workspace, under the first name that nothing else has.
pub(super) fn make(root: &OwnedFd, target: &Path, area: &OwnedFd) -> io::Result<OsString> {
    let mut free = None;
    for name in names() {
        if look(root, &name)?.is_none() {
            free = Some(name);
            break;
        }
    }
    let Some(name) = free else {
        let why = format!(
            "`{COMMIT_DIR}` and {} names like it are taken: remove those that are not needed",
            NAMES - 1
        );
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, why));
    };
    let note = Inside::of(target, root, &name)?;
    note.write(area)?;
    if let Err(error) = note.unnoticed(root, || fs::make_dir(root, &name, 0o700)) {
        // Where nothing was made, as on a file system that is mounted read-only, the note would only keep later
        // commands from their work. What cannot be told now is cleared up by them.
        let _ = note.forget_unless_seen(root, area);
        return Err(error);
    }
    let mark = || {
        let folder = fs::open_child_dir(root, &name)?;
        let marker = fs::create_file(&folder, OsStr::new(MARKER), 0o600)?;
        fs::write_all(&marker, MARKER_TEXT)
    };
    match mark() {
        Ok(()) => Ok(name),
        Err(error) => {
            take_back(root, target, area, &name);
            Err(error)
        }
    }
}

/// Removes a work folder that could not be made whole, such as on a disk that is full.
pub(super) fn take_back(root: &OwnedFd, target: &Path, area: &OwnedFd, name: &OsStr) {
    // What cannot be removed now is found by its marker or its note.
    let _ = Inside::of(target, root, name).and_then(|note| {
        note.unnoticed(root, || fs::remove_tree(root, name))?;
        fs::remove_tree(area, OsStr::new(NOTE))
    });
}

/// Removes a work folder whose content is gone but for the marker.
pub(super) fn remove(root: &OwnedFd, target: &Path, area: Option<&OwnedFd>, name: &OsStr) -> io::Result<()> {
    let note = Inside::of(target, root, name)?;
    // Without a note the removal may show after a death in its middle, and that is all.
    if let Some(area) = area {
        let _ = note.write(area);
    }
    let folder = fs::open_child_dir(root, name)?;
    remove_marker(&folder)?;
    note.unnoticed(root, || fs::remove_dir(root, name))?;
    if let Some(area) = area {
        fs::remove_tree(area, OsStr::new(NOTE))?;
    }
    Ok(())
}

/// Turns the note of a work folder that stays into one that later commits leave alone.
pub(super) fn keep(area: &OwnedFd) -> io::Result<()> {
    match fs::rename(area, OsStr::new(NOTE), area, OsStr::new(KEPT_NOTE)) {
        Err(error) if is_absent(&error) => Ok(()),
        other => other,
    }
}

/// Forgets that work folders were kept.
pub(super) fn forget_kept(area: &OwnedFd) -> io::Result<()> {
    fs::remove_tree(area, OsStr::new(KEPT_NOTE))
}

fn remove_marker(folder: &OwnedFd) -> io::Result<()> {
    fs::remove_tree(folder, OsStr::new(MARKER))
}

/// Whether a work folder stands in the workspace, or did when a process died.
pub(super) fn is_noted(area: &OwnedFd) -> bool {
    fs::stat_at(area, OsStr::new(NOTE)).is_ok()
}

/// Clears up after a process that died while it made or removed a work folder here.
pub(super) fn clear_up(root: &OwnedFd, area: &OwnedFd) -> io::Result<()> {
    fs::remove_tree(area, OsStr::new(TEMPORARY))?;
    let Some((note, written)) = Inside::read(area, NOTE)? else {
        return Ok(());
    };
    let now = fs::stat_fd(root)?.stamp;
    if note.root != now.ino || !names().any(|name| name == note.name) {
        return Ok(());
    }
    let name = note.name.as_os_str();
    let there = look(root, name)?.is_some();
    // With the marker in it, the making was over and the removal had not begun.
    if there && is_ours(root, name)? {
        return Ok(());
    }
    let is_our_mode = now.mode() == note.mode || now.mode() == note.mode | 0o300;
    let is_our_time = now.mtime() <= written.plus(MOMENT);
    let removed = match fs::open_child_dir(root, name) {
        // Only an empty one: what somebody else has made since is not empty, or stays.
        Ok(folder) if there && fs::names(&folder)?.iter().all(|name| name == MARKER) => {
            remove_marker(&folder)?;
            if now.mode() & 0o300 != 0o300 {
                fs::set_mode_fd(root, now.mode() | 0o300)?;
            }
            fs::remove_dir(root, name)
        }
        _ => Ok(()),
    };
    // Only where it differs: on a file system that is read-only now, nothing may be left to do, and nothing can be done.
    if is_our_time && now.mtime() >= note.mtime && fs::stat_fd(root)?.stamp.mtime() != note.mtime {
        if_allowed(fs::set_mtime_fd(root, note.mtime))?;
    }
    let mode = if is_our_mode { note.mode } else { now.mode() };
    if fs::stat_fd(root)?.stamp.mode() != mode {
        fs::set_mode_fd(root, mode)?;
    }
    removed?;
    fs::remove_tree(area, OsStr::new(NOTE))
}

/// The names that work folders in a workspace can have.
pub(super) fn names() -> impl Iterator<Item = OsString> {
    (0..NAMES).map(|number| match number {
        0 => COMMIT_DIR.into(),
        more => format!("{COMMIT_DIR}-{more}").into(),
    })
}

/// Whether an entry of the workspace is a work folder of devshell's, and not of somebody who
/// likes the name.
///
/// # Errors
/// Where that cannot be told, as for one of another user's.
pub(super) fn is_ours(root: &OwnedFd, name: &OsStr) -> io::Result<bool> {
    let marker = fs::open_child_dir(root, name).and_then(|folder| fs::open_file(folder, OsStr::new(MARKER)));
    let marker = match marker {
        Err(error) if is_absent(&error) || fs::is_other_kind(&error) => return Ok(false),
        other => other?,
    };
    let mut text = Vec::new();
    std::fs::File::from(marker).take(256).read_to_end(&mut text)?;
    Ok(text == MARKER_TEXT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_of_what_was_never_made_goes_without_a_change_to_the_workspace() {
        let temp = tempfile::tempdir().unwrap();
        let [target, area] = ["w", "area"].map(|name| temp.path().join(name));
        std::fs::create_dir(&target).unwrap();
        std::fs::create_dir(&area).unwrap();
        let (root, area) = (fs::open_dir(&target).unwrap(), fs::open_dir(&area).unwrap());
        Inside::of(&target, &root, OsStr::new(COMMIT_DIR))
            .unwrap()
            .write(&area)
            .unwrap();
        let before = fs::stat_fd(&root).unwrap().stamp;
        // Longer than a tick of the clock: a time that is set again shows in the ctime.
        std::thread::sleep(Duration::from_millis(30));
        clear_up(&root, &area).unwrap();
        assert!(!is_noted(&area));
        // On a file system that is read-only by now any change would be refused.
        assert_eq!(fs::stat_fd(&root).unwrap().stamp, before);
    }
}
