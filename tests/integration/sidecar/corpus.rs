//! Lines of the protocol, valid and hostile, each with its wanted answer: `tests/samples/protocol`.
//!
//! A case is one line of JSON: `name`; `from`, what the client has done before (`fresh`, `greeted`,
//! `session` in version 1, `modern` with all capabilities and a session, `apart` with one in a folder of the server's own); `send`, what it says;
//! `want`, what it is told, in this order and nothing else; `end`, whether the connection is to
//! end. `tcp` holds another `want` and `end` for TCP. In `send`, an object without `$` is a line
//! of JSON and text is a line as it is; `$raw` and `$hex` are bytes, `$repeat` with `times` many,
//! `$eof` the client's end. In `want`, fields that are not named may be anything, `null` stands
//! for an absent one, `"$any"` for any but that, `$raw` for the bytes that follow, which may be `$any`, too. `bare`: no
//! token is added for TCP. `unordered`: in any order.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use serde_json::{Value, json};

use super::peer::{Client, Heard, Sidecar, Transport};

const SAMPLES: [(&str, &str); 6] = [
    ("framing", include_str!("../../samples/protocol/framing.jsonl")),
    ("handshake", include_str!("../../samples/protocol/handshake.jsonl")),
    ("session", include_str!("../../samples/protocol/session.jsonl")),
    ("exec", include_str!("../../samples/protocol/exec.jsonl")),
    ("guest_fs", include_str!("../../samples/protocol/guest_fs.jsonl")),
    ("transfer", include_str!("../../samples/protocol/transfer.jsonl")),
];

/// What the server may need for all of it, in KiB: a line of 32 MiB while it grows, and what else there is.
const MEMORY: u64 = 128 * 1024;

#[test]
fn every_line_has_its_answer_over_a_unix_socket() {
    all(Transport::Unix);
}

#[test]
fn every_line_has_its_answer_over_tcp() {
    all(Transport::Tcp);
}

#[test]
fn every_line_has_its_answer_over_stdio() {
    all(Transport::Stdio);
}

#[test]
fn there_are_enough_cases_and_no_name_is_there_twice() {
    let mut names = BTreeSet::new();
    for (file, text) in SAMPLES {
        for case in cases(text) {
            let name = format!("{file}: {}", case["name"].as_str().unwrap());
            assert!(names.insert(name.clone()), "{name} is there twice");
        }
    }
    assert!(names.len() >= 120, "{}", names.len());
}

fn cases(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

fn all(transport: Transport) {
    let sidecar = Sidecar::new(transport);
    let outside = tree_of(&sidecar.path("outside"));
    let mut witness = (transport != Transport::Stdio).then(|| {
        let staging = sidecar.path("root/witness");
        std::fs::create_dir(&staging).unwrap();
        sidecar.version1_in(&staging)
    });
    let mut faults = Vec::new();
    for (file, text) in SAMPLES {
        for case in cases(text) {
            plant(&sidecar.staging());
            let name = format!("{file}: {}", case["name"].as_str().unwrap());
            if let Err(fault) = one(&sidecar, &case) {
                faults.push(format!("{transport:?}: {name}\n    {fault}"));
            }
            if tree_of(&sidecar.path("outside")) != outside {
                panic!("{name}: something outside the root was touched");
            }
            if let Some(witness) = &mut witness {
                // One who was there before, and one who comes.
                let sync = json!({"op": "sync_request", "session_id": "s", "direction": "push_to_guest"});
                assert_eq!(witness.ask(&sync)["op"], "sync_ok", "{name}");
                let mut other = sidecar.connect();
                other.say(&sidecar.handshake(None));
                other.hears("handshake_ok");
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
    if transport != Transport::Stdio {
        sidecar.serves_others();
        let peak = sidecar.server().kib("VmHWM:");
        assert!(peak < MEMORY, "it needed {peak} KiB");
    }
}

/// The folder that every case begins with.
fn plant(staging: &Path) {
    if staging.exists() {
        std::fs::remove_dir_all(staging).unwrap();
    }
    for folder in ["d/deep", "empty", "raw", "bin"] {
        std::fs::create_dir_all(staging.join(folder)).unwrap();
    }
    let write = |name: &str, text: &str, mode: u32| {
        std::fs::write(staging.join(name), text).unwrap();
        std::fs::set_permissions(staging.join(name), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    write("a", "abc", 0o644);
    write("d/x", "x", 0o644);
    write("bin/tool", "#!/bin/sh\necho tool\n", 0o755);
    write("broken", "#!/no/such/interpreter\n", 0o755);
    let latin = std::ffi::OsStr::from_bytes(b"caf\xe9");
    std::fs::write(staging.join("raw").join(latin), "1").unwrap();
    symlink(latin, staging.join("raw/plain")).unwrap();
    for (target, link) in [
        ("d", "inner"),
        ("a", "link"),
        ("../../outside", "out"),
        ("../../outside/kept", "outfile"),
        ("/etc/passwd", "abs"),
        ("/etc", "absdir"),
        ("loop", "loop"),
        ("none", "dangling"),
    ] {
        symlink(target, staging.join(link)).unwrap();
    }
    drop(std::os::unix::net::UnixListener::bind(staging.join("sock")).unwrap());
    let made = std::process::Command::new("mkfifo").arg(staging.join("fifo")).status();
    assert!(made.unwrap().success());
}

/// Names, kinds and contents of everything there.
fn tree_of(folder: &Path) -> Vec<String> {
    walkdir::WalkDir::new(folder)
        .sort_by_file_name()
        .into_iter()
        .map(|entry| {
            let entry = entry.unwrap();
            let kind = entry.metadata().unwrap().permissions().mode();
            let content = std::fs::read(entry.path()).unwrap_or_default();
            format!("{} {kind:o} {content:?}", entry.path().display())
        })
        .collect()
}

fn one(sidecar: &Sidecar, case: &Value) -> Result<(), String> {
    let from = case["from"].as_str().unwrap();
    let mut client = match from {
        "session" => sidecar.version1(),
        "modern" => sidecar.modern(),
        "apart" => sidecar.apart(),
        _ => sidecar.connect(),
    };
    if from == "greeted" {
        client.say(&sidecar.handshake(None));
        client.hears("handshake_ok");
    }
    let is_bare = case["bare"] == true;
    for item in case["send"].as_array().unwrap() {
        send(sidecar, &mut client, item, is_bare);
    }
    let (want, end) = match &case["tcp"] {
        Value::Object(tcp) if sidecar.transport == Transport::Tcp => (&tcp["want"], tcp["end"] == true),
        _ => (&case["want"], case["end"] == true),
    };
    let want = want.as_array().unwrap();
    let mut heard = Vec::new();
    for _ in want {
        match client.next() {
            Some(message) => heard.push(message),
            None => return Err(format!("it ended after {heard:?}")),
        }
    }
    if case["unordered"] == true {
        for wanted in want {
            if !heard.iter().any(|heard| answers(wanted, heard)) {
                return Err(format!("no {wanted} in {heard:?}"));
            }
        }
    } else if let Some((wanted, heard)) = want.iter().zip(&heard).find(|(wanted, heard)| !answers(wanted, heard)) {
        return Err(format!("wanted {wanted}\n    heard  {heard:?}"));
    }
    if end {
        return match client.next() {
            None => Ok(()),
            Some(more) => Err(format!("it goes on with {more:?}")),
        };
    }
    // It still serves this one, and nothing more was said than that.
    client.say(&sidecar.handshake(None));
    let more = client.hear().line;
    let fits = match (from, &more["code"]) {
        ("fresh", Value::Null) => more["op"] == "handshake_ok",
        (_, code) => code == "bad_request",
    };
    match fits {
        true => Ok(()),
        false => Err(format!("afterwards it said {more}")),
    }
}

fn send(sidecar: &Sidecar, client: &mut Client, item: &Value, is_bare: bool) {
    let fill = |text: &str| {
        let path = |name: &str| sidecar.path(name).to_str().unwrap().to_owned();
        text.replace("$STAGING", &path("root/ws"))
            .replace("$ROOT", &path("root"))
            .replace("$OUTSIDE", &path("outside"))
    };
    let bytes = match item {
        Value::String(line) => format!("{}\n", fill(line)).into_bytes(),
        Value::Object(directive) if directive.contains_key("$eof") => return client.end_input(),
        Value::Object(directive) => {
            if let Some(text) = directive.get("$raw") {
                fill(text.as_str().unwrap()).into_bytes()
            } else if let Some(hex) = directive.get("$hex") {
                let digits = hex.as_str().unwrap().as_bytes();
                let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
                digits.chunks(2).map(byte).collect()
            } else if let Some(text) = directive.get("$repeat") {
                let times = usize::try_from(directive["times"].as_u64().unwrap()).unwrap();
                text.as_str().unwrap().repeat(times).into_bytes()
            } else {
                let mut line = item.clone();
                if line["op"] == "handshake" && sidecar.transport == Transport::Tcp && !is_bare {
                    line["token"] = json!("open sesame");
                }
                format!("{}\n", fill(&line.to_string())).into_bytes()
            }
        }
        other => panic!("{other}"),
    };
    // A server that ends the connection takes no more, which is no fault.
    client.send(&bytes);
}

fn answers(wanted: &Value, heard: &Heard) -> bool {
    let raw = wanted.get("$raw").and_then(Value::as_str).unwrap_or_default();
    fits(wanted, &heard.line) && (raw == "$any" || heard.raw == raw.as_bytes())
}

fn fits(wanted: &Value, heard: &Value) -> bool {
    match (wanted, heard) {
        (Value::Object(wanted), Value::Object(_)) => wanted
            .iter()
            .filter(|(name, _)| !name.starts_with('$'))
            .all(|(name, wanted)| fits(wanted, heard.get(name).unwrap_or(&Value::Null))),
        (Value::Array(wanted), Value::Array(heard)) => {
            wanted.len() == heard.len() && wanted.iter().zip(heard).all(|(wanted, heard)| fits(wanted, heard))
        }
        (Value::String(any), heard) if any == "$any" => !heard.is_null(),
        (wanted, heard) => wanted == heard,
    }
}
