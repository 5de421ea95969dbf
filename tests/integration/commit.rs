//! All or nothing: what can go wrong between the tools' end and the last rename.

use std::process::{Command, Stdio};

use crate::support::{Disk, Killed, Project, not_run, wait_for};

#[test]
fn edits_of_other_files_never_refuse_a_run_and_are_kept() {
    let project = Project::new("");
    let (pause, marker, go) = project.pause();
    let script = format!("echo tool > dir/mine; {pause}");
    project.write(
        "devshell.toml",
        format!("[[tool]]\nname = \"t\"\nscript = '''{script}'''\n"),
    );
    project.write("dir/mine", "original\n");
    project.write("dir/yours", "original\n");
    let running = project.start_until(&["run"], &marker);
    project.write("dir/yours", "edited\n");
    project.write("dir/new", "new\n");
    std::fs::remove_file(project.path("devshell.toml")).unwrap();
    std::fs::write(&go, "").unwrap();
    running.end().code(0);
    assert_eq!(
        (
            project.read("dir/mine"),
            project.read("dir/yours"),
            project.read("dir/new")
        ),
        ("tool\n".into(), "edited\n".into(), "new\n".into())
    );
    assert!(!project.exists("devshell.toml"));
}

#[test]
fn every_kind_of_change_under_the_run_is_a_conflict() {
    // What the host does while the tool rewrites `file`, makes `new` and deletes `gone` and `dir`.
    let edits: &[(&str, &str)] = &[
        ("file", "rm file"),
        ("file", "chmod 600 file"),
        ("file", "rm file && mkdir file"),
        ("file", "ln -sf elsewhere file"),
        ("new", "echo mine > new"),
        ("new", "mkdir new"),
        ("gone", "echo edited > gone"),
        ("dir", "echo added > dir/added"),
    ];
    for (path, edit) in edits {
        let project = Project::new("");
        let (pause, marker, go) = project.pause();
        let script = format!("echo tool > file; echo tool > new; rm -r gone dir; {pause}");
        project.write(
            "devshell.toml",
            format!("[[tool]]\nname = \"t\"\nscript = '''{script}'''\n"),
        );
        for file in ["file", "gone", "dir/in"] {
            project.write(file, "original\n");
        }
        let running = project.start_until(&["run"], &marker);
        assert!(
            Command::new("sh")
                .args(["-c", edit])
                .current_dir(&project.root)
                .status()
                .unwrap()
                .success()
        );
        let edited = project.tree();
        std::fs::write(&go, "").unwrap();
        let ran = running.end();
        ran.code(73).says(&format!("conflict: {path}"));
        assert_eq!(project.tree(), edited, "{edit}");
    }
}

#[test]
fn a_workspace_that_is_moved_under_the_run_is_named_and_its_result_is_kept() {
    for strategy in ["overlay", "copy"] {
        let project = Project::new("");
        let (pause, marker, go) = project.pause();
        let set = format!("vm.host.strategy={strategy}");
        let script = format!("echo new > made; {pause}");
        let running = project.start_until(&["exec", "--set", &set, "--", "sh", "-c", &script], &marker);
        let moved = project.beside("moved");
        std::fs::rename(&project.root, &moved).unwrap();
        std::fs::write(&go, "").unwrap();
        let ran = running.end();
        let told = format!("was moved to `{}` while the run held it", moved.display());
        ran.code(74).says(&told).says("the result is kept as");
        std::fs::rename(&moved, &project.root).unwrap();
        assert!(!project.exists("made"), "{strategy}");
        project.devshell(&["results", "apply"]).code(0);
        assert_eq!(project.read("made"), "new\n", "{strategy}");
    }
}

#[test]
fn a_read_only_folder_is_written_into_and_stays_read_only() {
    let project = Project::new("");
    project.write("locked/file", "original\n");
    std::fs::set_permissions(
        project.path("locked"),
        std::os::unix::fs::PermissionsExt::from_mode(0o555),
    )
    .unwrap();
    let script = "chmod u+w locked && echo new > locked/file && echo x > locked/x && chmod u-w locked";
    project.devshell(&["exec", "--", "sh", "-c", script]).code(0);
    assert_eq!(
        (project.read("locked/file"), project.read("locked/x")),
        ("new\n".into(), "x\n".into())
    );
    assert_eq!(project.tree().get("locked").mode, 0o555);
}

#[test]
fn a_disk_that_fills_up_during_the_commit_leaves_the_tree_as_it_was() {
    let test = "a_disk_that_fills_up_during_the_commit";
    let project = Project::named("outer");
    let Some(disk) = Disk::tmpfs(&project.path("disk"), "1m") else {
        return not_run(test, "no tmpfs can be mounted here");
    };
    let root = disk.0.join("project");
    std::fs::create_dir(&root).unwrap();
    std::fs::write(root.join("file"), "original\n").unwrap();
    std::fs::write(root.join("gone"), "still here\n").unwrap();
    let before = crate::support::tree(&root);
    // An overlay's layers would be on that disk, too, and the tool itself would fail.
    let mut command = project.command([
        "exec",
        "--set",
        "vm.host.strategy=copy",
        "--",
        "sh",
        "-c",
        "echo new > file; rm gone; head -c 3000000 /dev/urandom > big",
    ]);
    command.current_dir(&root);
    let ran = crate::support::finish(command);
    ran.code(74).says("class=sync").says("No space left");
    assert_eq!(crate::support::tree(&root), before);
    let diff = {
        let mut c = project.command(["results", "diff"]);
        c.current_dir(&root);
        crate::support::finish(c)
    };
    assert!(
        diff.code(0).out().contains("A big"),
        "the result is kept, on the state folder's disk"
    );
}

#[test]
fn cache_and_state_on_another_file_system_make_no_difference() {
    let project = Project::named("outer");
    let Some(disk) = Disk::tmpfs(&project.path("disk"), "20m") else {
        return not_run("cache_and_state_on_another_file_system", "no tmpfs can be mounted here");
    };
    let root = disk.0.join("project");
    std::fs::create_dir(&root).unwrap();
    std::fs::write(root.join("file"), "original\n").unwrap();
    let mut command = project.command([
        "exec",
        "--",
        "sh",
        "-c",
        "echo new > file; mkdir d; echo x > d/x; ln -s x d/l",
    ]);
    command.current_dir(&root);
    crate::support::finish(command).code(0);
    assert_eq!(std::fs::read_to_string(root.join("file")).unwrap(), "new\n");
    assert_eq!(std::fs::read_to_string(root.join("d/l")).unwrap(), "x\n");
    assert!(!root.join(".devshell-commit").exists());
}

#[test]
fn a_folder_swapped_for_a_symlink_during_the_commit_leads_nowhere() {
    // A host process swaps `dir` for a link to a folder outside, in a loop, while runs commit
    // into it. Whatever each run ends with, nothing outside is ever written.
    let project = Project::new("");
    let outside = project.beside("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("f0"), "outside").unwrap();
    project.write("dir/keep", "x");
    let before = crate::support::tree(&outside);
    let stop = project.beside("stop");
    let script = format!(
        "while [ ! -e '{}' ]; do mv dir real && ln -s '{}' dir && rm dir && mv real dir; done",
        stop.display(),
        outside.display()
    );
    let swapper = Command::new("sh")
        .args(["-c", &script])
        .current_dir(&project.root)
        .stderr(Stdio::null())
        .spawn();
    let mut swapper = Killed(swapper.unwrap());
    let mut codes = Vec::new();
    for _ in 0..15 {
        let script =
            "[ ! -L dir ] || rm dir; mkdir -p dir && for i in 0 1 2 3 4 5 6 7 8 9; do echo tool > dir/f$i; done";
        codes.push(project.devshell(&["exec", "--", "sh", "-c", script]).status.code());
        assert_eq!(crate::support::tree(&outside), before);
    }
    std::fs::write(&stop, "").unwrap();
    swapper.0.wait().unwrap();
    assert!(
        codes.iter().all(|code| matches!(code, Some(0 | 73 | 74 | 1 | 2))),
        "{codes:?}"
    );
    wait_for(
        || project.exists("dir") || project.exists("real"),
        "the folder to be there",
    );
}

/// The work folders of commits of a project.
fn work_folders(project: &Project) -> Vec<std::path::PathBuf> {
    let state = std::fs::read_dir(project.beside("state/devshell"))
        .into_iter()
        .flatten();
    let areas = state.filter_map(|key| std::fs::read_dir(key.ok()?.path().join("commit")).ok());
    areas.flatten().map(|entry| entry.unwrap().path()).collect()
}

/// Starts a run of a script, and kills devshell by SIGKILL when `now` says so, or after its end.
fn kill_when(project: &Project, script: &str, now: impl Fn() -> bool, delay: u64) {
    let mut running = project.command(["exec", "--", "sh", "-c", script]).spawn().unwrap();
    while running.try_wait().unwrap().is_none() && !now() {
        std::thread::sleep(std::time::Duration::from_micros(200));
    }
    std::thread::sleep(std::time::Duration::from_millis(delay));
    running.kill().unwrap();
    running.wait().unwrap();
}

#[test]
fn an_edit_after_a_kill_stays_and_the_original_is_kept_until_it_is_cleaned() {
    let project = Project::new("");
    project.write("devshell.toml", "[[tool]]\nname = \"t\"\nrun = [\"true\"]\n");
    let has_journal = || work_folders(&project).iter().any(|work| work.join("journal").exists());
    for attempt in 0.. {
        assert!(attempt < 20, "each commit was over before it was killed");
        for number in 0..500 {
            project.write(format!("f{number:03}"), "original\n");
        }
        let script = "for f in f*; do echo new > $f; done";
        kill_when(&project, script, || has_journal() && project.read("f000") == "new\n", 0);
        if has_journal() && project.read("f000") == "new\n" {
            break;
        }
        project.devshell(&["results"]).code(0);
    }
    project.write("f000", "edited\n");
    for command in ["plan", "check"] {
        project
            .devshell(&[command])
            .code(0)
            .says("warning: a run was killed in the middle of its commit");
        assert!(has_journal());
    }
    project
        .run()
        .code(0)
        .says("the commit was undone")
        .says("left as it is: `f000`");
    assert_eq!(
        (project.read("f000"), project.read("f001"), project.read("f499")),
        ("edited\n".into(), "original\n".into(), "original\n".into())
    );
    let [kept] = &work_folders(&project)[..] else {
        panic!("{:?}", work_folders(&project));
    };
    assert_eq!(
        std::fs::read_to_string(kept.join("originals/f000")).unwrap(),
        "original\n"
    );
    project
        .devshell(&["exec", "--", "sh", "-c", "echo more > f001"])
        .code(0);
    project.devshell(&["clean"]).code(0).says(kept.to_str().unwrap());
    assert!(kept.exists());
    project.devshell(&["clean", "--originals"]).code(0).says("removed");
    assert!(work_folders(&project).is_empty());
}

#[test]
fn a_commit_that_is_killed_is_undone_or_finished_by_the_next_command() {
    const FILES: u32 = 700;
    let project = Project::new("");
    for number in 0..FILES {
        project.write(format!("d{}/f{number}", number % 10), "0\n");
    }
    let has = |name: &str| work_folders(&project).iter().any(|work| work.join(name).exists());
    let mut recovered = 0;
    // From the moment of the journal on, into the time after the commit.
    for (round, delay) in [0, 2, 7, 20, 60].into_iter().enumerate() {
        let generation = round + 1;
        let script = format!(
            "for f in d*/f*; do echo {generation} > $f; done; rm -rf made gone; mkdir -p made/{generation}; \
             for i in 1 2 3 4 5; do echo {generation} > made/{generation}/$i; done; chmod 700 d3; echo x > d3/x; rm d3/x"
        );
        let before = project.tree();
        kill_when(&project, &script, || has("journal"), delay);
        let is_left = has("journal") || has("committed");
        let next: &[&str] = match round % 3 {
            0 => &["results", "list"],
            1 => &["exec", "--", "true"],
            _ => &["clean"],
        };
        let ran = project.devshell(next);
        ran.code(0);
        let now = project.tree();
        if now != before {
            let is_new = |text: &str| text == format!("{generation}\n");
            for number in 0..FILES {
                assert!(is_new(&project.read(format!("d{}/f{number}", number % 10))), "{delay}");
            }
            assert!(is_new(&project.read(format!("made/{generation}/5"))));
            assert_eq!(std::fs::read_dir(project.path("made")).unwrap().count(), 1);
        }
        assert!(work_folders(&project).is_empty(), "{delay}");
        if is_left {
            recovered += 1;
            ran.says("a run was killed in the middle of its commit");
        }
    }
    assert!(recovered > 0, "no kill came before the commit's end");
}
