//! Config and facts in, plan out.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::environment::passes;
use super::error::PlanError;
use super::facts::{Facts, origin_of_root, real_as_far_as_it_goes, workspace_key};
use super::guests;
use super::outside;
use super::types::{
    Backend, HostAccess, HostPlan, Places, Plan, Retries, SecretPlan, SecretSource, Strategy, ToolPlan, When,
    WorkspaceMode, WriteBack,
};
use crate::config::{self, BackendName, Config, Loaded, Secret, Tool};
use crate::exit::ExitCodePolicy;

/// Which tools of the list run, and how on after a failure.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selection {
    /// `--only`: these alone; empty: all.
    pub only: Vec<String>,
    /// `--from`: this one and those after it.
    pub from: Option<String>,
    /// `--keep-going`: as `run.fail_fast = false`.
    pub keep_going: bool,
}

/// What runs a `script` when the tool has no `shell`.
const SHELL: [&str; 3] = ["sh", "-e", "-c"];

/// Makes the plan of a run of the config's tools. It may be one without tools; see
/// [`require_tools`].
///
/// # Errors
/// [`PlanError::UnknownTool`] for names of the selection, [`PlanError::RootWorkspace`] and
/// [`PlanError::ContainsPlaces`] for a workspace of which no view can be made.
pub fn resolve(loaded: &Loaded, facts: &Facts, selection: &Selection) -> Result<Plan, PlanError> {
    let mut tools: Vec<ToolPlan> = loaded
        .config
        .tool
        .iter()
        .map(|tool| tool_plan(&loaded.config, facts, tool))
        .collect();
    select(&mut tools, selection)?;
    let mut plan = plan(loaded, facts, tools)?;
    plan.fail_fast &= !selection.keep_going;
    Ok(plan)
}

/// Makes the plan of one program, which needs no list: in the caller's folder inside the
/// workspace, or in the workspace when the caller is elsewhere.
///
/// # Errors
/// As [`resolve`].
pub fn resolve_exec(loaded: &Loaded, facts: &Facts, argv: Vec<OsString>) -> Result<Plan, PlanError> {
    let program = argv.first().map_or(Path::new(""), Path::new);
    let file_name = program.file_name().unwrap_or(program.as_os_str());
    let tool = ToolPlan {
        name: file_name.to_string_lossy().into_owned(),
        cwd: facts
            .cwd
            .strip_prefix(&facts.workspace)
            .unwrap_or(Path::new(""))
            .to_path_buf(),
        argv,
        env: tool_env(&loaded.config, facts, &BTreeMap::new()),
        pass_env: loaded.config.sandbox.pass_env.clone(),
        withheld: withheld(&loaded.config),
        // A program that is not of the list gets what is for all.
        secrets: secrets_of(&loaded.config, |secret| secret.tools.is_none()),
        timeout: limit(loaded.config.vm.exec_timeout),
        no_output_timeout: None,
        grace_period: loaded.config.run.grace_period,
        continue_on_error: false,
        when: When::default(),
        retries: Retries::default(),
        left_out: None,
    };
    plan(loaded, facts, vec![tool])
}

/// Refuses a plan without tools, which is valid to look at and cannot be run.
///
/// # Errors
/// [`PlanError::NoTools`].
pub fn require_tools(plan: &Plan) -> Result<(), PlanError> {
    if plan.tools.is_empty() {
        Err(PlanError::NoTools)
    } else {
        Ok(())
    }
}

fn plan(loaded: &Loaded, facts: &Facts, tools: Vec<ToolPlan>) -> Result<Plan, PlanError> {
    let config = &loaded.config;
    let (mut backend, backend_why) = backend(loaded, facts);
    let places = places(config, facts);
    refuse_workspace(loaded, facts, &mut backend, &places)?;
    if let Backend::Host(host) = &mut backend
        && host.host == HostAccess::ReadOnly
    {
        (host.passed, host.temporary) = outside::named(&tools, facts);
    }
    let warnings = loaded.warnings.iter().cloned();
    let warnings = warnings.chain(guests::left_open(config, &backend)).collect();
    Ok(Plan {
        config_file: loaded.file.clone(),
        workspace: facts.workspace.clone(),
        places,
        backend,
        backend_why,
        workspace_mode: config.vm.workspace_mode.into(),
        eager_start: config.vm.eager_start,
        ready_timeout: limit(config.vm.ready_timeout),
        ignore: ignore(config, facts),
        cache_dirs: config.workspace.cache_dirs.clone(),
        write_back: match config.workspace.write_back {
            config::WriteBack::OnSuccess => WriteBack::OnSuccess,
            config::WriteBack::Always => WriteBack::Always,
            config::WriteBack::Never => WriteBack::Never,
        },
        run_timeout: limit(config.run.timeout),
        lock_timeout: limit(config.run.lock_timeout),
        fail_fast: config.run.fail_fast,
        exit_code: match config.run.exit_code {
            config::ExitCode::Tool => ExitCodePolicy::Tool,
            config::ExitCode::Class => ExitCodePolicy::Class,
        },
        tools,
        warnings,
        secrets: secrets(loaded),
    })
}

/// Where the secrets are.
fn secrets(loaded: &Loaded) -> Vec<SecretPlan> {
    let all = loaded.config.secrets.iter();
    all.filter_map(|(name, secret)| {
        let (key, source) = match (&secret.env, &secret.file) {
            (Some(variable), _) => ("env", SecretSource::Env(variable.clone())),
            (None, file) => ("file", SecretSource::File(file.clone()?)),
        };
        let origin = loaded.origins.of(&format!("secrets.{name}.{key}")).last();
        Some(SecretPlan {
            name: name.clone(),
            source,
            origin: origin.map_or_else(String::new, |origin| origin.place.to_string()),
        })
    })
    .collect()
}

fn secrets_of(config: &Config, reaches: impl Fn(&Secret) -> bool) -> Vec<String> {
    let reached = config.secrets.iter().filter(|(_, secret)| reaches(secret));
    reached.map(|(name, _)| name.clone()).collect()
}

/// The caller's variables that are meant for the tools that get a secret, if for any.
fn withheld(config: &Config) -> Vec<String> {
    let secrets = config.secrets.iter();
    let mut names: Vec<String> = secrets
        .flat_map(|(name, secret)| std::iter::once(name.clone()).chain(secret.env.clone()))
        .collect();
    names.dedup();
    names
}

/// What is not carried: what the config says, and devshell's own folders where they lie in the
/// workspace.
fn ignore(config: &Config, facts: &Facts) -> Vec<String> {
    let own = [&facts.cache_root, &facts.state_root];
    let inside = own
        .into_iter()
        .filter_map(|root| root.strip_prefix(&facts.workspace).ok()?.to_str());
    let patterns = inside.filter(|path| !path.is_empty()).map(|path| {
        let plain = |letter: char| letter.is_alphanumeric() || "/._-".contains(letter);
        let escaped: String = path
            .chars()
            .flat_map(|letter| (!plain(letter)).then_some('\\').into_iter().chain([letter]))
            .collect();
        format!("/{escaped}/")
    });
    config.workspace.ignore.iter().cloned().chain(patterns).collect()
}

/// Zero is how the config writes "none".
pub(super) fn limit(duration: Duration) -> Option<Duration> {
    Some(duration).filter(|duration| !duration.is_zero())
}

/// The backend, and why in words.
fn backend(loaded: &Loaded, facts: &Facts) -> (Backend, String) {
    let vm = &loaded.config.vm;
    let set_by = |key: &str| {
        let origin = loaded.origins.of(key).last();
        origin.map_or_else(|| "default".into(), |origin| origin.place.to_string())
    };
    if !vm.enabled {
        return (
            Backend::Host(host(&loaded.config)),
            format!("vm.enabled = false, {}", set_by("vm.enabled")),
        );
    }
    let why = format!("vm.backend = \"{}\", {}", vm.backend.word(), set_by("vm.backend"));
    let backend = match vm.backend {
        BackendName::Auto | BackendName::Host => Backend::Host(host(&loaded.config)),
        BackendName::Lima => Backend::Lima(guests::lima(&loaded.config, facts)),
        BackendName::Beta => Backend::Beta(guests::beta(&loaded.config)),
        BackendName::Remote => Backend::Remote,
    };
    (backend, why)
}

fn host(config: &Config) -> HostPlan {
    HostPlan {
        strategy: config.vm.host.strategy.into(),
        require: config.sandbox.require.into(),
        network: config.sandbox.network,
        host: match config.sandbox.host {
            config::HostAccess::ReadWrite => HostAccess::ReadWrite,
            config::HostAccess::ReadOnly => HostAccess::ReadOnly,
        },
        writable: config.sandbox.writable.clone(),
        passed: Vec::new(),
        temporary: Vec::new(),
        no_copy: None,
    }
}

impl HostPlan {
    /// What the host backend is told, also where the config chooses another one.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        host(config)
    }
}

impl From<config::Strategy> for Strategy {
    fn from(strategy: config::Strategy) -> Self {
        match strategy {
            config::Strategy::Auto => Self::Auto,
            config::Strategy::Overlay => Self::Overlay,
            config::Strategy::Copy => Self::Copy,
            config::Strategy::InPlace => Self::InPlace,
        }
    }
}

impl From<config::WorkspaceMode> for WorkspaceMode {
    fn from(mode: config::WorkspaceMode) -> Self {
        match mode {
            config::WorkspaceMode::Sync => Self::Sync,
            config::WorkspaceMode::Guest => Self::Guest,
        }
    }
}

fn places(config: &Config, facts: &Facts) -> Places {
    let key = workspace_key(&facts.workspace);
    let default_parent = || facts.cache_root.join("staging");
    let parent = config.vm.workspace_parent.clone().unwrap_or_else(default_parent);
    Places {
        cache: facts.cache_root.join(&key),
        state: facts.state_root.join(&key),
        state_root: facts.state_root.clone(),
        cache_root: facts.cache_root.clone(),
        staging: parent.join(&key),
        key,
    }
}

/// A view of a tree that contains itself has no end, and a tool that cleans such a tree would
/// take the undo copies with it.
fn refuse_workspace(loaded: &Loaded, facts: &Facts, backend: &mut Backend, places: &Places) -> Result<(), PlanError> {
    let guest = !matches!(backend, Backend::Host(_));
    if let Backend::Host(host) = backend
        && host.strategy == Strategy::InPlace
    {
        return Ok(());
    }
    let of_the_kernel = ["/proc", "/sys"]
        .iter()
        .any(|folder| facts.workspace.starts_with(folder));
    if of_the_kernel || [Path::new("/"), Path::new("/dev")].contains(&facts.workspace.as_path()) {
        return Err(PlanError::RootWorkspace {
            path: facts.workspace.clone(),
            origin: origin_of_root(loaded),
        });
    }
    let cache_remedy = if facts.variable("DEVSHELL_EXPORT_BASE").is_some() {
        "DEVSHELL_EXPORT_BASE"
    } else {
        "DEVSHELL_EXPORT_BASE or XDG_CACHE_HOME"
    };
    let staging_remedy = if loaded.config.vm.workspace_parent.is_some() {
        "vm.workspace_parent"
    } else {
        cache_remedy
    };
    let mut all: Vec<(&'static str, PathBuf, &'static str)> = vec![
        ("cache", facts.cache_root.clone(), cache_remedy),
        ("state", facts.state_root.clone(), "XDG_STATE_HOME"),
    ];
    if guest {
        all.push(("staging", real_as_far_as_it_goes(&places.staging), staging_remedy));
    }
    let contained = all
        .into_iter()
        .find(|(_, place, _)| place.starts_with(&facts.workspace));
    let Some((what, place, remedy)) = contained else {
        return Ok(());
    };
    let error = PlanError::ContainsPlaces {
        workspace: facts.workspace.clone(),
        what,
        place,
        remedy,
        guest,
    };
    match backend {
        // An overlay hides these folders from the tools.
        Backend::Host(host) if host.strategy != Strategy::Copy => {
            host.no_copy = Some(error.to_string());
            Ok(())
        }
        _ => Err(error),
    }
}

fn tool_plan(config: &Config, facts: &Facts, tool: &Tool) -> ToolPlan {
    let argv = match (&tool.run, &tool.script) {
        (Some(run), _) => run.iter().map(OsString::from).collect(),
        (None, script) => {
            let shell = tool.shell.clone().unwrap_or_else(|| SHELL.map(str::to_owned).to_vec());
            shell.into_iter().chain(script.clone()).map(OsString::from).collect()
        }
    };
    let when = tool.when.as_ref();
    ToolPlan {
        name: tool.name.clone(),
        argv,
        cwd: tool.cwd.as_deref().and_then(config::inside).unwrap_or_default().into(),
        env: tool_env(config, facts, &tool.env),
        pass_env: config.sandbox.pass_env.clone(),
        withheld: withheld(config),
        secrets: secrets_of(config, |secret| secret.reaches(&tool.name)),
        timeout: limit(tool.timeout.unwrap_or(config.vm.exec_timeout)),
        no_output_timeout: tool.no_output_timeout.and_then(limit),
        grace_period: tool.grace_period.unwrap_or(config.run.grace_period),
        continue_on_error: tool.continue_on_error,
        when: When {
            os: when.and_then(|when| when.os.clone()),
            env: when.and_then(|when| when.env.clone()),
            exists: when.and_then(|when| when.exists.as_deref()).and_then(config::inside),
        },
        retries: tool.retries.as_ref().map_or_else(Retries::default, |retries| Retries {
            count: retries.count,
            delay: retries.delay,
            exit_codes: retries.exit_codes.clone(),
        }),
        left_out: None,
    }
}

/// `[env]`, the tool's own over it, and the request to git not to rewrite its index when it is
/// only looked at.
fn tool_env(config: &Config, facts: &Facts, own: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    const GIT: &str = "GIT_OPTIONAL_LOCKS";
    let mut env = config.env.clone();
    env.extend(own.iter().map(|(name, value)| (name.clone(), value.clone())));
    let told = facts
        .env
        .iter()
        .any(|(name, _)| name == GIT && passes(&config.sandbox.pass_env, name));
    if !told {
        env.entry(GIT.into()).or_insert_with(|| "0".into());
    }
    env
}

fn select(tools: &mut [ToolPlan], selection: &Selection) -> Result<(), PlanError> {
    let position = |flag: &'static str, name: &str| {
        let found = tools.iter().position(|tool| tool.name == name);
        found.ok_or_else(|| {
            let known: Vec<String> = tools.iter().map(|tool| tool.name.clone()).collect();
            PlanError::UnknownTool {
                flag,
                name: name.to_owned(),
                near: config::nearest(name, known.iter().map(String::as_str)).map(str::to_owned),
                known,
            }
        })
    };
    let first = match &selection.from {
        Some(name) => position("--from", name)?,
        None => 0,
    };
    let only: Vec<usize> = selection
        .only
        .iter()
        .map(|name| position("--only", name))
        .collect::<Result<_, _>>()?;
    for (index, tool) in tools.iter_mut().enumerate() {
        if index < first {
            tool.left_out = selection.from.as_ref().map(|name| format!("before --from {name}"));
        } else if !only.is_empty() && !only.contains(&index) {
            tool.left_out = Some("not in --only".into());
        }
    }
    Ok(())
}
