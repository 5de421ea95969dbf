//! Real signals, each in a process of its own.

use super::*;

fn signal_self(signal: rustix::process::Signal) {
    rustix::process::kill_process(rustix::process::getpid(), signal).unwrap();
}

#[test]
fn signals_become_wishes_and_what_was_ignored_stays_ignored() {
    use rustix::process::Signal;

    let expected = match role().as_deref() {
        Some("listening") => Signal::HUP,
        Some("nohup") => Signal::TERM,
        _ => {
            const NAME: &str = "signals_become_wishes";
            passes(again(NAME, "listening", "exec \"$@\""));
            passes(again(NAME, "nohup", "trap '' HUP; exec \"$@\""));
            return;
        }
    };
    let (sender, receiver) = sync_channel(4);
    let cancel = Cancel::new();
    cancel.wake(Some(sender));
    let thread = forward_to(cancel.clone()).unwrap();
    signal_self(Signal::HUP);
    if expected == Signal::HUP {
        assert!(matches!(receiver.recv(), Ok(Message::Wake)));
    }
    signal_self(Signal::TERM);
    assert!(matches!(receiver.recv(), Ok(Message::Wake)));
    assert_eq!(cancel.signal(), Some(expected.as_raw()));
    drop(thread);
    // No handler of the system's own ends the process now.
    signal_self(Signal::TERM);
}

#[test]
fn what_the_caller_ignores_tools_ignore_too() {
    if role().as_deref() != Some("nohup") {
        passes(again(
            "what_the_caller_ignores_tools_ignore_too",
            "nohup",
            "trap '' HUP; exec \"$@\"",
        ));
        return;
    }
    let _thread = forward_to(Cancel::new()).unwrap();
    for mut keeper in [best(), plain()] {
        assert_eq!(run(&mut keeper, &sh("kill -HUP $$; exit 3")).exit, ToolExit::Code(3));
        // Handlers of devshell's own are no part of that.
        assert_eq!(run(&mut keeper, &sh("kill -INT $$; exit 3")).exit, ToolExit::Signal(2));
    }
}
