//! Signals, deadlines, and what is left running: nothing.

use std::time::Duration;

use crate::support::{Project, processes_with, up_behind_trap, wait_for};

/// A project whose tool says that it runs, changes the view and then does `then`.
fn project_that(then: &str, keys: &str) -> (Project, std::path::PathBuf) {
    let project = Project::new("");
    let marker = project.beside("started");
    let script = format!(
        "up={}\n{}",
        marker.display(),
        up_behind_trap("echo changed > file\ntouch $up", then)
    );
    project.write(
        "devshell.toml",
        format!("{keys}\n[[tool]]\nname = \"slow\"\nscript = '''\n{script}\n'''\n"),
    );
    project.write("file", "original\n");
    (project, marker)
}

#[test]
fn each_signal_stops_the_tool_keeps_the_result_and_leaves_the_tree_alone() {
    for (signal, code) in [("INT", 130), ("TERM", 143), ("HUP", 129)] {
        let (project, marker) = project_that("sleep 300", "");
        let before = project.tree();
        let running = project.start_until(&["run"], &marker);
        running.signal(signal);
        let ran = running.end();
        ran.code(code).says("class=interrupted tool=slow");
        assert_eq!(project.tree(), before, "{signal}");
        assert!(
            project
                .devshell(&["results", "diff", ran.kept()])
                .code(0)
                .out()
                .contains("+changed")
        );
    }
}

#[test]
fn a_second_signal_does_not_wait_for_the_grace_period() {
    // That it was asked to end it says where it said that it is up.
    let (project, marker) = project_that(
        "trap 'rm -f $up' TERM; while :; do sleep 0.1; done",
        "[run]\ngrace_period = \"100s\"",
    );
    let before = project.tree();
    let running = project.start_until(&["run"], &marker);
    running.signal("INT");
    wait_for(|| !marker.exists(), "the tool to be asked to end");
    running.signal("INT");
    let ran = running.end();
    ran.code(130);
    assert!(ran.elapsed < Duration::from_secs(30), "{:?}", ran.elapsed);
    assert_eq!(project.tree(), before);
}

#[test]
fn a_tool_may_clean_up_within_the_grace_period() {
    let (project, marker) = project_that("trap 'echo cleaned; exit 0' TERM\nsleep 300 & wait", "");
    let running = project.start_until(&["run"], &marker);
    running.signal("TERM");
    let ran = running.end();
    ran.code(143);
    assert_eq!(ran.out(), "cleaned\n");
}

#[test]
fn a_timeout_ends_a_grandchild_in_its_own_session_that_ignores_sigterm() {
    let mark = format!("31{}", std::process::id());
    let (project, _) = project_that(
        &format!("setsid sh -c 'trap \"\" TERM; while :; do sleep {mark} & wait; done' &\nsleep {mark}"),
        "[run]\ngrace_period = \"200ms\"\n",
    );
    let before = project.tree();
    let ran = project.devshell(&["run", "--set", "tool.slow.timeout=500ms"]);
    ran.code(124).says("class=timeout tool=slow").says("500ms");
    assert!(ran.elapsed < Duration::from_secs(20), "{:?}", ran.elapsed);
    assert_eq!(processes_with(&mark), Vec::<u32>::new());
    assert_eq!(project.tree(), before);
}

#[test]
fn silence_and_the_whole_run_have_deadlines_too() {
    let silent =
        Project::new("[[tool]]\nname = \"s\"\nscript = \"echo once; sleep 300\"\nno_output_timeout = \"300ms\"\n");
    silent.run().code(124).says("no output");
    let long = Project::new(
        "[run]\ntimeout = \"400ms\"\n[[tool]]\nname = \"s\"\nrun = [\"sleep\", \"300\"]\n[[tool]]\nname = \"n\"\nrun = [\"true\"]\n",
    );
    long.run().code(124).says("n skipped");
}

#[test]
fn what_a_tool_leaves_running_is_named_ended_and_does_not_hold_up_the_run() {
    let mark = format!("32{}", std::process::id());
    let project = Project::new(&format!(
        "[[tool]]\nname = \"leaver\"\nscript = \"setsid sleep {mark} & echo done\"\n"
    ));
    let ran = project.run();
    ran.code(0)
        .says("left a process running")
        .says(&format!("sleep {mark}"));
    assert!(ran.elapsed < Duration::from_secs(20), "{:?}", ran.elapsed);
    assert_eq!(processes_with(&mark), Vec::<u32>::new());
}

#[test]
fn a_devshell_killed_by_sigkill_leaves_no_process_and_the_next_run_works() {
    let mark = format!("33{}", std::process::id());
    let (project, marker) = project_that(&format!("setsid sleep {mark} &\nsleep {mark}"), "");
    let before = project.tree();
    let running = project.start_until(&["run"], &marker);
    wait_for(|| processes_with(&mark).len() >= 2, "both sleeps");
    running.signal("KILL");
    assert_eq!(running.end().status.code(), None);
    wait_for(|| processes_with(&mark).is_empty(), "the tools to die with devshell");
    assert_eq!(project.tree(), before);
    project.devshell(&["run", "--set", "tool.slow.script=cat file"]).code(0);
}

#[test]
fn a_signal_that_was_ignored_at_the_start_stays_ignored() {
    let (project, marker) = project_that("sleep 1", "");
    let mut command = project.program("sh");
    command
        .args(["-c", "trap '' HUP; exec \"$0\" run"])
        .arg(crate::support::devshell());
    let running = crate::support::Running {
        child: command.spawn().unwrap(),
    };
    wait_for(|| marker.exists(), "the tool");
    running.signal("HUP");
    running.end().code(0);
}

#[test]
fn an_interrupt_while_waiting_for_the_lock_ends_at_once() {
    let (project, marker) = project_that("sleep 300", "");
    let first = project.start_until(&["run"], &marker);
    let second = project.command(["run"]).spawn().unwrap();
    let mut second = crate::support::Running { child: second };
    second.until_it_says("waiting for another run");
    second.signal("INT");
    second.end().code(130);
    first.signal("TERM");
    first.end().code(143);
}

#[test]
fn an_interrupt_decides_also_when_the_tool_makes_a_success_of_it() {
    for strategy in ["copy", "in_place"] {
        for change in ["true", "echo changed > file"] {
            let (project, marker) = project_that(&format!("trap '{change}; exit 0' TERM\nsleep 300 & wait"), "");
            let set = format!("vm.host.strategy={strategy}");
            let running = project.start_until(&["run", "--set", &set], &marker);
            running.signal("TERM");
            running.end().code(143).says("class=interrupted");
        }
    }
}

#[test]
fn a_first_signal_while_the_result_is_collected_does_not_throw_it_away() {
    let project = Project::new("");
    let marker = project.beside("started");
    let script = format!(
        "for d in a b c d e f g h; do mkdir $d; for i in $(seq 1500); do echo > $d/$i; done; done; touch {}",
        marker.display()
    );
    project.write(
        "devshell.toml",
        format!("[[tool]]\nname = \"many\"\nscript = '''{script}'''\n"),
    );
    let before = project.tree();
    let running = project.start_until(&["run"], &marker);
    running.signal("INT");
    let ran = running.end();
    // The signal may come just after the commit; then the run succeeded.
    if ran.status.code() != Some(0) {
        ran.code(130).says("interrupted by SIGINT");
        assert_eq!(project.tree(), before);
        let diff = project.devshell(&["results", "diff", ran.kept()]);
        assert!(diff.code(0).out().contains("A h/1500"));
    }
}

#[test]
fn a_reader_that_does_not_read_holds_up_neither_deadlines_nor_signals() {
    let toml = "[run]\ngrace_period = \"200ms\"\n[[tool]]\nname = \"loud\"\nscript = \"yes\"\ntimeout = \"500ms\"\n";
    let project = Project::new(toml);
    // Nobody reads this stdout until the end.
    let child = project.command(["run"]).spawn().unwrap();
    let mut running = crate::support::Running { child };
    wait_for(|| running.child.try_wait().unwrap().is_some(), "the timeout");
    running.end().code(124).says("bytes of output were dropped");

    let (project, marker) = project_that("yes", "");
    let mut running = project.start_until(&["run"], &marker);
    std::thread::sleep(Duration::from_millis(300));
    running.signal("TERM");
    wait_for(
        || running.child.try_wait().unwrap().is_some(),
        "the end after the signal",
    );
    running.end().code(143);
}

#[test]
fn the_workspace_is_free_only_when_the_last_tool_of_a_killed_run_has_ended() {
    let mark = format!("34{}", std::process::id());
    let tools = format!("for i in 1 2 3 4 5 6 7 8 9; do setsid sleep {mark} & done; sleep {mark}");
    let (project, marker) = project_that(&tools, "");
    let running = project.start_until(&["run"], &marker);
    wait_for(|| processes_with(&mark).len() >= 10, "all sleeps");
    running.signal("KILL");
    running.end();
    project.devshell(&["exec", "--", "true"]).code(0);
    assert_eq!(processes_with(&mark), Vec::<u32>::new());
}
