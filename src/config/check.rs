//! Values that are good alone and contradict each other.

use std::path::Path;

use super::decode::join;
use super::fault::Fault;
use super::load::Origins;
use super::schema::{list, nearest};
use super::secret_table::{EXAMPLE, PLACES};
use super::source::Rank;
use super::wire::{Agent, Config};
use super::words::{BackendName, Carry, HostAccess, Require, Strategy, WorkspaceMode, WriteBack};

/// Whether tools run on the host.
pub(super) fn on_host(config: &Config) -> bool {
    !config.vm.enabled || matches!(config.vm.backend, BackendName::Auto | BackendName::Host)
}

/// All contradictions; `faulty` tells whether a key has a fault of its own, so that nothing is
/// concluded from what stands in its stead.
pub(super) fn contradictions(config: &Config, origins: &Origins, faulty: impl Fn(&str) -> bool) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut fault = |message: String, key: &str, depends: &[&str], help: &[&str]| {
        if faulty(key) || depends.iter().any(|key| faulty(key)) {
            return;
        }
        // The value that was given, before one that is only a default.
        let mut given = std::iter::once(key)
            .chain(depends.iter().copied())
            .filter_map(|key| origins.of(key).last());
        let Some(origin) = given
            .clone()
            .find(|origin| origin.rank > Rank::Default)
            .or_else(|| given.next())
        else {
            return;
        };
        let mut fault = Fault::new(message, origin.place.clone()).of(key);
        fault.help.extend(help.iter().map(|help| (*help).to_owned()));
        faults.push(fault);
    };

    const WHERE: [&str; 2] = ["vm.backend", "vm.enabled"];
    if config.vm.workspace_mode == WorkspaceMode::Guest && (on_host(config) || config.vm.backend == BackendName::Remote)
    {
        let found = if config.vm.enabled {
            format!("`vm.backend = \"{}\"` has none", config.vm.backend.word())
        } else {
            "`vm.enabled` is false".to_owned()
        };
        fault(
            format!("`vm.workspace_mode = \"guest\"` needs a backend with a guest, and {found}"),
            "vm.workspace_mode",
            &WHERE,
            &[
                "a guest: `DEVSHELL_VM=on DEVSHELL_VM_BACKEND=lima` (or `beta`)",
                "the tree carried there and back: `--workspace-mode sync`",
            ],
        );
    }
    if config.vm.workspace_mode == WorkspaceMode::Sync {
        for (name, given) in [
            ("inputs", &config.workspace.inputs),
            ("outputs", &config.workspace.outputs),
        ] {
            if given.is_some() {
                fault(
                    format!("`workspace.{name}` is for guest mode, and `vm.workspace_mode` is \"sync\""),
                    &format!("workspace.{name}"),
                    &["vm.workspace_mode"],
                    &[
                        "in sync mode the whole tree goes there and back: leave it out",
                        "or set `workspace_mode = \"guest\"` in [vm]",
                    ],
                );
            }
        }
    }
    if config.vm.enabled
        && config.vm.backend == BackendName::Lima
        && config.vm.workspace_mode == WorkspaceMode::Sync
        && config.vm.lima.carry == Carry::Transfer
        && config.vm.lima.agent == Agent::Off
    {
        fault(
            "`vm.lima.carry = \"transfer\"` cannot hold with `vm.lima.agent = \"off\"`".into(),
            "vm.lima.carry",
            &["vm.lima.agent", "vm.backend", "vm.workspace_mode", "vm.enabled"],
            &["the tree is carried by the agent: let it be `auto`, or set `carry = \"mount\"`"],
        );
    }
    if config.vm.enabled
        && config.vm.backend == BackendName::Beta
        && config.vm.beta.socket.as_deref() == Some("stdio")
        && config.vm.beta.command.is_none()
    {
        fault(
            "`vm.beta.socket = \"stdio\"` needs a program to speak with, and `vm.beta.command` is not set".into(),
            "vm.beta.socket",
            &["vm.beta.command", "vm.backend", "vm.enabled"],
            &["for example `command = [\"podman\", \"run\", \"-i\", \"devshell-vm\"]` in [vm.beta]"],
        );
    }
    if config.vm.enabled
        && config.vm.backend == BackendName::Beta
        && config.vm.beta.socket.is_none()
        && config.vm.beta.command.is_none()
    {
        fault(
            "`vm.backend = \"beta\"` needs a sidecar, and `vm.beta.socket` is not set".into(),
            "vm.backend",
            &["vm.beta.socket", "vm.beta.command", "vm.enabled"],
            &[
                "a socket: `socket = \"unix:/run/devshell.sock\"` in [vm.beta], or DEVSHELL_VM_SOCKET",
                "a program to speak with: `socket = \"stdio\"` and `command = [...]`",
            ],
        );
    }
    if on_host(config) && config.sandbox.require == Require::Full && config.sandbox.host == HostAccess::ReadWrite {
        fault(
            "`sandbox.require = \"full\"` cannot hold with `sandbox.host = \"rw\"`".into(),
            "sandbox.require",
            &["sandbox.host", "vm.backend", "vm.enabled"],
            &["`full` is: nothing outside the workspace is writable. Set `host = \"ro\"` in [sandbox]"],
        );
    }
    if on_host(config)
        && config.sandbox.host == HostAccess::ReadOnly
        && config.sandbox.writable.iter().any(|path| path == Path::new("/"))
    {
        fault(
            "`sandbox.writable` holds `/`, and `sandbox.host = \"ro\"` is to make it read-only".into(),
            "sandbox.writable",
            &["sandbox.host", "vm.backend", "vm.enabled"],
            &["name the folders that tools are to write, or set `host = \"rw\"`"],
        );
    }
    if on_host(config) && config.vm.host.strategy == Strategy::InPlace {
        if config.workspace.write_back == WriteBack::Never {
            fault(
                "`workspace.write_back = \"never\"` cannot hold with `vm.host.strategy = \"in_place\"`".into(),
                "workspace.write_back",
                &["vm.host.strategy", "vm.backend", "vm.enabled"],
                &[
                    "in place the tools write to the real tree themselves: choose `copy` or `auto`, or leave `write_back` out",
                ],
            );
        }
        for tool in &config.tool {
            if tool.retries.as_ref().is_some_and(|retries| retries.count > 0) {
                let path = join("tool", &tool.name);
                let keys = [format!("{path}.retries"), format!("{path}.retries.count")];
                fault(
                    format!(
                        "`retries` of `{}` cannot hold with `vm.host.strategy = \"in_place\"`",
                        tool.name
                    ),
                    &keys[1],
                    &[&keys[0], "vm.host.strategy", "vm.backend", "vm.enabled"],
                    &[
                        "a retry starts from the state before the failed attempt, and in place there is none to go back to",
                    ],
                );
            }
        }
    }
    faults.extend(of_secrets(config, origins, &faulty));
    faults
}

/// Secrets that are nowhere, whose names are taken, or that go to tools that are not there.
fn of_secrets(config: &Config, origins: &Origins, faulty: &impl Fn(&str) -> bool) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (name, secret) in &config.secrets {
        let path = join("secrets", name);
        let place = |key: &str| {
            let origin = origins.of(&format!("{path}.{key}")).last();
            origin.map(|origin| origin.place.clone())
        };
        let held = [secret.env.is_some(), secret.file.is_some()];
        let mut holds = PLACES.iter().zip(held).filter(|(_, held)| *held);
        let Some(source) = holds.find_map(|(key, _)| place(key)) else {
            let parts = ["env", "file", "tools"].map(|key| format!("{path}.{key}"));
            if !faulty(&path) && !parts.iter().any(|key| faulty(key)) {
                faults.push(Fault {
                    message: format!("`{path}` has neither `env` nor `file`"),
                    place: place("tools"),
                    help: vec![EXAMPLE.to_owned()],
                    key: Some(path),
                });
            }
            continue;
        };
        let of_tools = config.tool.iter().filter(|tool| secret.reaches(&tool.name));
        let others = of_tools.map(|tool| format!("{}.env", join("tool", &tool.name)));
        for table in std::iter::once("env".to_owned()).chain(others) {
            let key = join(&table, name);
            let Some(other) = origins.of(&key).last().filter(|_| !faulty(&key)) else {
                continue;
            };
            let message = format!("`{path}` and `{key}` are the same variable");
            let fault = Fault::new(message, source.clone()).of(&path);
            let fault = fault.help(format!("the other is at {}: leave one of them out", other.place));
            faults.push(fault);
        }
        for tool in secret.tools.iter().flatten() {
            if config.tool.iter().any(|known| known.name == *tool) {
                continue;
            }
            let known = || config.tool.iter().map(|tool| tool.name.as_str());
            let near = nearest(tool, known()).map(|near| format!("did you mean `{near}`?"));
            let message = format!("`{path}.tools` names `{tool}`, and there is no such tool");
            let place = place("tools").unwrap_or_else(|| source.clone());
            let fault = Fault::new(message, place).of(&path).maybe_help(near);
            faults.push(match config.tool.as_slice() {
                [] => fault.help("the config has no tools"),
                _ => fault.help(format!("tools: {}", list(known()))),
            });
        }
    }
    faults
}
