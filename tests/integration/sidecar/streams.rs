//! Much output: complete, in order per stream, in flat memory, for readers of any speed.

use std::time::{Duration, Instant};

use serde_json::json;

use super::peer::{Client, Sidecar, TRANSPORTS, Transport};

/// A shell script that writes so many bytes of numbered lines to both streams at once.
fn both(bytes: u64) -> String {
    // Lines of 16 bytes.
    let lines = bytes / 16;
    format!("seq -f 'o%014.0f' {lines} & seq -f 'e%014.0f' {lines} >&2; wait")
}

/// Checks numbered lines as they come, without keeping them.
struct Checker {
    letter: u8,
    next: u64,
    line: Vec<u8>,
}

impl Checker {
    fn new(letter: u8) -> Self {
        Self {
            letter,
            next: 1,
            line: Vec::new(),
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if *byte != b'\n' {
                self.line.push(*byte);
                continue;
            }
            assert_eq!(self.line[0], self.letter, "the streams are mixed up");
            let number: u64 = std::str::from_utf8(&self.line[1..]).unwrap().parse().unwrap();
            assert_eq!(number, self.next, "a line is missing or out of order");
            self.next += 1;
            self.line.clear();
        }
    }

    fn lines(&self) -> u64 {
        assert!(self.line.is_empty());
        self.next - 1
    }
}

/// Hears an exec out; gives the bytes of both streams.
fn hear_out(client: &mut Client, mut each: impl FnMut()) -> u64 {
    let (mut out, mut err) = (Checker::new(b'o'), Checker::new(b'e'));
    loop {
        let heard = client.hear();
        match heard.line["op"].as_str().unwrap() {
            "exec_output" if heard.line["stream"] == "stdout" => out.take(&heard.raw),
            "exec_output" => err.take(&heard.raw),
            "exec_result" => {
                assert_eq!(heard.line["exit_code"], 0, "{}", heard.line);
                assert_eq!(out.lines(), err.lines());
                return (out.lines() + err.lines()) * 16;
            }
            other => panic!("{other}: {}", heard.line),
        }
        each();
    }
}

/// How much is written to each stream: 100 MB, or what the variable says (`5GB` by hand).
fn much() -> u64 {
    match std::env::var("DEVSHELL_TEST_STREAM_MB") {
        Ok(text) => text.parse::<u64>().unwrap() * 1_000_000,
        Err(_) => 100_000_000,
    }
}

#[test]
fn two_hundred_kilobytes_on_both_streams_arrive_over_every_transport() {
    for transport in TRANSPORTS {
        let sidecar = Sidecar::new(transport);
        let mut client = sidecar.modern();
        client.start(1, &["sh", "-c", &both(200_000)], &json!({}));
        assert_eq!(hear_out(&mut client, || ()), 400_000);
        // And in version 1 they do not hang.
        let mut client = sidecar.version1();
        let result = client.exec(&["sh", "-c", &both(200_000)]);
        assert_eq!((&result["exit_code"], &result["truncated"]), (&json!(0), &json!(true)));
        for (stream, letter) in [("stdout_base64", b'o'), ("stderr_base64", b'e')] {
            let tail = devshell::sidecar::from_base64(result[stream].as_str().unwrap()).unwrap();
            assert_eq!(tail.len(), 64 * 1024);
            assert!(tail.ends_with(format!("{}00000000012500\n", char::from(letter)).as_bytes()));
        }
    }
}

#[test]
fn a_hundred_megabytes_on_both_streams_arrive_in_flat_memory() {
    let sidecar = Sidecar::new(Transport::Unix);
    let mut client = sidecar.modern();
    let bytes = much() / 16 * 16;
    client.start(1, &["sh", "-c", &both(bytes)], &json!({}));
    assert_eq!(hear_out(&mut client, || ()), 2 * bytes);
    let peak = sidecar.server().kib("VmHWM:");
    assert!(peak < 32 * 1024, "it needed {peak} KiB");
    sidecar.serves_others();
}

#[test]
fn a_reader_slower_than_the_tool_holds_it_up_and_misses_nothing() {
    for transport in TRANSPORTS {
        let sidecar = Sidecar::new(transport);
        let mut client = sidecar.modern();
        client.start(1, &["sh", "-c", &both(4_000_000)], &json!({}));
        // Nothing is read for a while, then a little at a time.
        std::thread::sleep(Duration::from_millis(200));
        sidecar.serves_others();
        let bytes = hear_out(&mut client, || std::thread::sleep(Duration::from_millis(1)));
        assert_eq!(bytes, 8_000_000);
    }
}

#[test]
fn a_client_that_never_reads_stops_its_own_tool_and_nothing_else() {
    let sidecar = Sidecar::new(Transport::Unix);
    let mut client = sidecar.modern();
    client.say(
        &json!({"op": "exec", "session_id": "s", "guest_cwd": "/workspace", "id": 1, "env": {}, "argv":
        ["sh", "-c", "touch started; yes; touch ended"]}),
    );
    let mut silent = sidecar.modern();
    let before = sidecar.server().kib("VmRSS:");
    // It does not even listen.
    silent.start(1, &["sh", "-c", "touch other; yes; touch ended"], &json!({}));
    super::peer::wait_for_file(&sidecar.staging().join("other"));
    let until = Instant::now() + Duration::from_millis(500);
    while Instant::now() < until {
        sidecar.serves_others();
    }
    assert!(!sidecar.staging().join("ended").exists());
    let grown = sidecar.server().kib("VmRSS:").saturating_sub(before);
    assert!(grown < 16 * 1024, "{grown} KiB more");
    // And it can still be stopped, although nothing that it says finds a reader.
    silent.say(&json!({"op": "exec_cancel", "id": 1, "grace_ms": 100}));
    let mut dropped = 0;
    loop {
        let heard = silent.hear();
        if heard.line["op"] == "exec_result" {
            assert_eq!(heard.line["outcome"], "cancelled");
            dropped += heard.line["dropped"].as_u64().unwrap_or(0);
            break;
        }
        assert!(
            heard.raw.chunks(2).all(|line| line == b"y\n"),
            "what comes is whole up to the gap"
        );
    }
    let _ = dropped;
}

#[test]
fn a_timeout_holds_although_nobody_reads() {
    let sidecar = Sidecar::new(Transport::Unix);
    let mut client = sidecar.modern();
    let mark = format!("{}", 800_000 + std::process::id());
    client.start(1, &["yes", &mark], &json!({"timeout_ms": 300}));
    crate::support::wait_for(
        || !crate::support::processes_with(&format!("yes\0{mark}")).is_empty(),
        "the tool to start",
    );
    crate::support::wait_for(
        || crate::support::processes_with(&format!("yes\0{mark}")).is_empty(),
        "the tool to be stopped",
    );
    assert_eq!(client.result(1).result["outcome"], "timeout");
}

#[test]
fn a_tool_that_closes_its_output_and_goes_on_is_waited_for() {
    let sidecar = Sidecar::new(Transport::Unix);
    let mut client = sidecar.modern();
    let script = "echo out; echo err >&2; exec >&- 2>&-; sleep 0.4; touch ended; exit 6";
    let ran = client.run(1, &["sh", "-c", script]);
    assert!(sidecar.staging().join("ended").exists());
    assert_eq!((ran.out().as_str(), ran.stderr.as_slice()), ("out\n", &b"err\n"[..]));
    assert_eq!(
        (&ran.result["exit_code"], &ran.result["leaked"]),
        (&json!(6), &json!(false))
    );
    let result = sidecar.version1().exec(&["sh", "-c", script]);
    assert_eq!(
        (&result["exit_code"], &result["stdout_base64"]),
        (&json!(6), &json!("b3V0Cg=="))
    );
}

#[test]
fn raw_bytes_of_a_file_of_any_size_go_there_and_back() {
    let sidecar = Sidecar::new(Transport::Unix);
    let mut client = sidecar.modern();
    let size = 40_000_000_u64;
    client.start(
        1,
        &["sh", "-c", &format!("seq -f 'o%014.0f' {} > big", size / 16)],
        &json!({}),
    );
    client.result(1);
    client.say(&json!({
        "op": "guest_fs", "session_id": "s", "operation": "read_file", "guest_path": "/workspace/big", "raw": true, "id": 2
    }));
    client.say(&json!({
        "op": "guest_fs", "session_id": "s", "operation": "write_file", "guest_path": "/workspace/copy", "raw": true,
        "id": 3
    }));
    let mut checker = Checker::new(b'o');
    loop {
        let heard = client.hear();
        if heard.line["op"] != "fs_data" {
            assert_eq!(
                (&heard.line["op"], &heard.line["stat"]["size"]),
                (&json!("guest_fs_ok"), &json!(size))
            );
            break;
        }
        checker.take(&heard.raw);
        let line = json!({"op": "fs_data", "id": 3, "len": heard.raw.len()});
        let mut message = format!("{line}\n").into_bytes();
        message.extend(heard.raw);
        assert!(client.send(&message));
    }
    assert_eq!(checker.lines() * 16, size);
    client.say(&json!({"op": "fs_data", "id": 3, "len": 0, "eof": true}));
    assert_eq!(client.hears("guest_fs_ok")["id"], 3);
    assert_eq!(client.run(4, &["cmp", "big", "copy"]).result["exit_code"], 0);
    let peak = sidecar.server().kib("VmHWM:");
    assert!(peak < 32 * 1024, "it needed {peak} KiB");
}
