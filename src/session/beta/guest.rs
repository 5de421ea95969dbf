//! What only the sidecar sees: its own tree in guest mode, and one that was carried to it.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use crate::guest_fs::{GuestFsError, GuestFsOps as _};
use crate::process::Cancel;
use crate::session::guest_tree::{Outputs, guest_error, in_guest, is_there, put_inputs};
use crate::session::{Context, VmError};
use crate::vfs::{Vfs, VfsPath};
use crate::workspace::Baseline;

use super::session::BetaSession;

impl BetaSession {
    /// Whether a path is there in what only the sidecar sees.
    pub(super) fn exists_in_guest(&self, path: &VfsPath, cancel: &Cancel) -> Result<bool, VmError> {
        let guest = self.guest_path(path)?;
        let guest = Path::new(&guest);
        let mut files = self.files(cancel).ok_or_else(VmError::not_ready)?;
        if files.is_raw() {
            return is_there(&mut files, guest);
        }
        // Version 1 has no question for this: the folder's names tell.
        let (Some(parent), Some(name)) = (guest.parent(), guest.file_name()) else {
            return Ok(true);
        };
        match files.list_dir(&parent.to_string_lossy()) {
            Ok(names) => Ok(names.iter().any(|other| other.as_bytes() == name.as_bytes())),
            Err(GuestFsError::NotFound(_) | GuestFsError::NotADirectory(_)) => Ok(false),
            Err(error) => Err(guest_error("look at", guest, error)),
        }
    }

    /// Where a path of the Vfs stands for the sidecar's tools.
    pub(super) fn guest_path(&self, path: &VfsPath) -> Result<String, VmError> {
        in_guest(&self.settings.guest.guest_workspace, path)
    }

    /// In guest mode: the inputs go in.
    pub(super) fn put_in(&mut self, vfs: &Vfs, cx: &mut Context) -> Result<(), VmError> {
        let folder = self.guest_path(&vfs.workspace())?;
        let (guest, here) = (&self.settings.guest, &self.settings.folder);
        self.outputs = Some(Box::new(Outputs::note(&guest.outputs, here, vfs, cx)?));
        let mut files = self.files(cx.cancel).ok_or_else(VmError::not_ready)?;
        put_inputs(&guest.inputs, here, &mut files, folder.as_ref(), vfs, cx)
    }

    /// In guest mode: the outputs come out.
    pub(super) fn take_out(&mut self, vfs: &mut Vfs, cx: &mut Context) -> Result<Baseline, VmError> {
        let folder = self.guest_path(&vfs.workspace())?;
        let (Some(mut files), Some(outputs)) = (self.files(cx.cancel), self.outputs.as_mut()) else {
            return Err(VmError::not_ready());
        };
        outputs.collect(&mut files, folder.as_ref(), vfs, cx)
    }
}
