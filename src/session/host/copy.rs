//! A staged copy as the view.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use crate::process::{Keeper, MountStep};
use crate::session::staged_tree::StagedTree;
use crate::session::{Context, VmError};
use crate::sys::room::room;
use crate::vfs::Vfs;
use crate::workspace::{At as _, Baseline};

use super::places::Places;
use super::settings::HostSettings;
use super::tree::Tree;

/// The strategy `copy`.
pub(super) struct StagedCopy {
    staged: StagedTree,
    /// The workspace's folder, where it has one.
    folder: Option<PathBuf>,
}

impl StagedCopy {
    /// Makes the copy equal to `vfs`.
    pub(super) fn new(settings: &HostSettings, vfs: &Vfs, cx: &mut Context) -> Result<Self, VmError> {
        if let Some(why) = &settings.no_copy {
            return Err(VmError::Config(why.clone()));
        }
        let staged = StagedTree::new(&settings.staging, settings.rules()?, vfs, cx)?;
        check_room(&staged.folder())?;
        Ok(Self {
            staged,
            folder: vfs.base().map(|(_, folder)| folder.to_path_buf()),
        })
    }
}

/// What an earlier run's tools left in the copy is gone by now: a disk that is full all the same is full of something
/// else, and tools that find that out an hour later have worked in vain.
fn check_room(folder: &Path) -> Result<(), VmError> {
    match room(folder) {
        Ok(room) if room.is_full() => {
            let remedy = "`devshell clean --all` removes copies of other workspaces, and XDG_CACHE_HOME or \
                          DEVSHELL_EXPORT_BASE moves them to another disk";
            let source = io::Error::new(io::ErrorKind::StorageFull, remedy);
            Err(source).at("let tools work in", folder).map_err(VmError::Sync)
        }
        _ => Ok(()),
    }
}

impl Tree for StagedCopy {
    fn strategy(&self) -> &'static str {
        "copy"
    }

    fn mounts(&self) -> Vec<MountStep> {
        let bind = |folder: &PathBuf| MountStep::Bind {
            from: self.staged.folder(),
            onto: folder.clone(),
        };
        self.folder.iter().map(bind).collect()
    }

    fn writable(&self) -> Vec<PathBuf> {
        vec![self.folder.clone().unwrap_or_else(|| self.staged.tree().to_path_buf())]
    }

    fn needs_mounts(&self) -> bool {
        false
    }

    fn is_private(&self) -> bool {
        true
    }

    fn lock(&self) -> io::Result<Option<OwnedFd>> {
        self.staged.lock()
    }

    fn places(&self, keeper: &Keeper) -> (Places, Places) {
        let real = Places::below(self.staged.tree());
        let seen = match &self.folder {
            Some(folder) if keeper.isolation().mount => {
                real.clone().with_workspace(self.staged.workspace().clone(), folder)
            }
            _ => real.clone(),
        };
        (seen, real)
    }

    fn checkpoint(&mut self, cx: &mut Context) -> Result<bool, VmError> {
        self.staged.checkpoint(cx).map(|()| true)
    }

    fn roll_back(&mut self, cx: &mut Context) -> Result<(), VmError> {
        self.staged.roll_back(cx)
    }

    fn collect(&mut self, vfs: &mut Vfs, cx: &mut Context) -> Result<Baseline, VmError> {
        self.staged.collect(vfs, cx)
    }
}
