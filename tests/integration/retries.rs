//! Tools that are run again after a failure.

use crate::support::{Project, wait_for};

/// A tool that leaves a trace in the tree at each attempt and succeeds at the third one; how
/// often it was run is counted outside the view.
fn flaky(strategy: &str, more: &str) -> Project {
    let project = Project::new("");
    let count = project.beside("count");
    let script = format!(
        "echo x >>{0}; echo attempt >>trace; rm -rf gone; mkdir -p made/$(wc -l <{0}); echo new >kept; \
         test $(wc -l <{0}) -ge 3",
        count.display()
    );
    project.write("kept", "old");
    project.write("gone/deep/file", "");
    project.write(
        "devshell.toml",
        format!(
            "[vm.host]\nstrategy = \"{strategy}\"\n[[tool]]\nname = \"before\"\nscript = 'echo before >trace'\n\
             [[tool]]\nname = \"t\"\nscript = '''{script}'''\n{more}\n\
             [[tool]]\nname = \"after\"\nscript = 'cat trace; ls made'\n"
        ),
    );
    project
}

#[test]
fn each_attempt_starts_from_the_state_before_the_failed_one() {
    for strategy in ["overlay", "copy", "auto"] {
        let project = flaky(strategy, "retries = 2");
        let ran = project.run();
        ran.code(0).says("`t` is flaky: it succeeded at attempt 3 of 3");
        assert_eq!(ran.out(), "before\nattempt\n3\n", "{strategy}");
        assert_eq!(project.read("trace"), "before\nattempt\n");
        assert_eq!(project.read("kept"), "new\n");
        assert!(!project.exists("gone") && !project.exists("made/1") && project.exists("made/3"));
        assert_eq!(
            std::fs::read_to_string(project.beside("count"))
                .unwrap()
                .lines()
                .count(),
            3
        );
    }
}

#[test]
fn the_last_attempt_decides_and_its_result_is_kept() {
    for strategy in ["overlay", "copy"] {
        let project = flaky(strategy, "retries = { count = 1, delay = \"10ms\" }");
        let before = project.tree();
        let ran = project.run();
        ran.code(1).says("(it is run once more)");
        assert_eq!(project.tree(), before);
        let diff = project.devshell(&["results", "diff", ran.kept()]).out();
        assert!(diff.contains("made/2") && !diff.contains("made/1"), "{diff}");
    }
}

#[test]
fn codes_that_are_not_listed_are_final() {
    let project = flaky("auto", "retries = { count = 5, exit_codes = [75] }");
    project.run().code(1);
    assert_eq!(std::fs::read_to_string(project.beside("count")).unwrap(), "x\n");
}

#[test]
fn every_attempt_is_an_event_of_its_own() {
    let project = flaky("auto", "retries = 2");
    let ran = project.devshell(&["run", "--output", "json"]);
    ran.code(0);
    let out = ran.out();
    let events: Vec<serde_json::Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |kind: &str| {
        let mine = events
            .iter()
            .filter(|event| event["type"] == kind && event["tool"] == "t");
        mine.cloned().collect::<Vec<_>>()
    };
    let attempts = |kind: &str| {
        of(kind)
            .iter()
            .map(|event| event["attempt"].as_u64().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(attempts("tool_started"), [1, 2, 3]);
    assert_eq!(attempts("tool_finished"), [1, 2, 3]);
    let again: Vec<_> = of("tool_finished")
        .iter()
        .map(|event| event["will_retry"].as_bool().unwrap())
        .collect();
    assert_eq!(again, [true, true, false]);
}

#[test]
fn a_signal_while_a_retry_waits_ends_the_run() {
    let project = flaky("auto", "retries = { count = 2, delay = \"10m\" }");
    let before = project.tree();
    let running = project.start_until(&["run", "--events", "../events"], &project.beside("count"));
    wait_for(
        || std::fs::read_to_string(project.beside("events")).is_ok_and(|text| text.contains("will_retry\":true")),
        "the first attempt to fail",
    );
    running.signal("TERM");
    running.end().code(143);
    assert_eq!(project.tree(), before);
}

#[test]
fn a_timeout_is_worth_a_retry_and_a_missing_program_is_not() {
    let project = Project::new("[[tool]]\nname = \"t\"\nrun = [\"sleep\", \"60\"]\ntimeout = \"50ms\"\nretries = 1\n");
    project.run().code(124).says("(attempt 2)");
    let project = Project::new("[[tool]]\nname = \"t\"\nrun = [\"no-such-program\"]\nretries = 3\n");
    let ran = project.run();
    ran.code(127);
    assert!(!ran.stderr.contains("attempt 2"));
}
