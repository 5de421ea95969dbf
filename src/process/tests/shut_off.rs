//! What a keeper keeps tools from on the whole machine: the network, and writing outside.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::*;

/// A keeper whose tools may write only `writable`, with a network or not.
fn closed(writable: Vec<PathBuf>, temporary: Vec<PathBuf>, loopback_only: bool) -> KeeperSpec {
    KeeperSpec {
        namespaces: Namespaces { mount: true, pid: true },
        loopback_only,
        read_only: Some(ReadOnlyHost {
            writable,
            temporary,
            earlier: PrivateFolders::default(),
        }),
        ..KeeperSpec::default()
    }
}

fn out(keeper: &mut Keeper, script: &str) -> String {
    let ran = run(keeper, &sh(script));
    String::from_utf8(ran.stdout).unwrap() + &String::from_utf8(ran.stderr).unwrap()
}

#[test]
fn without_a_network_there_is_a_loopback_that_works_and_nothing_else() {
    let python = "import socket; s=socket.create_server((\"127.0.0.1\",0)); \
                  socket.create_connection(s.getsockname()); print(\"own\")";
    let all = Namespaces { mount: true, pid: true };
    for namespaces in [Namespaces::default(), all] {
        let spec = KeeperSpec {
            namespaces,
            loopback_only: true,
            ..KeeperSpec::default()
        };
        let (mut keeper, why) = Keeper::start_best(&spec).unwrap();
        assert!(why.is_empty(), "{why:?}");
        assert_eq!(
            out(&mut keeper, &format!("/usr/bin/env python3 -c '{python}'")),
            "own\n"
        );
        let devices = out(
            &mut keeper,
            "tail -n +3 /proc/net/dev | cut -d: -f1 | grep -v -e tunl -e sit -e gre -e ip6",
        );
        assert_eq!(devices.trim(), "lo");
        let far = "import socket; s=socket.socket(); s.connect((\"192.0.2.1\", 9))";
        let far = out(&mut keeper, &format!("/usr/bin/env python3 -c '{far}'"));
        assert!(far.contains("Network is unreachable"), "{far}");
    }
}

#[test]
fn a_server_of_the_host_is_on_no_loopback_of_the_tools() {
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    let connect = format!("/usr/bin/env python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", {port}))'");
    for (loopback_only, code) in [(false, ToolExit::Success), (true, ToolExit::Code(1))] {
        let spec = KeeperSpec {
            loopback_only,
            ..KeeperSpec::default()
        };
        let mut keeper = Keeper::start(&spec).unwrap();
        assert_eq!(run(&mut keeper, &sh(&connect)).exit, code);
    }
}

#[test]
fn on_a_read_only_host_nothing_outside_can_be_changed_in_any_way() {
    let place = tempfile::tempdir().unwrap();
    let [open, shut] = ["op, en", "shut"].map(|name| place.path().join(name));
    for folder in [&open, &shut] {
        fs::create_dir(folder).unwrap();
        fs::write(folder.join("file"), "old").unwrap();
    }
    let before = fs::metadata(shut.join("file")).unwrap();
    let mut keeper = Keeper::start(&closed(vec![open.clone()], Vec::new(), false)).unwrap();
    let ways = [
        "echo new >file",
        "echo new >made",
        "rm file",
        "chmod 600 file",
        "touch file",
        "ln file link",
        "mv file other",
        "mkdir folder",
        "mkfifo fifo",
        "ln -s file symlink",
    ];
    for way in ways {
        let there = SpawnRequest {
            cwd: shut.clone(),
            ..sh(way)
        };
        let ran = run(&mut keeper, &there);
        assert_ne!(ran.exit, ToolExit::Success, "{way}");
        let said = String::from_utf8(ran.stderr).unwrap();
        assert!(said.contains("Read-only file system"), "{way}: {said}");
        let here = SpawnRequest {
            cwd: open.clone(),
            ..sh(&format!("echo old >file; {way}"))
        };
        assert_eq!(run(&mut keeper, &here).exit, ToolExit::Success, "{way}");
    }
    assert_eq!(fs::read_to_string(shut.join("file")).unwrap(), "old");
    let after = fs::metadata(shut.join("file")).unwrap();
    assert_eq!(
        (after.modified().unwrap(), after.permissions().mode()),
        (before.modified().unwrap(), before.permissions().mode())
    );
    assert_eq!(fs::read_dir(&shut).unwrap().count(), 1);
    assert!(open.join("other").exists() && open.join("fifo").exists());
    // Of the host's mounts none has changed.
    fs::write(shut.join("file"), "by the host").unwrap();
}

#[test]
fn what_programs_count_on_works_on_a_read_only_host() {
    let mut keeper = Keeper::start(&closed(Vec::new(), vec!["/dev/shm".into()], true)).unwrap();
    let python = "import multiprocessing, pty, os; multiprocessing.Lock(); a, b = pty.openpty(); os.write(b, b\"x\")";
    let script = format!(
        "set -e; echo x >/dev/null; head -c 3 /dev/urandom >/dev/null; head -c 1 /dev/zero >/dev/null; \
         /usr/bin/env python3 -c '{python}'; unshare -Ur true; echo 500 >/proc/self/oom_score_adj; echo works"
    );
    assert_eq!(out(&mut keeper, &script), "works\n");
}

#[test]
fn temporary_folders_are_the_tools_own_and_what_stays_in_them_is_put_there() {
    let place = tempfile::tempdir().unwrap();
    let root = place.path().canonicalize().unwrap();
    let [temporary, workspace, fifo] = ["t", "t/deep/ws", "t/fifo"].map(|name| root.join(name));
    fs::create_dir_all(&workspace).unwrap();
    fs::write(temporary.join("of-the-host"), "").unwrap();
    fs::write(workspace.join("file"), "seen\n").unwrap();
    fs::create_dir(temporary.join("own")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    let spec = closed(
        vec![workspace.clone(), fifo.clone()],
        vec![temporary.join("own"), temporary.clone(), root.join("not-there")],
        false,
    );
    let mut keeper = Keeper::start(&spec).unwrap();
    let at = |script: &str| SpawnRequest {
        cwd: temporary.clone(),
        ..sh(script)
    };
    let ran = run(
        &mut keeper,
        &at("ls; stat -c %a . ; cat deep/ws/file; echo x >mine; echo y >deep/ws/made; echo z >own/z; test -p fifo"),
    );
    assert_eq!(ran.exit, ToolExit::Success, "{}", String::from_utf8_lossy(&ran.stderr));
    assert_eq!(String::from_utf8(ran.stdout).unwrap(), "deep\nfifo\nown\n1777\nseen\n");
    assert!(!temporary.join("mine").exists() && !temporary.join("own/z").exists());
    assert_eq!(fs::read_to_string(workspace.join("made")).unwrap(), "y\n");
    // A keeper that takes its place has them, too, and one after that.
    for _ in 0..2 {
        let earlier = keeper.take_private();
        drop(keeper);
        let mut spec = closed(vec![workspace.clone(), fifo.clone()], vec![temporary.clone()], false);
        spec.read_only.as_mut().unwrap().earlier = earlier;
        keeper = Keeper::start(&spec).unwrap();
        let ran = run(&mut keeper, &at("cat mine own/z deep/ws/file; echo more >>mine"));
        assert!(
            ran.stdout.starts_with(b"x\n"),
            "{}",
            String::from_utf8_lossy(&ran.stderr)
        );
    }
    assert_eq!(run(&mut keeper, &at("cat mine")).stdout, b"x\nmore\nmore\n");
}

#[test]
fn a_place_that_is_read_only_to_the_host_does_not_become_writable() {
    if !is_root() {
        return;
    }
    if role().as_deref() == Some("read-only") {
        let mut keeper = Keeper::start(&closed(vec!["/media".into()], Vec::new(), false)).unwrap();
        let said = out(&mut keeper, "touch /media/x");
        assert!(said.contains("Read-only file system"), "{said}");
    } else if role().is_none() {
        let inner = again(
            "a_place_that_is_read_only_to_the_host",
            "read-only",
            "mount -t tmpfs -o ro none /media; exec \"$@\"",
        );
        let mut command = Command::new("unshare");
        command
            .arg("-m")
            .arg(inner.get_program())
            .args(inner.get_args())
            .env(ROLE, "read-only");
        passes(command);
    }
}

#[test]
fn no_tool_can_undo_it() {
    let place = tempfile::tempdir().unwrap();
    let workspace = place.path().canonicalize().unwrap();
    let mut keeper = Keeper::start(&closed(vec![workspace.clone()], Vec::new(), false)).unwrap();
    let root = workspace.display();
    for way in [
        "mount -o remount,rw,bind /".to_owned(),
        "mount -o remount,rw /".to_owned(),
        format!("umount -l {root}"),
        "unshare -Urm mount -o remount,rw,bind /".to_owned(),
        format!("unshare -Urm umount -l {root}"),
        // The keeper itself has more rights: it is not to be had.
        "cat /proc/1/environ >/dev/null".to_owned(),
        "ls /proc/1/fd/ >/dev/null && readlink /proc/1/fd/0".to_owned(),
        "ls /proc/1/root/ >/dev/null".to_owned(),
    ] {
        let ran = run(&mut keeper, &sh(&way));
        assert_ne!(ran.exit, ToolExit::Success, "{way}");
    }
    if is_root() {
        for way in [
            format!("cd {root}; mknod disk b 254 0 2>/dev/null; mknod null c 1 3; cat disk || echo x >null"),
            "echo 1 >/proc/sys/vm/drop_caches".to_owned(),
        ] {
            let ran = run(&mut keeper, &sh(&way));
            assert_ne!(ran.exit, ToolExit::Success, "{way}");
        }
        // CAP_SYS_MODULE, RAWIO, PTRACE, ADMIN, BOOT, TIME and DAC_READ_SEARCH.
        let bounds = out(&mut keeper, "grep CapBnd /proc/self/status | cut -f2");
        let bounds = u64::from_str_radix(bounds.trim(), 16).unwrap();
        for right in [16, 17, 19, 21, 22, 25, 2] {
            assert_eq!(bounds >> right & 1, 0, "{right}");
        }
        // And what root is needed for in a workspace goes on.
        let ran = run(
            &mut keeper,
            &sh(&format!("cd {root}; echo x >f; chown 1:1 f; chmod 0 f; cat f")),
        );
        assert_eq!(ran.stdout, b"x\n", "{}", String::from_utf8_lossy(&ran.stderr));
    }
}

#[test]
fn through_a_folder_that_was_left_open_nothing_is_written() {
    const NAME: &str = "through_a_folder_that_was_left_open";
    if role().as_deref() == Some("open folder") {
        let folder = std::env::var("DEVSHELL_TEST_FOLDER").unwrap();
        let script = "ls /proc/self/fd/9/ && touch /proc/self/fd/9/made; echo passed >&8";
        run(&mut plain(), &sh(script));
        assert!(Path::new(&folder).join("made").exists());
        fs::remove_file(Path::new(&folder).join("made")).unwrap();
        run(
            &mut Keeper::start(&closed(Vec::new(), Vec::new(), false)).unwrap(),
            &sh(script),
        );
        assert!(!Path::new(&folder).join("made").exists());
    } else if role().is_none() {
        let place = tempfile::tempdir().unwrap();
        let wrapper = "exec 9<\"$DEVSHELL_TEST_FOLDER\" 8>>\"$DEVSHELL_TEST_FOLDER/log\"; exec \"$@\"";
        let mut command = again(NAME, "open folder", wrapper);
        command.env("DEVSHELL_TEST_FOLDER", place.path());
        passes(command);
        // What is no folder was handed over on purpose.
        assert_eq!(
            fs::read_to_string(place.path().join("log")).unwrap(),
            "passed\npassed\n"
        );
    }
}

#[test]
fn system_v_ipc_of_the_host_is_out_of_reach() {
    let made = Command::new("ipcmk").args(["-M", "64"]).output();
    let Ok(made) = made else { return };
    let text = String::from_utf8_lossy(&made.stdout).into_owned();
    let id = text.split_whitespace().last().unwrap().to_owned();
    let seen = |keeper: &mut Keeper| run(keeper, &sh(&format!("ipcs -m -i {id} 2>&1 | grep -q bytes"))).exit;
    let outcome = (
        seen(&mut best()),
        seen(&mut Keeper::start(&closed(Vec::new(), Vec::new(), false)).unwrap()),
    );
    let _ = Command::new("ipcrm").args(["-m", &id]).output();
    assert_eq!(outcome, (ToolExit::Success, ToolExit::Code(1)));
}

#[test]
fn where_it_cannot_be_shut_off_there_is_no_keeper_at_all() {
    const NAME: &str = "where_it_cannot_be_shut_off";
    if role().as_deref() == Some("no namespaces") {
        let network = KeeperSpec {
            loopback_only: true,
            ..KeeperSpec::default()
        };
        for spec in [network, closed(Vec::new(), Vec::new(), false)] {
            match Keeper::start_best(&spec) {
                Err(KeeperError::Setup {
                    stage: SetupStage::Clone,
                    explanation,
                    ..
                }) => assert!(explanation.contains("user.max_user_namespaces is 0"), "{explanation}"),
                other => panic!("{other:?}"),
            }
        }
    } else if role().is_none() {
        let wrapper = "echo 0 >/proc/sys/user/max_user_namespaces; exec setpriv --bounding-set=-all \"$@\"";
        let inner = again(NAME, "no namespaces", wrapper);
        let mut command = Command::new("unshare");
        command
            .arg("-Ur")
            .arg(inner.get_program())
            .args(inner.get_args())
            .env(ROLE, "no namespaces");
        passes(command);
    }
}
