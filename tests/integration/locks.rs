//! One run at a time per workspace.

use std::path::PathBuf;

use crate::support::{Project, Running, has, not_run, wait_for};

fn waiting_project() -> (Project, PathBuf, PathBuf) {
    let project = Project::new("");
    let (pause, marker, go) = project.pause();
    let script = format!("{pause}; echo first >> log");
    project.write(
        "devshell.toml",
        format!("[[tool]]\nname = \"t\"\nscript = '''{script}'''\n"),
    );
    (project, marker, go)
}

#[test]
fn a_second_run_waits_says_for_whom_and_sees_the_result_of_the_first() {
    let (project, marker, go) = waiting_project();
    let first = project.start_until(&["run"], &marker);
    let mut second = Running {
        child: project
            .command(["exec", "--", "sh", "-c", "echo second >> log"])
            .spawn()
            .unwrap(),
    };
    let pid = first.child.id();
    second.until_it_says(&format!("waiting for another run in this workspace (pid {pid}"));
    assert!(!project.exists("log"), "neither has committed");
    std::fs::write(&go, "").unwrap();
    first.end().code(0);
    second.end().code(0);
    assert_eq!(project.read("log"), "first\nsecond\n");
}

#[test]
fn results_are_applied_under_the_same_lock() {
    let (project, marker, go) = waiting_project();
    let ran = project.devshell(&["exec", "--write-back", "never", "--", "touch", "kept"]);
    let id = ran.code(0).kept().to_owned();
    let first = project.start_until(&["run"], &marker);
    let apply = Running {
        child: project.command(["results", "apply", &id]).spawn().unwrap(),
    };
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(!project.exists("kept"));
    std::fs::write(&go, "").unwrap();
    first.end().code(0);
    apply.end().code(0);
    assert!(project.exists("kept"));
}

#[test]
fn a_devshell_inside_a_run_works_in_the_outer_view() {
    let project = Project::new("");
    let inner = crate::support::devshell();
    project.write(
        "devshell.toml",
        format!(
            "[[tool]]\nname = \"outer\"\nscript = '''\necho outer > outer\n'{0}' exec -- sh -c 'cat outer > inner'\ntest -e inner\ntest ! -e fail\n'''\n",
            inner.display()
        ),
    );
    project.write("fail", "");
    project.run().code(1);
    assert!(
        !project.exists("inner"),
        "the inner commit is part of the outer transaction"
    );
    std::fs::remove_file(project.path("fail")).unwrap();
    project.run().code(0);
    assert_eq!(project.read("inner"), "outer\n");
}

#[test]
fn make_with_two_jobs_runs_two_devshells_one_after_the_other() {
    if !has("make") {
        return not_run("make_with_two_jobs", "no make here");
    }
    let project = Project::new("");
    let program = crate::support::devshell();
    let line = |name: &str| {
        format!(
            "\t'{}' exec -- sh -c 'echo {name} >> log; sleep 0.2; echo {name} >> log'\n",
            program.display()
        )
    };
    project.write(
        "Makefile",
        format!("all: a b\na:\n{}b:\n{}.PHONY: all a b\n", line("a"), line("b")),
    );
    let mut make = project.program("make");
    make.args(["-j2", "all"]);
    crate::support::finish(make).code(0);
    let log = project.read("log");
    assert!(log == "a\na\nb\nb\n" || log == "b\nb\na\na\n", "{log}");
}

#[test]
fn the_jobserver_of_make_reaches_the_tools() {
    if !has("make") {
        return not_run("the_jobserver_of_make", "no make here");
    }
    let project = Project::new("");
    let program = crate::support::devshell();
    project.write(
        "Makefile",
        format!(
            "all:\n\t+'{}' exec -- $(MAKE) inner\ninner: x y\nx y:\n\ttouch $@\n",
            program.display()
        ),
    );
    let mut make = project.program("make");
    make.args(["-j2", "all"]);
    let ran = crate::support::finish(make);
    ran.code(0);
    assert!(!ran.stderr.contains("jobserver unavailable"), "{}", ran.stderr);
    assert!(project.exists("x") && project.exists("y"));
}

#[test]
fn a_lock_of_a_run_that_was_killed_is_free() {
    let (project, marker, _) = waiting_project();
    let first = project.start_until(&["run"], &marker);
    first.signal("KILL");
    first.end();
    let second = Running {
        child: project.command(["exec", "--", "true"]).spawn().unwrap(),
    };
    let mut second = second;
    wait_for(|| second.child.try_wait().unwrap().is_some(), "the second run");
    second.end().code(0);
}

#[test]
fn a_run_id_that_was_left_over_takes_nothing_away() {
    let project = Project::new("");
    let ran = project.devshell(&["exec", "--", "sh", "-c", "echo $DEVSHELL_RUN_ID"]);
    let id = ran.code(0).out().trim().to_owned();
    let mut command = project.command(["exec", "--", "sh", "-c", "echo half > half; exit 1"]);
    command.env("DEVSHELL_RUN_ID", id);
    crate::support::finish(command)
        .code(1)
        .says("DEVSHELL_RUN_ID")
        .says("isolation view");
    assert!(!project.exists("half"));
}

#[test]
fn a_result_is_not_applied_by_a_tool_of_a_run_of_the_same_workspace() {
    let project = Project::new("");
    project
        .devshell(&["exec", "--write-back", "never", "--", "touch", "kept"])
        .code(0);
    let program = crate::support::devshell();
    for strategy in ["copy", "in_place"] {
        let set = format!("vm.host.strategy={strategy}");
        let ran = project.devshell(&[
            "exec",
            "--set",
            &set,
            "--",
            program.to_str().unwrap(),
            "results",
            "apply",
        ]);
        ran.code(64).says("its own run");
    }
}
