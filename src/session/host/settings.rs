//! What a host session needs to know.

use std::path::PathBuf;
use std::time::Duration;

use tempfile::env as temporary;

use crate::plan::{HostAccess, HostPlan, Plan, Require, Strategy};
use crate::session::{StagingPlace, VmError};
use crate::workspace::Rules;

use super::outside::Outside;
use super::view_place::ViewPlace;

/// Settings of a host session.
#[derive(Debug, Clone)]
pub struct HostSettings {
    /// How the private view is made.
    pub strategy: Strategy,
    /// The isolation below which no tool is started.
    pub require: Require,
    /// Whether tools have the network, not only the loopback.
    pub network: bool,
    /// What tools may write outside the workspace; `None`: what the caller may.
    pub outside: Option<Outside>,
    /// The workspace's part of the cache folder, where it has one.
    pub cache: Option<PathBuf>,
    /// Where the copy lies.
    pub staging: StagingPlace,
    /// Where the layers of an overlay may lie, in the order of choice.
    pub view_places: Vec<ViewPlace>,
    /// The overlay's name in the table of mounts.
    pub view_name: String,
    /// Folders of devshell's own, which no view shows.
    pub own_folders: Vec<PathBuf>,
    /// Why there can be no copy, in words.
    pub no_copy: Option<String>,
    /// Gitignore-style patterns that are not carried.
    pub ignore: Vec<String>,
    /// Gitignore-style patterns of folders that are used and not carried.
    pub cache_dirs: Vec<String>,
    /// Timeout of tools that are given none of their own; `None`: no limit.
    pub exec_timeout: Option<Duration>,
}

/// The name of the overlays of a workspace, by its key.
#[must_use]
pub fn view_name(key: &str) -> String {
    format!("devshell-{key}")
}

impl HostSettings {
    /// The settings that a plan means.
    #[must_use]
    pub fn of_plan(plan: &Plan, host: &HostPlan) -> Self {
        let places = &plan.places;
        Self {
            strategy: host.strategy,
            require: host.require,
            network: host.network,
            outside: (host.host == HostAccess::ReadOnly).then(|| Outside {
                writable: host.writable.clone(),
                passed: host.passed.clone(),
                temporary: host.temporary.clone(),
            }),
            cache: Some(places.cache.clone()),
            staging: StagingPlace::Fixed(places.cache.join("copy")),
            view_places: ViewPlace::all(&places.cache, &places.staging, &plan.workspace, &places.key),
            view_name: view_name(&places.key),
            own_folders: places.roots().map(PathBuf::from).to_vec(),
            no_copy: host.no_copy.clone(),
            ignore: plan.ignore.clone(),
            cache_dirs: plan.cache_dirs.clone(),
            // The plan gives each tool its own.
            exec_timeout: None,
        }
    }

    /// The keys by which something is shut off that is never left open instead, in words.
    pub(super) fn shuts_off(&self) -> Option<String> {
        let network = (!self.network).then_some("sandbox.network = false");
        let outside = self.outside.is_some().then_some("sandbox.host = \"ro\"");
        let asked: Vec<&str> = [network, outside].into_iter().flatten().collect();
        (!asked.is_empty()).then(|| asked.join(" with "))
    }

    pub(super) fn rules(&self) -> Result<Rules, VmError> {
        Rules::new(&self.ignore, &self.cache_dirs).map_err(|error| VmError::Config(error.to_string()))
    }
}

impl Default for HostSettings {
    fn default() -> Self {
        Self {
            strategy: Strategy::Auto,
            require: Require::None,
            network: true,
            outside: None,
            cache: None,
            staging: StagingPlace::Temporary,
            view_places: vec![ViewPlace::shared(temporary::temp_dir())],
            view_name: "devshell".to_owned(),
            own_folders: Vec::new(),
            no_copy: None,
            ignore: Vec::new(),
            cache_dirs: Vec::new(),
            exec_timeout: None,
        }
    }
}
