//! What only the sidecar sees: its own tree in guest mode, and one that was carried to it.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::guest_fs::{GuestFsError, GuestFsOps as _, logical_path_to_guest};
use crate::process::Cancel;
use crate::session::guest_tree::{GuestTree as _, Outputs, guest_error, put_inputs};
use crate::session::{Context, VmError};
use crate::vfs::{Vfs, VfsPath};
use crate::workspace::Baseline;

use super::session::BetaSession;

impl BetaSession {
    /// Whether a path is there in what only the sidecar sees.
    pub(super) fn exists_in_guest(&self, path: &VfsPath, cancel: &Cancel) -> Result<bool, VmError> {
        let mount = &self.settings.guest.guest_workspace;
        let guest =
            logical_path_to_guest(mount, path.as_os_str()).map_err(|error| VmError::Config(error.to_string()))?;
        let guest = Path::new(&guest);
        let mut files = self.files(cancel).ok_or_else(VmError::not_ready)?;
        let found = if files.is_raw() {
            files.stat(guest).map(|found| found.is_some())
        } else {
            // Version 1 has no question for this: the folder's names tell.
            let (Some(parent), Some(name)) = (guest.parent(), guest.file_name()) else {
                return Ok(true);
            };
            match files.list_dir(&parent.to_string_lossy()) {
                Ok(names) => Ok(names.iter().any(|other| other.as_bytes() == name.as_bytes())),
                Err(GuestFsError::NotFound(_) | GuestFsError::NotADirectory(_)) => Ok(false),
                Err(error) => Err(error),
            }
        };
        found.map_err(|error| guest_error("look at", guest, error))
    }

    /// The tools' folder in the guest's own tree.
    pub(super) fn guest_folder(&self, workspace: &VfsPath) -> Result<PathBuf, VmError> {
        let mount = &self.settings.guest.guest_workspace;
        let path = logical_path_to_guest(mount, workspace.as_os_str());
        path.map(PathBuf::from)
            .map_err(|error| VmError::Config(error.to_string()))
    }

    /// In guest mode: the inputs go in.
    pub(super) fn put_in(&mut self, vfs: &Vfs, cx: &mut Context) -> Result<(), VmError> {
        let folder = self.guest_folder(&vfs.workspace())?;
        let (guest, here) = (&self.settings.guest, &self.settings.folder);
        self.outputs = Some(Box::new(Outputs::note(&guest.outputs, here, vfs, cx)?));
        let mut files = self.files(cx.cancel).ok_or_else(VmError::not_ready)?;
        put_inputs(&guest.inputs, here, &mut files, &folder, vfs, cx)
    }

    /// In guest mode: the outputs come out.
    pub(super) fn take_out(&mut self, vfs: &mut Vfs, cx: &mut Context) -> Result<Baseline, VmError> {
        let folder = self.guest_folder(&vfs.workspace())?;
        let (Some(mut files), Some(outputs)) = (self.files(cx.cancel), self.outputs.as_mut()) else {
            return Err(VmError::not_ready());
        };
        outputs.collect(&mut files, &folder, vfs, cx)
    }
}
