//! A test per row of the table of exit codes, through the program itself.

use std::os::unix::fs::PermissionsExt as _;

use crate::support::{Project, Ran, finish};

fn one(tool: &str) -> Project {
    Project::new(&format!("[[tool]]\nname = \"t\"\n{tool}\n"))
}

fn class(ran: &Ran) -> String {
    let line = ran.last_line();
    line.strip_prefix("devshell: class=")
        .unwrap_or_else(|| panic!("no last line: {}", ran.stderr))
        .split(' ')
        .next()
        .unwrap()
        .to_owned()
}

#[test]
fn ok_is_0() {
    let ran = one("run = [\"true\"]").run();
    assert_eq!(class(ran.code(0)), "ok");
}

#[test]
fn a_failed_tool_gives_its_own_code_whatever_it_is() {
    for code in [1, 2, 64, 70, 78, 101, 124, 125, 254, 255] {
        let ran = one(&format!("script = \"exit {code}\"")).run();
        assert_eq!(class(ran.code(code)), "tool");
    }
}

#[test]
fn a_tool_ended_by_a_signal_gives_128_and_its_number() {
    for (signal, code) in [("KILL", 137), ("TERM", 143), ("SEGV", 139), ("INT", 130)] {
        let ran = one(&format!("script = \"kill -s {signal} $$\"")).run();
        assert_eq!(class(ran.code(code)), "tool", "{signal}");
    }
}

#[test]
fn with_class_every_failure_of_a_tool_is_1() {
    for tool in [
        "script = \"exit 42\"",
        "script = \"kill -9 $$\"",
        "run = [\"no-such-program-anywhere\"]",
        "run = [\"./devshell.toml\"]",
    ] {
        let ran = one(tool).devshell(&["run", "--exit-code", "class"]);
        assert_eq!(class(ran.code(1)), "tool", "{tool}");
    }
}

#[test]
fn a_wrong_command_line_is_64() {
    let project = one("run = [\"true\"]");
    for args in [
        &["run", "--bogus"][..],
        &["bogus"],
        &["run", "--backend", "moon"],
        &["exec"],
        &["run", "--only", "none"],
        &["run", "--set", "x"],
    ] {
        let ran = project.devshell(args);
        assert_eq!(class(ran.code(64)), "usage", "{args:?}");
    }
    project.devshell(&["run", "--help"]).code(0);
    project.devshell(&["--version"]).code(0);
}

#[test]
fn a_missing_config_is_66_and_an_invalid_one_78() {
    let project = Project::named("bare");
    let ran = project.run();
    assert_eq!(class(ran.code(66)), "config");
    ran.says("devshell.toml");
    project
        .devshell(&["run", "elsewhere.toml"])
        .code(66)
        .says("elsewhere.toml");
    project.devshell(&["check"]).code(66);
    project.write("devshell.toml", "[vm]\nbackned = \"host\"\n");
    let ran = project.run();
    assert_eq!(class(ran.code(78)), "config");
    ran.says("devshell.toml:2:1").says("backend");
    project.devshell(&["check"]).code(78);
    project.write("devshell.toml", "");
    project.devshell(&["check"]).code(0);
    project.run().code(78).says("[[tool]]");
}

#[test]
fn a_backend_that_is_not_there_is_69_and_nothing_runs_on_the_host_instead() {
    for backend in ["lima", "beta", "remote"] {
        let project = one("run = [\"touch\", \"ran\"]");
        let nowhere = [
            "vm.beta.socket=unix:/no/such/socket",
            "vm.lima.limactl=/no/such/limactl",
        ];
        let ran = project.devshell(&["run", "--backend", backend, "--set", nowhere[0], "--set", nowhere[1]]);
        assert_eq!(class(ran.code(69)), "backend");
        ran.says(if backend == "beta" { "sidecar" } else { backend });
        assert!(!project.exists("ran"));
    }
}

#[test]
fn a_panic_is_70() {
    let project = one("run = [\"true\"]");
    let mut command = project.command(["run"]);
    command.env("DEVSHELL_TEST_PANIC", "1");
    assert_eq!(class(finish(command).code(70)), "internal");
}

#[test]
fn isolation_that_is_not_to_be_had_is_71() {
    for set in ["sandbox.require=view", "sandbox.require=full"] {
        let project = one("run = [\"touch\", \"ran\"]");
        let in_place = ["--set", "vm.host.strategy=in_place", "--set", "sandbox.host=ro"];
        let ran = project.devshell(&[&["run", "--set", set], &in_place[..]].concat());
        assert_eq!(class(ran.code(71)), "isolation", "{set}");
        ran.says("the isolation reached is `processes`");
        assert!(!project.exists("ran"));
    }
}

#[test]
fn a_tree_that_changed_under_the_run_is_73_and_keeps_the_result() {
    let project = Project::new("");
    let (pause, marker, go) = project.pause();
    let script = format!("echo tool > file; {pause}");
    project.write(
        "devshell.toml",
        format!("[[tool]]\nname = \"t\"\nscript = '''{script}'''\n"),
    );
    project.write("file", "original\n");
    let running = project.start_until(&["run"], &marker);
    project.write("file", "an editor\n");
    let edited = project.tree();
    std::fs::write(&go, "").unwrap();
    let ran = running.end();
    assert_eq!(class(ran.code(73)), "conflict");
    ran.says("file");
    assert_eq!(project.tree(), edited);
    assert!(
        project
            .devshell(&["results", "diff", ran.kept()])
            .code(0)
            .out()
            .contains("+tool")
    );
    let id = ran.kept();
    project
        .devshell(&["results", "apply", id])
        .code(73)
        .says("`file` changed; nothing was applied, and the result is kept. `")
        .says(&format!(
            "results diff {id}` shows what it would change, its `file` is /"
        ))
        .says(&format!("results/{id}/files/0: copy from it"))
        .says("or run again");
    assert_eq!(project.tree(), edited);
}

#[test]
fn a_result_is_applied_where_what_was_edited_since_was_put_back() {
    let project = Project::new("[[tool]]\nname = \"t\"\nscript = 'echo tool > file; rm gone; exit 3'\n");
    project.write("file", "original\n");
    project.write("gone", "g\n");
    let kept = project.run();
    let id = kept.code(3).kept();
    project.write("file", "an editor\n");
    project.write("gone", "g\n");
    project
        .devshell(&["results", "apply", id])
        .code(73)
        .says("at odds: `file` changed; nothing");
    project.write("file", "original\n");
    project.devshell(&["results", "apply", id]).code(0);
    assert_eq!(project.read("file"), "tool\n");
    assert!(!project.exists("gone"));
}

/// Limits of processes count for all that a user has, and not for root.
#[test]
fn a_limit_of_processes_is_no_bug_of_devshell_and_has_its_remedy() {
    let name = "a_limit_of_processes_is_no_bug_of_devshell_and_has_its_remedy";
    if !["prlimit", "setpriv"].into_iter().all(crate::support::has) {
        return crate::support::not_run(name, "no prlimit or setpriv here");
    }
    let project = one("run = [\"true\"]");
    let program = project.beside("devshell-under-test");
    std::fs::copy(crate::support::devshell(), &program).unwrap();
    let owner = crate::support::is_root().then_some(64_321);
    for folder in ["home", "cache", "state"].map(|name| project.beside(name)) {
        std::os::unix::fs::chown(folder, owner, owner).unwrap();
    }
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(project.root.parent().unwrap(), mode).unwrap();
    let with_limit = |processes: u32, args: &[&str]| {
        let mut command = project.program("setpriv");
        let user = owner.map(|user| {
            [
                format!("--reuid={user}"),
                format!("--regid={user}"),
                "--clear-groups".to_owned(),
            ]
        });
        command.args(user.into_iter().flatten()).args(["--", "prlimit"]);
        command.arg(format!("--nproc={processes}")).arg(&program).args(args);
        finish(command)
    };
    const REMEDY: &str = "(`ulimit -u`, pids.max of the cgroup)";
    let ran = with_limit(1, &["run"]);
    assert_eq!(class(ran.code(71)), "isolation");
    ran.says("cannot listen for signals: this user can have no more processes")
        .says(REMEDY);
    with_limit(1, &["results", "apply"]).code(74).says(REMEDY);
    // Who has none else gets as far as each further one; nowhere is it a bug.
    for processes in 2..6 {
        let ran = with_limit(processes, &["run", "--set", "vm.host.strategy=copy"]);
        let class = class(&ran);
        assert!(
            ["isolation", "lost", "ok"].contains(&class.as_str()),
            "{processes}: {}",
            ran.stderr
        );
        assert!(
            class == "ok" || ran.stderr.contains("ulimit -u"),
            "{processes}: {}",
            ran.stderr
        );
    }
}

#[test]
fn a_tree_that_cannot_be_carried_is_74() {
    if crate::support::is_root() {
        return crate::support::not_run("a_tree_that_cannot_be_carried_is_74", "root may read everything");
    }
    let project = one("run = [\"true\"]");
    project.write("unreadable", "x");
    std::fs::set_permissions(project.path("unreadable"), std::fs::Permissions::from_mode(0o000)).unwrap();
    // An overlay carries nothing on the way in, so it has no reason to mind.
    let ran = project.devshell(&["run", "--set", "vm.host.strategy=copy"]);
    assert_eq!(class(ran.code(74)), "sync");
    ran.says("unreadable").says("ignore");
}

#[test]
fn a_lock_that_stays_busy_is_75() {
    let project = Project::new("");
    let marker = project.beside("started");
    let script = format!("touch {}; sleep 300", marker.display());
    project.write(
        "devshell.toml",
        format!("[[tool]]\nname = \"t\"\nscript = '''{script}'''\n"),
    );
    let first = project.start_until(&["run"], &marker);
    let ran = project.devshell(&["run", "--set", "run.lock_timeout=300ms"]);
    assert_eq!(class(ran.code(75)), "lost");
    ran.says(&format!("pid {}", first.child.id()));
    first.signal("TERM");
    first.end().code(143);
}

#[test]
fn a_timeout_is_124() {
    let ran = one("run = [\"sleep\", \"300\"]\ntimeout = \"200ms\"").run();
    assert_eq!(class(ran.code(124)), "timeout");
}

#[test]
fn what_cannot_be_executed_is_126_and_says_why() {
    let project = one("run = [\"./file\"]");
    let file = project.path("file");
    let mode = |mode: u32| std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
    std::fs::write(&file, "#!/bin/sh\n").unwrap();
    mode(0o644);
    assert_eq!(class(project.run().code(126).says("file")), "tool");
    std::fs::write(&file, "#!/no/such/interpreter\n").unwrap();
    mode(0o755);
    project.run().code(126).says("/no/such/interpreter");
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    project.run().code(126).says("folder");
    one("run = [\"true\"]\ncwd = \"no/such/folder\"")
        .run()
        .code(126)
        .says("no/such/folder");
}

#[test]
fn what_is_not_found_is_127_and_says_where_it_was_looked_for() {
    let ran = one("run = [\"no-such-program-anywhere\"]").run();
    assert_eq!(class(ran.code(127)), "tool");
    ran.says("no-such-program-anywhere").says("PATH");
    one("run = [\"./absent\"]").run().code(127).says("absent");
}

#[test]
fn a_config_that_is_no_file_is_66_at_once_and_a_program_without_a_name_64() {
    let project = Project::named("bare");
    let fifo = project.path("devshell.toml");
    assert!(
        std::process::Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .unwrap()
            .success()
    );
    project.run().code(66).says("no regular file");
    project.devshell(&["run", "/dev/stdin"]).code(66);
    std::fs::remove_file(&fifo).unwrap();
    project.devshell(&["exec", "--", ""]).code(64);
}

#[test]
fn a_commit_that_was_cut_short_by_a_kill_is_told_and_nothing_of_it_is_lost() {
    let project = Project::new("");
    project.write("file", "original\n");
    let ran = project.devshell(&["exec", "--", "sh", "-c", "echo new > file"]);
    ran.code(0);
    // What a kill in the middle leaves, as far as the next run can tell.
    let workspace = std::fs::read_dir(project.beside("state").join("devshell"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    let folder = workspace.path().join("commit/commit-1-0");
    std::fs::create_dir_all(folder.join("new")).unwrap();
    std::fs::write(folder.join("new/0"), "original\n").unwrap();
    std::fs::write(folder.join("applying"), "new/0 file\n").unwrap();
    let ran = project.devshell(&["exec", "--", "true"]);
    assert_eq!(class(ran.code(74)), "sync");
    ran.says("commit-1-0");
    assert!(folder.join("new/0").exists());
    std::fs::remove_dir_all(&folder).unwrap();
    project.devshell(&["exec", "--", "true"]).code(0);
}
