//! Tools in a real keeper.

mod capture;
mod ends;
mod exits;
mod isolation;
mod overlay;
mod served;
mod shut_off;
mod signals;
mod streams;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use super::*;
use crate::event::Stream;

const NO_LIMITS: Limits = Limits {
    timeout: None,
    no_output_timeout: None,
    grace: Duration::from_secs(60),
    deadline_of_run: None,
};

struct Ran {
    exit: ToolExit,
    end: ToolEnd,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

/// The best keeper that this place can give.
fn best() -> Keeper {
    let spec = KeeperSpec {
        namespaces: Namespaces { mount: true, pid: true },
        ..KeeperSpec::default()
    };
    Keeper::start_best(&spec).unwrap().0
}

/// One without any namespace.
fn plain() -> Keeper {
    Keeper::start(&KeeperSpec::default()).unwrap()
}

fn request(argv: &[&str]) -> SpawnRequest {
    SpawnRequest {
        argv: argv.iter().map(OsString::from).collect(),
        env: vec![("PATH".into(), std::env::var_os("PATH").unwrap())],
        cwd: PathBuf::from("/"),
        stdin: Stdin::Null,
        terminal: None,
    }
}

fn sh(script: &str) -> SpawnRequest {
    request(&["sh", "-c", script])
}

fn run(keeper: &mut Keeper, request: &SpawnRequest) -> Ran {
    run_within(keeper, request, &NO_LIMITS)
}

fn run_within(keeper: &mut Keeper, request: &SpawnRequest, limits: &Limits) -> Ran {
    let (sender, receiver) = sync_channel(16);
    let tool = keeper.spawn(request, sender).unwrap();
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let end = supervise(
        Box::new(tool),
        &receiver,
        limits,
        &Cancel::new(),
        &mut |stream, bytes| match stream {
            Stream::Stdout => stdout.extend(bytes),
            Stream::Stderr => stderr.extend(bytes),
        },
        &mut |_| (),
    );
    Ran {
        exit: end.exit.clone(),
        end,
        stdout,
        stderr,
    }
}

/// Tells a test that it runs in a process of its own.
const ROLE: &str = "DEVSHELL_TEST_ROLE";

fn role() -> Option<String> {
    std::env::var(ROLE).ok()
}

/// The tests whose names contain `filter` once more, in a process of their own that `wrapper`
/// starts (a shell script with the program in "$@").
fn again(filter: &str, role: &str, wrapper: &str) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-e", "-c", wrapper, "sh"])
        .arg(std::env::current_exe().unwrap())
        .args([filter, "--nocapture", "--test-threads=2"])
        .env(ROLE, role);
    command
}

fn passes(mut command: Command) {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    assert!(!text.contains("running 0 tests"), "{text}");
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// For wrappers: goes on as an ordinary user.
const AS_USER: &str = "exec setpriv --reuid=65534 --regid=65534 --clear-groups";
