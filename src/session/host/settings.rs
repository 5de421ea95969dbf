//! What a host session needs to know.

use std::path::PathBuf;
use std::time::Duration;

use crate::plan::{HostPlan, Plan, Require, Strategy};

/// Settings of a host session.
#[derive(Debug, Clone)]
pub struct HostSettings {
    /// How the private view is made.
    pub strategy: Strategy,
    /// The isolation below which no tool is started.
    pub require: Require,
    /// Where the copy lies.
    pub staging: StagingPlace,
    /// Gitignore-style patterns that are not carried.
    pub ignore: Vec<String>,
    /// Gitignore-style patterns of folders that stay in the staging between runs.
    pub cache_dirs: Vec<String>,
    /// Timeout of tools that are given none of their own; `None`: no limit.
    pub exec_timeout: Option<Duration>,
}

/// Where a staged copy lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StagingPlace {
    /// In this folder, for the next run too; only what changed is carried then.
    Fixed(PathBuf),
    /// In a temporary folder that goes with the last reference to its contents.
    Temporary,
}

impl HostSettings {
    /// The settings that a plan means.
    #[must_use]
    pub fn of_plan(plan: &Plan, host: &HostPlan) -> Self {
        Self {
            strategy: host.strategy,
            require: host.require,
            staging: StagingPlace::Fixed(plan.places.cache.join("copy")),
            ignore: plan.ignore.clone(),
            cache_dirs: plan.cache_dirs.clone(),
            // The plan gives each tool its own.
            exec_timeout: None,
        }
    }
}

impl Default for HostSettings {
    fn default() -> Self {
        Self {
            strategy: Strategy::Auto,
            require: Require::None,
            staging: StagingPlace::Temporary,
            ignore: Vec::new(),
            cache_dirs: Vec::new(),
            exec_timeout: None,
        }
    }
}
