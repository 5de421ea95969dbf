//! Which view a layout allows: the overlay wherever it can be had, else words that say why not.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::path::Path;
use std::process::Command;

use crate::support::{Project, Ran, devshell, finish, is_root, not_run};

const TOOL: &str = "[[tool]]\nname = \"t\"\nscript = 'echo new >made; rm -f old; ls -a'\n";

fn project(more: &str) -> Project {
    let project = Project::new(&format!("{TOOL}{more}"));
    project.write("old", "");
    project
}

/// Runs devshell in mounts of its own that `script` makes (`$W` is the workspace); `None` without root.
fn run_in_mounts(project: &Project, script: &str, args: &[&str]) -> Option<Ran> {
    if !is_root() {
        return None;
    }
    let mut command = project.program("unshare");
    command
        .args([
            "-m",
            "sh",
            "-e",
            "-c",
            &format!("{script}\ncd \"$W\"; exec \"$@\""),
            "sh",
        ])
        .arg(devshell())
        .args(args)
        .env("W", &project.root);
    Some(finish(command))
}

#[track_caller]
fn is_committed(project: &Project) {
    assert_eq!(project.read("made"), "new\n");
    assert!(!project.exists("old"));
}

/// Nothing of a run's is left at any place.
#[track_caller]
fn left_no_view(project: &Project) {
    let place = project.root.parent().unwrap();
    let output = Command::new("find")
        .arg(place)
        .args(["-name", "run-*", "-o", "-name", ".devshell*"])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
}

#[test]
fn auto_takes_the_overlay_and_carries_nothing_there() {
    let project = project("");
    let ran = project.devshell(&["run", "--events", "../events"]);
    ran.code(0).says("host, overlay, isolation view");
    is_committed(&project);
    let events = std::fs::read_to_string(project.beside("events")).unwrap();
    assert!(!events.contains("\"push\"") && events.contains("\"pull\""), "{events}");
    left_no_view(&project);
}

#[test]
fn paths_with_everything_that_mount_takes_for_a_separator() {
    use std::os::unix::ffi::OsStrExt as _;
    for name in [&b"a,b:c\\d e"[..], b"\xff\n#x", b"-o ro", "ünï".as_bytes()] {
        let project = Project::named(std::ffi::OsStr::from_bytes(name));
        project.write("devshell.toml", format!("[vm.host]\nstrategy = \"overlay\"\n{TOOL}"));
        project.write("old", "");
        project.run().code(0);
        is_committed(&project);
    }
}

#[test]
fn without_root_a_mount_inside_the_workspace_or_a_foreign_group_takes_a_copy() {
    if !is_root() {
        return not_run("layouts::without_root", "only root can make a mount for another user");
    }
    let as_user = "exec setpriv --reuid=65534 --regid=65534 --clear-groups \"$@\"";
    let mounted = "mkdir -p \"$W/sub\"; mount -t tmpfs tmpfs \"$W/sub\"; chown -R 65534:65534 \"$W/..\"";
    let foreign = "chown -R 65534:65534 \"$W/..\"; chown 65534:12345 \"$W\"";
    for (prepare, told) in [
        (mounted, "sub` is a mount inside the workspace, which without root"),
        (foreign, "sg GROUP -c"),
    ] {
        let project = project("");
        let place = project.root.parent().unwrap();
        std::fs::set_permissions(place, PermissionsExt::from_mode(0o755)).unwrap();
        std::fs::copy(devshell(), place.join("devshell")).unwrap();
        for (strategy, code) in [("auto", 0), ("overlay", 71)] {
            let set = format!("vm.host.strategy={strategy}");
            let mut command = project.program("unshare");
            command
                .args([
                    "-m",
                    "sh",
                    "-e",
                    "-c",
                    &format!("{prepare}\ncd \"$W\"; {as_user}"),
                    "sh",
                ])
                .arg(place.join("devshell"))
                .args(["run", "--set", &set])
                .env("W", &project.root);
            let ran = finish(command);
            ran.code(code).says(told);
            if code == 0 {
                ran.says("host, copy, isolation view").says("no overlay: ");
                is_committed(&project);
            }
        }
    }
}

#[test]
fn as_root_a_mount_inside_the_workspace_shows_through_and_that_is_said() {
    let project = project("[[tool]]\nname = \"u\"\nscript = 'echo there >sub/file; cat sub/given'\n");
    let script = "mkdir \"$W/sub\"; mount -t tmpfs tmpfs \"$W/sub\"; echo given >\"$W/sub/given\"";
    let after = format!("{script}\n\"$1\" run; cat \"$W/sub/file\" >&2; exit 0");
    let Some(ran) = run_in_mounts(&project, &after, &["run"]) else {
        return not_run("layouts::as_root_a_mount", "needs root");
    };
    ran.code(0)
        .says("host, overlay")
        .says("mounts inside the workspace are not private")
        .says("there\n");
    assert!(ran.out().ends_with("given\n"));
    is_committed(&project);
}

#[test]
fn a_workspace_on_an_overlay_takes_a_copy_and_says_why() {
    let project = project("");
    let script = "d=$(mktemp -d \"$W/../ovl.XXXX\"); mkdir $d/up $d/work; \
                  mount -t overlay overlay -o \"lowerdir=$W,upperdir=$d/up,workdir=$d/work\" \"$W\"";
    let after = format!("{script}\ncd \"$W\"; \"$1\" run; test -e made; exit 0");
    let Some(ran) = run_in_mounts(&project, &after, &["run"]) else {
        return not_run("layouts::a_workspace_on_an_overlay", "needs root");
    };
    ran.code(0)
        .says("host, copy, isolation view")
        .says("the workspace lies on overlay, on which no overlay can be written");
}

#[test]
fn with_the_caches_elsewhere_the_layers_lie_beside_the_workspace() {
    let other = Path::new("/dev/shm");
    let project = project("");
    if !other
        .metadata()
        .is_ok_and(|found| found.dev() != project.root.metadata().unwrap().dev())
    {
        return not_run(
            "layouts::with_the_caches_elsewhere",
            "/dev/shm is no file system of its own",
        );
    }
    let place = tempfile::tempdir_in(other).unwrap();
    let before = project.root.parent().unwrap().metadata().unwrap().modified().unwrap();
    let mut command = project.command(["run"]);
    command
        .env("XDG_CACHE_HOME", place.path())
        .env("XDG_STATE_HOME", place.path());
    finish(command).code(0).says("host, overlay");
    is_committed(&project);
    left_no_view(&project);
    assert!(project.root.parent().unwrap().metadata().unwrap().modified().unwrap() >= before);
}

#[test]
fn where_nothing_else_can_hold_the_layers_they_lie_hidden_in_the_workspace() {
    let project = project(
        "[[tool]]\nname = \"u\"\nscript = 'mkdir .devshell && rmdir .devshell; git init -q . 2>&1; git status --short'\n",
    );
    let script = "mount --bind \"$W\" \"$W\"; t=$(mktemp -d); mount -t tmpfs tmpfs $t; \
                  export XDG_CACHE_HOME=$t/c XDG_STATE_HOME=$t/s; touch -d @1000000000 \"$W\"";
    let Some(ran) = run_in_mounts(&project, script, &["run"]) else {
        return not_run("layouts::where_nothing_else", "needs root");
    };
    ran.code(0).says("host, overlay");
    assert!(!ran.out().contains(".devshell"), "{}", ran.out());
    is_committed(&project);
    left_no_view(&project);
}

#[test]
fn a_home_as_the_workspace_hides_devshells_own_folders() {
    let project =
        project("[[tool]]\nname = \"u\"\nscript = 'find . | sort; rm -rf .cache; mkdir -p .cache/devshell/x'\n");
    project.write(".cache/other/file", "");
    let mut command = project.command(["run"]);
    command
        .env_remove("XDG_CACHE_HOME")
        .env_remove("XDG_STATE_HOME")
        .env("HOME", &project.root);
    let ran = finish(command);
    ran.code(0).says("host, overlay");
    assert!(ran.out().contains("./.cache/other/file"), "{}", ran.out());
    assert!(!ran.out().contains("run-"), "{}", ran.out());
    is_committed(&project);
    assert!(!project.exists(".cache/other") && !project.exists(".cache/devshell/x"));
    // The next run finds its folders where they were.
    let mut command = project.command(["exec", "--", "true"]);
    command
        .env_remove("XDG_CACHE_HOME")
        .env_remove("XDG_STATE_HOME")
        .env("HOME", &project.root);
    finish(command).code(0);
}

#[test]
fn a_folder_that_cannot_be_renamed_is_explained() {
    let project =
        Project::new("[[tool]]\nname = \"t\"\nrun = [\"python3\", \"-c\", \"import os; os.rename('a', 'b')\"]\n");
    project.write("a/file", "");
    project
        .run()
        .code(1)
        .says("folders of the original tree cannot be renamed")
        .says("vm.host.strategy = \"copy\"");
}
