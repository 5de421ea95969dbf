use super::*;
use crate::sidecar::*;

fn code(line: &str) -> (String, Option<u64>) {
    let fault = decode_request(line.as_bytes()).unwrap_err();
    (fault.code.word().to_owned(), fault.id)
}

#[test]
fn what_is_no_request_is_told_apart() {
    for (line, wanted) in [
        ("", "empty"),
        ("  \t", "empty"),
        ("{", "parse"),
        ("{} {}", "parse"),
        ("\u{feff}{}", "parse"),
        ("nonsense", "parse"),
        ("{\"op\":\"ping\",}", "parse"),
        ("{'op':'ping'}", "parse"),
        ("[[", "parse"),
        ("{\"op\":1,\"op\":2", "parse"),
        ("[]", "bad_request"),
        ("3", "bad_request"),
        ("null", "bad_request"),
        ("\"handshake\"", "bad_request"),
        ("{}", "bad_request"),
        ("{\"op\":7}", "bad_request"),
        ("{\"op\":\"ping\",\"op\":\"ping\"}", "bad_request"),
        ("{\"op\":\"ping\",\"id\":\"7\"}", "bad_request"),
        ("{\"op\":\"ping\",\"id\":-7}", "bad_request"),
        ("{\"op\":\"ping\",\"id\":1.5}", "bad_request"),
        ("{\"op\":\"Handshake\"}", "unknown_op"),
        ("{\"op\":\"handshake_ok\",\"version\":1}", "unknown_op"),
        ("{\"op\":\"\"}", "unknown_op"),
    ] {
        assert_eq!(code(line).0, wanted, "{line}");
    }
    assert_eq!(decode_request(b"{\"op\":\"\xff\"}").unwrap_err().code, ErrorCode::Parse);
    let deep = "[".repeat(100_000);
    assert_eq!(code(&format!("{{\"op\":\"ping\",\"x\":{deep}")).0, "parse");
}

#[test]
fn types_are_strict_and_nothing_is_dropped() {
    let exec = |rest: &str| {
        code(&format!(
            "{{\"op\":\"exec\",\"id\":7,\"session_id\":\"s\",\"guest_cwd\":\"/w\",{rest}}}"
        ))
    };
    for rest in [
        "\"env\":{}",
        "\"argv\":\"true\",\"env\":{}",
        "\"argv\":[\"a\",1],\"env\":{}",
        "\"argv\":[\"a\",null],\"env\":{}",
        "\"argv\":[\"a\"],\"env\":{\"A\":1}",
        "\"argv\":[\"a\"],\"env\":{\"A\":null}",
        "\"argv\":[\"a\"],\"env\":[]",
        "\"argv\":[\"a\"],\"env\":null",
        "\"argv\":[\"a\"],\"timeout_ms\":\"5\"",
        "\"argv\":[\"a\"],\"timeout_ms\":-5",
        "\"argv\":[\"a\"],\"timeout_ms\":true",
        "\"argv\":[\"a\"],\"argv\":[\"b\"]",
        "\"argv\":[\"a\"],\"stdin\":1",
    ] {
        assert_eq!(exec(rest), ("bad_request".to_owned(), Some(7)), "{rest}");
    }
    assert_eq!(
        code("{\"op\":\"session_start\",\"session_id\":5,\"staging_dir\":\"/\"}").0,
        "bad_request"
    );
    assert_eq!(
        code("{\"op\":\"sync_request\",\"session_id\":\"s\",\"direction\":\"up\"}").0,
        "bad_request"
    );
}

#[test]
fn what_version_1_leaves_out_has_its_default() {
    let line = b"{\"op\":\"exec\",\"session_id\":\"s\",\"guest_cwd\":\"/w\",\"argv\":[\"a\"],\"env\":{\"A\":\"1\"},\"timeout_ms\":null,\"x\":1}";
    let request = decode_request(line).unwrap();
    let Request::Exec(exec) = request.body else { panic!() };
    assert_eq!((request.id, exec.timeout_ms, exec.stdin), (None, None, None));
    let line = b"{\"op\":\"session_start\",\"session_id\":\"pid-1\",\"staging_dir\":\"/s\"}";
    let Request::SessionStart(start) = decode_request(line).unwrap().body else {
        panic!()
    };
    assert_eq!(start.guest_workspace, "/workspace");
}

#[test]
fn a_wrong_line_before_raw_bytes_is_fatal() {
    for line in [
        "{\"op\":\"exec_stdin\",\"id\":1}",
        "{\"op\":\"exec_stdin\",\"id\":1,\"len\":-1}",
        "{\"op\":\"exec_stdin\",\"id\":1,\"len\":4294967296}",
        "{\"op\":\"exec_stdin\",\"id\":1,\"len\":65537}",
        "{\"op\":\"fs_data\",\"id\":1,\"len\":4294967295}",
    ] {
        let fault = decode_request(line.as_bytes()).unwrap_err();
        assert!(
            fault.is_fatal && fault.code == ErrorCode::BadRequest && fault.id == Some(1),
            "{line}"
        );
    }
    let fault = decode_reply(b"{\"op\":\"exec_output\",\"id\":1,\"stream\":\"stdin\",\"len\":3}").unwrap_err();
    assert!(fault.is_fatal);
    let most = decode_request(b"{\"op\":\"exec_stdin\",\"id\":1,\"len\":65536}").unwrap();
    assert_eq!(most.body.frame(), MAX_FRAME);
}

/// Whatever this side writes, the other side reads as the same.
#[test]
fn every_message_survives_the_wire() {
    let session_id = || "pid-1".to_owned();
    let requests = [
        Request::Handshake(Handshake {
            version: VERSION,
            client: "devshell".to_owned(),
            capabilities: Some(Capabilities::implemented().names()),
            token: Some("secret".to_owned()),
            keepalive_ms: Some(5),
            ..Handshake::default()
        }),
        Request::SessionStart(SessionStart {
            transfer: None,
            session_id: session_id(),
            staging_dir: "/s".to_owned(),
            guest_workspace: "/w".to_owned(),
            backend: Some("beta".to_owned()),
            backend_config: Some(serde_json::json!({"a": [1]})),
        }),
        Request::SyncRequest(SyncRequest {
            session_id: session_id(),
            direction: Direction::PushToGuest,
            vfs_cwd_leaf: "a".to_owned(),
            manifest: None,
        }),
        Request::Exec(Exec {
            session_id: session_id(),
            guest_cwd: "/w/a b".to_owned(),
            argv: vec!["printf".to_owned(), "\u{0}\n\u{2028}\"".to_owned()],
            env: [("A".to_owned(), "=".to_owned())].into(),
            timeout_ms: Some(u64::MAX),
            stdin: Some(true),
            grace_ms: Some(0),
        }),
        Request::GuestFs(
            GuestFs::new("s", FsOperation::WriteFile, b"/w/\xff")
                .after(b"x")
                .target(b"\xfe"),
        ),
        Request::SessionShutdown(SessionShutdown {
            session_id: session_id(),
            stop_vm: true,
        }),
    ];
    for body in requests {
        for id in [None, Some(0), Some(u64::MAX)] {
            let sent = Addressed { id, body: body.clone() };
            let line = sent.to_line();
            assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
            assert_eq!(decode_request(line.trim_ascii_end()).unwrap(), sent);
        }
    }
    for body in [
        Request::ExecSignal(ExecSignal { id: 3, signal: 2 }),
        Request::ExecCancel(ExecCancel { id: 3, grace_ms: None }),
        Request::ExecStdin(ExecStdin {
            id: 3,
            len: 9,
            eof: true,
        }),
        Request::FsData(FsData {
            id: 3,
            len: 0,
            eof: false,
        }),
        Request::Ping,
    ] {
        let line = body.clone().to_line();
        assert_eq!(
            decode_request(line.trim_ascii_end()).unwrap(),
            Addressed { id: None, body }
        );
    }
    let stat = FsStat {
        kind: FsKind::Symlink,
        size: 1,
        mode: 0o777,
        mtime_s: -1,
        mtime_ns: 999_999_999,
        target: None,
        target_base64: None,
    };
    let replies = [
        Reply::HandshakeOk(HandshakeOk {
            version: 1,
            capabilities: Some(Vec::new()),
            max_line: Some(7),
            ..HandshakeOk::default()
        }),
        Reply::SessionOk(SessionOk {
            staging_dir: None,
            state: None,
            session_id: session_id(),
            mounted: Some(false),
            contained: Some(true),
            why: Some("because".to_owned()),
        }),
        Reply::SyncOk(SessionId {
            session_id: session_id(),
        }),
        Reply::ExecResult(ExecResult {
            session_id: session_id(),
            exit_code: 137,
            signal: Some(9),
            outcome: Some(Outcome::Signaled),
            survivors: Some(vec![Survivor {
                pid: 5,
                argv: "sleep 9".to_owned(),
            }]),
            elapsed_ms: Some(1),
            leaked: Some(false),
            dropped: Some(8),
            ..ExecResult::default()
        }),
        Reply::GuestFsOk(GuestFsOk {
            session_id: session_id(),
            names: Some(vec!["a".to_owned()]),
            names_base64: Some(vec![to_base64(b"\xff")]),
            entries: Some(vec![FsEntry::new(b"\xff", stat.clone().with_target(b"\xff"))]),
            stat: Some(stat.with_target(b"t")),
            more: Some(true),
            content_base64: None,
        }),
        Reply::GuestFsError(GuestFsFailed {
            session_id: session_id(),
            code: FsErrorCode::InvalidPath,
            message: "no".to_owned(),
        }),
        Reply::ShutdownOk(SessionId {
            session_id: session_id(),
        }),
        Reply::Error(ErrorReply {
            code: ErrorCode::Other("new".to_owned()),
            message: String::new(),
        }),
    ];
    for body in replies {
        for id in [None, Some(9)] {
            let sent = Addressed { id, body: body.clone() };
            assert_eq!(decode_reply(sent.to_line().trim_ascii_end()).unwrap(), sent);
        }
    }
    for body in [
        Reply::ExecOutput(ExecOutput {
            id: 3,
            stream: OutputStream::Stderr,
            len: 4,
        }),
        Reply::ExecStdinTaken(ExecStdinTaken {
            id: 3,
            len: 4,
            closed: false,
        }),
        Reply::FsData(FsData {
            id: 3,
            len: 65536,
            eof: true,
        }),
        Reply::Ping,
    ] {
        let line = body.clone().to_line();
        assert_eq!(
            decode_reply(line.trim_ascii_end()).unwrap(),
            Addressed { id: None, body }
        );
    }
}

#[test]
fn a_reply_without_an_exit_code_is_no_result() {
    for line in [
        "{\"op\":\"exec_result\",\"session_id\":\"s\"}",
        "{\"op\":\"exec_result\",\"session_id\":\"s\",\"exit_code\":null}",
        "{\"op\":\"exec_result\",\"session_id\":\"s\",\"exit_code\":\"0\"}",
    ] {
        assert_eq!(
            decode_reply(line.as_bytes()).unwrap_err().code,
            ErrorCode::BadRequest,
            "{line}"
        );
    }
    let line = b"{\"op\":\"exec_result\",\"session_id\":\"s\",\"exit_code\":0,\"signal\":null}";
    assert!(decode_reply(line).is_ok());
}

#[test]
fn the_token_is_never_shown() {
    let handshake = Handshake {
        token: Some("secret".to_owned()),
        ..Handshake::default()
    };
    assert!(!format!("{:?}", Request::Handshake(handshake)).contains("secret"));
}

#[test]
fn the_examples_of_the_documentation_are_the_protocol() {
    let text = include_str!("../../../docs/sidecar-protocol.md");
    let mut examples = 0;
    for line in text.lines().filter(|line| line.starts_with("{\"op\":")) {
        let again = match (decode_request(line.as_bytes()), decode_reply(line.as_bytes())) {
            (Ok(request), _) => request.to_line(),
            (_, Ok(reply)) => reply.to_line(),
            (Err(a), Err(b)) => panic!("{line}\n{a}\n{b}"),
        };
        let value = |text: &[u8]| serde_json::from_slice::<serde_json::Value>(text).unwrap();
        assert_eq!(value(&again), value(line.as_bytes()), "a field of it is not known");
        examples += 1;
    }
    assert!(examples > 30, "{examples}");
}
