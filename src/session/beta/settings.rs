//! What a sidecar session needs to know.

use std::path::PathBuf;
use std::time::Duration;

use crate::plan::{BetaPlan, GuestPlan, Plan, Require, SidecarAddress, VmConfig, WorkspaceMode, workspace_key};
use crate::session::{StagingPlace, VmError};
use crate::sys::machine;
use crate::vfs::Vfs;
use crate::workspace::Rules;

/// Settings of a sidecar session.
#[derive(Debug, Clone)]
pub struct BetaSettings {
    /// How the sidecar is reached.
    pub address: SidecarAddress,
    /// Holds the token for TCP.
    pub token_file: Option<PathBuf>,
    /// Where `vm.workspace_parent` lies for the sidecar, where that is not the same path as here.
    pub session_staging: Option<String>,
    /// Which side is the truth.
    pub mode: WorkspaceMode,
    /// The guest's side of the tree.
    pub guest: GuestPlan,
    /// The folder that both sides share, `<workspace_parent>/<key>`: below it a Vfs path stands
    /// as it is.
    pub tree: PathBuf,
    /// What belongs to it on this side only: indexes.
    pub folder: PathBuf,
    /// Whether these folders are the workspace's own already; else they are made from its path
    /// when it is known.
    pub is_keyed: bool,
    /// Gitignore-style patterns that are not carried.
    pub ignore: Vec<String>,
    /// Gitignore-style patterns of folders that are used and not carried.
    pub cache_dirs: Vec<String>,
    /// Timeout of tools that are given none of their own; `None`: no limit.
    pub exec_timeout: Option<Duration>,
}

impl BetaSettings {
    /// The settings that a plan means.
    #[must_use]
    pub fn of_plan(plan: &Plan, beta: &BetaPlan) -> Self {
        Self {
            address: beta.address.clone(),
            token_file: beta.token_file.clone(),
            session_staging: beta.session_staging.clone(),
            mode: plan.workspace_mode,
            guest: beta.guest.clone(),
            tree: plan.places.staging.clone(),
            folder: plan.places.cache.join("guest"),
            is_keyed: true,
            ignore: plan.ignore.clone(),
            cache_dirs: plan.cache_dirs.clone(),
            // The plan gives each tool its own.
            exec_timeout: None,
        }
    }

    /// The settings that the library's flat config means: the tree lies in `workspace_parent`.
    ///
    /// # Errors
    /// [`VmError::Config`] where no sidecar, or no folder to share with it, is named.
    pub fn of_config(config: &VmConfig) -> Result<Self, VmError> {
        if config.beta_socket.is_none() && config.beta_command.is_none() {
            return Err(VmError::Config(
                "the beta backend needs a sidecar: set vm.beta.socket (DEVSHELL_VM_SOCKET) or vm.beta.command"
                    .to_owned(),
            ));
        }
        let parent = config.workspace_parent.clone().ok_or_else(|| {
            VmError::Config(
                "the beta backend needs vm.workspace_parent (DEVSHELL_VM_WORKSPACE_PARENT), the folder that it shares \
                 with the sidecar"
                    .to_owned(),
            )
        })?;
        Ok(Self {
            address: SidecarAddress::new(config.beta_socket.as_deref(), config.beta_command.as_deref()),
            token_file: config.beta_token_file.clone(),
            session_staging: config.beta_session_staging.clone(),
            mode: config.workspace_mode,
            guest: GuestPlan {
                guest_workspace: config.guest_workspace.clone(),
                inputs: Vec::new(),
                outputs: Vec::new(),
                require: Require::None,
            },
            tree: parent,
            folder: PathBuf::new(),
            is_keyed: false,
            ignore: Vec::new(),
            cache_dirs: Vec::new(),
            exec_timeout: config.exec_timeout,
        })
    }

    /// Makes the folders those of a workspace, where they are not yet.
    pub(super) fn key_to(&mut self, vfs: &Vfs) {
        if self.is_keyed {
            return;
        }
        let key = match vfs.base() {
            Some((_, folder)) => workspace_key(folder),
            None => format!("memory-{}", std::process::id()),
        };
        let parent = self.tree.clone();
        self.tree = parent.join(&key);
        self.folder = parent.join(format!(".{key}"));
        self.is_keyed = true;
    }

    /// Names the workspace on this machine.
    fn key(&self) -> String {
        self.tree.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Names the workspace to a sidecar that it shares no folder with.
    pub(super) fn key_afar(&self) -> String {
        key_of(&self.key(), machine::id())
    }

    pub(super) fn staging(&self) -> StagingPlace {
        StagingPlace::Apart {
            folder: self.folder.clone(),
            tree: self.tree.clone(),
        }
    }

    pub(super) fn rules(&self) -> Result<Rules, VmError> {
        Rules::new(&self.ignore, &self.cache_dirs).map_err(|error| VmError::Config(error.to_string()))
    }
}

/// The key of a workspace at a sidecar that serves other machines, too. Where a machine has no number of its own the
/// workspace's is all there is: in a container a host name is another one each time, and with it each run would begin
/// with an empty tree.
fn key_of(workspace: &str, machine: Option<u128>) -> String {
    let Some(id) = machine else {
        return workspace.to_owned();
    };
    // The number itself is nobody else's concern, says machine-id(5).
    let hash = blake3::derive_key("devshell: the key of a machine's trees at a sidecar", &id.to_be_bytes());
    let hash = blake3::Hash::from_bytes(hash).to_hex();
    format!("{workspace}-{}", &hash.as_str()[..8])
}

#[cfg(test)]
mod tests {
    use super::key_of;

    #[test]
    fn each_machine_has_a_key_of_its_own_and_always_the_same() {
        let here = key_of("667cb1958bf800eb", Some(1));
        assert_eq!(here, key_of("667cb1958bf800eb", Some(1)));
        assert_ne!(here, key_of("667cb1958bf800eb", Some(2)));
        assert_ne!(here, key_of("667cb1958bf800ec", Some(1)));
        assert!(here.starts_with("667cb1958bf800eb-") && here.len() == 25, "{here}");
        assert_eq!(key_of("667cb1958bf800eb", None), "667cb1958bf800eb");
    }
}
