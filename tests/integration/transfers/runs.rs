//! What a run does whose tree is carried.

use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::time::Duration;

use devshell::{SessionHolder, Vfs, VmConfig};

use super::{Apart, events, synced};
use crate::support::{has, not_run, tree};

const TWO: &str = r#"
[[tool]]
name = "change"
script = "echo out; echo new > made; rm -r gone; chmod 750 mode; ln -sf made link; mkdir -p deep/er; cat 'a b'; touch -d @1000000000.123456789 a*b; mv file folder; mkdir file; mv folder file/inside"
[[tool]]
name = "look"
script = "cat made; test ! -e gone; test -L link"
"#;

#[test]
fn what_tools_do_at_a_sidecar_that_shares_nothing_comes_home_over_every_transport() {
    for transport in ["unix", "stdio", "tcp"] {
        let mut apart = Apart::new(TWO);
        let sets = match transport {
            "unix" => {
                apart.serve();
                Vec::new()
            }
            "stdio" => apart.over_stdio(),
            _ => apart.serve_tcp(),
        };
        let project = &apart.project;
        std::fs::create_dir_all(project.path("gone/below")).unwrap();
        project.write("gone/below/x", "x");
        project.write("mode", "x");
        project.write("file", "a file that becomes a folder");
        project.write("a b", "blank\n");
        project.write(std::ffi::OsStr::from_bytes(b"caf\xe9\n"), "odd");
        symlink("/nowhere/at all", project.path("dangling")).unwrap();
        std::fs::create_dir(project.path("empty")).unwrap();
        let mut args = vec!["run"];
        for set in &sets {
            args.extend(["--set", set]);
        }
        let ran = project.devshell(&args);
        ran.code(0).says("no folder is shared").says("committed");
        assert_eq!(ran.out(), "out\nblank\nnew\n", "{transport}");
        assert_eq!(project.read("made"), "new\n");
        assert!(!project.exists("gone") && project.path("deep/er").is_dir() && project.path("empty").is_dir());
        assert_eq!(project.read("file/inside"), "a file that becomes a folder");
        assert_eq!(std::fs::read_link(project.path("link")).unwrap().to_str(), Some("made"));
        assert_eq!(project.path("mode").metadata().unwrap().mode() & 0o777, 0o750);
        let blank = project.path("a b").metadata().unwrap();
        assert_eq!((blank.mtime(), blank.mtime_nsec()), (1_000_000_000, 123_456_789));
        // Both sides hold the same, to the nanosecond.
        let mut far = tree(&apart.far());
        let mut near = project.tree();
        far.0.remove(std::path::Path::new(""));
        near.0.remove(std::path::Path::new(""));
        assert_eq!(far, near, "{transport}");
    }
}

#[test]
fn a_second_run_carries_nothing_and_reads_nothing_and_a_change_is_one_file() {
    let apart = Apart::served("");
    for index in 0..2000 {
        apart
            .project
            .write(format!("d{}/f{index}", index % 20), format!("{index}"));
    }
    let exec = |script: &str| {
        let ran = apart
            .project
            .devshell(&["exec", "--output", "json", "--", "sh", "-c", script]);
        ran.code(0);
        events(&ran)
    };
    let first = exec("true");
    let push = synced(&first, "push");
    assert_eq!((push.len(), push[0][0], push[0][2]), (1, 2001, 0), "{push:?}");
    assert!(push[0][1] > 6000, "{push:?}");
    assert_eq!(synced(&first, "pull"), [[0, 0, 0]]);
    let second = exec("true");
    assert_eq!(
        (synced(&second, "push"), synced(&second, "pull")),
        (vec![[0, 0, 0]], vec![[0, 0, 0]])
    );
    let transfers = apart.transfers();
    assert_eq!(transfers.len(), 4, "{transfers:?}");
    for line in &transfers[1..] {
        assert!(line.contains(" read=0 files=0 bytes=0 deleted=0"), "{line}");
    }
    apart.project.write("d3/f3", "changed");
    let third = exec("echo more > d4/new; rm d5/f5");
    assert_eq!(synced(&third, "push"), [[1, 7, 0]]);
    // The folders' times go with them and count for nothing.
    assert_eq!(synced(&third, "pull"), [[1, 5, 1]]);
    assert_eq!(apart.project.read("d4/new"), "more\n");
    assert!(!apart.project.exists("d5/f5"));
}

#[test]
fn a_failed_run_leaves_the_tree_alone_and_keeps_its_result() {
    let apart = Apart::served("");
    apart.project.write("file", "old");
    let before = apart.project.tree();
    let failed = apart.exec(&[], "echo half > file; exit 7");
    let diff = apart.project.devshell(&["results", "diff", failed.code(7).kept()]);
    assert!(diff.code(0).out().contains("+half"));
    assert_eq!(apart.project.tree(), before);
    // What the failed tool has left there is gone with the next push.
    assert_eq!(apart.exec(&[], "cat file").code(0).out(), "old");
    assert_eq!(apart.project.tree(), before);
}

#[test]
fn a_conflict_is_one_as_ever() {
    let apart = Apart::served("");
    apart.project.write("file", "old");
    let (script, marker, go) = apart.project.pause();
    let running = apart.project.start_until(
        &["exec", "--", "sh", "-c", &format!("{script}; echo new > file")],
        &marker,
    );
    apart.project.write("file", "edited meanwhile");
    std::fs::write(go, "").unwrap();
    running.end().code(73).says("file");
    assert_eq!(apart.project.read("file"), "edited meanwhile");
}

#[test]
fn cache_folders_stay_at_the_sidecar_and_ignored_entries_where_they_are() {
    let apart = Apart::served("[workspace]\ncache_dirs = [\"target/\"]\nignore = [\"*.log\"]\n");
    let project = &apart.project;
    project.write("here.log", "here");
    project.write("target/own", "here");
    apart
        .exec(
            &[],
            "test ! -e here.log && test ! -e target && mkdir -p target && echo built > target/app && echo l > far.log",
        )
        .code(0);
    assert!(!project.exists("target/app") && !project.exists("far.log"));
    assert_eq!(project.read("target/own"), "here");
    apart
        .exec(&[], "cat target/app && cat far.log && rm target/app")
        .code(0);
    apart
        .exec(&[], "test -d target && test ! -e target/app && test -e far.log")
        .code(0);
}

#[test]
fn retries_begin_from_what_was_before_the_attempt() {
    let toml = r#"
[[tool]]
name = "first"
script = "echo 1 > base"
[[tool]]
name = "flaky"
script = "cat base; test ! -e half; echo x > half; rm base; test -e TRIED || { touch TRIED; exit 3; }; rm half"
retries = 1
"#;
    let mut apart = Apart::new("");
    let toml = toml.replace("TRIED", apart.project.beside("tried").to_str().unwrap());
    let head = apart.project.read("devshell.toml");
    apart.project.write("devshell.toml", head + &toml);
    apart.serve();
    let ran = apart.project.run();
    ran.code(0).says("flaky");
    assert_eq!(ran.out(), "1\n1\n");
    assert!(!apart.project.exists("base") && !apart.project.exists("half"));
}

#[test]
fn what_is_no_file_is_named_and_not_carried() {
    let apart = Apart::served("");
    apart.exec(&[], "mkfifo pipe; echo x > x").code(0).says("`pipe`");
    assert!(!apart.project.exists("pipe") && apart.project.exists("x"));
}

#[test]
fn folders_and_files_that_a_tool_has_closed_come_home_closed() {
    let apart = Apart::served("");
    apart
        .exec(&[], "mkdir d && echo x > d/f && chmod 0 d/f && chmod 0 d")
        .code(0);
    let mode = |path: &str| {
        apart
            .project
            .path(path)
            .symlink_metadata()
            .unwrap()
            .permissions()
            .mode()
            & 0o7777
    };
    assert_eq!(mode("d"), 0);
    // An ordinary user's next run could not read that here.
    let open =
        |path: &str, mode| std::fs::set_permissions(apart.project.path(path), std::fs::Permissions::from_mode(mode));
    open("d", 0o711).unwrap();
    assert_eq!(mode("d/f"), 0);
    open("d/f", 0o640).unwrap();
    assert_eq!(apart.exec(&[], "stat -c %a d d/f").code(0).out(), "711\n640\n");
}

#[test]
fn one_session_at_a_time_has_the_folder_of_a_key() {
    let apart = Apart::served("");
    apart.exec(&[], "true").code(0);
    // Another client of the same key, say the same path in another container.
    let folder = apart.far().ancestors().nth(2).unwrap().to_owned();
    let held = std::fs::File::open(&folder).unwrap();
    held.lock().unwrap();
    apart
        .exec(&[], "true")
        .code(75)
        .says("another session works in the folder");
    drop(held);
    apart.exec(&[], "true").code(0);
}

#[test]
fn a_folder_that_is_shared_is_not_carried() {
    let apart = Apart::served("");
    let parent = format!("vm.workspace_parent={}", apart.project.beside("root/shared").display());
    let ran = apart.exec(&["--set", &parent], "echo x > made");
    ran.code(0);
    assert!(!ran.stderr.contains("no folder is shared"), "{}", ran.stderr);
    assert!(apart.transfers().is_empty());
    // The same path there, and another folder: as good as none.
    let elsewhere = apart.project.beside("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    let staging = format!("vm.beta.session_staging={}", apart.project.beside("root").display());
    let parent = format!("vm.workspace_parent={}", elsewhere.display());
    apart
        .exec(&["--set", &staging, "--set", &parent], "cat made")
        .code(0)
        .says("no folder is shared");
}

#[test]
fn the_library_pushes_and_pulls_around_each_tool_and_connects_anew_between_them() {
    let mut apart = Apart::served("");
    let config = VmConfig {
        beta_socket: Some(format!("unix:{}", apart.project.beside("s.sock").display())),
        workspace_parent: Some(apart.project.beside("staging")),
        ..VmConfig::from_vars([("DEVSHELL_VM_BACKEND".into(), "beta".into())], "/".into()).unwrap()
    };
    let mut session = SessionHolder::try_from_config(&config).unwrap();
    let mut vfs = Vfs::new();
    vfs.mkdir("/hello").unwrap();
    session.ensure_ready(&vfs, "/hello").unwrap();
    let args = |script: &str| ["-c".to_owned(), script.to_owned()];
    let run = |session: &mut SessionHolder, vfs: &mut Vfs, script: &str| {
        session.run_rust_tool(vfs, "/hello", "sh", &args(script))
    };
    assert!(run(&mut session, &mut vfs, "echo one > a").unwrap().success());
    assert_eq!(vfs.read_file("/hello/a").unwrap(), b"one\n");
    vfs.write_file("/hello/b", b"two\n", 0o644).unwrap();
    apart.kill_server();
    apart.serve();
    std::thread::sleep(Duration::from_millis(200));
    assert!(run(&mut session, &mut vfs, "cat b >> a").unwrap().success());
    assert_eq!(vfs.read_file("/hello/a").unwrap(), b"one\ntwo\n");
    drop((session, vfs));

    // Where the tree is not there any more the session is lost: what tools have left there is gone.
    let mut session = SessionHolder::try_from_config(&config).unwrap();
    let mut vfs = Vfs::new();
    vfs.mkdir("/hello").unwrap();
    session.ensure_ready(&vfs, "/hello").unwrap();
    apart.kill_server();
    std::fs::remove_dir_all(apart.project.beside("root/.devshell-trees")).unwrap();
    apart.serve();
    std::thread::sleep(Duration::from_millis(200));
    let lost = run(&mut session, &mut vfs, "true").unwrap_err();
    assert!(matches!(lost, devshell::VmError::Lost { .. }), "{lost:?}");
}

#[test]
fn whether_a_file_exists_is_told_also_beside_a_name_that_is_not_utf8() {
    let apart = Apart::served(
        "[[tool]]\nname = \"t\"\nscript = \"touch ran\"\nwhen = { exists = \"there\" }\n\
         [[tool]]\nname = \"u\"\nscript = \"touch wrong\"\nwhen = { exists = \"not/there\" }\n",
    );
    apart.project.write("there", "");
    let odd = std::ffi::OsStr::from_bytes(b"caf\xe9");
    std::fs::write(apart.project.path("").join(odd), "").unwrap();
    apart.project.run().code(0);
    assert!(apart.project.exists("ran") && !apart.project.exists("wrong"));
}

#[test]
fn a_second_build_compiles_nothing() {
    if !has("cargo") {
        return not_run("a_second_build_compiles_nothing", "there is no cargo");
    }
    let mut apart = Apart::new("[workspace]\ncache_dirs = [\"target/\"]\n");
    let project = &apart.project;
    project.write(
        "Cargo.toml",
        "[package]\nname = \"hello\"\nversion = \"0.1.0\"\nedition = \"2021\"\n",
    );
    project.write(
        "Cargo.lock",
        "version = 3\n\n[[package]]\nname = \"hello\"\nversion = \"0.1.0\"\n",
    );
    project.write(
        "src/main.rs",
        "mod part;\nfn main() { println!(\"{}\", part::NUMBER); }\n",
    );
    project.write("src/part.rs", "pub const NUMBER: u32 = 1;\n");
    project.write("build.rs", "fn main() { println!(\"cargo:rerun-if-changed=data\"); }\n");
    project.write("data/one", "1");
    let socket = project.beside("s.sock");
    let variables = ["CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN"];
    let mut server = apart.server(&["--serve-socket", socket.to_str().unwrap()]);
    // As the project's own commands have it.
    for (name, value) in project.command(["version"]).get_envs() {
        if let (true, Some(value)) = (variables.iter().any(|known| name == *known), value) {
            server.env(name, value);
            server.args(["--pass-env", name.to_str().unwrap()]);
        }
    }
    apart.server = Some(crate::support::Killed(server.spawn().unwrap()));
    crate::support::wait_for(
        || std::os::unix::net::UnixStream::connect(&socket).is_ok(),
        "the sidecar listens",
    );
    let build = || {
        let ran = apart.exec(&[], "cargo build --offline --locked && target/debug/hello");
        ran.code(0);
        (ran.out(), ran.stderr.contains("Compiling hello"))
    };
    assert_eq!(build(), ("1\n".to_owned(), true));
    assert_eq!(build(), ("1\n".to_owned(), false));
    apart.project.write("src/part.rs", "pub const NUMBER: u32 = 2;\n");
    assert_eq!(build(), ("2\n".to_owned(), true));
    assert_eq!(build(), ("2\n".to_owned(), false));
    apart.project.write("data/two", "2");
    assert_eq!(build(), ("2\n".to_owned(), true));
    assert_eq!(build(), ("2\n".to_owned(), false));
}
