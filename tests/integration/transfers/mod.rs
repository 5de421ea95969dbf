//! Runs at a sidecar that shares no folder: the tree goes over the wire and comes back.

mod breaks;
mod hostile;
mod old_trees;
mod proxy;
mod runs;
mod sizes;

use std::fs::File;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{Killed, Project, Ran, devshell_vm, free_port, wait_for};

/// A project whose tools run at a sidecar with a root of its own.
struct Apart {
    project: Project,
    server: Option<Killed>,
}

impl Apart {
    /// Not served yet; the socket is `s.sock` beside the project.
    fn new(toml: &str) -> Self {
        let project = Project::new("");
        std::fs::create_dir(project.beside("root")).unwrap();
        let head = format!(
            "[vm]\nbackend = \"beta\"\n[vm.beta]\nsocket = \"unix:{}\"\n",
            project.beside("s.sock").display()
        );
        project.write("devshell.toml", head + toml);
        Self { project, server: None }
    }

    fn served(toml: &str) -> Self {
        let mut apart = Self::new(toml);
        apart.serve();
        apart
    }

    /// The server with its log in a file.
    fn server(&self, args: &[&str]) -> Command {
        let log = File::options().create(true).append(true).open(self.log()).unwrap();
        let mut command = Command::new(devshell_vm());
        command
            .args(args)
            .args(["-v", "--root"])
            .arg(self.project.beside("root"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        command
    }

    fn log(&self) -> PathBuf {
        self.project.beside("server.log")
    }

    /// What the server has logged of the last transfers, oldest first: each with its fields.
    fn transfers(&self) -> Vec<String> {
        let log = std::fs::read_to_string(self.log()).unwrap();
        let lines = log.lines().filter(|line| line.contains(" event=transferred "));
        lines.map(str::to_owned).collect()
    }

    fn serve(&mut self) {
        let socket = self.project.beside("s.sock");
        self.serve_at(&socket);
    }

    fn serve_at(&mut self, socket: &Path) {
        let child = self
            .server(&["--serve-socket", socket.to_str().unwrap()])
            .spawn()
            .unwrap();
        self.server = Some(Killed(child));
        wait_for(|| UnixStream::connect(socket).is_ok(), "the sidecar listens");
    }

    fn kill_server(&mut self) {
        let mut server = self.server.take().unwrap();
        server.0.kill().unwrap();
        server.0.wait().unwrap();
    }

    fn signal_server(&self, signal: &str) {
        let pid = self.server.as_ref().unwrap().0.id().to_string();
        let sent = Command::new("kill").args(["-s", signal, &pid]).status();
        assert!(sent.unwrap().success());
    }

    /// Over TCP; gives what devshell has to be told for it.
    fn serve_tcp(&mut self) -> Vec<String> {
        let (address, token) = (format!("127.0.0.1:{}", free_port()), self.project.beside("token"));
        std::fs::write(&token, "open sesame\n").unwrap();
        std::fs::set_permissions(&token, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let args = ["--serve-tcp", &address, "--token-file", token.to_str().unwrap()];
        self.server = Some(Killed(self.server(&args).spawn().unwrap()));
        wait_for(|| TcpStream::connect(&address).is_ok(), "the sidecar listens");
        vec![
            format!("vm.beta.socket=tcp:{address}"),
            format!("vm.beta.token_file={}", token.display()),
        ]
    }

    /// Over the streams of a program; gives what devshell has to be told for it.
    fn over_stdio(&self) -> Vec<String> {
        let argv = [
            devshell_vm().display().to_string(),
            "--serve-stdio".to_owned(),
            "--root".to_owned(),
            self.project.beside("root").display().to_string(),
        ];
        vec![
            "vm.beta.socket=stdio".to_owned(),
            format!("vm.beta.command={}", serde_json::json!(argv)),
        ]
    }

    fn exec(&self, more: &[&str], script: &str) -> Ran {
        let args: Vec<&str> = ["exec"]
            .iter()
            .chain(more)
            .chain(&["--", "sh", "-c", script])
            .copied()
            .collect();
        self.project.devshell(&args)
    }

    /// The folder of the project's tree at the sidecar.
    fn far(&self) -> PathBuf {
        let trees = self.project.beside("root/.devshell-trees");
        let mut keys: Vec<PathBuf> = std::fs::read_dir(trees)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        assert_eq!(keys.len(), 1, "{keys:?}");
        let name = self.project.path("").file_name().unwrap().to_owned();
        keys.remove(0).join("tree").join(name)
    }
}

/// The events of a run with `--output json`.
fn events(ran: &Ran) -> Vec<Value> {
    let out = ran.out();
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Files, bytes and deletions of the `sync_finished` events of one direction.
fn synced(events: &[Value], direction: &str) -> Vec<[u64; 3]> {
    events
        .iter()
        .filter(|event| event["type"] == "sync_finished" && event["direction"] == direction)
        .map(|event| ["files", "bytes", "deleted"].map(|field| event[field].as_u64().unwrap()))
        .collect()
}
