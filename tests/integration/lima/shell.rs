//! Shells in the guest of a scripted limactl.

use std::io::Write as _;
use std::process::{Command, Stdio};

use devshell::{SessionHolder, Vfs, VmConfig};

use crate::support::{Ran, Screen, finish, processes_with};

use super::scripted::{Lima, in_each_way, is_carried};

in_each_way!(
    a_shell_on_a_terminal_is_the_guests_own_at_the_workspaces_place,
    a_shell_without_a_terminal_reads_its_commands,
    what_a_shell_leaves_in_the_guest_is_named_and_ended,
    a_stop_ends_the_shell_in_the_guest,
    a_connection_that_is_lost_is_75,
);

/// The "guest" is this host: its user has a shell, too, which says so when it is one of a login.
fn screen(lima: &Lima, args: &[&str]) -> Screen {
    let home = lima.project.beside("home");
    std::fs::create_dir_all(&home).unwrap();
    std::fs::write(home.join(".profile"), "PS1='ready> '\n").unwrap();
    Screen::with(&lima.project, args, |command| {
        command.env("SHELL", "/bin/sh");
    })
}

fn a_shell_on_a_terminal_is_the_guests_own_at_the_workspaces_place() {
    let lima = Lima::running("");
    lima.project.write("file", "old\n");
    let mut screen = screen(&lima, &["shell", "--on-exit", "commit"]);
    screen.shows("a shell in the Lima instance `t`");
    screen.shows("ready> ");
    screen.types("pwd; stty size; cat file; test -t 2 && echo on-$((40 + 2)); echo typed >file\n");
    screen.shows("/project");
    screen.shows("33 111");
    screen.shows("on-42");
    let there = if is_carried() {
        lima.guest_cache()
    } else {
        lima.project.beside("shared")
    };
    assert!(screen.text().contains(&there.display().to_string()));
    screen.types("exit 3\n");
    assert_eq!(screen.end().code(), Some(3), "{}", screen.text());
    assert_eq!(lima.project.read("file"), "typed\n");
}

/// A shell that reads its commands from a pipe.
fn reads(lima: &Lima, args: &[&str], commands: &str) -> Ran {
    let mut command = lima.project.command(["shell"].iter().chain(args));
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(commands.as_bytes()).unwrap();
    drop(writer);
    command.stdin(Stdio::from(reader)).env("SHELL", "/bin/sh");
    finish(command)
}

fn a_shell_without_a_terminal_reads_its_commands() {
    let lima = Lima::running("");
    let before = lima.project.tree();
    let ran = reads(&lima, &[], "pwd; echo it >new; exit 3\n");
    ran.code(3).says("kept aside");
    assert!(ran.out().contains("/shared/"), "{}", ran.out());
    assert_eq!(lima.project.tree(), before);
    lima.project.devshell(&["results", "apply", ran.kept()]).code(0);
    assert_eq!(lima.project.read("new"), "it\n");
    reads(&lima, &["--on-exit", "drop"], "echo it >other\n")
        .code(0)
        .says("dropped");
    assert!(!lima.project.exists("other"));
}

fn what_a_shell_leaves_in_the_guest_is_named_and_ended() {
    let mark = format!("92{}", std::process::id());
    let lima = Lima::running("");
    let mut screen = screen(&lima, &["shell", "--on-exit", "drop"]);
    screen.shows("ready> ");
    screen.types(&format!("setsid sleep {mark} & sleep 0.2; exit\n"));
    assert_eq!(screen.end().code(), Some(0), "{}", screen.text());
    assert!(screen.text().contains("left a process running"), "{}", screen.text());
    assert!(processes_with(&format!("sleep {mark}")).is_empty());
}

fn a_stop_ends_the_shell_in_the_guest() {
    let mark = format!("91{}", std::process::id());
    let lima = Lima::running("");
    let mut screen = screen(
        &lima,
        &[
            "exec",
            "--",
            "sh",
            "-c",
            &format!("echo up-$((1 + 1)); setsid sleep {mark}"),
        ],
    );
    screen.shows("up-2");
    screen.signal("TERM");
    assert_eq!(screen.end().code(), Some(143), "{}", screen.text());
    assert!(processes_with(&format!("sleep {mark}")).is_empty());
}

fn a_connection_that_is_lost_is_75() {
    let lima = Lima::running("");
    let mut screen = screen(&lima, &["shell"]);
    screen.shows("ready> ");
    lima.put("wrong-ssh", "");
    // As ssh ends where the guest has gone away.
    screen.types("exit 255\n");
    assert_eq!(screen.end().code(), Some(75), "{}", screen.text());
    assert!(screen.text().contains("the guest does not answer"), "{}", screen.text());
}

const BECOME: &str = "DEVSHELL_TEST_BECOMES_A_SHELL_OF";

#[test]
fn the_library_becomes_a_login_shell_at_the_workspaces_place() {
    if let Some(place) = std::env::var_os(BECOME) {
        let place = place.to_string_lossy();
        let shared = format!("{place}/shared");
        let vars = [
            ("DEVSHELL_VM_BACKEND", "lima"),
            ("DEVSHELL_VM_LIMACTL", &format!("{place}/lima/limactl")),
            ("DEVSHELL_VM_LIMA_INSTANCE", "t"),
            ("DEVSHELL__VM__WORKSPACE_PARENT", &shared),
            ("DEVSHELL__VM__GUEST_WORKSPACE", &shared),
        ];
        let vars = vars.map(|(name, value)| (name.into(), value.into()));
        let mut session = SessionHolder::try_from_config(&VmConfig::from_vars(vars, "/".into()).unwrap()).unwrap();
        let vfs = Vfs::from_dir(std::path::Path::new(&format!("{place}/project"))).unwrap();
        session.ensure_ready(&vfs, "/project").unwrap();
        panic!("{}", session.exec_lima_interactive_shell());
    }
    let lima = Lima::running("");
    lima.project.write("file", "it\n");
    let place = lima.project.root.parent().unwrap().to_owned();
    let mut command = Command::new(std::env::current_exe().unwrap());
    let name = "lima::shell::the_library_becomes_a_login_shell_at_the_workspaces_place";
    command.args(["--exact", name, "--nocapture"]);
    command.env(BECOME, &place).env("SHELL", "/bin/sh");
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(b"pwd; cat file; exit 7\n").unwrap();
    drop(writer);
    command.stdin(Stdio::from(reader));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let ran = finish(command);
    let out = ran.code(7).out();
    assert!(out.ends_with("/project\nit\n"), "{out}");
    // A session on this host has no such shell.
    let error = SessionHolder::new_host().exec_lima_interactive_shell();
    assert_eq!(error.kind(), std::io::ErrorKind::Unsupported);
}
