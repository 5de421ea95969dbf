//! Upper layers to Vfs: what the tools left in the layers becomes changes of the Vfs, contents by reference.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use crate::sys::fs::{self, Kind, Stamp};
use crate::vfs::{Base, Lease, Node, Vfs, VfsPath, is_absent, open_parent};

use super::beginning::{Judge, Verdict};
use super::content::{is_same_as_base, node_of_file};
use super::error::{At as _, stop_if};
use super::layers::{Folder, Seen, Sight, Stack, child, strip};
use super::overlay::vfs_path;
use super::{Baseline, Beginning, CancelFn, Class, IndexBaseline, Layers, PullReport, Pulled, Rules, SyncError};

/// Brings what `layers` hold into `vfs`, whose base is the workspace; the cost is that of what changed. All that
/// `vfs` has changed before must lie in the layers as well: it gets the changes that they hold, and no others.
/// `lease` keeps the layers alive as long as the Vfs refers to them. Afterwards the layers lack the marks that an
/// overlay needs and their folders are opened up: they are not to be mounted or collected again.
///
/// The baseline says of each path whether the host has changed it since `beginning`, so that a commit finds the
/// conflicts that are there already and those that are still to come.
///
/// # Errors
/// [`SyncError`]; the changes of the Vfs are then incomplete and must not be committed.
pub fn collect(
    layers: &Layers,
    beginning: &Beginning,
    rules: &Rules,
    vfs: &mut Vfs,
    lease: Option<&Lease>,
    cancel: CancelFn,
) -> Result<Pulled, SyncError> {
    let Some(base) = vfs.base_folder().cloned() else {
        let why = io::Error::new(io::ErrorKind::InvalidInput, "the tree in memory has no folder below it");
        return Err(why).at("collect the changes of", "a view");
    };
    vfs.clear_changes();
    let stack = Stack::open(layers)?;
    let mut collector = Collector {
        judge: Judge::new(beginning, base.root()).at("list", &base.path)?,
        stack,
        base: &base,
        rules,
        vfs,
        lease,
        cancel,
        report: PullReport::default(),
        baseline: IndexBaseline {
            root: Some(beginning.root_id()),
            ..IndexBaseline::default()
        },
        tasks: Vec::new(),
    };
    collector.begin(beginning)?;
    while let Some(task) = collector.tasks.pop() {
        collector.folder(&task)?;
    }
    Ok(Pulled {
        report: collector.report,
        baseline: Baseline::Index(collector.baseline),
    })
}

/// A folder of the view that is still to be looked into.
struct Task {
    folder: Folder,
    real: Real,
}

/// What the workspace has where the view has a folder.
#[derive(Clone, Copy)]
enum Real {
    Folder(Stamp),
    /// No folder, and there was none.
    Nothing,
    /// No folder any more.
    Lost,
}

struct Collector<'a> {
    stack: Stack<'a>,
    judge: Judge<'a>,
    base: &'a Base,
    rules: &'a Rules,
    vfs: &'a mut Vfs,
    lease: Option<&'a Lease>,
    cancel: CancelFn<'a>,
    report: PullReport,
    baseline: IndexBaseline,
    tasks: Vec<Task>,
}

impl Collector<'_> {
    /// The workspace's folder itself. Its upper layer was made by devshell and looked like it then.
    fn begin(&mut self, beginning: &Beginning) -> Result<(), SyncError> {
        let Some((folder, seen)) = self.stack.root()? else {
            return Ok(());
        };
        let now = fs::stat_fd(self.base.root()).at("look at", &self.base.path)?.stamp;
        let (before, at) = (beginning.root(), self.base.mount.clone());
        if seen.mode() != before.mode() {
            self.baseline.known.insert(at.clone(), Some(*before));
            self.change(at.clone(), merged_node(&seen));
        }
        if seen.mtime() != before.mtime() {
            self.note_time(&at, &seen, &now);
        }
        self.tasks.push(Task {
            folder,
            real: Real::Folder(now),
        });
        Ok(())
    }

    fn folder(&mut self, task: &Task) -> Result<(), SyncError> {
        let path = &task.folder.path;
        let mut parent = None;
        if let Real::Folder(stamp) = task.real {
            match fs::open_beneath(self.base.root(), path) {
                Ok(fd) => parent = Some((fd, stamp)),
                // It went this moment; the commit will see it.
                Err(error) if is_absent(&error) => {}
                Err(error) => return Err(self.unreadable(path, error)),
            }
        }
        let parent = parent.as_ref().map(|(fd, stamp)| (fd, stamp));
        let mut named: HashSet<OsString> = HashSet::new();
        for seen in self.stack.entries(&task.folder, self.cancel)? {
            let name = seen.path.file_name().unwrap_or_default();
            let real = match parent {
                Some((fd, _)) => child(fd, name).map_err(|error| self.unreadable(&seen.path, error))?,
                None => None,
            };
            if !task.folder.through {
                named.insert(name.to_owned());
            }
            self.entry(task, parent.map(|(_, stamp)| stamp), real, seen)?;
        }
        if let Some((fd, _)) = parent.filter(|_| !task.folder.through) {
            // A new folder in the place of the workspace's: what it does not hold is deleted.
            for name in fs::names(fd).map_err(|error| self.unreadable(path, error))? {
                if !named.contains(&name) {
                    let below = path.join(&name);
                    if let Some(real) = child(fd, &name).map_err(|error| self.unreadable(&below, error))? {
                        self.gone(&below, &real)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn entry(&mut self, task: &Task, parent: Option<&Stamp>, real: Option<Stamp>, seen: Seen) -> Result<(), SyncError> {
        let path = seen.path;
        match seen.sight {
            Sight::Nothing => {
                if let Some(real) = real {
                    self.gone(&path, &real)?;
                } else if matches!(task.real, Real::Lost) && self.carries(&path, true) && self.carries(&path, false) {
                    // It may lie where the host has moved the folder.
                    self.vfs.insert(self.at(&path)?, Node::Deleted);
                }
            }
            Sight::Leaf { layer, stamp } => {
                if !self.carries(&path, false) {
                    return Ok(());
                }
                if stamp.kind() == Kind::Special {
                    self.report.specials.push(path.clone());
                    // Another mode or time of the same FIFO is not carried, nor is the FIFO deleted.
                    if let Some(real) = real.filter(|real| !real.same_type(&stamp)) {
                        self.gone(&path, &real)?;
                    }
                    return Ok(());
                }
                let lost = match (&real, parent) {
                    (None, Some(parent)) if task.folder.through => match self.judge.is_lost(&path, parent) {
                        Some(lost) => lost,
                        None => self.stack.is_copied_up(&path, seen.lowest)?,
                    },
                    _ => false,
                };
                self.leaf(&path, layer, &stamp, real.as_ref(), lost)?;
            }
            Sight::Folder { stamp, folder } => {
                if self.carries(&path, true) {
                    self.subfolder(task, parent, real, (&stamp, seen.lowest), folder)?;
                }
            }
        }
        Ok(())
    }

    fn leaf(
        &mut self,
        path: &Path,
        layer: usize,
        now: &Stamp,
        real: Option<&Stamp>,
        lost: bool,
    ) -> Result<(), SyncError> {
        let at = self.at(path)?;
        let full = self.stack.full(layer, path);
        let (dir, name) = open_parent(self.stack.root_of(layer), path).at("open the folder of", &full)?;
        let node = if now.kind() == Kind::Symlink {
            let target = fs::read_link_at(&dir, name).at("read the link", &full)?;
            if real.is_some_and(|real| real.kind() == Kind::Symlink) && self.base_link(path)? == Some(target.clone()) {
                return Ok(());
            }
            Node::Symlink {
                target,
                mtime: Some(now.mtime()),
            }
        } else {
            let file = fs::open_file_forced(&dir, name).at("open", &full)?;
            let alike = |real: &&Stamp| {
                (real.kind(), real.mode(), real.size, real.mtime()) == (Kind::File, now.mode(), now.size, now.mtime())
            };
            if real.filter(alike).is_some()
                && is_same_as_base(self.base, path, &file, self.cancel).at("compare", &full)?
            {
                return Ok(());
            }
            strip(&file).at("take the overlay's marks off", &full)?;
            self.report.bytes += now.size;
            node_of_file(full, now, self.lease)
        };
        let known = match real {
            Some(real) if self.carries(path, real.kind() == Kind::Dir) => self.known(path, real),
            Some(_) => None,
            None => lost.then(Stamp::none),
        };
        self.baseline.known.insert(at.clone(), known);
        self.change(at, node);
        match real {
            Some(real) if real.kind() == Kind::Dir && self.carries(path, true) => self.below(path),
            _ => Ok(()),
        }
    }

    fn subfolder(
        &mut self,
        task: &Task,
        parent: Option<&Stamp>,
        real: Option<Stamp>,
        (now, lowest): (&Stamp, (usize, Kind)),
        folder: Folder,
    ) -> Result<(), SyncError> {
        let at = self.at(&folder.path)?;
        let real = match (real, parent) {
            (Some(real), Some(parent)) if real.kind() == Kind::Dir => {
                let verdict = if folder.through {
                    self.judge.folder_on_the_way(&folder.path, &real, parent)
                } else {
                    self.judge.entry(&folder.path, &real)
                };
                let is_same = verdict == Verdict::Same;
                let ino = if is_same {
                    real.ino
                } else {
                    IndexBaseline::ANOTHER_FOLDER
                };
                self.baseline.folders.insert(at.clone(), ino);
                if now.mode() != real.mode() {
                    // Which side has changed the mode shows only where one of them did nothing.
                    let is_known = is_same && !self.judge.is_touched(&real);
                    let known = if is_known { real } else { Stamp::none() };
                    self.baseline.known.insert(at.clone(), Some(known));
                    self.change(at.clone(), merged_node(now));
                }
                if now.mtime() != real.mtime() {
                    self.note_time(&at, now, &real);
                }
                Real::Folder(real)
            }
            (_, _)
                if folder.through
                    && !matches!(task.real, Real::Nothing)
                    && self.stack.is_copied_up(&folder.path, lowest)? =>
            {
                self.baseline.folders.insert(at, IndexBaseline::ANOTHER_FOLDER);
                Real::Lost
            }
            (real, _) => {
                let known = real.and_then(|real| self.known(&folder.path, &real));
                self.baseline.known.insert(at.clone(), known);
                let node = Node::Dir {
                    mode: now.mode(),
                    mtime: Some(now.mtime()),
                    replaces: true,
                };
                self.change(at, node);
                Real::Nothing
            }
        };
        self.tasks.push(Task { folder, real });
        Ok(())
    }

    /// An entry of the workspace that the view does not have.
    fn gone(&mut self, path: &Path, real: &Stamp) -> Result<(), SyncError> {
        if !self.carries(path, real.kind() == Kind::Dir) {
            return Ok(());
        }
        let at = self.at(path)?;
        self.baseline.known.insert(at.clone(), self.known(path, real));
        self.vfs.insert(at, Node::Deleted);
        self.report.deleted += 1;
        if real.kind() == Kind::Dir {
            self.below(path)
        } else {
            Ok(())
        }
    }

    /// What a folder of the workspace holds that the view does not have. The cost grows with that.
    fn below(&mut self, path: &Path) -> Result<(), SyncError> {
        let mut folders = vec![path.to_owned()];
        while let Some(folder) = folders.pop() {
            stop_if(self.cancel)?;
            let listed = fs::open_beneath(self.base.root(), &folder).and_then(|fd| Ok((fs::names(&fd)?, fd)));
            let (names, fd) = match listed {
                Ok(listed) => listed,
                Err(error) if is_absent(&error) => continue,
                Err(error) => return Err(self.unreadable(&folder, error)),
            };
            for name in names {
                let path = folder.join(&name);
                let Some(real) = child(&fd, &name).map_err(|error| self.unreadable(&path, error))? else {
                    continue;
                };
                if !self.carries(&path, real.kind() == Kind::Dir) {
                    continue;
                }
                let at = self.at(&path)?;
                self.baseline.known.insert(at.clone(), self.known(&path, &real));
                self.vfs.insert(at, Node::Deleted);
                self.report.deleted += 1;
                if real.kind() == Kind::Dir {
                    folders.push(path);
                }
            }
        }
        Ok(())
    }

    fn change(&mut self, at: VfsPath, node: Node) {
        self.vfs.insert(at, node);
        self.report.files += 1;
    }

    /// What the commit is to expect at the place of an entry that stands there now.
    fn known(&self, path: &Path, real: &Stamp) -> Option<Stamp> {
        match self.judge.entry(path, real) {
            Verdict::Same => Some(*real),
            Verdict::Changed => Some(Stamp::none()),
            Verdict::Appeared => None,
        }
    }

    /// The mtime that a tool has given to a folder of the workspace, unless the host's is a later one.
    fn note_time(&mut self, at: &VfsPath, seen: &Stamp, real: &Stamp) {
        if !self.judge.is_touched(real) || seen.mtime() > real.mtime() {
            self.baseline.folder_times.insert(at.clone(), seen.mtime());
        }
    }

    fn base_link(&self, path: &Path) -> Result<Option<PathBuf>, SyncError> {
        match open_parent(self.base.root(), path)
            .and_then(|(dir, name): (OwnedFd, &OsStr)| fs::read_link_at(&dir, name))
        {
            Ok(target) => Ok(Some(target)),
            // Gone, or no link any more: EINVAL.
            Err(error) if is_absent(&error) || fs::is_unsupported(&error) => Ok(None),
            Err(error) => Err(error).at("read the link", self.base.path.join(path)),
        }
    }

    fn carries(&self, path: &Path, is_dir: bool) -> bool {
        self.rules.classify_entry(path, is_dir) == Class::Carry
    }

    fn at(&self, path: &Path) -> Result<VfsPath, SyncError> {
        vfs_path(&self.base.mount, path)
    }

    fn unreadable(&self, path: &Path, source: io::Error) -> SyncError {
        let path = self.base.path.join(path);
        if source.kind() == io::ErrorKind::PermissionDenied {
            return SyncError::Unreadable { path, source };
        }
        SyncError::Io {
            action: "read",
            path,
            source,
        }
    }
}

/// A folder of the workspace with another mode.
fn merged_node(seen: &Stamp) -> Node {
    Node::Dir {
        mode: seen.mode(),
        mtime: None,
        replaces: false,
    }
}
