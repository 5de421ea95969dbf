//! Servers that answer with what nobody would send, made from what a server does send. Whatever
//! they say, the client ends each conversation by itself, in one piece and with one end a tool.
//! `DEVSHELL_TEST_FUZZ_SECONDS` makes the loop longer, `DEVSHELL_TEST_FUZZ_SEED` another one.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Once};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::guest_fs::GuestFsOps as _;
use crate::plan::SidecarAddress;
use crate::process::{Cancel, Message, Stdin, ToolCommand};
use crate::session::VmError;
use crate::session::guest_tree::GuestTree;
use crate::sidecar::{Capabilities, Capability, Incoming, MAX_LINE, decode_request};
use crate::sys::fs::Time;
use crate::vfs::VfsPath;

use super::connection::Connection;
use super::{Pace, Place, RemoteFiles, begin, exec};

/// Longer than any conversation with a server that hangs up takes.
const HUNG: Duration = Duration::from_secs(15);

/// Numbers that are the same in every run: an xorshift, good enough to spoil bytes.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end as u64).unwrap()
    }
}

fn number(name: &str, or: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(or)
}

fn line(mut value: Value, id: Option<u64>) -> Vec<u8> {
    if let Some(id) = id {
        value["id"] = id.into();
    }
    let mut line = value.to_string().into_bytes();
    line.push(b'\n');
    line
}

/// What a server says to a request.
fn honest(request: &Value, id: Option<u64>, with_ids: bool, dice: &mut Dice) -> Vec<u8> {
    let session = &request["session_id"];
    match request["op"].as_str().unwrap_or_default() {
        "handshake" if with_ids => line(
            json!({"op": "handshake_ok", "version": 1, "server": "s", "server_version": "1", "max_line": MAX_LINE,
                "keepalive_ms": 30_000, "capabilities": Capabilities::implemented().names()}),
            id,
        ),
        "handshake" => line(
            json!({"op": "handshake_ok", "version": 1, "server": "s", "server_version": "1"}),
            id,
        ),
        "session_start" => line(
            json!({"op": "session_ok", "session_id": session, "contained": true}),
            id,
        ),
        "sync_request" => line(json!({"op": "sync_ok", "session_id": session}), id),
        "session_shutdown" => line(json!({"op": "shutdown_ok", "session_id": session}), id),
        "exec" => {
            let mut said = Vec::new();
            if with_ids {
                for _ in 0..dice.below(4) {
                    let stream = ["stdout", "stderr"][dice.below(2)];
                    let len = dice.below(300);
                    said.extend(line(
                        json!({"op": "exec_output", "id": id, "stream": stream, "len": len}),
                        None,
                    ));
                    said.extend(vec![b'x'; len]);
                }
                said.extend(line(json!({"op": "exec_stdin_taken", "id": id, "taken": 5}), None));
            }
            let result = json!({"op": "exec_result", "session_id": session, "exit_code": dice.below(3), "signal": null,
                "outcome": "exited", "elapsed_ms": 1, "survivors": [{"pid": 7, "argv": "sleep"}], "stdout_base64": "eA==",
                "stderr_base64": "", "truncated": false});
            said.extend(line(result, id));
            said
        }
        "guest_fs" => {
            let stat = json!({"kind": "file", "size": 3, "mode": 420, "mtime_s": 1, "mtime_ns": 2});
            let mut said = Vec::new();
            if with_ids && request["operation"] == "read_file" {
                said.extend(line(json!({"op": "fs_data", "id": id, "len": 3, "eof": false}), None));
                said.extend(b"abc");
            }
            let done = json!({"op": "guest_fs_ok", "session_id": session, "names": ["a", "b"], "content_base64": "YWJj",
                "stat": stat, "entries": [{"name": "a", "stat": stat}], "more": dice.below(4) == 0});
            said.extend(line(done, id));
            said
        }
        _ => Vec::new(),
    }
}

const PIECES: [&[u8]; 14] = [
    b"\n",
    b"{",
    b"\0",
    b"\xff",
    b"null",
    b"-1",
    b"18446744073709551616",
    b"1e999",
    b"{\"op\":\"ping\"}\n",
    b"{\"op\":\"exec_output\",\"id\":1,\"stream\":\"stdout\",\"len\":65536}\n",
    b"{\"op\":\"fs_data\",\"id\":4,\"len\":65537}\n",
    b"{\"op\":\"exec_result\",\"id\":3,\"session_id\":\"s\",\"exit_code\":0}\n",
    b"{\"op\":\"error\",\"code\":\"no_session\",\"message\":\"\"}\n",
    b"{\"op\":\"guest_fs_error\",\"session_id\":\"s\",\"code\":\"io_error\",\"message\":\"\"}\n",
];

fn spoil(bytes: &mut Vec<u8>, dice: &mut Dice) {
    for _ in 0..=dice.below(3) {
        let at = dice.below(bytes.len() + 1);
        match dice.below(6) {
            0 if at < bytes.len() => bytes[at] ^= 1 << dice.below(8),
            1 => bytes.truncate(at),
            2 => drop(bytes.drain(at..(at + dice.below(40)).min(bytes.len()))),
            3 => {
                let piece = bytes[at..(at + dice.below(120)).min(bytes.len())].to_vec();
                bytes.splice(at..at, piece);
            }
            4 if at < bytes.len() && bytes[at].is_ascii_digit() => {
                bytes[at] = b'0' + u8::try_from(dice.below(10)).unwrap()
            }
            _ => drop(bytes.splice(at..at, PIECES[dice.below(PIECES.len())].iter().copied())),
        }
    }
}

/// Answers until it is bored or the client has gone, then hangs up.
fn lie(stream: &UnixStream, seed: u64) {
    let mut dice = Dice(seed);
    let with_ids = dice.below(4) != 0;
    let (mut lines, mut to) = (Incoming::new(stream, MAX_LINE), stream);
    // A client that waits for something else asks no more.
    stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let answers = 1 + dice.below(12);
    for _ in 0..answers {
        let Ok(Some(asked)) = lines.line() else { return };
        let request: Value = serde_json::from_slice(asked).expect("the client writes JSON");
        let frame = decode_request(asked)
            .expect("the client keeps to the protocol")
            .body
            .frame();
        lines.raw(&mut vec![0; frame]).ok();
        let id = request["id"].as_u64();
        let mut said = honest(&request, id, with_ids, &mut dice);
        if dice.below(3) == 0 {
            spoil(&mut said, &mut dice);
        }
        // In pieces, as a wire brings them.
        for piece in said.chunks(1 + dice.below(2000)) {
            if to.write_all(piece).is_err() {
                return;
            }
        }
    }
    let _ = stream.shutdown(std::net::Shutdown::Write);
    // What the client still sends is taken, or it could not end.
    let _ = std::io::copy(&mut stream.take(1 << 20), &mut std::io::sink());
}

/// One conversation as sessions have it; the number of ends that its tool came to, if it had one.
fn converse(stream: UnixStream) -> Option<usize> {
    let address = SidecarAddress::Unix("/run/liar".into());
    let cancel = Cancel::new();
    let connection = Connection::over(stream.into(), &address, &cancel).ok()?;
    let link = &connection.link;
    let begun = begin(link, Place::Shared("/srv/ws"), "/workspace", &Pace::default(), &cancel).ok()?;
    let command = ToolCommand {
        argv: vec!["true".into()],
        cwd: VfsPath::root(),
        env: Vec::new(),
        stdin: Stdin::Null,
        terminal: None,
    };
    let (messages, heard) = sync_channel(2);
    let tool = exec::start(link, &begun.id, "/workspace".to_owned(), &command, messages);
    let ends = tool.is_ok().then(|| {
        let ended = |message: &Message| matches!(message, Message::Ended(_));
        heard.iter().filter(ended).count()
    });
    drop(tool);
    let mut files = RemoteFiles::new(Arc::clone(link), begun.id, "/workspace".to_owned(), &Cancel::new());
    let _ = files.list_dir("/workspace");
    let _ = files.read_file("/workspace/a");
    let _ = files.write_file("/workspace/b", &[7; 100_000]);
    let at = Path::new("/workspace/d");
    let _ = files.stat(at);
    let _ = files.list(at);
    let _ = files.read(at, &mut std::io::sink());
    let _ = files.write(at, &mut &b"abc"[..], 0o600, Time::new(1, 2));
    let _ = files.mkdir("/workspace/d");
    let _ = GuestTree::remove(&mut files, at);
    assert!(!link.has(Capability::FsRaw) || link.has(Capability::RequestId));
    ends
}

/// Panics of threads that serve a connection: nobody else would notice them.
static PANICS: AtomicUsize = AtomicUsize::new(0);

fn count_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if std::thread::current().name() == Some("devshell-sidecar") {
                PANICS.fetch_add(1, Ordering::SeqCst);
            }
            before(info);
        }));
    });
}

#[test]
fn no_server_hangs_or_breaks_the_client() {
    count_panics();
    let until = Instant::now() + Duration::from_secs(number("DEVSHELL_TEST_FUZZ_SECONDS", 1));
    let mut seeds = Dice(number("DEVSHELL_TEST_FUZZ_SEED", 0x5eed));
    let (mut rounds, mut tools) = (0_u64, 0_u64);
    while rounds < 50 || Instant::now() < until {
        rounds += 1;
        seeds.below(2);
        let seed = seeds.0;
        let (near, far) = UnixStream::pair().unwrap();
        let start = Instant::now();
        let liar = std::thread::spawn(move || lie(&far, seed));
        if let Some(ends) = converse(near) {
            tools += 1;
            assert_eq!(ends, 1, "seed {seed}: a tool ends once");
        }
        assert!(
            liar.join().is_ok(),
            "seed {seed}: the client said something else than the protocol"
        );
        assert!(start.elapsed() < HUNG, "seed {seed}: hung");
        assert_eq!(PANICS.load(Ordering::SeqCst), 0, "seed {seed}");
    }
    let told = format!("FUZZ: {rounds} conversations with servers that lie, {tools} of them came to a tool\n");
    std::io::stderr().write_all(told.as_bytes()).unwrap();
}

/// What comes of a handshake whose answer names this silence.
fn greeted_with(silence_ms: u64) -> Result<(), VmError> {
    let (near, far) = UnixStream::pair().unwrap();
    let server = std::thread::spawn(move || {
        let mut lines = Incoming::new(&far, MAX_LINE);
        let asked: Value = serde_json::from_slice(lines.line().unwrap().unwrap()).unwrap();
        let mut answer: Value =
            serde_json::from_slice(&honest(&asked, asked["id"].as_u64(), true, &mut Dice(1))).unwrap();
        answer["keepalive_ms"] = silence_ms.into();
        (&far).write_all(&line(answer, None)).unwrap();
        // Until the client has gone.
        let _ = std::io::copy(&mut (&far).take(1 << 20), &mut std::io::sink());
    });
    let address = SidecarAddress::Unix("/run/liar".into());
    let greeted = Connection::over(near.into(), &address, &Cancel::new()).map(drop);
    server.join().unwrap();
    greeted
}

#[test]
fn a_silence_that_nobody_can_keep_is_no_agreement() {
    assert!(greeted_with(30_000).is_ok());
    for odd in [0, 1, u64::MAX] {
        let refused = greeted_with(odd).unwrap_err();
        assert!(
            matches!(&refused, VmError::Protocol(why) if why.contains("silence")),
            "{refused}"
        );
    }
}
