//! The real tree as the view.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use crate::process::{Keeper, MountStep};
use crate::session::{Context, VmError};
use crate::vfs::Vfs;
use crate::workspace::Baseline;

use super::places::Places;
use super::tree::Tree;

/// The strategy `in_place`.
pub(super) struct InPlace {
    folder: PathBuf,
    places: Places,
}

impl InPlace {
    /// The tree on the disk that `vfs` is.
    pub(super) fn new(vfs: &Vfs) -> Result<Self, VmError> {
        let Some((workspace, folder)) = vfs.base() else {
            return Err(VmError::Config(
                "`in_place` needs a tree on the disk, and this one is only in memory; choose `copy`".to_owned(),
            ));
        };
        if vfs.changes().next().is_some() {
            return Err(VmError::Config(
                "`in_place` shows the tree on the disk, and this one has changes in memory; choose `copy`".to_owned(),
            ));
        }
        Ok(Self {
            folder: folder.to_path_buf(),
            places: Places::below(folder).with_workspace(workspace.clone(), folder),
        })
    }
}

impl Tree for InPlace {
    fn strategy(&self) -> &'static str {
        "in_place"
    }

    fn mounts(&self) -> Vec<MountStep> {
        Vec::new()
    }

    fn writable(&self) -> Vec<PathBuf> {
        vec![self.folder.clone()]
    }

    fn needs_mounts(&self) -> bool {
        false
    }

    fn is_private(&self) -> bool {
        false
    }

    fn lock(&self) -> io::Result<Option<OwnedFd>> {
        Ok(None)
    }

    fn places(&self, _: &Keeper) -> (Places, Places) {
        (self.places.clone(), self.places.clone())
    }

    fn checkpoint(&mut self, _: &mut Context) -> Result<bool, VmError> {
        Ok(false)
    }

    fn roll_back(&mut self, _: &mut Context) -> Result<(), VmError> {
        Ok(())
    }

    fn collect(&mut self, _: &mut Vfs, _: &mut Context) -> Result<Baseline, VmError> {
        Ok(Baseline::RealTree)
    }
}
