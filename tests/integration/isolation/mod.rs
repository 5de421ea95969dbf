//! What tools are kept from on the whole machine: the network, writing outside the workspace, and
//! what a tool that means harm still reaches.

mod hostile;
mod network;
mod outside;

use std::path::PathBuf;

use tempfile::TempDir;

use crate::support::{Arena, Disk, Places, Ran, finish, has, is_root, not_run, own_mounts, private_strategies, python};

/// A folder that is in none of those that tools have for themselves on a read-only host.
struct Outside {
    path: PathBuf,
    _temp: TempDir,
    _disk: Option<Disk>,
}

impl Outside {
    /// For a test by its whole name; `None` where it is run elsewhere or cannot be.
    fn new(test: &str) -> Option<Self> {
        let (base, disk) = if is_root() {
            if !own_mounts(test) {
                return None;
            }
            let disk = Disk::tmpfs("/media".as_ref(), "64m");
            (PathBuf::from("/media"), disk)
        } else {
            let home = std::env::var_os("HOME").map(PathBuf::from);
            let home = home.filter(|home| !["/tmp", "/var/tmp", "/dev/shm"].iter().any(|own| home.starts_with(own)));
            let mut bases = home.into_iter().chain(["/run/lock".into(), "/run/shm".into()]);
            let writable = |base: &PathBuf| tempfile::tempdir_in(base).is_ok();
            let Some(base) = bases.find(writable) else {
                not_run(test, "this user can write nowhere but in folders for temporary files");
                return None;
            };
            (base, None)
        };
        let temp = tempfile::Builder::new()
            .prefix("devshell-test-")
            .tempdir_in(base)
            .unwrap();
        Some(Self {
            path: temp.path().canonicalize().unwrap(),
            _temp: temp,
            _disk: disk,
        })
    }
}

/// Every strategy that is to be had here.
fn strategies(test: &str) -> Vec<&'static str> {
    let mut all = private_strategies(test);
    all.push("in_place");
    all
}

fn exec(arena: &Arena, sets: &[&str], script: &str) -> Ran {
    finish(exec_command(arena, sets, script))
}

fn exec_command(arena: &Arena, sets: &[&str], script: &str) -> std::process::Command {
    let mut args: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
    args.extend(["--", "sh", "-c", script]);
    arena.command("exec", &args)
}

/// Namespaces are forbidden: by a filter, as container engines have.
fn filter(arena: &Arena) -> Vec<String> {
    let deny = arena.project.beside("deny.py");
    std::fs::write(&deny, include_str!("../tools/deny.py")).unwrap();
    let wrapper = [
        python(),
        deny.to_str().unwrap(),
        "unshare:0:0x10020000=EPERM",
        "clone:0:0x70020000=EPERM",
        "clone3=ENOSYS",
        "--",
    ];
    wrapper.map(str::to_owned).to_vec()
}

#[test]
fn where_it_cannot_be_had_nothing_is_run_and_the_reason_is_told() {
    const TEST: &str = "isolation::where_it_cannot_be_had";
    if !has("python3") {
        return not_run(TEST, "no python3 here");
    }
    for strategy in ["auto", "copy", "in_place"] {
        let arena = Arena::new(strategy, Places::Same).unwrap();
        let wrapper = filter(&arena);
        let wrapper: Vec<&str> = wrapper.iter().map(String::as_str).collect();
        let run = |set: &str| {
            let strategy = format!("vm.host.strategy={strategy}");
            let args = ["exec", "--set", &strategy, "--set", set, "--", "sh", "-c", "touch ran"];
            finish(arena.under(&wrapper, &args))
        };
        if run("sandbox.network=true").status.code() == Some(77) {
            return not_run(TEST, "namespaces cannot be forbidden here");
        }
        arena.project.write("file", "");
        std::fs::remove_file(arena.project.path("ran")).unwrap();
        for (set, asked) in [
            ("sandbox.network=false", "sandbox.network = false"),
            ("sandbox.host=ro", "sandbox.host = \"ro\""),
        ] {
            let ran = run(set);
            ran.code(71)
                .says(&format!("{asked} cannot be had here, so nothing was run"))
                .says("seccomp filter");
            assert!(!arena.project.exists("ran"), "{strategy} {set}");
            // Nor was a copy made for nothing.
            assert!(!ran.stderr.contains("sh -c"), "{}", ran.stderr);
        }
    }
}

#[test]
fn where_proc_is_masked_there_is_an_overlay_all_the_same() {
    const TEST: &str = "isolation::where_proc_is_masked_there_is_an_overlay_all_the_same";
    if !is_root() || !has("unshare") || !has("setpriv") {
        return not_run(TEST, "only root can mask a part of /proc");
    }
    if !private_strategies(TEST).contains(&"overlay") {
        return;
    }
    let mut arena = Arena::new("overlay", Places::Same).unwrap();
    arena.project.write("file", "");
    arena.for_user();
    for (sets, level) in [
        (&[][..], "view"),
        (&["sandbox.host=ro", "sandbox.network=false"], "view"),
    ] {
        let mut devshell = arena.under(&[], &["exec", "--set", "vm.host.strategy=overlay"]);
        devshell.args(sets.iter().flat_map(|set| ["--set", set]));
        devshell.args(["--", "sh", "-c", "sleep 600 & echo x >file; kill -0 $$"]);
        let mut masked = arena.project.program("unshare");
        masked.args(["-m", "sh", "-c", "mount -t tmpfs none /proc/bus && exec \"$@\"", "sh"]);
        masked.arg(devshell.get_program()).args(devshell.get_args());
        let ran = finish(masked);
        ran.code(0)
            .says(&format!("host, overlay, isolation {level}"))
            .says("/proc is masked here");
        // `full` needs the namespace: who can trace the user's other processes can do all that they can.
        assert_eq!(arena.project.read("file"), "x\n");
    }
}
