//! Staging to Vfs: what the tools changed becomes changes of the Vfs, contents by reference.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use crate::sys::fs::{self, Kind, Stamp};
use crate::vfs::{Content, Lease, Node, Vfs, VfsPath, open_content, open_parent};

use super::content::{holds_bytes, is_same_as_base, node_of_file, same_bytes};
use super::error::{At as _, stop_if};
use super::index::Entry;
use super::overlay::vfs_path;
use super::progress::Pace;
use super::table::{PathTable, earlier};
use super::walk::{Met, Walk};
use super::{Baseline, CancelFn, IndexBaseline, Progress, ProgressFn, Pushed, Rules, SyncError};

/// What a pull brought.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PullReport {
    /// Files, links and folders that are new or changed.
    pub files: u64,
    /// Bytes of these files.
    pub bytes: u64,
    /// Entries deleted, each file and folder counted.
    pub deleted: u64,
    /// FIFOs, sockets and devices that were not carried, relative to the workspace.
    pub specials: Vec<PathBuf>,
}

/// What a pull gives: the changes themselves are in the Vfs.
#[derive(Debug)]
pub struct Pulled {
    /// What was brought.
    pub report: PullReport,
    /// What the workspace had at the changed paths when the run began.
    pub baseline: Baseline,
}

/// What was found at one path of the staging.
#[derive(Debug, PartialEq, Eq)]
enum Difference {
    /// New, or other than what was staged.
    Changed {
        path: PathBuf,
        now: Stamp,
        before: Option<Entry>,
    },
    /// Staged, and not there any more.
    Gone { path: PathBuf, before: Entry },
    /// A folder whose own entries changed.
    Stirred { path: PathBuf, now: Stamp },
    /// Not to be carried.
    Special { path: PathBuf },
}

/// Brings what differs from `pushed` into the changes of `vfs`. A file or link whose bytes, mode
/// and target are those that the Vfs has already is no change. `lease` keeps the staging alive as
/// long as the Vfs refers to it.
///
/// # Errors
/// [`SyncError`]; the changes of the Vfs are then incomplete and must not be committed.
pub fn pull(
    pushed: &Pushed,
    rules: &Rules,
    vfs: &mut Vfs,
    lease: Option<&Lease>,
    cancel: CancelFn,
) -> Result<Pulled, SyncError> {
    pull_telling(pushed, rules, vfs, lease, cancel, &mut |_| ())
}

/// As [`pull`]; `progress` is told how far the comparing is.
///
/// # Errors
/// As [`pull`].
pub fn pull_telling(
    pushed: &Pushed,
    rules: &Rules,
    vfs: &mut Vfs,
    lease: Option<&Lease>,
    cancel: CancelFn,
    progress: ProgressFn,
) -> Result<Pulled, SyncError> {
    // An empty tree would be taken for what the tools have left.
    if fs::stat_fd(&pushed.root).at("look at", &pushed.staging)?.nlink == 0 {
        let gone = io::Error::new(io::ErrorKind::NotFound, "the folder itself was removed meanwhile");
        return Err(gone).at("bring back", &pushed.staging);
    }
    let staged = Walk {
        root: &pushed.root,
        path: &pushed.staging,
        rules,
        own: true,
        list_ignored: false,
        cancel,
    }
    .run()?;
    let differences = compare_with(pushed, &staged);
    drop(staged);
    let mut puller = Puller {
        pushed,
        vfs,
        lease,
        cancel,
        report: PullReport::default(),
        baseline: IndexBaseline {
            known: pushed.hidden.clone(),
            root: pushed.base_root,
            ..IndexBaseline::default()
        },
    };
    let files_total = differences.len() as u64;
    let mut pace = Pace::new();
    for (files, difference) in (0..).zip(differences) {
        stop_if(cancel)?;
        if pace.is_due() {
            progress(Progress {
                files,
                files_total,
                bytes: puller.report.bytes,
            });
        }
        puller.take(difference)?;
    }
    puller.note_folders()?;
    Ok(Pulled {
        report: puller.report,
        baseline: Baseline::Index(puller.baseline),
    })
}

fn compare_with(pushed: &Pushed, staged: &PathTable<Met>) -> Vec<Difference> {
    let mut differences = Vec::new();
    let mut now = staged.cursor();
    let mut before = pushed.index.entries.cursor();
    while let Some(order) = earlier(&now, &before) {
        if order == Ordering::Greater {
            if let Some((_, entry)) = before.current() {
                differences.push(Difference::Gone {
                    path: before.path().to_owned(),
                    before: *entry,
                });
            }
            before.advance();
            continue;
        }
        let Some((_, met)) = now.current() else { break };
        let stamp = met.stamp;
        let entry = before
            .current()
            .filter(|_| order == Ordering::Equal)
            .map(|(_, entry)| *entry);
        let path = || now.path().to_owned();
        if stamp.kind() == Kind::Special {
            differences.push(Difference::Special { path: path() });
            if let Some(before) = entry {
                differences.push(Difference::Gone { path: path(), before });
            }
        } else if !entry.is_some_and(|entry| entry.has_staged(&stamp)) {
            differences.push(Difference::Changed {
                path: path(),
                now: stamp,
                before: entry,
            });
        }
        if stamp.kind() == Kind::Dir && entry.is_some_and(|entry| entry.source.mtime() != stamp.mtime()) {
            differences.push(Difference::Stirred {
                path: path(),
                now: stamp,
            });
        }
        now.advance();
        if entry.is_some() {
            before.advance();
        }
    }
    differences
}

struct Puller<'a> {
    pushed: &'a Pushed,
    vfs: &'a mut Vfs,
    lease: Option<&'a Lease>,
    cancel: CancelFn<'a>,
    report: PullReport,
    baseline: IndexBaseline,
}

impl Puller<'_> {
    fn take(&mut self, difference: Difference) -> Result<(), SyncError> {
        match difference {
            Difference::Special { path } => self.report.specials.push(path),
            Difference::Stirred { path, now } => {
                let at = vfs_path(&self.pushed.workspace, &path)?;
                self.baseline.folder_times.insert(at, now.mtime());
            }
            Difference::Gone { path, before } => {
                let at = vfs_path(&self.pushed.workspace, &path)?;
                self.remember(&at, Some(&before));
                self.vfs.forget(&at);
                // Only what the base has needs a deletion to hide it.
                if self.baseline.known.get(&at).is_some_and(Option::is_some) {
                    self.vfs.insert(at, Node::Deleted);
                }
                self.report.deleted += 1;
            }
            Difference::Changed { path, now, before } => self.changed(&path, &now, before.as_ref())?,
        }
        Ok(())
    }

    fn changed(&mut self, path: &Path, now: &Stamp, before: Option<&Entry>) -> Result<(), SyncError> {
        let at = vfs_path(&self.pushed.workspace, path)?;
        let full = self.pushed.staging.join(path);
        let node = match now.kind() {
            Kind::Special => return Ok(()),
            Kind::Dir => {
                let was_dir = before.is_some_and(|entry| entry.source.kind() == Kind::Dir);
                let replaces = match self.vfs.change(&at) {
                    Some(Node::Dir { replaces, .. }) if was_dir => *replaces,
                    _ => !was_dir,
                };
                Node::Dir {
                    mode: now.mode(),
                    mtime: replaces.then(|| now.mtime()),
                    replaces,
                }
            }
            Kind::Symlink => {
                let target = open_parent(&self.pushed.root, path)
                    .and_then(|(dir, name)| fs::read_link_at(&dir, name))
                    .at("read the link", &full)?;
                if self.vfs.read_link(&at).is_ok_and(|before| before == target) {
                    return Ok(());
                }
                Node::Symlink {
                    target,
                    mtime: Some(now.mtime()),
                }
            }
            Kind::File => {
                if self.is_the_base_again(&at, path, now)? {
                    self.vfs.forget(&at);
                    return Ok(());
                }
                if self.is_the_same_file(&at, path, now)? {
                    return Ok(());
                }
                self.report.bytes += now.size;
                node_of_file(full, now, self.lease)
            }
        };
        self.remember(&at, before);
        self.report.files += 1;
        self.vfs.insert(at, node);
        Ok(())
    }

    /// Notes which folders the changed paths lie in.
    fn note_folders(&mut self) -> Result<(), SyncError> {
        let mut wanted: HashSet<PathBuf> = HashSet::new();
        for (path, _) in self.vfs.changes() {
            let relative = path.strip_prefix(&self.pushed.workspace).unwrap_or(Path::new(""));
            for folder in relative.ancestors().skip(1) {
                if folder.as_os_str().is_empty() || !wanted.insert(folder.to_owned()) {
                    break;
                }
            }
        }
        if wanted.is_empty() || self.vfs.base_folder().is_none() {
            return Ok(());
        }
        let mut before = self.pushed.index.entries.cursor();
        while let Some((_, entry)) = before.current() {
            if entry.source.kind() == Kind::Dir && wanted.contains(before.path()) {
                let at = vfs_path(&self.pushed.workspace, before.path())?;
                // What was a change before the push has the staging's inode in the index.
                if !self.pushed.hidden.contains_key(&at) {
                    self.baseline.folders.insert(at, entry.source.ino);
                }
            }
            before.advance();
        }
        Ok(())
    }

    fn remember(&mut self, at: &VfsPath, before: Option<&Entry>) {
        // A path that was a change before the push has its base recorded already.
        if !self.baseline.known.contains_key(at) {
            self.baseline.known.insert(at.clone(), before.map(|entry| entry.source));
        }
    }

    /// Whether a path that was a change has come to be what the base has.
    fn is_the_base_again(&self, at: &VfsPath, path: &Path, now: &Stamp) -> Result<bool, SyncError> {
        let shows = at.parent().is_some_and(|parent| self.vfs.base_shows_through(&parent));
        let Some(base) = self
            .vfs
            .base_folder()
            .filter(|_| shows && self.vfs.change(at).is_some())
        else {
            return Ok(false);
        };
        let like_base = base.stat(at)?.is_some_and(|stat| {
            let stamp = stat.stamp;
            (stamp.kind(), stamp.mode(), stamp.size, stamp.mtime()) == (Kind::File, now.mode(), now.size, now.mtime())
        });
        if !like_base {
            return Ok(false);
        }
        let full = self.pushed.staging.join(path);
        open_parent(&self.pushed.root, path)
            .and_then(|(dir, name)| fs::open_file_forced(&dir, name))
            .and_then(|staged| self.same_as_base(at, &staged))
            .at("compare", full)
    }

    /// Whether the Vfs has a file there with the same mode and bytes. Its content is read only
    /// when the sizes are equal.
    fn is_the_same_file(&self, at: &VfsPath, path: &Path, now: &Stamp) -> Result<bool, SyncError> {
        let Ok(meta) = self.vfs.metadata(at) else {
            return Ok(false);
        };
        // The same bytes with a new time are a change: make and its kin live by it, and would run
        // a recipe such as `touch stamp` for ever if the time did not come back.
        if (meta.kind, meta.mode, meta.len) != (Kind::File, now.mode(), now.size)
            || meta.mtime.is_some_and(|mtime| mtime != now.mtime())
        {
            return Ok(false);
        }
        let full = self.pushed.staging.join(path);
        let staged = open_parent(&self.pushed.root, path)
            .and_then(|(dir, name)| fs::open_file_forced(&dir, name))
            .at("open", &full)?;
        let same = match self.vfs.change(at) {
            Some(Node::File(file)) => match &file.content {
                Content::Bytes(bytes) => holds_bytes(&staged, bytes),
                // The change refers to the staged file itself, whatever it holds by now.
                Content::File { path, .. } if *path == full => return Ok(false),
                Content::File { path, .. } => {
                    open_content(path).and_then(|file| same_bytes(&staged, &file, self.cancel))
                }
            },
            _ => self.same_as_base(at, &staged),
        };
        same.at("compare", full)
    }

    fn same_as_base(&self, at: &VfsPath, staged: &OwnedFd) -> io::Result<bool> {
        let Some(base) = self.vfs.base_folder() else {
            return Ok(false);
        };
        let relative = at.strip_prefix(&base.mount).unwrap_or(Path::new(""));
        is_same_as_base(base, relative, staged, self.cancel)
    }
}
