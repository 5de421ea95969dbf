//! A staged copy of the tree: pushed before the tools, pulled behind them.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::event::Direction;
use crate::sys::fs::{denial, obstacle};
use crate::vfs::{Vfs, VfsPath};
use crate::workspace::{self, Baseline, Pushed, Rules, StagingDir, SyncError};

use super::staging::{Staging, StagingPlace};
use super::words::{synced, syncing, warn_of_specials};
use super::{Context, VmError};

/// A staging that is equal to a Vfs, until tools work on it. What `copy` gives the tools of this
/// host, and what a guest sees through a folder that both share.
pub(super) struct StagedTree {
    staging: Staging,
    pushed: Pushed,
    rules: Rules,
    /// The workspace as a path of the Vfs.
    workspace: VfsPath,
    /// What earlier pulls found, which stays what the commit compares with.
    earlier: Option<Baseline>,
    telling: Telling,
}

/// What is told of the carrying.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Telling {
    All,
    /// This is only a part of the way, and somebody else tells what was carried.
    OnTheWay,
    /// As on the way, and of what goes in nobody needs to hear at all.
    Nothing,
}

impl StagedTree {
    /// Makes the staging equal to `vfs`.
    pub(super) fn new(place: &StagingPlace, rules: Rules, vfs: &Vfs, cx: &mut Context) -> Result<Self, VmError> {
        Self::staged(place, rules, vfs, Telling::All, cx)
    }

    /// As [`Self::new`], for a tree that is carried further: who does that tells what was carried.
    pub(super) fn on_the_way(place: &StagingPlace, rules: Rules, vfs: &Vfs, cx: &mut Context) -> Result<Self, VmError> {
        Self::staged(place, rules, vfs, Telling::OnTheWay, cx)
    }

    /// As [`Self::new`], for a part of the tree of which nobody needs to hear.
    pub(super) fn quietly(place: &StagingPlace, rules: Rules, vfs: &Vfs, cx: &mut Context) -> Result<Self, VmError> {
        Self::staged(place, rules, vfs, Telling::Nothing, cx)
    }

    fn staged(
        place: &StagingPlace,
        rules: Rules,
        vfs: &Vfs,
        telling: Telling,
        cx: &mut Context,
    ) -> Result<Self, VmError> {
        let staging = Staging::open(place).map_err(|source| staging_error(place, source))?;
        let folder = staging.open_folder(&vfs.workspace())?;
        let pushed = push(folder, &staging.index(), &rules, vfs, telling, cx)?;
        Ok(Self {
            staging,
            pushed,
            rules,
            workspace: vfs.workspace(),
            earlier: None,
            telling,
        })
    }

    /// Makes the staging equal to a Vfs that has changed since.
    pub(super) fn push_again(&mut self, vfs: &Vfs, cx: &mut Context) -> Result<(), VmError> {
        let folder = self.staging.open_folder(&vfs.workspace())?;
        self.pushed = push(folder, &self.staging.index(), &self.rules, vfs, self.telling, cx)?;
        Ok(())
    }

    /// The workspace's folder in the staging, held open since it was staged.
    pub(super) fn dir(&self) -> Result<StagingDir, SyncError> {
        self.pushed.dir()
    }

    /// Its path.
    pub(super) fn folder(&self) -> PathBuf {
        self.workspace.under(self.staging.tree())
    }

    /// Where the tree lies: below it a Vfs path stands as it is.
    pub(super) fn tree(&self) -> &Path {
        self.staging.tree()
    }

    /// The workspace as a path of the Vfs.
    pub(super) fn workspace(&self) -> &VfsPath {
        &self.workspace
    }

    /// A lock that must not be free before everything that works on the tree has ended.
    pub(super) fn lock(&self) -> io::Result<Option<OwnedFd>> {
        self.staging.lock()
    }

    /// Makes a copy of the copy.
    pub(super) fn checkpoint(&mut self, cx: &mut Context) -> Result<(), VmError> {
        let [saved, index, _] = self.staging.saved();
        let StagingDir { path, root } = self.pushed.dir()?;
        let from = Vfs::of_folder(path, root).map_err(SyncError::from)?;
        let cancel = cx.cancel;
        workspace::push(&from, &saved, &index, &self.rules, &|| cancel.is_raised())?;
        Ok(())
    }

    /// Brings that copy back.
    pub(super) fn roll_back(&mut self, cx: &mut Context) -> Result<(), VmError> {
        let [saved, _, index] = self.staging.saved();
        let from = Vfs::from_dir(saved).map_err(SyncError::from)?;
        let cancel = cx.cancel;
        // The tool may have taken the folder itself away.
        let to = self.staging.open_folder(&self.workspace)?;
        let back = workspace::carry(&from, to, &index, &self.rules, &|| cancel.is_raised(), None)?;
        self.pushed.root = back.root;
        Ok(())
    }

    /// Brings what differs from what was pushed into `vfs`. May be done again when more has
    /// changed.
    pub(super) fn pull(&mut self, vfs: &mut Vfs, cx: &mut Context) -> Result<(), VmError> {
        let start = Instant::now();
        let cancel = cx.cancel;
        let lease = self.staging.lease();
        let (tell, stop) = (&mut |progress| syncing(cx.emitter, Direction::Pull, progress), &|| {
            cancel.is_raised()
        });
        let pulled = workspace::pull_telling(&self.pushed, &self.rules, vfs, Some(&lease), stop, tell)?;
        let report = &pulled.report;
        warn_of_specials(cx, &report.specials, "are not brought back");
        if self.telling == Telling::All {
            synced(cx, Direction::Pull, [report.files, report.bytes, report.deleted], start);
        }
        self.earlier = Some(match self.earlier.take() {
            Some(earlier) => pulled.baseline.with_earlier(earlier),
            None => pulled.baseline,
        });
        Ok(())
    }

    /// As [`Self::pull`], for the last time: gives what the commit compares with.
    pub(super) fn collect(&mut self, vfs: &mut Vfs, cx: &mut Context) -> Result<Baseline, VmError> {
        self.pull(vfs, cx)?;
        self.earlier.take().ok_or_else(|| VmError::Lost {
            message: "the staged copy was collected already".to_owned(),
            source: None,
        })
    }
}

impl Drop for StagedTree {
    fn drop(&mut self) {
        self.staging.forget_saved();
    }
}

fn push(
    folder: StagingDir,
    index: &Path,
    rules: &Rules,
    vfs: &Vfs,
    telling: Telling,
    cx: &mut Context,
) -> Result<Pushed, VmError> {
    let start = Instant::now();
    let cancel = cx.cancel;
    let tell = &mut |progress| {
        if telling != Telling::Nothing {
            syncing(cx.emitter, Direction::Push, progress);
        }
    };
    let pushed = workspace::carry(vfs, folder, index, rules, &|| cancel.is_raised(), Some(tell))?;
    if telling == Telling::Nothing {
        return Ok(pushed);
    }
    let report = &pushed.report;
    warn_of_specials(cx, &report.specials, "are not carried: the tools do not see them");
    if telling == Telling::All {
        synced(cx, Direction::Push, [report.files, report.bytes, report.deleted], start);
    }
    Ok(pushed)
}

fn staging_error(place: &StagingPlace, source: io::Error) -> VmError {
    let folder = match place {
        StagingPlace::Fixed(folder) | StagingPlace::Apart { folder, .. } => folder,
        StagingPlace::Temporary => return VmError::Sync(make_error(Path::new("a temporary folder"), source)),
    };
    match source.kind() {
        io::ErrorKind::WouldBlock => VmError::Lost {
            message: format!("another session holds the staged copy `{}`", folder.display()),
            source: None,
        },
        io::ErrorKind::PermissionDenied => {
            let why = format!("{source}: {}; {ELSEWHERE}", denial(folder));
            VmError::Sync(make_error(folder, io::Error::other(why)))
        }
        _ => {
            let source = match obstacle(folder) {
                Some(obstacle) => io::Error::other(format!("{obstacle}, or {ELSEWHERE}")),
                None => source,
            };
            VmError::Sync(make_error(folder, source))
        }
    }
}

/// What helps wherever the cache folder is of no use.
const ELSEWHERE: &str = "set XDG_CACHE_HOME or DEVSHELL_EXPORT_BASE to a folder of your own";

fn make_error(path: &Path, source: io::Error) -> SyncError {
    SyncError::Io {
        action: "make or use",
        path: path.to_path_buf(),
        source,
    }
}
