//! The sidecar backend: whether somebody listens where the config says.

use std::io;
use std::net::{TcpStream, ToSocketAddrs as _};
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use crate::plan::SidecarAddress;
use crate::quote::command_line;
use crate::runner::chain;
use crate::session::sidecar::{Greeting, greet};

use super::Case;
use super::facts::{program, text};
use super::remote::version;
use super::report::{Check, State};

/// Somebody who listens takes a connection at once.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) fn checks(case: &Case) -> Vec<Check> {
    let beta = &case.config.vm.beta;
    let mut checks = vec![version("beta")];
    match beta.socket.as_deref().map(Socket::of) {
        None => checks.push(
            Check::problem("socket", "vm.beta.socket is not set")
                .mended_by("export DEVSHELL_VM_SOCKET=unix:/run/devshell.sock"),
        ),
        Some(Socket::Stdio) => checks.push(command(case)),
        Some(Socket::Unix(path)) => checks.push(unix(path)),
        Some(Socket::Tcp(address)) => {
            checks.push(tcp(address));
            checks.extend(beta.token_file.as_deref().map(token));
        }
    }
    if checks.iter().all(|check| check.state != State::Problem) {
        checks.push(handshake(case));
    }
    checks
}

/// Whether it is a sidecar that answers, as a run would ask it.
fn handshake(case: &Case) -> Check {
    let name = "handshake";
    let beta = &case.config.vm.beta;
    let address = SidecarAddress::new(beta.socket.as_deref(), beta.command.as_deref());
    match greet(&address, beta.token_file.as_deref()) {
        Ok(Greeting { server, capabilities }) if capabilities.is_empty() => Check::warning(
            name,
            format!("{server} speaks version 1 of the protocol only: no live output, no way to stop a tool"),
        ),
        Ok(Greeting { server, capabilities }) => Check::ok(name, format!("{server}: {}", capabilities.join(", "))),
        Err(error) => Check::problem(name, chain(&error)).mended_by("devshell-vm --help"),
    }
}

/// `vm.beta.socket`, read.
#[derive(Debug, PartialEq, Eq)]
enum Socket {
    Unix(PathBuf),
    Tcp(String),
    Stdio,
}

impl Socket {
    /// The config has checked its form.
    fn of(text: &str) -> Self {
        match text.split_once(':') {
            Some(("tcp", address)) => Self::Tcp(address.to_owned()),
            Some(("unix", path)) => Self::Unix(path.into()),
            _ if text == "stdio" => Self::Stdio,
            _ => Self::Unix(text.into()),
        }
    }
}

/// An open connection to who listens.
#[derive(Debug)]
enum Connection {
    Unix(UnixStream),
    Tcp(TcpStream),
}

/// What an open connection tells of its other end before a word is said.
fn answered(connection: &Connection) -> String {
    match connection {
        Connection::Unix(stream) => rustix::net::sockopt::socket_peercred(stream).map_or_else(
            |_| "somebody listens".to_owned(),
            |peer| format!("process {} listens", peer.pid.as_raw_nonzero()),
        ),
        Connection::Tcp(stream) => stream.peer_addr().map_or_else(
            |_| "somebody listens".to_owned(),
            |peer| format!("somebody listens at {peer}"),
        ),
    }
}

fn unix(path: PathBuf) -> Check {
    let name = "socket";
    let shown = text(&path);
    let serve = command_line(["devshell-vm", "--serve-socket", &shown]);
    match path.metadata() {
        Err(error) => return Check::problem(name, format!("`{shown}`: {error}")).mended_by(serve),
        Ok(found) if !found.file_type().is_socket() => {
            return Check::problem(name, format!("`{shown}` is no socket")).mended_by("export DEVSHELL_VM_SOCKET=...");
        }
        Ok(_) => {}
    }
    match within(move || UnixStream::connect(path)) {
        Ok(stream) => Check::ok(name, format!("`{shown}`: {}", answered(&Connection::Unix(stream)))),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let uid = crate::sys::fs::caller().0.to_string();
            let serve = command_line(["devshell-vm", "--serve-socket", &shown, "--allow-uid", &uid]);
            Check::problem(name, format!("`{shown}`: {error}; it is another user's")).mended_by(serve)
        }
        Err(error) => Check::problem(name, format!("`{shown}`: {error}")).mended_by(serve),
    }
}

fn tcp(address: String) -> Check {
    let name = "socket";
    let shown = address.clone();
    // Looking the name up takes what it takes.
    let connected = within(move || {
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for peer in address.to_socket_addrs()? {
            match TcpStream::connect_timeout(&peer, PATIENCE) {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    });
    match connected {
        Ok(stream) => Check::ok(name, format!("tcp:{shown}: {}", answered(&Connection::Tcp(stream)))),
        Err(error) => Check::problem(name, format!("tcp:{shown}: {error}")).mended_by(command_line([
            "devshell-vm",
            "--serve-tcp",
            &shown,
        ])),
    }
}

/// Does something that may hang in a thread of its own, which is given up after a while.
fn within<T: Send + 'static>(act: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    let (sender, receiver) = mpsc::sync_channel(1);
    std::thread::Builder::new()
        .name("doctor-connect".to_owned())
        .spawn(move || sender.send(act()))?;
    let late = || {
        io::Error::new(
            io::ErrorKind::TimedOut,
            format!("no answer within {} s", PATIENCE.as_secs()),
        )
    };
    receiver.recv_timeout(PATIENCE).unwrap_or_else(|_| Err(late()))
}

fn token(path: &Path) -> Check {
    match std::fs::File::open(path) {
        Ok(_) => Check::ok("token_file", format!("`{}` can be read", path.display())),
        Err(error) => Check::problem("token_file", format!("`{}` cannot be read: {error}", path.display()))
            .mended_by(command_line(["ls", "-l", &text(path)])),
    }
}

/// With `stdio` the sidecar is started anew for each run.
fn command(case: &Case) -> Check {
    let name = "command";
    let Some(wanted) = case.config.vm.beta.command.as_ref().and_then(|command| command.first()) else {
        return Check::problem(name, "vm.beta.command is not set, and `stdio` needs it")
            .mended_by("devshell run --set 'vm.beta.command=[\"devshell-vm\", \"--serve-stdio\"]'");
    };
    match program(case, wanted) {
        Some(place) => Check::ok(name, format!("`{}`", place.display())),
        None => Check::problem(name, format!("`{wanted}` is not in PATH"))
            .mended_by(command_line(["command", "-v", wanted])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;
    use std::os::unix::net::UnixListener;

    #[test]
    fn sockets_are_read_as_the_config_writes_them() {
        assert_eq!(Socket::of("unix:/a:b"), Socket::Unix("/a:b".into()));
        assert_eq!(Socket::of("/run/x.sock"), Socket::Unix("/run/x.sock".into()));
        assert_eq!(Socket::of("run/x.sock"), Socket::Unix("run/x.sock".into()));
        assert_eq!(Socket::of("tcp:[::1]:99"), Socket::Tcp("[::1]:99".into()));
        assert_eq!(Socket::of("stdio"), Socket::Stdio);
    }

    #[test]
    fn a_socket_is_usable_only_while_somebody_listens() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("s");
        assert_eq!(unix(path.clone()).state, State::Problem);
        let listener = UnixListener::bind(&path).unwrap();
        assert_eq!(unix(path.clone()).state, State::Ok);
        drop(listener);
        let dead = unix(path.clone());
        assert_eq!(dead.state, State::Problem);
        assert!(
            dead.remedy
                .is_some_and(|remedy| remedy.starts_with("devshell-vm --serve-socket"))
        );
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "").unwrap();
        assert!(unix(path).found.ends_with("is no socket"));
    }

    #[test]
    fn a_port_that_nobody_listens_on_is_told_with_what_would() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        assert_eq!(tcp(address.clone()).state, State::Ok);
        drop(listener);
        let closed = tcp(address.clone());
        assert_eq!(closed.state, State::Problem);
        assert_eq!(closed.remedy, Some(format!("devshell-vm --serve-tcp {address}")));
    }

    #[test]
    fn what_hangs_is_given_up() {
        let (_hold, never) = mpsc::channel::<()>();
        let hung = within(move || {
            let _ = never.recv();
            Ok(())
        });
        assert_eq!(hung.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
