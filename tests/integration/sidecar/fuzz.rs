//! Lines that nobody would write, made from those that somebody did. Each loop takes a second or
//! two; `DEVSHELL_TEST_FUZZ_SECONDS` makes it longer, `DEVSHELL_TEST_FUZZ_SEED` another one.

use std::io::Read;
use std::time::{Duration, Instant};

use devshell::sidecar::{Incoming, LineError, MAX_FRAME, TreeKind, TreeRecord, decode_reply, decode_request};
use serde_json::json;

use super::peer::{Sidecar, Transport};
use crate::support::{Random, say};

/// Numbers that are the same in every run.
struct Dice(Random);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.0.below(end as u64)).unwrap()
    }
}

fn until() -> Instant {
    let text = std::env::var("DEVSHELL_TEST_FUZZ_SECONDS").ok();
    let seconds = text.and_then(|text| text.parse().ok()).unwrap_or(2);
    Instant::now() + Duration::from_secs(seconds)
}

fn random() -> Dice {
    let text = std::env::var("DEVSHELL_TEST_FUZZ_SEED").ok();
    Dice(Random(text.and_then(|text| text.parse().ok()).unwrap_or(0x5eed)))
}

/// Every line of the samples and of the documentation, and pieces of JSON.
fn seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = include_str!("../../../docs/sidecar-protocol.md")
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| line.as_bytes().to_vec())
        .collect();
    for text in [
        include_str!("../../samples/protocol/framing.jsonl"),
        include_str!("../../samples/protocol/session.jsonl"),
        include_str!("../../samples/protocol/exec.jsonl"),
        include_str!("../../samples/protocol/guest_fs.jsonl"),
        include_str!("../../samples/protocol/handshake.jsonl"),
        include_str!("../../samples/protocol/transfer.jsonl"),
    ] {
        for case in text.lines() {
            let case: serde_json::Value = serde_json::from_str(case).unwrap();
            for item in case["send"]
                .as_array()
                .unwrap()
                .iter()
                .chain(case["want"].as_array().unwrap())
            {
                if item.get("op").is_some() {
                    seeds.push(item.to_string().into_bytes());
                } else if let Some(text) = item.as_str().or(item["$raw"].as_str()) {
                    seeds.push(text.trim_end().as_bytes().to_vec());
                }
            }
        }
    }
    seeds
}

/// What is put into lines.
const PIECES: &[&[u8]] = &[
    b"null",
    b"-1",
    b"1e999",
    b"18446744073709551616",
    b"4294967296",
    b"65537",
    b"0.0",
    b"true",
    b"[]",
    b"{}",
    b"[[",
    b"\"\"",
    b"\"\\ud800\"",
    b"\"\\u0000\"",
    b"\xff",
    b"\xf0\x9f",
    b"\0",
    b"\r",
    b"\n",
    b"\r\n",
    b",",
    b":",
    b"\\",
    b"\"",
    b"{\"op\":\"",
    b"\"id\":",
    b"\"len\":",
    b"..",
    b"/",
    b"exec_stdin",
    b"fs_data",
    b"exec",
    b"guest_fs",
    b"\"raw\":true",
];

fn mutate(seeds: &[Vec<u8>], random: &mut Dice) -> Vec<u8> {
    let mut line = seeds[random.below(seeds.len())].clone();
    for _ in 0..random.below(6) {
        let at = random.below(line.len() + 1);
        match random.below(7) {
            0 if at < line.len() => line[at] ^= 1 << random.below(8),
            1 if at < line.len() => drop(line.remove(at)),
            2 => line.truncate(at),
            3 => {
                let end = (at + random.below(12)).min(line.len());
                line.drain(at..end);
            }
            4 => {
                // Another line's beginning or end.
                let other = &seeds[random.below(seeds.len())];
                let from = random.below(other.len() + 1);
                line.truncate(at);
                line.extend_from_slice(&other[from..]);
            }
            5 => {
                let end = (at + random.below(40)).min(line.len());
                let piece = line[at..end].to_vec();
                line.splice(at..at, piece);
            }
            _ => drop(
                line.splice(at..at, PIECES[random.below(PIECES.len())].iter().copied())
                    .collect::<Vec<_>>(),
            ),
        }
    }
    line
}

/// Gives bytes in pieces of any size.
struct Pieces<'a> {
    bytes: &'a [u8],
    width: usize,
}

impl Read for Pieces<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let length = self.width.min(into.len()).min(self.bytes.len());
        let (now, later) = self.bytes.split_at(length);
        into[..length].copy_from_slice(now);
        self.bytes = later;
        Ok(length)
    }
}

#[test]
fn no_line_makes_a_decoder_panic_and_what_it_takes_comes_back_the_same() {
    let (seeds, mut random, until) = (seeds(), random(), until());
    let (mut executions, mut requests, mut replies) = (0_u64, 0_u64, 0_u64);
    while !executions.is_multiple_of(256) || Instant::now() < until {
        executions += 1;
        let line = mutate(&seeds, &mut random);
        if let Ok(request) = decode_request(&line) {
            requests += 1;
            assert!(request.body.frame() <= MAX_FRAME);
            let again = decode_request(request.to_line().trim_ascii_end()).unwrap();
            assert_eq!(again, request, "{}", line.escape_ascii());
        }
        if let Ok(reply) = decode_reply(&line) {
            replies += 1;
            assert!(reply.body.frame() <= MAX_FRAME);
            let again = decode_reply(reply.to_line().trim_ascii_end()).unwrap();
            assert_eq!(again, reply, "{}", line.escape_ascii());
        }
    }
    say(&format!(
        "FUZZ: {executions} lines decoded in both directions, {requests} of them requests and {replies} replies"
    ));
    assert!(requests > 0 && replies > 0);
}

#[test]
fn no_stream_makes_the_reader_panic_lose_bytes_or_need_more_than_its_limit() {
    let (seeds, mut random, until) = (seeds(), random(), until());
    let mut executions = 0_u64;
    while !executions.is_multiple_of(64) || Instant::now() < until {
        executions += 1;
        // Lines, some too long, some with raw bytes behind them, cut anywhere.
        let limit = 1 + random.below(300);
        let (mut stream, mut wanted) = (Vec::new(), Vec::new());
        for _ in 0..random.below(8) {
            let mut line = mutate(&seeds, &mut random);
            line.retain(|byte| !matches!(byte, b'\n' | b'\r'));
            let raw: Vec<u8> = match random.below(3) {
                0 => (0..random.below(600))
                    .map(|_| [b'\n', b'\r', b'{', 7][random.below(4)])
                    .collect(),
                _ => Vec::new(),
            };
            let fits = line.len() <= limit;
            stream.extend_from_slice(&line);
            stream.extend_from_slice(if random.below(2) == 0 { b"\n" } else { b"\r\n" });
            if fits {
                stream.extend_from_slice(&raw);
            }
            wanted.push((fits, line, raw));
        }
        let mut incoming = Incoming::new(
            Pieces {
                bytes: &stream,
                width: 1 + random.below(200),
            },
            limit,
        );
        for (fits, line, raw) in &wanted {
            match incoming.line() {
                Ok(Some(found)) => {
                    assert!(fits, "a line of {} bytes passed a limit of {limit}", line.len());
                    assert_eq!(found, line);
                    let mut bytes = vec![0; raw.len()];
                    incoming.raw(&mut bytes).unwrap();
                    assert_eq!(&bytes, raw);
                }
                Err(LineError::TooLong { .. }) => assert!(!fits, "a line of {} bytes, limit {limit}", line.len()),
                other => panic!("{other:?}"),
            }
        }
        assert!(matches!(incoming.line(), Ok(None)));
    }
    say(&format!("FUZZ: {executions} streams read"));
}

/// What a client says that pushes a small tree, and one that pulls: the records behind its `transfer`.
fn spoken_trees() -> [Vec<u8>; 2] {
    let entry = |depth, name, kind| TreeRecord::Entry {
        depth,
        name,
        kind,
        mode: 0o644,
        mtime_s: 1_700_000_000,
        mtime_ns: 5,
    };
    let content = |text: &[u8]| (text.len() as u64, *blake3::hash(text).as_bytes());
    let file = |text: &[u8]| {
        let (size, digest) = content(text);
        TreeKind::File { size, digest }
    };
    let (size, digest) = content(b"a/b");
    let entries = [
        entry(0, b"", TreeKind::Dir),
        entry(1, b"a", TreeKind::Dir),
        entry(2, b"b", file(b"inside")),
        entry(1, b"empty", file(b"")),
        entry(1, b"link", TreeKind::Symlink { size, digest }),
        entry(1, b"x", file(b"outside")),
    ];
    let mut push = Vec::new();
    for record in entries.iter().chain(&[TreeRecord::Entries { count: 6 }]) {
        record.write_to(&mut push);
    }
    for text in [&b"inside"[..], b"a/b", b"outside"] {
        TreeRecord::Piece { len: text.len() as u32 }.write_to(&mut push);
        push.extend_from_slice(text);
        TreeRecord::End.write_to(&mut push);
    }
    let mut pull = Vec::new();
    for (number, offset) in [(2, 0), (4, 0), (5, 3)] {
        TreeRecord::Want { entry: number, offset }.write_to(&mut pull);
    }
    TreeRecord::Wants { count: 3 }.write_to(&mut pull);
    TreeRecord::Done.write_to(&mut pull);
    [push, pull]
}

/// Bytes that a mutation of records puts in.
const RECORDS: &[&[u8]] = &[
    b"\x01\x01\x02..",
    b"\x01\x02\x03a/b",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"\xff\xff\x03",
    b"\x02\x06",
    b"\x05\x80\x80\x04",
    b"\x06",
    b"\x07",
    b"\x08",
    b"\0",
    b"/",
];

fn mutate_records(records: &[u8], random: &mut Dice) -> Vec<u8> {
    let mut bytes = records.to_vec();
    for _ in 0..random.below(4) {
        let at = random.below(bytes.len() + 1);
        match random.below(4) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            1 => bytes.truncate(at),
            2 => {
                let end = (at + random.below(50)).min(bytes.len());
                bytes.drain(at..end);
            }
            _ => drop(
                bytes
                    .splice(at..at, RECORDS[random.below(RECORDS.len())].iter().copied())
                    .collect::<Vec<_>>(),
            ),
        }
    }
    bytes
}

#[test]
fn no_bytes_make_the_decoder_of_records_panic_and_what_it_takes_comes_back_the_same() {
    let (trees, mut random, until) = (spoken_trees(), random(), until());
    let (mut executions, mut records) = (0_u64, 0_u64);
    while !executions.is_multiple_of(256) || Instant::now() < until {
        executions += 1;
        let bytes = mutate_records(&trees[random.below(2)], &mut random);
        let mut rest = &bytes[random.below(bytes.len() + 1)..];
        while let Ok((record, length)) = TreeRecord::read_from(rest) {
            records += 1;
            let mut again = Vec::new();
            record.write_to(&mut again);
            assert_eq!(TreeRecord::read_from(&again), Ok((record, again.len())));
            rest = &rest[length..];
        }
    }
    say(&format!("FUZZ: {executions} streams of records, {records} records"));
    assert!(records > 0);
}

#[test]
fn no_tree_ends_a_server_or_leads_out_of_its_folder() {
    let sidecar = Sidecar::with(Transport::Unix, &["--grace", "0s"]);
    sidecar.serves_others();
    let before = sidecar.server().descriptors();
    let (trees, mut random, until) = (spoken_trees(), random(), until());
    let (mut executions, mut carried, mut refused) = (0_u64, 0_u64, 0_u64);
    while !executions.is_multiple_of(16) || Instant::now() < until {
        executions += 1;
        let mut client = sidecar.apart();
        let is_pull = random.below(3) == 0;
        let direction = if is_pull { "pull_from_guest" } else { "push_to_guest" };
        let digest = "0".repeat(64);
        let path = ["/workspace/a", "/workspace/a/b/c", "/workspace"][random.below(3)];
        let transfer = json!({"op": "transfer", "id": 1, "session_id": "s", "direction": direction, "guest_path": path, "digest": digest});
        client.send(format!("{transfer}\n").as_bytes());
        let bytes = mutate_records(&trees[usize::from(is_pull)], &mut random);
        let width = 1 + random.below(bytes.len() + 1);
        for piece in bytes.chunks(width) {
            let line = json!({"op": "transfer_data", "id": 1, "len": piece.len()});
            client.send(&[format!("{line}\n").as_bytes(), piece].concat());
        }
        if random.below(8) == 0 {
            // Gone without a word.
            continue;
        }
        let last = json!({"op": "transfer_data", "id": 1, "len": 0, "eof": true});
        client.send(format!("{last}\n").as_bytes());
        loop {
            match client.next().map(|heard| heard.line["op"].clone()) {
                Some(op) if op == "transfer_data" => {}
                Some(op) if op == "transfer_ok" => break carried += 1,
                Some(op) if op == "error" => break refused += 1,
                other => panic!("{other:?}"),
            }
        }
    }
    sidecar.serves_others();
    assert_eq!(std::fs::read(sidecar.path("outside/kept")).unwrap(), b"kept");
    let mut there: Vec<_> = std::fs::read_dir(sidecar.path("root"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    there.sort();
    assert_eq!(there, [".devshell-trees", "ws"]);
    crate::support::wait_for(
        || sidecar.server().descriptors() <= before,
        "the descriptors to be closed",
    );
    let log = sidecar.server().said();
    assert!(!log.contains("panicked"), "{log}");
    let peak = sidecar.server().kib("VmHWM:");
    assert!(peak < 96 * 1024, "{peak} KiB");
    say(&format!(
        "FUZZ: {executions} trees for a server, {carried} carried all the same, {refused} refused"
    ));
    assert!(refused > 0);
}

#[test]
fn no_conversation_ends_a_server_or_leaves_anything() {
    let sidecar = Sidecar::with(Transport::Unix, &["--grace", "0s", "--exec-timeout", "200ms"]);
    sidecar.serves_others();
    let before = sidecar.server().descriptors();
    let (mut seeds, mut random, until) = (seeds(), random(), until());
    let staging = sidecar.staging().to_str().unwrap().to_owned();
    // What is mutated must not reach beyond this test by being right: no other program is named.
    seeds.retain(|seed| {
        let text = String::from_utf8_lossy(seed);
        !text.contains("\"op\":\"exec\"") || text.contains("\"true\"") || text.contains("\"echo\"")
    });
    let (mut executions, mut lines) = (0_u64, 0_u64);
    while Instant::now() < until {
        executions += 1;
        let mut client = sidecar.connect();
        let mut said = Vec::new();
        if random.below(5) > 0 {
            let capabilities: &[&str] = if random.below(2) == 0 { &super::peer::ALL } else { &[] };
            said.extend(format!("{}\n", sidecar.handshake(Some(capabilities))).into_bytes());
            let start = json!({"op": "session_start", "session_id": "s", "staging_dir": staging, "id": 0});
            said.extend(format!("{start}\n").into_bytes());
        }
        for _ in 0..random.below(10) {
            lines += 1;
            said.extend(mutate(&seeds, &mut random));
            if random.below(20) > 0 {
                said.push(b'\n');
            }
        }
        client.send(&said);
        match random.below(3) {
            // Gone without a word.
            0 => {}
            // Gone in the middle of the replies.
            1 => {
                client.end_input();
                let _ = client.line_lossy();
            }
            _ => {
                client.end_input();
                while client.line_lossy().is_some() {}
            }
        }
    }
    sidecar.serves_others();
    assert_eq!(std::fs::read(sidecar.path("outside/kept")).unwrap(), b"kept");
    crate::support::wait_for(
        || sidecar.server().descriptors() <= before,
        "the descriptors to be closed",
    );
    assert!(
        !sidecar.server().said().contains("panicked"),
        "{}",
        sidecar.server().said()
    );
    let peak = sidecar.server().kib("VmHWM:");
    assert!(peak < 96 * 1024, "{peak} KiB");
    say(&format!(
        "FUZZ: {executions} conversations of {lines} lines with a server"
    ));
}
