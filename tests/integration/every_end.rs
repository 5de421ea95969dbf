//! Events and JUnit reports of runs that end in every way that there is.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::support::{Disk, Project, Ran, Running, finish, is_root, not_run, own_mounts, wait_for};

/// `devshell run` that reports to both files.
fn reported(project: &Project, args: &[&str]) -> Command {
    let mut command = project.command(["run"]);
    command.args(args);
    command
        .arg("--events")
        .arg(events(project))
        .arg("--junit")
        .arg(junit(project));
    command
}

fn events(project: &Project) -> PathBuf {
    project.beside("events.jsonl")
}

fn junit(project: &Project) -> PathBuf {
    project.beside("junit.xml")
}

/// How many events of a kind there are, once everything holds that holds for any run.
fn checked(project: &Project, ran: &Ran) -> BTreeMap<String, usize> {
    let text = std::fs::read_to_string(events(project)).unwrap();
    assert!(text.ends_with('\n'), "{text}");
    let schema: Value = serde_json::from_str(include_str!("../../docs/events.schema.json")).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for event in &lines {
        let faults: Vec<_> = schema.iter_errors(event).map(|fault| fault.to_string()).collect();
        assert!(faults.is_empty(), "{event}: {faults:?}");
    }
    let times: Vec<u64> = lines.iter().map(|event| event["t_ms"].as_u64().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");
    let count = |kind: &str| lines.iter().filter(|event| event["type"] == kind).count();
    let finished = lines.last().unwrap();
    assert_eq!(
        (count("run_finished"), &finished["type"]),
        (1, &"run_finished".into()),
        "{text}"
    );
    assert_eq!(finished["exit_code"], ran.status.code().unwrap(), "{text}");
    let class = finished["class"].as_str().unwrap();
    ran.says(&format!("class={class} "));

    // A run that never began has its end alone.
    if count("run_started") == 0 {
        assert_eq!(lines.len(), 1, "{text}");
    } else {
        assert_eq!(
            (count("run_started"), &lines[0]["type"]),
            (1, &"run_started".into()),
            "{text}"
        );
        tools_are_paired(&lines);
        assert_eq!(count("session_starting"), count("session_finished"), "{text}");
        assert!(
            count("session_starting") <= 1 && count("session_ready") <= count("session_starting"),
            "{text}"
        );
        assert!(count("write_back_finished") <= 1, "{text}");
        if count("session_starting") == 1 {
            assert_eq!(count("write_back_finished"), 1, "{text}");
        }
    }
    junit_agrees(project, finished);
    lines.iter().fold(BTreeMap::new(), |mut counts, event| {
        *counts.entry(event["type"].as_str().unwrap().to_owned()).or_default() += 1;
        counts
    })
}

/// One tool at a time, each attempt started and finished once, output only meanwhile; and each
/// tool that is due is either started or skipped.
fn tools_are_paired(lines: &[Value]) {
    let due = lines[0]["tools"].as_array().unwrap();
    let mut running: Option<(&Value, &Value)> = None;
    let (mut started, mut skipped) = (BTreeMap::new(), BTreeMap::new());
    for event in lines {
        match event["type"].as_str().unwrap() {
            "tool_started" => {
                assert!(running.is_none(), "{event}");
                running = Some((&event["tool"], &event["attempt"]));
                let attempts: &mut u64 = started.entry(event["tool"].to_string()).or_default();
                *attempts += 1;
                assert_eq!(event["attempt"], *attempts);
            }
            "tool_output" => assert_eq!(running.map(|(tool, _)| tool), Some(&event["tool"])),
            "tool_finished" => assert_eq!(running.take(), Some((&event["tool"], &event["attempt"])), "{event}"),
            "tool_skipped" => *skipped.entry(event["tool"].to_string()).or_insert(0) += 1,
            _ => {}
        }
    }
    assert!(running.is_none());
    // A run that ended before its first state says nothing of its tools.
    if lines.iter().any(|event| event["type"] == "write_back_finished") {
        for tool in due {
            let tool = tool.to_string();
            let skips = skipped.get(&tool).copied().unwrap_or(0);
            assert_eq!(
                skips,
                i32::from(!started.contains_key(&tool)),
                "{tool} is {skips} times skipped"
            );
        }
    }
}

/// The report is final, and green for a run that went well alone.
fn junit_agrees(project: &Project, finished: &Value) {
    let text = std::fs::read_to_string(junit(project)).unwrap();
    assert!(
        text.starts_with("<?xml ") && text.ends_with("</testsuites>\n"),
        "{text}"
    );
    assert!(!text.contains("type=\"unfinished\""), "{text}");
    let is_red = text.contains("<failure ") || text.contains("<error ");
    assert_eq!(is_red, finished["class"] != "ok", "{text}");
    for (name, key) in [("class", "class"), ("exit_code", "exit_code")] {
        let value = finished[key].to_string();
        let property = format!("<property name=\"{name}\" value=\"{}\"/>", value.trim_matches('"'));
        assert!(text.contains(&property), "{property}: {text}");
    }
}

const TOOL: &str = "[[tool]]\nname = \"t\"\n";

#[test]
fn whatever_a_run_ends_with_its_reports_are_complete() {
    let tool = |rest: &str| format!("{TOOL}{rest}\n[[tool]]\nname = \"next\"\nrun = [\"true\"]\n");
    let script = |text: &str| tool(&format!("script = '''{text}'''"));
    let in_place = "[vm.host]\nstrategy = \"in_place\"\n";
    let cases: &[(&str, String, &[&str], i32)] = &[
        ("a success", script("echo x > x"), &[], 0),
        ("no change", script("true"), &[], 0),
        ("in place", format!("{in_place}{}", script("echo x > x")), &[], 0),
        (
            "nothing is due",
            tool("run = [\"true\"]\nwhen = { os = \"windows\" }"),
            &["--only", "t"],
            0,
        ),
        ("a code", script("echo x > x; exit 9"), &[], 9),
        ("a code that goes on", script("exit 9"), &["--keep-going"], 9),
        ("a code in place", format!("{in_place}{}", script("exit 9")), &[], 9),
        (
            "a code that is committed",
            script("echo x > x; exit 9"),
            &["--write-back", "always"],
            9,
        ),
        ("a class", script("exit 9"), &["--exit-code", "class"], 1),
        (
            "a tolerated code",
            tool("script = \"exit 9\"\ncontinue_on_error = true"),
            &[],
            0,
        ),
        ("a signal", script("kill -9 $$"), &[], 137),
        (
            "a program that is not there",
            tool("run = [\"no-such-program\"]"),
            &[],
            127,
        ),
        ("a program that cannot run", tool("run = [\"/etc/passwd\"]"), &[], 126),
        (
            "a folder that is not there",
            tool("run = [\"true\"]\ncwd = \"no/such\""),
            &[],
            126,
        ),
        (
            "a timeout",
            tool("run = [\"sleep\", \"1000\"]\ntimeout = \"300ms\""),
            &[],
            124,
        ),
        (
            "silence",
            tool("run = [\"sleep\", \"1000\"]\nno_output_timeout = \"300ms\""),
            &[],
            124,
        ),
        (
            "the run's timeout",
            tool("run = [\"sleep\", \"1000\"]"),
            &["--set", "run.timeout=500ms"],
            124,
        ),
        (
            "a timeout that is not obeyed",
            tool(
                "script = \"trap '' TERM; while :; do sleep 0.1; done\"\ntimeout = \"300ms\"\ngrace_period = \"100ms\"",
            ),
            &[],
            124,
        ),
        (
            "flaky",
            tool("script = \"test -e BESIDE/once || { touch BESIDE/once; exit 3; }\"\nretries = 2"),
            &[],
            0,
        ),
        ("no luck", tool("script = \"exit 3\"\nretries = 2"), &[], 3),
        ("never committed", script("echo x > x"), &["--write-back", "never"], 0),
        ("something left running", script("sleep 1000 & echo done"), &[], 0),
        (
            "heavy output",
            script("yes é | head -c 3000000; printf '\\377' >&2; exit 5"),
            &[],
            5,
        ),
        (
            "a backend that is not there",
            script("true"),
            &["--backend", "remote"],
            69,
        ),
        ("no isolation", script("true"), &["--set", "sandbox.require=full"], 71),
        ("a wrong config", "nonsense = 1\n".to_owned(), &[], 78),
        ("no tools", "[run]\n".to_owned(), &[], 78),
        ("a tool that is not there", script("true"), &["--only", "nothing"], 64),
        ("no config", script("true"), &["absent.toml"], 66),
    ];
    for (what, toml, args, code) in cases {
        let project = Project::new("");
        let beside = project.beside("");
        let beside = beside.to_str().unwrap().trim_end_matches('/');
        project.write("devshell.toml", toml.replace("BESIDE", beside));
        let ran = finish(reported(&project, args));
        assert_eq!(ran.status.code(), Some(*code), "{what}: {}", ran.stderr);
        checked(&project, &ran);
    }
}

#[test]
fn the_reports_of_an_interrupted_run_are_complete() {
    let stubborn = "trap '' TERM; touch BESIDE/started; while :; do sleep 0.05; done";
    let polite = "trap 'exit 0' TERM; touch BESIDE/started; while :; do sleep 0.05; done";
    for (script, signals, code) in [
        (polite, &["INT"][..], 130),
        (polite, &["TERM"], 143),
        (polite, &["HUP"], 129),
        (stubborn, &["INT", "INT"], 130),
    ] {
        let project = Project::new("");
        let beside = project.beside("");
        let script = script.replace("BESIDE", beside.to_str().unwrap().trim_end_matches('/'));
        let toml = format!("{TOOL}script = '''{script}'''\n[[tool]]\nname = \"next\"\nrun = [\"true\"]\n");
        project.write("devshell.toml", toml);
        let child = reported(&project, &[]).spawn().unwrap();
        wait_for(|| project.beside("started").exists(), "the tool to run");
        let running = Running { child };
        for signal in signals {
            running.signal(signal);
        }
        let ran = running.end();
        ran.code(code);
        let counts = checked(&project, &ran);
        assert_eq!((counts["tool_finished"], counts["tool_skipped"]), (1, 1), "{counts:?}");
        let text = std::fs::read_to_string(junit(&project)).unwrap();
        assert!(text.contains("type=\"interrupted\""), "{text}");
    }
}

#[test]
fn the_reports_of_a_run_that_waited_or_met_a_conflict_are_complete() {
    let project = Project::new("");
    project.write("edited", "old");
    let (pause, marker, go) = project.pause();
    project.write(
        "devshell.toml",
        format!("{TOOL}script = '''{pause}; echo new > edited'''\n"),
    );
    let first = project.start_until(&["run"], &marker);
    let ran = finish(reported(&project, &["--set", "run.lock_timeout=200ms"]));
    ran.code(75);
    assert_eq!(checked(&project, &ran)["lock_waiting"], 1);

    std::fs::write(&go, "").unwrap();
    first.end().code(0);
    std::fs::remove_file(&marker).unwrap();
    std::fs::remove_file(&go).unwrap();
    let child = reported(&project, &[]).spawn().unwrap();
    wait_for(|| marker.exists(), "the tool to run");
    project.write("edited", "the host's");
    std::fs::write(&go, "").unwrap();
    let ran = Running { child }.end();
    ran.code(73);
    checked(&project, &ran);
    assert_eq!(project.read("edited"), "the host's");
}

#[test]
fn a_devshell_that_is_killed_leaves_no_green_report_and_no_older_one() {
    let project = Project::new("");
    let (pause, marker, _) = project.pause();
    project.write("devshell.toml", format!("{TOOL}script = '''{pause}'''\n"));
    std::fs::write(junit(&project), "<testsuite name=\"of an older run\" tests=\"0\"/>").unwrap();
    let child = reported(&project, &[]).spawn().unwrap();
    wait_for(|| marker.exists(), "the tool to run");
    let running = Running { child };
    running.signal("KILL");
    running.end();
    let text = std::fs::read_to_string(junit(&project)).unwrap();
    assert!(
        text.contains("errors=\"1\"") && text.contains("type=\"unfinished\""),
        "{text}"
    );
    let left = std::fs::read_dir(project.beside("")).unwrap();
    let left = left.filter(|entry| {
        entry
            .as_ref()
            .unwrap()
            .file_name()
            .to_string_lossy()
            .contains("devshell-report")
    });
    assert_eq!(left.count(), 0);
}

#[test]
fn reports_in_the_workspace_are_no_part_of_it() {
    let project = Project::new("");
    project.write("old", "");
    project.write("devshell.toml", format!("{TOOL}script = '''rm old; echo x > x'''\n"));
    for _ in 0..2 {
        project.write("old", "");
        let ran = project.devshell(&["run", "--junit", "junit.xml", "--events", "events.jsonl"]);
        ran.code(0);
        assert!(project.read("junit.xml").contains("failures=\"0\" errors=\"0\""));
        assert!(project.exists("x") && !project.exists("old"));
    }
}

#[test]
fn a_report_file_that_cannot_be_is_told_before_anything_runs() {
    let project = Project::new(&format!("{TOOL}script = \"echo x > x\"\n"));
    for (args, says) in [
        (
            &["--junit", "no/such/junit.xml"][..],
            "cannot write the JUnit report to `no/such/junit.xml`: No such file",
        ),
        (
            &["--junit", "."],
            "cannot write the JUnit report to `.`: Is a directory",
        ),
        (&["--junit", "devshell.toml"], "its name is that of a config"),
        (&["--events", "both", "--junit", "./both"], "name the same file"),
    ] {
        let mut command = project.command(["run"]);
        command.args(args);
        finish(command).code(64).says(says).says("class=usage");
        assert!(!project.exists("x"));
    }
}

#[test]
fn reports_that_a_full_device_does_not_take_end_the_run_with_74() {
    // The report is written when all is done, so what it is about is done.
    let project = Project::new(&format!("{TOOL}script = \"echo x > x\"\n"));
    let ran = project.devshell(&[
        "run",
        "--junit",
        "/dev/full",
        "--events",
        events(&project).to_str().unwrap(),
    ]);
    ran.code(74)
        .says("everything is done, but a report could not be written: /dev/full: No space left")
        .says("class=sync code=74");
    assert!(project.exists("x"));
    let text = std::fs::read_to_string(events(&project)).unwrap();
    assert!(
        text.lines()
            .last()
            .unwrap()
            .contains("\"class\":\"sync\",\"exit_code\":74"),
        "{text}"
    );

    // Events are written all the time: the run ends at the first that does not go out.
    let project = Project::new(&format!("{TOOL}script = \"echo x > x\"\n"));
    let ran = project.devshell(&[
        "run",
        "--events",
        "/dev/full",
        "--junit",
        junit(&project).to_str().unwrap(),
    ]);
    ran.code(74)
        .says("the run cannot be reported: /dev/full: No space left");
    assert!(!project.exists("x"));
    let text = std::fs::read_to_string(junit(&project)).unwrap();
    assert!(text.contains("type=\"sync\""), "{text}");

    // A tool's own code stays.
    let project = Project::new(&format!("{TOOL}script = \"exit 9\"\n"));
    project
        .devshell(&["run", "--junit", "/dev/full"])
        .code(9)
        .says("/dev/full: No space left");
}

#[test]
fn a_disk_that_fills_up_under_the_reports_is_met_before_the_commit() {
    let test = "every_end::a_disk_that_fills_up_under_the_reports_is_met_before_the_commit";
    if !is_root() {
        return not_run(test, "only root can mount a disk of its own");
    }
    if !own_mounts(test) {
        return;
    }
    for report in ["--junit", "--events"] {
        let project = Project::new("");
        let Some(disk) = Disk::tmpfs(&project.beside("disk"), "64k") else {
            return not_run(test, "no tmpfs can be mounted");
        };
        let path = disk.0.join("report");
        let fill = format!(
            "dd if=/dev/zero of={}/filler bs=1k 2>/dev/null || true",
            disk.0.display()
        );
        project.write(
            "devshell.toml",
            format!("{TOOL}script = '''{fill}; echo x > x; seq 1 9999'''\n"),
        );
        let ran = project.devshell(&["run", report, path.to_str().unwrap()]);
        ran.code(74).says("class=sync").says("report").says("No space left");
        assert!(!project.exists("x"), "{report}");
        let text = std::fs::read_to_string(&path).unwrap();
        match report {
            "--junit" => assert!(
                text.contains("type=\"unfinished\""),
                "the first one is still there, whole: {text}"
            ),
            _ => {
                let whole = text
                    .lines()
                    .filter(|line| serde_json::from_str::<Value>(line).is_ok())
                    .count();
                assert!(text.lines().count() - whole <= 1, "only the last line is torn: {text}");
            }
        }
    }
}
