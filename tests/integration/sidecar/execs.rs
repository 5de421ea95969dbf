//! Programs: many at once, their input, their signals, their ends.

use serde_json::json;

use super::peer::{Sidecar, TRANSPORTS, Transport, wait_for_file};
use crate::support::{processes_with, wait_for};

#[test]
fn several_execs_run_at_once_and_each_output_finds_its_own() {
    for transport in TRANSPORTS {
        let sidecar = Sidecar::new(transport);
        let mut client = sidecar.modern();
        // Each waits for the next one: they end in the opposite order, and only if all run.
        for id in 1..=6 {
            let script = format!(
                "until [ -e go{} ]; do sleep 0.02; done; echo {id}; touch go{id}; exit {id}",
                id + 1
            );
            client.start(id, &["sh", "-c", &script], &json!({}));
        }
        std::fs::write(sidecar.staging().join("go7"), "").unwrap();
        let mut said = [false; 7];
        for _ in 0..12 {
            let heard = client.hear();
            let id = heard.line["id"].as_u64().unwrap();
            let index = usize::try_from(id).unwrap();
            if heard.line["op"] == "exec_output" {
                assert_eq!(heard.raw, format!("{id}\n").into_bytes());
                said[index] = true;
            } else {
                assert_eq!(heard.line["exit_code"], id, "{}", heard.line);
                assert!(said[index], "the result comes after the output");
            }
        }
    }
}

#[test]
fn as_many_execs_as_are_allowed_and_no_more() {
    let sidecar = Sidecar::with(Transport::Unix, &["--max-execs", "3"]);
    let mut client = sidecar.modern();
    for id in 1..=3 {
        client.start(id, &["sleep", "60"], &json!({}));
    }
    client.start(4, &["true"], &json!({}));
    let refused = client.hears("error");
    assert_eq!((&refused["code"], &refused["id"]), (&json!("too_many"), &json!(4)));
    // Not of another client.
    assert_eq!(sidecar.modern().run(1, &["true"]).result["exit_code"], 0);
    client.say(&json!({"op": "exec_cancel", "id": 2, "grace_ms": 0}));
    assert_eq!(client.hears("exec_result")["id"], 2);
    client.start(5, &["true"], &json!({}));
    assert_eq!(client.hears("exec_result")["id"], 5);
}

#[test]
fn files_are_served_while_a_tool_runs() {
    let sidecar = Sidecar::new(Transport::Unix);
    let mut client = sidecar.modern();
    client.start(1, &["sh", "-c", "until [ -e go ]; do sleep 0.02; done"], &json!({}));
    let done = client.fs("write_file", "/workspace/go", &json!({"content_base64": "", "id": 2}));
    assert_eq!((&done["op"], &done["id"]), (&json!("guest_fs_ok"), &json!(2)));
    assert_eq!(client.result(1).result["exit_code"], 0);
}

#[test]
fn input_of_any_size_reaches_a_tool_and_comes_back() {
    let sidecar = Sidecar::new(Transport::Unix);
    let mut client = sidecar.modern();
    let bytes: Vec<u8> = (0..3_000_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    client.start(1, &["cat"], &json!({"stdin": true}));
    let (mut sent, mut taken, mut back) = (0, 0, Vec::new());
    while back.len() < bytes.len() {
        // As much as may be under way.
        while sent < bytes.len() && sent - taken + 50_000 <= 256 * 1024 {
            let piece = &bytes[sent..bytes.len().min(sent + 50_000)];
            client.feed(1, piece, false);
            sent += piece.len();
        }
        let heard = client.hear();
        match heard.line["op"].as_str().unwrap() {
            "exec_output" => back.extend(heard.raw),
            "exec_stdin_taken" => taken += usize::try_from(heard.line["len"].as_u64().unwrap()).unwrap(),
            other => panic!("{other}: {}", heard.line),
        }
    }
    client.feed(1, b"", true);
    let ran = client.result(1);
    assert_eq!(ran.result["exit_code"], 0);
    assert!(back == bytes, "it came back changed");
}

#[test]
fn a_tool_that_reads_nothing_holds_up_only_its_own_input() {
    let sidecar = Sidecar::new(Transport::Unix);
    let mut client = sidecar.modern();
    client.start(1, &["sleep", "60"], &json!({"stdin": true}));
    for _ in 0..4 {
        client.feed(1, &[b'x'; 60_000], false);
    }
    // The pipe takes some of it; what is left waits, and everything else goes on.
    client.start(2, &["true"], &json!({}));
    while client.hear().line["op"] != "exec_result" {}
    client.say(&json!({"op": "exec_cancel", "id": 1, "grace_ms": 0}));
    assert_eq!(client.result(1).result["outcome"], "cancelled");
}

#[test]
fn more_input_than_may_be_under_way_ends_the_connection() {
    let sidecar = Sidecar::new(Transport::Unix);
    let mut client = sidecar.modern();
    client.start(1, &["sleep", "60"], &json!({"stdin": true}));
    for _ in 0..8 {
        client.feed(1, &[b'x'; 60_000], false);
    }
    let mut heard = client.hear();
    while heard.line["op"] == "exec_stdin_taken" {
        heard = client.hear();
    }
    assert_eq!(heard.line["code"], "bad_request", "{}", heard.line);
    while let Some(heard) = client.next() {
        // What it had is let go, and the tool with it.
        assert!(
            heard.line["op"] == "exec_stdin_taken" || heard.line["outcome"] == "cancelled",
            "{}",
            heard.line
        );
    }
}

#[test]
fn a_tool_that_reads_no_more_is_no_fault() {
    let sidecar = Sidecar::new(Transport::Unix);
    let mut client = sidecar.modern();
    client.start(
        1,
        &["sh", "-c", "exec <&-; touch closed; sleep 0.3; exit 3"],
        &json!({"stdin": true}),
    );
    wait_for_file(&sidecar.staging().join("closed"));
    client.feed(1, b"nobody reads that", false);
    let ran = client.result(1);
    assert_eq!((ran.result["exit_code"].as_i64(), ran.closed), (Some(3), true));
    // Too late, and no fault either.
    client.feed(1, b"nor that", true);
    assert_eq!(client.run(2, &["true"]).result["exit_code"], 0);
}

#[test]
fn a_signal_reaches_the_tool_and_what_it_does_with_it_is_its_own_affair() {
    let sidecar = Sidecar::new(Transport::Unix);
    let mut client = sidecar.modern();
    let script = "trap 'echo caught; exit 9' INT; touch ready; while :; do sleep 0.05; done";
    client.start(1, &["sh", "-c", script], &json!({}));
    wait_for_file(&sidecar.staging().join("ready"));
    client.say(&json!({"op": "exec_signal", "id": 1, "signal": 2}));
    let ran = client.result(1);
    assert_eq!(
        (ran.out().as_str(), &ran.result["outcome"]),
        ("caught\n", &json!("exited"))
    );
    assert_eq!(ran.result["exit_code"], 9);

    client.start(2, &["sleep", "60"], &json!({}));
    client.say(&json!({"op": "exec_signal", "id": 2, "signal": 10}));
    let ran = client.result(2);
    assert_eq!(
        (&ran.result["outcome"], &ran.result["signal"]),
        (&json!("signaled"), &json!(10))
    );
}

#[test]
fn a_cancel_is_polite_first_and_a_second_one_is_not() {
    let sidecar = Sidecar::with(Transport::Unix, &["--grace", "1h"]);
    let mut client = sidecar.modern();
    let script = "trap 'echo bye; exit 0' TERM; touch ready; while :; do sleep 0.05; done";
    client.start(1, &["sh", "-c", script], &json!({}));
    wait_for_file(&sidecar.staging().join("ready"));
    client.say(&json!({"op": "exec_cancel", "id": 1}));
    let ran = client.result(1);
    // It has done what it was asked to, and ended with success.
    assert_eq!(
        (ran.out().as_str(), &ran.result["outcome"]),
        ("bye\n", &json!("exited"))
    );

    let stubborn = "trap '' TERM; touch stubborn; while :; do sleep 0.05; done";
    client.start(2, &["sh", "-c", stubborn], &json!({}));
    wait_for_file(&sidecar.staging().join("stubborn"));
    client.say(&json!({"op": "exec_cancel", "id": 2}));
    client.say(&json!({"op": "exec_cancel", "id": 2}));
    assert_eq!(client.result(2).result["outcome"], "cancelled");

    std::fs::remove_file(sidecar.staging().join("stubborn")).unwrap();
    client.start(3, &["sh", "-c", stubborn], &json!({"grace_ms": 100}));
    wait_for_file(&sidecar.staging().join("stubborn"));
    client.say(&json!({"op": "exec_cancel", "id": 3}));
    assert_eq!(client.result(3).result["outcome"], "cancelled");
}

#[test]
fn a_timeout_ends_what_has_left_the_group_and_ignores_the_polite_signal() {
    let mark = format!("{}", 400_000 + std::process::id());
    for transport in TRANSPORTS {
        let sidecar = Sidecar::with(transport, &["--grace", "100ms"]);
        let mut client = sidecar.version1();
        let script = format!("trap '' TERM; setsid sh -c \"trap '' TERM; sleep {mark} & wait\" & sleep {mark}");
        let mut request = super::peer::exec(&["sh", "-c", &script]);
        request["timeout_ms"] = json!(300);
        let reply = client.ask(&request);
        assert_eq!(reply["code"], "exec_timeout", "{reply}");
        assert_eq!(processes_with(&mark), [0; 0], "{transport:?}");
    }
}

#[test]
fn the_servers_own_timeout_holds_where_the_request_has_none() {
    for (args, envs) in [
        (&["--exec-timeout", "100ms"][..], &[][..]),
        (&[], &[("DEVSHELL_VM_EXEC_TIMEOUT_MS", "100")]),
    ] {
        let sidecar = Sidecar::with_env(Transport::Unix, args, envs);
        let mut client = sidecar.version1();
        assert_eq!(client.exec(&["sleep", "60"])["code"], "exec_timeout");
        let mut unlimited = super::peer::exec(&["sleep", "0.3"]);
        unlimited["timeout_ms"] = json!(0);
        assert_eq!(client.ask(&unlimited)["exit_code"], 0);
    }
}

#[test]
fn the_end_of_an_exec_is_the_end_of_everything_that_it_started() {
    let mark = format!("{}", 500_000 + std::process::id());
    let sidecar = Sidecar::new(Transport::Unix);
    let mut client = sidecar.modern();
    let script = format!("sleep {mark} & setsid sh -c 'setsid sleep {mark} &' ; echo done");
    let ran = client.run(1, &["sh", "-c", &script]);
    assert_eq!((ran.out().as_str(), &ran.result["exit_code"]), ("done\n", &json!(0)));
    assert_eq!(ran.result["survivors"].as_array().unwrap().len(), 2, "{}", ran.result);
    assert_eq!(ran.result["leaked"], false);
    assert_eq!(processes_with(&mark), [0; 0]);
}

#[test]
fn a_client_that_vanishes_takes_its_tools_along() {
    let mark = format!("{}", 600_000 + std::process::id());
    for transport in TRANSPORTS {
        for modern in [false, true] {
            let sidecar = Sidecar::new(transport);
            let mut client = if modern { sidecar.modern() } else { sidecar.version1() };
            let script = format!("trap '' TERM HUP; setsid sleep {mark} & touch ready; sleep {mark}");
            client.start(1, &["sh", "-c", &script], &json!({}));
            let ready = sidecar.staging().join("ready");
            wait_for_file(&ready);
            wait_for(|| processes_with(&format!("sleep\0{mark}\0")).len() == 2, "both to run");
            if let Some(mut server) = client.server.take() {
                drop(client);
                assert_eq!(server.end(), Some(0), "{}", server.said());
            } else {
                drop(client);
            }
            wait_for(
                || processes_with(&mark).is_empty(),
                &format!("the tools to go ({transport:?})"),
            );
            std::fs::remove_file(ready).unwrap();
            sidecar.serves_others();
        }
    }
}

#[test]
fn a_client_that_vanishes_in_the_middle_of_much_output_hurts_nobody() {
    let sidecar = Sidecar::new(Transport::Unix);
    for round in 0..10 {
        let mut client = sidecar.modern();
        client.start(1, &["yes", &format!("{}", 700_000 + std::process::id())], &json!({}));
        if round % 2 == 0 {
            client.hear();
        }
    }
    wait_for(
        || processes_with(&format!("yes\0{}", 700_000 + std::process::id())).is_empty(),
        "the tools to go",
    );
    sidecar.serves_others();
}

#[test]
fn tools_get_a_clean_environment_and_nothing_of_the_servers() {
    for transport in TRANSPORTS {
        let sidecar = Sidecar::with_env(
            transport,
            &[
                "--pass-env",
                "PASSED,ALSO",
                "--pass-env",
                "THIRD",
                "--pass-env",
                "ABSENT",
            ],
            &[
                ("PASSED", "1"),
                ("ALSO", "2"),
                ("THIRD", "3"),
                ("NOT", "4"),
                ("LANG", "C"),
                ("TERM", "dumb"),
            ],
        );
        let mut client = sidecar.modern();
        client.start(1, &["env"], &json!({"env": {"OWN": "5", "TERM": "xterm"}}));
        let ran = client.result(1);
        let mut names: Vec<_> = ran
            .out()
            .lines()
            .map(|line| line.split('=').next().unwrap().to_owned())
            .collect();
        names.sort();
        assert_eq!(
            names,
            ["ALSO", "HOME", "LANG", "OWN", "PASSED", "PATH", "TERM", "THIRD"]
        );
        assert!(ran.out().contains("TERM=xterm\n"));
        // Descriptors: the three standard ones and the one that lists them.
        let ran = client.run(2, &["sh", "-c", "ls -l /proc/self/fd; readlink /proc/self/fd/0"]);
        assert!(ran.out().ends_with("/dev/null\n"), "{}", ran.out());
        let listed = ran.out().lines().filter(|line| line.contains(" -> ")).count();
        assert_eq!(listed, 4, "{}", ran.out());
    }
}

#[test]
fn a_working_folder_is_the_guests_own_where_that_can_be_mounted() {
    let sidecar = Sidecar::new(Transport::Unix);
    // A folder that is there, as /workspace would be in an image.
    let guest = sidecar.path("run/workspace");
    std::fs::create_dir(&guest).unwrap();
    std::fs::create_dir(sidecar.staging().join("d")).unwrap();
    let mut client = sidecar.connect();
    client.say(&sidecar.handshake(Some(&super::peer::ALL)));
    client.hears("handshake_ok");
    client.say(&json!({
        "op": "session_start", "session_id": "s", "staging_dir": sidecar.staging(), "guest_workspace": guest, "id": 0
    }));
    let reply = client.hears("session_ok");
    let cwd = format!("{}/d", guest.display());
    client.start(1, &["pwd"], &json!({"guest_cwd": cwd}));
    let ran = client.result(1);
    if reply["mounted"] == true {
        assert_eq!(ran.out(), format!("{cwd}\n"));
        let script = format!("echo x > {}/made && cat {}/made", guest.display(), guest.display());
        client.start(2, &["sh", "-c", &script], &json!({"guest_cwd": guest}));
        assert_eq!(client.result(2).out(), "x\n");
        assert!(sidecar.staging().join("made").exists());
        // For the tools alone.
        assert_eq!(std::fs::read_dir(&guest).unwrap().count(), 0);
    } else {
        crate::support::not_run("a_working_folder_is_the_guests_own", reply["why"].as_str().unwrap());
        assert_eq!(ran.out(), format!("{}/d\n", sidecar.staging().display()));
    }
}

#[test]
fn a_workspace_that_is_the_staging_folder_itself_needs_no_mount() {
    let sidecar = Sidecar::new(Transport::Unix);
    let mut client = sidecar.connect();
    client.say(&sidecar.handshake(Some(&["fs_stat"])));
    client.hears("handshake_ok");
    let staging = sidecar.staging();
    client.say(&json!({"op": "session_start", "session_id": "s", "staging_dir": staging, "guest_workspace": staging}));
    assert_eq!(client.hears("session_ok")["mounted"], true);
    let mut request = super::peer::exec(&["pwd"]);
    request["guest_cwd"] = json!(staging);
    let result = client.ask(&request);
    let base64 = result["stdout_base64"].as_str().unwrap();
    assert_eq!(
        devshell::sidecar::from_base64(base64).unwrap(),
        format!("{}\n", staging.display()).into_bytes()
    );
}
