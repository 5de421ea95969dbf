//! What a keeper shuts off, for root and for ordinary users, and what happens where it cannot.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::*;

const BOTH: Namespaces = Namespaces { mount: true, pid: true };

#[test]
fn all_of_this_holds_for_an_ordinary_user_too() {
    // Started by an ordinary user, the tests themselves show it.
    if is_root() && role().is_none() {
        passes(again("process::", "user", &format!("cd /; {AS_USER} \"$@\"")));
    }
}

#[test]
fn a_bind_is_seen_by_the_tools_alone() {
    let place = tempfile::tempdir().unwrap();
    let (real, copy, link) = (
        place.path().join("re, al:"),
        place.path().join("copy"),
        place.path().join("link"),
    );
    for (folder, text) in [(&real, "real"), (&copy, "copy")] {
        fs::create_dir(folder).unwrap();
        fs::write(folder.join("file"), text).unwrap();
    }
    std::os::unix::fs::symlink(&real, &link).unwrap();
    for namespaces in [
        BOTH,
        Namespaces {
            mount: true,
            pid: false,
        },
    ] {
        let mounts = vec![MountStep::Bind {
            from: copy.clone(),
            onto: link.clone(),
        }];
        let mut keeper = Keeper::start(&KeeperSpec {
            mounts,
            namespaces,
            ..KeeperSpec::default()
        })
        .unwrap();
        for name in [&real, &link] {
            let asked = SpawnRequest {
                cwd: name.clone(),
                ..sh("cat file; echo new >made; cat \"$PWD/file\"")
            };
            assert_eq!(run(&mut keeper, &asked).stdout, b"copycopy");
        }
        assert_eq!(fs::read_to_string(real.join("file")).unwrap(), "real");
        assert!(!real.join("made").exists());
        assert_eq!(fs::read_to_string(copy.join("made")).unwrap(), "new\n");
        fs::remove_file(copy.join("made")).unwrap();
        assert!(keeper.isolation().mount && keeper.isolation().processes);
        assert_eq!(keeper.isolation().user, !is_root());
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(place.path().to_str().unwrap()));
}

#[test]
fn a_mount_that_fails_is_no_failure_of_a_tool() {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("file"), "").unwrap();
    let bind = |from: &str, onto: &str| KeeperSpec {
        mounts: vec![MountStep::Bind {
            from: place.path().join(from),
            onto: place.path().join(onto),
        }],
        namespaces: BOTH,
        ..KeeperSpec::default()
    };
    match Keeper::start(&bind("", "file")) {
        Err(KeeperError::Setup {
            stage: SetupStage::Mount,
            explanation,
            source,
        }) => {
            assert_eq!(source.raw_os_error(), Some(libc::ENOTDIR));
            assert!(explanation.contains("file` could not") || explanation.ends_with("one of them is no folder"));
        }
        other => panic!("{other:?}"),
    }
    match Keeper::start(&bind("gone", "")) {
        Err(KeeperError::Path { path, .. }) => assert!(path.ends_with("gone")),
        other => panic!("{other:?}"),
    }
}

#[test]
fn in_a_pid_namespace_tools_see_only_themselves() {
    let mut keeper = Keeper::start(&KeeperSpec {
        namespaces: BOTH,
        ..KeeperSpec::default()
    })
    .unwrap();
    let ran = run(
        &mut keeper,
        &sh("echo $$ $PPID; set -- /proc/[0-9]*; echo $#; cat /proc/1/comm /proc/$$/comm"),
    );
    // The init and the shell.
    assert_eq!(String::from_utf8(ran.stdout).unwrap(), "2 1\n2\ndevshell-keeper\nsh\n");
    assert!(keeper.isolation().pid);
}

#[test]
fn without_a_namespace_the_keeper_still_holds_all_processes() {
    let keeper = plain();
    let nothing = Isolation {
        mount: false,
        pid: false,
        user: false,
        processes: true,
    };
    assert_eq!(keeper.isolation(), nothing);
}

#[test]
fn two_keepers_do_not_meet() {
    let (mut first, mut second) = (best(), best());
    let slow = std::thread::spawn(move || run(&mut first, &sh("sleep 0.3; echo slow")).stdout);
    for _ in 0..5 {
        assert_eq!(run(&mut second, &sh("echo fast")).stdout, b"fast\n");
    }
    drop(second);
    assert_eq!(slow.join().unwrap(), b"slow\n");
}

#[test]
fn a_keeper_outlives_the_thread_that_started_it() {
    for start in [best, plain] {
        let mut keeper = std::thread::spawn(start).join().unwrap();
        assert_eq!(run(&mut keeper, &sh("exit 3")).exit, ToolExit::Code(3));
    }
}

#[test]
fn a_keeper_starts_while_other_threads_hold_the_allocator() {
    static GO_ON: AtomicBool = AtomicBool::new(true);
    let hammer = || {
        let mut kept: Vec<Vec<u8>> = Vec::new();
        let mut size = 1_usize;
        while GO_ON.load(Ordering::Relaxed) {
            size = size.wrapping_mul(1_103_515_245).wrapping_add(12_345) % 300_000;
            kept.push(vec![1; size]);
            if kept.len() > 32 {
                kept.clear();
            }
        }
    };
    let threads: Vec<_> = (0..3).map(|_| std::thread::spawn(hammer)).collect();
    for round in 0..50 {
        let mut keeper = if round % 2 == 0 { best() } else { plain() };
        assert_eq!(run(&mut keeper, &sh("exit 6")).exit, ToolExit::Code(6));
    }
    GO_ON.store(false, Ordering::Relaxed);
    for thread in threads {
        thread.join().unwrap();
    }
}

/// All that is left of a killed devshell would hold this pipe.
#[test]
fn a_devshell_that_is_killed_leaves_nothing() {
    let up = "exec 9<&0; trap '' TERM HUP; setsid sh -c 'echo up >&9; exec sleep 7777' & setsid sleep 7778 & \
        echo up >&9; wait";
    match role().as_deref() {
        Some("best" | "plain") => {
            let mut keeper = if role().as_deref() == Some("best") {
                best()
            } else {
                plain()
            };
            run(
                &mut keeper,
                &SpawnRequest {
                    stdin: Stdin::Inherit,
                    ..sh(up)
                },
            );
        }
        _ => {
            for role in ["best", "plain"] {
                let (reader, writer) = std::io::pipe().unwrap();
                let mut command = again("a_devshell_that_is_killed_leaves_nothing", role, "exec \"$@\"");
                command.stdin(writer).stdout(std::process::Stdio::null());
                let mut victim = command.spawn().unwrap();
                // The command holds the pipe's writing end.
                drop(command);
                let mut reader = BufReader::new(reader);
                let mut line = String::new();
                for _ in 0..2 {
                    reader.read_line(&mut line).unwrap();
                }
                assert_eq!(line, "up\nup\n");
                victim.kill().unwrap();
                victim.wait().unwrap();
                let (sender, receiver) = std::sync::mpsc::channel();
                std::thread::spawn(move || sender.send(reader.read_to_end(&mut Vec::new()).unwrap()));
                assert_eq!(
                    receiver.recv_timeout(Duration::from_secs(10)),
                    Ok(0),
                    "{role}: somebody lives on"
                );
            }
        }
    }
}

#[test]
fn a_masked_proc_costs_the_pid_namespace_and_is_named() {
    if role().as_deref() == Some("masked") {
        let spec = KeeperSpec {
            namespaces: BOTH,
            ..KeeperSpec::default()
        };
        match Keeper::start(&spec) {
            Err(KeeperError::Setup {
                stage: SetupStage::Proc,
                explanation,
                ..
            }) => {
                assert!(explanation.contains("/proc/bus"), "{explanation}");
            }
            other => panic!("{other:?}"),
        }
        let (mut keeper, why) = Keeper::start_best(&spec).unwrap();
        assert_eq!(
            keeper.isolation(),
            Isolation {
                mount: true,
                pid: false,
                user: true,
                processes: true
            }
        );
        assert_eq!(why.len(), 1);
        assert_eq!(run(&mut keeper, &sh("sleep 7777 & exit 2")).end.survivors.len(), 1);
    } else if is_root() && role().is_none() {
        let wrapper = format!("mount -t tmpfs none /proc/bus; {AS_USER} \"$@\"");
        let mut command = Command::new("unshare");
        let inner = again("a_masked_proc_costs_the_pid_namespace", "masked", &wrapper);
        command
            .arg("-m")
            .arg(inner.get_program())
            .args(inner.get_args())
            .env(ROLE, "masked");
        passes(command);
    }
}

#[test]
fn where_no_namespace_is_to_be_had_a_plain_keeper_says_why() {
    if role().as_deref() == Some("refused") {
        let place = tempfile::tempdir().unwrap();
        let mounts = vec![MountStep::Bind {
            from: place.path().into(),
            onto: place.path().into(),
        }];
        let spec = KeeperSpec {
            namespaces: BOTH,
            mounts,
            ..KeeperSpec::default()
        };
        let begun = Instant::now();
        let (mut keeper, why) = Keeper::start_best(&spec).unwrap();
        assert!(begun.elapsed() < Duration::from_secs(5));
        assert_eq!(
            keeper.isolation(),
            Isolation {
                mount: false,
                pid: false,
                user: false,
                processes: true
            }
        );
        assert!(
            why.len() == 1 && why[0].contains("user.max_user_namespaces is 0"),
            "{why:?}"
        );
        assert_eq!(run(&mut keeper, &sh("exit 7")).exit, ToolExit::Code(7));
    } else {
        let wrapper = "echo 0 >/proc/sys/user/max_user_namespaces; exec setpriv --bounding-set=-all \"$@\"";
        let inner = again("where_no_namespace_is_to_be_had", "refused", wrapper);
        let mut command = Command::new("unshare");
        command
            .arg("-Ur")
            .arg(inner.get_program())
            .args(inner.get_args())
            .env(ROLE, "refused");
        passes(command);
    }
}

#[test]
fn without_any_proc_the_tools_own_group_is_still_ended() {
    const NAME: &str = "without_any_proc_the_tools_own_group";
    if role().as_deref() == Some("no proc") {
        let mut keeper = plain();
        assert!(!keeper.isolation().processes);
        let (begun, script) = (Instant::now(), "sleep 7777 & exit 8");
        assert_eq!(run(&mut keeper, &sh(script)).exit, ToolExit::Code(8));
        assert!(begun.elapsed() < Duration::from_secs(4));
        // Root can mount a new one, and binds work by name.
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("file"), "seen").unwrap();
        let mounts = vec![MountStep::Bind {
            from: place.path().into(),
            onto: "/media".into(),
        }];
        let mut keeper = Keeper::start(&KeeperSpec {
            mounts,
            namespaces: BOTH,
            ..KeeperSpec::default()
        })
        .unwrap();
        assert_eq!(run(&mut keeper, &sh("cat /media/file")).stdout, b"seen");
    } else if is_root() && role().is_none() {
        let inner = again(NAME, "no proc", "mount -t tmpfs none /proc; exec \"$@\"");
        let mut command = Command::new("unshare");
        command
            .arg("-m")
            .arg(inner.get_program())
            .args(inner.get_args())
            .env(ROLE, "no proc");
        passes(command);
    }
}
