//! The work folder of a commit: new contents and undo copies, on the workspace's own file system.

use std::io;
use std::path::{Path, PathBuf};

use crate::sys::fs::{self, CopyMemory, Kind};
use crate::vfs::{Content, Node, Vfs, VfsPath};
use crate::workspace::content::{dress_file, move_content, put, slot_name};
use crate::workspace::error::{At as _, stop_if};
use crate::workspace::overlay::vfs_path;
use crate::workspace::{CancelFn, SyncError};

use super::folder::WorkFolder;
use super::journal::{Journal, State};
use super::steps::Planned;
use super::tree::Tree;

/// Up to this many files are brought to the disk one by one; more with the whole file system.
const FSYNC_EACH: usize = 16;

/// The work folder of the commit that this process makes.
pub(super) struct Work {
    pub(super) folder: WorkFolder,
    tag: String,
    /// Contents that were moved here, with the place that they came from.
    moved: Vec<(u32, PathBuf)>,
    has_journal: bool,
}

impl Work {
    pub(super) fn new(folder: WorkFolder, tag: String) -> Self {
        Self {
            folder,
            tag,
            moved: Vec::new(),
            has_journal: false,
        }
    }

    /// Brings all contents that the plan needs here, and onto the disk.
    pub(super) fn bring(&mut self, vfs: &Vfs, planned: &Planned, cancel: CancelFn) -> Result<(), SyncError> {
        let workspace = vfs.workspace();
        let memory = CopyMemory::default();
        for (slot, relative) in &planned.contents {
            stop_if(cancel)?;
            self.bring_one(vfs, &workspace, *slot, relative, &memory, cancel)?;
        }
        self.sync(planned).at("bring to the disk", self.folder.path())
    }

    fn bring_one(
        &mut self,
        vfs: &Vfs,
        workspace: &VfsPath,
        slot: u32,
        relative: &Path,
        memory: &CopyMemory,
        cancel: CancelFn,
    ) -> Result<(), SyncError> {
        let path = vfs_path(workspace, relative)?;
        let Some(node) = vfs.change(&path) else { return Ok(()) };
        let name = slot_name(slot);
        let at = self.folder.path().join("new").join(&name);
        if let Node::File(file) = node
            && let Content::File { path: from, .. } = &file.content
            && self.take(from, slot).at("move", from)?
        {
            let dress = || {
                let stamp = fs::stat_at(&self.folder.new, &name)?.stamp;
                if stamp.kind() != Kind::File || stamp.size != file.content.len() {
                    return Err(io::Error::other("the result was changed after it was collected"));
                }
                let other_owner =
                    fs::caller().0 == 0 && file.owner.is_some_and(|owner| owner != (stamp.uid, stamp.gid));
                let other_time = file.mtime.is_some_and(|mtime| mtime != stamp.mtime());
                if stamp.mode() != file.mode || other_owner || other_time {
                    let fd = fs::open_file_forced(&self.folder.new, &name)?;
                    dress_file(&fd, file.mode, file.mtime, file.owner)?;
                }
                Ok(())
            };
            return dress().at("finish", at);
        }
        put(node, &self.folder.new, &name, &at, memory, cancel).map(|_| ())
    }

    /// Moves a staged file here if it has no other name and lies on the same file system.
    fn take(&mut self, from: &Path, slot: u32) -> io::Result<bool> {
        let moved = move_content(from, &self.folder.new, &slot_name(slot))?;
        if moved {
            self.moved.push((slot, from.to_owned()));
        }
        Ok(moved)
    }

    fn sync(&self, planned: &Planned) -> io::Result<()> {
        if planned.contents.len() > FSYNC_EACH {
            return fs::sync_file_system(&self.folder.fd);
        }
        for (slot, _) in &planned.contents {
            match fs::open_file(&self.folder.new, &slot_name(*slot)) {
                Ok(file) => fs::sync_file(&file)?,
                // A link, or a file that its owner may not read.
                Err(_) => return fs::sync_file_system(&self.folder.fd),
            }
        }
        fs::sync_folder(&self.folder.new)
    }

    /// Moves the contents back to where they came from, for a result that is kept.
    pub(super) fn give_back(&self) -> Vec<SyncError> {
        let mut failures = Vec::new();
        for (slot, from) in &self.moved {
            let back = || {
                let (Some(parent), Some(name)) = (from.parent(), from.file_name()) else {
                    return Err(io::ErrorKind::InvalidInput.into());
                };
                fs::rename_new(&self.folder.new, &slot_name(*slot), &fs::open_absolute(parent)?, name)
            };
            failures.extend(back().at("move back", from).err());
        }
        failures
    }

    /// Writes the journal. From here on the folder may hold the only copies of originals: it
    /// outlives this process until it is removed.
    pub(super) fn write_journal(&mut self, planned: &Planned, tree: &Tree) -> Result<Journal, SyncError> {
        let at = self.folder.path();
        let journal = Journal::of(planned, tree, &self.tag, &self.folder.new).at("describe the commit in", &at)?;
        let written = journal.write(&self.folder.fd, &self.folder.parent, State::Applying);
        // Also where only its way to the disk failed.
        self.has_journal = true;
        written.at("write the journal to", at)?;
        Ok(journal)
    }

    /// Ends a commit that was undone, or never began. The folder goes unless something in it is
    /// needed: originals that could not go back, or contents that could not be given back.
    pub(super) fn end(self, keeps_contents: bool, tree: &Tree) -> Result<(), SyncError> {
        let at = self.folder.path();
        if keeps_contents && !self.has_journal {
            let nothing = Planned::default();
            let journal = Journal::of(&nothing, tree, &self.tag, &self.folder.new);
            let written =
                journal.and_then(|journal| journal.write(&self.folder.fd, &self.folder.parent, State::Applying));
            written.at("write the journal to", &at)?;
        }
        self.folder.end(keeps_contents).at("remove", at)
    }
}
