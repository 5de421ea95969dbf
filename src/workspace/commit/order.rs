//! The order of the steps, and what the folders around them need.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::sys::fs::{self, Kind};
use crate::vfs::Node;
use crate::workspace::SyncError;
use crate::workspace::overlay::vfs_path;

use super::plan::Planner;
use super::steps::{Planned, Step};
use super::tree::Standing;

impl Planner<'_> {
    /// Puts the steps in order: what goes, folders, contents, and at last the folders' own looks.
    pub(super) fn into_planned(mut self) -> Result<Planned, SyncError> {
        let mut touched = BTreeSet::new();
        let mut going = BTreeSet::new();
        // The mtimes of folders that a step gives another one, though nothing in the view did.
        let mut times = BTreeMap::new();
        for step in self.trash.iter().chain(&self.make).chain(&self.put) {
            if let Step::Trash { path, .. }
            | Step::MakeDir { path }
            | Step::Create { path, .. }
            | Step::Replace { path, .. } = step
            {
                touched.insert(path.parent().unwrap_or(Path::new("")).to_owned());
                // A folder that moves elsewhere has its `..` rewritten.
                if matches!(step, Step::Trash { expect, .. } if expect.kind() == Kind::Dir) {
                    touched.insert(path.clone());
                    going.insert(path.clone());
                }
            }
        }
        let is_going = |path: &Path| path.ancestors().any(|at| going.contains(at));
        for path in &touched {
            if self.made.contains(path) {
                continue;
            }
            let Standing::Entry(stat) = self.tree.look(path)? else {
                continue;
            };
            let mode = stat.stamp.mode();
            let (caller, _) = fs::caller();
            if caller != 0 && stat.stamp.kind() == Kind::Dir && stat.stamp.uid == caller && mode & 0o300 != 0o300 {
                self.planned.steps.push(Step::OpenUp {
                    path: path.clone(),
                    mode,
                });
                if !is_going(path) {
                    self.finish.entry(path.clone()).or_insert(Some(mode));
                }
            }
            if !is_going(path) {
                self.finish.entry(path.clone()).or_insert(None);
                times.insert(path.clone(), stat.stamp.mtime());
            }
        }
        let mut planned = std::mem::take(&mut self.planned);
        planned.steps.append(&mut self.trash);
        planned.steps.append(&mut self.make);
        planned.steps.append(&mut self.put);
        // Deepest first: a folder may lose its own permissions only when all below it is done.
        for (path, mode) in std::mem::take(&mut self.finish).into_iter().rev() {
            let mtime = self.time_of(&path)?.or_else(|| times.get(&path).copied());
            planned.steps.push(Step::Finish { path, mode, mtime });
        }
        Ok(planned)
    }

    /// The mtime that a folder is to have at the end.
    fn time_of(&self, relative: &Path) -> Result<Option<fs::Time>, SyncError> {
        let path = vfs_path(&self.workspace, relative)?;
        let own = match self.vfs.change(&path) {
            Some(Node::Dir { mtime, .. }) => *mtime,
            _ => None,
        };
        Ok(own.or_else(|| self.baseline.folder_times.get(&path).copied()))
    }
}
