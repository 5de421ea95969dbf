//! What backends with a guest need to know, from the config.

use super::facts::Facts;
use super::types::{AgentPlan, Backend, BetaPlan, Carry, GuestPlan, LimaPlan, Require, SidecarAddress};
use crate::config::{self, Config};

pub(super) fn beta(config: &Config) -> BetaPlan {
    let beta = &config.vm.beta;
    BetaPlan {
        address: SidecarAddress::new(beta.socket.as_deref(), beta.command.as_deref()),
        token_file: beta.token_file.clone(),
        session_staging: beta.session_staging.clone(),
        guest: guest(config),
    }
}

pub(super) fn lima(config: &Config, facts: &Facts) -> LimaPlan {
    let lima = &config.vm.lima;
    LimaPlan {
        instance: lima.instance.clone(),
        limactl: lima.limactl.clone(),
        template: lima.template.clone(),
        cpus: lima.cpus,
        memory: lima.memory.0,
        disk: lima.disk.0,
        stop_on_exit: lima.stop_on_exit,
        auto_build_essential: lima.auto_build_essential,
        hints: lima.hints,
        agent: lima.agent.clone().into(),
        carry: lima.carry.into(),
        home: facts.variable("HOME").map(Into::into),
        caller: facts.env.clone(),
        guest: guest(config),
    }
}

/// What all backends with a guest need to know.
pub(super) fn guest(config: &Config) -> GuestPlan {
    GuestPlan {
        guest_workspace: config.vm.guest_workspace.clone(),
        inputs: config.workspace.inputs.clone().unwrap_or_default(),
        outputs: config.workspace.outputs.clone().unwrap_or_default(),
        require: config.sandbox.require.into(),
    }
}

/// What the config shuts off on this host and nothing shuts off elsewhere.
pub(super) fn left_open(config: &Config, backend: &Backend) -> Option<String> {
    let (name, is_other_host) = match backend {
        Backend::Host(_) | Backend::Remote => return None,
        // What is outside of the workspace in a guest is not this host.
        Backend::Lima(_) => ("lima", false),
        Backend::Beta(_) => ("beta", true),
    };
    let network = (!config.sandbox.network).then_some("sandbox.network = false");
    let host =
        (is_other_host && config.sandbox.host == config::HostAccess::ReadOnly).then_some("sandbox.host = \"ro\"");
    let keys: Vec<&str> = [network, host].into_iter().flatten().collect();
    (!keys.is_empty()).then(|| {
        format!(
            "{} on the host backend only: with `{name}` tools reach what the place that they run in lets them reach",
            keys.join(" and ") + if keys.len() == 1 { " holds" } else { " hold" }
        )
    })
}

impl SidecarAddress {
    /// From `vm.beta.socket`, as the config has checked it, and `vm.beta.command`.
    #[must_use]
    pub fn new(socket: Option<&str>, command: Option<&[String]>) -> Self {
        match socket {
            // A command alone is meant to be spoken with.
            Some("stdio") | None => Self::Stdio(command.unwrap_or_default().to_vec()),
            Some(socket) => match socket.strip_prefix("tcp:") {
                Some(address) => Self::Tcp(address.to_owned()),
                None => Self::Unix(socket.strip_prefix("unix:").unwrap_or(socket).into()),
            },
        }
    }
}

impl From<config::Agent> for AgentPlan {
    fn from(agent: config::Agent) -> Self {
        match agent {
            config::Agent::Off => Self::Off,
            config::Agent::Auto => Self::Auto,
            config::Agent::Path(path) => Self::Named(path),
        }
    }
}

impl From<config::Carry> for Carry {
    fn from(carry: config::Carry) -> Self {
        match carry {
            config::Carry::Auto => Self::Auto,
            config::Carry::Mount => Self::Mount,
            config::Carry::Transfer => Self::Transfer,
        }
    }
}

impl From<config::Require> for Require {
    fn from(require: config::Require) -> Self {
        match require {
            config::Require::None => Self::None,
            config::Require::Processes => Self::Processes,
            config::Require::View => Self::View,
            config::Require::Full => Self::Full,
        }
    }
}
