//! What was found, as values: the wire form of `devshell doctor --json`.

use schemars::JsonSchema;
use serde::Serialize;

use crate::exit::{End, ExitCodePolicy};
use crate::plan::Plan;

/// The value of `v` in every report of this version.
pub const DOCTOR_VERSION: u32 = 1;

/// What `devshell doctor` has found. Field names, types, states and the names of checks are API
/// and change only with `v`; checks may be added. The texts are for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Report {
    /// Version of this form: 1.
    pub v: u32,
    /// devshell's own version.
    pub devshell: String,
    /// The config, if there was one; else the defaults hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<String>,
    /// The workspace on the host, as text (lossy where it is not UTF-8).
    pub workspace: String,
    /// The backend that a run would use: `host`, `lima`, `beta` or `remote`.
    pub configured: String,
    /// Why that one, in words.
    pub configured_by: String,
    /// Whether a run could begin with it.
    pub usable: bool,
    /// devshell's exit code: 0 when `usable`, else 69.
    pub exit_code: u8,
    /// All backends, by name.
    pub backends: Vec<BackendReport>,
    /// The workspace; a problem here makes no backend usable.
    pub workspace_checks: Vec<Check>,
    /// devshell's own folders; a problem here makes no backend usable.
    pub folders: Vec<Check>,
    /// The programs that the tools name, as this host finds them now.
    pub programs: Vec<Check>,
}

/// One backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct BackendReport {
    /// `host`, `lima`, `beta` or `remote`.
    pub backend: String,
    /// Whether a run would use it.
    pub configured: bool,
    /// Whether a run could begin with it: none of its checks is a problem, nor one of the
    /// workspace's or the folders'.
    pub usable: bool,
    /// What was looked at.
    pub checks: Vec<Check>,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Check {
    /// What; unique in its list but for `program`.
    pub check: String,
    /// How it stands.
    pub state: State,
    /// What was found, in words.
    pub found: String,
    /// The command that mends it, where there is something to mend.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// How a thing stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// As it should be.
    Ok,
    /// Worth to know, neither good nor bad.
    Info,
    /// A run works, but not as well as it could.
    Warning,
    /// A run cannot begin.
    Problem,
}

impl Check {
    fn new(check: &str, state: State, found: impl Into<String>) -> Self {
        Self {
            check: check.to_owned(),
            state,
            found: found.into(),
            remedy: None,
        }
    }

    pub(super) fn ok(check: &str, found: impl Into<String>) -> Self {
        Self::new(check, State::Ok, found)
    }

    pub(super) fn info(check: &str, found: impl Into<String>) -> Self {
        Self::new(check, State::Info, found)
    }

    pub(super) fn warning(check: &str, found: impl Into<String>) -> Self {
        Self::new(check, State::Warning, found)
    }

    pub(super) fn problem(check: &str, found: impl Into<String>) -> Self {
        Self::new(check, State::Problem, found)
    }

    /// With the command that mends it.
    pub(super) fn mended_by(self, command: impl Into<String>) -> Self {
        Self {
            remedy: Some(command.into()),
            ..self
        }
    }

    /// With the command that mends it, where there is one.
    pub(super) fn maybe_mended_by(self, remedy: Option<String>) -> Self {
        Self { remedy, ..self }
    }
}

fn has_problem(checks: &[Check]) -> bool {
    checks.iter().any(|check| check.state == State::Problem)
}

impl Report {
    /// The report on these groups, the backends first.
    pub(super) fn of(plan: &Plan, groups: Vec<(&'static str, Vec<Check>)>) -> Self {
        let configured = plan.backend.name();
        let (mut backends, mut common) = (Vec::new(), [Vec::new(), Vec::new(), Vec::new()]);
        for (name, checks) in groups {
            let [workspace, folders, programs] = &mut common;
            match name {
                "workspace" => *workspace = checks,
                "folders" => *folders = checks,
                "programs" => *programs = checks,
                backend => backends.push(BackendReport {
                    backend: backend.to_owned(),
                    configured: backend == configured,
                    usable: !has_problem(&checks),
                    checks,
                }),
            }
        }
        let [workspace_checks, folders, programs] = common;
        if has_problem(&workspace_checks) || has_problem(&folders) {
            backends.iter_mut().for_each(|backend| backend.usable = false);
        }
        let usable = backends.iter().any(|backend| backend.configured && backend.usable);
        let end = if usable { End::Ok } else { End::Backend };
        Self {
            v: DOCTOR_VERSION,
            devshell: env!("CARGO_PKG_VERSION").to_owned(),
            config: plan.config_file.as_ref().map(|file| file.display().to_string()),
            workspace: plan.workspace.display().to_string(),
            configured: configured.to_owned(),
            configured_by: plan.backend_why.clone(),
            usable,
            exit_code: end.code(ExitCodePolicy::Tool),
            backends,
            workspace_checks,
            folders,
            programs,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `DEVSHELL_TEST_BLESS=1 cargo test` writes the file anew.
    #[test]
    fn the_published_schema_is_the_one_of_these_types() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/doctor.schema.json");
        let schema = format!("{:#}\n", serde_json::to_value(schemars::schema_for!(Report)).unwrap());
        if std::env::var_os("DEVSHELL_TEST_BLESS").is_some() {
            std::fs::write(file, &schema).unwrap();
        }
        assert_eq!(
            std::fs::read_to_string(file).unwrap(),
            schema,
            "docs/doctor.schema.json has drifted"
        );
    }
}
