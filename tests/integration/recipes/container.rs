//! A podman container (`tests/podman/setup` makes the image).

use super::{project, reachable_vm, works};
use crate::support::{finish, is_root, not_run};

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
