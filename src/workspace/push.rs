//! Vfs to staging: the staging becomes equal to the workspace, and only what differs is copied.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::sys::fs::{self, Stamp, Time};
use crate::vfs::{Vfs, VfsPath};

use super::diff::plan_stage;
use super::error::{At as _, stop_if};
use super::overlay::{Source, lay_over};
use super::progress::Counter;
use super::stage::Stage;
use super::table::PathTable;
use super::walk::Walk;
use super::{CancelFn, Index, ProgressFn, RootId, Rules, SyncError};

/// What a push did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PushReport {
    /// Files and links copied.
    pub files: u64,
    /// Bytes of these files.
    pub bytes: u64,
    /// Entries deleted from the staging; a folder with its content counts as one.
    pub deleted: u64,
    /// FIFOs, sockets and devices that were not carried, relative to the workspace.
    pub specials: Vec<PathBuf>,
}

/// A staging that is equal to the workspace: what [`super::pull`] compares with.
#[derive(Debug)]
pub struct Pushed {
    /// What was done.
    pub report: PushReport,
    pub(crate) index: Index,
    /// The staging's canonical path.
    pub(crate) staging: PathBuf,
    pub(crate) root: OwnedFd,
    /// The folder of the Vfs that the staging stands for.
    pub(crate) workspace: VfsPath,
    /// What the base has where the Vfs had changes already.
    pub(crate) hidden: BTreeMap<VfsPath, Option<Stamp>>,
    /// The base's own folder.
    pub(crate) base_root: Option<RootId>,
}

impl Pushed {
    /// The staging's canonical path.
    #[must_use]
    pub fn staging(&self) -> &Path {
        &self.staging
    }

    /// Its folder once more.
    pub(crate) fn dir(&self) -> Result<StagingDir, SyncError> {
        Ok(StagingDir {
            path: self.staging.clone(),
            root: self.root.try_clone().at("open", &self.staging)?,
        })
    }

    /// The folder of the Vfs that the staging stands for.
    #[must_use]
    pub fn workspace(&self) -> &VfsPath {
        &self.workspace
    }
}

/// Makes `staging` equal to the workspace of `vfs`, its base with its changes. What was staged
/// before and has changed on neither side since, as `index_file` tells, is not read. Ignored
/// entries are not carried and removed from the staging; cache folders there are left alone.
///
/// # Errors
/// [`SyncError`]; the staging is then in between, and the next push mends it.
pub fn push(
    vfs: &Vfs,
    staging: &Path,
    index_file: &Path,
    rules: &Rules,
    cancel: CancelFn,
) -> Result<Pushed, SyncError> {
    carry(vfs, StagingDir::open(staging)?, index_file, rules, cancel, None)
}

/// As [`push`]; `progress` is told how far the copying is.
///
/// # Errors
/// As [`push`].
pub fn push_telling(
    vfs: &Vfs,
    staging: &Path,
    index_file: &Path,
    rules: &Rules,
    cancel: CancelFn,
    progress: ProgressFn,
) -> Result<Pushed, SyncError> {
    carry(
        vfs,
        StagingDir::open(staging)?,
        index_file,
        rules,
        cancel,
        Some(progress),
    )
}

/// The folder of a staging.
#[derive(Debug)]
pub(crate) struct StagingDir {
    /// Without a link.
    pub(crate) path: PathBuf,
    pub(crate) root: OwnedFd,
}

impl StagingDir {
    /// The one that the caller names, however; it is made where it is missing.
    fn open(path: &Path) -> Result<Self, SyncError> {
        fs::make_private_dirs(path).at("make the staging folder", path)?;
        let path = path.canonicalize().at("find the staging folder", path)?;
        let root = || match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) => fs::own_dirs_beneath(fs::open_dir(parent)?, Path::new(name)),
            _ => fs::open_dir(&path),
        };
        let root = root().at("open", &path)?;
        Ok(Self { path, root })
    }

    /// The folder `relative` below `place`, where tools that must not lead devshell elsewhere may write: no link below
    /// `place` is followed.
    pub(crate) fn beneath(place: &Path, relative: &Path) -> Result<Self, SyncError> {
        fs::make_private_dirs(place).at("make the folder", place)?;
        let place = place.canonicalize().at("find the folder", place)?;
        let path = place.join(relative);
        let root = fs::open_dir(&place).and_then(|place| fs::own_dirs_beneath(place, relative));
        let root = root.at("open the staging folder", &path)?;
        Ok(Self { path, root })
    }
}

/// As [`push_telling`], into a folder that is open.
///
/// # Errors
/// As [`push`].
pub(crate) fn carry(
    vfs: &Vfs,
    staging: StagingDir,
    index_file: &Path,
    rules: &Rules,
    cancel: CancelFn,
    progress: Option<ProgressFn>,
) -> Result<Pushed, SyncError> {
    let StagingDir { path: staging, root } = staging;
    if let Some((_, workspace)) = vfs.base()
        && (staging.starts_with(workspace) || workspace.starts_with(&staging))
    {
        return Err(SyncError::Overlap {
            staging,
            workspace: workspace.to_owned(),
        });
    }
    // A tool may have closed it.
    fs::make_open(&root).at("open", &staging)?;
    let base_root = match vfs.base_folder() {
        Some(base) => Some(RootId::of(&fs::stat_fd(base.root()).at("look at", &base.path)?)),
        None => None,
    };
    Index::clear_unfinished(index_file);
    let old = Index::load(index_file);
    let mut source = scan_source(vfs, rules, cancel)?;
    let staged = Walk {
        root: &root,
        path: &staging,
        rules,
        own: true,
        list_ignored: true,
        cancel,
    }
    .run()?;
    let plan = plan_stage(&source, &staged, &old, &staging);
    drop(staged);
    stop_if(cancel)?;

    let mut report = PushReport {
        specials: std::mem::take(&mut source.specials),
        ..PushReport::default()
    };
    let mut newest = None;
    let index = if plan.is_empty() {
        old
    } else {
        drop(old);
        let outcome = Stage {
            source: &source,
            base: vfs.base_folder(),
            root: &root,
            staging: &staging,
            cancel,
            counter: Counter::default(),
        }
        .apply(plan, progress)?;
        (report.files, report.bytes, report.deleted) = (outcome.files, outcome.bytes, outcome.deleted);
        newest = outcome.newest;
        let index = Index {
            entries: source.rows.filter_map(|row, _| outcome.entries[row]),
        };
        index.store(index_file)?;
        index
    };
    if let Some(newest) = newest {
        settle(newest, cancel)?;
    }
    Ok(Pushed {
        report,
        index,
        staging,
        root,
        workspace: vfs.workspace(),
        hidden: source.hidden,
        base_root,
    })
}

/// What a [`push`] would do now. Nothing is made, also no staging where there is none.
///
/// # Errors
/// As [`push`].
pub fn push_due(
    vfs: &Vfs,
    staging: &Path,
    index_file: &Path,
    rules: &Rules,
    cancel: CancelFn,
) -> Result<PushReport, SyncError> {
    let mut source = scan_source(vfs, rules, cancel)?;
    let canonical = staging.canonicalize();
    let (staged, old) = match &canonical {
        Ok(staging) => {
            let root = fs::open_dir(staging).at("open", staging)?;
            let staged = Walk {
                root: &root,
                path: staging,
                rules,
                own: true,
                list_ignored: true,
                cancel,
            };
            (staged.run()?, Index::load(index_file))
        }
        // As if it were there and empty.
        Err(_) => (PathTable::default(), Index::default()),
    };
    let plan = plan_stage(&source, &staged, &old, canonical.as_deref().unwrap_or(staging));
    let mut report = PushReport {
        specials: std::mem::take(&mut source.specials),
        ..PushReport::default()
    };
    for folder in &plan.folders {
        report.deleted += folder.remove.len() as u64;
        report.files += folder.fill.len() as u64;
        report.bytes += folder.fill.iter().map(|&row| source.bytes(row)).sum::<u64>();
    }
    Ok(report)
}

fn scan_source<'v>(vfs: &'v Vfs, rules: &Rules, cancel: CancelFn) -> Result<Source<'v>, SyncError> {
    let Some(base) = vfs.base_folder() else {
        return lay_over(vfs, None);
    };
    let met = Walk {
        root: base.root(),
        path: &base.path,
        rules,
        own: false,
        list_ignored: false,
        cancel,
    }
    .run()?;
    lay_over(vfs, Some(met))
}

/// Waits until a change of the staging must get a later ctime than `newest`: within one tick of
/// the kernel's clock (at most 10 ms) it would not show. File systems that keep whole seconds
/// need up to one.
pub(crate) fn settle(newest: Time, cancel: CancelFn) -> Result<(), SyncError> {
    let whole_seconds = newest.nanos() == 0;
    // A clock that was set back must not make us wait for long.
    for _ in 0..1100 {
        let now = fs::coarse_now();
        let later = if whole_seconds {
            now.secs() > newest.secs()
        } else {
            now > newest
        };
        if later {
            return Ok(());
        }
        stop_if(cancel)?;
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Whether a source that had this stamp at the time `looked`, or later, cannot have changed since
/// `looked` without its stamp changing.
pub(super) fn is_settled(stamp: &Stamp, looked: Time) -> bool {
    let ctime = stamp.ctime();
    let margin = if ctime.nanos() == 0 {
        Duration::from_secs(2)
    } else {
        Duration::from_millis(20)
    };
    ctime.plus(margin) < looked
}
