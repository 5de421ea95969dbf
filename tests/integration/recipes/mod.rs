//! The recipes of docs/sidecar.md, and those of docs/recipes.md for a sidecar, with the real programs: a container, another user by ssh, a
//! forwarded port.

mod container;
mod ssh;

use std::path::PathBuf;

use crate::support::{Project, devshell_vm};

/// What the tools of a recipe do, and the words that show where they ran.
const TOOLS: &str = r#"
[[tool]]
name = "make"
script = "id -un; cat source; echo made >made; mkdir deep; ln -s ../made deep/link; rm gone; test ! -e /proc/$$/nothing"
[[tool]]
name = "look"
script = "cat deep/link; test ! -e gone"
"#;

/// A project whose sidecar is reached by the standard streams of a command.
fn project(command: &[&str], more: &str) -> Project {
    let command = serde_json::json!(command);
    let head = format!("[vm]\nbackend = \"beta\"\n{more}[vm.beta]\nsocket = \"stdio\"\ncommand = {command}\n");
    let project = Project::new("");
    project.write("devshell.toml", head + TOOLS);
    project.write("source", "the source\n");
    project.write("gone", "");
    project
}

/// That a run did all that [`TOOLS`] say, and that a failing one changes nothing.
fn works(project: &Project, user: &str) {
    let ran = project.devshell(&["run"]);
    ran.code(0).says("committed");
    assert_eq!(ran.out(), format!("{user}\nthe source\nmade\n"));
    assert_eq!(project.read("made"), "made\n");
    assert_eq!(
        std::fs::read_link(project.path("deep/link")).unwrap().to_str(),
        Some("../made")
    );
    assert!(!project.exists("gone"));
    let before = project.tree();
    let failed = project.devshell(&["exec", "--", "sh", "-c", "echo spoilt >made; exit 9"]);
    failed.code(9).says("kept");
    assert_eq!(project.tree(), before);
}

/// A `devshell-vm` in a folder that every user can reach, which this checkout need not be in.
fn reachable_vm() -> (tempfile::TempDir, PathBuf) {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::Builder::new()
        .prefix("devshell-recipe-")
        .tempdir_in("/tmp")
        .unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let program = folder.path().join("devshell-vm");
    std::fs::copy(devshell_vm(), &program).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    (folder, program)
}
