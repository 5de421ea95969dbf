//! A real limactl and a real guest, where `DEVSHELL_TEST_LIMA=1` says that there is one and
//! `DEVSHELL_TEST_LIMA_DIR` where (`tests/lima/setup` makes it, `.ci/run` sets both). One test:
//! its steps share an instance, which takes minutes to boot without KVM.

use std::cell::Cell;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use crate::support::{Project, Ran, finish, is_root, not_run, say};

use super::steps;

/// A guest without KVM, on a machine that does other things, too.
pub(super) const BOOT: Duration = Duration::from_secs(900);
pub(super) const STEP: Duration = Duration::from_secs(300);
/// Without it Lima would try KVM, which may be there and hang.
const EMULATED: &str = "qemu-system-x86_64 -machine q35,vmport=off -accel tcg,thread=multi,tb-size=512 -cpu max";
/// Where trees lie in the guest that were carried there.
const CARRIED: &str = "~/.cache/devshell/.devshell-trees/*/tree/project";

pub(super) struct Lima {
    place: PathBuf,
    /// What Lima itself is: programs, image, template.
    made: PathBuf,
    /// `vm.lima.agent` of the projects that are made.
    agent: Cell<&'static str>,
    /// And `vm.lima.carry`.
    carry: Cell<&'static str>,
}

impl Lima {
    fn limactl(&self) -> PathBuf {
        let mut found = std::fs::read_dir(&self.made)
            .unwrap()
            .flatten()
            .map(|entry| entry.path().join("bin/limactl"));
        found
            .find(|path| path.exists())
            .expect("no limactl: run tests/lima/setup")
    }

    fn shared(&self) -> PathBuf {
        self.place.join("shared")
    }

    pub(super) fn with_lima(&self, mut command: Command) -> Command {
        self.equip(&mut command);
        command
    }

    /// What limactl needs in its environment.
    pub(super) fn equip(&self, command: &mut Command) {
        command
            .env("LIMA_HOME", self.place.join("l"))
            .env("HOME", self.place.join("home"))
            .env("QEMU_SYSTEM_X86_64", EMULATED);
    }

    /// limactl itself, for a look from outside.
    pub(super) fn ask(&self, arguments: &[&str]) -> Ran {
        let mut command = Command::new(self.limactl());
        command
            .args(arguments)
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped());
        finish(self.with_lima(command))
    }

    /// What the guest says to a script, by plain limactl.
    pub(super) fn guest(&self, script: &str) -> String {
        self.ask(&["shell", "--workdir", "/", "t", "sh", "-c", script]).out()
    }

    fn status(&self) -> String {
        self.ask(&["list", "--format", "{{.Status}}", "t"])
            .out()
            .trim()
            .to_owned()
    }

    /// Whether the tree is carried into the guest.
    pub(super) fn is_carried(&self) -> bool {
        self.agent.get() != "off" && self.carry.get() != "mount"
    }

    pub(super) fn project(&self, more: &str) -> Project {
        let project = Project::named("project");
        project.write(
            "devshell.toml",
            format!(
                "[vm]\nbackend = \"lima\"\nready_timeout = \"15m\"\nworkspace_parent = \"{}\"\n[vm.lima]\ninstance = \
                 \"t\"\nlimactl = \"{}\"\ntemplate = \"{}\"\ncpus = 2\nmemory = \"1GiB\"\ndisk = \"6GiB\"\nagent = \
                 \"{}\"\ncarry = \"{}\"\n{more}",
                self.shared().display(),
                self.limactl().display(),
                self.made.join("template.yaml").display(),
                self.agent.get(),
                self.carry.get()
            ),
        );
        project
    }

    pub(super) fn start(&self, project: &Project, arguments: &[&str]) -> Child {
        self.with_lima(project.command(arguments)).spawn().unwrap()
    }

    pub(super) fn run(&self, project: &Project) -> Ran {
        finish(self.with_lima(project.command(["run"])))
    }
}

impl Drop for Lima {
    fn drop(&mut self) {
        self.ask(&["delete", "--force", "t"]);
    }
}

/// Waits until something is there.
pub(super) fn until(limit: Duration, what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < limit, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The end of a devshell that may take long.
pub(super) fn end(mut child: Child, limit: Duration) -> Ran {
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if start.elapsed() > limit {
            let _ = child.kill();
            panic!("devshell did not end: {:?}", child.wait_with_output());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let output = child.wait_with_output().unwrap();
    Ran {
        status: output.status,
        stdout: output.stdout,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        elapsed: start.elapsed(),
    }
}

/// A tool that makes this file when it has come so far.
pub(super) fn begun<'a>(lima: &'a Lima, project: &Project) -> impl Fn() -> bool + use<'a> {
    let (shared, name) = (lima.shared(), project.root.file_name().unwrap().to_owned());
    move || {
        if lima.is_carried() {
            return !lima
                .guest(&format!("ls {CARRIED}/begun 2>/dev/null || true"))
                .is_empty();
        }
        let keys = std::fs::read_dir(&shared).unwrap().flatten();
        keys.map(|key| key.path().join(&name).join("begun"))
            .any(|path| path.exists())
    }
}

/// No other project's `begun` is to be taken for this one's.
pub(super) fn forget_begun(lima: &Lima) {
    if lima.is_carried() {
        lima.guest(&format!("rm -f {CARRIED}/begun"));
    }
    for key in std::fs::read_dir(lima.shared()).unwrap().flatten() {
        let _ = std::fs::remove_file(key.path().join("project/begun"));
    }
}

pub(super) fn tool(script: &str) -> String {
    format!("[[tool]]\nname = \"t\"\nscript = '''{script}'''\n")
}

#[test]
fn a_real_guest_does_all_that_a_host_does() {
    if std::env::var_os("DEVSHELL_TEST_LIMA").is_none() {
        return not_run("lima::real", "no Lima here (DEVSHELL_TEST_LIMA, tests/lima/setup)");
    }
    if is_root() {
        return not_run(
            "lima::real as root",
            "limactl refuses root; it runs as an ordinary user",
        );
    }
    let made =
        std::env::var_os("DEVSHELL_TEST_LIMA_DIR").expect("DEVSHELL_TEST_LIMA_DIR: what tests/lima/setup prints");
    // Short: the paths of sockets below it are limited.
    let place = tempfile::Builder::new().prefix("dl").tempdir_in("/tmp").unwrap();
    for folder in ["shared", "home", "l"] {
        std::fs::create_dir(place.path().join(folder)).unwrap();
    }
    let lima = Lima {
        place: place.path().canonicalize().unwrap(),
        made: made.into(),
        agent: Cell::new("auto"),
        carry: Cell::new("mount"),
    };
    // The first run makes and starts the instance, stays while the others come and go, and stops it.
    let first = lima.project(&format!(
        "stop_on_exit = true\n{}",
        tool("touch begun; while ! [ -e go ]; do sleep 0.2; done; rm -f begun go; echo end > made")
    ));
    let running = lima.start(&first, &["run"]);
    let up = begun(&lima, &first);
    let start = Instant::now();
    let mut running = running;
    while !up() {
        if running.try_wait().unwrap().is_some() || start.elapsed() > BOOT {
            let _ = running.kill();
            panic!("the instance did not come up: {}", end(running, STEP).stderr);
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    // The mount is 9p: by the resident shell, by the agent, and by the agent with the tree carried.
    for (agent, carry, steps) in [
        ("off", "auto", &steps::EACH[..]),
        ("auto", "mount", &steps::OF_MOUNT),
        ("auto", "auto", &steps::EACH),
    ] {
        lima.agent.set(agent);
        lima.carry.set(carry);
        for (name, step) in steps {
            say(&format!("lima::real, agent {agent}, carry {carry}: {name}"));
            step(&lima);
        }
    }
    for (name, step) in steps::ONCE {
        say(&format!("lima::real: {name}"));
        step(&lima);
    }
    assert_eq!(lima.status(), "Running", "another run's instance was stopped");
    let go = std::fs::read_dir(lima.shared())
        .unwrap()
        .flatten()
        .map(|key| key.path().join("project"));
    for folder in go.filter(|folder| folder.join("devshell.toml").exists()) {
        std::fs::write(folder.join("go"), "").unwrap();
    }
    end(running, STEP).code(0).says("is made from").says("committed");
    assert_eq!(first.read("made"), "end\n");
    assert_eq!(lima.status(), "Stopped");
    say("lima::real: power off");
    lima.carry.set("mount");
    steps::power_off(&lima);
}
