//! How a server begins and ends, and what it says of itself.

use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::json;

use super::peer::{Client, Server, Sidecar, TRANSPORTS, Transport, wait_for_file};
use crate::support::{finish, has, not_run, processes_with, wait_for};

/// Waits until the server has heard that it shall end.
fn begins_nothing_more(client: &mut Client) {
    wait_for(
        || {
            client.start(2, &["true"], &json!({}));
            let heard = client.hear();
            heard.line["code"] == "shutting_down" || {
                assert_eq!(heard.line["op"], "exec_result");
                false
            }
        },
        "it to refuse",
    );
}

#[test]
fn a_server_that_is_told_to_end_lets_what_runs_end_first() {
    for transport in TRANSPORTS {
        for modern in [false, true] {
            let mut sidecar = Sidecar::with(transport, &["--grace", "60s"]);
            let mut client = if modern { sidecar.modern() } else { sidecar.version1() };
            let script = "touch started; until [ -e go ]; do sleep 0.02; done; echo whole; exit 3";
            client.start(1, &["sh", "-c", script], &json!({}));
            wait_for_file(&sidecar.staging().join("started"));
            let mut own = client.server.take();
            let server = own.as_ref().unwrap_or_else(|| sidecar.server());
            server.signal("TERM");
            if modern {
                begins_nothing_more(&mut client);
            } else {
                std::thread::sleep(Duration::from_millis(100));
            }
            std::fs::write(sidecar.staging().join("go"), "").unwrap();
            if modern {
                let ran = client.result(1);
                assert_eq!((ran.out().as_str(), &ran.result["exit_code"]), ("whole\n", &json!(3)));
            } else {
                let result = client.hears("exec_result");
                assert_eq!(
                    (&result["exit_code"], &result["stdout_base64"]),
                    (&json!(3), &json!("d2hvbGUK"))
                );
            }
            client.hears_the_end();
            let server = own.as_mut().unwrap_or_else(|| sidecar.server_mut());
            assert_eq!(server.end(), Some(0), "{}", server.said());
        }
    }
}

#[test]
fn what_does_not_end_within_the_grace_is_stopped_and_told_of() {
    let mark = format!("{}", 1_000_000 + std::process::id());
    for transport in TRANSPORTS {
        let mut sidecar = Sidecar::with(transport, &["--grace", "300ms"]);
        let mut client = sidecar.modern();
        let script = format!("trap 'echo bye; exit 7' TERM; touch started; sleep {mark} & wait; sleep {mark}");
        client.start(1, &["sh", "-c", &script], &json!({}));
        wait_for_file(&sidecar.staging().join("started"));
        let mut own = client.server.take();
        own.as_ref().unwrap_or_else(|| sidecar.server()).signal("TERM");
        let ran = client.result(1);
        assert_eq!(
            (ran.out().as_str(), &ran.result["outcome"]),
            ("bye\n", &json!("cancelled"))
        );
        client.hears_the_end();
        let server = own.as_mut().unwrap_or_else(|| sidecar.server_mut());
        assert_eq!(server.end(), Some(0), "{}", server.said());
        assert_eq!(processes_with(&mark), [0; 0]);
    }
}

#[test]
fn a_second_signal_kills_at_once() {
    let mut sidecar = Sidecar::with(Transport::Unix, &["--grace", "1h"]);
    let mut client = sidecar.modern();
    client.start(
        1,
        &["sh", "-c", "trap '' TERM; touch started; while :; do sleep 0.05; done"],
        &json!({}),
    );
    wait_for_file(&sidecar.staging().join("started"));
    sidecar.server().signal("TERM");
    begins_nothing_more(&mut client);
    sidecar.server().signal("INT");
    assert_eq!(client.result(1).result["outcome"], "cancelled");
    assert_eq!(sidecar.server_mut().end(), Some(0));
}

#[test]
fn idle_clients_do_not_hold_up_the_end() {
    let mut sidecar = Sidecar::with(Transport::Unix, &["--grace", "1h"]);
    let mut clients = vec![sidecar.connect(), sidecar.version1(), sidecar.modern()];
    sidecar.server().signal("TERM");
    assert_eq!(sidecar.server_mut().end(), Some(0));
    for client in &mut clients {
        client.hears_the_end();
    }
}

#[test]
fn a_server_that_is_killed_leaves_no_tool() {
    let mark = format!("{}", 1_100_000 + std::process::id());
    for transport in TRANSPORTS {
        let mut sidecar = Sidecar::new(transport);
        let mut client = sidecar.modern();
        let script = format!("trap '' TERM HUP; setsid sleep {mark} & touch started; sleep {mark}");
        for id in 1..4 {
            client.start(id, &["sh", "-c", &script], &json!({}));
        }
        wait_for(|| processes_with(&format!("sleep\0{mark}")).len() == 6, "all to run");
        let mut own = client.server.take();
        let server = own.as_mut().unwrap_or_else(|| sidecar.server_mut());
        server.signal("KILL");
        server.end();
        wait_for(|| processes_with(&mark).is_empty(), "the tools to go");
        client.hears_the_end();
    }
}

#[test]
fn an_idle_server_ends_when_that_was_asked_for_and_not_while_anybody_is_there() {
    let mut sidecar = Sidecar::with(Transport::Unix, &["--idle-exit", "2s"]);
    let mut client = sidecar.version1();
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(client.exec(&["true"])["exit_code"], 0);
    let start = Instant::now();
    drop(client);
    assert_eq!(sidecar.server_mut().end(), Some(0));
    assert!(start.elapsed() >= Duration::from_millis(1900));
    assert!(!sidecar.socket().exists());
}

#[test]
fn the_server_of_one_client_ends_with_it() {
    let sidecar = Sidecar::new(Transport::Stdio);
    let mut client = sidecar.version1();
    client.end_input();
    client.hears_the_end();
    assert_eq!(client.server_ends(), Some(0));
    // Also when it never said anything.
    let mut client = sidecar.connect();
    client.end_input();
    assert_eq!(client.server_ends(), Some(0));
}

#[test]
fn the_log_holds_what_happened_and_neither_contents_nor_tokens() {
    let sidecar = Sidecar::with(Transport::Tcp, &["-vv"]);
    let mut client = sidecar.modern();
    let script = "echo the-output; cat; exit 3";
    client.start(
        1,
        &["sh", "-c", script, "the-argument"],
        &json!({"env": {"A": "the-variable"}, "stdin": true}),
    );
    client.feed(1, b"the-input", true);
    client.result(1);
    client.fs(
        "write_file",
        "/workspace/a",
        &json!({"content_base64": "dGhlLWNvbnRlbnQ=", "id": 2}),
    );
    let mut wrong = sidecar.connect();
    wrong.say(&json!({"op": "handshake", "version": 1, "token": "the-wrong-token"}));
    wrong.hears("error");
    let mut odd = sidecar.connect();
    odd.say(&json!({"op": "handshake", "version": "the-odd-version", "token": "open sesame"}));
    odd.hears_the_end();
    let server = sidecar.server();
    for event in [
        "connected",
        "handshake",
        "session_started",
        "exec_started",
        "exec_ended",
        "guest_fs",
        "refused",
    ] {
        server.says(&format!("event={event} "));
    }
    let said = server.said();
    assert!(said.contains("program=sh argc=4"), "{said}");
    assert!(said.contains("end=3 "), "{said}");
    for secret in [
        "the-output",
        "the-input",
        "the-content",
        "dGhlLWNvbnRlbnQ",
        "the-argument",
        "the-variable",
        "open sesame",
        "the-wrong-token",
        "the-odd-version",
    ] {
        assert!(!said.contains(secret), "{secret} is in\n{said}");
    }
    // The last line may still be on its way.
    let (whole, _) = said.rsplit_once('\n').unwrap_or_default();
    for line in whole.lines() {
        assert!(line.starts_with("devshell-vm: "), "{line}");
    }
}

#[test]
fn a_variable_says_how_much_is_logged_and_is_not_guessed_at() {
    let quiet = Sidecar::with_env(Transport::Unix, &[], &[("DEVSHELL_VM_LOG", "off")]);
    quiet.connect().send(b"x\n");
    quiet.serves_others();
    assert_eq!(quiet.server().said().lines().count(), 1, "{}", quiet.server().said());
    let loud = Sidecar::with_env(Transport::Unix, &[], &[("DEVSHELL_VM_LOG", "info")]);
    loud.serves_others();
    loud.server().says("event=connected ");
    for (name, value) in [
        ("DEVSHELL_VM_LOG", "loud"),
        ("DEVSHELL_VM_EXEC_TIMEOUT_MS", "5s"),
        ("DEVSHELL_VM_EXEC_TIMEOUT_MS", "-1"),
        ("DEVSHELL_VM_EXEC_TIMEOUT_MS", ""),
    ] {
        let mut command = loud.bare_command();
        command.arg("--serve-stdio").env(name, value);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        finish(command).code(64).says(name);
    }
}

#[test]
fn wrong_command_lines_are_told_of() {
    let sidecar = Sidecar::new(Transport::Stdio);
    let run = |args: &[&str]| {
        let mut command = sidecar.bare_command();
        command
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        finish(command)
    };
    run(&[]).code(64).says("--serve-socket");
    let wrong = run(&["--serve"]);
    assert_eq!(wrong.code(64).last_line(), "devshell-vm: class=usage code=64");
    run(&["--serve-stdio", "--serve-socket", "s"]).code(64);
    run(&["--serve-stdio", "--root", "none"]).code(64).says("none");
    run(&["--serve-stdio", "--grace", "5"]).code(64).says("`5s`");
    run(&["--serve-stdio", "--max-line", "1KiB"]).code(64).says("1MiB");
    run(&["--serve-stdio", "--allow-uid", "root"]).code(64);
    let version = run(&["--version"]);
    assert_eq!(
        version.code(0).out(),
        format!("devshell-vm {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn help_and_the_manual_page_name_every_flag_and_how_it_ends() {
    let sidecar = Sidecar::new(Transport::Stdio);
    let run = |arg: &str| {
        let mut command = sidecar.bare_command();
        command
            .arg(arg)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        finish(command).code(0).out()
    };
    let (help, man) = (run("--help"), run("--man"));
    for flag in [
        "--serve-socket",
        "--serve-tcp",
        "--serve-stdio",
        "--root",
        "--allow-uid",
        "--token-file",
        "--insecure-no-token",
        "--pass-env",
        "--exec-timeout",
        "--grace",
        "--idle-exit",
        "--max-line",
        "--max-connections",
        "--max-execs",
        "--verbose",
    ] {
        assert!(help.contains(flag), "{flag} is not in\n{help}");
        assert!(man.contains(&flag.replace('-', "\\-")), "{flag} is not in\n{man}");
    }
    assert!(help.contains("Examples:") && help.contains("Exit codes: 0 "), "{help}");
    assert!(man.contains(".TH devshell-vm 1") && man.contains(".SH EXAMPLES") && man.contains(".SH \"EXIT STATUS\""));
    if !has("man") {
        return not_run("help_and_the_manual_page", "there is no man here to read the page with");
    }
    let page = sidecar.path("devshell-vm.1");
    std::fs::write(&page, man).unwrap();
    let mut command = std::process::Command::new("man");
    command.args(["--warnings", "-E", "UTF-8", "-l"]).arg(&page);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    assert_eq!(finish(command).code(0).stderr, "");
}

#[test]
fn standard_output_belongs_to_the_protocol_alone() {
    let sidecar = Sidecar::with(Transport::Stdio, &["-vv"]);
    let mut command = sidecar.command();
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut server = Server::spawn(command);
    assert_eq!(server.end(), Some(0));
    let mut said = String::new();
    std::io::Read::read_to_string(server.child.stdout.as_mut().unwrap(), &mut said).unwrap();
    assert_eq!(said, "");
}
