//! What is left behind, stopped or killed.

use std::fs;
use std::sync::mpsc::Receiver;
use std::time::Instant;

use super::*;

/// Starts a process in a session of its own that cannot be asked to end, and goes on when it is up.
fn stubborn(place: &std::path::Path) -> String {
    let up = place.join("up").display().to_string();
    format!(
        "rm -f {up}; setsid sh -c \"trap '' TERM HUP INT; echo >{up}; exec sleep 7777\" & \
         while [ ! -e {up} ]; do sleep 0.01; done; "
    )
}

fn survivors(ran: &Ran) -> Vec<&str> {
    ran.end
        .survivors
        .iter()
        .map(|survivor| survivor.argv.as_str())
        .collect()
}

/// Keepers of every reach, with a name for messages.
fn keepers() -> [(&'static str, Keeper); 2] {
    [("best", best()), ("plain", plain())]
}

#[test]
fn a_daemon_that_ignores_sigterm_and_holds_the_pipes_is_named_and_ended() {
    let place = tempfile::tempdir().unwrap();
    for (name, mut keeper) in keepers() {
        let begun = Instant::now();
        let ran = run(&mut keeper, &sh(&(stubborn(place.path()) + "echo done; exit 3")));
        assert_eq!(ran.exit, ToolExit::Code(3), "{name}");
        assert_eq!(survivors(&ran), ["sleep 7777"], "{name}");
        assert_eq!(ran.stdout, b"done\n");
        assert!(!ran.end.leaked, "{name}: its end closed the pipes");
        assert!(begun.elapsed() < Duration::from_secs(30), "{name}");
        // And the next tool finds a clean place.
        assert_eq!(run(&mut keeper, &sh("exit 0")).end, ToolExit::Success.into(), "{name}");
    }
}

#[test]
fn generations_of_daemons_are_all_ended() {
    let place = tempfile::tempdir().unwrap();
    let up = place.path().join("up").display().to_string();
    let script = format!(
        "rm -f {up}; (setsid sh -c 'setsid sh -c \"setsid sleep 7001 & setsid sleep 7002 & sleep 7003 & echo >{up}; wait\" & wait' &); \
         while [ ! -e {up} ]; do sleep 0.01; done; sleep 0.1"
    );
    for (name, mut keeper) in keepers() {
        let ran = run(&mut keeper, &sh(&script));
        assert_eq!(ran.exit, ToolExit::Success);
        for number in ["7001", "7002", "7003"] {
            assert!(
                survivors(&ran).iter().any(|argv| argv.ends_with(number)),
                "{name}: {:?}",
                ran.end
            );
        }
        assert!(!ran.end.leaked);
    }
}

#[test]
fn what_ends_by_itself_right_after_its_tool_is_no_survivor() {
    for (name, mut keeper) in keepers() {
        // On a busy machine it may come too late, but not each time.
        let mut ended_by_itself = || {
            let ran = run(&mut keeper, &sh("yes | head -n 1 & (sleep 0.02; echo late) & exit 0"));
            assert_eq!(ran.exit, ToolExit::Success);
            survivors(&ran).is_empty() && ran.stdout.ends_with(b"late\n")
        };
        assert!((0..10).any(|_| ended_by_itself()), "{name}");
    }
}

#[test]
fn many_survivors_are_named_up_to_a_limit_and_all_ended() {
    let place = tempfile::tempdir().unwrap();
    for (name, mut keeper) in keepers() {
        let script = format!(
            "cd {}; for i in $(seq 80); do sleep 7{} & done; exit 0",
            place.path().display(),
            "0".repeat(400)
        );
        let ran = run(&mut keeper, &sh(&script));
        assert_eq!(ran.end.survivors.len(), 64, "{name}");
        assert!(survivors(&ran).iter().all(|argv| argv.len() <= 200), "{name}");
        assert_eq!(run(&mut keeper, &sh("exit 0")).end, ToolExit::Success.into(), "{name}");
    }
}

#[test]
fn a_timeout_ends_a_stubborn_tool_with_its_stubborn_daemon() {
    let place = tempfile::tempdir().unwrap();
    let limits = Limits {
        timeout: Some(Duration::from_millis(1500)),
        grace: Duration::from_millis(200),
        ..NO_LIMITS
    };
    for (name, mut keeper) in keepers() {
        let begun = Instant::now();
        let script = stubborn(place.path()) + "trap '' TERM; echo working; while :; do sleep 0.05; done";
        let ran = run_within(&mut keeper, &sh(&script), &limits);
        assert_eq!(
            ran.exit,
            ToolExit::TimedOut("timeout after 1s 500ms".to_owned()),
            "{name}"
        );
        assert!(survivors(&ran).contains(&"sleep 7777"), "{name}: {:?}", ran.end);
        assert!(
            begun.elapsed() >= Duration::from_millis(600),
            "{name}: the grace was kept"
        );
        assert!(begun.elapsed() < Duration::from_secs(30), "{name}");
        assert_eq!(ran.stdout, b"working\n");
    }
}

#[test]
fn the_polite_stop_lets_everything_clean_up() {
    let limits = Limits {
        no_output_timeout: Some(Duration::from_millis(300)),
        ..NO_LIMITS
    };
    let script = "(trap 'sleep 0.2; echo cleaned; exit 0' TERM; while :; do sleep 0.01; done) & exec sleep 7777";
    for (name, mut keeper) in keepers() {
        let ran = run_within(&mut keeper, &sh(script), &limits);
        assert_eq!(ran.exit, ToolExit::TimedOut("no output for 300ms".to_owned()), "{name}");
        assert_eq!(ran.stdout, b"cleaned\n", "{name}: although the tool itself had ended");
        assert!(survivors(&ran).is_empty(), "{name}");
    }
}

#[test]
fn a_stopped_process_is_woken_to_end() {
    let limits = Limits {
        timeout: Some(Duration::from_millis(200)),
        ..NO_LIMITS
    };
    for (name, mut keeper) in keepers() {
        let begun = Instant::now();
        let ran = run_within(&mut keeper, &sh("kill -STOP $$"), &limits);
        assert!(matches!(ran.exit, ToolExit::TimedOut(_)), "{name}");
        assert!(begun.elapsed() < Duration::from_secs(30), "{name}: without the kill");
    }
}

/// Starts a tool that says when it is up.
fn start_waiting(keeper: &mut Keeper) -> (KeptTool, Receiver<Message>) {
    let (sender, receiver) = sync_channel(16);
    let tool = keeper.spawn(&sh("trap '' TERM; echo up; sleep 7777"), sender).unwrap();
    assert!(matches!(receiver.recv().unwrap(), Message::Output(Stream::Stdout, _)));
    (tool, receiver)
}

#[test]
fn one_tool_at_a_time() {
    let mut keeper = best();
    let (mut tool, receiver) = start_waiting(&mut keeper);
    let (sender, _other) = sync_channel(1);
    assert_eq!(
        keeper.spawn(&sh("true"), sender).unwrap_err().kind(),
        std::io::ErrorKind::ResourceBusy
    );
    tool.kill();
    assert!(
        receiver
            .iter()
            .any(|message| matches!(message, Message::Ended(end) if end.exit == ToolExit::Signal(9)))
    );
    assert_eq!(run(&mut keeper, &sh("exit 4")).exit, ToolExit::Code(4));
}

#[test]
fn a_keeper_that_is_dropped_ends_its_tool() {
    for (name, mut keeper) in keepers() {
        let (_tool, receiver) = start_waiting(&mut keeper);
        let begun = Instant::now();
        let pid = keeper.pid();
        drop(keeper);
        assert!(begun.elapsed() < Duration::from_secs(30), "{name}");
        assert!(!fs::exists(format!("/proc/{pid}")).unwrap(), "{name}: reaped");
        let rest: Vec<Message> = receiver.iter().collect();
        let closed = rest
            .iter()
            .filter(|message| matches!(message, Message::Closed(_)))
            .count();
        assert_eq!(closed, 2, "{name}: nobody holds the pipes");
        assert!(
            rest.iter()
                .any(|m| matches!(m, Message::Ended(end) if matches!(end.exit, ToolExit::Lost(_))))
        );
    }
}

#[test]
fn a_tool_that_is_dropped_is_ended() {
    for (name, mut keeper) in keepers() {
        let (tool, receiver) = start_waiting(&mut keeper);
        drop(receiver);
        drop(tool);
        let begun = Instant::now();
        while keeper.busy.load(std::sync::atomic::Ordering::SeqCst) {
            assert!(begun.elapsed() < Duration::from_secs(30), "{name}");
            std::thread::yield_now();
        }
        assert_eq!(run(&mut keeper, &sh("exit 5")).exit, ToolExit::Code(5), "{name}");
    }
}

#[test]
fn only_an_empty_namespace_is_let_go_without_a_wait() {
    for (name, mut keeper) in keepers() {
        let (tool, receiver) = start_waiting(&mut keeper);
        assert!(!keeper.let_go(), "{name}: the tool still runs");
        drop((receiver, tool));
        while keeper.busy.load(std::sync::atomic::Ordering::SeqCst) {
            std::thread::yield_now();
        }
        assert_eq!(run(&mut keeper, &sh("sleep 0.01 &")).exit, ToolExit::Success, "{name}");
        let is_init = keeper.isolation().pid;
        assert_eq!(keeper.let_go(), is_init, "{name}");
        let root = PathBuf::from(format!("/proc/{}", keeper.pid()));
        drop(keeper);
        assert!(!root.exists(), "{name}: the end is waited for at last");
    }
}

#[test]
fn a_keeper_that_is_killed_means_a_lost_tool() {
    let mut keeper = best();
    let (sender, receiver) = sync_channel(16);
    let tool = keeper.spawn(&sh("echo up; exec sleep 7777"), sender).unwrap();
    let pid = rustix::process::Pid::from_raw(i32::try_from(keeper.pid()).unwrap()).unwrap();
    assert!(matches!(receiver.recv().unwrap(), Message::Output(Stream::Stdout, _)));
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let end = supervise(
        Box::new(tool),
        &receiver,
        &NO_LIMITS,
        &Cancel::new(),
        &mut |_, _| (),
        &mut |_| (),
    );
    assert!(matches!(end.exit, ToolExit::Lost(_)), "{end:?}");
    let (sender, _receiver) = sync_channel(1);
    assert_eq!(
        keeper.spawn(&sh("true"), sender).unwrap_err().kind(),
        std::io::ErrorKind::BrokenPipe
    );
}

#[test]
fn a_wish_to_stop_reaches_a_real_tool() {
    let mut keeper = best();
    let (sender, receiver) = sync_channel(16);
    let cancel = Cancel::new();
    cancel.wake(Some(sender.clone()));
    let tool = keeper
        .spawn(&sh("trap 'exit 9' TERM; echo up; while :; do sleep 0.01; done"), sender)
        .unwrap();
    let mut stages = 0;
    let end = supervise(
        Box::new(tool),
        &receiver,
        &NO_LIMITS,
        &cancel,
        // The shell itself speaks on the other stream when its child is ended.
        &mut |stream, _| {
            if stream == Stream::Stdout {
                cancel.raise(2);
            }
        },
        &mut |_| stages += 1,
    );
    assert_eq!((end.exit, stages), (ToolExit::Cancelled, 1));
}
