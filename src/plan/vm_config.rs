//! The flat config of the library's sessions.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use super::resolve::limit;
use super::types::{Strategy, WorkspaceMode};
use crate::config::{self, BackendName, ConfigError, Loaded, defaults_and_environment};

/// `[vm]` as one flat struct: what a session of the library is made from.
///
/// The default is the built-in defaults, `vm.enabled` included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VmConfig {
    /// `vm.enabled`; false: the host, whatever `backend` says.
    pub enabled: bool,
    /// `vm.backend`.
    pub backend: BackendName,
    /// `vm.workspace_mode` as it was asked for; see [`VmConfig::workspace_mode_effective`].
    pub workspace_mode: WorkspaceMode,
    /// `vm.eager_start`.
    pub eager_start: bool,
    /// `vm.guest_workspace`.
    pub guest_workspace: String,
    /// `vm.workspace_parent`, absolute; `None`: `staging` below devshell's cache folder.
    pub workspace_parent: Option<PathBuf>,
    /// `vm.exec_timeout`; `None`: no limit.
    pub exec_timeout: Option<Duration>,
    /// `vm.ready_timeout`; `None`: no limit.
    pub ready_timeout: Option<Duration>,
    /// `vm.host.strategy`.
    pub strategy: Strategy,
    /// `vm.lima.instance`.
    pub lima_instance: String,
    /// `vm.lima.limactl`: a name, or an absolute path.
    pub limactl: PathBuf,
    /// `vm.lima.template`.
    pub lima_template: Option<String>,
    /// `vm.lima.cpus`.
    pub lima_cpus: u32,
    /// `vm.lima.memory`, in bytes.
    pub lima_memory: u64,
    /// `vm.lima.disk`, in bytes.
    pub lima_disk: u64,
    /// `vm.lima.stop_on_exit`.
    pub stop_on_exit: bool,
    /// `vm.lima.auto_build_essential`.
    pub auto_build_essential: bool,
    /// `vm.lima.hints`.
    pub lima_hints: bool,
    /// `vm.lima.agent`.
    pub lima_agent: config::Agent,
    /// `vm.lima.carry`.
    pub lima_carry: config::Carry,
    /// `vm.beta.socket`: `unix:PATH`, `tcp:HOST:PORT` or `stdio`.
    pub beta_socket: Option<String>,
    /// `vm.beta.command`.
    pub beta_command: Option<Vec<String>>,
    /// `vm.beta.token_file`, absolute.
    pub beta_token_file: Option<PathBuf>,
    /// `vm.beta.session_staging`.
    pub beta_session_staging: Option<String>,
    /// `vm.remote.endpoint`.
    pub remote_endpoint: Option<String>,
    /// `vm.remote.instance`.
    pub remote_instance: String,
    /// `vm.remote.platform`.
    pub remote_platform: BTreeMap<String, String>,
    /// `vm.remote.header_file`, absolute.
    pub remote_header_file: Option<PathBuf>,
}

impl VmConfig {
    /// The defaults and what the environment of this process says of `[vm]`: the original
    /// names and `DEVSHELL__VM__...`. The only function of the library that reads it.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] with all variables that are set and malformed.
    pub fn from_env() -> Result<Self, ConfigError> {
        let cwd = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
        Self::from_vars(std::env::vars_os(), cwd)
    }

    /// As [`VmConfig::from_env`], from variables that are handed in. Relative paths belong to
    /// `cwd`.
    ///
    /// # Errors
    /// As [`VmConfig::from_env`].
    pub fn from_vars(vars: impl IntoIterator<Item = (OsString, OsString)>, cwd: PathBuf) -> Result<Self, ConfigError> {
        // What other variables ask for is not this config's business, HOME aside, which `~` needs.
        let ours = |name: &OsString| name == "HOME" || name.to_str().is_some_and(config::is_of_vm);
        let vars = vars.into_iter().filter(|(name, _)| ours(name)).collect();
        defaults_and_environment(vars, cwd).map(|loaded| Self::from(&loaded))
    }

    /// The host, whatever else is set.
    #[must_use]
    pub fn disabled() -> Self {
        Self {
            enabled: false,
            ..Self::default()
        }
    }

    /// Whether tools run in a sandbox on this host.
    #[must_use]
    pub fn use_host_sandbox(&self) -> bool {
        !self.enabled || matches!(self.backend, BackendName::Auto | BackendName::Host)
    }

    /// The mode that a session has: `Sync` where there is no guest, whatever was asked for.
    #[must_use]
    pub fn workspace_mode_effective(&self) -> WorkspaceMode {
        if self.use_host_sandbox() || self.backend == BackendName::Remote {
            WorkspaceMode::Sync
        } else {
            self.workspace_mode
        }
    }
}

impl Default for VmConfig {
    #[expect(clippy::expect_used, reason = "a test reads the built-in defaults")]
    fn default() -> Self {
        Self::from_vars([], PathBuf::from("/")).expect("the built-in defaults are valid")
    }
}

impl From<&Loaded> for VmConfig {
    fn from(loaded: &Loaded) -> Self {
        let vm = &loaded.config.vm;
        Self {
            enabled: vm.enabled,
            backend: vm.backend,
            workspace_mode: vm.workspace_mode.into(),
            eager_start: vm.eager_start,
            guest_workspace: vm.guest_workspace.clone(),
            workspace_parent: vm.workspace_parent.clone(),
            exec_timeout: limit(vm.exec_timeout),
            ready_timeout: limit(vm.ready_timeout),
            strategy: vm.host.strategy.into(),
            lima_instance: vm.lima.instance.clone(),
            limactl: vm.lima.limactl.clone(),
            lima_template: vm.lima.template.clone(),
            lima_cpus: vm.lima.cpus,
            lima_memory: vm.lima.memory.0,
            lima_disk: vm.lima.disk.0,
            stop_on_exit: vm.lima.stop_on_exit,
            auto_build_essential: vm.lima.auto_build_essential,
            lima_hints: vm.lima.hints,
            lima_agent: vm.lima.agent.clone(),
            lima_carry: vm.lima.carry,
            beta_socket: vm.beta.socket.clone(),
            beta_command: vm.beta.command.clone(),
            beta_token_file: vm.beta.token_file.clone(),
            beta_session_staging: vm.beta.session_staging.clone(),
            remote_endpoint: vm.remote.endpoint.clone(),
            remote_instance: vm.remote.instance.clone(),
            remote_platform: vm.remote.platform.clone(),
            remote_header_file: vm.remote.header_file.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(pairs: &[(&str, &str)]) -> Result<VmConfig, ConfigError> {
        let vars = pairs.iter().map(|(name, value)| (name.into(), value.into()));
        VmConfig::from_vars(vars, "/here".into())
    }

    #[test]
    fn the_default_is_the_built_in_defaults() {
        let config = VmConfig::default();
        assert!(config.enabled && config.use_host_sandbox());
        assert_eq!(config.backend, BackendName::Auto);
        assert_eq!(config.lima_instance, "devshell-rust");
        assert_eq!(config.lima_memory, 4 << 30);
        assert_eq!(config.exec_timeout, None);
        assert_eq!(config.ready_timeout, Some(Duration::from_secs(600)));
        assert!(!VmConfig::disabled().enabled);
    }

    #[test]
    fn the_original_names_are_read() {
        let config = from(&[
            ("DEVSHELL_VM", "YES"),
            ("DEVSHELL_VM_BACKEND", "beta"),
            ("DEVSHELL_VM_SOCKET", "run/x.sock"),
            ("DEVSHELL_VM_EXEC_TIMEOUT_MS", "1500"),
            ("DEVSHELL_VM_STOP_ON_EXIT", "1"),
            ("DEVSHELL_VM_EAGER", ""),
            ("DEVSHELL__RUN__TIMEOUT", "no concern of ours"),
        ])
        .unwrap();
        assert!(config.enabled && config.stop_on_exit && !config.eager_start && !config.use_host_sandbox());
        assert_eq!(config.beta_socket.as_deref(), Some("unix:/here/run/x.sock"));
        assert_eq!(config.exec_timeout, Some(Duration::from_millis(1500)));
    }

    #[test]
    fn malformed_variables_are_named_all_at_once() {
        let error = from(&[("DEVSHELL_VM", "maybe"), ("DEVSHELL_VM_BACKEND", "limaa")]).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("--> DEVSHELL_VM\n") && text.contains("--> DEVSHELL_VM_BACKEND\n"),
            "{text}"
        );
        assert!(text.ends_with("2 faults in DEVSHELL_VM, DEVSHELL_VM_BACKEND"), "{text}");
    }

    #[test]
    fn the_effective_mode_is_sync_where_there_is_no_guest() {
        let mode = |pairs: &[(&str, &str)]| from(pairs).unwrap().workspace_mode_effective();
        let guest = ("DEVSHELL_VM_WORKSPACE_MODE", "guest");
        assert_eq!(mode(&[guest]), WorkspaceMode::Sync);
        assert_eq!(mode(&[guest, ("DEVSHELL_VM_BACKEND", "remote")]), WorkspaceMode::Sync);
        assert_eq!(mode(&[guest, ("DEVSHELL_VM_BACKEND", "lima")]), WorkspaceMode::Guest);
        assert_eq!(
            mode(&[guest, ("DEVSHELL_VM_BACKEND", "lima"), ("DEVSHELL_VM", "off")]),
            WorkspaceMode::Sync
        );
    }
}
