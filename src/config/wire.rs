//! The config as plain data, after all layers are merged.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::text;
use super::words::{BackendName, Carry, ExitCode, HostAccess, Require, Strategy, WorkspaceMode, WriteBack};

/// Everything that `devshell.toml` can say, with the defaults filled in and the paths of this
/// host absolute. `Option` stands where a key has no default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `[vm]`.
    pub vm: Vm,
    /// `[workspace]`.
    pub workspace: Workspace,
    /// `[sandbox]`.
    pub sandbox: Sandbox,
    /// `[env]`: variables of every tool.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// `[secrets]`: variables whose values are elsewhere.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, Secret>,
    /// `[run]`.
    pub run: Run,
    /// `[[tool]]`, in order.
    #[serde(default, deserialize_with = "in_order", skip_serializing_if = "Vec::is_empty")]
    pub tool: Vec<Tool>,
}

/// `[vm]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vm {
    /// False: the host, whatever `backend` says.
    pub enabled: bool,
    /// Where tools run.
    pub backend: BackendName,
    /// Which side is the truth.
    pub workspace_mode: WorkspaceMode,
    /// Make the backend ready at once.
    pub eager_start: bool,
    /// Where `workspace_parent` appears in the guest.
    pub guest_workspace: String,
    /// The folder for the staging of guests.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "some_lossy")]
    pub workspace_parent: Option<PathBuf>,
    /// Of every tool that has none of its own; 0: none.
    #[serde(with = "duration")]
    pub exec_timeout: Duration,
    /// For making the backend ready; 0: none.
    #[serde(with = "duration")]
    pub ready_timeout: Duration,
    /// `[vm.host]`.
    pub host: Host,
    /// `[vm.lima]`.
    pub lima: Lima,
    /// `[vm.beta]`.
    #[serde(default)]
    pub beta: Beta,
    /// `[vm.remote]`.
    pub remote: Remote,
}

/// `[vm.host]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// How the private view is made.
    pub strategy: Strategy,
}

/// `[vm.lima]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lima {
    /// The instance's name.
    pub instance: String,
    /// limactl's name or path.
    #[serde(serialize_with = "lossy")]
    pub limactl: PathBuf,
    /// What a missing instance is created from; none: it is not created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// Processors of a new instance.
    pub cpus: u32,
    /// Memory of a new instance.
    pub memory: Size,
    /// Disk of a new instance.
    pub disk: Size,
    /// Stop an instance that this run started.
    pub stop_on_exit: bool,
    /// Install a C toolchain in the guest when it has none.
    pub auto_build_essential: bool,
    /// Diagnostics after a failure.
    pub hints: bool,
    /// The resident helper in the guest.
    pub agent: Agent,
    /// How the tree gets there and back.
    pub carry: Carry,
}

/// `[vm.beta]`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Beta {
    /// `unix:PATH`, a bare path, `tcp:HOST:PORT` or `stdio`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub socket: Option<String>,
    /// The program that speaks the protocol over its standard streams.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// Holds the token for tcp.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "some_lossy")]
    pub token_file: Option<PathBuf>,
    /// The staging folder as the sidecar sees it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_staging: Option<String>,
}

/// `[vm.remote]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Remote {
    /// `grpc://...` or `grpcs://...`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The instance's name.
    pub instance: String,
    /// Properties that the worker must have.
    #[serde(default)]
    pub platform: BTreeMap<String, String>,
    /// Extra request headers.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "some_lossy")]
    pub header_file: Option<PathBuf>,
}

/// `[workspace]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workspace {
    /// The project tree.
    #[serde(serialize_with = "lossy")]
    pub root: PathBuf,
    /// Patterns of what is left alone on both sides.
    pub ignore: Vec<String>,
    /// Patterns of folders that are used but not carried.
    pub cache_dirs: Vec<String>,
    /// Guest mode: what goes in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inputs: Option<Vec<String>>,
    /// Guest mode: what comes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outputs: Option<Vec<String>>,
    /// When the result is applied.
    pub write_back: WriteBack,
}

/// `[sandbox]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sandbox {
    /// Whether tools have the network.
    pub network: bool,
    /// Whether tools may write outside the workspace.
    pub host: HostAccess,
    /// Kept writable when `host` is read-only.
    #[serde(serialize_with = "all_lossy")]
    pub writable: Vec<PathBuf>,
    /// The isolation below which a run must not start.
    pub require: Require,
    /// Which of the caller's variables tools see.
    pub pass_env: Vec<String>,
}

/// `[run]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// The whole run; 0: none.
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// Waiting for another run in this workspace; 0: none.
    #[serde(with = "duration")]
    pub lock_timeout: Duration,
    /// Between the polite stop and the kill.
    #[serde(with = "duration")]
    pub grace_period: Duration,
    /// Stop at the first failure.
    pub fail_fast: bool,
    /// What the exit code of a failed tool tells.
    pub exit_code: ExitCode,
}

/// One `[[tool]]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tool {
    /// Unique; never empty.
    pub name: String,
    /// Program and arguments; this or `script`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<Vec<String>>,
    /// The last argument of `shell`; this or `run`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<String>,
    /// What runs `script`; default `sh -e -c`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shell: Option<Vec<String>>,
    /// Below the workspace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// Variables of this tool.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Default: `vm.exec_timeout`; 0: none.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "some_duration")]
    pub timeout: Option<Duration>,
    /// 0: none.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "some_duration")]
    pub no_output_timeout: Option<Duration>,
    /// Default: `run.grace_period`.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "some_duration")]
    pub grace_period: Option<Duration>,
    /// How a failed attempt is repeated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<Retries>,
    /// A failure is reported and does not decide.
    #[serde(default)]
    pub continue_on_error: bool,
    /// When the tool runs at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<When>,
    /// What the tool makes, for `remote` and `cache`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outputs: Option<Vec<String>>,
    /// Keeps the order while tools are merged by name.
    #[serde(skip_serializing)]
    position: usize,
}

/// One of `[secrets]`: where its value is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Secret {
    /// In this variable of the caller; this or `file`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<String>,
    /// In this file; this or `env`.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "some_lossy")]
    pub file: Option<PathBuf>,
    /// The tools that get it; none: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<Vec<String>>,
}

impl Secret {
    /// Whether a tool of the list gets it.
    #[must_use]
    pub fn reaches(&self, tool: &str) -> bool {
        self.tools
            .as_ref()
            .is_none_or(|tools| tools.iter().any(|name| name == tool))
    }
}

/// `tool.retries`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retries {
    /// How often a failed attempt is repeated.
    #[serde(default)]
    pub count: u32,
    /// Between attempts.
    #[serde(default, with = "duration")]
    pub delay: Duration,
    /// Repeat after these codes only; empty: after each.
    #[serde(default)]
    pub exit_codes: Vec<i32>,
}

/// `tool.when`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct When {
    /// The backend's operating system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os: Option<String>,
    /// This variable is set and not empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<String>,
    /// This path exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exists: Option<String>,
}

/// A size in bytes, written as `4GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text::show_size(self.0))
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u64::deserialize(deserializer).map(Self)
    }
}

/// `vm.lima.agent`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Agent {
    /// Used where it can be.
    Auto,
    /// Never.
    Off,
    /// This program.
    Path(PathBuf),
}

impl Serialize for Agent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::Off => serializer.serialize_str("off"),
            Self::Path(path) => lossy(path, serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Agent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match String::deserialize(deserializer)?.as_str() {
            "auto" => Self::Auto,
            "off" => Self::Off,
            path => Self::Path(path.into()),
        })
    }
}

/// Tools come as a map by name.
fn in_order<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Tool>, D::Error> {
    let by_name = BTreeMap::<String, Tool>::deserialize(deserializer)?;
    let mut tools: Vec<Tool> = by_name.into_values().collect();
    tools.sort_by_key(|tool| tool.position);
    Ok(tools)
}

// A path that is no UTF-8 cannot be written in TOML or JSON; what is printed for reading shows
// it with replacement characters rather than not at all.
fn lossy<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}

#[expect(clippy::ref_option, reason = "serde gives a reference to the field")]
fn some_lossy<S: Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
    path.as_ref().map(|path| path.to_string_lossy()).serialize(serializer)
}

fn all_lossy<S: Serializer>(paths: &[PathBuf], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(paths.iter().map(|path| path.to_string_lossy()))
}

/// Durations as text.
mod duration {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(*duration))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_duration(&text).map_err(D::Error::custom)
    }
}

/// Durations as text, where there may be none.
mod some_duration {
    use std::time::Duration;

    use serde::{Deserializer, Serialize, Serializer};

    #[expect(clippy::ref_option, reason = "serde gives a reference to the field")]
    pub(super) fn serialize<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        duration
            .map(|duration| humantime::format_duration(duration).to_string())
            .serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        super::duration::deserialize(deserializer).map(Some)
    }
}
