//! `devshell exec` at a terminal: the program has it for itself, and it is as before afterwards.

use std::path::PathBuf;

use rustix::termios::{InputModes, LocalModes};

use crate::support::{Project, Screen, alive, has, not_run, processes_with, wait_for};

/// A script that says where it is, then waits for a long time.
fn waits(project: &Project, mark: &str) -> (String, PathBuf) {
    let marker = project.beside("started");
    (format!("touch {}; sleep 1000; : {mark}", marker.display()), marker)
}

fn mark(name: &str) -> String {
    format!("devshell-test-{}-{name}", std::process::id())
}

#[test]
fn all_streams_are_one_terminal_that_can_be_asked() {
    let project = Project::new("");
    let script = "for n in 0 1 2; do [ -t $n ] && echo is-$n; done; stty size </dev/tty; \
                  printf 'name%s ' '?'; read name </dev/tty; echo \"hello $name\"; echo \"pager=$PAGER\"";
    let events = project.beside("events").display().to_string();
    let mut screen = Screen::with(
        &project,
        &["exec", "--events", &events, "--", "sh", "-c", script],
        |command| {
            command.env("PAGER", "mine");
        },
    );
    screen.shows("name? ");
    screen.types("Ada\r");
    screen.ends_with(0);
    for words in ["is-0", "is-1", "is-2", "33 111", "hello Ada", "pager=mine"] {
        assert!(
            screen.text().contains(words),
            "`{words}` is missing:\n{}",
            screen.text()
        );
    }
    let events = std::fs::read_to_string(events).unwrap();
    assert!(
        events.contains(r#""terminal":{"joined":true,"interactive":true}"#),
        "{events}"
    );
}

#[test]
fn what_is_typed_reaches_the_program_and_its_end_too() {
    let project = Project::new("");
    let mut screen = Screen::new(
        &project,
        &["exec", "--", "sh", "-c", "echo it''runs; cat >typed; echo ov''er"],
    );
    screen.shows("itruns");
    screen.types("one\rtwo\r\x04");
    screen.shows("over");
    screen.ends_with(0);
    assert_eq!(project.read("typed"), "one\ntwo\n");
}

#[test]
fn a_new_size_is_the_programs_at_once() {
    let project = Project::new("");
    let script = "trap 'stty size </dev/tty; exit 0' WINCH; echo it''runs; while :; do sleep 0.05; done";
    let mut screen = Screen::new(&project, &["exec", "--", "sh", "-c", script]);
    screen.shows("itruns");
    screen.resize(20, 70);
    screen.ends_with(0);
    assert!(screen.text().contains("20 70"), "{}", screen.text());
}

#[test]
fn ctrl_c_reaches_the_program_once_and_devshell_not() {
    let project = Project::new("");
    let log = project.beside("log");
    let script = format!(
        "trap 'echo INT >>{0}' INT; trap 'echo TERM >>{0}' TERM; echo it''runs; until read line; do :; done; echo \"got $line\"; exit 7",
        log.display()
    );
    let mut screen = Screen::new(&project, &["exec", "--", "sh", "-c", &script]);
    screen.shows("itruns");
    let before = screen.settings();
    screen.types("\x03");
    wait_for(|| log.exists(), "the program to be interrupted");
    assert_eq!(screen.settings(), before, "the window is not touched by it");
    screen.types("go on\r");
    screen.ends_with(7);
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "INT\n");
    assert!(screen.text().contains("class=tool"), "{}", screen.text());
}

#[test]
fn the_terminal_is_as_before_however_the_program_ends() {
    let project = Project::new("");
    for (argv, code) in [
        (&["true"][..], 0),
        (&["sh", "-c", "stty raw -echo; exit 3"], 3),
        (&["sh", "-c", "kill -9 $$"], 137),
        (&["no-such-program"], 127),
        (&["/"], 126),
    ] {
        let args = ["exec", "--"].iter().chain(argv).copied().collect::<Vec<_>>();
        // A window that is unlike others.
        let mut screen = Screen::on(
            &project,
            &args,
            |_| (),
            |settings| settings.input_modes |= InputModes::IUCLC,
        );
        screen.ends_with(code);
        let after = screen.settings();
        assert!(
            after.contains("IUCLC") && after.contains("ISIG") && after.contains("OPOST"),
            "{argv:?}: {after}"
        );
    }
}

#[test]
fn the_terminal_is_as_before_however_devshell_is_ended() {
    for (signal, code) in [
        ("TERM", Some(143)),
        ("HUP", Some(129)),
        ("INT", Some(130)),
        ("QUIT", None),
        ("USR1", None),
    ] {
        let project = Project::new("");
        let mark = mark(signal);
        let (script, marker) = waits(&project, &mark);
        let mut screen = Screen::new(&project, &["exec", "--", "sh", "-c", &script]);
        wait_for(|| marker.exists(), "the program to start");
        assert!(!screen.settings().contains("ISIG"), "{signal}: {}", screen.settings());
        let tool = processes_with(&mark);
        screen.signal(signal);
        assert_eq!(screen.end().code(), code, "{signal}: {}", screen.text());
        assert!(screen.settings().contains("ISIG"), "{signal}: {}", screen.settings());
        wait_for(|| tool.iter().all(|pid| !alive(*pid)), "the program to be gone");
    }
}

#[test]
fn a_devshell_that_was_stopped_takes_the_terminal_again() {
    let project = Project::new("");
    let mut screen = Screen::new(
        &project,
        &["exec", "--", "sh", "-c", "echo it''runs; read line; echo \"got $line\""],
    );
    screen.shows("itruns");
    screen.signal("STOP");
    // As the shell that has the terminal meanwhile does.
    screen.set(|settings| settings.local_modes |= LocalModes::ICANON | LocalModes::ISIG);
    screen.signal("CONT");
    wait_for(|| !screen.settings().contains("ISIG"), "the terminal to be raw again");
    screen.types("it\r");
    screen.ends_with(0);
    assert!(screen.text().contains("got it"));
}

#[test]
fn a_program_that_hangs_can_be_ended_from_elsewhere() {
    let project = Project::new("");
    let script = "trap '' INT QUIT HUP TERM; echo it''runs; while :; do sleep 1; done";
    let mut screen = Screen::new(
        &project,
        &["exec", "--set", "run.grace_period=100ms", "--", "sh", "-c", script],
    );
    screen.shows("itruns");
    screen.types("\x03\x1c\x1a");
    screen.shows("^Z");
    screen.signal("TERM");
    screen.ends_with(143);
    // devshell's own lines start at the left edge also while the terminal is raw.
    let text = screen.text();
    assert!(
        text.contains("\r\ndevshell: ") && !text.replace("\r\n", "").contains('\n'),
        "{text:?}"
    );
}

#[test]
fn a_window_that_is_closed_hangs_up_on_the_program() {
    let project = Project::new("");
    let mark = mark("hangup");
    let (log, marker) = (project.beside("log"), project.beside("started"));
    let script = format!(
        "trap 'echo HUP >{}; exit 0' HUP; trap '' TERM; echo kept >kept; touch {}; while :; do sleep 0.05; done; : {mark}",
        log.display(),
        marker.display()
    );
    let mut screen = Screen::new(&project, &["exec", "--", "sh", "-c", &script]);
    wait_for(|| marker.exists(), "the program to start");
    let tool = processes_with(&mark);
    assert!(!tool.is_empty());
    screen.hang_up();
    screen.ends_with(129);
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "HUP\n");
    wait_for(|| tool.iter().all(|pid| !alive(*pid)), "the program to be gone");
    assert!(!project.exists("kept"));
    assert!(project.devshell(&["results"]).out().contains("1 written"));
}

#[test]
fn a_program_that_reads_a_pipe_has_a_terminal_for_its_output_only() {
    let project = Project::new("");
    let script = "[ -t 0 ] || echo not-0; [ -t 1 ] && echo is-1; cat";
    let piped = ["sh", "-c", "echo from a pipe | \"$@\"", "sh"];
    let mut screen = Screen::through(&project, &piped, &["exec", "--", "sh", "-c", script]);
    screen.ends_with(0);
    for words in ["not-0", "is-1", "from a pipe"] {
        assert!(screen.text().contains(words), "{}", screen.text());
    }
}

#[test]
fn a_full_screen_program_draws_as_it_would_without_devshell() {
    if !has("python3") {
        return not_run("typed_to::full_screen", "needs python3");
    }
    let project = Project::new("");
    // In raw mode a line feed is only one line down.
    let script = "import os, tty\ntty.setraw(0)\nos.write(1, b'<one\\n' + b'tw' + b'o>')\nos.read(0, 1)\n";
    let mut screen = Screen::new(&project, &["exec", "--", "python3", "-c", script]);
    screen.shows("two>");
    screen.types("q");
    screen.ends_with(0);
    assert!(screen.text().contains("<one\ntwo>"), "{:?}", screen.text());
}
