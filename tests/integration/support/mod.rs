//! A sealed place to run devshell in, and ways to look at what it did.

mod actions_runner;
mod disk;
mod golden;
mod port;
mod screen;
mod strategy;
mod tree;

use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tempfile::TempDir;

pub use actions_runner::ActionsRunner;
pub use disk::{Disk, own_mounts};
pub use golden::Golden;
pub use port::free_port;
pub use screen::Screen;
pub use strategy::{Arena, Places, Random, number, private_strategies, python, say, sure};
pub use tree::{Tree, tree};

/// No run of a test takes longer than this.
const OUTER_TIMEOUT: Duration = Duration::from_secs(120);

/// A project in a temporary folder, with a home and cache and state folders of its own.
pub struct Project {
    /// Removed at the end, read-only folders included.
    place: TempDir,
    pub root: PathBuf,
}

impl Project {
    /// A project called `project` with this devshell.toml.
    pub fn new(toml: &str) -> Self {
        let project = Self::named("project");
        project.write("devshell.toml", toml);
        project
    }

    /// An empty project folder with this name.
    pub fn named(name: impl AsRef<OsStr>) -> Self {
        let place = tempfile::Builder::new().prefix("devshell-test-").tempdir().unwrap();
        // Canonical, as tools see and print it.
        let root = place.path().canonicalize().unwrap().join(name.as_ref());
        std::fs::create_dir(&root).unwrap();
        for folder in ["home", "cache", "state"] {
            std::fs::create_dir(place.path().join(folder)).unwrap();
        }
        Self { place, root }
    }

    /// A folder beside the project.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.place.path().canonicalize().unwrap().join(name)
    }

    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.root.join(path)
    }

    pub fn write(&self, path: impl AsRef<Path>, text: impl AsRef<[u8]>) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub fn read(&self, path: impl AsRef<Path>) -> String {
        let path = self.path(path);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    pub fn exists(&self, path: impl AsRef<Path>) -> bool {
        self.path(path).symlink_metadata().is_ok()
    }

    /// A piece of script that says by a file outside the view that it runs, the first path, and
    /// goes on once the second one is there.
    pub fn pause(&self) -> (String, PathBuf, PathBuf) {
        let (marker, go) = (self.beside("started"), self.beside("go"));
        let script = format!(
            "touch {}; while [ ! -e {} ]; do sleep 0.02; done",
            marker.display(),
            go.display()
        );
        (script, marker, go)
    }

    /// Everything that is there, with bytes, modes, link targets and times.
    pub fn tree(&self) -> Tree {
        tree(&self.root)
    }

    /// devshell in this project's sealed environment, not yet started.
    pub fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = self.program(devshell());
        command.args(args);
        command
    }

    /// Any program in this project's folder and sealed environment, not yet started.
    pub fn program(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root).env_clear();
        for name in [
            "PATH",
            "RUSTUP_HOME",
            "CARGO_HOME",
            "RUSTUP_TOOLCHAIN",
            "DEVSHELL_TEST_BIN",
            // All tests with one strategy, by hand; those that are about another one say so.
            "DEVSHELL__VM__HOST__STRATEGY",
        ] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        // rustup finds its toolchains by HOME, which is another one here.
        if let Some(home) = std::env::var_os("HOME") {
            let home = Path::new(&home);
            for (name, folder) in [("RUSTUP_HOME", ".rustup"), ("CARGO_HOME", ".cargo")] {
                if std::env::var_os(name).is_none() {
                    command.env(name, home.join(folder));
                }
            }
        }
        command.env("HOME", self.beside("home"));
        command.env("XDG_CACHE_HOME", self.beside("cache"));
        command.env("XDG_STATE_HOME", self.beside("state"));
        command.env("LC_ALL", "C.UTF-8");
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs devshell to its end.
    pub fn devshell(&self, args: &[&str]) -> Ran {
        finish(self.command(args))
    }

    /// `devshell run` to its end.
    pub fn run(&self) -> Ran {
        self.devshell(&["run"])
    }

    /// Starts `devshell run` and waits until the file that its tool makes outside the view is
    /// there: the tool is running then.
    pub fn start_until(&self, args: &[&str], marker: &Path) -> Running {
        let child = self.command(args).spawn().unwrap();
        let running = Running { child };
        wait_for(|| marker.exists(), &format!("{} to appear", marker.display()));
        running
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        // TempDir cannot remove what lies in a folder that an ordinary user may not write.
        let _ = Command::new("chmod")
            .args(["-R", "u+rwx"])
            .arg(self.place.path())
            .stderr(Stdio::null())
            .status();
    }
}

/// The program under test.
pub fn devshell() -> PathBuf {
    std::env::var_os("DEVSHELL_TEST_BIN").map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_devshell")), PathBuf::from)
}

/// The sidecar's program, also where the tests run from copies.
pub fn devshell_vm() -> PathBuf {
    match std::env::var_os("DEVSHELL_TEST_BIN") {
        Some(devshell) => PathBuf::from(devshell).with_file_name("devshell-vm"),
        None => PathBuf::from(env!("CARGO_BIN_EXE_devshell-vm")),
    }
}

/// A devshell that is running.
pub struct Running {
    pub child: Child,
}

impl Running {
    pub fn of(mut command: Command) -> Self {
        let child = command.spawn().unwrap();
        Self { child }
    }

    pub fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-s", signal, &pid])
                .status()
                .unwrap()
                .success()
        );
    }

    /// Waits until it has said this on stderr; what came until then is not among what it leaves.
    #[track_caller]
    pub fn until_it_says(&mut self, text: &str) {
        let stderr = self.child.stderr.as_mut().unwrap();
        let (start, mut said) = (Instant::now(), Vec::new());
        while !String::from_utf8_lossy(&said).contains(text) {
            let mut asked = [PollFd::new(stderr, PollFlags::IN)];
            let ready = poll(&mut asked, Some(&Timespec { tv_sec: 1, tv_nsec: 0 })).unwrap() > 0;
            let mut byte = [0];
            let more = !ready || stderr.read(&mut byte).unwrap() > 0;
            said.extend(ready.then_some(byte[0]));
            let in_time = start.elapsed() < OUTER_TIMEOUT;
            assert!(
                more && in_time,
                "`{text}` was not said:\n{}",
                String::from_utf8_lossy(&said)
            );
        }
    }

    pub fn end(self) -> Ran {
        wait(self.child)
    }
}

/// A process that does not outlive the test.
pub struct Killed(pub Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a devshell that ended has left.
#[derive(Debug)]
pub struct Ran {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: String,
    pub elapsed: Duration,
}

impl Ran {
    /// Its exit code, after which nothing else of the run is in doubt.
    #[track_caller]
    pub fn code(&self, code: i32) -> &Self {
        assert_eq!(
            self.status.code(),
            Some(code),
            "stdout:\n{}\nstderr:\n{}",
            self.out(),
            self.stderr
        );
        self
    }

    /// Its stdout as text.
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    #[track_caller]
    pub fn says(&self, text: &str) -> &Self {
        assert!(
            self.stderr.contains(text),
            "`{text}` is not in stderr:\n{}",
            self.stderr
        );
        self
    }

    /// The last line on stderr.
    pub fn last_line(&self) -> &str {
        self.stderr.lines().last().unwrap_or_default()
    }

    /// The id of the kept result that the last line names.
    pub fn kept(&self) -> &str {
        let line = self.last_line();
        line.split_once("kept=")
            .unwrap_or_else(|| panic!("nothing kept: {line}"))
            .1
    }
}

/// Runs a command to its end.
pub fn finish(mut command: Command) -> Ran {
    wait(command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}")))
}

fn wait(mut child: Child) -> Ran {
    let start = Instant::now();
    let stdout = drain(child.stdout.take());
    let stderr = drain(child.stderr.take());
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if start.elapsed() > OUTER_TIMEOUT {
            let _ = child.kill();
            panic!(
                "devshell did not end; stderr:\n{}",
                String::from_utf8_lossy(&stderr.join().unwrap())
            );
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let elapsed = start.elapsed();
    Ran {
        status,
        stdout: stdout.join().unwrap(),
        stderr: String::from_utf8_lossy(&stderr.join().unwrap()).into_owned(),
        elapsed,
    }
}

fn drain(stream: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            stream.read_to_end(&mut bytes).unwrap();
        }
        bytes
    })
}

/// Waits until something holds.
#[track_caller]
pub fn wait_for(mut holds: impl FnMut() -> bool, what: &str) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < OUTER_TIMEOUT, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether a process is alive (and no zombie).
pub fn alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        !stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .trim_start()
            .starts_with('Z')
    })
}

/// Processes whose command line holds `mark`.
pub fn processes_with(mark: &str) -> Vec<u32> {
    let mut pids = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else {
            continue;
        };
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&line).contains(mark) && alive(pid) {
            pids.push(pid);
        }
    }
    pids
}

/// A script that does `up`, by which others know that it runs, when a trap of SIGTERM that it begins with is set.
pub fn up_behind_trap(up: &str, script: &str) -> String {
    match script.split_once(" TERM") {
        Some((trap, rest)) if script.starts_with("trap ") => {
            format!("{trap} TERM\n{up}\n{}", rest.trim_start_matches([';', '\n', ' ']))
        }
        _ => format!("{up}\n{script}"),
    }
}

/// Says aloud that a test did not run here; `.ci/run` counts these lines.
pub fn not_run(test: &str, why: &str) {
    use std::io::Write as _;
    // Past the test harness's capture, which would swallow it for a test that passes.
    let line = format!("NOT RUN: {test}: {why}\n");
    let _ = std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(std::env::var_os("DEVSHELL_TEST_SKIPS").unwrap_or_else(|| "/dev/stderr".into()))
        .and_then(|mut file| file.write_all(line.as_bytes()));
}

/// Whether the tests run as root, whom modes do not stop.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether a program can be run here.
pub fn has(program: &str) -> bool {
    Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success())
}
