//! What is to be done to make this side's tree equal to the giver's. Pure.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::sidecar::Digest;
use crate::sys::fs::Kind;
use crate::workspace::{FolderStack, FolderTask, PathTable, earlier};

use super::entries::Theirs;
use super::look::Own;
use super::{MirrorError, nonsense};

/// What is to be done.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Folders with something to do, each before those below it.
    pub(super) folders: Vec<FolderTask>,
    /// Contents that are needed, by the giver's rows.
    pub(super) wants: Vec<Want>,
    /// Where in `wants` a content is.
    pub(super) places: HashMap<(Digest, bool), usize>,
    /// What is told of and not carried.
    pub(super) specials: Vec<PathBuf>,
    /// By the giver's rows: the row of this side that stays as it is.
    pub(super) same: Vec<Option<u32>>,
}

/// A content that is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Want {
    /// The first row of the giver's that has it.
    pub(super) row: usize,
    pub(super) digest: Digest,
    pub(super) size: u64,
    /// The target of a link, and no file.
    pub(super) is_link: bool,
    /// How many entries get it.
    pub(super) uses: usize,
}

/// Compares both trees.
pub(super) fn compare_trees(theirs: &PathTable<Theirs>, ours: &PathTable<Own>) -> Result<Plan, MirrorError> {
    let mut planner = Planner {
        theirs,
        folders: FolderStack::default(),
        plan: Plan {
            same: vec![None; theirs.len()],
            ..Plan::default()
        },
    };
    let mut wanted = theirs.cursor();
    let mut there = ours.cursor();
    while let Some(order) = earlier(&wanted, &there) {
        if order == Ordering::Greater {
            planner.folders.surplus(there.path());
            there.skip_subtree();
            continue;
        }
        let Some((row, item)) = wanted.current() else { break };
        let path = wanted.path();
        let own = there.current().filter(|_| order == Ordering::Equal);
        if item.kind() == Kind::Special {
            planner.plan.specials.push(path.to_owned());
            if own.is_some() {
                planner.folders.surplus(path);
                there.skip_subtree();
            }
            wanted.advance();
            continue;
        }
        match own {
            Some((own_row, own)) if own.stamp.kind() == item.kind() => {
                planner.both(row, path, (own_row, own))?;
                there.advance();
            }
            Some(_) => {
                planner.folders.surplus(path);
                planner.missing(row, path)?;
                there.skip_subtree();
            }
            None => planner.missing(row, path)?,
        }
        wanted.advance();
    }
    let mut plan = planner.plan;
    plan.folders = planner.folders.finish();
    Ok(plan)
}

struct Planner<'a> {
    theirs: &'a PathTable<Theirs>,
    folders: FolderStack,
    plan: Plan,
}

impl Planner<'_> {
    /// With the giver, not with this side.
    fn missing(&mut self, row: usize, path: &Path) -> Result<(), MirrorError> {
        self.folders.close_to(self.theirs.depth(row));
        if let Some(parent) = self.folders.parent() {
            parent.finish = true;
        }
        match self.theirs.value(row).kind() {
            Kind::Dir => {
                self.folders.enter(row, path, true, true);
                Ok(())
            }
            Kind::Special => Ok(()),
            Kind::File | Kind::Symlink => self.put(row),
        }
    }

    /// With both, and of the same kind.
    fn both(&mut self, row: usize, path: &Path, (own_row, own): (usize, &Own)) -> Result<(), MirrorError> {
        self.folders.close_to(self.theirs.depth(row));
        let item = self.theirs.value(row);
        let (mode, mtime) = (own.stamp.mode(), own.stamp.mtime());
        match item.kind() {
            Kind::Dir => {
                // The look has opened up what could not be read.
                let differs = own.is_closed() || (item.mode(), item.mtime()) != (mode, mtime);
                self.plan.same[row] = u32::try_from(own_row).ok();
                self.folders.enter(row, path, false, differs);
            }
            Kind::File | Kind::Symlink => {
                if (item.size(), item.digest()) != (own.stamp.size, own.digest) {
                    return self.put(row);
                }
                self.plan.same[row] = u32::try_from(own_row).ok();
                let has_mode = item.kind() == Kind::File;
                let differs = item.mtime() != mtime || has_mode && item.mode() != mode;
                if let Some(folder) = self.folders.parent().filter(|_| differs) {
                    folder.dress.push(row);
                }
            }
            Kind::Special => {}
        }
        Ok(())
    }

    fn put(&mut self, row: usize) -> Result<(), MirrorError> {
        if let Some(folder) = self.folders.parent() {
            folder.fill.push(row);
            folder.finish = true;
        }
        let theirs = self.theirs.value(row);
        let (size, digest) = (theirs.size(), theirs.digest());
        let is_link = theirs.kind() == Kind::Symlink;
        if size == 0 {
            return Ok(());
        }
        let place = *self
            .plan
            .places
            .entry((digest, is_link))
            .or_insert(self.plan.wants.len());
        match self.plan.wants.get_mut(place) {
            Some(want) if want.size == size => want.uses += 1,
            Some(_) => return nonsense("one digest was announced for contents of two sizes"),
            None => self.plan.wants.push(Want {
                row,
                digest,
                size,
                is_link,
                uses: 1,
            }),
        }
        Ok(())
    }
}
