//! The sidecar backend as its users meet it: a real `devshell-vm` behind each transport, and
//! servers that are not what they should be.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use devshell::{SessionHolder, Vfs, VmConfig};

use crate::support::{
    Killed, Project, Ran, Random, Running, devshell_vm, finish, free_port, number, processes_with, say, wait_for,
};

/// A project whose tools run at a sidecar.
struct Remote {
    project: Project,
    server: Option<Killed>,
}

impl Remote {
    /// With a sidecar on a Unix socket that serves the folder that both share.
    fn new(toml: &str) -> Self {
        let mut remote = Self::without_server(toml);
        remote.serve();
        remote
    }

    fn without_server(toml: &str) -> Self {
        let project = Project::new("");
        let socket = project.beside("s.sock");
        let head = format!(
            "[vm]\nbackend = \"beta\"\nworkspace_parent = {:?}\n[vm.beta]\nsocket = \"unix:{}\"\n",
            project.beside("shared"),
            socket.display()
        );
        std::fs::create_dir(project.beside("shared")).unwrap();
        project.write("devshell.toml", head + toml);
        Self { project, server: None }
    }

    fn server(&self, args: &[&str]) -> Child {
        let child = Command::new(devshell_vm())
            .args(args)
            .arg("--root")
            .arg(self.project.beside("shared"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        child.unwrap()
    }

    fn serve(&mut self) {
        let socket = self.project.beside("s.sock");
        let child = self.server(&["--serve-socket", socket.to_str().unwrap()]);
        self.server = Some(Killed(child));
        wait_for(|| UnixStream::connect(&socket).is_ok(), "the sidecar listens");
    }

    fn kill_server(&mut self) {
        let mut server = self.server.take().unwrap();
        server.0.kill().unwrap();
        server.0.wait().unwrap();
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
}

const TWO: &str = r#"
[[tool]]
name = "change"
script = "echo out; echo err >&2; echo new > made; rm gone; chmod 755 mode; ln -sf made link; mkdir -p deep/er; cat 'a b'"
[[tool]]
name = "look"
script = "cat made; test ! -e gone; test -L link"
"#;

#[test]
fn the_list_runs_at_the_sidecar_and_the_result_comes_home() {
    let remote = Remote::new(TWO);
    let project = &remote.project;
    project.write("gone", "x");
    project.write("mode", "x");
    project.write("a b", "blank\n");
    let ran = project.run();
    ran.code(0).says("beta, isolation").says("committed");
    assert_eq!(ran.out(), "out\nblank\nnew\n");
    ran.says("err");
    assert_eq!(project.read("made"), "new\n");
    assert!(!project.exists("gone") && project.path("deep/er").is_dir());
    assert_eq!(std::fs::read_link(project.path("link")).unwrap(), PathBuf::from("made"));
    let mode = std::os::unix::fs::PermissionsExt::mode(&project.path("mode").metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o755);
    // What the commit wrote is carried once more; then only what changed is.
    std::thread::sleep(Duration::from_millis(60));
    remote.exec(&[], "true").code(0);
    std::thread::sleep(Duration::from_millis(60));
    project.write("gone", "again");
    let again = project.devshell(&["exec", "--output", "json", "--", "true"]);
    let out = again.code(0).out();
    let push = out
        .lines()
        .find(|line| line.contains("sync_finished") && line.contains("push"))
        .unwrap();
    assert!(push.contains("\"files\":1,"), "{push}");
}

#[test]
fn ends_are_told_apart_and_a_failed_run_leaves_the_tree_alone() {
    let remote = Remote::new("");
    let project = &remote.project;
    project.write("file", "old");
    let before = project.tree();
    let failed = remote.exec(&[], "echo half > file; exit 7");
    assert!(
        project
            .devshell(&["results", "diff", failed.code(7).kept()])
            .code(0)
            .out()
            .contains("+half")
    );
    remote.exec(&[], "kill -9 $$").code(137);
    remote.exec(&[], "exit 255").code(255);
    project
        .devshell(&["exec", "--", "no-such-program"])
        .code(127)
        .says("PATH");
    project.devshell(&["exec", "--", "./file"]).code(126);
    project
        .devshell(&["run", "--set", "tool.t.cwd=nowhere", "--set", "tool.t.run=[\"true\"]"])
        .code(78);
    assert_eq!(project.tree(), before);
}

#[test]
fn a_timeout_and_a_signal_leave_nothing_running_there() {
    let remote = Remote::new("");
    let mark = format!("{}.{}", 4000 + std::process::id() % 1000, std::process::id());
    let script = format!("setsid sleep {mark} & trap '' TERM; echo on; sleep {mark}; sleep {mark}");
    remote
        .exec(
            &["--set", "vm.exec_timeout=700ms", "--set", "run.grace_period=300ms"],
            &script,
        )
        .code(124);
    wait_for(|| processes_with(&mark).is_empty(), "nothing of the tool is left");
    let marker = remote.project.beside("started");
    let script = format!("touch {}; sleep {mark}", marker.display());
    let running = remote
        .project
        .start_until(&["exec", "--", "sh", "-c", &script], &marker);
    running.signal("INT");
    running.end().code(130);
    wait_for(|| processes_with(&mark).is_empty(), "nothing of the tool is left");
}

#[test]
fn a_program_s_streams_serve_as_well_with_stdin_for_the_tool() {
    let remote = Remote::without_server("");
    let program = devshell_vm();
    let root = remote.project.beside("shared");
    let argv = format!("[{program:?}, \"--serve-stdio\", \"--root\", {root:?}]");
    let mut command = remote.project.command([
        "exec",
        "--set",
        "vm.beta.socket=stdio",
        "--set",
        &format!("vm.beta.command={argv}"),
        "--",
        "sh",
        "-c",
        "cat; printf '\\377\\000'",
    ]);
    let given: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
    let file = remote.project.beside("stdin");
    std::fs::write(&file, &given).unwrap();
    command.stdin(std::fs::File::open(file).unwrap());
    let ran = finish(command);
    ran.code(0);
    assert!(
        ran.stdout == [&given[..], b"\xff\x00"].concat(),
        "{} bytes came back",
        ran.stdout.len()
    );
    // One that cannot be started, and one that ends at once, say so.
    for (argv, said) in [
        ("[\"/no/such/sidecar\"]", "cannot be reached"),
        ("[\"sh\", \"-c\", \"echo no luck >&2; exit 3\"]", "no luck"),
    ] {
        let set = format!("vm.beta.command={argv}");
        let more = ["--set", "vm.beta.socket=stdio", "--set", &set];
        remote.exec(&more, "true").code(69).says(said);
    }
}

#[test]
fn over_tcp_the_token_opens_the_door() {
    let remote = Remote::without_server("");
    let (address, token) = (format!("127.0.0.1:{}", free_port()), remote.project.beside("token"));
    std::fs::write(&token, "open sesame\n").unwrap();
    std::fs::set_permissions(&token, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let _server = Killed(remote.server(&["--serve-tcp", &address, "--token-file", token.to_str().unwrap()]));
    wait_for(|| std::net::TcpStream::connect(&address).is_ok(), "the sidecar listens");
    let socket = format!("vm.beta.socket=tcp:{address}");
    let file = format!("vm.beta.token_file={}", token.display());
    remote.exec(&["--set", &socket, "--set", &file], "echo in").code(0);
    let refused = remote.exec(&["--set", &socket], "true");
    refused.code(69).says("token_file");
}

#[test]
fn a_folder_that_is_not_shared_is_69_with_both_ways_out() {
    // One that the tree cannot be carried to either: an older `devshell-vm`.
    let remote = Remote::without_server("");
    scripted(&remote, |mut lines, mut stream| {
        for said in [
            r#"{"op":"handshake_ok","version":1,"capabilities":["request_id","exec_stream"]}"#,
            r#"{"op":"error","code":"forbidden","message":"not beneath a root","id":2}"#,
        ] {
            let _ = lines.read_line(&mut String::new());
            let _ = writeln!(stream, "{said}");
        }
    });
    let ran = remote.exec(&[], "true");
    ran.code(69)
        .says("session_staging")
        .says("--workspace-mode guest")
        .says("`transfer`");
    let remote = Remote::new("");
    // Shared, and under another name there.
    let other = remote.project.beside("by another name");
    std::os::unix::fs::symlink(remote.project.beside("shared"), &other).unwrap();
    let set = format!("vm.beta.session_staging={}", remote.project.beside("shared").display());
    let parent = format!("vm.workspace_parent={}", other.display());
    remote
        .exec(&["--set", &set, "--set", &parent], "echo yes > made")
        .code(0);
    assert_eq!(remote.project.read("made"), "yes\n");
}

#[test]
fn in_guest_mode_inputs_go_in_and_outputs_come_out_and_nothing_else() {
    let toml = r#"
[workspace]
inputs = ["src/**", "run.sh"]
outputs = ["out/app", "dist"]
[[tool]]
name = "build"
script = "./run.sh; test ! -e secret; echo kept > not-an-output"
"#;
    let remote = Remote::without_server(toml);
    let project = &remote.project;
    let text = project
        .read("devshell.toml")
        .replace("backend = \"beta\"", "backend = \"beta\"\nworkspace_mode = \"guest\"");
    project.write("devshell.toml", text);
    let mut remote = remote;
    remote.serve();
    let project = &remote.project;
    // The tree over there is the sidecar's own.
    let key = devshell::plan::workspace_key(&project.root);
    std::fs::create_dir(project.beside("shared").join(&key)).unwrap();
    project.write("secret", "stays here");
    project.write("src/deep/in.txt", "input\n");
    std::os::unix::fs::symlink("in.txt", project.path("src/deep/link")).unwrap();
    project.write("dist/stale", "of an earlier build");
    project.write(
        "run.sh",
        "#!/bin/sh\nmkdir -p out dist\ncat src/deep/link > out/app\nchmod 755 out/app\necho d > dist/new\n",
    );
    std::fs::set_permissions(
        project.path("run.sh"),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    project.run().code(0);
    assert_eq!(project.read("out/app"), "input\n");
    let mode = std::os::unix::fs::PermissionsExt::mode(&project.path("out/app").metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o755);
    assert_eq!(project.read("dist/new"), "d\n");
    assert!(
        !project.exists("dist/stale"),
        "a folder that is named as a whole is what the guest has"
    );
    assert!(!project.exists("not-an-output") && project.exists("secret"));
    // One that is named and missing is 74, and the tree stays.
    let before = project.tree();
    let missing = project.devshell(&["run", "--set", "workspace.outputs=[\"nowhere\"]"]);
    missing.code(74).says("nowhere");
    assert_eq!(project.tree(), before);
}

/// What a scripted server says to one connection.
fn scripted(remote: &Remote, mut serve: impl FnMut(BufReader<UnixStream>, UnixStream) + Send + 'static) {
    let listener = UnixListener::bind(remote.project.beside("s.sock")).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            serve(BufReader::new(stream.try_clone().unwrap()), stream);
        }
    });
}

#[test]
fn whatever_is_not_the_protocol_is_76_with_its_first_bytes() {
    for (said, shown) in [
        ("HTTP/1.1 400 Bad Request\r\n\r\n", "HTTP/1.1 400"),
        ("\u{7f}ELF\u{1}\n", "\\x7fELF"),
        ("{\"op\":\"session_ok\"}\n", "session_ok"),
        ("{\"op\":\"handshake_ok\",\"version\":2}\n", "version 2"),
        ("[1,2]\n", "[1,2]"),
    ] {
        let remote = Remote::without_server("");
        scripted(&remote, move |mut lines, mut stream| {
            let mut line = String::new();
            let _ = lines.read_line(&mut line);
            let _ = stream.write_all(said.as_bytes());
            let _ = lines.read_line(&mut line);
        });
        remote.exec(&[], "true").code(76).says(shown);
    }
    // One that closes the door without a word was not there.
    let remote = Remote::without_server("");
    scripted(&remote, |_, _| {});
    remote.exec(&[], "true").code(69).says("was lost at `handshake`");
}

/// The original's server, as far as the table of version 1 says: one reply line a request, whatever is asked; guest_fs and
/// exec for real, the output on its own stderr.
fn version_1(remote: &Remote, exit_line: &'static str) {
    version_1_pulling(remote, exit_line, Some(r#"{"op":"sync_ok","session_id":"x"}"#));
}

/// As that; what it says of a pull, or nothing at all any more.
fn version_1_pulling(remote: &Remote, exit_line: &'static str, pull_line: Option<&'static str>) {
    let shared = remote.project.beside("shared");
    scripted(remote, move |mut lines, mut stream| {
        let mut staging = shared.clone();
        let mut line = String::new();
        while lines.read_line(&mut line).is_ok_and(|length| length > 0) {
            let request: serde_json::Value = serde_json::from_str(&line).unwrap();
            assert!(request.get("id").is_none(), "version 1 knows no ids: {line}");
            line.clear();
            let text = |key: &str| request[key].as_str().unwrap_or_default().to_owned();
            let inside = |guest: String| staging.join(guest.trim_start_matches("/workspace").trim_start_matches('/'));
            let reply = match text("op").as_str() {
                "handshake" => r#"{"op":"handshake_ok","version":1,"server":"old","server_version":"0"}"#.to_owned(),
                "session_start" => {
                    staging = PathBuf::from(text("staging_dir"));
                    r#"{"op":"session_ok","session_id":"x"}"#.to_owned()
                }
                "sync_request" if text("direction") == "pull_from_guest" => match pull_line {
                    Some(line) => line.to_owned(),
                    None => return,
                },
                "sync_request" => r#"{"op":"sync_ok","session_id":"x"}"#.to_owned(),
                "guest_fs" => match std::fs::read(inside(text("guest_path"))) {
                    Ok(bytes) => format!(
                        r#"{{"op":"guest_fs_ok","session_id":"x","content_base64":"{}"}}"#,
                        devshell::sidecar::to_base64(&bytes)
                    ),
                    Err(_) => {
                        r#"{"op":"guest_fs_error","session_id":"x","code":"not_found","message":"no"}"#.to_owned()
                    }
                },
                "exec" => {
                    let argv: Vec<&str> = request["argv"]
                        .as_array()
                        .unwrap()
                        .iter()
                        .filter_map(|a| a.as_str())
                        .collect();
                    let status = Command::new(argv[0])
                        .args(&argv[1..])
                        .current_dir(inside(text("guest_cwd")))
                        .stdin(Stdio::null())
                        .stdout(Stdio::null())
                        .stderr(Stdio::null())
                        .status()
                        .unwrap();
                    exit_line.replace("CODE", &status.code().unwrap_or(-1).to_string())
                }
                "session_shutdown" => r#"{"op":"shutdown_ok","session_id":"x"}"#.to_owned(),
                _ => r#"{"op":"error","code":"unknown_op","message":"?"}"#.to_owned(),
            };
            if stream.write_all(format!("{reply}\n").as_bytes()).is_err() {
                return;
            }
        }
    });
}

#[test]
fn a_server_of_version_1_serves_and_what_is_lost_is_said_once() {
    let remote = Remote::without_server("");
    version_1(&remote, r#"{"op":"exec_result","session_id":"x","exit_code":CODE}"#);
    let ran = remote.exec(&[], "echo new > made");
    ran.code(0).says("version 1");
    assert_eq!(ran.stderr.matches("version 1").count(), 1);
    assert_eq!(remote.project.read("made"), "new\n");
    remote.exec(&[], "exit 9").code(9);
}

#[test]
fn a_reply_without_an_exit_code_or_with_an_impossible_one_is_no_success() {
    for (line, code) in [
        (r#"{"op":"exec_result","session_id":"x"}"#, 76),
        (r#"{"op":"exec_result","session_id":"x","exit_code":-1}"#, 255),
        (r#"{"op":"exec_result","session_id":"x","exit_code":256}"#, 255),
        (r#"{"op":"exec_result","session_id":"x","exit_code":0,"signal":9}"#, 137),
        (r#"{"op":"sync_ok","session_id":"x"}"#, 76),
        (r#"{"op":"error","code":"exec_timeout","message":"late"}"#, 124),
        (r#"{"op":"error","code":"no_session","message":"who?"}"#, 75),
    ] {
        let remote = Remote::without_server("");
        version_1(&remote, line);
        remote.project.write("file", "old");
        let before = remote.project.tree();
        remote.exec(&[], "echo new > file").code(code);
        assert_eq!(remote.project.tree(), before, "{line}");
    }
}

#[test]
fn a_sidecar_that_is_gone_is_75_with_the_result_kept_and_made_anew_where_nothing_ran() {
    let mut remote = Remote::new("");
    remote.project.write("file", "old");
    let before = remote.project.tree();
    let marker = remote.project.beside("started");
    let script = format!("echo half > file; touch {}; sleep 300", marker.display());
    let running = remote
        .project
        .start_until(&["exec", "--", "sh", "-c", &script], &marker);
    remote.kill_server();
    let ran = running.end();
    ran.code(75).says("closed the connection");
    assert_eq!(remote.project.tree(), before);
    assert!(
        remote
            .project
            .devshell(&["results", "diff", ran.kept()])
            .code(0)
            .out()
            .contains("+half")
    );

    // Between two tools, in the library: one new connection, and no more.
    remote.serve();
    let config = VmConfig {
        beta_socket: Some(format!("unix:{}", remote.project.beside("s.sock").display())),
        workspace_parent: Some(remote.project.beside("shared")),
        ..VmConfig::from_vars([("DEVSHELL_VM_BACKEND".into(), "beta".into())], "/".into()).unwrap()
    };
    let mut session = SessionHolder::try_from_config(&config).unwrap();
    let mut vfs = Vfs::new();
    vfs.mkdir("/hello").unwrap();
    session.ensure_ready(&vfs, "/hello").unwrap();
    let args = |script: &str| ["-c".to_owned(), script.to_owned()];
    let run = |session: &mut SessionHolder, vfs: &mut Vfs, script: &str| {
        session.run_rust_tool(vfs, "/hello", "sh", &args(script))
    };
    assert!(run(&mut session, &mut vfs, "echo one > a").unwrap().success());
    assert_eq!(vfs.read_file("/hello/a").unwrap(), b"one\n");
    vfs.write_file("/hello/b", b"two\n", 0o644).unwrap();
    remote.kill_server();
    remote.serve();
    std::thread::sleep(Duration::from_millis(200));
    assert!(run(&mut session, &mut vfs, "cat b >> a").unwrap().success());
    assert_eq!(vfs.read_file("/hello/a").unwrap(), b"one\ntwo\n");
    remote.kill_server();
    std::thread::sleep(Duration::from_millis(200));
    assert!(run(&mut session, &mut vfs, "true").is_err());
}

#[test]
fn a_sidecar_that_is_killed_at_any_moment_leaves_the_tree_alone() {
    let rounds = number("DEVSHELL_TEST_SIDECAR_KILLS", 6);
    let mut random = Random(number("DEVSHELL_TEST_SEED", 1));
    let mut remote = Remote::without_server("");
    for index in 0..200 {
        remote
            .project
            .write(format!("d{}/f{index}", index % 10), format!("{index}"));
    }
    let script = "for f in d*/f*; do echo x >> $f; done; rm -r d3; head -c 3000000 /dev/zero | tr '\\0' x";
    let (mut lost, mut done) = (0, 0);
    for round in 0..rounds {
        remote.serve();
        let before = remote.project.tree();
        let mut child = remote.project.command(["exec", "--", "sh", "-c", script]);
        child.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = child.spawn().unwrap();
        std::thread::sleep(Duration::from_micros(random.below(300_000)));
        remote.kill_server();
        let code = child.wait().unwrap().code().unwrap();
        if code == 0 {
            done += 1;
        } else {
            lost += 1;
            assert!([69, 74, 75].contains(&code), "round {round}: code {code}");
            assert!(
                remote.project.tree() == before,
                "round {round}: the tree changed, code {code}"
            );
        }
    }
    say(&format!(
        "sidecar kills: rounds {rounds}, lost {lost}, done before {done}, wrong 0"
    ));
}

#[test]
fn a_link_that_a_tool_put_in_the_place_of_the_shared_tree_leads_nowhere() {
    let remote = Remote::new("");
    remote.project.write("file", "mine");
    let precious = remote.project.beside("precious");
    std::fs::create_dir(&precious).unwrap();
    std::fs::write(precious.join("kept"), "kept").unwrap();
    remote.exec(&[], "true").code(0);
    let only = |folder: &std::path::Path| std::fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    let key = only(&remote.project.beside("shared"));
    let tree = only(&key);
    for place in [&tree, &key] {
        std::fs::remove_dir_all(place).unwrap();
        std::os::unix::fs::symlink(&precious, place).unwrap();
        remote.exec(&[], "cat file; echo more > made").code(0);
        assert!(place.symlink_metadata().unwrap().is_dir(), "{}", place.display());
        assert_eq!(remote.project.read("made"), "more\n");
        assert_eq!(
            std::fs::read_dir(&precious).unwrap().count(),
            1,
            "nothing was put there"
        );
        assert_eq!(std::fs::read_to_string(precious.join("kept")).unwrap(), "kept");
    }
    // And in the middle of a run, before a retry brings the state back that was before it.
    let toml = remote.project.read("devshell.toml");
    let script = format!(
        "test ! -e {once} || exec cat file\ntouch {once}; cd {key}; rm -r {tree}; ln -s {to} {tree}; exit 1",
        once = remote.project.beside("once").display(),
        key = key.display(),
        tree = tree.display(),
        to = precious.display()
    );
    let tool = format!("[[tool]]\nname = \"t\"\nretries = 1\nscript = '''\n{script}\n'''\n");
    remote.project.write("devshell.toml", toml + &tool);
    let before = remote.project.tree();
    let ran = remote.project.run();
    assert_eq!(std::fs::read_dir(&precious).unwrap().count(), 1, "{}", ran.stderr);
    assert_eq!(std::fs::read_to_string(precious.join("kept")).unwrap(), "kept");
    assert_eq!(remote.project.tree(), before, "{}", ran.stderr);
    ran.code(0);
}

#[test]
fn a_sidecar_that_goes_or_fails_while_it_writes_out_the_tree_is_75_or_74() {
    const DONE: &str = r#"{"op":"exec_result","session_id":"x","exit_code":0}"#;
    for (line, code, said) in [
        (None, 75, "lost at `sync_request`"),
        (
            Some(r#"{"op":"error","code":"staging_io","message":"no room"}"#),
            74,
            "no room",
        ),
    ] {
        let remote = Remote::without_server("");
        version_1_pulling(&remote, DONE, line);
        let before = remote.project.tree();
        remote.exec(&[], "echo new > file").code(code).says(said);
        assert_eq!(remote.project.tree(), before);
    }
}

#[test]
fn clean_removes_the_staged_copy_of_a_workspace_that_is_idle_or_gone() {
    let remote = Remote::new("");
    remote.project.write("file", "mine");
    let shared = remote.project.beside("shared");
    let staged = || std::fs::read_dir(&shared).unwrap().count();
    let clean = |more: &[&str]| {
        let mut command = remote.project.command([&["clean"], more].concat());
        command.current_dir(remote.project.beside("home"));
        finish(command)
    };
    let (pause, marker, go) = remote.project.pause();
    let running = Running::of(remote.project.command(["exec", "--", "sh", "-c", &pause]));
    wait_for(|| marker.exists(), "the tool");
    clean(&["--all"]).code(0);
    assert_eq!(staged(), 1, "a run uses it");
    std::fs::write(go, "").unwrap();
    running.end().code(0);
    clean(&[]).code(0);
    assert_eq!(staged(), 1, "the next run carries only what has changed since");
    let cleaned = clean(&["--all"]);
    assert!(cleaned.code(0).out().contains("removed 1"), "{}", cleaned.stderr);
    assert_eq!(staged(), 0);
    remote.exec(&[], "test $(cat file) = mine").code(0);
    std::fs::rename(remote.project.path(""), remote.project.beside("moved")).unwrap();
    clean(&[]).code(0).says("the staged copy of ");
    assert_eq!(staged(), 0);
    std::fs::rename(remote.project.beside("moved"), remote.project.path("")).unwrap();
}

#[test]
fn a_timeout_at_a_server_of_version_1_is_no_loss_although_it_is_hung_up_on() {
    const DONE: &str = r#"{"op":"exec_result","session_id":"x","exit_code":CODE}"#;
    let tool = |more: &str| {
        format!(
            "[run]\ngrace_period = \"100ms\"\n[[tool]]\nname = \"slow\"\nscript = \"sleep 1\"\ntimeout = \"200ms\"\n{more}\n\
             [[tool]]\nname = \"next\"\nscript = \"echo new > made\"\n"
        )
    };
    let remote = Remote::without_server(&tool(""));
    version_1(&remote, DONE);
    remote.project.run().code(124);
    let remote = Remote::without_server(&tool("continue_on_error = true"));
    version_1(&remote, DONE);
    remote.project.run().code(0);
    assert_eq!(remote.project.read("made"), "new\n");
}
