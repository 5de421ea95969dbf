//! Who gets in, and where a server can be reached at all.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};

use serde_json::json;

use super::peer::{Client, Server, Sidecar, Transport, devshell_vm};
use crate::support::{has, is_root, not_run, wait_for};

/// Runs a server that is expected not to come up; gives its exit code and what it said.
fn refused(mut command: Command) -> (Option<i32>, String) {
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let mut server = Server::spawn(command);
    let code = server.end();
    wait_for(|| !server.said().is_empty(), "a reason");
    std::thread::sleep(std::time::Duration::from_millis(20));
    (code, server.said())
}

#[test]
fn a_socket_is_its_owners_alone_and_goes_with_the_server() {
    let mut sidecar = Sidecar::new(Transport::Unix);
    let meta = std::fs::symlink_metadata(sidecar.socket()).unwrap();
    assert_eq!(meta.permissions().mode() & 0o7777, 0o600);
    assert_eq!(
        std::fs::read_dir(sidecar.path("run")).unwrap().count(),
        1,
        "nothing else is made"
    );
    sidecar.server_mut().signal("TERM");
    assert_eq!(sidecar.server_mut().end(), Some(0));
    assert!(!sidecar.socket().exists());
}

#[test]
fn a_live_servers_socket_is_not_stolen() {
    let sidecar = Sidecar::new(Transport::Unix);
    let (code, said) = refused(sidecar.command());
    assert_eq!(code, Some(69));
    assert!(said.contains("address in use"), "{said}");
    assert!(said.contains(sidecar.socket().to_str().unwrap()), "{said}");
    sidecar.serves_others();
}

#[test]
fn a_dead_servers_socket_is_replaced_and_nothing_else_is() {
    let mut sidecar = Sidecar::new(Transport::Unix);
    sidecar.server_mut().signal("KILL");
    sidecar.server_mut().end();
    let dead = std::fs::symlink_metadata(sidecar.socket()).unwrap().ino();
    let mut server = Server::spawn(sidecar.command());
    server.says("listening on ");
    assert_ne!(std::fs::symlink_metadata(sidecar.socket()).unwrap().ino(), dead);
    UnixStream::connect(sidecar.socket()).unwrap();
    server.signal("TERM");
    assert_eq!(server.end(), Some(0));
    let refuse = |what: &str| {
        let (code, said) = refused(sidecar.command());
        assert_eq!(code, Some(69), "{what}: {said}");
        assert!(said.contains("is no socket"), "{what}: {said}");
    };
    std::fs::write(sidecar.socket(), "precious").unwrap();
    refuse("a file");
    assert_eq!(std::fs::read(sidecar.socket()).unwrap(), b"precious");
    std::fs::remove_file(sidecar.socket()).unwrap();
    symlink(sidecar.path("outside/kept"), sidecar.socket()).unwrap();
    refuse("a link");
    assert!(sidecar.socket().is_symlink());
    std::fs::remove_file(sidecar.socket()).unwrap();
    std::fs::create_dir(sidecar.socket()).unwrap();
    refuse("a folder");
    assert!(sidecar.path("outside/kept").exists());
}

#[test]
fn of_many_servers_at_once_one_gets_the_socket_also_when_a_dead_one_lies_there() {
    let mut sidecar = Sidecar::new(Transport::Unix);
    sidecar.server_mut().signal("KILL");
    sidecar.server_mut().end();
    for _ in 0..5 {
        let mut servers: Vec<_> = (0..6).map(|_| Server::spawn(sidecar.command())).collect();
        wait_for(
            || servers.iter().all(|server| server.said().contains('\n')),
            "each to have listened or given up",
        );
        let listening: Vec<_> = servers
            .iter()
            .map(|server| server.said().contains("listening on"))
            .collect();
        assert_eq!(
            listening.iter().filter(|listening| **listening).count(),
            1,
            "{listening:?}"
        );
        let mut client = Client::unix(UnixStream::connect(sidecar.socket()).unwrap());
        client.say(&sidecar.handshake(None));
        client.hears("handshake_ok");
        // The next round finds a dead one.
        for (server, listening) in servers.iter_mut().zip(listening) {
            if listening {
                server.signal("KILL");
                server.end();
            } else {
                assert_eq!(server.end(), Some(69));
            }
        }
        assert_eq!(std::fs::read_dir(sidecar.path("run")).unwrap().count(), 1);
    }
}

#[test]
fn a_socket_in_a_folder_that_others_may_write_is_refused_with_the_remedy() {
    let sidecar = Sidecar::new(Transport::Unix);
    let open = sidecar.path("open");
    std::fs::create_dir(&open).unwrap();
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o1777)).unwrap();
    let mut command = sidecar.bare_command();
    command.arg("--serve-socket").arg(open.join("s"));
    let (code, said) = refused(command);
    assert_eq!(code, Some(69));
    assert!(
        said.contains("can be written by others") && said.contains("mkdir -m 700"),
        "{said}"
    );
    let mut command = sidecar.bare_command();
    command.arg("--serve-socket").arg(sidecar.path("none/s"));
    assert_eq!(refused(command).0, Some(69));
}

/// A client under another uid that greets; gives what it hears.
fn greet_as(uid: u32, sidecar: &Sidecar) -> String {
    let script = r#"
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.settimeout(60)
s.connect(sys.argv[1])
try:
    s.sendall(b'{"op":"handshake","version":1}\n')
    print(s.recv(4096).decode(), end='')
except OSError:
    pass
"#;
    let output = Command::new("setpriv")
        .args([
            &format!("--reuid={uid}"),
            &format!("--regid={uid}"),
            "--clear-groups",
            "/usr/bin/env",
            "python3",
            "-c",
            script,
        ])
        .arg(sidecar.socket())
        .env("PATH", "/usr/bin:/bin")
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn another_user_is_let_in_only_when_that_was_said_also_where_modes_would_let_it() {
    let test = "another_user_is_let_in_only_when_that_was_said";
    let system = Command::new("/usr/bin/env")
        .env("PATH", "/usr/bin:/bin")
        .args(["python3", "-V"])
        .output();
    if !is_root() || !has("setpriv") || !system.is_ok_and(|output| output.status.success()) {
        return not_run(test, "needs root, setpriv and a python3 of the system");
    }
    let sidecar = Sidecar::with(Transport::Unix, &["--allow-uid", "65533"]);
    // Somebody has opened everything.
    for path in [sidecar.path("run"), sidecar.path("")] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).unwrap();
    }
    let mode = sidecar.socket().metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o666, "whoever is let in can come");
    assert_eq!(greet_as(65534, &sidecar), "");
    assert!(sidecar.server().says("event=stranger ").contains("uid=65534"));
    assert!(greet_as(65533, &sidecar).contains("handshake_ok"));
    assert!(greet_as(0, &sidecar).contains("handshake_ok"));
    sidecar.serves_others();
}

#[test]
fn without_the_token_nothing_is_answered_over_tcp() {
    let sidecar = Sidecar::new(Transport::Tcp);
    let mut wrong = sidecar.connect();
    wrong.say(&json!({"op": "handshake", "version": 1, "token": "wrong"}));
    assert_eq!(wrong.hears("error")["code"], "unauthorized");
    wrong.hears_the_end();
    // A second try on the same connection is not to be had.
    let mut twice = sidecar.connect();
    twice.send(b"{\"op\":\"handshake\",\"version\":1}\n");
    twice.say(&sidecar.handshake(None));
    assert_eq!(twice.hears("error")["code"], "unauthorized");
    twice.hears_the_end();
    for line in ["", "GET / HTTP/1.1\r\n", "{\"op\":\"ping\"}\n", "\n", "{\n", "[]\n"] {
        let mut other = sidecar.connect();
        other.send(line.as_bytes());
        if line.is_empty() {
            other.end_input();
        }
        other.hears_the_end();
    }
    sidecar.serves_others();
}

#[test]
fn a_web_page_can_run_nothing_also_without_a_token() {
    let sidecar = Sidecar::with(Transport::Tcp, &["--insecure-no-token"]);
    let staging = sidecar.staging();
    let body = format!(
        "{}\n{}\n{}\n",
        json!({"op": "handshake", "version": 1}),
        json!({"op": "session_start", "session_id": "s", "staging_dir": staging}),
        super::peer::exec(&["touch", "made"])
    );
    let mut page = sidecar.connect();
    page.send(
        format!(
            "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .as_bytes(),
    );
    page.hears_the_end();
    sidecar.serves_others();
    assert!(!staging.join("made").exists());
}

#[test]
fn a_token_is_made_where_none_is_given_and_its_file_is_the_owners_alone() {
    let sidecar = Sidecar::new(Transport::Stdio);
    let mut command = sidecar.bare_command();
    command
        .args(["--serve-tcp", "127.0.0.1:0", "-v"])
        .arg("--root")
        .arg(sidecar.path("root"));
    let mut server = Server::spawn(command);
    let path = std::path::PathBuf::from(server.says("token written to "));
    let address = server.says("listening on tcp:");
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
    let token = std::fs::read_to_string(&path).unwrap();
    assert!(token.trim_end().len() >= 32, "{token}");
    let connect = || Client::tcp(TcpStream::connect(&address).unwrap());
    let mut client = connect();
    client.say(&json!({"op": "handshake", "version": 1, "token": token.trim_end()}));
    client.hears("handshake_ok");
    let mut client = connect();
    client.say(&json!({"op": "handshake", "version": 1}));
    assert_eq!(client.hears("error")["code"], "unauthorized");
    server.signal("TERM");
    assert_eq!(server.end(), Some(0));
    assert!(!path.exists(), "the file goes with the server");
    assert!(!server.said().contains(token.trim_end()), "it is never said");
}

#[test]
fn token_files_are_read_as_they_should_be() {
    let sidecar = Sidecar::new(Transport::Stdio);
    let try_file = |content: Option<&[u8]>| {
        let path = sidecar.path("given");
        let _ = std::fs::remove_file(&path);
        if let Some(content) = content {
            std::fs::write(&path, content).unwrap();
        }
        let mut command = sidecar.bare_command();
        command.args(["--serve-tcp", "127.0.0.1:0", "--token-file"]).arg(&path);
        refused(command)
    };
    for (content, word) in [
        (None, "cannot be read"),
        (Some(&b""[..]), "is empty"),
        (Some(b"\n"), "is empty"),
        (Some(b"\xff\xfe"), "not UTF-8"),
        (Some(&[b'x'; 5000]), "longer than"),
    ] {
        let (code, said) = try_file(content);
        assert_eq!(code, Some(64), "{said}");
        assert!(said.contains(word), "{said}");
    }
}

#[test]
fn no_token_is_for_loopback_only() {
    let sidecar = Sidecar::new(Transport::Stdio);
    for address in ["0.0.0.0:0", "[::]:0"] {
        let mut command = sidecar.bare_command();
        command.args(["--serve-tcp", address, "--insecure-no-token"]);
        let (code, said) = refused(command);
        assert_eq!(code, Some(64), "{said}");
        assert!(said.contains("loopback only"), "{said}");
    }
    // A token that others may read is one all the same; containers mount secrets so.
    let sidecar = Sidecar::new(Transport::Tcp);
    std::fs::set_permissions(sidecar.path("token"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let server = Server::spawn(sidecar.command());
    server.says("other users may read the token file");
    server.says("listening on ");
    let sidecar = Sidecar::with(Transport::Tcp, &["--insecure-no-token"]);
    let mut client = sidecar.connect();
    client.say(&json!({"op": "handshake", "version": 1}));
    client.hears("handshake_ok");
}

#[test]
fn an_address_that_is_taken_or_none_is_told_of() {
    let sidecar = Sidecar::new(Transport::Tcp);
    let taken = format!("127.0.0.1:{}", sidecar.server().says("listening on tcp:127.0.0.1:"));
    for (address, code, word) in [
        (taken.as_str(), 69, "in use"),
        ("127.0.0.1", 64, "HOST:PORT"),
        ("127.0.0.1:", 64, "HOST:PORT"),
        (":7070", 64, "HOST:PORT"),
        ("127.0.0.1:70000", 64, "HOST:PORT"),
        ("192.0.2.1:7070", 69, "cannot listen"),
    ] {
        let mut command = sidecar.bare_command();
        command
            .args(["--serve-tcp", address, "--token-file"])
            .arg(sidecar.path("token"));
        let (found, said) = refused(command);
        assert_eq!(found, Some(code), "{address}: {said}");
        assert!(said.contains(word), "{address}: {said}");
    }
}

/// Starts a server with sockets handed over, as systemd does it.
fn inherit(sidecar: &Sidecar, listener: &UnixListener, pid: &str) -> Command {
    use std::os::fd::AsRawFd as _;
    // Plain shells know descriptors of one digit only.
    let mut command = Command::new("bash");
    let number = listener.as_raw_fd();
    // The descriptor is this process's own and close-on-exec: the shell gets it by its path.
    let script = format!("exec 3<&{number}; LISTEN_FDS=1 LISTEN_PID={pid} exec \"$@\"");
    command
        .args(["-c", &script, "sh"])
        .arg(devshell_vm())
        .arg("--root")
        .arg(sidecar.path("root"))
        .current_dir(sidecar.path(""))
        .stdin(Stdio::null());
    rustix::io::fcntl_setfd(listener, rustix::io::FdFlags::empty()).unwrap();
    command
}

#[test]
fn a_socket_that_was_handed_over_is_served_and_left_at_the_end() {
    let sidecar = Sidecar::new(Transport::Stdio);
    let path = sidecar.path("run/handed");
    let listener = UnixListener::bind(&path).unwrap();
    let mut server = Server::spawn(inherit(&sidecar, &listener, "$$"));
    server.says("listening on ");
    let mut client = Client::unix(UnixStream::connect(&path).unwrap());
    client.say(&json!({"op": "handshake", "version": 1}));
    client.hears("handshake_ok");
    client.say(&json!({"op": "session_start", "session_id": "s", "staging_dir": sidecar.staging()}));
    client.hears("session_ok");
    let result = client.exec(&["sh", "-c", "echo $LISTEN_FDS; ls /proc/self/fd | wc -l"]);
    // Tools get neither the variables nor the socket.
    assert_eq!(result["stdout_base64"], devshell::sidecar::to_base64(b"\n4\n"));
    server.signal("TERM");
    assert_eq!(server.end(), Some(0));
    assert!(path.exists(), "it is the manager's");
    // One that is meant for another process is none.
    let (code, said) = refused(inherit(&sidecar, &listener, "1"));
    assert_eq!(code, Some(64), "{said}");
}

#[test]
fn a_service_manager_can_start_it_at_the_first_client() {
    let test = "a_service_manager_can_start_it_at_the_first_client";
    if !has("systemd-socket-activate") {
        return not_run(test, "there is no systemd-socket-activate here");
    }
    let sidecar = Sidecar::new(Transport::Stdio);
    let path = sidecar.path("run/activated");
    let mut command = Command::new("systemd-socket-activate");
    command
        .arg("-l")
        .arg(&path)
        .arg(devshell_vm())
        .arg("--root")
        .arg(sidecar.path("root"))
        .args(["--idle-exit", "300ms"])
        .stdin(Stdio::null());
    let mut manager = Server::spawn(command);
    // It is there before it listens.
    let mut stream = None;
    wait_for(
        || {
            stream = UnixStream::connect(&path).ok();
            stream.is_some()
        },
        "the socket",
    );
    let mut client = Client::unix(stream.unwrap());
    client.say(&json!({"op": "handshake", "version": 1}));
    client.hears("handshake_ok");
    drop(client);
    // It has become the server, which ends when nobody is there.
    assert_eq!(manager.end(), Some(0), "{}", manager.said());
}

#[test]
fn several_places_can_be_served_at_once() {
    let sidecar = Sidecar::with(
        Transport::Unix,
        &["--serve-tcp", "127.0.0.1:0", "--token-file", "token"],
    );
    sidecar.serves_others();
    let address = sidecar.server().says("listening on tcp:");
    let mut client = Client::tcp(TcpStream::connect(&address).unwrap());
    client.say(&json!({"op": "handshake", "version": 1, "token": "open sesame"}));
    client.hears("handshake_ok");
    let mut bare = TcpStream::connect(&address).unwrap();
    bare.write_all(b"{\"op\":\"handshake\",\"version\":1}\n").unwrap();
    let mut said = String::new();
    bare.read_to_string(&mut said).unwrap();
    assert!(said.contains("unauthorized"), "{said}");
}
