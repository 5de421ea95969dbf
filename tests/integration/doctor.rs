//! `devshell doctor`, and the looks that a run takes before it costs anything.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;

use serde_json::Value;

use crate::support::{Disk, Project, Ran, finish, has, is_root, not_run, own_mounts, python, tree};

const ONE_TOOL: &str = "[[tool]]\nname = \"t\"\nrun = [\"true\"]\n";

fn report(ran: &Ran) -> Value {
    serde_json::from_slice(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {}\n{}", ran.out(), ran.stderr))
}

fn backend<'a>(report: &'a Value, name: &str) -> &'a Value {
    let mut backends = report["backends"].as_array().unwrap().iter();
    backends.find(|backend| backend["backend"] == name).unwrap()
}

fn check<'a>(checks: &'a Value, name: &str) -> &'a Value {
    let mut all = checks.as_array().unwrap().iter();
    let found = all.find(|check| check["check"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {checks:#}"))
}

/// Every list of checks of a report.
fn all(report: &Value) -> Vec<Value> {
    let backends = report["backends"].as_array().unwrap().iter();
    let lists = backends.map(|backend| &backend["checks"]);
    lists
        .chain([&report["workspace_checks"], &report["folders"], &report["programs"]])
        .flat_map(|list| list.as_array().unwrap().clone())
        .collect()
}

/// A limactl of the test's own, a shell script, in the place of the real one.
fn limactl(project: &Project, script: &str) -> String {
    let path = project.beside("limactl");
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = --version ] && {{ echo limactl version 9.9.9; exit; }}\nparent={}/devshell/staging\n{script}\n",
        project.beside("cache").display()
    );
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    format!("vm.lima.limactl={}", path.display())
}

#[test]
fn the_report_fits_its_published_schema_and_nothing_is_left_behind() {
    let project = Project::new(ONE_TOOL);
    let before = (
        project.tree(),
        tree(&project.beside("cache")),
        tree(&project.beside("state")),
    );
    let ran = project.devshell(&["doctor", "--json"]);
    let report = report(ran.code(0));
    let schema: Value = serde_json::from_str(include_str!("../../docs/doctor.schema.json")).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let faults: Vec<String> = validator.iter_errors(&report).map(|fault| fault.to_string()).collect();
    assert!(faults.is_empty(), "{faults:?}");
    assert_eq!(report["v"], 1);
    assert_eq!(
        (&report["configured"], &report["usable"]),
        (&"host".into(), &true.into())
    );
    assert!(report["config"].as_str().unwrap().ends_with("devshell.toml"));
    let after = (
        project.tree(),
        tree(&project.beside("cache")),
        tree(&project.beside("state")),
    );
    for (before, after) in [(before.0, after.0), (before.1, after.1), (before.2, after.2)] {
        after.same_as(&before).unwrap();
    }
}

#[test]
fn the_text_is_sorted_by_backend_and_has_colours_only_where_they_are_forced() {
    let project = Project::new(ONE_TOOL);
    let plain = project.devshell(&["doctor"]).code(0).out();
    assert!(!plain.contains('\u{1b}'), "{plain}");
    let at = |part: &str| plain.find(part).unwrap_or_else(|| panic!("no `{part}` in\n{plain}"));
    let heads = [
        "\nbeta: ",
        "\nhost: usable (configured",
        "\nlima: ",
        "\nremote: ",
        "\nworkspace\n",
        "\nfolders\n",
    ];
    assert!(heads.map(at).is_sorted(), "{plain}");
    assert!(plain.trim_end().ends_with("the configured backend, host, is usable"));
    let mut command = project.command(["doctor"]);
    command.env("CLICOLOR_FORCE", "1");
    assert!(finish(command).out().contains('\u{1b}'));
}

#[test]
fn every_problem_has_the_command_that_mends_it() {
    let project = Project::new(ONE_TOOL);
    let hung = limactl(&project, "echo 'broken pieces' >&2; exit 1");
    let cases: &[&[&str]] = &[
        &[],
        &["--backend", "lima"],
        &["--backend", "lima", "--set", &hung],
        &["--backend", "beta", "--set", "vm.beta.socket=unix:/no/socket"],
        &[
            "--backend",
            "beta",
            "--set",
            "vm.beta.socket=tcp:127.0.0.1:1",
            "--set",
            "vm.beta.token_file=/no/token",
        ],
        &[
            "--backend",
            "beta",
            "--set",
            "vm.beta.socket=stdio",
            "--set",
            "vm.beta.command=[\"no-such-program\"]",
        ],
        &["--backend", "remote", "--set", "vm.remote.header_file=/no/headers"],
        &["--set", "sandbox.network=false", "--set", "sandbox.require=view"],
        &["--set", "sandbox.host=ro", "--set", "sandbox.require=full"],
    ];
    for case in cases {
        let ran = project.devshell(&[&["doctor", "--json"], *case].concat());
        let report = report(&ran);
        for check in all(&report).iter().filter(|check| check["state"] == "problem") {
            let command = check["remedy"].as_str().unwrap_or_default();
            assert!(!command.is_empty(), "{case:?}: {check}");
        }
        let code = ran.status.code().unwrap();
        assert_eq!(report["exit_code"], code, "{case:?}");
        assert_eq!(report["usable"], code == 0, "{case:?}");
    }
}

#[test]
fn a_backend_that_is_not_usable_ends_with_69_and_a_config_that_is_not_with_66_or_78() {
    let project = Project::new(ONE_TOOL);
    let ran = project.devshell(&["doctor", "--backend", "remote"]);
    assert!(
        ran.code(69)
            .out()
            .contains("the configured backend, remote, is not usable")
    );
    project.devshell(&["doctor", "gone.toml"]).code(66);
    project.write("broken.toml", "[vm]\nbackend = \"nowhere\"\n");
    project
        .devshell(&["doctor", "broken.toml"])
        .code(78)
        .says("broken.toml:2:11");
    let bare = Project::named("bare");
    let ran = bare.devshell(&["doctor"]);
    assert!(ran.code(0).out().contains("no config: the defaults hold"));
}

#[test]
fn a_socket_that_somebody_listens_on_is_told_from_a_dead_one() {
    let project = Project::new(ONE_TOOL);
    let path = project.beside("s.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let set = format!("vm.beta.socket=unix:{}", path.display());
    let args = ["doctor", "--json", "--set", &set];
    let socket = |ran: &Ran| check(&backend(&report(ran), "beta")["checks"], "socket").clone();
    assert_eq!(socket(&project.devshell(&args))["state"], "ok");
    drop(listener);
    let dead = socket(&project.devshell(&args));
    assert_eq!(dead["state"], "problem");
    assert_eq!(dead["remedy"], format!("devshell-vm --serve-socket {}", path.display()));
}

#[test]
fn of_lima_the_instance_and_its_mount_are_looked_at() {
    let project = Project::new(ONE_TOOL);
    let instance = |status: &str, mounts: &str| {
        format!(
            "printf '{{\"name\":\"devshell-rust\",\"status\":\"{status}\",\"errors\":[\"hostagent died\"],\
             \"config\":{{\"mounts\":[{mounts}]}}}}\\n' {}",
            "\"$parent\""
        )
    };
    let writable = r#"{"location":"%s","mountPoint":"/workspace","writable":true}"#;
    let read_only = r#"{"location":"%s","mountPoint":"/workspace","writable":false}"#;
    for (script, name, state, part) in [
        (instance("Running", writable), "mount", "ok", "appears as `/workspace`"),
        (instance("Running", read_only), "mount", "problem", "read-only"),
        (instance("Running", ""), "mount", "problem", "does not appear"),
        (instance("Running", writable), "instance", "ok", "Running"),
        (instance("Stopped", writable), "instance", "info", "a run starts it"),
        (instance("Broken", writable), "instance", "problem", "hostagent died"),
        ("[ $# = 3 ]".to_owned(), "instance", "problem", "no instance"),
        (
            "echo 'must not run as the root user' >&2; exit 1".to_owned(),
            "limactl",
            "problem",
            "must not run as the root user",
        ),
    ] {
        let set = limactl(&project, &script);
        let report = report(&project.devshell(&["doctor", "--json", "--set", &set]));
        let found = check(&backend(&report, "lima")["checks"], name);
        assert_eq!(found["state"], state, "{script}: {found}");
        assert!(found["found"].as_str().unwrap().contains(part), "{script}: {found}");
    }
}

#[test]
fn a_limactl_that_hangs_is_given_up_and_leaves_no_process() {
    let project = Project::new(ONE_TOOL);
    let mark = format!("8{}.25", std::process::id());
    let set = limactl(&project, &format!("setsid sleep {mark} & sleep {mark}"));
    let report = report(&project.devshell(&["doctor", "--json", "--set", &set]));
    let found = check(&backend(&report, "lima")["checks"], "limactl");
    assert!(found["found"].as_str().unwrap().contains("did not answer"), "{found}");
    assert!(crate::support::processes_with(&mark).is_empty());
    assert_eq!(report["usable"], true, "the host does not depend on it");
}

#[test]
fn a_kernel_that_says_no_is_told_with_the_reason_and_what_follows() {
    let test = "doctor::a_kernel_that_says_no";
    if !has("python3") {
        return not_run(test, "no python3 here");
    }
    let project = Project::new(ONE_TOOL);
    let deny = project.beside("deny.py");
    std::fs::write(&deny, include_str!("tools/deny.py")).unwrap();
    let asked = |set: &str| {
        let mut command = project.program(python());
        command.arg(&deny);
        // CLONE_NEWNS and CLONE_NEWUSER.
        command.args(["clone:0:0x10020000=EPERM", "--"]);
        command.arg(crate::support::devshell());
        command.args(["doctor", "--json", "--set", set]);
        finish(command)
    };
    let ran = asked("sandbox.require=none");
    if ran.status.code() == Some(77) {
        return not_run(test, "no seccomp filter can be set here");
    }
    let host = backend(&report(ran.code(0)), "host").clone();
    let view = check(&host["checks"], "view");
    assert_eq!(view["state"], "warning", "{view}");
    let found = view["found"].as_str().unwrap();
    assert!(found.contains("no overlay") && found.contains("a copy in `"), "{found}");
    assert!(found.contains("seccomp"), "{found}");
    assert!(
        view["remedy"].as_str().unwrap().contains("seccomp=unconfined"),
        "{view}"
    );

    let ran = asked("sandbox.require=view");
    let host = backend(&report(ran.code(69)), "host").clone();
    assert_eq!(check(&host["checks"], "view")["state"], "problem");
    let ran = asked("vm.host.strategy=overlay");
    let host = backend(&report(ran.code(69)), "host").clone();
    assert_eq!(check(&host["checks"], "view")["state"], "problem");
}

#[test]
fn a_workspace_in_use_is_named_with_who_uses_it() {
    let project = Project::new("");
    let (script, marker, go) = project.pause();
    let running = project.start_until(&["exec", "--", "sh", "-c", &script], &marker);
    let pid = running.child.id();
    let report = report(project.devshell(&["doctor", "--json"]).code(0));
    let lock = check(&report["workspace_checks"], "lock").clone();
    std::fs::write(go, "").unwrap();
    running.end().code(0);
    assert_eq!(lock["state"], "info");
    assert!(
        lock["found"].as_str().unwrap().contains(&format!("process {pid}")),
        "{lock}"
    );
}

#[test]
fn programs_that_are_not_there_are_named_and_are_no_problem() {
    let project = Project::new("[[tool]]\nname = \"a\"\nrun = [\"no-such-program\"]\n[[tool]]\nrun = [\"sh\"]\n");
    let ran = project.devshell(&["doctor"]);
    let text = ran.code(0).out();
    assert!(
        text.contains("!! program  no-such-program: not in PATH now (tool `a`)"),
        "{text}"
    );
}

#[test]
fn a_state_folder_that_cannot_be_written_to_ends_a_run_before_its_tools() {
    let test = "doctor::a_state_folder_that_cannot_be_written_to";
    if is_root() {
        return not_run(test, "modes do not stop root");
    }
    let project = Project::new("[[tool]]\nname = \"t\"\nscript = \"touch ran\"\n");
    let state = project.beside("state");
    std::fs::set_permissions(&state, PermissionsExt::from_mode(0o500)).unwrap();
    let ran = project.run();
    ran.code(74).says("devshell's state folder").says("XDG_STATE_HOME");
    assert!(!ran.stderr.contains("tool=t"), "{}", ran.stderr);
    let report = report(project.devshell(&["doctor", "--json"]).code(69));
    assert_eq!(check(&report["folders"], "state")["state"], "problem");
    // Nothing is kept or committed by a run in place.
    project.devshell(&["run", "--set", "vm.host.strategy=in_place"]).code(0);
    std::fs::set_permissions(&state, PermissionsExt::from_mode(0o700)).unwrap();
}

#[test]
fn a_full_state_disk_ends_a_run_before_its_tools() {
    let test = "doctor::a_full_state_disk_ends_a_run_before_its_tools";
    if !own_mounts(test) {
        return;
    }
    let project = Project::new("");
    let Some(disk) = Disk::tmpfs(&project.beside("disk"), "4m") else {
        return not_run(test, "no tmpfs can be mounted here");
    };
    let outside = project.beside("ran");
    let args = ["exec", "--", "touch", outside.to_str().unwrap()];
    let run = |args: &[&str]| {
        let mut command = project.command(args);
        command.env("XDG_STATE_HOME", disk.0.join("state"));
        finish(command)
    };
    // As much as there is.
    let full = std::fs::write(disk.0.join("filler"), vec![1; 8 << 20]).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    let ran = run(&args);
    ran.code(74).says("is full").says("class=sync");
    assert!(!outside.exists(), "no tool was started");
    let report = report(run(&["doctor", "--json"]).code(69));
    let room = check(&report["folders"], "state_room");
    assert_eq!(room["state"], "problem");
    assert!(room["remedy"].as_str().unwrap().starts_with("df "), "{room}");
    std::fs::remove_file(disk.0.join("filler")).unwrap();
    run(&args).code(0);
    assert!(outside.exists());
}
