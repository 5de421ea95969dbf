//! `devshell shell`.

use std::io::Write as _;
use std::process::Stdio;

use crate::support::{Project, Ran, Screen, finish, has, not_run, processes_with, wait_for};

/// A shell that reads its commands from a pipe.
fn reads(project: &Project, args: &[&str], commands: &str) -> Ran {
    let mut command = project.command(["shell"].iter().chain(args));
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(commands.as_bytes()).unwrap();
    drop(writer);
    command.stdin(Stdio::from(reader)).env("SHELL", "/bin/sh");
    finish(command)
}

#[test]
fn the_changes_of_a_shell_are_kept_unless_told_otherwise_whatever_it_exits_with() {
    for code in [0, 3] {
        let project = Project::new("");
        let before = project.tree();
        let ran = reads(&project, &[], &format!("echo it >new; exit {code}\n"));
        ran.code(code).says("when it ends, what it changed is kept aside");
        assert_eq!(project.tree(), before);
        project.devshell(&["results", "apply", ran.kept()]).code(0);
        assert_eq!(project.read("new"), "it\n");
    }
}

#[test]
fn the_changes_of_a_shell_are_applied_or_dropped_as_the_flag_says() {
    for code in [0, 3] {
        let project = Project::new("");
        let script = format!("echo it >new; exit {code}\n");
        let before = project.tree();
        let ran = reads(&project, &["--on-exit", "drop"], &script);
        ran.code(code).says("what it changed is dropped").says("dropped: ");
        assert_eq!(project.tree(), before);
        assert!(!ran.last_line().contains("kept="), "{}", ran.last_line());
        reads(&project, &["--on-exit", "commit"], &script)
            .code(code)
            .says("committed: 1 written");
        assert_eq!(project.read("new"), "it\n");
    }
}

#[test]
fn what_the_host_changed_meanwhile_is_not_overwritten() {
    let project = Project::new("");
    project.write("file", "old\n");
    let file = project.path("file").display().to_string();
    let (pause, marker, go) = project.pause();
    let mut command = project.command(["shell", "--on-exit", "commit"]);
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer
        .write_all(format!("echo shell >{file}; {pause}\n").as_bytes())
        .unwrap();
    drop(writer);
    command.stdin(Stdio::from(reader)).env("SHELL", "/bin/sh");
    let ran = std::thread::spawn(move || finish(command));
    wait_for(|| marker.exists(), "the shell to write");
    project.write("file", "host\n");
    std::fs::write(go, "").unwrap();
    let ran = ran.join().unwrap();
    ran.code(73);
    assert_eq!(project.read("file"), "host\n");
    assert!(!ran.kept().is_empty());
}

#[test]
fn a_shell_starts_where_its_caller_is_and_without_a_config() {
    let project = Project::named("bare");
    std::fs::create_dir(project.path("sub")).unwrap();
    let mut command = project.command(["shell", "--on-exit", "commit", "--", "sh", "-c", "pwd; echo it >new"]);
    command.current_dir(project.path("sub"));
    let ran = finish(command);
    ran.code(0);
    assert_eq!(ran.out().trim(), project.path("sub").display().to_string());
    assert_eq!(project.read("sub/new"), "it\n");

    let project = Project::new("[env]\nMINE = \"yes\"\n[profile.p.env]\nMINE = \"p\"\n");
    let file = project.path("devshell.toml").display().to_string();
    let mut command = project.command(["shell", &file, "--profile", "p", "--", "sh", "-c", "pwd; echo $MINE"]);
    command.current_dir("/");
    let ran = finish(command);
    ran.code(0);
    assert_eq!(ran.out(), format!("{}\np\n", project.root.display()));
}

#[test]
fn no_timeout_ends_a_shell() {
    let project = Project::new("[vm]\nexec_timeout = \"50ms\"\n[run]\ntimeout = \"50ms\"\n");
    let ran = reads(&project, &[], "sleep 0.5; echo still here\n");
    ran.code(0);
    assert_eq!(ran.out(), "still here\n");
}

#[test]
fn a_shell_without_a_view_says_so_and_cannot_keep_or_drop() {
    let project = Project::new("[vm.host]\nstrategy = \"in_place\"\n");
    for word in ["keep", "drop"] {
        reads(&project, &["--on-exit", word], "echo it >new\n")
            .code(78)
            .says("needs a view of its own");
        assert!(!project.exists("new"));
    }
    reads(&project, &[], "echo it >new\n")
        .code(0)
        .says("what it changes is changed at once");
    assert_eq!(project.read("new"), "it\n");
}

#[test]
fn a_shell_inside_a_run_is_in_the_view_of_the_run() {
    let project = Project::new("");
    let devshell = crate::support::devshell().display().to_string();
    project.write(
        "devshell.toml",
        format!("[[tool]]\nname = \"t\"\nscript = \"echo 'echo it >new' | SHELL=/bin/sh {devshell} shell; cat new; exit 1\"\n"),
    );
    let ran = project.run();
    ran.code(1).says("what it changes is changed at once");
    assert_eq!(ran.out(), "it\n");
    assert!(!project.exists("new"));
}

#[test]
fn a_shell_of_another_kind_can_be_asked_for_and_a_missing_one_is_told() {
    let project = Project::new("");
    let ran = reads(&project, &["--", "cat"], "text\n");
    ran.code(0);
    assert_eq!(ran.out(), "text\n");
    let mut command = project.command(["shell"]);
    command.env("SHELL", "/no/such/shell");
    finish(command).code(127).says("/no/such/shell");
    project.devshell(&["shell", "--", ""]).code(64);
    project.devshell(&["shell", "--write-back", "always"]).code(64);
}

#[test]
fn job_control_works_in_a_shell_at_a_terminal() {
    if !has("bash") {
        return not_run("shells::job_control", "needs bash");
    }
    let project = Project::new("");
    let mut screen = bash(&project, &[]);
    // What is typed too early is lost with the Ctrl-Z, as on any terminal.
    let marker = project.beside("started");
    let mark = format!("1{}", std::process::id());
    screen.types(&format!("(touch {}; exec sleep {mark})\r", marker.display()));
    wait_for(|| marker.exists(), "the job to start");
    screen.types("\x1a");
    screen.shows("Stopped");
    screen.types("touch again; fg\r");
    // Only then has it the terminal.
    let goes_on = |pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.contains(") S ")
    };
    wait_for(
        || processes_with(&format!("sleep\0{mark}")).iter().any(goes_on),
        "the job to go on",
    );
    screen.types("\x03");
    screen.types("echo back-$?\r");
    screen.shows("back-130");
    screen.types("stty size; echo \"$((40 + 2)) jobs\"; exit 5\r");
    screen.ends_with(5);
    let text = screen.text();
    assert!(text.contains("33 111") && text.contains("42 jobs"), "{text}");
    assert!(screen.settings().contains("ISIG") && screen.settings().contains("ICANON"));
}

#[test]
fn jobs_that_a_shell_leaves_are_named_and_ended() {
    if !has("bash") {
        return not_run("shells::left", "needs bash");
    }
    let project = Project::new("");
    let mut screen = bash(&project, &[]);
    screen.types("sleep 1234 &\r");
    screen.shows("[1] ");
    screen.types("exit\r");
    screen.ends_with(0);
    let text = screen.text();
    assert!(
        text.contains("left a process running, ended by devshell") && text.contains(": sleep 1234"),
        "{text}"
    );
}

#[test]
fn a_shell_that_is_typed_to_heeds_the_wish_to_stop() {
    if !has("bash") {
        return not_run("shells::stop", "needs bash");
    }
    // An interactive bash ignores SIGTERM; nothing is killed before the time is over.
    let project = Project::new("[run]\ngrace_period = \"1h\"\n");
    let mut screen = bash(&project, &["--on-exit", "commit"]);
    screen.types("echo it >new; echo $((1 + 1))-made\r");
    screen.shows("2-made");
    screen.signal("TERM");
    screen.ends_with(143);
    assert!(
        !project.exists("new") && screen.text().contains("kept="),
        "{}",
        screen.text()
    );
}

#[test]
fn a_window_that_is_closed_ends_the_shell_and_keeps_its_work() {
    if !has("bash") {
        return not_run("shells::hangup", "needs bash");
    }
    let project = Project::new("[run]\ngrace_period = \"1h\"\n");
    let mut screen = bash(&project, &["--on-exit", "commit"]);
    screen.types("echo it >new; echo $((1 + 1))-made\r");
    screen.shows("2-made");
    screen.hang_up();
    screen.ends_with(129);
    assert!(!project.exists("new"));
    assert!(project.devshell(&["results"]).out().contains("1 written"));
}

/// An interactive bash that is ready.
fn bash(project: &Project, args: &[&str]) -> Screen {
    let args: Vec<&str> = ["shell"]
        .iter()
        .chain(args)
        .copied()
        .chain(["--", "bash", "--norc"])
        .collect();
    let screen = Screen::with(project, &args, |command| {
        command.env("PS1", "typehere> ");
    });
    screen.shows("typehere> ");
    screen
}
