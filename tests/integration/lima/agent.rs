//! The agent in the guest of a scripted limactl: how it gets there, and what is done without it.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use serde_json::Value;

use crate::support::{Ran, devshell_vm, finish};

use super::scripted::{Lima, TRUE, agent_name, set_agent, set_carry};

/// What a run says of its session, with its end.
fn ready(lima: &Lima, more: &[&str]) -> (Ran, Value) {
    let arguments = [&["run", "--output", "json"], more].concat();
    let ran = lima.project.devshell(&arguments);
    let events = ran.out();
    let ready = events
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .find(|event| event["type"] == "session_ready");
    (ran, ready.unwrap_or_default())
}

fn why(ready: &Value) -> &str {
    ready["why"].as_str().unwrap_or_default()
}

fn without_agent() -> (Lima, PathBuf) {
    let lima = Lima::running(TRUE);
    let there = lima.guest_cache().join(agent_name());
    std::fs::remove_file(&there).unwrap();
    (lima, there)
}

#[test]
fn the_agent_is_put_there_once_and_whole() {
    let (lima, there) = without_agent();
    let old = there.with_file_name("devshell-vm-of-long-ago");
    std::fs::write(&old, "").unwrap();
    let touched = std::process::Command::new("touch")
        .args(["-d", "2020-01-01"])
        .arg(&old)
        .status();
    assert!(touched.unwrap().success());
    let (ran, said) = ready(&lima, &[]);
    ran.code(0);
    assert!(why(&said).starts_with("the tree is carried to `"), "{said}");
    assert_eq!(std::fs::read(&there).unwrap(), std::fs::read(devshell_vm()).unwrap());
    let first = there.metadata().unwrap();
    assert_eq!(first.mode() & 0o777, 0o755);
    assert!(!old.exists());
    lima.run().code(0);
    assert_eq!(there.metadata().unwrap().ino(), first.ino());
    // And the trees.
    let names = std::fs::read_dir(lima.guest_cache()).unwrap().count();
    assert_eq!(names, 2);
}

#[test]
fn a_run_asks_limactl_once_however_many_tools_it_has() {
    let more: String = (0..5)
        .map(|n| format!("[[tool]]\nname = \"t{n}\"\nrun = [\"true\"]\n"))
        .collect();
    let lima = Lima::running(&more);
    let calls = || {
        lima.put("calls", "");
        lima.run().code(0);
        let calls = lima.get("calls");
        let of = |command: &str| calls.lines().filter(|line| line.starts_with(command)).count();
        (of("list "), of("shell "))
    };
    assert_eq!(calls(), (1, 1));
    // What the first has found is enough for the next.
    assert_eq!(calls(), (0, 1));
    // Where it does not lead to the agent any more, the long way finds out why.
    std::fs::remove_file(lima.guest_cache().join(agent_name())).unwrap();
    assert_eq!(calls(), (1, 2));
    assert_eq!(calls(), (0, 1));
    lima.put("status", "Stopped");
    lima.run().code(0).says("limactl start: READY");
}

#[test]
fn the_shortest_way_is_by_ssh_where_limactl_has_written_a_config_for_it() {
    let lima = Lima::running(TRUE);
    lima.put("ssh-config", "/l/t/ssh.config");
    lima.put("shell", "/bin/sh");
    let (bin, log) = (lima.project.beside("bin"), lima.project.beside("ssh-calls"));
    std::fs::create_dir(&bin).unwrap();
    // As sshd has the user's shell run it.
    let script = format!(
        "#!/bin/sh\nprintf '%s\\n' \"$@\" >>{}\nfor last; do :; done\nSHELL=/none exec sh -c \"$last\"\n",
        log.display()
    );
    std::fs::write(bin.join("ssh"), script).unwrap();
    std::fs::set_permissions(bin.join("ssh"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let run = || {
        lima.put("calls", "");
        let mut command = lima.project.command(["run"]);
        command.env("PATH", &path);
        finish(command).code(0);
        lima.get("calls")
    };
    run();
    assert!(!log.exists());
    assert_eq!(run(), "");
    let said = std::fs::read_to_string(&log).unwrap();
    assert!(said.starts_with("-F\n/l/t/ssh.config\n-T\n"), "{said}");
    assert!(said.contains("\nlima-t\n--\n"), "{said}");
    // Where there is no ssh, limactl is asked.
    std::fs::remove_file(bin.join("ssh")).unwrap();
    std::fs::write(bin.join("ssh"), "#!/bin/sh\nexit 255\n").unwrap();
    std::fs::set_permissions(bin.join("ssh"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    assert!(run().contains("shell "));
}

#[test]
fn the_shortest_way_proves_the_mount_too() {
    set_carry("mount");
    let lima = Lima::running(TRUE);
    lima.run().code(0);
    let elsewhere = lima.project.beside("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    let mounts = format!(
        "[{{\"location\":\"{}\",\"mountPoint\":\"{}\",\"writable\":true}}]",
        lima.project.beside("shared").display(),
        elsewhere.display()
    );
    lima.put("mounts", &mounts);
    let key = std::fs::read_dir(lima.project.beside("shared")).unwrap();
    for key in key.flatten() {
        std::fs::create_dir(elsewhere.join(key.file_name())).unwrap();
    }
    let set = format!("vm.guest_workspace={}", elsewhere.display());
    lima.project
        .devshell(&["run", "--set", &set])
        .code(69)
        .says("does not work");
}

#[test]
fn a_program_that_cannot_serve_there_is_done_without_and_the_reason_told() {
    let (lima, there) = without_agent();
    // Nothing can be put there.
    std::fs::remove_dir(there.parent().unwrap()).unwrap();
    std::fs::write(there.parent().unwrap(), "").unwrap();
    let (ran, said) = ready(&lima, &[]);
    ran.code(0);
    assert!(
        why(&said).contains("without the agent: it cannot be run there"),
        "{said}"
    );
    // Another machine.
    let lima = without_agent().0;
    lima.put("arch", "s390x");
    let (ran, said) = ready(&lima, &[]);
    ran.code(0);
    assert!(why(&said).contains("and the guest is s390x"), "{said}");
    // One that is broken there is replaced.
    let (lima, there) = without_agent();
    std::os::unix::fs::symlink("/bin/true", &there).unwrap();
    let (ran, said) = ready(&lima, &[]);
    ran.code(0);
    assert!(!why(&said).contains("without the agent"), "{said}");
    assert!(there.symlink_metadata().unwrap().is_file());
    set_agent("off");
    let (ran, said) = ready(&Lima::running(TRUE), &[]);
    ran.code(0);
    assert_eq!(why(&said), "mounted by 9p");
}

#[test]
fn an_agent_that_is_named_is_not_done_without() {
    let lima = without_agent().0;
    let named = |program: &str| {
        let set = format!("vm.lima.agent={program}");
        lima.project.devshell(&["run", "--set", &set])
    };
    named("/no/such").code(69).says("vm.lima.agent: there is no `/no/such`");
    named("/etc/passwd").code(69).says("is no program for Linux");
    // For this machine, and no sidecar.
    named("/bin/true").code(69).says("vm.lima.agent names `/bin/true`");
    let broken = lima.project.beside("broken");
    let bytes = std::fs::read("/bin/true").unwrap();
    std::fs::write(&broken, &bytes[..4096]).unwrap();
    named(&broken.to_string_lossy())
        .code(69)
        .says("it cannot be run there")
        .says("`auto` does without it");
    named(&devshell_vm().to_string_lossy()).code(0);
    named("off").code(0);
}

#[test]
fn isolation_is_what_the_agent_says_and_else_none() {
    let lima = Lima::running(TRUE);
    let require = |level: &str| {
        lima.project
            .devshell(&["run", "--set", &format!("sandbox.require={level}")])
    };
    let (ran, said) = ready(&lima, &[]);
    ran.code(0);
    let contained = said["isolation"] == "processes";
    assert!(contained || said["isolation"] == "none", "{said}");
    require("processes").code(if contained { 0 } else { 71 });
    require("view").code(71).says("sandbox.require is `view`");
    set_agent("off");
    Lima::running(TRUE)
        .project
        .devshell(&["run", "--set", "sandbox.require=processes"])
        .code(71)
        .says("reaches `none`")
        .says("vm.lima.agent");
}
