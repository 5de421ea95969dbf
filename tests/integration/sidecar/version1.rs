//! The published client of version 1, as far as it can be seen from outside.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::{Value, json};

use super::peer::{Sidecar, TRANSPORTS, Transport};

/// It makes a new reader for each exchange and loses whatever follows the first newline.
fn exchange(stream: &mut UnixStream, request: &Value) -> Value {
    stream.write_all(format!("{request}\n").as_bytes()).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    assert_eq!(reader.buffer(), b"", "more than one line was said");
    serde_json::from_str(&line).unwrap()
}

#[test]
fn the_published_client_is_served_as_ever() {
    let sidecar = Sidecar::new(Transport::Unix);
    let mut stream = UnixStream::connect(sidecar.socket()).unwrap();
    let mut ask = |request: Value| exchange(&mut stream, &request);
    let handshake = json!({"op": "handshake", "version": 1, "client": "devshell", "client_version": "0.3.1"});
    let reply = ask(handshake);
    assert_eq!(
        reply,
        json!({"op": "handshake_ok", "version": 1, "server": "devshell-vm", "server_version": env!("CARGO_PKG_VERSION")})
    );
    let id = format!("pid-{}", std::process::id());
    let reply = ask(json!({
        "op": "session_start", "session_id": id, "staging_dir": sidecar.staging(), "guest_workspace": "/workspace",
        "backend": "beta", "backend_config": {}
    }));
    assert_eq!(reply, json!({"op": "session_ok", "session_id": id}));
    for direction in ["push_to_guest", "pull_from_guest"] {
        let reply = ask(json!({
            "op": "sync_request", "session_id": id, "direction": direction, "vfs_cwd_leaf": "hello", "manifest": null
        }));
        assert_eq!(reply, json!({"op": "sync_ok", "session_id": id}));
    }
    let mut fs = |operation: &str, path: &str, content: Option<&str>| {
        let mut request = json!({"op": "guest_fs", "session_id": id, "operation": operation, "guest_path": path});
        request["content_base64"] = json!(content);
        ask(request)
    };
    let done = json!({"op": "guest_fs_ok", "session_id": id});
    assert_eq!(fs("mkdir", "/workspace/hello/src", None), done);
    assert_eq!(fs("write_file", "/workspace/hello/src/a", Some("YQ==")), done);
    assert_eq!(
        fs("read_file", "/workspace/hello/src/a", None)["content_base64"],
        "YQ=="
    );
    assert_eq!(fs("list_dir", "/workspace/hello", None)["names"], json!(["src"]));
    assert_eq!(fs("remove", "/workspace/hello", None), done);
    let reply = fs("read_file", "/workspace/hello", None);
    assert_eq!(
        (&reply["op"], &reply["code"]),
        (&json!("guest_fs_error"), &json!("not_found"))
    );
    let mut exec = |argv: Value, timeout: Value| {
        ask(json!({
            "op": "exec", "session_id": id, "guest_cwd": "/workspace", "argv": argv, "env": {}, "timeout_ms": timeout
        }))
    };
    let reply = exec(json!(["sh", "-c", "echo out; echo err >&2; exit 3"]), Value::Null);
    assert_eq!(
        reply,
        json!({
            "op": "exec_result", "session_id": id, "exit_code": 3, "signal": null,
            "stdout_base64": "b3V0Cg==", "stderr_base64": "ZXJyCg==", "truncated": false
        })
    );
    assert_eq!(exec(json!(["sleep", "60"]), json!(50))["code"], "exec_timeout");
    assert_eq!(exec(json!(["true"]), json!(0))["exit_code"], 0);
    let reply = ask(json!({"op": "session_shutdown", "session_id": id, "stop_vm": false}));
    assert_eq!(reply, json!({"op": "shutdown_ok", "session_id": id}));
    let asked = |error: &std::io::Error| error.kind() == std::io::ErrorKind::WouldBlock;
    stream.set_read_timeout(Some(Duration::from_millis(60))).unwrap();
    let more = std::io::Read::read(&mut stream, &mut [0; 1]);
    assert!(more.as_ref().is_err_and(asked), "nothing unsolicited: {more:?}");
}

#[test]
fn a_client_that_asks_for_nothing_is_told_nothing_more_however_long_a_tool_runs_and_speaks() {
    for transport in TRANSPORTS {
        let sidecar = Sidecar::new(transport);
        let mut client = sidecar.version1();
        client.hears_nothing();
        client.say(&super::peer::exec(&[
            "sh",
            "-c",
            "for i in 1 2 3 4; do echo $i; echo $i >&2; sleep 0.1; done",
        ]));
        let result = client.hears("exec_result");
        assert_eq!(result["stdout_base64"], "MQoyCjMKNAo=");
        client.hears_nothing();
        client.say(&json!({"op": "session_shutdown", "session_id": "s", "stop_vm": true}));
        client.hears("shutdown_ok");
        client.hears_nothing();
    }
}

#[test]
fn replies_come_in_order_also_when_requests_do_not_wait_for_them() {
    for transport in TRANSPORTS {
        let sidecar = Sidecar::new(transport);
        let mut client = sidecar.version1();
        for code in 0..20 {
            client.say(&super::peer::exec(&["sh", "-c", &format!("exit {code}")]));
            client.say(&json!({"op": "sync_request", "session_id": "s", "direction": "push_to_guest"}));
        }
        for code in 0..20 {
            assert_eq!(client.hears("exec_result")["exit_code"], code);
            client.hears("sync_ok");
        }
    }
}

#[test]
fn a_script_that_says_everything_at_once_and_ends_gets_all_its_replies() {
    for transport in [Transport::Unix, Transport::Stdio] {
        let sidecar = Sidecar::new(transport);
        let mut client = sidecar.version1();
        client.say(&super::peer::exec(&["sh", "-c", "sleep 0.3; echo late; exit 4"]));
        client.say(&json!({"op": "session_shutdown", "session_id": "s", "stop_vm": false}));
        client.end_input();
        let result = client.hears("exec_result");
        assert_eq!(
            (&result["exit_code"], &result["stdout_base64"]),
            (&json!(4), &json!("bGF0ZQo="))
        );
        client.hears("shutdown_ok");
        client.hears_the_end();
    }
}

#[test]
fn a_whole_file_of_many_megabytes_goes_there_and_back_in_one_line() {
    let sidecar = Sidecar::new(Transport::Unix);
    let mut client = sidecar.version1();
    // 23 MiB of content are 31 MiB of line.
    let content = "QUJD".repeat(23 << 18);
    let done = client.fs("write_file", "/workspace/big", &json!({"content_base64": content}));
    assert_eq!(done["op"], "guest_fs_ok");
    assert_eq!(sidecar.staging().join("big").metadata().unwrap().len(), 3 * (23 << 18));
    assert!(client.fs("read_file", "/workspace/big", &json!({}))["content_base64"] == content.as_str());
    // One that does not fit is told of, and the connection goes on.
    std::fs::File::create(sidecar.staging().join("larger"))
        .unwrap()
        .set_len(25 << 20)
        .unwrap();
    let refused = client.fs("read_file", "/workspace/larger", &json!({}));
    assert_eq!(
        (&refused["op"], &refused["code"]),
        (&json!("guest_fs_error"), &json!("io_error"))
    );
    assert!(refused["message"].as_str().unwrap().contains("--max-line"), "{refused}");
    assert_eq!(client.exec(&["true"])["exit_code"], 0);
    let peak = sidecar.server().kib("VmHWM:");
    assert!(peak < 160 * 1024, "{peak} KiB");
}
