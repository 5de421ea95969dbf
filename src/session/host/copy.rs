//! A staged copy as the view.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::event::Direction;
use crate::process::{Keeper, MountStep};
use crate::session::{Context, VmError};
use crate::vfs::{Vfs, VfsPath};
use crate::workspace::{self, Baseline, Pushed, Rules, SyncError};

use super::places::Places;
use super::settings::{HostSettings, StagingPlace};
use super::staging::Staging;
use super::tree::Tree;
use super::words::{synced, syncing, warn_of_specials};

/// The strategy `copy`.
pub(super) struct StagedCopy {
    staging: Staging,
    pushed: Pushed,
    rules: Rules,
    /// The workspace as a path of the Vfs.
    workspace: VfsPath,
    /// The workspace's folder, where it has one.
    folder: Option<PathBuf>,
}

impl StagedCopy {
    /// Makes the copy equal to `vfs`.
    pub(super) fn new(settings: &HostSettings, vfs: &Vfs, cx: &mut Context) -> Result<Self, VmError> {
        if let Some(why) = &settings.no_copy {
            return Err(VmError::Config(why.clone()));
        }
        let staging = Staging::open(&settings.staging).map_err(|source| staging_error(settings, source))?;
        let rules = settings.rules()?;
        let start = Instant::now();
        let cancel = cx.cancel;
        let tree = vfs.workspace().under(&staging.tree());
        let tell = &mut |progress| syncing(cx.emitter, Direction::Push, progress);
        let index = staging.index();
        let pushed = workspace::push_telling(vfs, &tree, &index, &rules, &|| cancel.is_raised(), tell)?;
        let report = &pushed.report;
        warn_of_specials(cx, &report.specials, "are not carried: the tools do not see them");
        synced(cx, Direction::Push, [report.files, report.bytes, report.deleted], start);
        Ok(Self {
            staging,
            pushed,
            rules,
            workspace: vfs.workspace(),
            folder: vfs.base().map(|(_, folder)| folder.to_path_buf()),
        })
    }

    fn tree(&self) -> PathBuf {
        self.workspace.under(&self.staging.tree())
    }

    /// Makes `to` equal to `from`: both are trees of the staging.
    fn carry(&self, from: &Path, to: &Path, index: &Path, cx: &Context) -> Result<(), VmError> {
        let from = Vfs::from_dir(from).map_err(SyncError::from)?;
        let cancel = cx.cancel;
        workspace::push(&from, to, index, &self.rules, &|| cancel.is_raised())?;
        Ok(())
    }
}

impl Drop for StagedCopy {
    fn drop(&mut self) {
        self.staging.forget_saved();
    }
}

impl Tree for StagedCopy {
    fn strategy(&self) -> &'static str {
        "copy"
    }

    fn mounts(&self) -> Vec<MountStep> {
        let bind = |folder: &PathBuf| MountStep::Bind {
            from: self.tree(),
            onto: folder.clone(),
        };
        self.folder.iter().map(bind).collect()
    }

    fn needs_mounts(&self) -> bool {
        false
    }

    fn is_private(&self) -> bool {
        true
    }

    fn lock(&self) -> io::Result<Option<OwnedFd>> {
        self.staging.lock()
    }

    fn places(&self, keeper: &Keeper) -> (Places, Places) {
        let real = Places::below(&self.staging.tree());
        let seen = match &self.folder {
            Some(folder) if keeper.isolation().mount => real.clone().with_workspace(self.workspace.clone(), folder),
            _ => real.clone(),
        };
        (seen, real)
    }

    fn checkpoint(&mut self, cx: &mut Context) -> Result<bool, VmError> {
        let [saved, index, _] = self.staging.saved();
        self.carry(&self.tree(), &saved, &index, cx)?;
        Ok(true)
    }

    fn roll_back(&mut self, cx: &mut Context) -> Result<(), VmError> {
        let [saved, _, index] = self.staging.saved();
        self.carry(&saved, &self.tree(), &index, cx)
    }

    fn collect(&mut self, vfs: &mut Vfs, cx: &mut Context) -> Result<Baseline, VmError> {
        let start = Instant::now();
        let cancel = cx.cancel;
        let lease = self.staging.lease();
        let (tell, stop) = (&mut |progress| syncing(cx.emitter, Direction::Pull, progress), &|| {
            cancel.is_raised()
        });
        let pulled = workspace::pull_telling(&self.pushed, &self.rules, vfs, Some(&lease), stop, tell)?;
        let report = &pulled.report;
        warn_of_specials(cx, &report.specials, "are not brought back");
        synced(cx, Direction::Pull, [report.files, report.bytes, report.deleted], start);
        Ok(pulled.baseline)
    }
}

fn staging_error(settings: &HostSettings, source: io::Error) -> VmError {
    let StagingPlace::Fixed(folder) = &settings.staging else {
        return VmError::Sync(make_error(Path::new("a temporary folder"), source));
    };
    match source.kind() {
        io::ErrorKind::WouldBlock => VmError::Lost {
            message: format!("another session holds the staged copy `{}`", folder.display()),
            source: None,
        },
        io::ErrorKind::PermissionDenied => VmError::Sync(SyncError::Io {
            action: "use",
            path: folder.clone(),
            source: io::Error::other(format!(
                "{source}: it belongs to another user, who has run devshell with this cache folder; remove it as that \
                 user, or set XDG_CACHE_HOME"
            )),
        }),
        _ => VmError::Sync(make_error(folder, source)),
    }
}

fn make_error(path: &Path, source: io::Error) -> SyncError {
    SyncError::Io {
        action: "make",
        path: path.to_path_buf(),
        source,
    }
}
