//! How the tree gets into a guest: by the folder that its instance mounts, or over the agent's connection.

use crate::plan::{Carry, WorkspaceMode};
use crate::session::VmError;

use super::settings::LimaSettings;

/// Where the tools' tree lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Road {
    /// On this host, and the guest sees it.
    Mount,
    /// In the guest's own file system, carried there and back.
    Transfer,
}

/// What Lima calls its mounts that show files truly and at once.
const TRUE: &str = "virtiofs";
/// What Lima calls those that may show them as they were.
const LATE: &str = "reverse-sshfs";

impl LimaSettings {
    /// Whether the tree could be carried, if there is an agent.
    pub(super) fn may_carry(&self) -> bool {
        self.mode == WorkspaceMode::Sync && self.lima.carry != Carry::Mount
    }

    /// That the tree may go another way than over an agent's connection; `why` there is no agent.
    pub(super) fn does_without(&self, why: &str, instance: &str) -> Result<(), VmError> {
        if self.lima.carry != Carry::Transfer || !self.may_carry() {
            return Ok(());
        }
        Err(VmError::Lima(format!(
            "vm.lima.carry is `transfer`, which needs the agent in the Lima instance `{instance}`: {why}. `auto` goes by \
             the mount then"
        )))
    }

    /// The road where there is an agent. `shows` says whether the guest sees the shared folder.
    ///
    /// `auto` rests on what was measured and tried (`benches/lima.sh`, docs/backends.md): virtiofs carries
    /// all that the rules for trees ask for. 9p keeps no fractions of times that a tool sets and asks the host
    /// for every name; reverse-sshfs shows old contents.
    pub(super) fn road(&self, mount_type: &str, shows: bool) -> Road {
        let is_as_good = self.lima.carry == Carry::Auto && shows && mount_type == TRUE;
        if is_as_good || !self.may_carry() {
            Road::Mount
        } else {
            Road::Transfer
        }
    }
}

/// Whether the guest may see files as they were: reverse-sshfs keeps what it has seen, also where it is told not
/// to, and takes a file of the same size and second for the one that it knows.
pub(super) fn may_be_late(mount_type: &str) -> bool {
    mount_type == LATE
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::VmConfig;

    #[test]
    fn a_tree_is_carried_where_the_mount_is_not_as_good() {
        let config = VmConfig {
            workspace_parent: Some("/srv".into()),
            ..VmConfig::default()
        };
        let mut settings = LimaSettings::of_config(&config).unwrap();
        assert_eq!(settings.road("9p", true), Road::Transfer);
        assert_eq!(settings.road("reverse-sshfs", true), Road::Transfer);
        assert_eq!(settings.road("virtiofs", true), Road::Mount);
        assert_eq!(settings.road("virtiofs", false), Road::Transfer);
        settings.lima.carry = Carry::Transfer;
        assert_eq!(settings.road("virtiofs", true), Road::Transfer);
        settings.lima.carry = Carry::Mount;
        assert_eq!(settings.road("9p", true), Road::Mount);
        settings.lima.carry = Carry::Transfer;
        settings.mode = WorkspaceMode::Guest;
        assert_eq!(settings.road("9p", true), Road::Mount);
    }
}
