//! `devshell run` on a terminal: tools keep their colours, sizes and progress bars, and in a pipe
//! they have none.

use std::process::Stdio;

use rustix::termios::OutputModes;

use crate::support::{Project, Screen, alive, finish, has, not_run, wait_for};

/// Says of each standard stream whether it is a terminal.
const STREAMS: &str = "for n in 0 1 2; do [ -t $n ] && echo is-$n || echo not-$n; done";

fn project(script: &str) -> Project {
    Project::new(&format!("[[tool]]\nname = \"t\"\nscript = '''{script}'''\n"))
}

/// The events of one type in a file.
fn events(project: &Project, kind: &str) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(project.beside("events")).unwrap();
    let all = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    all.filter(|event| event["type"] == kind).collect()
}

#[test]
fn a_tools_output_is_a_terminal_of_the_callers_size_and_its_input_is_none() {
    for strategy in ["overlay", "copy", "in_place"] {
        let project = project(&format!(
            "{STREAMS}; stty size <&1; read x </dev/tty || echo no-ctty; read x <&1 || echo no-read; \
             mkdir -p d; ls --color=auto -d d; echo pager=$PAGER=$GIT_PAGER; echo err >&2"
        ));
        let events_file = project.beside("events").display().to_string();
        let set = format!("vm.host.strategy={strategy}");
        let mut screen = Screen::new(&project, &["run", "--events", &events_file, "--set", &set]);
        screen.ends_with(0);
        let text = screen.text();
        for words in ["not-0", "is-1", "is-2", "33 111", "no-ctty", "no-read", "pager=cat=cat"] {
            assert!(text.contains(words), "{strategy}: `{words}` is missing:\n{text}");
        }
        assert!(text.contains("\x1b[0m"), "{strategy}: no colour:\n{text}");
        let started = &events(&project, "tool_started")[0]["terminal"];
        assert_eq!(*started, serde_json::json!({"joined": true, "interactive": false}));
        let output = events(&project, "tool_output");
        assert!(output.iter().all(|event| event["stream"] == "stdout"));
        let said: String = output.iter().map(|event| event["text"].as_str().unwrap()).collect();
        assert!(said.ends_with("err\n") && !said.contains('\r'), "{said:?}");
    }
}

#[test]
fn in_a_pipe_and_with_lines_only_nothing_is_a_terminal() {
    let project = project(&format!("{STREAMS}; echo pager=$PAGER"));
    let piped = |screen: &mut Screen| {
        let mut text = String::new();
        let mut out = screen.child.stdout.take().unwrap();
        std::io::Read::read_to_string(&mut out, &mut text).unwrap();
        text
    };
    let mut screen = Screen::with(&project, &["run"], |command| {
        command.stdout(Stdio::piped()).env("PAGER", "mine");
    });
    assert_eq!(piped(&mut screen), "not-0\nnot-1\nnot-2\npager=mine\n");
    screen.ends_with(0);
    for output in ["plain", "json"] {
        let mut screen = Screen::new(&project, &["run", "--output", output]);
        screen.ends_with(0);
        let text = screen.text();
        assert!(text.contains("not-1") && text.contains("not-2"), "{text}");
    }
}

#[test]
fn where_only_stdout_is_a_terminal_stderr_stays_a_stream_of_its_own() {
    let project = project(&format!("{STREAMS}; echo err >&2"));
    let events_file = project.beside("events").display().to_string();
    let mut screen = Screen::with(&project, &["run", "--events", &events_file], |command| {
        command.stderr(Stdio::piped());
    });
    let mut err = String::new();
    std::io::Read::read_to_string(&mut screen.child.stderr.take().unwrap(), &mut err).unwrap();
    screen.ends_with(0);
    assert!(
        screen.text().contains("is-1") && screen.text().contains("not-2"),
        "{}",
        screen.text()
    );
    assert!(!screen.text().contains("err") && err.contains("\nerr\n"), "{err}");
    assert_eq!(events(&project, "tool_started")[0]["terminal"]["joined"], false);
}

#[test]
fn a_pager_of_the_config_is_the_tools() {
    let project =
        Project::new("[env]\nPAGER = \"mine\"\n[[tool]]\nname = \"t\"\nscript = \"echo pager=$PAGER=$GIT_PAGER\"\n");
    let mut screen = Screen::with(&project, &["run"], |command| {
        command.env("PAGER", "less");
    });
    screen.ends_with(0);
    assert!(screen.text().contains("pager=mine=cat"), "{}", screen.text());
}

#[test]
fn bytes_come_through_a_terminal_as_they_were_written() {
    if !has("python3") {
        return not_run("own_terminals::bytes", "needs python3");
    }
    let project = project(
        "python3 -c 'import os; b = bytes(range(256)) + b\"a\\n\\nb\\r\\n\\tc\\n\"\nfor _ in range(400): os.write(1, b)'",
    );
    let mut expected: Vec<u8> = (0..=255).collect();
    expected.extend(b"a\n\nb\r\n\tc\n");
    let expected = expected.repeat(400);
    // The window itself would turn LF into CR LF.
    let mut screen = Screen::on(
        &project,
        &["run"],
        |command| {
            command.stderr(Stdio::null());
        },
        |settings| settings.output_modes.remove(OutputModes::OPOST),
    );
    screen.ends_with(0);
    assert!(
        screen.bytes() == expected,
        "{} bytes for {}",
        screen.bytes().len(),
        expected.len()
    );
}

#[test]
fn fifty_megabytes_come_through_a_terminal_whole_and_in_order() {
    let project = project("seq 1 8000000 | head -c 50000000");
    let mut expected = Vec::with_capacity(50_000_010);
    for number in 1.. {
        expected.extend(format!("{number}\n").into_bytes());
        if expected.len() >= 50_000_000 {
            break;
        }
    }
    expected.truncate(50_000_000);
    let mut screen = Screen::on(
        &project,
        &["run"],
        |command| {
            command.stderr(Stdio::null());
        },
        |settings| settings.output_modes.remove(OutputModes::OPOST),
    );
    screen.ends_with(0);
    assert!(screen.bytes() == expected, "{} bytes", screen.bytes().len());
}

#[test]
fn a_tool_is_told_when_the_window_gets_another_size() {
    let project = Project::new("");
    let marker = project.beside("started");
    let script = format!(
        "trap 'stty size <&1; exit 0' WINCH; touch {}; while :; do sleep 0.05; done",
        marker.display()
    );
    project.write(
        "devshell.toml",
        format!("[[tool]]\nname = \"t\"\nscript = '''{script}'''\n"),
    );
    let mut screen = Screen::new(&project, &["run"]);
    wait_for(|| marker.exists(), "the tool to start");
    screen.resize(20, 70);
    screen.ends_with(0);
    assert!(screen.text().contains("20 70"), "{}", screen.text());
}

#[test]
fn a_window_that_is_closed_ends_the_run_and_leaves_nothing_running() {
    let project = Project::new("");
    let pid = project.beside("pid");
    // Found by its command line: in a PID namespace it knows another number of itself.
    let mark = format!("devshell-test-{}", std::process::id());
    let script = format!("touch {}; sleep 1000; : {mark}-closed", pid.display());
    project.write(
        "devshell.toml",
        format!("[[tool]]\nname = \"t\"\nscript = '''{script}'''\n"),
    );
    let mut screen = Screen::new(&project, &["run"]);
    wait_for(|| pid.exists(), "the tool to start");
    let tool = crate::support::processes_with(&format!("{mark}-closed"));
    assert!(!tool.is_empty());
    screen.hang_up();
    screen.ends_with(129);
    wait_for(|| tool.iter().all(|pid| !alive(*pid)), "the tool to be gone");
}

#[test]
fn without_a_terminal_to_be_had_tools_get_pipes() {
    let project = project(STREAMS);
    // The device is hidden, which takes a mount.
    let mut probe = project.program("unshare");
    probe.args(["-Urm", "mount", "--bind", "/dev/null", "/dev/ptmx"]);
    if !finish(probe).status.success() {
        return not_run("own_terminals::no_terminal", "needs a mount namespace");
    }
    let script = "mount --bind /dev/null /dev/ptmx; exec \"$@\"";
    let mut screen = Screen::through(
        &project,
        &["unshare", "-Urm", "sh", "-ec", script, "sh"],
        &["run", "--set", "vm.host.strategy=in_place"],
    );
    screen.ends_with(0);
    assert!(
        screen.text().contains("not-1") && screen.text().contains("not-2"),
        "{}",
        screen.text()
    );
}
