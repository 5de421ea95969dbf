//! What a Lima session needs to know.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::plan::{AgentPlan, GuestPlan, LimaPlan, Plan, Require, VmConfig, WorkspaceMode, workspace_key};
use crate::session::{StagingPlace, VmError};
use crate::vfs::Vfs;
use crate::workspace::Rules;

use super::carry::Road;

/// Settings of a Lima session.
#[derive(Debug, Clone)]
pub struct LimaSettings {
    /// limactl, the instance and how it is made.
    pub lima: LimaPlan,
    /// Which side is the truth.
    pub mode: WorkspaceMode,
    /// The folder that this host and the guest share, `vm.workspace_parent`.
    pub parent: PathBuf,
    /// The workspace's name below it; empty until it is known.
    pub key: String,
    /// What belongs to the staging on this side only: indexes.
    pub folder: PathBuf,
    /// Where the runs that use an instance are noted.
    pub leases: PathBuf,
    /// Gitignore-style patterns that are not carried.
    pub ignore: Vec<String>,
    /// Gitignore-style patterns of folders that are used and not carried.
    pub cache_dirs: Vec<String>,
    /// Making the instance ready may take this long where the caller sets no limit of its own.
    pub ready_timeout: Option<Duration>,
    /// Timeout of tools that are given none of their own; `None`: no limit.
    pub exec_timeout: Option<Duration>,
}

impl LimaSettings {
    /// The settings that a plan means.
    #[must_use]
    pub fn of_plan(plan: &Plan, lima: &LimaPlan) -> Self {
        let staging = &plan.places.staging;
        Self {
            lima: lima.clone(),
            mode: plan.workspace_mode,
            parent: staging.parent().unwrap_or(staging).to_owned(),
            key: plan.places.key.clone(),
            folder: plan.places.cache.join("guest"),
            leases: plan.places.cache_root.join("lima"),
            ignore: plan.ignore.clone(),
            cache_dirs: plan.cache_dirs.clone(),
            // The runner has its own clock for it, and the plan gives each tool its own.
            ready_timeout: None,
            exec_timeout: None,
        }
    }

    /// The settings that the library's flat config means: the tree lies in `workspace_parent`.
    ///
    /// # Errors
    /// [`VmError::Config`] where no folder to share with the guest is named.
    pub fn of_config(config: &VmConfig) -> Result<Self, VmError> {
        let parent = config.workspace_parent.clone().ok_or_else(|| {
            VmError::Config(
                "the lima backend needs vm.workspace_parent (DEVSHELL_VM_WORKSPACE_PARENT), the folder that the \
                 instance mounts"
                    .to_owned(),
            )
        })?;
        Ok(Self {
            lima: LimaPlan {
                instance: config.lima_instance.clone(),
                limactl: config.limactl.clone(),
                template: config.lima_template.clone(),
                cpus: config.lima_cpus,
                memory: config.lima_memory,
                disk: config.lima_disk,
                stop_on_exit: config.stop_on_exit,
                auto_build_essential: config.auto_build_essential,
                hints: config.lima_hints,
                agent: config.lima_agent.clone().into(),
                carry: config.lima_carry.into(),
                home: None,
                // No tool of the library's callers has a terminal.
                caller: Vec::new(),
                guest: GuestPlan {
                    guest_workspace: config.guest_workspace.clone(),
                    inputs: Vec::new(),
                    outputs: Vec::new(),
                    require: Require::None,
                },
            },
            mode: config.workspace_mode,
            leases: parent.join(".lima"),
            folder: PathBuf::new(),
            parent,
            key: String::new(),
            ignore: Vec::new(),
            cache_dirs: Vec::new(),
            ready_timeout: config.ready_timeout,
            exec_timeout: config.exec_timeout,
        })
    }

    /// Names the workspace's folders, where they have no name yet.
    pub(super) fn key_to(&mut self, vfs: &Vfs) {
        if !self.key.is_empty() {
            return;
        }
        self.key = match vfs.base() {
            Some((_, folder)) => workspace_key(folder),
            None => format!("memory-{}", std::process::id()),
        };
        self.folder = self.parent.join(format!(".{}", self.key));
    }

    /// The session's folder here: below it a Vfs path stands as it is.
    pub(super) fn tree(&self) -> PathBuf {
        self.parent.join(&self.key)
    }

    /// Where Vfs paths begin in the guest: the same folder, or the one that it is carried to.
    pub(super) fn mount(&self, road: Road) -> String {
        let workspace = &self.lima.guest.guest_workspace;
        match road {
            Road::Mount => Path::new(workspace).join(&self.key).to_string_lossy().into_owned(),
            Road::Transfer => workspace.clone(),
        }
    }

    pub(super) fn staging(&self) -> StagingPlace {
        StagingPlace::Apart {
            folder: self.folder.clone(),
            tree: self.tree(),
        }
    }

    /// That the isolation that was asked for is reached; `why` is why it is not more.
    pub(super) fn is_enough(&self, reached: Require, why: Option<&str>) -> Result<(), VmError> {
        let asked = self.lima.guest.require;
        if reached >= asked {
            return Ok(());
        }
        let why = match (reached, &self.lima.agent) {
            (Require::None, AgentPlan::Off) => {
                ": without the agent what a tool starts is found and ended by its environment and its parents, and not \
                 held by the kernel; vm.lima.agent = \"auto\" brings `processes`"
                    .to_owned()
            }
            (Require::None, _) => format!(
                ": {}; vm.lima.agent may name a devshell-vm for the guest",
                why.unwrap_or("its kernel does not let the agent contain what a tool starts")
            ),
            _ => ": a guest has no private view besides its own tree".to_owned(),
        };
        Err(VmError::Sandbox {
            message: format!(
                "sandbox.require is `{}`, and the Lima guest reaches `{}`{why}",
                asked.word(),
                reached.word()
            ),
            source: None,
        })
    }

    pub(super) fn rules(&self) -> Result<Rules, VmError> {
        Rules::new(&self.ignore, &self.cache_dirs).map_err(|error| VmError::Config(error.to_string()))
    }
}
