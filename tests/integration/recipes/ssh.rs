//! Another user of this machine by ssh, and a port that ssh forwards: a real sshd with a key and a
//! configuration of its own.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{project, reachable_vm, works};
use crate::support::{Killed, finish, free_port, is_root, not_run, processes_with, wait_for};

/// The user of the other side; `.ci/run` makes it.
const USER: &str = "devshell-test";

/// An sshd that lets one key in.
struct Sshd {
    _server: Killed,
    config: PathBuf,
}

fn key(at: &Path) {
    let mut make = Command::new("ssh-keygen");
    make.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(at);
    finish(make).code(0);
}

/// Starts one in `folder`, or says why there is none.
fn sshd(folder: &Path) -> Result<Sshd, &'static str> {
    let program = Path::new("/usr/sbin/sshd");
    if !is_root() || !program.exists() {
        return Err("needs root and an sshd (openssh-server)");
    }
    if !Command::new("id")
        .arg(USER)
        .output()
        .is_ok_and(|output| output.status.success())
    {
        return Err("needs the user devshell-test");
    }
    std::fs::create_dir_all("/run/sshd").unwrap();
    let (host, client, port) = (folder.join("host"), folder.join("client"), free_port());
    key(&host);
    key(&client);
    let settings = format!(
        "Port {port}\nListenAddress 127.0.0.1\nHostKey {host}\nAuthorizedKeysFile {client}.pub\nStrictModes no\n\
         UsePAM yes\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPidFile none\n",
        host = host.display(),
        client = client.display()
    );
    std::fs::write(folder.join("sshd_config"), settings).unwrap();
    // The server reads the key as the user who comes.
    std::fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let log = std::fs::File::create(folder.join("sshd.log")).unwrap();
    let server = Command::new(program)
        .args(["-D", "-e", "-f"])
        .arg(folder.join("sshd_config"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    let server = Killed(server);
    wait_for(|| TcpStream::connect(("127.0.0.1", port)).is_ok(), "sshd listens");
    let config = folder.join("ssh_config");
    let settings = format!(
        "Host build\nHostName 127.0.0.1\nPort {port}\nUser {USER}\nIdentityFile {}\nIdentitiesOnly yes\nBatchMode yes\n\
         UserKnownHostsFile {}\nStrictHostKeyChecking accept-new\nLogLevel ERROR\n",
        client.display(),
        folder.join("known").display()
    );
    std::fs::write(&config, settings).unwrap();
    Ok(Sshd {
        _server: server,
        config,
    })
}

/// A folder of the other user's, for its root.
fn root_of_user(folder: &Path) -> String {
    let root = folder.join("root");
    std::fs::create_dir(&root).unwrap();
    let mut give = Command::new("chown");
    give.args([USER]).arg(&root);
    finish(give).code(0);
    root.display().to_string()
}

#[test]
fn another_user_gets_the_tree_by_ssh_and_nothing_of_it_runs_on() {
    let (folder, program) = reachable_vm();
    let sshd = match sshd(folder.path()) {
        Ok(sshd) => sshd,
        Err(why) => return not_run("recipes::ssh::another_user_gets_the_tree_by_ssh", why),
    };
    let (config, program) = (sshd.config.display().to_string(), program.display().to_string());
    let root = root_of_user(folder.path());
    let project = project(
        &[
            "ssh",
            "-F",
            &config,
            "build",
            &program,
            "--serve-stdio",
            "--root",
            &root,
        ],
        "",
    );
    works(&project, USER);
    // What came home is the caller's, and a timeout reaches what runs there.
    use std::os::unix::fs::MetadataExt as _;
    assert_eq!(project.path("made").metadata().unwrap().uid(), 0);
    let mark = format!("7{}", std::process::id());
    let args = [
        "exec",
        "--set",
        "vm.exec_timeout=2s",
        "--",
        "sh",
        "-c",
        &format!("sleep {mark} & sleep {mark}"),
    ];
    project.devshell(&args).code(124);
    assert_eq!(processes_with(&mark), [0; 0], "nothing is left there");
    let no_key = project.devshell(&["run", "--set", "vm.beta.command=[\"ssh\", \"-F\", \"/dev/null\", \"-o\", \"BatchMode=yes\", \"-p\", \"1\", \"127.0.0.1\", \"x\"]"]);
    no_key.code(69).says("Connection refused");
}

#[test]
fn a_port_that_ssh_forwards_leads_to_a_sidecar_with_a_token() {
    let (folder, program) = reachable_vm();
    let sshd = match sshd(folder.path()) {
        Ok(sshd) => sshd,
        Err(why) => return not_run("recipes::ssh::a_port_that_ssh_forwards", why),
    };
    let (far, near, token) = (free_port(), free_port(), folder.path().join("token"));
    std::fs::write(&token, "open sesame\n").unwrap();
    std::fs::set_permissions(&token, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let mut server = Command::new(program);
    server
        .args(["--serve-tcp", &format!("127.0.0.1:{far}"), "--token-file"])
        .arg(&token);
    server
        .arg("--root")
        .arg(folder.path())
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    let _server = Killed(server.spawn().unwrap());
    let mut tunnel = Command::new("ssh");
    tunnel
        .arg("-F")
        .arg(&sshd.config)
        .args(["-N", "-o", "ExitOnForwardFailure=yes", "-L"]);
    tunnel
        .arg(format!("{near}:127.0.0.1:{far}"))
        .arg("build")
        .stdin(Stdio::null());
    let _tunnel = Killed(tunnel.spawn().unwrap());
    wait_for(
        || TcpStream::connect(("127.0.0.1", near)).is_ok(),
        "the tunnel is there",
    );
    let project = project(&["unused"], "");
    let toml = project.read("devshell.toml");
    let (head, tools) = toml.split_once("[vm.beta]\n").unwrap();
    let (_, tools) = tools.split_once("\n\n").unwrap_or(("", tools));
    let beta = format!(
        "[vm.beta]\nsocket = \"tcp:127.0.0.1:{near}\"\ntoken_file = \"{}\"\n\n",
        token.display()
    );
    project.write("devshell.toml", format!("{head}{beta}{tools}"));
    works(&project, "root");
    std::fs::write(folder.path().join("other"), "wrong\n").unwrap();
    let wrong = format!("vm.beta.token_file={}", folder.path().join("other").display());
    project.devshell(&["run", "--set", &wrong]).code(69).says("token");
}
