//! The tree between the staging and the sidecar: by a folder that both share, or over the connection.

use std::time::Instant;

use crate::plan::SidecarAddress;
use crate::session::sidecar::{At, RemoteMirror, sync};
use crate::session::staged_tree::StagedTree;
use crate::session::{Context, VmError};
use crate::sidecar::Direction;

use super::connect::Connected;
use super::session::BetaSession;

impl BetaSession {
    /// What carries a staged tree to a sidecar that does not see it.
    pub(super) fn mirror_of(&self, staged: &StagedTree) -> Result<RemoteMirror, VmError> {
        let guest_folder = self.guest_path(staged.workspace())?;
        RemoteMirror::of_staged(
            staged,
            guest_folder.into(),
            &self.settings().folder,
            self.settings().rules()?,
        )
    }

    /// Has the sidecar's tools see what was staged.
    pub(super) fn push_staged(&mut self, start: Instant, cx: &mut Context) -> Result<(), VmError> {
        match self.carriage() {
            Some((mirror, connected, address)) => mirror.push_staged(&at(connected, address)?, start, cx),
            None => self.sync(Direction::PushToGuest, cx),
        }
    }

    /// Has the staging hold what the sidecar's tools have left.
    pub(super) fn pull_staged(&mut self, cx: &mut Context) -> Result<(), VmError> {
        match self.carriage() {
            Some((mirror, connected, address)) => mirror.pull_staged(&at(connected, address)?, cx),
            None => self.sync(Direction::PullFromGuest, cx),
        }
    }

    /// Says to the sidecar which way the shared tree goes.
    fn sync(&mut self, direction: Direction, cx: &mut Context) -> Result<(), VmError> {
        let (connected, address) = self.line();
        sync(&at(connected, address)?, direction, cx.cancel)
    }
}

fn at<'a>(connected: Option<&'a Connected>, address: &'a SidecarAddress) -> Result<At<'a>, VmError> {
    let connected = connected.ok_or_else(VmError::not_ready)?;
    Ok(At {
        link: &connected.connection.link,
        session_id: &connected.begun.id,
        address,
    })
}
