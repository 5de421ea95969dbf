//! What the environment says: `DEVSHELL__...` for any key, and the original names.

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use super::fault::{Fault, clean};
use super::keypath::{Spelling, Target, find_key};
use super::layer::{Layer, Reading, of_text, switch};
use super::schema::{leaves, nearest};
use super::source::{Holder, Place, Rank, SourceText};

/// The original names, each with its key and how its text is read.
const ORIGINAL: &[(&str, &str, Reading)] = &[
    ("DEVSHELL_VM", "vm.enabled", Reading::Switch),
    ("DEVSHELL_VM_BACKEND", "vm.backend", Reading::AsKey),
    ("DEVSHELL_VM_WORKSPACE_MODE", "vm.workspace_mode", Reading::AsKey),
    ("DEVSHELL_VM_EAGER", "vm.eager_start", Reading::Switch),
    ("DEVSHELL_VM_LIMA_INSTANCE", "vm.lima.instance", Reading::AsKey),
    ("DEVSHELL_VM_LIMACTL", "vm.lima.limactl", Reading::AsKey),
    ("DEVSHELL_VM_STOP_ON_EXIT", "vm.lima.stop_on_exit", Reading::Switch),
    (
        "DEVSHELL_VM_AUTO_BUILD_ESSENTIAL",
        "vm.lima.auto_build_essential",
        Reading::Switch,
    ),
    ("DEVSHELL_VM_LIMA_HINTS", "vm.lima.hints", Reading::Switch),
    ("DEVSHELL_VM_WORKSPACE_PARENT", "vm.workspace_parent", Reading::AsKey),
    ("DEVSHELL_VM_GUEST_WORKSPACE", "vm.guest_workspace", Reading::AsKey),
    ("DEVSHELL_VM_SOCKET", "vm.beta.socket", Reading::AsKey),
    (
        "DEVSHELL_VM_BETA_SESSION_STAGING",
        "vm.beta.session_staging",
        Reading::AsKey,
    ),
    ("DEVSHELL_VM_EXEC_TIMEOUT_MS", "vm.exec_timeout", Reading::Milliseconds),
];

/// The variables that stand for a key besides `DEVSHELL__...`, each with its key.
pub fn known_variables() -> impl Iterator<Item = (&'static str, &'static str)> {
    let original = ORIGINAL.iter().map(|(name, key, _)| (*name, *key));
    original.chain([
        (MOUNT_NAMESPACE, "sandbox.require"),
        (CARGO_ROOT, "workspace.root"),
        (PROFILE, "profile"),
    ])
}

/// Asks for at least `sandbox.require = "view"`.
const MOUNT_NAMESPACE: &str = "DEVSHELL_RUST_MOUNT_NAMESPACE";
/// Asks for the Cargo workspace root as `workspace.root`.
const CARGO_ROOT: &str = "DEVSHELL_VM_WORKSPACE_USE_CARGO_ROOT";
/// Chooses a profile.
pub(super) const PROFILE: &str = "DEVSHELL_PROFILE";

/// Names that mean something elsewhere.
const ELSEWHERE: &[&str] = &[
    PROFILE,
    "DEVSHELL_COMPLETE",
    "DEVSHELL_EXPORT_BASE",
    "DEVSHELL_RUN_ID",
    "DEVSHELL_VM_LOG",
];
/// Names that start so are left to tests.
const TESTS: &str = "DEVSHELL_TEST_";
/// Names that start so are keys.
const KEYS: &str = "DEVSHELL__";

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Environment {
    /// The original names first, then those of keys, which are the more exact.
    pub(super) layers: Vec<Layer>,
    pub(super) faults: Vec<Fault>,
    pub(super) warnings: Vec<String>,
    /// `sandbox.require` must be at least `view`.
    pub(super) at_least_view: Option<Place>,
    /// `workspace.root` is to be the Cargo workspace root.
    pub(super) cargo_root: Option<Place>,
}

/// Reads the environment that was handed in; `tools` are the names of the tools there are.
pub(super) fn read(env: &[(OsString, OsString)], cwd: &Path, tools: &[String]) -> Environment {
    let mut out = Environment::default();
    let mut ours: Vec<&(OsString, OsString)> = env
        .iter()
        .filter(|(name, value)| name.as_encoded_bytes().starts_with(b"DEVSHELL_") && !value.is_empty())
        .collect();
    ours.sort();
    ours.dedup_by(|later, first| later.0 == first.0);

    let mut by_key = Vec::new();
    for (name, value) in ours {
        let Some(name) = name.to_str() else {
            out.warnings
                .push(clean(&format!("unknown variable {}", name.to_string_lossy())));
            continue;
        };
        if ELSEWHERE.contains(&name) || name.starts_with(TESTS) {
            continue;
        }
        let text = |out: &mut Environment| match value.to_str() {
            Some(text) => Some(variable(name, text, cwd)),
            None => {
                let source = Arc::new(variable(name, &value.to_string_lossy(), cwd));
                let span = 0..source.text.len();
                out.faults
                    .push(Fault::new("the value is not UTF-8", Place { source, span }));
                None
            }
        };
        if let Some((_, key, reading)) = ORIGINAL.iter().find(|(original, ..)| *original == name) {
            let parts: Vec<String> = key.split('.').map(str::to_owned).collect();
            if let (Some(source), Ok(target)) = (text(&mut out), find_key(&parts, Spelling::Dotted, &[])) {
                out.take(source, &target, *reading);
            }
        } else if name == MOUNT_NAMESPACE || name == CARGO_ROOT {
            if let Some(source) = text(&mut out)
                && let Some(place) = out.switched_on(source)
            {
                if name == CARGO_ROOT {
                    out.cargo_root = Some(place);
                } else {
                    out.at_least_view = Some(place);
                }
            }
        } else if let Some(key) = name.strip_prefix(KEYS) {
            let parts: Vec<String> = key.split("__").map(str::to_owned).collect();
            match find_key(&parts, Spelling::Variable, tools) {
                Ok(target) => by_key.push((name, value, target)),
                Err(lost) => {
                    let mut warning = unknown(name);
                    if !warning.contains("did you mean") {
                        warning = format!("{warning}: {}", lost.message);
                    }
                    out.warnings.push(clean(&warning));
                }
            }
        } else {
            out.warnings.push(clean(&unknown(name)));
        }
    }
    for (name, value, target) in by_key {
        match value.to_str() {
            Some(text) => out.take(variable(name, text, cwd), &target, Reading::AsKey),
            None => {
                let source = Arc::new(variable(name, &value.to_string_lossy(), cwd));
                let span = 0..source.text.len();
                out.faults
                    .push(Fault::new("the value is not UTF-8", Place { source, span }));
            }
        }
    }
    out
}

impl Environment {
    fn take(&mut self, source: SourceText, target: &Target, reading: Reading) {
        match of_text(source, Rank::Environment, target, reading) {
            Ok(layer) => self.layers.push(layer),
            Err(mut faults) => self.faults.append(&mut faults),
        }
    }

    /// The place of a switch that is on.
    fn switched_on(&mut self, source: SourceText) -> Option<Place> {
        let span = 0..source.text.len();
        let on = switch(&source.text);
        let message = format!("neither on nor off: `{}`", source.text);
        let place = Place {
            source: Arc::new(source),
            span,
        };
        if on.is_none() {
            self.faults
                .push(Fault::new(message, place).help("on: `on`, `1`, `true`, `yes`; off: `off`, `0`, `false`, `no`"));
            return None;
        }
        on.filter(|on| *on).map(|_| place)
    }
}

fn variable(name: &str, text: &str, cwd: &Path) -> SourceText {
    SourceText::new(Holder::Variable(name.to_owned()), text, cwd)
}

/// The warning for a name that nothing reads.
fn unknown(name: &str) -> String {
    let of_keys: Vec<String> = leaves()
        .into_iter()
        .filter(|(path, _)| !["tool.", "secrets."].iter().any(|table| path.starts_with(table)))
        .map(|(path, _)| format!("{KEYS}{}", path.to_uppercase().replace('.', "__")))
        .collect();
    let of_keys = of_keys.iter().map(String::as_str);
    let others = ORIGINAL.iter().map(|(name, ..)| *name);
    let others = others
        .chain([MOUNT_NAMESPACE, CARGO_ROOT])
        .chain(ELSEWHERE.iter().copied());
    // Of two names that are as near, the one of the same kind.
    let known: Vec<&str> = if name.starts_with(KEYS) {
        of_keys.chain(others).collect()
    } else {
        others.chain(of_keys).collect()
    };
    match near_variable(name, &known) {
        Some(near) => format!("unknown variable {name}; did you mean {near}?"),
        None => format!("unknown variable {name}"),
    }
}

/// All names start alike, which would make any two of them near.
fn near_variable<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let tail = |name: &str| {
        name.trim_start_matches("DEVSHELL")
            .trim_start_matches('_')
            .replace("__", "_")
    };
    let tails: Vec<String> = known.iter().map(|name| tail(name)).collect();
    let near = nearest(&tail(name), tails.iter().map(String::as_str))?.to_owned();
    let at = tails.iter().position(|tail| *tail == near)?;
    Some(known[at])
}

/// Whether a variable sets a key of `[vm]`.
pub(crate) fn is_of_vm(name: &str) -> bool {
    ORIGINAL.iter().any(|(original, ..)| *original == name)
        || name
            .strip_prefix(KEYS)
            .and_then(|key| key.get(..4))
            .is_some_and(|start| start.eq_ignore_ascii_case("VM__"))
}
