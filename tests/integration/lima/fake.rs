//! A scripted limactl: what devshell makes of its answers, failures included. The "guest" is this
//! host, with the workspace's parent at its own path.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::support::{Project, Ran, alive, processes_with, wait_for};

struct Lima {
    project: Project,
}

const MOUNTED: &str = "[{\"location\":\"PARENT\",\"mountPoint\":\"PARENT\",\"writable\":true}]";

impl Lima {
    /// A project whose tools run in an instance with this status; none where it is empty.
    fn new(status: &str, more: &str) -> Self {
        let project = Project::named("project");
        let place = project.beside("lima");
        std::fs::create_dir_all(place.join("state")).unwrap();
        let limactl = place.join("limactl");
        std::fs::write(&limactl, include_str!("limactl.sh")).unwrap();
        std::fs::set_permissions(&limactl, PermissionsExt::from_mode(0o755)).unwrap();
        let parent = project.beside("shared");
        std::fs::create_dir(&parent).unwrap();
        let toml = format!(
            "[vm]\nbackend = \"lima\"\nworkspace_parent = \"{0}\"\nguest_workspace = \"{0}\"\n[vm.lima]\ninstance = \
             \"t\"\nlimactl = \"{1}\"\n{more}",
            parent.display(),
            limactl.display()
        );
        project.write("devshell.toml", toml);
        let lima = Self { project };
        lima.put("mounts", &MOUNTED.replace("PARENT", &parent.to_string_lossy()));
        if !status.is_empty() {
            lima.put("status", status);
        }
        lima
    }

    fn running(more: &str) -> Self {
        Self::new("Running", more)
    }

    fn state(&self, name: &str) -> PathBuf {
        self.project.beside("lima").join("state").join(name)
    }

    fn put(&self, name: &str, text: &str) {
        std::fs::write(self.state(name), text).unwrap();
    }

    fn get(&self, name: &str) -> String {
        std::fs::read_to_string(self.state(name))
            .unwrap_or_default()
            .trim()
            .to_owned()
    }

    /// As [`Self::new`], where one thing goes wrong.
    fn wrong(self, what: &str) -> Self {
        self.put(&format!("wrong-{what}"), "");
        self
    }

    fn run(&self) -> Ran {
        self.project.run()
    }
}

const TRUE: &str = "[[tool]]\nname = \"t\"\nrun = [\"true\"]\n";

fn script(script: &str) -> String {
    format!("[[tool]]\nname = \"t\"\nscript = '''{script}'''\n")
}

#[test]
fn the_tree_goes_there_and_what_a_tool_changed_comes_back() {
    let lima = Lima::running(&script(
        "test -x keep; rm gone; echo new > made; mkdir -p a/b; ln -s nowhere a/link; chmod 640 mode; rm was; mkdir was",
    ));
    for name in ["keep", "gone", "mode", "was"] {
        lima.project.write(name, name);
    }
    let keep = lima.project.path("keep");
    std::fs::set_permissions(&keep, PermissionsExt::from_mode(0o755)).unwrap();
    lima.run().code(0).says("committed");
    let at = |name: &str| lima.project.path(name);
    assert!(!lima.project.exists("gone") && at("was").is_dir() && at("a/b").is_dir());
    assert_eq!(lima.project.read("made"), "new\n");
    assert_eq!(std::fs::read_link(at("a/link")).unwrap().to_str(), Some("nowhere"));
    assert_eq!(at("mode").metadata().unwrap().permissions().mode() & 0o777, 0o640);
}

#[test]
fn arguments_environment_and_folder_arrive_as_they_are() {
    let lima = Lima::running(
        "[[tool]]\nname = \"t\"\ncwd = \"sub\"\nrun = [\"sh\", \"-c\", 'printf \"<%s>\" \"$0\" \"$@\" \"$X\"; pwd', \
         \"A=b\", \"it's\", \"two\\nlines\", \"ä\", \"\", \"$HOME\"]\nenv = { X = \"q'\\\"\\n$(id)\" }\n",
    )
    .wrong("motd");
    lima.project.write("sub/f", "");
    let ran = lima.run();
    let out = ran.code(0).out();
    let expected = "<A=b><it's><two\nlines><ä><><$HOME><q'\"\n$(id)>";
    assert!(out.starts_with(expected), "{out}");
    assert!(out.ends_with("/project/sub\n"), "{out}");
    // What a login shell says is not the tool's.
    assert!(
        !out.contains("Welcome") && !ran.stderr.contains("to the guest"),
        "{out}{}",
        ran.stderr
    );
}

#[test]
fn a_tools_own_end_is_told_from_every_other() {
    for (text, code, says) in [
        ("exit 255", 255, "class=tool"),
        ("exit 137", 137, "class=tool"),
        ("kill -9 $$", 137, "SIGKILL"),
        ("exec nonesuch-program", 127, "class=tool"),
        ("exec >&- 2>&-; exit 3", 3, "class=tool"),
    ] {
        Lima::running(&script(text)).run().code(code).says(says);
    }
    let run = |argv: &str| Lima::running(&format!("[[tool]]\nname = \"t\"\nrun = [{argv}]\n")).run();
    run("\"nonesuch-program\"")
        .code(127)
        .says("was not found in PATH of the guest");
    run("\"/etc/passwd\"").code(126).says("cannot be executed in the guest");
}

#[test]
fn output_is_whole_and_apart_however_much_there_is() {
    let lima = Lima::running(&script("head -c 3000000 /dev/zero | tr '\\000' x; echo done >&2"));
    let ran = lima.run();
    ran.code(0).says("done");
    assert_eq!(ran.stdout.len(), 3_000_000);
    assert!(ran.stdout.iter().all(|byte| *byte == b'x'));
}

#[test]
fn nothing_that_a_tool_left_survives_it_and_it_is_named() {
    let mark = format!("98{}", std::process::id());
    let lima = Lima::running(&script(&format!(
        "sleep {mark}1 & env -i setsid sleep {mark}2 & exit 0"
    )));
    let ran = lima.run();
    ran.code(0)
        .says("left 2 processes running")
        .says(&format!("sleep {mark}1"));
    assert!(processes_with(&format!("sleep {mark}")).is_empty());
}

#[test]
fn a_timeout_ends_everything_in_the_guest_also_what_does_not_listen() {
    let mark = format!("97{}", std::process::id());
    let lima = Lima::running(&format!(
        "[[tool]]\nname = \"t\"\ntimeout = \"3s\"\ngrace_period = \"1s\"\nscript = \"trap '' TERM; setsid sleep {mark} & \
         while :; do sleep {mark}; done\"\n"
    ));
    lima.run().code(124).says("class=timeout");
    wait_for(
        || processes_with(&format!("sleep {mark}")).is_empty(),
        "the tool's processes to end",
    );
}

#[test]
fn an_interrupt_ends_the_tool_in_the_guest() {
    let mark = format!("96{}", std::process::id());
    let lima = Lima::running("");
    let started = lima.project.beside("started");
    let text = std::fs::read_to_string(lima.project.path("devshell.toml")).unwrap();
    let tool = script(&format!("touch {}; sleep {mark}", started.display()));
    lima.project.write("devshell.toml", text + &tool);
    let running = lima.project.start_until(&["run"], &started);
    running.signal("INT");
    running.end().code(130).says("class=interrupted");
    wait_for(
        || processes_with(&format!("sleep {mark}")).is_empty(),
        "the tool's processes to end",
    );
}

#[test]
fn a_stop_finds_the_tool_also_where_the_sessions_own_connection_is_gone() {
    let mark = format!("93{}", std::process::id());
    let lima = Lima::running("");
    let started = lima.project.beside("started");
    let text = std::fs::read_to_string(lima.project.path("devshell.toml")).unwrap();
    let tool = script(&format!("touch {}; sleep {mark}", started.display()));
    lima.project.write("devshell.toml", text + &tool);
    let running = lima.project.start_until(&["run"], &started);
    // The guest's end of it, stopped and not ended: nothing there notices anything.
    let line: Vec<u32> = processes_with("The resident shell of a session")
        .into_iter()
        .filter(|pid| parent(*pid) == Some(running.child.id()))
        .collect();
    assert_eq!(line.len(), 1);
    let send = |signal: &str| {
        let sent = std::process::Command::new("kill")
            .args(["-s", signal, &line[0].to_string()])
            .status();
        assert!(sent.unwrap().success());
    };
    send("STOP");
    running.signal("TERM");
    let ran = running.end();
    assert!(matches!(ran.status.code(), Some(143 | 75)), "{}", ran.stderr);
    wait_for(
        || processes_with(&format!("sleep {mark}")).is_empty(),
        "the tool's processes to end",
    );
}

fn parent(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()
}

#[test]
fn a_devshell_that_is_killed_leaves_nothing_running_in_the_guest() {
    let mark = format!("95{}", std::process::id());
    let lima = Lima::running("");
    let started = lima.project.beside("started");
    let text = std::fs::read_to_string(lima.project.path("devshell.toml")).unwrap();
    let tool = script(&format!(
        "touch {}; setsid sleep {mark} & sleep {mark}",
        started.display()
    ));
    lima.project.write("devshell.toml", text + &tool);
    let running = lima.project.start_until(&["run"], &started);
    running.signal("KILL");
    running.end();
    wait_for(
        || processes_with(&format!("sleep {mark}")).is_empty(),
        "the tool's processes to end",
    );
}

#[test]
fn a_connection_that_is_lost_is_75_and_the_tree_is_as_it_was_and_the_result_kept() {
    let mark = format!("94{}", std::process::id());
    let lima = Lima::running("").wrong("dies");
    let started = lima.project.beside("started");
    let text = std::fs::read_to_string(lima.project.path("devshell.toml")).unwrap();
    let tool = script(&format!("echo new > made; touch {}; sleep {mark}", started.display()));
    lima.project.write("devshell.toml", text + &tool);
    let before = lima.project.tree();
    let running = lima.project.start_until(&["run"], &started);
    let client: u32 = lima.get("client").parse().unwrap();
    assert!(alive(client));
    std::process::Command::new("kill")
        .args(["-KILL", &client.to_string()])
        .status()
        .unwrap();
    let ran = running.end();
    ran.code(75).says("the connection was lost while the tool ran");
    assert!(!ran.kept().is_empty());
    assert_eq!(lima.project.tree(), before);
    wait_for(
        || processes_with(&format!("sleep {mark}")).is_empty(),
        "the tool's processes to end",
    );
}

#[test]
fn an_instance_is_made_started_and_stopped_where_the_config_asks_for_it() {
    let lima = Lima::new("", &format!("template = \"template:x\"\nstop_on_exit = true\n{TRUE}"));
    lima.run()
        .code(0)
        .says("is made from `template:x`")
        .says("limactl start: READY");
    assert_eq!(lima.get("status"), "Stopped");
    let calls = lima.get("calls");
    let create = calls.lines().find(|line| line.contains(" create ")).unwrap();
    for part in [
        "--tty=false",
        "--name=t",
        "--cpus=2",
        "--memory=4.000",
        "--disk=20.000",
        "mountPoint",
        "template:x",
    ] {
        assert!(create.contains(part), "{part}: {create}");
    }
}

#[test]
fn an_instance_that_ran_before_is_not_stopped() {
    let lima = Lima::running(&format!("stop_on_exit = true\n{TRUE}"));
    lima.run().code(0);
    assert_eq!(lima.get("status"), "Running");
}

#[test]
fn an_instance_that_another_live_run_uses_is_not_stopped_and_a_dead_one_does_not_count() {
    let lima = Lima::new("Stopped", &format!("stop_on_exit = true\n{TRUE}"));
    let leases = lima.project.beside("cache/devshell/lima/t");
    std::fs::create_dir_all(&leases).unwrap();
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let started = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .nth(19)
        .unwrap()
        .to_owned();
    let live = leases.join("run-live");
    std::fs::write(&live, format!("{} {started} {}", std::process::id(), boot.trim())).unwrap();
    lima.run().code(0);
    assert_eq!(lima.get("status"), "Running");
    std::fs::write(&live, format!("{} {started} another-boot", std::process::id())).unwrap();
    lima.put("status", "Stopped");
    lima.run().code(0);
    assert_eq!(lima.get("status"), "Stopped");
    assert!(!live.exists());
}

#[test]
fn a_broken_instance_is_mended_once() {
    let lima = Lima::new("Broken", TRUE);
    lima.put("errors", "\"the host agent is not running\"");
    lima.run()
        .code(0)
        .says("the host agent is not running")
        .says("started anew");
    assert!(lima.get("calls").contains("stop --force t"));
    let lima = Lima::new("Broken", TRUE).wrong("start-breaks");
    lima.run().code(69).says("is Broken after it was started");
    assert_eq!(lima.get("calls").matches(" start ").count(), 1);
}

#[test]
fn whatever_is_not_ready_is_69_with_the_cause_and_what_helps() {
    let cases = [
        (Lima::new("", TRUE), "there is no Lima instance `t`", "create --name=t"),
        (
            Lima::new("", &format!("template = \"template:none\"\n{TRUE}")).wrong("template"),
            "not found",
            "--list-templates",
        ),
        (
            Lima::new("", &format!("template = \"template:x\"\n{TRUE}")).wrong("room"),
            "no space left",
            "LIMA_HOME",
        ),
        (
            Lima::new("Stopped", TRUE).wrong("kvm"),
            "Permission denied",
            "usermod -aG kvm",
        ),
        (
            Lima::new("Stopped", TRUE).wrong("sshd"),
            "essential requirement",
            "sshd does not answer",
        ),
        (
            Lima::running(TRUE).wrong("root"),
            "must not run as the root user",
            "ordinary user",
        ),
        (
            Lima::running(TRUE).wrong("ssh"),
            "Connection closed by remote host",
            "cannot be reached",
        ),
    ];
    for (lima, cause, helps) in cases {
        let before = lima.project.tree();
        lima.run().code(69).says(cause).says(helps);
        assert_eq!(lima.project.tree(), before);
    }
}

#[test]
fn a_limactl_that_is_missing_is_69_and_nothing_runs_elsewhere() {
    let lima = Lima::running(&script("touch ran"));
    std::fs::remove_file(lima.project.beside("lima/limactl")).unwrap();
    lima.run().code(69).says("vm.lima.limactl");
    assert!(!lima.project.exists("ran"));
}

#[test]
fn a_mount_that_is_missing_or_read_only_is_69_with_the_lines_to_add_also_where_a_folder_lies_there() {
    let lima = Lima::new("Stopped", TRUE);
    let parent = lima.project.beside("shared");
    lima.put("mounts", "[]");
    let ran = lima.run();
    ran.code(69)
        .says(&format!("- location: \"{}\"", parent.display()))
        .says("mountPoint:")
        .says("writable: true");
    // It is not started for that.
    assert_eq!(lima.get("status"), "Stopped");
    let location = format!("[{{\"location\":\"{0}\",\"mountPoint\":\"{0}\"}}]", parent.display());
    lima.put("mounts", &location);
    lima.run().code(69).says("only for reading");
}

#[test]
fn a_mount_that_is_configured_and_does_not_work_is_69() {
    let lima = Lima::running(TRUE);
    // What the instance shows there is another folder.
    let elsewhere = lima.project.beside("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    let parent = lima.project.beside("shared");
    lima.put(
        "mounts",
        &format!(
            "[{{\"location\":\"{}\",\"mountPoint\":\"{}\",\"writable\":true}}]",
            parent.display(),
            elsewhere.display()
        ),
    );
    let set = format!("vm.guest_workspace={}", elsewhere.display());
    lima.project
        .devshell(&["run", "--set", &set])
        .code(69)
        .says("does not work");
}

#[test]
fn a_start_that_takes_too_long_is_69_and_is_called_off() {
    let lima = Lima::new("Stopped", TRUE).wrong("slow");
    let ran = lima.project.devshell(&["run", "--set", "vm.ready_timeout=2s"]);
    ran.code(69).says("vm.ready_timeout").says("called off");
    let starting: u32 = lima.get("starting").parse().unwrap();
    wait_for(|| !alive(starting), "limactl to end");
    assert!(lima.get("calls").contains("stop --force t"));
}

#[test]
fn in_guest_mode_inputs_go_in_and_outputs_come_out_byte_by_byte() {
    let lima = Lima::running(&format!(
        "[workspace]\ninputs = [\"src/**\"]\noutputs = [\"out/\", \"app\"]\n{}",
        script(
            "test ! -e other; mkdir -p out; cat src/* > out/all; printf x > app; chmod 750 app; ln -s nowhere out/link"
        )
    ));
    let bytes: Vec<u8> = (0..=255).cycle().take(150_000).collect();
    lima.project.write("src/a b", &bytes);
    lima.project.write("src/it's\nodd", "odd");
    lima.project.write("other", "");
    let run = || lima.project.devshell(&["run", "--workspace-mode", "guest"]);
    run().code(0);
    let all = std::fs::read(lima.project.path("out/all")).unwrap();
    assert_eq!(all, [bytes.as_slice(), b"odd"].concat());
    assert_eq!(
        lima.project.path("app").metadata().unwrap().permissions().mode() & 0o777,
        0o750
    );
    assert_eq!(
        std::fs::read_link(lima.project.path("out/link")).unwrap().to_str(),
        Some("nowhere")
    );
    // An output that no tool makes, in a guest that still has that of before.
    let set = "workspace.outputs=[\"nonesuch\"]";
    let ran = lima
        .project
        .devshell(&["run", "--workspace-mode", "guest", "--set", set]);
    ran.code(74).says("nonesuch");
}

#[test]
fn a_guest_that_lacks_a_compiler_is_told_of_it_unless_hints_are_off() {
    let tool = script("echo 'error: linker `cc` not found' >&2; exit 1");
    Lima::running(&tool).run().code(1).says("build-essential");
    let ran = Lima::running(&format!("hints = false\n{tool}")).run();
    assert!(!ran.code(1).stderr.contains("build-essential"), "{}", ran.stderr);
}

#[test]
fn the_doctor_looks_into_a_guest_that_runs_and_starts_none() {
    let checks = |lima: &Lima| {
        let ran = lima.project.devshell(&["doctor", "--json", "--backend", "lima"]);
        let report: serde_json::Value = serde_json::from_slice(&ran.stdout).unwrap();
        let backends = report["backends"].as_array().unwrap().clone();
        let of_lima = backends
            .into_iter()
            .find(|backend| backend["backend"] == "lima")
            .unwrap();
        of_lima["checks"].as_array().unwrap().clone()
    };
    let has = |checks: &[serde_json::Value], name: &str| checks.iter().any(|check| check["check"] == name);
    let lima = Lima::running(TRUE);
    let running = checks(&lima);
    assert!(
        has(&running, "cc") && has(&running, "cargo") && has(&running, "disk"),
        "{running:#?}"
    );
    let dead = checks(&Lima::running(TRUE).wrong("ssh"));
    let ssh = dead.iter().find(|check| check["check"] == "ssh").unwrap();
    assert!(ssh.to_string().contains("Connection closed by remote host"), "{ssh}");
    let stopped = Lima::new("Stopped", TRUE);
    assert!(!has(&checks(&stopped), "cc"));
    assert!(!stopped.get("calls").contains("start"));
}

#[test]
fn the_library_runs_in_the_guest_and_hands_out_its_files() {
    use devshell::{GuestFsError, SessionHolder, Vfs, VmConfig, VmError};
    let lima = Lima::running(TRUE);
    let config = |mode: &str, limactl: &str| {
        let shared = lima.project.beside("shared").to_string_lossy().into_owned();
        let vars = [
            ("DEVSHELL_VM_BACKEND", "lima"),
            ("DEVSHELL_VM_LIMACTL", limactl),
            ("DEVSHELL_VM_LIMA_INSTANCE", "t"),
            ("DEVSHELL__VM__WORKSPACE_PARENT", &shared),
            ("DEVSHELL__VM__GUEST_WORKSPACE", &shared),
            ("DEVSHELL__VM__WORKSPACE_MODE", mode),
        ];
        let vars = vars.map(|(name, value)| (name.into(), value.into()));
        VmConfig::from_vars(vars, "/".into()).unwrap()
    };
    let limactl = lima.project.beside("lima/limactl").to_string_lossy().into_owned();
    let missing = SessionHolder::try_from_config(&config("sync", "/no/such/limactl"));
    assert!(matches!(missing, Err(VmError::Lima(_))));

    let mut session = SessionHolder::try_from_config(&config("sync", &limactl)).unwrap();
    let mut vfs = Vfs::from_dir(&lima.project.root).unwrap();
    session.ensure_ready(&vfs, "/project").unwrap();
    assert!(!session.is_host_only() && !session.is_guest_primary_gamma());
    let script = ["-c", "echo x > made; exit 7"].map(str::to_owned);
    let status = session.run_rust_tool(&mut vfs, "/project", "sh", &script).unwrap();
    assert_eq!(status.code(), Some(7));
    session.shutdown(&mut vfs, "/project").unwrap();
    assert!(vfs.exists(devshell::vfs::VfsPath::parse("/project/made").unwrap()));

    let mut session = SessionHolder::try_from_config(&config("guest", &limactl)).unwrap();
    session.ensure_ready(&vfs, "/project").unwrap();
    assert!(session.is_guest_primary_gamma() && session.guest_primary_gamma_mut().is_some());
    let outside = lima.project.beside("outside");
    std::fs::create_dir(&outside).unwrap();
    let (files, mount) = session.guest_primary_fs_ops_mut().unwrap();
    let at = |name: &str| format!("{mount}/{name}");
    files.mkdir(&at("a/b")).unwrap();
    files.write_file(&at("a/it's\n"), b"x\0y").unwrap();
    assert_eq!(files.read_file(&at("a/it's\n")).unwrap(), b"x\0y");
    assert_eq!(files.list_dir(&at("a")).unwrap(), ["b", "it's\n"]);
    assert!(matches!(files.read_file(&at("a")), Err(GuestFsError::IsADirectory(_))));
    assert!(matches!(
        files.write_file(&at("a/b"), b""),
        Err(GuestFsError::IsADirectory(_))
    ));
    assert!(matches!(
        files.write_file(&at("none/x"), b""),
        Err(GuestFsError::NotFound(_))
    ));
    assert!(matches!(
        files.mkdir(&at("a/it's\n/x")),
        Err(GuestFsError::NotADirectory(_))
    ));
    assert!(matches!(files.remove(&at("none")), Err(GuestFsError::NotFound(_))));
    assert!(matches!(files.remove(&mount), Err(GuestFsError::InvalidPath { .. })));
    assert!(matches!(files.list_dir("/etc"), Err(GuestFsError::InvalidPath { .. })));
    // A link that leads out is no way out.
    std::os::unix::fs::symlink(&outside, at("link")).unwrap();
    assert!(files.write_file(&at("link/x"), b"").is_err() && files.mkdir(&at("link/y")).is_err());
    assert!(std::fs::read_dir(&outside).unwrap().next().is_none());
    files.remove(&at("a")).unwrap();
    assert_eq!(files.list_dir(&mount).unwrap(), ["link", "project"]);
    session.shutdown(&mut vfs, "/project").unwrap();
}

#[test]
fn an_agent_that_is_named_is_not_done_without_in_silence() {
    let lima = Lima::running(TRUE);
    let set = |agent: &str| {
        lima.project
            .devshell(&["run", "--set", &format!("vm.lima.agent={agent}")])
    };
    set("/some/devshell-vm").code(69).says("vm.lima.agent");
    set("off").code(0);
}

#[test]
fn isolation_that_a_guest_does_not_give_is_71() {
    let lima = Lima::running(TRUE);
    lima.project
        .devshell(&["run", "--set", "sandbox.require=processes"])
        .code(71)
        .says("sandbox.require");
}
