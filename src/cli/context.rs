//! What was typed and the environment, made into a config and a plan.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::config::{self, ConfigError, Loaded, Override, Request};
use crate::doctor::Case;
use crate::exit::End;
use crate::plan::{self, Facts, Plan, PlanError, Selection};

use super::args::Layers;
use super::end::CliError;

/// A loaded config with what a plan needs besides.
pub(super) struct Loading {
    pub(super) loaded: Loaded,
    cwd: PathBuf,
    env: Vec<(OsString, OsString)>,
}

impl Loading {
    /// Loads the config that is named or found; it must be there.
    pub(super) fn new(file: Option<&Path>, layers: &Layers) -> Result<Self, CliError> {
        Self::load(file, layers, true)
    }

    /// Loads the config that is named or found; without one the defaults hold.
    pub(super) fn optional(file: Option<&Path>, layers: &Layers) -> Result<Self, CliError> {
        Self::load(file, layers, false)
    }

    fn load(file: Option<&Path>, layers: &Layers, required: bool) -> Result<Self, CliError> {
        let cwd = std::env::current_dir()
            .context("the current folder cannot be entered; was it deleted?")
            .map_err(|error| CliError::new(End::ConfigMissing, error))?;
        let env: Vec<_> = std::env::vars_os().collect();
        let request = Request {
            file: file.map(Path::to_path_buf),
            required,
            cwd: cwd.clone(),
            env: env.clone(),
            overrides: overrides(layers),
            profile: layers.profile.clone(),
        };
        let loaded = config::load(&request).map_err(|error| CliError::new(config_end(&error), error))?;
        Ok(Self { loaded, cwd, env })
    }

    /// The plan of the tool list.
    pub(super) fn plan_of_tools(&self, selection: &Selection) -> Result<Plan, CliError> {
        let facts = self.facts()?;
        plan::resolve(&self.loaded, &facts, selection).map_err(plan_error)
    }

    /// The plan of the tool list for looking at it alone, and what a run of it would lack besides.
    pub(super) fn plan_to_look(&self) -> Result<(Plan, Option<PlanError>), CliError> {
        let (facts, missing) = Facts::gather_to_look(&self.loaded, &self.cwd, &self.env).map_err(plan_error)?;
        let plan = plan::resolve(&self.loaded, &facts, &Selection::default()).map_err(plan_error)?;
        Ok((plan, missing))
    }

    /// The plan of one program.
    pub(super) fn plan_of_program(&self, argv: &[OsString]) -> Result<Plan, CliError> {
        let facts = self.facts()?;
        plan::resolve_exec(&self.loaded, &facts, argv.to_vec()).map_err(plan_error)
    }

    /// What the doctor looks at: all tools.
    pub(super) fn case(self) -> Result<Case, CliError> {
        let plan = self.plan_of_tools(&Selection::default())?;
        Ok(Case {
            plan,
            config: self.loaded.config,
            env: self.env,
            cwd: self.cwd,
        })
    }

    fn facts(&self) -> Result<Facts, CliError> {
        Facts::gather(&self.loaded, &self.cwd, &self.env).map_err(plan_error)
    }
}

pub(super) fn plan_error(error: PlanError) -> CliError {
    CliError::new(error.end(), error)
}

fn config_end(error: &ConfigError) -> End {
    match error {
        ConfigError::Missing(_) | ConfigError::Unreadable { .. } => End::ConfigMissing,
        ConfigError::Invalid(_) => End::ConfigInvalid,
        _ => End::Internal,
    }
}

/// Flags as values for keys. `--set` comes first: a flag of its own says the same thing plainer.
pub(super) fn overrides(layers: &Layers) -> Vec<Override> {
    let flags = [
        ("--backend", "vm.backend", &layers.backend),
        ("--workspace-mode", "vm.workspace_mode", &layers.workspace_mode),
        ("--write-back", "workspace.write_back", &layers.write_back),
        ("--exit-code", "run.exit_code", &layers.exit_code),
    ];
    let set = layers.set.iter().cloned();
    let flags = flags
        .into_iter()
        .filter_map(|(flag, key, value)| value.as_ref().map(|value| Override::flag(flag, key, value.as_str())));
    set.chain(flags).collect()
}
