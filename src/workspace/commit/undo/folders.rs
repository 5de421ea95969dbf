//! The folders around what is undone: opened for it, and given their looks back.

use std::io;
use std::path::Path;

use crate::sys::fs::{self, Kind};
use crate::vfs::is_absent;
use crate::workspace::content::if_allowed;

use super::super::journal::{Folder, look};
use super::super::steps::Step;
use super::Undo;

impl Undo<'_> {
    /// Gives the owner of closed folders the permission to look and to change, also in those that
    /// the commit made or had finished.
    pub(super) fn open_up(&mut self) {
        if self.journal.uid == 0 || fs::caller().0 != self.journal.uid {
            return;
        }
        let steps = self.journal.steps.iter();
        let dressed = steps.filter(|step| !step.is_entry()).map(Step::path);
        let mut paths: Vec<&Path> = dressed.collect();
        paths.sort_unstable();
        for path in paths {
            let open = || {
                let (folder, name) = self.tree.parent(path)?;
                let stamp = fs::stat_at(&*folder, name)?.stamp;
                if stamp.kind() == Kind::Dir && stamp.uid == self.journal.uid && stamp.mode() & 0o700 != 0o700 {
                    fs::set_mode_at(&*folder, name, stamp.mode() | 0o700)?;
                }
                Ok(())
            };
            match open() {
                Err(error) if is_absent(&error) => {}
                other => self.note(other, "open", path),
            }
        }
    }

    /// Gives the folders their times and modes back: deepest first, since a mode may forbid the rest.
    pub(super) fn restore_folders(&mut self) {
        let journal = self.journal;
        for folder in journal.folders.iter().rev() {
            let restored = self.restore_folder(folder);
            self.note(restored, "restore the time and permissions of", &folder.path);
        }
    }

    fn restore_folder(&self, folder: &Folder) -> io::Result<()> {
        let (parent, name) = match self.tree.parent(&folder.path) {
            Err(error) if is_absent(&error) => return Ok(()),
            other => other?,
        };
        let before = &folder.stamp;
        let Some(now) = look(&*parent, name)?.filter(|now| now.ino == before.ino && now.kind() == Kind::Dir) else {
            return Ok(());
        };
        if now.mtime() != before.mtime() && !self.changed.contains(&folder.path) {
            if_allowed(fs::set_mtime_at(&*parent, name, before.mtime()))?;
        }
        if now.mode() != before.mode() && self.may_be_ours(&folder.path, before.mode(), now.mode()) {
            fs::set_mode_at(&*parent, name, before.mode())?;
        }
        Ok(())
    }

    /// Whether a folder with this mode may have got it here, and not from the host.
    pub(super) fn may_be_ours(&self, path: &Path, before: u32, now: u32) -> bool {
        let modes = [Some(before), self.finals.get(path).copied()];
        // The group's bit may be inherited from the folder above.
        let plain = |mode: u32| mode & !0o2000;
        let mut modes = modes.into_iter().flatten().map(plain);
        modes.any(|mode| plain(now) == mode || plain(now) == mode | 0o700)
    }
}
