//! Rust.

use toml::Table;

use super::folder::Folder;
use super::{Cache, Part, Tool};

const FILE: &str = "Cargo.toml";

pub(super) fn look(folder: &Folder) -> Option<Part> {
    if !folder.has(FILE) {
        return None;
    }
    let manifest = folder.text(FILE).parse::<Table>();
    let is_workspace = manifest
        .as_ref()
        .is_ok_and(|manifest| manifest.contains_key("workspace"));
    let workspace = is_workspace.then_some("--workspace");
    // Without a lock file there is nothing yet that it could be held to: the first run writes it.
    let locked = folder.has("Cargo.lock").then_some("--locked");

    let fmt = ["cargo", "fmt"]
        .into_iter()
        .chain(is_workspace.then_some("--all"))
        .chain(["--check"]);
    let of_all = |command| ["cargo", command].into_iter().chain(locked).chain(workspace);
    let clippy = of_all("clippy").chain(["--all-targets", "--", "-D", "warnings"]);
    Some(Part {
        file: FILE,
        prefix: "cargo",
        caches: vec![Cache {
            pattern: "target/",
            holds: "what cargo compiles".into(),
        }],
        tools: vec![
            Tool::new("fmt", fmt),
            Tool::new("clippy", clippy),
            Tool::new("test", of_all("test")),
        ],
        notes: manifest
            .err()
            .map(|error| format!("{FILE} is no TOML: {}", error.message()))
            .into_iter()
            .collect(),
    })
}
