//! A staged tree that is carried to a sidecar which does not see it, with what is told of that.

use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::event::Direction;
use crate::mirror::Mirror;
use crate::session::staged_tree::StagedTree;
use crate::session::staging::incoming;
use crate::session::words::{synced, syncing, warn_of_specials};
use crate::session::{Context, VmError};
use crate::workspace::{Rules, StagingDir};

use super::mirror::{At, RemoteMirror};

impl RemoteMirror {
    /// What carries this tree to the guest's folder. `folder` holds what belongs to it on this side.
    pub(in crate::session) fn of_staged(
        staged: &StagedTree,
        guest_folder: PathBuf,
        folder: &Path,
        rules: Rules,
    ) -> Result<Self, VmError> {
        let StagingDir { path, root } = staged.dir()?;
        let mirror = Mirror {
            root,
            path,
            index: folder.join("digests"),
            store: incoming(staged.tree()),
            rules,
        };
        Ok(Self::new(mirror, guest_folder))
    }

    /// Has the sidecar's tools see what was staged, and tells what was carried since `start`.
    pub(in crate::session) fn push_staged(&mut self, at: &At, start: Instant, cx: &mut Context) -> Result<(), VmError> {
        let tell = &mut |progress| syncing(cx.emitter, Direction::Push, progress);
        let done = self.push(at, cx.cancel, tell)?;
        synced(cx, Direction::Push, [done.files, done.bytes, done.deleted], start);
        Ok(())
    }

    /// Has the staging hold what the sidecar's tools have left.
    pub(in crate::session) fn pull_staged(&mut self, at: &At, cx: &mut Context) -> Result<(), VmError> {
        let start = Instant::now();
        let tell = &mut |progress| syncing(cx.emitter, Direction::Pull, progress);
        let (taken, _) = self.pull(at, cx.cancel, tell)?;
        warn_of_specials(cx, &taken.specials, "are not brought back");
        synced(cx, Direction::Pull, [taken.files, taken.bytes, taken.deleted], start);
        Ok(())
    }
}
