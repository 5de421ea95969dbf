//! A real limactl and a real guest, where `DEVSHELL_TEST_LIMA=1` says that there is one and
//! `DEVSHELL_TEST_LIMA_DIR` where (`tests/lima/setup` makes it, `.ci/run` sets both). One test:
//! its steps share an instance, which takes minutes to boot without KVM.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use crate::support::{Project, Ran, finish, is_root, not_run, say};

/// A guest without KVM, on a machine that does other things, too.
const BOOT: Duration = Duration::from_secs(900);
const STEP: Duration = Duration::from_secs(300);
/// Without it Lima would try KVM, which may be there and hang.
const EMULATED: &str = "qemu-system-x86_64 -machine q35,vmport=off -accel tcg,thread=multi,tb-size=512 -cpu max";

struct Lima {
    place: PathBuf,
    /// What Lima itself is: programs, image, template.
    made: PathBuf,
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

    fn with_lima(&self, mut command: Command) -> Command {
        command
            .env("LIMA_HOME", self.place.join("l"))
            .env("HOME", self.place.join("home"))
            .env("QEMU_SYSTEM_X86_64", EMULATED);
        command
    }

    /// limactl itself, for a look from outside.
    fn ask(&self, arguments: &[&str]) -> Ran {
        let mut command = Command::new(self.limactl());
        command
            .args(arguments)
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped());
        finish(self.with_lima(command))
    }

    /// What the guest says to a script, by plain limactl.
    fn guest(&self, script: &str) -> String {
        self.ask(&["shell", "--workdir", "/", "t", "sh", "-c", script]).out()
    }

    fn status(&self) -> String {
        self.ask(&["list", "--format", "{{.Status}}", "t"])
            .out()
            .trim()
            .to_owned()
    }

    fn project(&self, more: &str) -> Project {
        let project = Project::named("project");
        project.write(
            "devshell.toml",
            format!(
                "[vm]\nbackend = \"lima\"\nready_timeout = \"15m\"\nworkspace_parent = \"{}\"\n[vm.lima]\ninstance = \
                 \"t\"\nlimactl = \"{}\"\ntemplate = \"{}\"\ncpus = 2\nmemory = \"1GiB\"\ndisk = \"6GiB\"\n{more}",
                self.shared().display(),
                self.limactl().display(),
                self.made.join("template.yaml").display()
            ),
        );
        project
    }

    fn start(&self, project: &Project, arguments: &[&str]) -> Child {
        self.with_lima(project.command(arguments)).spawn().unwrap()
    }

    fn run(&self, project: &Project) -> Ran {
        finish(self.with_lima(project.command(["run"])))
    }
}

impl Drop for Lima {
    fn drop(&mut self) {
        self.ask(&["delete", "--force", "t"]);
    }
}

/// Waits until something is there.
fn until(limit: Duration, what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < limit, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The end of a devshell that may take long.
fn end(mut child: Child, limit: Duration) -> Ran {
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

/// A tool that makes this file in the shared folder when it has come so far.
fn begun(lima: &Lima, project: &Project) -> impl Fn() -> bool + use<> {
    let (shared, name) = (lima.shared(), project.root.file_name().unwrap().to_owned());
    move || {
        let keys = std::fs::read_dir(&shared).unwrap().flatten();
        keys.map(|key| key.path().join(&name).join("begun"))
            .any(|path| path.exists())
    }
}

/// No other project's `begun` is to be taken for this one's.
fn forget_begun(lima: &Lima) {
    for key in std::fs::read_dir(lima.shared()).unwrap().flatten() {
        let _ = std::fs::remove_file(key.path().join("project/begun"));
    }
}

fn tool(script: &str) -> String {
    format!("[[tool]]\nname = \"t\"\nscript = '''{script}'''\n")
}

fn sleepers(lima: &Lima) -> String {
    lima.guest("ps -eo pid,args | grep '[s]leep 73' || true")
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
    for (name, step) in [
        ("tree", tree as fn(&Lima)),
        ("ends", ends),
        ("words", words),
        ("survivors", survivors),
        ("timeout", timeout),
        ("interrupt", interrupt),
        ("killed devshell", killed_devshell),
        ("killed limactl", killed_limactl),
        ("compiler", compiler),
        ("guest mode", guest_mode),
    ] {
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
    power_off(&lima);
}

/// Section 9 across the mount.
fn tree(lima: &Lima) {
    let project = lima.project(&tool(
        "test -x keep; test \"$(stat -c %Y old)\" = 1577934245; test \"$(readlink link)\" = nowhere; test -d empty
         rm gone; echo new > made; mkdir -p a/b; ln -s /abs/olute a/link; chmod 640 mode; rm was; mkdir was; echo x > was/in
         rm -r folder; echo f > folder; printf 'a\\000b' > bytes; touch -d '2020-01-02 03:04:05' stamped; mkdir a/empty",
    ));
    for name in ["keep", "gone", "mode", "was", "old", "folder/inside"] {
        project.write(name, name);
    }
    std::fs::set_permissions(project.path("keep"), PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::create_dir(project.path("empty")).unwrap();
    std::os::unix::fs::symlink("nowhere", project.path("link")).unwrap();
    let touch = Command::new("touch")
        .args(["-d", "2020-01-02 03:04:05.123456789Z"])
        .arg(project.path("old"))
        .status();
    assert!(touch.unwrap().success());
    let before = project.path("keep").metadata().unwrap();
    lima.run(&project).code(0).says("committed");
    let at = |name: &str| project.path(name);
    assert!(!project.exists("gone") && at("was/in").is_file() && at("folder").is_file() && at("a/empty").is_dir());
    assert_eq!(std::fs::read(at("bytes")).unwrap(), b"a\0b");
    assert_eq!(std::fs::read_link(at("a/link")).unwrap(), Path::new("/abs/olute"));
    assert_eq!(at("mode").metadata().unwrap().mode() & 0o777, 0o640);
    assert_eq!(at("stamped").metadata().unwrap().mtime(), 1_577_934_245);
    // What no tool touched is as it was, to the nanosecond.
    let (old, keep) = (at("old").metadata().unwrap(), at("keep").metadata().unwrap());
    assert_eq!((old.mtime(), old.mtime_nsec()), (1_577_934_245, 123_456_789));
    assert_eq!((keep.ino(), keep.mtime_nsec()), (before.ino(), before.mtime_nsec()));
    // Again: nothing is new, and an edit and a deletion on the host arrive.
    project.write("keep", "edited");
    std::fs::remove_file(at("made")).unwrap();
    let toml = project.read("devshell.toml");
    let (head, _) = toml.split_once("[[tool]]").unwrap();
    project.write(
        "devshell.toml",
        format!(
            "{head}{}",
            tool("test \"$(cat keep)\" = edited; test ! -e made; test -e a/empty; echo failing > made; exit 3")
        ),
    );
    // A failing tool: the tree stays, and what it left is kept.
    let ran = lima.run(&project);
    ran.code(3);
    assert!(!ran.kept().is_empty() && !project.exists("made"));
}

fn ends(lima: &Lima) {
    let more: String = ["exit 255", "exit 137", "kill -9 $$", "exec >&- 2>&-; exit 3"]
        .iter()
        .enumerate()
        .map(|(n, script)| format!("[[tool]]\nname = \"t{n}\"\ncontinue_on_error = true\nscript = '{script}'\n"))
        .collect();
    let lost = "[[tool]]\nname = \"none\"\nrun = [\"nonesuch-program\"]\n";
    let ran = lima.run(&lima.project(&format!("{more}{lost}")));
    ran.code(127)
        .says("t0 failed with code 255")
        .says("t1 failed with code 137")
        .says("t2 ended by SIGKILL")
        .says("t3 failed with code 3")
        .says("was not found in PATH of the guest");
}

fn words(lima: &Lima) {
    let project = lima.project(
        "[[tool]]\nname = \"t\"\ncwd = \"sub\"\nrun = [\"sh\", \"-c\", 'printf \"<%s>\" \"$0\" \"$@\" \"$X\"; pwd; echo apart >&2; \
         head -c 3000000 /dev/zero', \"A=b\", \"it's\", \"two\\nlines\", \"ä\", \"\", \"$HOME\"]\nenv = { X = \"q'\\\"\\n$(id)\" }\n",
    );
    project.write("sub/f", "");
    let ran = lima.run(&project);
    let out = ran.code(0).says("apart").out();
    let (said, zeros) = out.split_at(out.len() - 3_000_000);
    assert!(zeros.bytes().all(|byte| byte == 0));
    assert!(
        said.starts_with("<A=b><it's><two\nlines><ä><><$HOME><q'\"\n$(id)>/workspace/"),
        "{said}"
    );
    assert!(said.ends_with("/project/sub\n"), "{said}");
}

fn survivors(lima: &Lima) {
    let ran = lima.run(&lima.project(&tool("sleep 7301 & env -i setsid sleep 7302 & exit 0")));
    ran.code(0).says("left 2 processes running").says("sleep 7302");
    assert_eq!(sleepers(lima), "");
}

fn timeout(lima: &Lima) {
    let project = lima.project(
        "[[tool]]\nname = \"t\"\ntimeout = \"10s\"\ngrace_period = \"2s\"\nscript = \"trap '' TERM; setsid sleep 7303 & while :; do \
         sleep 7304; done\"\n",
    );
    lima.run(&project).code(124);
    assert_eq!(sleepers(lima), "");
}

fn started(lima: &Lima, script: &str) -> (Project, Child) {
    forget_begun(lima);
    let project = lima.project(&tool(script));
    let child = lima.start(&project, &["run"]);
    let up = begun(lima, &project);
    until(STEP, "the tool to begin", up);
    (project, child)
}

fn signal(pid: u32, signal: &str) {
    let sent = Command::new("kill")
        .args(["-s", signal, &pid.to_string()])
        .status()
        .unwrap();
    assert!(sent.success());
}

fn interrupt(lima: &Lima) {
    let (project, child) = started(lima, "touch begun; setsid sleep 7305 & sleep 7306");
    signal(child.id(), "TERM");
    end(child, STEP).code(143);
    assert_eq!(sleepers(lima), "");
    assert!(!project.exists("begun"));
}

fn killed_devshell(lima: &Lima) {
    let (project, child) = started(lima, "touch begun; setsid sleep 7307 & sleep 7308");
    signal(child.id(), "KILL");
    end(child, STEP);
    until(STEP, "the guest's processes to end", || sleepers(lima).is_empty());
    assert!(!project.exists("begun"));
}

/// The children of a process whose command line holds a text.
fn children(parent: u32, text: &str) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else {
            continue;
        };
        let read = |name: &str| {
            String::from_utf8_lossy(&std::fs::read(entry.path().join(name)).unwrap_or_default()).into_owned()
        };
        let stat = read("stat");
        let of = stat
            .rsplit(')')
            .next()
            .and_then(|rest| rest.split_whitespace().nth(1)?.parse::<u32>().ok());
        if of == Some(parent) && read("cmdline").contains(text) {
            found.push(pid);
        }
    }
    found
}

fn killed_limactl(lima: &Lima) {
    let (project, child) = started(lima, "touch begun; setsid sleep 7309 & sleep 7310");
    let before = project.tree();
    let clients = children(child.id(), "Starts one tool");
    assert_eq!(clients.len(), 1);
    signal(clients[0], "KILL");
    let ran = end(child, STEP);
    ran.code(75).says("connection was lost while the tool ran");
    assert!(!ran.kept().is_empty());
    assert_eq!(project.tree(), before);
    until(STEP, "the guest's processes to end", || sleepers(lima).is_empty());
}

fn compiler(lima: &Lima) {
    let project =
        lima.project("[[tool]]\nname = \"cc\"\nrun = [\"cc\", \"-static\", \"-o\", \"hello\", \"hello.c\"]\n");
    project.write(
        "hello.c",
        "#include <stdio.h>\nint main(void) { puts(\"built there\"); return 0; }\n",
    );
    lima.run(&project).code(0);
    let said = Command::new(project.path("hello")).output().unwrap();
    assert_eq!(said.stdout, b"built there\n");
}

fn guest_mode(lima: &Lima) {
    let project = lima.project(&format!(
        "[workspace]\ninputs = [\"src/**\"]\noutputs = [\"out/\", \"app\"]\n{}",
        tool(
            "test ! -e other; mkdir -p out; cat src/* > out/all; printf x > app; chmod 750 app; ln -s nowhere out/link"
        )
    ));
    let bytes: Vec<u8> = (0..=255).cycle().take(150_000).collect();
    project.write("src/a b", &bytes);
    project.write("src/it's\nodd", "odd");
    project.write("other", "");
    finish(lima.with_lima(project.command(["run", "--workspace-mode", "guest"]))).code(0);
    assert_eq!(
        std::fs::read(project.path("out/all")).unwrap(),
        [bytes.as_slice(), b"odd"].concat()
    );
    assert_eq!(project.path("app").metadata().unwrap().mode() & 0o777, 0o750);
    assert_eq!(
        std::fs::read_link(project.path("out/link")).unwrap(),
        Path::new("nowhere")
    );
}

/// Starts the instance once more.
fn power_off(lima: &Lima) {
    forget_begun(lima);
    let project = lima.project(&tool("echo half > made; sync; touch begun; sleep 7311"));
    let before = project.tree();
    let child = lima.start(&project, &["run"]);
    until(BOOT, "the tool to begin", begun(lima, &project));
    // As if the cable were pulled.
    lima.guest("sudo -n sh -c 'echo o >/proc/sysrq-trigger'");
    let ran = end(child, BOOT);
    ran.code(75).says("was lost");
    assert!(!ran.kept().is_empty());
    assert_eq!(project.tree(), before);
}
