//! What is tried in the real guest; the instance runs already.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::path::Path;
use std::process::{Child, Command};

use crate::support::{Project, Screen, finish, say};

use super::real::{BOOT, Lima, STEP, begun, end, forget_begun, tool, until};

/// A step by its name.
type Step = (&'static str, fn(&Lima));

/// By the resident shell, and by the agent with the tree carried.
pub(super) const EACH: [Step; 10] = [
    ("tree", tree),
    ("ends", ends),
    ("words", words),
    ("survivors", survivors),
    ("timeout", timeout),
    ("interrupt", interrupt),
    ("killed devshell", killed_devshell),
    ("killed limactl", killed_limactl),
    ("guest mode", guest_mode),
    ("shell", shell),
];

/// By the agent with the tree in the mount.
pub(super) const OF_MOUNT: [Step; 2] = [("tree", tree), ("killed limactl", killed_limactl)];

/// Which have nothing to do with that.
pub(super) const ONCE: [Step; 3] = [("compiler", compiler), ("no compiler", no_compiler), ("cargo", cargo)];

fn sleepers(lima: &Lima) -> String {
    lima.guest("ps -eo pid,args | grep '[s]leep 73' || true")
}

/// Section 9 across the mount.
fn tree(lima: &Lima) {
    let project = lima.project(&tool(
        "test -x keep; test \"$(stat -c %Y old)\" = 1577934245; test \"$(readlink link)\" = nowhere; test -d empty
         rm gone; echo new > made; mkdir -p a/b; ln -s /abs/olute a/link; chmod 640 mode; rm was; mkdir was; echo x > was/in
         rm -r folder; echo f > folder; printf 'a\\000b' > bytes; touch -d '2020-01-02 03:04:05.987654321' stamped; mkdir a/empty",
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
    let stamped = at("stamped").metadata().unwrap();
    assert_eq!(stamped.mtime(), 1_577_934_245);
    if lima.is_carried() {
        // The guest's 9p keeps no fractions.
        assert_eq!(stamped.mtime_nsec(), 987_654_321);
    }
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
    // Of the tool, or of the agent that has started it.
    let clients = [
        children(child.id(), "Starts one tool"),
        children(child.id(), "The resident shell"),
    ]
    .concat();
    // With the ssh that it has started.
    let group = format!("-{}", clients.first().expect("no limactl"));
    let killed = Command::new("kill").args(["-s", "KILL", "--", &group]).status();
    assert!(killed.unwrap().success());
    let ran = end(child, STEP);
    ran.code(75).says("was lost").says("the connection");
    // What was carried there is out of reach.
    assert!(lima.is_carried() || !ran.kept().is_empty());
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

fn shell(lima: &Lima) {
    let project = lima.project("");
    project.write("file", "old\n");
    let mut screen = Screen::with(&project, &["shell", "--on-exit", "commit"], |command| {
        lima.equip(command)
    });
    screen.shows("$ ");
    screen.types("pwd; stty size; shopt login_shell; echo typed >file; setsid sleep 7312 &\n");
    screen.shows(if lima.is_carried() {
        "/.devshell-trees/"
    } else {
        "/workspace/"
    });
    screen.shows("33 111");
    screen.shows("login_shell    \ton");
    screen.types("exit 3\n");
    assert_eq!(screen.end().code(), Some(3), "{}", screen.text());
    assert_eq!(project.read("file"), "typed\n");
    assert_eq!(sleepers(lima), "");
}

/// Nor a place to install one from.
fn no_compiler(lima: &Lima) {
    lima.guest("cd /; sudo -n mv /usr/bin/cc /usr/bin/cc.away; sudo -n sh -c 'rm -rf /var/lib/apt/lists/*; >/etc/apt/sources.list'");
    let project = lima.project(&format!(
        "auto_build_essential = true\n{}",
        tool("echo 'linker `cc` not found' >&2; exit 1")
    ));
    let ran = lima.run(&project);
    let off = lima.with_lima(project.command(["run", "--set", "vm.lima.auto_build_essential=false"]));
    let told = finish(off);
    lima.guest("sudo -n mv /usr/bin/cc.away /usr/bin/cc");
    ran.code(69)
        .says("build-essential is installed in it")
        .says("cannot be installed in the Lima instance `t`");
    let said = ran.stderr.lines().find(|line| line.contains("cannot be installed"));
    say(&format!("lima::real: {}", said.unwrap_or_default()));
    told.code(1).says("the guest has no C compiler");
}

/// A crate is built there, runs here, and is not built again.
fn cargo(lima: &Lima) {
    let project = lima.project("[[tool]]\nname = \"cargo\"\nrun = [\"cargo\", \"build\", \"--offline\"]\n");
    project.write(
        "Cargo.toml",
        "[package]\nname = \"there\"\nversion = \"0.1.0\"\nedition = \"2021\"\n",
    );
    project.write("src/main.rs", "fn main() { println!(\"built there\"); }\n");
    let run = || end(lima.start(&project, &["run"]), BOOT);
    run().code(0).says("Compiling there");
    let said = Command::new(project.path("target/debug/there")).output().unwrap();
    assert_eq!(said.stdout, b"built there\n");
    let again = run();
    assert!(
        !again.code(0).says("Finished").stderr.contains("Compiling"),
        "{}",
        again.stderr
    );
}

/// Starts the instance once more.
pub(super) fn power_off(lima: &Lima) {
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
