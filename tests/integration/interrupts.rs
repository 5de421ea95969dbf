//! What is said while somebody waits: after signals and at deadlines.

use std::io::{BufRead as _, BufReader};
use std::process::ChildStderr;
use std::time::Duration;

use crate::support::{Project, Running, up_behind_trap, wait_for};

/// devshell with one tool that is running, and its stderr to be read as it comes.
struct Watched {
    project: Project,
    running: Running,
    stderr: BufReader<ChildStderr>,
}

const STUBBORN: &str = "trap '' TERM; while :; do sleep 0.1; done";

fn watched(script: &str, keys: &str) -> Watched {
    let project = Project::new("");
    let marker = project.beside("started");
    project.write(
        "devshell.toml",
        format!(
            "[[tool]]\nname = \"slow\"\nscript = '''\n{}\n'''\n{keys}\n",
            up_behind_trap(&format!("touch {}", marker.display()), script)
        ),
    );
    let mut running = project.start_until(&["run"], &marker);
    let stderr = BufReader::new(running.child.stderr.take().unwrap());
    Watched {
        project,
        running,
        stderr,
    }
}

impl Watched {
    /// The next line that begins so; read while devshell still waits.
    fn hears(&mut self, beginning: &str) -> String {
        let mut before = String::new();
        loop {
            let mut line = String::new();
            assert!(
                self.stderr.read_line(&mut line).unwrap() > 0,
                "`{beginning}` was not said; before the end:\n{before}"
            );
            if let Some(rest) = line.trim_end().strip_prefix("devshell: ")
                && rest.starts_with(beginning)
            {
                return rest.to_owned();
            }
            before.push_str(&line);
        }
    }

    fn ends(mut self, code: i32, line: &str) {
        self.hears(line);
        wait_for(|| self.running.child.try_wait().unwrap().is_some(), "the end");
        assert_eq!(self.running.child.wait().unwrap().code(), Some(code));
        drop(self.project);
    }
}

#[test]
fn a_signal_is_answered_at_once_with_what_is_waited_for_and_a_second_one_too() {
    let mut watched = watched(STUBBORN, "grace_period = \"100s\"");
    watched.running.signal("INT");
    let told = watched.hears("warning: interrupted by SIGINT: `slow` and what it started were asked to end (SIGTERM)");
    assert!(
        told.ends_with("waiting for them, at most 1m 40s; a second Ctrl-C kills them at once"),
        "{told}"
    );
    watched.running.signal("INT");
    let told = watched.hears("warning: a further signal: `slow` and what it started are killed (SIGKILL)");
    assert!(told.ends_with("waiting for their end, at most 10s"), "{told}");
    watched.ends(130, "error: interrupted by SIGINT while `slow` ran");
}

#[test]
fn the_end_of_a_tools_own_grace_period_is_told() {
    // The run's is longer: the tool's own holds.
    let mut watched = watched(STUBBORN, "grace_period = \"300ms\"\n[run]\ngrace_period = \"100s\"");
    watched.running.signal("TERM");
    let told = watched.hears("warning: interrupted by SIGTERM: `slow`");
    assert!(
        told.ends_with("at most 300ms; a further signal kills them at once"),
        "{told}"
    );
    watched.hears("warning: not ended within 300ms: `slow` and what it started are killed");
    watched.ends(143, "error: interrupted by SIGTERM while `slow` ran");
}

#[test]
fn one_signal_is_enough_for_a_tool_that_is_stopped_for_its_deadline() {
    let keys = "grace_period = \"100s\"\ntimeout = \"300ms\"";
    let mut watched = watched(STUBBORN, keys);
    let told = watched.hears("warning: timeout after 300ms: `slow` and what it started were asked to end");
    assert!(told.ends_with("at most 1m 40s; Ctrl-C kills them at once"), "{told}");
    watched.running.signal("INT");
    watched.hears("warning: a further signal: `slow` and what it started are killed");
    watched.ends(130, "error: interrupted by SIGINT");
}

#[test]
fn each_deadline_is_told_by_its_name_and_ends_with_124() {
    for (keys, told, headline) in [
        (
            "timeout = \"300ms\"",
            "timeout after 300ms",
            "error: `slow` stopped at its timeout",
        ),
        (
            "no_output_timeout = \"300ms\"",
            "no output for 300ms",
            "error: `slow` stopped at its timeout",
        ),
        (
            "[run]\ntimeout = \"500ms\"",
            "the run's timeout of 500ms passed",
            "error: `slow` stopped at its timeout",
        ),
    ] {
        let mut watched = watched("echo once; exec sleep 300", keys);
        let line = watched.hears(&format!(
            "warning: {told}: `slow` and what it started were asked to end"
        ));
        assert!(line.contains("at most 10s"), "{line}");
        let line = watched.hears(headline);
        assert!(line.ends_with(&format!(": {told}")), "{line}");
        watched.ends(124, "class=timeout tool=slow code=124");
    }
}

#[test]
fn output_puts_off_the_no_output_timeout() {
    let project = Project::new(
        "[[tool]]\nname = \"t\"\nscript = \"for i in 1 2 3 4 5 6; do echo $i; sleep 0.5; done\"\n\
         no_output_timeout = \"20s\"\ntimeout = \"100s\"\n",
    );
    project.run().code(0);
    // Of the two that have passed the one that passed first is named.
    let both = "tool.t.no_output_timeout=100ms";
    project
        .devshell(&["run", "--set", both])
        .code(124)
        .says("no output for 100ms");
}

#[test]
fn who_waits_for_the_lock_says_for_how_long_and_that_it_was_interrupted() {
    let project = Project::new("");
    let (pause, marker, go) = project.pause();
    let first = project.start_until(&["exec", "--", "sh", "-c", &pause], &marker);
    let mut child = project
        .command(["exec", "--set", "run.lock_timeout=2m", "--", "true"])
        .spawn()
        .unwrap();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    let mut second = Watched {
        running: Running { child },
        stderr,
        project: Project::new(""),
    };
    let told = second.hears("waiting for another run in this workspace (pid ");
    assert!(
        told.ends_with("at most 120.0s (run.lock_timeout); Ctrl-C gives up"),
        "{told}"
    );
    second.running.signal("INT");
    second.ends(
        130,
        "error: interrupted by SIGINT while it waited for another run in this workspace",
    );
    std::fs::write(&go, "").unwrap();
    first.end().code(0);
}

#[test]
fn an_interrupt_while_the_copy_is_made_says_that_nothing_was_run() {
    let project =
        Project::new("[vm.host]\nstrategy = \"copy\"\n[[tool]]\nname = \"t\"\nscript = \"touch ../ran; sleep 1\"\n");
    for folder in 0..40 {
        for file in 0..100 {
            project.write(format!("{folder}/{file}"), "x");
        }
    }
    let before = project.tree();
    let events = project.beside("events");
    let child = project
        .command(["run", "--events", events.to_str().unwrap()])
        .spawn()
        .unwrap();
    let running = Running { child };
    let has_begun = || std::fs::read_to_string(&events).is_ok_and(|text| text.contains("session_starting"));
    wait_for(has_begun, "the copy to begin");
    running.signal("INT");
    let ran = running.end();
    ran.code(130);
    // A quick machine may have made the copy meanwhile; then the tool was interrupted.
    if !project.beside("ran").exists() && !ran.stderr.contains("while `t` ran") {
        ran.says("error: interrupted by SIGINT while the host backend was being made ready; nothing was run");
    }
    assert_eq!(project.tree(), before);
    assert!(ran.elapsed < Duration::from_secs(100));
}
