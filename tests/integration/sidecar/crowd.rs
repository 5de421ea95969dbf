//! Many clients, and clients that do harm.

use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::json;

use super::peer::{Client, PATIENCE, Sidecar, TRANSPORTS, Transport};
use crate::support::wait_for;

#[test]
fn many_clients_are_served_at_once_each_with_its_own_session() {
    for transport in [Transport::Unix, Transport::Tcp] {
        let sidecar = Sidecar::new(transport);
        let clients: Vec<_> = (0..40)
            .map(|number| {
                let staging = sidecar.path(&format!("root/{number}"));
                std::fs::create_dir(&staging).unwrap();
                std::fs::write(staging.join("name"), number.to_string()).unwrap();
                sidecar.version1_in(&staging)
            })
            .collect();
        std::thread::scope(|scope| {
            for (number, mut client) in clients.into_iter().enumerate() {
                scope.spawn(move || {
                    for _ in 0..3 {
                        let result = client.exec(&["sh", "-c", "cat name; exit $(cat name)"]);
                        assert_eq!(result["exit_code"], number, "{result}");
                        let name = devshell::sidecar::to_base64(number.to_string().as_bytes());
                        assert_eq!(result["stdout_base64"], name);
                        let file = client.fs("read_file", "/workspace/name", &json!({}));
                        assert_eq!(file["content_base64"], name);
                    }
                });
            }
        });
    }
}

#[test]
fn one_client_too_many_is_told_so_and_gets_in_when_another_has_left() {
    for transport in [Transport::Unix, Transport::Tcp] {
        let sidecar = Sidecar::with(transport, &["--max-connections", "3"]);
        let mut clients: Vec<_> = (0..3).map(|_| sidecar.version1()).collect();
        let mut other = sidecar.connect();
        other.say(&sidecar.handshake(None));
        let refused = other.hears("error");
        assert_eq!(refused["code"], "too_many");
        assert!(
            refused["message"].as_str().unwrap().contains("--max-connections"),
            "{refused}"
        );
        other.hears_the_end();
        for client in &mut clients {
            assert_eq!(client.exec(&["true"])["exit_code"], 0);
        }
        clients.pop();
        wait_for(
            || {
                let mut other = sidecar.connect();
                other.say(&sidecar.handshake(None));
                other.hear().line["op"] == "handshake_ok"
            },
            "a place",
        );
    }
}

/// As many as the limit of descriptors allows this test, at most 3000.
fn thousands() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let limit = limit.map_or(3000, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    (limit.saturating_sub(200) / 2).min(3000)
}

#[test]
fn thousands_of_silent_connections_keep_nobody_out() {
    for transport in [Transport::Unix, Transport::Tcp] {
        let sidecar = Sidecar::new(transport);
        let mut served = sidecar.version1();
        let mut silent = Vec::new();
        for number in 0..thousands() {
            silent.push(sidecar.connect());
            if number % 500 == 0 {
                sidecar.serves_others();
            }
        }
        sidecar.serves_others();
        assert_eq!(
            served.exec(&["true"])["exit_code"],
            0,
            "who was there before is not sent away"
        );
        assert!(
            sidecar.server().descriptors() < 300,
            "{}",
            sidecar.server().descriptors()
        );
        let peak = sidecar.server().kib("VmHWM:");
        assert!(peak < 64 * 1024, "it needed {peak} KiB");
        // Those that had to go were told so by their end; the last ones may still speak.
        silent[0].hears_the_end();
        let mut last = silent.pop().unwrap();
        last.say(&sidecar.handshake(None));
        last.hears("handshake_ok");
    }
}

#[test]
fn connections_that_come_and_go_at_once_leave_nothing() {
    let sidecar = Sidecar::new(Transport::Unix);
    sidecar.serves_others();
    let before = sidecar.server().descriptors();
    for round in 0..2000 {
        let mut client = sidecar.connect();
        match round % 4 {
            0 => {}
            1 => drop(client.send(b"{\"op\":\"hand")),
            2 => client.say(&sidecar.handshake(None)),
            _ => {
                client.say(&sidecar.handshake(None));
                client.say(&json!({"op": "session_start", "session_id": "s", "staging_dir": sidecar.staging()}));
                client.say(&super::peer::exec(&["true"]));
            }
        }
    }
    sidecar.serves_others();
    wait_for(
        || sidecar.server().descriptors() <= before,
        "the descriptors to be closed",
    );
    let threads = || sidecar.server().kib("Threads:");
    wait_for(|| threads() <= 4, "the threads to end");
}

#[test]
fn a_server_with_few_descriptors_refuses_and_goes_on() {
    let mut sidecar = Sidecar::new(Transport::Unix);
    sidecar.server_mut().signal("TERM");
    sidecar.server_mut().end();
    let limited = sidecar.command();
    let mut command = std::process::Command::new("sh");
    command
        .args(["-c", "ulimit -n 64; exec \"$@\"", "sh"])
        .arg(limited.get_program())
        .args(limited.get_args())
        .env_clear()
        .envs(limited.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .current_dir(limited.get_current_dir().unwrap());
    let server = super::peer::Server::spawn(command);
    server.says("listening on ");
    // More than it can hold: some wait outside, some are sent away.
    let mut silent: Vec<_> = (0..120)
        .filter_map(|_| UnixStream::connect(sidecar.socket()).ok())
        .collect();
    std::thread::sleep(Duration::from_millis(300));
    silent.drain(..);
    wait_for(
        || {
            let mut client = Client::unix(UnixStream::connect(sidecar.socket()).unwrap());
            client.say(&sidecar.handshake(None));
            client.next().is_some_and(|heard| heard.line["op"] == "handshake_ok")
        },
        "the server to serve again",
    );
    let mut client = Client::unix(UnixStream::connect(sidecar.socket()).unwrap());
    client.say(&sidecar.handshake(Some(&super::peer::ALL)));
    client.hears("handshake_ok");
    client.say(&json!({"op": "session_start", "session_id": "s", "staging_dir": sidecar.staging(), "id": 0}));
    client.hears("session_ok");
    for id in 1..=30 {
        client.start(id, &["sleep", "60"], &json!({}));
    }
    let mut refused = 0;
    client.say(&json!({"op": "sync_request", "session_id": "s", "direction": "push_to_guest", "id": 31}));
    loop {
        let heard = client.hear().line;
        if heard["op"] == "sync_ok" {
            break;
        }
        assert!(heard["code"] == "too_many" || heard["code"] == "exec_spawn", "{heard}");
        refused += 1;
    }
    assert!(refused > 0);
}

#[test]
fn an_endless_line_is_given_up_and_costs_nothing() {
    for transport in TRANSPORTS {
        let sidecar = Sidecar::new(transport);
        let mut client = sidecar.version1();
        let piece = vec![b'x'; 1 << 20];
        let mut sent = 0_u64;
        // Told once, at the limit; then the rest is dropped, and in the end the client with it.
        while client.send(&piece) {
            sent += 1;
            assert!(sent < 2048, "it reads for ever");
        }
        assert!(sent > 200, "{sent} MiB");
        if let Some(heard) = client.next() {
            assert_eq!(heard.line["code"], "line_too_long");
            client.hears_the_end();
        }
        sidecar.serves_others();
        if transport != Transport::Stdio {
            let peak = sidecar.server().kib("VmHWM:");
            assert!(peak < 96 * 1024, "it needed {peak} KiB");
        }
    }
}

#[test]
fn long_lines_of_several_clients_at_once_need_only_their_sum() {
    let sidecar = Sidecar::with(Transport::Unix, &["--max-line", "8MiB"]);
    let mut clients: Vec<_> = (0..6).map(|_| sidecar.version1()).collect();
    let piece = vec![b'x'; 7 << 20];
    for client in &mut clients {
        client.send(&piece);
    }
    sidecar.serves_others();
    let peak = sidecar.server().kib("VmHWM:");
    assert!(peak < (6 * 16 + 32) * 1024, "it needed {peak} KiB");
    for client in &mut clients {
        client.send(b"\n");
        assert_eq!(client.hear().line["code"], "parse");
    }
    // What a long line has needed is given back.
    wait_for(
        || sidecar.server().kib("VmRSS:") < 32 * 1024,
        "the memory to be given back",
    );
}

#[test]
fn what_is_only_claimed_is_not_allocated() {
    let sidecar = Sidecar::new(Transport::Unix);
    let mut clients: Vec<_> = (0..20).map(|_| sidecar.modern()).collect();
    for client in &mut clients {
        client.start(1, &["sleep", "60"], &json!({"stdin": true}));
        client.send(b"{\"op\":\"exec_stdin\",\"id\":1,\"len\":65536}\n");
    }
    sidecar.serves_others();
    let peak = sidecar.server().kib("VmHWM:");
    assert!(peak < 48 * 1024, "it needed {peak} KiB");
}

#[test]
fn a_client_that_is_silent_for_too_long_is_gone_and_one_that_pings_is_not() {
    let mark = format!("{}", 900_000 + std::process::id());
    for transport in TRANSPORTS {
        let sidecar = Sidecar::new(transport);
        let connect = || {
            let mut client = sidecar.connect();
            let mut handshake = sidecar.handshake(Some(&super::peer::ALL));
            handshake["keepalive_ms"] = json!(1000);
            client.say(&handshake);
            assert_eq!(client.hears("handshake_ok")["keepalive_ms"], 1000);
            client.say(&json!({"op": "session_start", "session_id": "s", "staging_dir": sidecar.staging(), "id": 0}));
            client.hears("session_ok");
            client
        };
        let mut lively = connect();
        let mut silent = connect();
        silent.start(1, &["sleep", &mark], &json!({}));
        // The server pings; and it hears that nobody answers.
        let mut pings = 0;
        while let Some(heard) = silent.next() {
            assert_eq!(heard.line["op"], "ping", "{}", heard.line);
            pings += 1;
            lively.say(&json!({"op": "ping"}));
        }
        assert!(pings >= 1, "{pings}");
        wait_for(
            || crate::support::processes_with(&format!("sleep\0{mark}")).is_empty(),
            "its tool to be stopped",
        );
        assert_eq!(lively.run(1, &["true"]).result["exit_code"], 0);
    }
}

#[test]
fn who_makes_no_handshake_is_not_waited_for() {
    let sidecar = Sidecar::new(Transport::Tcp);
    let mut client = sidecar.connect();
    client.send(b"{\"op\":");
    let start = std::time::Instant::now();
    client.hears_the_end();
    assert!(start.elapsed() > Duration::from_secs(5) && start.elapsed() < PATIENCE);
}
