//! A server to talk to, and a client that says exactly what it is told to say.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::wait_for;

/// No answer takes longer than this.
pub const PATIENCE: Duration = Duration::from_secs(90);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Unix,
    Tcp,
    Stdio,
}

pub const TRANSPORTS: [Transport; 3] = [Transport::Unix, Transport::Tcp, Transport::Stdio];

pub use crate::support::devshell_vm;

/// A place with a root, something outside of it, and a server; over stdio one server a client.
pub struct Sidecar {
    place: TempDir,
    pub transport: Transport,
    args: Vec<String>,
    envs: Vec<(String, String)>,
    server: Option<Server>,
}

/// A server process, which does not outlive the test.
pub struct Server {
    pub child: Child,
    said: Arc<Mutex<Vec<u8>>>,
}

impl Server {
    pub fn spawn(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let said = Arc::<Mutex<Vec<u8>>>::default();
        let mut stderr = child.stderr.take().unwrap();
        let kept = Arc::clone(&said);
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(length) = stderr.read(&mut chunk)
                && length > 0
            {
                kept.lock().unwrap().extend_from_slice(&chunk[..length]);
            }
        });
        Self { child, said }
    }

    /// What it has said on stderr so far.
    pub fn said(&self) -> String {
        String::from_utf8_lossy(&self.said.lock().unwrap()).into_owned()
    }

    /// Waits until it says this; gives the rest of that line.
    #[track_caller]
    pub fn says(&self, words: &str) -> String {
        let find = || {
            let said = self.said();
            let (_, rest) = said.split_once(words)?;
            rest.split_once('\n').map(|(line, _)| line.to_owned())
        };
        let start = Instant::now();
        loop {
            if let Some(rest) = find() {
                return rest;
            }
            assert!(start.elapsed() < PATIENCE, "`{words}` was not said:\n{}", self.said());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    pub fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", signal, &pid]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for its end; gives its exit code.
    #[track_caller]
    pub fn end(&mut self) -> Option<i32> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(start.elapsed() < PATIENCE, "the server does not end:\n{}", self.said());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// A figure of /proc/PID/status, in KiB.
    pub fn kib(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// How many descriptors it has.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id()))
            .unwrap()
            .count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Sidecar {
    pub fn new(transport: Transport) -> Self {
        Self::with(transport, &[])
    }

    /// With further arguments.
    pub fn with(transport: Transport, args: &[&str]) -> Self {
        Self::with_env(transport, args, &[])
    }

    pub fn with_env(transport: Transport, args: &[&str], envs: &[(&str, &str)]) -> Self {
        let place = tempfile::Builder::new().prefix("devshell-vm-test-").tempdir().unwrap();
        for folder in ["root/ws", "outside", "run"] {
            std::fs::create_dir_all(place.path().join(folder)).unwrap();
        }
        std::fs::write(place.path().join("outside/kept"), "kept").unwrap();
        std::fs::write(place.path().join("token"), "open sesame\n").unwrap();
        let owner = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(place.path().join("token"), owner).unwrap();
        let mut sidecar = Self {
            place,
            transport,
            args: args.iter().map(ToString::to_string).collect(),
            envs: envs
                .iter()
                .map(|(name, value)| (name.to_string(), value.to_string()))
                .collect(),
            server: None,
        };
        if transport != Transport::Stdio {
            let mut command = sidecar.command();
            command.stdin(Stdio::null()).stdout(Stdio::null());
            sidecar.server = Some(Server::spawn(command));
            sidecar.server().says("listening on ");
        }
        sidecar
    }

    /// Such a server, not yet started.
    pub fn command(&self) -> Command {
        let mut command = self.bare_command();
        match self.transport {
            Transport::Unix => command.arg("--serve-socket").arg(self.socket()),
            Transport::Tcp => command.args(["--serve-tcp", "127.0.0.1:0"]),
            Transport::Stdio => command.arg("--serve-stdio"),
        };
        if self.transport == Transport::Tcp && !self.args.iter().any(|arg| arg.contains("token")) {
            command.arg("--token-file").arg(self.path("token"));
        }
        command.arg("--root").arg(self.path("root")).args(&self.args);
        command
    }

    /// The program in a sealed environment, without arguments.
    pub fn bare_command(&self) -> Command {
        let mut command = Command::new(devshell_vm());
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", self.path("run"))
            .env("XDG_RUNTIME_DIR", self.path("run"))
            .env("SECRET_OF_THE_SERVER", "secret")
            .envs(self.envs.iter().map(|(name, value)| (name, value)))
            .current_dir(self.place.path());
        command
    }

    pub fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    pub fn server_mut(&mut self) -> &mut Server {
        self.server.as_mut().unwrap()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.place.path().canonicalize().unwrap().join(name)
    }

    pub fn staging(&self) -> PathBuf {
        self.path("root/ws")
    }

    pub fn socket(&self) -> PathBuf {
        self.path("run/s")
    }

    fn port(&self) -> u16 {
        let rest = self.server().says("listening on tcp:127.0.0.1:");
        rest.parse().unwrap()
    }

    /// A client that has said nothing yet.
    pub fn connect(&self) -> Client {
        match self.transport {
            Transport::Unix => Client::unix(UnixStream::connect(self.socket()).unwrap()),
            Transport::Tcp => Client::tcp(TcpStream::connect(("127.0.0.1", self.port())).unwrap()),
            Transport::Stdio => {
                let mut command = self.command();
                command.stdin(Stdio::piped()).stdout(Stdio::piped());
                Client::stdio(Server::spawn(command))
            }
        }
    }

    /// The handshake, with the token where one is asked for.
    pub fn handshake(&self, capabilities: Option<&[&str]>) -> Value {
        let mut handshake = json!({"op": "handshake", "version": 1, "client": "test", "client_version": "0"});
        if let Some(capabilities) = capabilities {
            handshake["capabilities"] = json!(capabilities);
        }
        if self.transport == Transport::Tcp {
            handshake["token"] = json!("open sesame");
        }
        handshake
    }

    /// A version 1 client with a session.
    pub fn version1(&self) -> Client {
        self.version1_in(&self.staging())
    }

    pub fn version1_in(&self, staging: &Path) -> Client {
        let mut client = self.connect();
        client.say(&self.handshake(None));
        client.hears("handshake_ok");
        client.say(&json!({"op": "session_start", "session_id": "s", "staging_dir": staging}));
        client.hears("session_ok");
        client
    }

    /// A client with all capabilities and a session.
    pub fn modern(&self) -> Client {
        self.modern_with(&ALL)
    }

    pub fn modern_with(&self, capabilities: &[&str]) -> Client {
        let mut client = self.connect();
        let mut handshake = self.handshake(Some(capabilities));
        // It does not ping, and some tests take long.
        handshake["keepalive_ms"] = json!(3_600_000);
        client.say(&handshake);
        let reply = client.hears("handshake_ok");
        assert_eq!(reply["capabilities"].as_array().unwrap().len(), capabilities.len());
        client.say(&json!({"op": "session_start", "session_id": "s", "staging_dir": self.staging(), "id": 0}));
        client.hears("session_ok");
        client
    }

    /// A client with all capabilities and a session in a folder of the server's own.
    pub fn apart(&self) -> Client {
        let mut client = self.connect();
        let mut handshake = self.handshake(Some(&ALL));
        handshake["keepalive_ms"] = json!(3_600_000);
        client.say(&handshake);
        client.hears("handshake_ok");
        let folder = json!({"key": "apart"});
        client.say(&json!({"op": "session_start", "session_id": "s", "staging_dir": "", "transfer": folder, "id": 0}));
        client.hears("session_ok");
        client
    }

    /// That the server serves another client as ever.
    #[track_caller]
    pub fn serves_others(&self) {
        if self.transport == Transport::Stdio {
            return;
        }
        let mut client = self.version1();
        let result = client.exec(&["sh", "-c", "echo other"]);
        assert_eq!(result["exit_code"], 0, "{result}");
        assert_eq!(result["stdout_base64"], "b3RoZXIK");
    }
}

pub const ALL: [&str; 7] = [
    "request_id",
    "exec_stream",
    "exec_control",
    "keepalive",
    "fs_stat",
    "fs_raw",
    "transfer",
];

enum Way {
    Unix(UnixStream),
    Tcp(TcpStream),
    Stdio(Option<ChildStdin>),
}

/// One client. It reads only while something is waited for.
pub struct Client {
    way: Way,
    source: OwnedFd,
    buffer: Vec<u8>,
    ended: bool,
    /// Over stdio the server is the client's own.
    pub server: Option<Server>,
}

/// One message of a server.
#[derive(Debug, Clone, PartialEq)]
pub struct Heard {
    pub line: Value,
    pub raw: Vec<u8>,
}

impl Client {
    fn new(way: Way, source: OwnedFd) -> Self {
        Self {
            way,
            source,
            buffer: Vec::new(),
            ended: false,
            server: None,
        }
    }

    pub fn unix(stream: UnixStream) -> Self {
        let source = stream.try_clone().unwrap();
        Self::new(Way::Unix(stream), source.into())
    }

    pub fn tcp(stream: TcpStream) -> Self {
        let source = stream.try_clone().unwrap();
        Self::new(Way::Tcp(stream), source.into())
    }

    pub fn stdio(mut server: Server) -> Self {
        let input = server.child.stdin.take();
        let output = server.child.stdout.take().unwrap();
        let mut client = Self::new(Way::Stdio(input), output.into());
        client.server = Some(server);
        client
    }

    /// Sends bytes; false when the server takes no more.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        let sent = match &mut self.way {
            Way::Unix(stream) => stream.write_all(bytes),
            Way::Tcp(stream) => stream.write_all(bytes),
            Way::Stdio(Some(input)) => input.write_all(bytes),
            Way::Stdio(None) => panic!("it has ended its input"),
        };
        sent.is_ok()
    }

    /// Sends a line.
    #[track_caller]
    pub fn say(&mut self, line: &Value) {
        assert!(
            self.send(format!("{line}\n").as_bytes()),
            "the server takes no more: {line}"
        );
    }

    /// Says no more, and still listens.
    pub fn end_input(&mut self) {
        match &mut self.way {
            Way::Unix(stream) => stream.shutdown(Shutdown::Write).unwrap(),
            Way::Tcp(stream) => stream.shutdown(Shutdown::Write).unwrap(),
            Way::Stdio(input) => *input = None,
        }
    }

    /// Whether more came; none when nothing comes in time.
    fn more(&mut self, patience: Duration) -> Option<bool> {
        if self.ended {
            return Some(false);
        }
        let mut watched = [PollFd::new(&self.source, PollFlags::IN)];
        let limit = Timespec::try_from(patience).unwrap();
        if poll(&mut watched, Some(&limit)).unwrap() == 0 {
            return None;
        }
        let mut chunk = [0; 64 * 1024];
        // A reset is an end, too.
        let length = rustix::io::read(&self.source, &mut chunk).unwrap_or(0);
        self.buffer.extend(&chunk[..length]);
        self.ended = length == 0;
        Some(length > 0)
    }

    /// The next line; none at the end of the connection.
    #[track_caller]
    pub fn line(&mut self) -> Option<String> {
        let mut scanned = 0;
        loop {
            if let Some(at) = self.buffer[scanned..].iter().position(|byte| *byte == b'\n') {
                let rest = self.buffer.split_off(scanned + at + 1);
                let line = std::mem::replace(&mut self.buffer, rest);
                return Some(String::from_utf8(line).unwrap().trim_end().to_owned());
            }
            scanned = self.buffer.len();
            match self.more(PATIENCE) {
                Some(true) => {}
                Some(false) if self.buffer.is_empty() => return None,
                Some(false) => panic!("a line is cut off: {:?}", String::from_utf8_lossy(&self.buffer)),
                None => panic!("nothing comes"),
            }
        }
    }

    /// As [`Self::line`], of whatever bytes, also cut off ones.
    pub fn line_lossy(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(at) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let rest = self.buffer.split_off(at + 1);
                return Some(std::mem::replace(&mut self.buffer, rest));
            }
            match self.more(PATIENCE) {
                Some(true) => {}
                Some(false) if self.buffer.is_empty() => return None,
                Some(false) => return Some(std::mem::take(&mut self.buffer)),
                None => panic!("nothing comes"),
            }
        }
    }

    /// The next message; none at the end of the connection.
    #[track_caller]
    pub fn next(&mut self) -> Option<Heard> {
        let text = self.line()?;
        let line: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        let framed = ["exec_output", "fs_data", "transfer_data"]
            .iter()
            .any(|op| line["op"] == *op);
        let length = if framed { line["len"].as_u64().unwrap() } else { 0 };
        let length = usize::try_from(length).unwrap();
        while self.buffer.len() < length {
            assert_eq!(self.more(PATIENCE), Some(true), "raw bytes are cut off");
        }
        let rest = self.buffer.split_off(length);
        let raw = std::mem::replace(&mut self.buffer, rest);
        Some(Heard { line, raw })
    }

    /// The next message that is no ping.
    #[track_caller]
    pub fn hear(&mut self) -> Heard {
        loop {
            let heard = self.next().expect("the connection has ended");
            if heard.line["op"] != "ping" {
                return heard;
            }
        }
    }

    /// The next line, which must have this op.
    #[track_caller]
    pub fn hears(&mut self, op: &str) -> Value {
        let heard = self.hear();
        assert_eq!(heard.line["op"], op, "{}", heard.line);
        heard.line
    }

    /// That the connection has ended and nothing else was said.
    #[track_caller]
    pub fn hears_the_end(&mut self) {
        while let Some(heard) = self.next() {
            assert_eq!(heard.line["op"], "ping", "{}", heard.line);
        }
    }

    /// That nothing comes for a while.
    #[track_caller]
    pub fn hears_nothing(&mut self) {
        assert!(self.buffer.is_empty(), "{:?}", String::from_utf8_lossy(&self.buffer));
        if let Some(true) = self.more(Duration::from_millis(60)) {
            panic!("it was told {:?}", String::from_utf8_lossy(&self.buffer));
        }
    }

    /// Says a request of version 1 and gives its reply.
    #[track_caller]
    pub fn ask(&mut self, request: &Value) -> Value {
        self.say(request);
        self.hear().line
    }

    /// `exec` of version 1 in the mount.
    #[track_caller]
    pub fn exec(&mut self, argv: &[&str]) -> Value {
        self.ask(&exec(argv))
    }

    /// `guest_fs`, with fields laid over it.
    #[track_caller]
    pub fn fs(&mut self, operation: &str, path: &str, fields: &Value) -> Value {
        let mut request = json!({"op": "guest_fs", "session_id": "s", "operation": operation, "guest_path": path});
        for (name, value) in fields.as_object().unwrap() {
            request[name] = value.clone();
        }
        self.ask(&request)
    }

    /// Starts an exec with an id, with fields laid over it.
    #[track_caller]
    pub fn start(&mut self, id: u64, argv: &[&str], fields: &Value) {
        let mut request = exec(argv);
        request["id"] = json!(id);
        for (name, value) in fields.as_object().unwrap() {
            request[name] = value.clone();
        }
        self.say(&request);
    }

    /// What an exec says, until its result.
    #[track_caller]
    pub fn result(&mut self, id: u64) -> Ran {
        let mut ran = Ran::default();
        loop {
            let heard = self.hear();
            assert_eq!(heard.line["id"], id, "{}", heard.line);
            match heard.line["op"].as_str().unwrap() {
                "exec_output" if heard.line["stream"] == "stdout" => ran.stdout.extend(heard.raw),
                "exec_output" => ran.stderr.extend(heard.raw),
                "exec_stdin_taken" => {
                    ran.taken += heard.line["len"].as_u64().unwrap();
                    ran.closed |= heard.line["closed"] == true;
                }
                "exec_result" | "error" => {
                    ran.result = heard.line;
                    return ran;
                }
                other => panic!("{other}"),
            }
        }
    }

    /// Runs a program to its end.
    #[track_caller]
    pub fn run(&mut self, id: u64, argv: &[&str]) -> Ran {
        self.start(id, argv, &json!({}));
        self.result(id)
    }

    /// Input for an exec.
    #[track_caller]
    pub fn feed(&mut self, id: u64, bytes: &[u8], eof: bool) {
        let line = json!({"op": "exec_stdin", "id": id, "len": bytes.len(), "eof": eof});
        let mut message = format!("{line}\n").into_bytes();
        message.extend(bytes);
        assert!(self.send(&message));
    }

    /// Its own server's end, over stdio.
    #[track_caller]
    pub fn server_ends(&mut self) -> Option<i32> {
        self.server.as_mut().unwrap().end()
    }
}

/// All that an exec said.
#[derive(Debug, Default)]
pub struct Ran {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub result: Value,
    pub taken: u64,
    pub closed: bool,
}

impl Ran {
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

pub fn exec(argv: &[&str]) -> Value {
    json!({"op": "exec", "session_id": "s", "guest_cwd": "/workspace", "argv": argv, "env": {}})
}

/// A file that a tool makes to say something, and that is waited for.
#[track_caller]
pub fn wait_for_file(path: &Path) {
    wait_for(|| path.exists(), &format!("{} to appear", path.display()));
}
