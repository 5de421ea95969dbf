//! Sidecars that want to write where they must not, or say what nobody can mean.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};

use devshell::sidecar::{TreeKind, TreeRecord};
use serde_json::{Value, json};

use super::Apart;

/// A server with a tree of its own making: `said` are the bytes of its `transfer_data` when the client pulls.
fn serving(apart: &Apart, said: Vec<u8>, is_framed: bool) {
    let listener = UnixListener::bind(apart.project.beside("s.sock")).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // Whatever the client does, this end has said what it was to say.
            let _ = converse(stream, &said, is_framed);
        }
    });
}

fn converse(stream: UnixStream, said: &[u8], is_framed: bool) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?);
    let mut out = stream;
    let mut line = String::new();
    while {
        line.clear();
        lines.read_line(&mut line)? > 0
    } {
        let request: Value = serde_json::from_str(&line)?;
        let id = &request["id"];
        let reply = match request["op"].as_str().unwrap_or_default() {
            "handshake" => json!({"op": "handshake_ok", "version": 1, "capabilities": request["capabilities"]}),
            "session_start" if request.get("transfer").is_some() => {
                json!({"op": "session_ok", "id": id, "contained": true, "mounted": true, "staging_dir": "/x", "state": "s"})
            }
            "session_start" => json!({"op": "error", "code": "forbidden", "message": "no", "id": id}),
            "transfer" if request["direction"] == "push_to_guest" => json!({"op": "transfer_ok", "id": id}),
            "transfer" => {
                for piece in said.chunks(1000) {
                    let frame = json!({"op": "transfer_data", "id": id, "len": piece.len()});
                    writeln!(out, "{frame}")?;
                    out.write_all(piece)?;
                }
                if !is_framed {
                    continue;
                }
                json!({"op": "transfer_ok", "id": id})
            }
            "exec" => json!({"op": "exec_result", "id": id, "exit_code": 0, "outcome": "exited"}),
            "session_shutdown" => json!({"op": "shutdown_ok", "id": id}),
            "transfer_data" => {
                let mut raw = vec![0; usize::try_from(request["len"].as_u64().unwrap_or(0)).unwrap_or(0)];
                lines.read_exact(&mut raw)?;
                continue;
            }
            _ => continue,
        };
        writeln!(out, "{reply}")?;
    }
    Ok(())
}

fn entry(depth: u16, name: &[u8], kind: TreeKind) -> TreeRecord<'_> {
    TreeRecord::Entry {
        depth,
        name,
        kind,
        mode: 0o755,
        mtime_s: 1,
        mtime_ns: 0,
    }
}

fn bytes(records: &[TreeRecord], is_whole: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    for record in records {
        record.write_to(&mut bytes);
    }
    if is_whole {
        let count = records.len() as u64;
        TreeRecord::Entries { count }.write_to(&mut bytes);
    }
    bytes
}

#[test]
fn a_sidecar_whose_tree_leads_out_is_76_and_nothing_is_written() {
    let root = entry(0, b"", TreeKind::Dir);
    let empty = TreeKind::File {
        size: 0,
        digest: [0; 32],
    };
    let link = TreeKind::Symlink {
        size: 1,
        digest: [1; 32],
    };
    let cases: [(&str, Vec<u8>); 7] = [
        (
            "..",
            bytes(&[root, entry(1, b"..", TreeKind::Dir), entry(2, b"x", empty)], true),
        ),
        ("/", bytes(&[root, entry(1, b"../../x", empty)], true)),
        (
            "a link",
            bytes(&[root, entry(1, b"a", link), entry(2, b"x", empty)], true),
        ),
        (
            "twice",
            bytes(
                &[
                    root,
                    entry(1, b"a", link),
                    entry(1, b"a", TreeKind::Dir),
                    entry(2, b"x", empty),
                ],
                true,
            ),
        ),
        ("no root", bytes(&[entry(1, b"a", empty)], true)),
        ("no records", vec![0xee; 5000]),
        ("another record", bytes(&[TreeRecord::Done], false)),
    ];
    for (name, said) in cases {
        let apart = Apart::new("");
        apart.project.write("file", "old");
        let before = apart.project.tree();
        serving(&apart, said, false);
        apart
            .exec(&[], "true")
            .code(76)
            .says("does not speak the sidecar protocol");
        assert_eq!(apart.project.tree(), before, "{name}");
        assert!(!apart.project.beside("x").exists() && !apart.project.beside("cache/devshell/x").exists());
    }
}

#[test]
fn a_sidecar_that_ends_a_transfer_before_its_end_is_76() {
    let apart = Apart::new("");
    apart.project.write("file", "old");
    let before = apart.project.tree();
    serving(&apart, bytes(&[entry(0, b"", TreeKind::Dir)], false), true);
    apart.exec(&[], "true").code(76).says("an end before the end");
    assert_eq!(apart.project.tree(), before);
}

#[test]
fn a_sidecar_that_announces_more_than_the_disk_holds_is_74() {
    let apart = Apart::new("");
    apart.project.write("file", "old");
    let before = apart.project.tree();
    let huge = TreeKind::File {
        size: 1 << 61,
        digest: [1; 32],
    };
    serving(
        &apart,
        bytes(&[entry(0, b"", TreeKind::Dir), entry(1, b"huge", huge)], true),
        false,
    );
    apart.exec(&[], "true").code(74).says("full");
    assert_eq!(apart.project.tree(), before);
}

#[test]
fn a_sidecar_whose_entries_would_fill_the_memory_is_told_that_its_tree_is_too_large() {
    let long = [b'd'; 255];
    let mut deep = vec![entry(0, b"", TreeKind::Dir)];
    deep.extend((1..=17).map(|depth| entry(depth, &long, TreeKind::Dir)));
    // A path of 4 KB each, in a record of 16 bytes.
    let names: Vec<String> = (0..110_000).map(|number| format!("{number:06}")).collect();
    let mut many = deep[..=15].to_vec();
    many.extend(names.iter().map(|name| entry(16, name.as_bytes(), TreeKind::Special)));
    for (records, why) in [
        (deep, "a path of more than 4095 bytes"),
        (many, "weigh more than 384 MiB"),
    ] {
        let apart = Apart::new("");
        apart.project.write("file", "old");
        let before = apart.project.tree();
        serving(&apart, bytes(&records, true), false);
        let ran = apart.exec(&[], "true");
        ran.code(74).says("too large to be carried").says(why).says("`ignore`");
        assert_eq!(apart.project.tree(), before);
    }
}
