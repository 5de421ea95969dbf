//! Streams and events.

use std::collections::HashMap;

use crate::run::events;
use crate::support::{Project, finish};

#[test]
fn the_streams_of_tools_stay_apart_and_unchanged_in_bytes_and_order() {
    let project = Project::new(
        "[[tool]]\nname = \"t\"\nscript = '''\nprintf 'a\\377\\000b\\r\\n\\033[31mred'\nprintf 'e1' >&2\nhead -c 3000000 /dev/zero | tr '\\0' x\nprintf 'end'\n'''\n",
    );
    let ran = project.run();
    ran.code(0);
    let mut expected = b"a\xff\x00b\r\n\x1b[31mred".to_vec();
    expected.extend(std::iter::repeat_n(b'x', 3_000_000));
    expected.extend(b"end");
    assert!(
        ran.stdout == expected,
        "{} bytes of {}",
        ran.stdout.len(),
        expected.len()
    );
    assert!(
        ran.stderr.contains("\ne1\ndevshell: ") || ran.stderr.contains("e1\ndevshell: "),
        "{}",
        ran.stderr
    );
}

#[test]
fn output_is_live() {
    use std::io::{BufRead as _, BufReader};
    let project = Project::new("");
    let go = project.beside("go");
    project.write(
        "devshell.toml",
        format!(
            "[[tool]]\nname = \"t\"\nscript = \"printf first; while [ ! -e {} ]; do sleep 0.02; done; echo\"\n",
            go.display()
        ),
    );
    let mut child = project.command(["run"]).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut first = [0; 5];
    std::io::Read::read_exact(&mut out, &mut first).unwrap();
    assert_eq!(&first, b"first", "before the tool ended, and without a newline");
    std::fs::write(&go, "").unwrap();
    let mut rest = String::new();
    out.read_line(&mut rest).unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_reader_that_goes_away_does_not_end_the_run() {
    let project = Project::new("[[tool]]\nname = \"t\"\nscript = \"yes | head -c 2000000; echo done > done\"\n");
    let mut shell = project.program("bash");
    shell
        .args(["-c", "set -o pipefail; \"$0\" run | head -1"])
        .arg(crate::support::devshell());
    let ran = finish(shell);
    ran.code(0).says("class=ok");
    assert_eq!(ran.out(), "y\n");
    assert!(project.exists("done"));
}

#[test]
fn closed_stdout_and_stderr_do_not_matter() {
    let project = Project::new("[[tool]]\nname = \"t\"\nscript = \"echo out; echo err >&2; echo done > done\"\n");
    let mut shell = project.program("sh");
    shell
        .args(["-c", "\"$0\" run >&- 2>&-"])
        .arg(crate::support::devshell());
    finish(shell).code(0);
    assert!(project.exists("done"));
}

const MIXED: &str = r#"
[[tool]]
name = "ok"
script = "echo out; echo err >&2"
[[tool]]
name = "tolerated"
script = "exit 3"
continue_on_error = true
[[tool]]
name = "skipped"
run = ["true"]
when = { os = "windows" }
[[tool]]
name = "fails"
script = "printf '\\377'; exit 4"
[[tool]]
name = "never"
run = ["true"]
"#;

#[test]
fn json_is_one_event_a_line_and_everything_started_finishes_exactly_once() {
    let project = Project::new(MIXED);
    let log = project.beside("events.jsonl");
    let ran = project.devshell(&["run", "--output", "json", "--events", log.to_str().unwrap()]);
    ran.code(4);
    let stream = ran.out();
    let mut open: HashMap<String, i32> = HashMap::new();
    let mut last = 0;
    for line in stream.lines() {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(event["v"], 1);
        let t = event["t_ms"].as_u64().unwrap();
        assert!(t >= last);
        last = t;
        let kind = event["type"].as_str().unwrap();
        let id = format!(
            "{}{}",
            kind.split('_').next().unwrap(),
            event["tool"]
                .as_str()
                .filter(|_| kind.starts_with("tool"))
                .unwrap_or_default()
        );
        match kind {
            "run_started" | "tool_started" | "session_starting" => *open.entry(id).or_default() += 1,
            "run_finished" | "tool_finished" | "session_finished" => *open.entry(id).or_default() -= 1,
            _ => {}
        }
    }
    assert!(open.values().all(|n| *n == 0), "{open:?}");
    assert_eq!(open.len(), 5, "run, session and three tools: {open:?}");
    let file = std::fs::read_to_string(&log).unwrap();
    let strip = |text: &str| -> Vec<serde_json::Value> {
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    assert_eq!(strip(&file), strip(&stream), "the file has the same events");
    let finished = &events(&file, "run_finished")[0];
    assert_eq!(
        (&finished["class"], &finished["exit_code"], &finished["tool"]),
        (&"tool".into(), &4.into(), &"fails".into())
    );
    let outputs = events(&stream, "tool_output");
    assert!(outputs.iter().any(|o| o["stream"] == "stderr" && o["text"] == "err\n"));
    assert!(outputs.iter().any(|o| o["base64"] == "/w=="));
    assert_eq!(events(&stream, "tool_skipped").len(), 2);
}

#[test]
fn every_event_fits_the_published_schema() {
    let project = Project::new(MIXED);
    let schema: serde_json::Value = serde_json::from_str(include_str!("../../docs/events.schema.json")).unwrap();
    let ran = project.devshell(&["run", "--output", "json"]);
    ran.code(4);
    let validator = jsonschema::validator_for(&schema).unwrap();
    for line in ran.out().lines() {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        let faults: Vec<_> = validator.iter_errors(&event).map(|fault| fault.to_string()).collect();
        assert!(faults.is_empty(), "{line}: {faults:?}");
    }
    assert!(!validator.is_valid(&serde_json::json!({"v": 1, "t_ms": 1, "type": "no_such_event"})));
}

#[test]
fn a_run_that_never_began_ends_its_event_file_too() {
    let project = Project::new("[vm]\nbackend = \"moon\"\n");
    let log = project.beside("events.jsonl");
    let ran = project.devshell(&["run", "--output", "json", "--events", log.to_str().unwrap()]);
    ran.code(78);
    for stream in [std::fs::read_to_string(&log).unwrap(), ran.out()] {
        let finished = &events(&stream, "run_finished")[0];
        assert_eq!(
            (&finished["class"], &finished["exit_code"]),
            (&"config".into(), &78.into())
        );
    }
}

#[test]
fn a_full_stdout_ends_the_run_with_74_whatever_the_tool_did() {
    for script in ["echo out", "echo out; echo x > x"] {
        let project = Project::new("");
        let mut command = project.command(["exec", "--", "sh", "-c", script]);
        command.stdout(std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap());
        finish(command).code(74).says("class=sync").says("No space left");
        assert!(!project.exists("x"));
    }
}

#[test]
fn text_stays_text_in_the_events_wherever_the_pipe_cut_it() {
    let project = Project::new("");
    let script = "printf x; i=0; while [ $i -lt 40000 ]; do printf 'é€'; i=$((i+1)); done";
    let ran = project.devshell(&["exec", "--output", "json", "--", "sh", "-c", script]);
    let mut text = String::new();
    for output in events(&ran.code(0).out(), "tool_output") {
        text.push_str(output["text"].as_str().unwrap_or_else(|| panic!("{output}")));
    }
    assert!(text == format!("x{}", "é€".repeat(40_000)));
}

#[test]
fn an_event_file_in_the_workspace_is_no_part_of_it() {
    let project = Project::new("");
    project.write("old", "");
    let script = "rm -rf ./* && echo x > x";
    project
        .devshell(&["exec", "--events", "events.jsonl", "--", "sh", "-c", script])
        .code(0);
    assert!(project.exists("x") && !project.exists("old"));
    assert_eq!(events(&project.read("events.jsonl"), "run_finished")[0]["class"], "ok");
}

#[test]
fn an_event_file_belongs_to_one_run_at_a_time_and_is_never_a_config() {
    let project = Project::new("");
    let (pause, marker, go) = project.pause();
    let log = project.beside("events");
    let log = log.to_str().unwrap();
    let first = project.start_until(&["exec", "--events", log, "--", "sh", "-c", &pause], &marker);
    project
        .devshell(&["exec", "--events", log, "--", "true"])
        .code(64)
        .says("another devshell");
    std::fs::write(&go, "").unwrap();
    first.end().code(0);
    let lines = std::fs::read_to_string(log).unwrap();
    assert_eq!(events(&lines, "run_started").len(), 1);
    project
        .devshell(&["exec", "--events", "devshell.toml", "--", "true"])
        .code(64);
    assert_eq!(project.read("devshell.toml"), "");
}
