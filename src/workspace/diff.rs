//! What is to be done to make a staging equal to its source. Pure.

use std::cmp::Ordering;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::sys::fs::{self, Kind, Stamp, Time};
use crate::vfs::{Content, Node};

use super::Index;
use super::index::Entry;
use super::overlay::Source;
use super::table::{PathTable, compare, earlier};
use super::walk::Met;

/// What is to be done, folder by folder.
#[derive(Debug, Default)]
pub(crate) struct StagePlan {
    /// Folders with something to do, each before those below it.
    pub(crate) folders: Vec<FolderTask>,
    /// By row of the source: entries that stay as they are. Empty when the old index holds as it is.
    pub(crate) kept: Vec<Option<Entry>>,
}

/// What is to be done in one folder.
#[derive(Debug)]
pub(crate) struct FolderTask {
    /// Relative to the root.
    pub(crate) path: PathBuf,
    /// Its row in the source.
    pub(crate) row: usize,
    /// Whether the folder itself is to be made.
    pub(crate) make: bool,
    /// Entries to be removed, with all that is below them.
    pub(crate) remove: Vec<OsString>,
    /// Files and links to be put in, by row.
    pub(crate) fill: Vec<usize>,
    /// Files and links whose content is right, and mode or time are not, by row.
    pub(crate) dress: Vec<usize>,
    /// Whether mode, owner and mtime are to be set at the end.
    pub(crate) finish: bool,
}

impl FolderTask {
    fn is_idle(&self) -> bool {
        !self.make && !self.finish && self.remove.is_empty() && self.fill.is_empty() && self.dress.is_empty()
    }
}

/// Tasks as they come about while two tables are gone through.
#[derive(Debug, Default)]
pub(crate) struct FolderStack {
    /// The folders on the way to the current row, by depth.
    open: Vec<FolderTask>,
    done: Vec<FolderTask>,
}

impl FolderStack {
    /// Leaves the folders that lie `depth` deep or deeper.
    pub(crate) fn close_to(&mut self, depth: usize) {
        for folder in self.open.drain(depth.min(self.open.len())..) {
            if !folder.is_idle() {
                self.done.push(folder);
            }
        }
    }

    pub(crate) fn enter(&mut self, row: usize, path: &Path, make: bool, finish: bool) {
        self.open.push(FolderTask {
            path: path.to_owned(),
            row,
            make,
            remove: Vec::new(),
            fill: Vec::new(),
            dress: Vec::new(),
            finish: finish || make,
        });
    }

    /// An entry that has no place.
    pub(crate) fn surplus(&mut self, path: &Path) {
        self.close_to(path.iter().count());
        if let (Some(folder), Some(name)) = (self.open.last_mut(), path.file_name()) {
            folder.remove.push(name.to_owned());
            folder.finish = true;
        }
    }

    /// The folder that holds the current row.
    pub(crate) fn parent(&mut self) -> Option<&mut FolderTask> {
        self.open.last_mut()
    }

    fn is_idle(&self) -> bool {
        self.done.is_empty()
    }

    /// All tasks, each folder before those below it.
    pub(crate) fn finish(mut self) -> Vec<FolderTask> {
        self.close_to(0);
        self.done.sort_unstable_by_key(|folder| folder.row);
        self.done
    }
}

impl StagePlan {
    /// Whether the staging and its index are right already.
    pub(crate) fn is_empty(&self) -> bool {
        self.folders.is_empty() && self.kept.is_empty()
    }
}

/// What an entry should look like when it is staged.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    pub(crate) kind: Kind,
    pub(crate) mode: Option<u32>,
    pub(crate) mtime: Option<Time>,
    pub(crate) owner: Option<(u32, u32)>,
}

impl Source<'_> {
    /// How many bytes the file of a row holds; 0 for anything else.
    pub(crate) fn bytes(&self, row: usize) -> u64 {
        match (self.base(row), self.nodes.get(&row)) {
            (Some(stamp), _) if stamp.kind() == Kind::File => stamp.size,
            (None, Some(Node::File(file))) => file.content.len(),
            _ => 0,
        }
    }

    /// What the entry of a row should look like.
    pub(crate) fn wanted(&self, row: usize) -> Wanted {
        if let Some(stamp) = self.base(row) {
            return Wanted {
                kind: stamp.kind(),
                mode: Some(stamp.mode()),
                mtime: Some(stamp.mtime()),
                owner: Some((stamp.uid, stamp.gid)),
            };
        }
        let (kind, mode, mtime, owner) = match self.nodes.get(&row) {
            Some(Node::File(file)) => (Kind::File, Some(file.mode), file.mtime, file.owner),
            Some(Node::Symlink { mtime, .. }) => (Kind::Symlink, None, *mtime, None),
            Some(Node::Dir { mode, mtime, .. }) => (Kind::Dir, Some(*mode), *mtime, None),
            // The root of a tree without a base.
            Some(Node::Deleted) | None => (Kind::Dir, None, None, None),
        };
        Wanted {
            kind,
            mode,
            mtime,
            owner,
        }
    }
}

/// Compares source, staging and index.
pub(crate) fn plan_stage(source: &Source, staged: &PathTable<Met>, index: &Index, staging: &Path) -> StagePlan {
    let mut planner = Planner {
        source,
        staging,
        root_caller: fs::caller().0 == 0,
        folders: FolderStack::default(),
        kept: Vec::new(),
        index,
        stays: true,
        specials: Vec::new(),
    };
    let mut wanted = source.rows.cursor();
    let mut there = staged.cursor();
    let mut known = index.entries.cursor();
    while let Some(order) = earlier(&wanted, &there) {
        if order == Ordering::Greater {
            planner.folders.surplus(there.path());
            there.skip_subtree();
            continue;
        }
        let Some((row, _)) = wanted.current() else { break };
        let path = wanted.path();
        if source.wanted(row).kind == Kind::Special {
            // As if it were not there: what the staging has in its place goes.
            if order == Ordering::Equal {
                planner.folders.surplus(path);
                there.skip_subtree();
            }
            planner.leave_out(row);
            wanted.advance();
            continue;
        }
        while known.current().is_some() && compare(known.path(), path).is_lt() {
            known.advance();
        }
        let entry = known.current().filter(|_| known.path() == path).map(|(_, entry)| entry);
        if known.row() != planner.index_row(row) || entry.is_none() {
            planner.index_changes(row);
        }
        let met = there.current().filter(|_| order == Ordering::Equal).map(|(_, met)| met);
        let same_kind = met.is_some_and(|met| !met.ignored && met.stamp.kind() == source.wanted(row).kind);
        match met {
            Some(met) if same_kind => planner.both(row, path, &met.stamp, entry),
            Some(_) => {
                planner.folders.surplus(path);
                planner.missing(row, path);
            }
            None => planner.missing(row, path),
        }
        if met.is_some() {
            if same_kind {
                there.advance();
            } else {
                there.skip_subtree();
            }
        }
        wanted.advance();
    }
    planner.folders.close_to(0);
    if !planner.folders.is_idle() || planner.index_row(source.rows.len()) != index.len() {
        planner.index_changes(source.rows.len());
    }
    StagePlan {
        folders: planner.folders.finish(),
        kept: planner.kept,
    }
}

struct Planner<'a> {
    source: &'a Source<'a>,
    staging: &'a Path,
    root_caller: bool,
    folders: FolderStack,
    kept: Vec<Option<Entry>>,
    index: &'a Index,
    /// Whether the old index has been right so far, row by row; then `kept` is empty.
    stays: bool,
    /// The rows so far that are not carried, and so have none in the index; noted as long as it stays.
    specials: Vec<usize>,
}

impl Planner<'_> {
    /// Notes what the new index has at a row. Rows come in order.
    fn keep(&mut self, row: usize, entry: Option<Entry>) {
        let at = self.index_row(row);
        if self.stays && entry.is_some_and(|entry| at < self.index.len() && *self.index.entries.value(at) == entry) {
            return;
        }
        self.index_changes(row);
        self.kept.push(entry);
    }

    /// Notes a row that is not carried.
    fn leave_out(&mut self, row: usize) {
        if self.stays {
            self.specials.push(row);
        } else {
            self.kept.push(None);
        }
    }

    /// The row of the index that stands for a row of the source, as long as it stays.
    fn index_row(&self, row: usize) -> usize {
        row - self.specials.len()
    }

    /// The old index holds for the rows before this one only.
    fn index_changes(&mut self, row: usize) {
        if !self.stays {
            return;
        }
        self.stays = false;
        self.kept.reserve_exact(self.source.rows.len());
        let mut specials = std::mem::take(&mut self.specials).into_iter().peekable();
        let mut at = 0;
        for row in 0..row {
            if specials.next_if_eq(&row).is_some() {
                self.kept.push(None);
            } else {
                self.kept.push(Some(*self.index.entries.value(at)));
                at += 1;
            }
        }
    }

    /// In the source, not in the staging.
    fn missing(&mut self, row: usize, path: &Path) {
        self.folders.close_to(self.source.rows.depth(row));
        if let Some(parent) = self.folders.parent() {
            parent.finish = true;
        }
        self.keep(row, None);
        match self.source.wanted(row).kind {
            Kind::Dir => self.folders.enter(row, path, true, true),
            Kind::Special => {}
            Kind::File | Kind::Symlink => self.fill(row),
        }
    }

    /// In both, and of the same kind.
    fn both(&mut self, row: usize, path: &Path, staged: &Stamp, entry: Option<&Entry>) {
        self.folders.close_to(self.source.rows.depth(row));
        let base = self.source.base(row);
        if staged.kind() == Kind::Dir {
            let wanted = self.source.wanted(row);
            let other_owner = self.root_caller && wanted.owner.is_some_and(|owner| owner != (staged.uid, staged.gid));
            // The walk has opened up what could not be read.
            let closed = staged.mode() & 0o500 != 0o500;
            let finish = closed
                || other_owner
                || wanted.mode.is_some_and(|mode| mode != staged.mode())
                || wanted.mtime.is_some_and(|mtime| mtime != staged.mtime());
            let fresh = Entry::new(*base.unwrap_or(staged), staged, true);
            // A folder's own ctime tells nothing: the old entry may stay.
            let same = entry.filter(|entry| {
                entry.source.ino == fresh.source.ino
                    && entry.source.same_folder(&fresh.source)
                    && entry.staged_mode == fresh.staged_mode
            });
            self.keep(row, Some(same.copied().unwrap_or(fresh)));
            self.folders.enter(row, path, false, finish);
            return;
        }
        let kept = match (base, entry) {
            (Some(base), Some(entry)) if entry.has_source(base) && entry.has_staged(staged) => Some(*entry),
            (None, _) if self.lies_there(row, path) => Some(Entry::new(*staged, staged, false)),
            _ => None,
        };
        if kept.is_none() {
            self.fill(row);
        }
        self.keep(row, kept);
    }

    fn fill(&mut self, row: usize) {
        if let Some(parent) = self.folders.parent() {
            parent.fill.push(row);
            parent.finish = true;
        }
    }

    /// Whether the content of a change is the staged file itself.
    fn lies_there(&self, row: usize, path: &Path) -> bool {
        match self.source.nodes.get(&row) {
            Some(Node::File(file)) => {
                matches!(&file.content, Content::File { path: at, .. } if *at == self.staging.join(path))
            }
            _ => false,
        }
    }
}
