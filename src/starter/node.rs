//! JavaScript and TypeScript: package.json with npm, pnpm, yarn or bun.

use serde_json::Value;

use super::folder::{Folder, calls_devshell};
use super::{Cache, Part, Tool};

const FILE: &str = "package.json";

/// Scripts that check a project, in the order in which they are run.
const SCRIPTS: [&str; 3] = ["lint", "build", "test"];

/// Each package manager with its lock files, best known first.
const MANAGERS: [(&str, &[&str]); 4] = [
    ("npm", &["package-lock.json", "npm-shrinkwrap.json"]),
    ("pnpm", &["pnpm-lock.yaml"]),
    ("yarn", &["yarn.lock"]),
    ("bun", &["bun.lock", "bun.lockb"]),
];

pub(super) fn look(folder: &Folder) -> Option<Part> {
    if !folder.has(FILE) {
        return None;
    }
    let parsed = serde_json::from_str(&folder.text(FILE));
    let mut notes: Vec<String> = parsed
        .as_ref()
        .err()
        .map(|error| format!("{FILE} is no JSON: {error}"))
        .into_iter()
        .collect();
    let package: Value = parsed.unwrap_or_default();
    let (manager, is_locked) = manager(folder, &package);

    let mut tools = Vec::new();
    let mut caches = Vec::new();
    let has_any = |key: &str| package[key].as_object().is_some_and(|packages| !packages.is_empty());
    if is_locked || has_any("dependencies") || has_any("devDependencies") {
        let command = install(manager, is_locked, folder.has(".yarnrc.yml"));
        // Yarn's Plug'n'Play has none.
        if !folder.has(".pnp.cjs") {
            caches.push(Cache {
                pattern: "node_modules/",
                holds: format!("what `{}` installs", command.join(" ")),
            });
        }
        tools.push(Tool::new("install", command));
    }
    for script in SCRIPTS {
        let Some(text) = package["scripts"][script].as_str() else {
            continue;
        };
        // What `npm init` writes, which always fails.
        if text.contains("no test specified") {
            continue;
        }
        if calls_devshell(text) {
            notes.push(format!(
                "the script `{script}` of {FILE} calls devshell itself and was left out"
            ));
            continue;
        }
        tools.push(Tool::new(script, [manager, "run", script]));
    }
    Some(Part {
        file: FILE,
        prefix: manager,
        caches,
        tools,
        notes,
    })
}

/// The package manager, and whether it has a lock file.
fn manager(folder: &Folder, package: &Value) -> (&'static str, bool) {
    let locked = MANAGERS.iter().find(|(_, locks)| folder.first(locks).is_some());
    if let Some((manager, _)) = locked {
        return (manager, true);
    }
    let named = package["packageManager"]
        .as_str()
        .and_then(|named| named.split('@').next());
    let manager = MANAGERS.iter().find(|(manager, _)| Some(*manager) == named);
    (manager.map_or("npm", |(manager, _)| *manager), false)
}

/// The command that installs exactly what the lock file names, if there is one.
fn install(manager: &'static str, is_locked: bool, is_modern_yarn: bool) -> Vec<&'static str> {
    match (manager, is_locked) {
        ("npm", true) => vec!["npm", "ci"],
        (_, false) => vec![manager, "install"],
        ("yarn", true) if is_modern_yarn => vec!["yarn", "install", "--immutable"],
        (_, true) => vec![manager, "install", "--frozen-lockfile"],
    }
}
