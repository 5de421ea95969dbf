//! The conflict check, and the steps that come out of it. Nothing is written here.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use crate::sys::fs::{self, Kind, Stamp};
use crate::vfs::{Content, Node, Vfs, VfsPath, is_absent, open_content};
use crate::workspace::content::{holds_bytes, same_bytes};
use crate::workspace::error::{At as _, stop_if};
use crate::workspace::overlay::vfs_path;
use crate::workspace::{CancelFn, Class, IndexBaseline, Rules, SyncError};

use super::steps::{Planned, Step};
use super::tree::{Standing, Tree};
use super::{Conflict, ConflictReason};

/// Compares each change with the workspace as it is now and as it was.
pub(super) fn plan(
    vfs: &Vfs,
    baseline: &IndexBaseline,
    root: &OwnedFd,
    target: &Path,
    rules: &Rules,
    cancel: CancelFn,
) -> Result<Planned, SyncError> {
    let workspace = vfs.workspace();
    let mut planner = Planner {
        vfs,
        baseline,
        tree: Tree::new(root, target),
        rules,
        cancel,
        workspace: workspace.clone(),
        planned: Planned::default(),
        trash: Vec::new(),
        make: Vec::new(),
        put: Vec::new(),
        finish: BTreeMap::new(),
        made: BTreeSet::new(),
        handled: BTreeSet::new(),
        checked: HashSet::new(),
        change: 0,
        stuck: 0,
    };
    for (number, (path, node)) in vfs.changes().enumerate() {
        stop_if(cancel)?;
        // A content's slot is its place among the changes, the same in each plan of one commit.
        planner.change = u32::try_from(number).unwrap_or(u32::MAX);
        if let Some(relative) = path.strip_prefix(&workspace) {
            planner.check_folders(relative)?;
            planner.take(path, relative, node)?;
        }
    }
    planner.into_planned()
}

pub(super) struct Planner<'a> {
    pub(super) vfs: &'a Vfs,
    pub(super) baseline: &'a IndexBaseline,
    pub(super) tree: Tree<'a>,
    rules: &'a Rules,
    cancel: CancelFn<'a>,
    pub(super) workspace: VfsPath,
    pub(super) planned: Planned,
    pub(super) trash: Vec<Step>,
    pub(super) make: Vec<Step>,
    pub(super) put: Vec<Step>,
    /// Folders with their final modes, where these change.
    pub(super) finish: BTreeMap<PathBuf, Option<u32>>,
    pub(super) made: BTreeSet<PathBuf>,
    /// Folders whose deletion has been planned with all that is below them.
    handled: BTreeSet<PathBuf>,
    /// Folders that were compared with those of the beginning.
    checked: HashSet<PathBuf>,
    /// The number of the change that is being planned.
    change: u32,
    /// How many of the folders that are to go have content that the caller may not delete.
    stuck: usize,
}

impl Planner<'_> {
    /// Whether the folders on the way are the ones that the run began with.
    fn check_folders(&mut self, relative: &Path) -> Result<(), SyncError> {
        for folder in relative.ancestors().skip(1) {
            if folder.as_os_str().is_empty() || !self.checked.insert(folder.to_owned()) {
                break;
            }
            let Some(before) = self.baseline.folder_before(&vfs_path(&self.workspace, folder)?) else {
                continue;
            };
            // One that had gone when the result was collected may lie elsewhere, with all that the result means.
            let had_gone = before == IndexBaseline::ANOTHER_FOLDER;
            let reason = match self.tree.look(folder)? {
                Standing::Entry(stat) if stat.stamp.kind() == Kind::Dir => {
                    (stat.stamp.ino != before).then_some(ConflictReason::Changed)
                }
                Standing::Entry(_) => had_gone.then_some(ConflictReason::NoFolder),
                Standing::Nothing => had_gone.then_some(ConflictReason::Missing),
                Standing::NoFolder => None,
            };
            if let Some(reason) = reason {
                self.conflict(folder, reason);
            }
        }
        Ok(())
    }

    fn take(&mut self, path: &VfsPath, relative: &Path, node: &Node) -> Result<(), SyncError> {
        let known = self.baseline.before(path);
        let standing = self.tree.look(relative)?;
        match (node, standing) {
            (Node::Deleted, Standing::Nothing | Standing::NoFolder) => {}
            (Node::Deleted, Standing::Entry(stat)) => {
                self.delete(relative, &stat.stamp, known.as_ref())?;
            }
            (_, Standing::NoFolder) if !self.parent_is_made(relative) => self.no_folder(relative)?,
            (Node::Dir { mode, replaces, .. }, Standing::Nothing | Standing::NoFolder) => {
                if known.is_some() && !replaces {
                    self.conflict(relative, ConflictReason::Missing);
                } else {
                    self.make_dir(relative, *mode);
                }
            }
            (Node::Dir { mode, replaces, .. }, Standing::Entry(stat)) => {
                self.dir_over(relative, *mode, *replaces, &stat.stamp, known.as_ref())?;
            }
            (Node::File(_) | Node::Symlink { .. }, Standing::Nothing | Standing::NoFolder) => {
                if known.is_some() {
                    self.conflict(relative, ConflictReason::Missing);
                } else {
                    let slot = self.slot_for(relative);
                    self.put.push(Step::Create {
                        path: relative.to_owned(),
                        slot,
                    });
                }
            }
            (Node::File(_) | Node::Symlink { .. }, Standing::Entry(stat)) => {
                self.file_over(relative, node, &stat.stamp, known.as_ref())?;
            }
        }
        Ok(())
    }

    fn file_over(&mut self, relative: &Path, node: &Node, now: &Stamp, known: Option<&Stamp>) -> Result<(), SyncError> {
        if now.kind() == Kind::Dir {
            match known {
                Some(known) if known.kind() == Kind::Dir => {
                    let conflicts = self.planned.conflicts.len();
                    let whole = self.delete_dir(relative, now)?;
                    self.handled.insert(relative.to_owned());
                    if !whole && conflicts == self.planned.conflicts.len() {
                        self.conflict(relative, ConflictReason::HoldsUncarried);
                    }
                    let slot = self.slot_for(relative);
                    self.put.push(Step::Create {
                        path: relative.to_owned(),
                        slot,
                    });
                }
                Some(_) => self.conflict(relative, ConflictReason::Changed),
                None => self.conflict(relative, ConflictReason::Appeared),
            }
            return Ok(());
        }
        if known == Some(now) {
            let slot = self.slot_for(relative);
            self.put.push(Step::Replace {
                path: relative.to_owned(),
                slot,
                expect: *now,
            });
        } else if !self.holds_already(relative, node, now)? {
            let reason = if known.is_some() {
                ConflictReason::Changed
            } else {
                ConflictReason::Appeared
            };
            self.conflict(relative, reason);
        }
        Ok(())
    }

    fn dir_over(
        &mut self,
        relative: &Path,
        mode: u32,
        replaces: bool,
        now: &Stamp,
        known: Option<&Stamp>,
    ) -> Result<(), SyncError> {
        if now.kind() != Kind::Dir {
            if known == Some(now) {
                self.push_trash(relative, now);
                self.planned.deleted += 1;
                self.make_dir(relative, mode);
            } else {
                self.conflict(relative, changed_or_appeared(known));
            }
            return Ok(());
        }
        let Some(known) = known else {
            // Both sides made this folder; the modes need not agree.
            return Ok(());
        };
        if known.kind() != Kind::Dir {
            self.conflict(relative, ConflictReason::Changed);
            return Ok(());
        }
        if mode != now.mode() {
            if known.mode() != now.mode() {
                self.conflict(relative, ConflictReason::Changed);
            }
            self.finish.insert(relative.to_owned(), Some(mode));
            self.planned.written += 1;
        }
        if replaces {
            // Deleted and made anew: what the base had below goes, but for what is there again.
            for name in self.names(relative)? {
                let child = relative.join(name);
                if self.vfs.change(&vfs_path(&self.workspace, &child)?).is_none() {
                    self.delete_unlisted(&child)?;
                    self.handled.insert(child);
                }
            }
        }
        Ok(())
    }

    fn delete(&mut self, relative: &Path, now: &Stamp, known: Option<&Stamp>) -> Result<(), SyncError> {
        if relative.ancestors().any(|at| self.handled.contains(at)) {
            return Ok(());
        }
        match (now.kind(), known) {
            (Kind::Dir, Some(known)) if known.kind() == Kind::Dir => {
                self.delete_dir(relative, now)?;
                self.handled.insert(relative.to_owned());
            }
            (Kind::Dir, _) => self.conflict(relative, changed_or_appeared(known)),
            (_, Some(known)) if known == now => {
                self.push_trash(relative, now);
                self.planned.deleted += 1;
            }
            _ => self.conflict(relative, changed_or_appeared(known)),
        }
        Ok(())
    }

    /// Plans the deletion of a folder: as one move when all of it may go, else leaf by leaf.
    /// Returns whether all of it goes.
    fn delete_dir(&mut self, relative: &Path, now: &Stamp) -> Result<bool, SyncError> {
        stop_if(self.cancel)?;
        let (mark, mut whole) = (self.trash.len(), true);
        let stuck_before = self.stuck;
        self.stuck += usize::from(self.is_stuck(relative, now)?);
        let known = self.baseline.before(&vfs_path(&self.workspace, relative)?);
        if known.is_none_or(|known| (known.kind(), known.mode(), known.ino) != (Kind::Dir, now.mode(), now.ino)) {
            self.conflict(relative, changed_or_appeared(known.as_ref()));
            whole = false;
        }
        for name in self.names(relative)? {
            whole &= self.delete_unlisted(&relative.join(name))?;
        }
        if whole {
            // What the caller may not delete must not be moved away either: it could not be got
            // rid of. Leaf by leaf the commit meets that, and is undone.
            if self.stuck == stuck_before {
                self.trash.truncate(mark);
            }
            self.push_trash(relative, now);
            self.planned.deleted += 1;
        }
        Ok(whole)
    }

    /// Whether the caller could not delete what is in a folder, however it sets its permissions.
    fn is_stuck(&self, relative: &Path, now: &Stamp) -> Result<bool, SyncError> {
        let (caller, _) = fs::caller();
        let can_be_opened = now.uid == caller && now.mode() & 0o300 != 0o300;
        if can_be_opened {
            return Ok(false);
        }
        let may = || {
            let (parent, name) = self.tree.parent(relative)?;
            fs::may_write(&*parent, name)
        };
        Ok(!may().at("look at", self.tree.full(relative))?)
    }

    /// Plans the deletion of what a walk of the workspace met; `false` when it stays.
    fn delete_unlisted(&mut self, relative: &Path) -> Result<bool, SyncError> {
        let Standing::Entry(stat) = self.tree.look(relative)? else {
            return Ok(true);
        };
        let (now, kind) = (stat.stamp, stat.stamp.kind());
        if self.rules.classify_entry(relative, kind == Kind::Dir) != Class::Carry {
            return Ok(false);
        }
        if kind == Kind::Dir {
            return self.delete_dir(relative, &now);
        }
        let known = self.baseline.before(&vfs_path(&self.workspace, relative)?);
        if kind == Kind::Special && known.is_none() {
            // A copy has none of these, so that nobody can have meant it.
            return Ok(false);
        }
        if known != Some(now) {
            self.conflict(relative, changed_or_appeared(known.as_ref()));
            return Ok(false);
        }
        self.push_trash(relative, &now);
        self.planned.deleted += 1;
        Ok(true)
    }

    fn names(&self, relative: &Path) -> Result<Vec<std::ffi::OsString>, SyncError> {
        match self.tree.open(relative).and_then(|fd| fs::names(&fd)) {
            Err(error) if is_absent(&error) => Ok(Vec::new()),
            other => other.at("list", self.tree.full(relative)),
        }
    }

    /// Whether the workspace has come to hold what the node says by itself.
    fn holds_already(&self, relative: &Path, node: &Node, now: &Stamp) -> Result<bool, SyncError> {
        let compare = || -> io::Result<bool> {
            let (parent, name) = self.tree.parent(relative)?;
            match node {
                Node::Symlink { target, .. } if now.kind() == Kind::Symlink => {
                    Ok(fs::read_link_at(&*parent, name)? == *target)
                }
                Node::File(file)
                    if (now.kind(), now.mode(), now.size) == (Kind::File, file.mode, file.content.len()) =>
                {
                    let there = fs::open_file(&*parent, name)?;
                    match &file.content {
                        Content::Bytes(bytes) => holds_bytes(&there, bytes),
                        Content::File { path, .. } => same_bytes(&there, &open_content(path)?, self.cancel),
                    }
                }
                _ => Ok(false),
            }
        };
        match compare() {
            Err(error) if is_absent(&error) || fs::is_other_kind(&error) => Ok(false),
            other => other.at("compare", self.tree.full(relative)),
        }
    }

    fn make_dir(&mut self, relative: &Path, mode: u32) {
        self.make.push(Step::MakeDir {
            path: relative.to_owned(),
        });
        self.made.insert(relative.to_owned());
        self.finish.insert(relative.to_owned(), Some(mode));
        self.planned.written += 1;
    }

    fn parent_is_made(&self, relative: &Path) -> bool {
        relative.parent().is_some_and(|parent| self.made.contains(parent))
    }

    /// Names the first folder on the way that is not there.
    fn no_folder(&mut self, relative: &Path) -> Result<(), SyncError> {
        let mut ancestors: Vec<&Path> = relative.ancestors().skip(1).collect();
        ancestors.reverse();
        for at in ancestors {
            match self.tree.look(at)? {
                Standing::Entry(stat) if stat.stamp.kind() == Kind::Dir => {}
                Standing::Entry(_) => {
                    self.conflict(at, ConflictReason::NoFolder);
                    return Ok(());
                }
                Standing::Nothing | Standing::NoFolder => {
                    self.conflict(at, ConflictReason::Missing);
                    return Ok(());
                }
            }
        }
        self.conflict(relative, ConflictReason::Missing);
        Ok(())
    }

    fn conflict(&mut self, relative: &Path, reason: ConflictReason) {
        self.planned.conflicts.push(Conflict {
            path: relative.to_owned(),
            reason,
        });
    }

    fn slot_for(&mut self, relative: &Path) -> u32 {
        let slot = self.change;
        self.planned.contents.push((slot, relative.to_owned()));
        self.planned.written += 1;
        slot
    }

    fn push_trash(&mut self, relative: &Path, now: &Stamp) {
        let slot = self.trash.len() as u32;
        self.trash.push(Step::Trash {
            path: relative.to_owned(),
            slot,
            expect: *now,
        });
    }
}

fn changed_or_appeared(known: Option<&Stamp>) -> ConflictReason {
    if known.is_some() {
        ConflictReason::Changed
    } else {
        ConflictReason::Appeared
    }
}
