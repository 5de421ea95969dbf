//! What a run will do: absolute, defaulted, validated, printable.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::exit::ExitCodePolicy;

/// Everything a run needs to know; made by `resolve` from the config and the facts.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The config file, if there was one.
    pub config_file: Option<PathBuf>,
    /// The workspace's canonical path.
    pub workspace: PathBuf,
    /// Where devshell keeps its own things.
    pub places: Places,
    /// The chosen backend and its settings.
    pub backend: Backend,
    /// Why this backend, in words ("vm.backend = auto", "vm.enabled = false", ...).
    pub backend_why: String,
    /// Whether the Vfs or the backend's own tree is the truth.
    pub workspace_mode: WorkspaceMode,
    /// Make the backend ready at once instead of when the first tool is due.
    pub eager_start: bool,
    /// At most this long for making the backend ready; `None`: no limit.
    pub ready_timeout: Option<Duration>,
    /// Gitignore-style patterns: neither pushed nor changed nor deleted on the way back.
    pub ignore: Vec<String>,
    /// Gitignore-style patterns of folders that are used but not carried.
    pub cache_dirs: Vec<String>,
    /// When the result is applied to the workspace.
    pub write_back: WriteBack,
    /// The whole run; `None`: no limit.
    pub run_timeout: Option<Duration>,
    /// Waiting for another run in this workspace; `None`: no limit.
    pub lock_timeout: Option<Duration>,
    /// Stop at the first failure of a required tool.
    pub fail_fast: bool,
    /// What the exit code of a failed tool tells.
    pub exit_code: ExitCodePolicy,
    /// The tools in order, those that are left out by `--only` and `--from` included.
    pub tools: Vec<ToolPlan>,
    /// What the user should know before the run (unknown `DEVSHELL_*` names, ...).
    pub warnings: Vec<String>,
    /// Where the values of secrets are, by name; the values themselves are in no plan.
    pub secrets: Vec<SecretPlan>,
}

/// A variable of tools whose value is read when the run begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretPlan {
    /// The variable's name.
    pub name: String,
    /// Where its value is.
    pub source: SecretSource,
    /// Where the config says so, for messages.
    pub origin: String,
}

/// Where the value of a secret is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// In this variable of the caller.
    Env(String),
    /// In this file; absolute.
    File(PathBuf),
}

/// Where devshell keeps its own things (none of them exists before it is needed).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// A short hash of the workspace's canonical path.
    pub key: String,
    /// Views, staging and indexes of this workspace: `<cache>/devshell/<key>`, or
    /// `$DEVSHELL_EXPORT_BASE/<key>`.
    pub cache: PathBuf,
    /// Journal and kept results of this workspace: `<state>/devshell/<key>`.
    pub state: PathBuf,
    /// Kept results of all workspaces are counted here: `<state>/devshell`.
    pub state_root: PathBuf,
    /// Views, staging and indexes of all workspaces: `<cache>/devshell`.
    pub cache_root: PathBuf,
    /// Staging of guests: `<workspace_parent>/<key>`.
    pub staging: PathBuf,
}

impl Places {
    /// The folders that hold everything of devshell's own.
    #[must_use]
    pub fn roots(&self) -> [&Path; 2] {
        [&self.cache_root, &self.state_root]
    }

    /// Where a commit keeps new contents and undo copies until it is done.
    #[must_use]
    pub fn commit_area(&self) -> PathBuf {
        self.state.join("commit")
    }
}

/// The chosen backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Backend {
    /// A sandbox on this host.
    Host(HostPlan),
    /// A Lima virtual machine.
    Lima(LimaPlan),
    /// A sidecar process.
    Beta(BetaPlan),
    /// A remote-execution cluster. Not available in this version.
    Remote,
}

impl Backend {
    /// The name as it stands in the config and the events.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Host(_) => "host",
            Self::Lima(_) => "lima",
            Self::Beta(_) => "beta",
            Self::Remote => "remote",
        }
    }
}

/// Settings of the sidecar backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BetaPlan {
    /// How the sidecar is reached.
    pub address: SidecarAddress,
    /// Holds the token for TCP.
    pub token_file: Option<PathBuf>,
    /// Where the folder of all guests' staging, `vm.workspace_parent`, lies for the sidecar; the
    /// same path as here by default.
    pub session_staging: Option<String>,
    /// The guest's side of the tree.
    pub guest: GuestPlan,
}

/// Settings of the Lima backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimaPlan {
    /// The instance's name.
    pub instance: String,
    /// limactl: a name, or an absolute path.
    pub limactl: PathBuf,
    /// What a missing instance may be made from.
    pub template: Option<String>,
    /// Processors of an instance that is made.
    pub cpus: u32,
    /// Its memory, in bytes.
    pub memory: u64,
    /// Its disk, in bytes.
    pub disk: u64,
    /// Whether an instance that the run started is stopped behind it.
    pub stop_on_exit: bool,
    /// Whether a C toolchain is installed where there is none.
    pub auto_build_essential: bool,
    /// Whether a failed tool is looked at for what its guest lacks.
    pub hints: bool,
    /// The program that is to serve in the guest.
    pub agent: AgentPlan,
    /// How the tree gets into the guest and back.
    pub carry: Carry,
    /// What `~` means in the instance's mounts.
    pub home: Option<PathBuf>,
    /// The caller's environment: limactl's, where it is given a terminal.
    pub caller: Vec<(OsString, OsString)>,
    /// The guest's side of the tree.
    pub guest: GuestPlan,
}

/// `vm.lima.agent`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentPlan {
    /// None.
    Off,
    /// The `devshell-vm` beside this program, where it is one for the guest; else none.
    Auto,
    /// This program and no other.
    Named(PathBuf),
}

/// `vm.lima.carry`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carry {
    /// By transfer where that is truer or faster, else by the mount.
    Auto,
    /// By the folder that the instance mounts.
    Mount,
    /// Over the agent's connection, into the guest's own file system.
    Transfer,
}

/// How a sidecar is reached (`vm.beta.socket`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SidecarAddress {
    /// A Unix socket.
    Unix(PathBuf),
    /// `HOST:PORT`.
    Tcp(String),
    /// The standard streams of this program.
    Stdio(Vec<String>),
}

/// What all backends with a guest need to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestPlan {
    /// Where `vm.workspace_parent` appears in the guest.
    pub guest_workspace: String,
    /// `workspace.inputs`: what is put into the guest in guest mode.
    pub inputs: Vec<String>,
    /// `workspace.outputs`: what is taken out of the guest in guest mode.
    pub outputs: Vec<String>,
    /// The isolation below which the run must not start.
    pub require: Require,
}

/// Settings of the host backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPlan {
    /// How the private view is made.
    pub strategy: Strategy,
    /// The isolation below which the run must not start.
    pub require: Require,
    /// Whether tools have the network.
    pub network: bool,
    /// Whether tools may write outside the workspace.
    pub host: HostAccess,
    /// Kept writable when `host` is read-only; absolute.
    pub writable: Vec<PathBuf>,
    /// Files and FIFOs by which tools speak to who started devshell, where `host` is read-only.
    pub passed: Vec<PathBuf>,
    /// Folders for temporary files that the tools' environment names, where `host` is read-only.
    pub temporary: Vec<PathBuf>,
    /// Why there can be no staged copy of this workspace, in words.
    pub no_copy: Option<String>,
}

/// `vm.host.strategy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// The best that is to be had.
    Auto,
    /// A file-system overlay.
    Overlay,
    /// A staged copy.
    Copy,
    /// The real tree.
    InPlace,
}

/// `sandbox.require`, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Require {
    /// Nothing.
    None,
    /// Nothing survives the run.
    Processes,
    /// And the workspace's own path shows the private tree.
    View,
    /// And nothing outside is writable.
    Full,
}

impl Require {
    /// The word as it stands in the config and the events.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Processes => "processes",
            Self::View => "view",
            Self::Full => "full",
        }
    }
}

/// `sandbox.host`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostAccess {
    /// As the caller.
    ReadWrite,
    /// Nothing outside the workspace.
    ReadOnly,
}

/// `vm.workspace_mode`: which side is the truth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WorkspaceMode {
    /// Mode S: the Vfs; push, run, pull.
    #[default]
    Sync,
    /// Mode P: the backend's own tree; no push and pull of the tree.
    Guest,
}

/// `workspace.write_back`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteBack {
    /// When every required tool succeeded.
    OnSuccess,
    /// Also after tool failures and timeouts.
    Always,
    /// Keep the result aside.
    Never,
    /// Let it go; no config says that, only whoever opens a shell.
    Drop,
}

/// One tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolPlan {
    /// Unique name.
    pub name: String,
    /// Program and arguments; never empty.
    pub argv: Vec<OsString>,
    /// Working folder below the workspace, `/`-separated, without leading or trailing `/`;
    /// empty for the workspace itself.
    pub cwd: PathBuf,
    /// The tool's own variables (with those of `[env]`), over the caller's passed ones.
    pub env: BTreeMap<String, String>,
    /// Names or patterns of the caller's variables that reach the tool.
    pub pass_env: Vec<String>,
    /// The caller's variables that reach the tool only when `pass_env` names them in full: those
    /// that hold secrets, and those that are called as one.
    pub withheld: Vec<String>,
    /// The names of the secrets that the tool gets.
    pub secrets: Vec<String>,
    /// `None`: no limit.
    pub timeout: Option<Duration>,
    /// `None`: no limit.
    pub no_output_timeout: Option<Duration>,
    /// Between the polite stop and the kill.
    pub grace_period: Duration,
    /// A failure is reported and does not decide.
    pub continue_on_error: bool,
    /// Judged when the tool's turn comes, in the view.
    pub when: When,
    /// How a failed attempt is repeated.
    pub retries: Retries,
    /// Set when `--only` or `--from` leave the tool out; says so in words.
    pub left_out: Option<String>,
}

/// `tool.retries`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Retries {
    /// How often a failed attempt is repeated; 0: never.
    pub count: u32,
    /// Between attempts.
    pub delay: Duration,
    /// Only after these codes; empty: after each, and after signals and timeouts.
    pub exit_codes: Vec<i32>,
}

/// `tool.when`: all that are given must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct When {
    /// The backend's operating system, as `std::env::consts::OS` names it.
    pub os: Option<String>,
    /// This variable is set and not empty in the tool's environment.
    pub env: Option<String>,
    /// This path below the workspace exists in the view.
    pub exists: Option<String>,
}
