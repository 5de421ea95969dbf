//! A podman container (`tests/podman/setup` makes the image).

use super::{project, reachable_vm, works};
use crate::support::{Project, finish, is_root, not_run};

/// The image, where the tests are to use podman.
fn image(test: &str) -> Option<String> {
    let image = std::env::var("DEVSHELL_TEST_PODMAN_IMAGE").ok().filter(|_| is_root());
    if image.is_none() {
        not_run(test, "no podman here (DEVSHELL_TEST_PODMAN_IMAGE, tests/podman/setup)");
    }
    image
}

/// How a container is begun, up to its image. What is said of limits and the network is for test
/// machines that are containers themselves.
const RUN: [&str; 11] = [
    "podman",
    "run",
    "--rm",
    "-i",
    "--runtime",
    "runc",
    "--ulimit",
    "nofile=1024:1024",
    "--ulimit",
    "nproc=1024:1024",
    "--network=none",
];

/// The containers of this test that are still there.
fn containers(label: &str) -> String {
    let mut list = std::process::Command::new("podman");
    list.args(["ps", "-a", "-q", "--filter", &format!("label={label}")]);
    finish(list).out()
}

#[test]
fn a_container_that_shares_nothing_gets_the_tree_over_its_streams() {
    let test = "recipes::container::a_container_that_shares_nothing";
    let Some(image) = image(test) else { return };
    let (_folder, program) = reachable_vm();
    let label = format!("devshell-test={}", std::process::id());
    let (mount, label_arg) = (
        format!("{}:/usr/local/bin/devshell-vm:ro", program.display()),
        format!("--label={label}"),
    );
    let mut command = RUN.to_vec();
    command.extend([
        &label_arg,
        "-v",
        &mount,
        &image,
        "devshell-vm",
        "--serve-stdio",
        "--root",
        "/srv",
    ]);
    let project = project(&command, "");
    works(&project, "root");
    project
        .devshell(&["exec", "--", "true"])
        .code(0)
        .says("no folder is shared");
    assert_eq!(containers(&label), "", "none is left");
}

#[test]
fn a_container_with_the_staging_mounted_works_in_it() {
    let test = "recipes::container::a_container_with_the_staging_mounted";
    let Some(image) = image(test) else { return };
    let (folder, program) = reachable_vm();
    let staging = folder.path().join("staging");
    std::fs::create_dir(&staging).unwrap();
    let program = format!("{}:/usr/local/bin/devshell-vm:ro", program.display());
    let shared = format!("{}:/srv/ws", staging.display());
    let mut command = RUN.to_vec();
    command.extend([
        "-v",
        &program,
        "-v",
        &shared,
        &image,
        "devshell-vm",
        "--serve-stdio",
        "--root",
        "/srv/ws",
    ]);
    let project = project(&command, &format!("workspace_parent = \"{}\"\n", staging.display()));
    let toml = project.read("devshell.toml");
    project.write(
        "devshell.toml",
        toml.replace("[vm.beta]\n", "[vm.beta]\nsession_staging = \"/srv/ws\"\n"),
    );
    works(&project, "root");
    let ran = project.devshell(&["exec", "--", "pwd"]);
    ran.code(0);
    assert!(ran.out().starts_with("/srv/ws/"), "{}", ran.out());
}

/// The recipe of the docs for a container with a tree of its own, as it is on this machine.
fn guest_recipe(image: &str, program: &std::path::Path) -> String {
    let docs = include_str!("../../../docs/recipes.md");
    let toml = docs
        .split("```toml podman\n")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    let said = r#""podman", "run", "--rm", "-i","#;
    let run = RUN.map(|word| format!("\"{word}\", ")).concat();
    let mount = "/usr/local/bin/devshell-vm:/usr";
    assert!(toml.contains(said) && toml.contains(mount) && toml.contains("\"IMAGE\""));
    toml.replace(said, &run)
        .replace(mount, &format!("{}:/usr", program.display()))
        .replace("\"IMAGE\"", &format!("\"{image}\""))
}

#[test]
fn a_container_with_a_tree_of_its_own_gets_the_inputs_and_gives_the_outputs() {
    let test = "recipes::container::a_container_with_a_tree_of_its_own";
    let Some(image) = image(test) else { return };
    let (_folder, program) = reachable_vm();
    let project = Project::new(&guest_recipe(&image, &program));
    project.write("src/deep/in.txt", "input\n");
    std::os::unix::fs::symlink("deep/in.txt", project.path("src/link")).unwrap();
    project.write("secret", "stays here");
    project.write("dist/stale", "of an earlier build");
    project.write(
        "build.sh",
        "#!/bin/sh\nset -e\ntest ! -e secret\ntest ! -e dist\nmkdir dist\ncp src/link dist/app\nchmod 750 dist/app\n\
         ln -s app dist/link\necho done >report.txt\necho no >not-an-output\n. /etc/os-release\necho \"$ID in $PWD\"\n",
    );
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(project.path("build.sh"), executable).unwrap();

    let ran = project.devshell(&["run"]);
    ran.code(0).says("committed");
    assert!(ran.out().starts_with("debian in /srv/"), "{}", ran.out());
    assert_eq!(project.read("dist/app"), "input\n");
    let mode = std::os::unix::fs::PermissionsExt::mode(&project.path("dist/app").metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o750);
    let target = std::fs::read_link(project.path("dist/link")).unwrap();
    assert_eq!(target.to_str(), Some("app"));
    assert_eq!(project.read("report.txt"), "done\n");
    assert!(!project.exists("dist/stale") && !project.exists("not-an-output") && project.exists("secret"));

    // An output that is not there is 74, and nothing of the others comes back.
    project.write("src/deep/in.txt", "other\n");
    let before = project.tree();
    let missing = project.devshell(&["run", "--set", "workspace.outputs=[\"dist\", \"nowhere\"]"]);
    missing.code(74).says("nowhere");
    assert_eq!(project.tree(), before);
}

#[test]
fn a_container_that_cannot_be_had_is_told_with_what_podman_says() {
    let test = "recipes::container::a_container_that_cannot_be_had";
    let Some(_) = image(test) else { return };
    let mut command = RUN.to_vec();
    command.extend(["--pull=never", "devshell-no-such-image", "devshell-vm", "--serve-stdio"]);
    let project = project(&command, "");
    let before = project.tree();
    project.devshell(&["run"]).code(69).says("devshell-no-such-image");
    assert_eq!(project.tree(), before);
}
