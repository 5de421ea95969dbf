//! What a sidecar session needs to know.

use std::path::PathBuf;
use std::time::Duration;

use crate::plan::{BetaPlan, GuestPlan, Plan, SidecarAddress, WorkspaceMode};
use crate::session::{StagingPlace, VmError};
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
            ignore: plan.ignore.clone(),
            cache_dirs: plan.cache_dirs.clone(),
            // The plan gives each tool its own.
            exec_timeout: None,
        }
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
