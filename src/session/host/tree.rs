//! What a strategy is to the session.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use crate::process::{Keeper, MountStep};
use crate::session::{Context, VmError};
use crate::vfs::Vfs;
use crate::workspace::Baseline;

use super::places::Places;

/// The tree that the tools work on: one implementation a strategy. Everything but
/// [`Self::places`] is called while nothing runs in it.
pub(super) trait Tree {
    /// The strategy's word in the config and the events.
    fn strategy(&self) -> &'static str;

    /// What the keeper is to mount, as the tree is now.
    fn mounts(&self) -> Vec<MountStep>;

    /// Where the tools write it, as they see it.
    fn writable(&self) -> Vec<PathBuf>;

    /// Whether the tools cannot work on it without these mounts.
    fn needs_mounts(&self) -> bool;

    /// Whether it is apart from the real tree.
    fn is_private(&self) -> bool;

    /// A lock that must not be free before everything that the tools started has ended.
    fn lock(&self) -> io::Result<Option<OwnedFd>>;

    /// Where the tools see a path, and where devshell finds the same thing.
    fn places(&self, keeper: &Keeper) -> (Places, Places);

    /// Notes the present state; says whether [`Self::roll_back`] can bring it back.
    fn checkpoint(&mut self, cx: &mut Context) -> Result<bool, VmError>;

    /// Brings back the state of the last checkpoint.
    fn roll_back(&mut self, cx: &mut Context) -> Result<(), VmError>;

    /// Brings what the tools changed into the Vfs.
    fn collect(&mut self, vfs: &mut Vfs, cx: &mut Context) -> Result<Baseline, VmError>;
}
