//! devshell's own folders where they cannot be what they are to be, and what is said of that.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use crate::support::{Disk, Project, devshell, finish, has, is_root, not_run, own_mounts, sure};

#[test]
fn what_stands_in_the_place_of_devshells_folders_ends_a_run_before_its_tools() {
    let project = Project::new("");
    let outside = project.beside("ran");
    let touch = outside.to_str().unwrap();
    let key = || {
        let mut keys = std::fs::read_dir(project.beside("state/devshell")).unwrap();
        keys.next().unwrap().unwrap().path()
    };
    project
        .devshell(&["exec", "--", "sh", "-c", "echo x > x; false"])
        .code(1);
    let (results, state, cache) = (key().join("results"), project.beside("state"), project.beside("cache"));
    let link = |at: &Path| {
        std::fs::remove_dir_all(at).unwrap();
        symlink(project.beside("nowhere"), at).unwrap();
    };
    let refused = |what: &str, said: &str| {
        let set = "vm.host.strategy=copy";
        let ran = project.devshell(&["exec", "--set", set, "--", "touch", touch]);
        ran.code(74).says(what).says(said).says("class=sync");
        assert!(!outside.exists(), "{what}: a tool was started");
    };
    std::fs::remove_dir_all(&results).unwrap();
    std::fs::write(&results, "").unwrap();
    refused("devshell's state folder", "results` is no folder: move it away");
    let nothing = format!(
        "is a link to `{}`, where there is nothing",
        project.beside("nowhere").display()
    );
    link(&state);
    refused("devshell's state folder", &nothing);
    let doctor = project.devshell(&["doctor"]);
    assert!(doctor.code(69).out().contains(&nothing), "{}", doctor.out());
    std::fs::remove_file(&state).unwrap();
    link(&cache);
    refused("devshell's cache folder", &nothing);
    // Nothing is copied there.
    project.devshell(&["exec", "--", "touch", touch]).code(0);
    assert!(outside.exists());
}

#[test]
fn a_failed_copy_that_filled_the_cache_disk_does_not_keep_the_next_one_from_its_run() {
    let test = "own_folders::a_failed_copy_that_filled_the_cache_disk_does_not_keep_the_next_one_from_its_run";
    if !own_mounts(test) {
        return;
    }
    let project = Project::new("");
    let Some(disk) = Disk::tmpfs(&project.beside("disk"), "2m") else {
        return not_run(test, "no tmpfs can be mounted here");
    };
    let outside = project.beside("ran");
    let exec = |script: &str| {
        let mut command = project.command(["exec", "--set", "vm.host.strategy=copy", "--", "sh", "-c", script]);
        command.env("XDG_CACHE_HOME", &disk.0);
        finish(command)
    };
    exec("head -c 6000000 /dev/urandom > blob")
        .code(1)
        .says("No space left");
    let touch = format!("touch {}", outside.display());
    exec(&touch).code(0);
    std::fs::remove_file(&outside).unwrap();
    // What is not the copy's stays, and is met before the tool.
    let full = std::fs::write(disk.0.join("filler"), vec![1; 8 << 20]).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    exec(&touch)
        .code(74)
        .says("the disk is full")
        .says("devshell clean --all");
    assert!(!outside.exists(), "no tool was started");
}

#[test]
fn of_a_folder_that_is_closed_it_is_said_whose_it_is() {
    let test = "own_folders::of_a_folder_that_is_closed_it_is_said_whose_it_is";
    if !is_root() || !has("setpriv") {
        return not_run(test, "only root can become another user");
    }
    let project = Project::new("");
    let place = project.root.parent().unwrap();
    let closed = project.beside("closed");
    std::fs::create_dir_all(closed.join("devshell")).unwrap();
    let mode = |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    std::fs::copy(devshell(), place.join("devshell")).unwrap();
    sure(
        place,
        "chown",
        &["-R", "65534:65534", "project", "home", "cache", "state"],
    );
    mode(place, 0o755);
    let whose = |path: &Path| format!("`{}` belongs to user 0, and the caller is user 65534", path.display());
    let as_user = |variable: &str, value: &Path, args: &[&str]| {
        let mut command = project.program("setpriv");
        command
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(place.join("devshell"))
            .args(args)
            .env(variable, value);
        finish(command)
    };
    let copy = ["exec", "--set", "vm.host.strategy=copy", "--", "true"];
    // Nobody has ever used it: there is only the folder.
    std::fs::remove_dir(closed.join("devshell")).unwrap();
    let ran = as_user("XDG_CACHE_HOME", &closed, &copy);
    ran.code(74).says(&whose(&closed)).says("set XDG_CACHE_HOME");
    assert!(!ran.stderr.contains("another user"), "{}", ran.stderr);

    let own = closed.join("devshell");
    std::fs::create_dir(&own).unwrap();
    mode(&own, 0o700);
    for (variable, args) in [
        ("XDG_STATE_HOME", &["clean", "--all"] as &[&str]),
        ("XDG_CACHE_HOME", &["clean", "--all"]),
        ("XDG_STATE_HOME", &["results"]),
        ("XDG_STATE_HOME", &["results", "drop", "--all"]),
        ("XDG_CACHE_HOME", &copy),
    ] {
        let ran = as_user(variable, &closed, args);
        ran.code(74).says(&whose(&own)).says(&format!("set {variable}"));
    }
    // The folder that is meant is named, and not only the one that says no.
    let meant = closed.join("none/devshell");
    let ran = as_user("XDG_STATE_HOME", &closed.join("none"), &["exec", "--", "true"]);
    ran.code(74)
        .says(&format!("state folder `{}/", meant.display()))
        .says(&format!("(nothing can be made in `{}`)", closed.display()));
}

#[test]
fn doctor_tells_a_folder_that_a_run_needs_from_one_that_it_does_without() {
    let test = "own_folders::doctor_tells_a_folder_that_a_run_needs_from_one_that_it_does_without";
    if !own_mounts(test) {
        return;
    }
    let project = Project::new("[[tool]]\nname = \"t\"\nrun = [\"true\"]\n");
    let Some(disk) = Disk::tmpfs(&project.beside("disk"), "1m") else {
        return not_run(test, "no tmpfs can be mounted here");
    };
    std::fs::write(disk.0.join("filler"), vec![1; 8 << 20]).unwrap_err();
    for (strategy, code, mark) in [("auto", 0, "!! cache room"), ("copy", 69, "XX cache room")] {
        let [doctor, run] = ["doctor", "run"].map(|name| {
            let mut command = project.command([name]);
            command
                .env("XDG_CACHE_HOME", &disk.0)
                .env("DEVSHELL__VM__HOST__STRATEGY", strategy);
            finish(command)
        });
        assert!(doctor.code(code).out().contains(mark), "{strategy}: {}", doctor.out());
        run.code(if code == 0 { 0 } else { 74 });
    }
}

#[test]
fn doctor_warns_of_a_workspace_that_is_mounted_read_only() {
    let test = "own_folders::doctor_warns_of_a_workspace_that_is_mounted_read_only";
    if !own_mounts(test) {
        return;
    }
    let project = Project::new("[[tool]]\nname = \"t\"\nrun = [\"true\"]\n");
    let root = project.root.to_str().unwrap();
    assert!(!project.devshell(&["doctor"]).code(0).out().contains("read-only"));
    sure(&project.root, "mount", &["--bind", root, root]);
    sure(&project.root, "mount", &["-o", "remount,bind,ro", root]);
    let doctor = project.devshell(&["doctor"]);
    let told = doctor.code(0).out();
    assert!(told.contains("the workspace is mounted read-only"), "{told}");
    assert!(told.contains(&format!("sudo mount -o remount,rw {root}")), "{told}");
    project.run().code(0);
    sure("/".as_ref(), "umount", &[root]);
}
