//! What tools read, write and inherit.

use std::fs;
use std::io::{Read as _, Write as _};

use rustix::io::FdFlags;

use super::*;

#[test]
fn three_megabytes_arrive_whole_on_both_streams_at_once() {
    let script = "head -c 3000000 /dev/zero | tr '\\0' o & head -c 3000001 /dev/zero | tr '\\0' e >&2; wait";
    for mut keeper in [best(), plain()] {
        let ran = run(&mut keeper, &sh(script));
        assert_eq!(ran.exit, ToolExit::Success);
        assert!(ran.stdout.len() == 3_000_000 && ran.stdout.iter().all(|&byte| byte == b'o'));
        assert!(ran.stderr.len() == 3_000_001 && ran.stderr.iter().all(|&byte| byte == b'e'));
    }
}

#[test]
fn tools_get_the_callers_open_descriptors_but_not_those_of_devshell() {
    let place = tempfile::tempdir().unwrap();
    let [shared, own, lock] = ["shared", "own", "lock"].map(|name| fs::File::create(place.path().join(name)).unwrap());
    rustix::io::fcntl_setfd(&shared, FdFlags::empty()).unwrap();
    let path = |name: &str| place.path().join(name).display().to_string();
    let ours = |links: Vec<String>| -> Vec<String> {
        let mut found: Vec<_> = ["shared", "own", "lock"]
            .map(path)
            .into_iter()
            .filter(|p| links.contains(p))
            .collect();
        found.sort();
        found
    };
    for namespaces in [Namespaces::default(), Namespaces { mount: true, pid: true }] {
        let spec = KeeperSpec {
            namespaces,
            keep: vec![lock.try_clone().unwrap().into()],
            ..KeeperSpec::default()
        };
        let (mut keeper, _) = Keeper::start_best(&spec).unwrap();
        let links = fs::read_dir(format!("/proc/{}/fd", keeper.pid())).unwrap();
        let links = links
            .filter_map(|fd| Some(fs::read_link(fd.ok()?.path()).ok()?.display().to_string()))
            .collect();
        assert_eq!(ours(links), [path("lock"), path("shared")], "in the keeper");
        let text = String::from_utf8(run(&mut keeper, &sh("readlink /proc/$$/fd/*")).stdout).unwrap();
        assert_eq!(
            ours(text.lines().map(str::to_owned).collect()),
            [path("shared")],
            "in the tool"
        );
    }
    drop(own);
}

#[test]
fn a_lock_that_the_keeper_holds_is_free_when_it_has_ended() {
    // What other tests are just starting would hold it for a moment, too.
    if role().as_deref() != Some("alone") {
        passes(again("a_lock_that_the_keeper_holds", "alone", "exec \"$@\""));
        return;
    }
    let place = tempfile::NamedTempFile::new().unwrap();
    let lock = place.reopen().unwrap();
    lock.lock().unwrap();
    let spec = KeeperSpec {
        keep: vec![lock.into()],
        ..KeeperSpec::default()
    };
    let keeper = Keeper::start(&spec).unwrap();
    drop(spec);
    let other = place.reopen().unwrap();
    assert!(other.try_lock().is_err());
    drop(keeper);
    other.try_lock().unwrap();
}

#[test]
fn a_tool_can_read_what_the_caller_reads() {
    if role().as_deref() == Some("reader") {
        let asked = SpawnRequest {
            stdin: Stdin::Inherit,
            ..request(&["cat"])
        };
        assert_eq!(run(&mut best(), &asked).stdout, b"from outside");
        return;
    }
    let (mut reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(b"from outside").unwrap();
    drop(writer);
    let mut command = again("a_tool_can_read_what_the_caller_reads", "reader", "exec \"$@\"");
    command.stdin(reader.try_clone().unwrap());
    passes(command);
    assert_eq!(reader.read(&mut [0]).unwrap(), 0, "all of it was read");
}

#[test]
fn a_full_channel_holds_up_the_tool_and_not_its_stop() {
    let place = tempfile::tempdir().unwrap();
    let held = place.path().join("held");
    assert!(Command::new("mkfifo").arg(&held).status().unwrap().success());
    let mut keeper = best();
    let (sender, receiver) = sync_channel(1);
    let script = format!("exec yes 3>'{}'", held.display());
    let mut tool = keeper.spawn(&sh(&script), sender).unwrap();
    let mut held = fs::File::open(held).unwrap();
    // Nothing is received until the pipe and the channel are full.
    std::thread::sleep(Duration::from_millis(100));
    tool.kill();
    let (ended, end) = sync_channel(1);
    std::thread::spawn(move || ended.send(held.read(&mut [0])));
    // Nor now: what the tool held is let go all the same.
    let read = end.recv_timeout(Duration::from_secs(60));
    assert_eq!(read.expect("the stop was held up").unwrap(), 0);
    let received = receiver.iter().map(|message| match message {
        Message::Output(_, bytes) => bytes.len(),
        _ => 0,
    });
    assert!(received.sum::<usize>() < 1 << 20);
}

#[test]
fn on_a_terminal_of_its_own_a_tool_says_everything_on_stdout_and_is_at_its_end_when_all_has_come() {
    let asked = |joined| SpawnRequest {
        terminal: Some(Terminal {
            joined,
            interactive: false,
        }),
        ..sh("test -t 1 || exit 9; seq 1 20000; test -t 2 && echo joined >&2 || echo apart >&2")
    };
    let numbers: String = (1..=20_000).map(|number| format!("{number}\n")).collect();
    for mut keeper in [best(), plain()] {
        let ran = run(&mut keeper, &asked(true));
        assert_eq!((ran.exit, ran.end.leaked), (ToolExit::Success, false));
        assert!(ran.stdout == format!("{numbers}joined\n").into_bytes());
        assert_eq!(ran.stderr, b"");
        let ran = run(&mut keeper, &asked(false));
        assert_eq!((ran.exit, ran.end.leaked), (ToolExit::Success, false));
        assert!(ran.stdout == numbers.clone().into_bytes());
        assert_eq!(ran.stderr, b"apart\n");
    }
}

#[test]
fn a_tool_that_cannot_be_started_on_a_terminal_is_told_as_ever() {
    let asked = SpawnRequest {
        terminal: Some(Terminal {
            joined: true,
            interactive: false,
        }),
        ..request(&["no-such-program"])
    };
    assert!(matches!(run(&mut best(), &asked).exit, ToolExit::NotFound(_)));
}

#[test]
fn where_nobody_can_type_a_tool_gets_what_can_be_had() {
    // The stdin of tests is no terminal.
    if role().as_deref() != Some("no-keyboard") {
        let name = "where_nobody_can_type";
        passes(again(name, "no-keyboard", "exec \"$@\" </dev/null"));
        return;
    }
    let asked = SpawnRequest {
        terminal: Some(Terminal {
            joined: true,
            interactive: true,
        }),
        stdin: Stdin::Inherit,
        ..sh("cat; test -t 1 && echo terminal || echo pipe; echo err >&2")
    };
    let ran = run(&mut best(), &asked);
    assert_eq!(
        (ran.stdout.as_slice(), ran.stderr.as_slice()),
        (&b"pipe\n"[..], &b"err\n"[..])
    );
}
