//! Making an instance ready, with a scripted limactl and every failure that it knows.

use std::os::unix::fs::PermissionsExt;

use crate::support::{alive, wait_for};

use super::scripted::{Lima, TRUE, in_each_way, script};

in_each_way!(
    a_compiler_is_installed_where_there_is_none_and_the_config_asks_for_it,
    an_instance_is_made_started_and_stopped_where_the_config_asks_for_it,
    an_instance_that_ran_before_is_not_stopped,
    an_instance_that_another_live_run_uses_is_not_stopped_and_a_dead_one_does_not_count,
    a_broken_instance_is_mended_once,
    whatever_is_not_ready_is_69_with_the_cause_and_what_helps,
    a_limactl_that_is_missing_is_69_and_nothing_runs_elsewhere,
    a_start_that_takes_too_long_is_69_and_is_called_off;
    mount:
    a_mount_that_is_missing_or_read_only_is_69_with_the_lines_to_add_also_where_a_folder_lies_there,
    a_mount_that_is_configured_and_does_not_work_is_69,
);

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

fn an_instance_that_ran_before_is_not_stopped() {
    let lima = Lima::running(&format!("stop_on_exit = true\n{TRUE}"));
    lima.run().code(0);
    assert_eq!(lima.get("status"), "Running");
}

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
            Lima::new("Stopped", TRUE).wrong("virtiofs"),
            "failed to locate virtiofsd",
            "mountType `9p`",
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

fn a_limactl_that_is_missing_is_69_and_nothing_runs_elsewhere() {
    let lima = Lima::running(&script("touch ran"));
    std::fs::remove_file(lima.project.beside("lima/limactl")).unwrap();
    lima.run().code(69).says("vm.lima.limactl");
    assert!(!lima.project.exists("ran"));
}

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

fn a_start_that_takes_too_long_is_69_and_is_called_off() {
    let lima = Lima::new("Stopped", TRUE).wrong("slow");
    let ran = lima.project.devshell(&["run", "--set", "vm.ready_timeout=2s"]);
    ran.code(69).says("vm.ready_timeout").says("called off");
    let starting: u32 = lima.get("starting").parse().unwrap();
    wait_for(|| !alive(starting), "limactl to end");
    assert!(lima.get("calls").contains("stop --force t"));
}

/// A guest without a C compiler, whose package manager does as told by these scripts.
fn without_cc(apt_get: &str) -> Lima {
    let lima = Lima::running(&format!("auto_build_essential = true\n{TRUE}"));
    let bin = lima.project.beside("lima/bin");
    std::fs::create_dir(&bin).unwrap();
    let own = ["cc", "sudo", "apt-get"];
    for folder in ["/bin", "/usr/bin"] {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            if !own.iter().any(|name| entry.file_name() == *name) {
                let _ = std::os::unix::fs::symlink(entry.path(), bin.join(entry.file_name()));
            }
        }
    }
    let program = |name: &str, script: &str| {
        std::fs::write(bin.join(name), format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(bin.join(name), PermissionsExt::from_mode(0o755)).unwrap();
    };
    program("sudo", "while [ \"${1#-}\" != \"$1\" ]; do shift; done; exec \"$@\"");
    let log = lima.project.beside("installed");
    program(
        "apt-get",
        &format!("echo \"$DEBIAN_FRONTEND $*\" >>{}\n{apt_get}", log.display()),
    );
    lima
}

fn a_compiler_is_installed_where_there_is_none_and_the_config_asks_for_it() {
    let lima = without_cc("[ $1 = update ] || ln -s /bin/true \"$(dirname \"$0\")/cc\"");
    let log = lima.project.beside("installed");
    lima.run()
        .code(0)
        .says("has no C compiler: build-essential is installed");
    let done = std::fs::read_to_string(&log).unwrap();
    assert_eq!(
        done,
        "noninteractive update -q\nnoninteractive install -y -q build-essential\n"
    );
    // Now there is one.
    let ran = lima.run();
    assert!(!ran.code(0).stderr.contains("C compiler"), "{}", ran.stderr);
    assert_eq!(std::fs::read_to_string(&log).unwrap(), done);
    let lima = without_cc("echo 'E: Unable to locate package build-essential' >&2; exit 100");
    lima.run()
        .code(69)
        .says("vm.lima.auto_build_essential")
        .says("Unable to locate package");
    lima.project
        .devshell(&["run", "--set", "vm.lima.auto_build_essential=false"])
        .code(0);
}
