//! The loop with a scripted tool; with real ones see `process::tests`.

use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

use super::*;

/// What a tool does when a lever is pulled: it may end.
type Answer = Box<dyn FnMut() -> Option<ToolExit> + Send>;

/// A tool without processes: levers are written down and may be answered.
struct Scripted {
    pulled: Arc<Mutex<Vec<&'static str>>>,
    on_terminate: Answer,
    on_kill: Option<ToolExit>,
    messages: SyncSender<Message>,
}

impl Scripted {
    fn pull(&mut self, lever: &'static str) {
        self.pulled.lock().unwrap().push(lever);
        let answer = if lever == "kill" {
            self.on_kill.take()
        } else {
            (self.on_terminate)()
        };
        if let Some(exit) = answer {
            finish(&self.messages, exit);
        }
    }
}

impl Running for Scripted {
    fn terminate(&mut self) {
        self.pull("terminate");
    }

    fn kill(&mut self) {
        self.pull("kill");
    }
}

fn finish(messages: &SyncSender<Message>, exit: ToolExit) {
    for message in [
        Message::Ended(ToolEnd {
            exit,
            survivors: Vec::new(),
            leaked: false,
        }),
        Message::Closed(Stream::Stdout),
        Message::Closed(Stream::Stderr),
    ] {
        messages.send(message).unwrap();
    }
}

const NONE: Limits = Limits {
    timeout: None,
    no_output_timeout: None,
    grace: Duration::from_secs(60),
    deadline_of_run: None,
};

struct Seen {
    end: ToolEnd,
    pulled: Vec<&'static str>,
    stages: Vec<String>,
    output: Vec<u8>,
}

fn watch(
    limits: Limits,
    cancel: &Cancel,
    terminated: Option<ToolExit>,
    killed: Option<ToolExit>,
    feed: impl FnOnce(SyncSender<Message>),
) -> Seen {
    watch_one_that(limits, cancel, Box::new(move || terminated.clone()), killed, feed)
}

fn watch_one_that(
    limits: Limits,
    cancel: &Cancel,
    on_terminate: Answer,
    on_kill: Option<ToolExit>,
    feed: impl FnOnce(SyncSender<Message>),
) -> Seen {
    let (sender, receiver) = sync_channel(64);
    let pulled = Arc::default();
    let running = Scripted {
        pulled: Arc::clone(&pulled),
        on_terminate,
        on_kill,
        messages: sender.clone(),
    };
    cancel.wake(Some(sender.clone()));
    feed(sender);
    let (mut stages, mut output) = (Vec::new(), Vec::new());
    let end = supervise(
        Box::new(running),
        &receiver,
        &limits,
        cancel,
        &mut |_, bytes| output.extend(bytes),
        &mut |stage| stages.push(format!("{stage:?}")),
    );
    let pulled = pulled.lock().unwrap().clone();
    Seen {
        end,
        pulled,
        stages,
        output,
    }
}

const SHORT: Duration = Duration::from_millis(30);

#[test]
fn a_tool_that_ends_by_itself_is_not_touched() {
    let seen = watch(NONE, &Cancel::new(), None, None, |messages| {
        messages.send(Message::Output(Stream::Stdout, b"a".to_vec())).unwrap();
        messages.send(Message::Ended(ToolExit::Code(3).into())).unwrap();
        messages.send(Message::Output(Stream::Stderr, b"b".to_vec())).unwrap();
        messages.send(Message::Closed(Stream::Stdout)).unwrap();
        messages.send(Message::Closed(Stream::Stderr)).unwrap();
    });
    assert_eq!(seen.end, ToolExit::Code(3).into());
    assert_eq!(seen.output, b"ab");
    assert!(seen.pulled.is_empty() && seen.stages.is_empty());
}

#[test]
fn a_deadline_stops_politely_first_and_says_which_it_was() {
    let limits = Limits {
        timeout: Some(SHORT),
        ..NONE
    };
    let seen = watch(limits, &Cancel::new(), Some(ToolExit::Success), None, |_| ());
    assert_eq!(seen.end.exit, ToolExit::TimedOut("timeout after 30ms".to_owned()));
    assert_eq!(seen.pulled, ["terminate"]);
    assert_eq!(seen.stages, [r#"Stopping { why: "timeout after 30ms", grace: 60s }"#]);
}

#[test]
fn a_stubborn_tool_is_killed_after_the_grace() {
    let limits = Limits {
        no_output_timeout: Some(SHORT),
        grace: SHORT,
        ..NONE
    };
    let seen = watch(limits, &Cancel::new(), None, Some(ToolExit::Signal(9)), |_| ());
    assert_eq!(seen.end.exit, ToolExit::TimedOut("no output for 30ms".to_owned()));
    assert_eq!(seen.pulled, ["terminate", "kill"]);
    assert_eq!(
        seen.stages.last().unwrap(),
        r#"Killing { why: "no output for 30ms", late: true }"#
    );
}

#[test]
fn no_grace_kills_at_once() {
    let run = RunDeadline {
        at: Instant::now(),
        timeout: Duration::from_secs(3600),
    };
    let limits = Limits {
        deadline_of_run: Some(run),
        grace: Duration::ZERO,
        ..NONE
    };
    let seen = watch(limits, &Cancel::new(), None, Some(ToolExit::Signal(9)), |_| ());
    assert_eq!(
        seen.end.exit,
        ToolExit::TimedOut("the run's timeout of 1h passed".to_owned())
    );
    assert_eq!(seen.pulled, ["kill"]);
}

#[test]
fn output_puts_off_the_silence_but_not_the_timeout() {
    let limits = Limits {
        timeout: Some(SHORT * 40),
        no_output_timeout: Some(SHORT * 30),
        ..NONE
    };
    let seen = watch(limits, &Cancel::new(), Some(ToolExit::Signal(15)), None, |messages| {
        std::thread::spawn(move || {
            for _ in 0..50 {
                let _ = messages.send(Message::Output(Stream::Stdout, b".".to_vec()));
                std::thread::sleep(SHORT);
            }
        });
    });
    let timed_out = ToolExit::TimedOut("timeout after 1s 200ms".to_owned());
    assert_eq!(seen.end.exit, timed_out);
}

/// Somebody raises a wish to stop as soon as the tool is asked to end.
fn wished_when_asked(limits: Limits, cancel: &Cancel) -> Seen {
    let other = cancel.clone();
    let impatient = Box::new(move || {
        other.raise(2);
        None
    });
    watch_one_that(limits, cancel, impatient, Some(ToolExit::Signal(9)), |_| ())
}

#[test]
fn the_first_wish_stops_and_the_second_kills() {
    let cancel = Cancel::new();
    cancel.raise(2);
    let seen = wished_when_asked(NONE, &cancel);
    assert_eq!(seen.end.exit, ToolExit::Cancelled);
    assert_eq!(seen.pulled, ["terminate", "kill"]);
    assert_eq!(
        seen.stages.last().unwrap(),
        r#"Killing { why: "interrupted", late: false }"#
    );
}

#[test]
fn one_wish_is_enough_for_a_tool_that_is_being_stopped_for_its_deadline() {
    let limits = Limits {
        timeout: Some(SHORT),
        ..NONE
    };
    let seen = wished_when_asked(limits, &Cancel::new());
    assert_eq!(seen.pulled, ["terminate", "kill"]);
    let last = r#"Killing { why: "timeout after 30ms", late: false }"#;
    assert_eq!(seen.stages.last().unwrap(), last);
}

#[test]
fn a_grace_without_end_is_no_grace_of_zero() {
    let limits = Limits {
        timeout: Some(SHORT),
        grace: Duration::MAX,
        ..NONE
    };
    let seen = watch(limits, &Cancel::new(), Some(ToolExit::Signal(15)), None, |_| ());
    assert_eq!(seen.pulled, ["terminate"]);
}

#[test]
fn two_wishes_before_the_start_kill_without_asking() {
    let cancel = Cancel::new();
    cancel.raise(15);
    cancel.raise(15);
    let seen = watch(NONE, &cancel, None, Some(ToolExit::Signal(9)), |_| ());
    assert_eq!(seen.pulled, ["kill"]);
    assert_eq!(seen.end.exit, ToolExit::Cancelled);
}

#[test]
fn success_in_spite_of_a_wish_is_success() {
    let cancel = Cancel::new();
    cancel.raise(2);
    let seen = watch(NONE, &cancel, Some(ToolExit::Success), None, |_| ());
    assert_eq!(seen.end.exit, ToolExit::Success);
}

#[test]
fn a_program_that_was_not_found_stays_so_whatever_the_deadline() {
    let limits = Limits {
        timeout: Some(Duration::ZERO),
        ..NONE
    };
    let seen = watch(
        limits,
        &Cancel::new(),
        Some(ToolExit::NotFound("x".to_owned())),
        None,
        |_| (),
    );
    assert_eq!(seen.end.exit, ToolExit::NotFound("x".to_owned()));
}

#[test]
fn a_stream_that_stays_open_is_a_leak_after_half_a_second() {
    let before = Instant::now();
    let seen = watch(NONE, &Cancel::new(), None, None, |messages| {
        messages.send(Message::Ended(ToolExit::Success.into())).unwrap();
        messages.send(Message::Closed(Stream::Stdout)).unwrap();
        // The sender lives on as the pump of a pipe that somebody holds.
        std::mem::forget(messages);
    });
    assert!(seen.end.leaked);
    assert_eq!(seen.end.exit, ToolExit::Success);
    assert!(before.elapsed() >= LEAK);
}

#[test]
fn a_tool_whose_channel_is_dropped_is_lost() {
    struct Mute;
    impl Running for Mute {
        fn terminate(&mut self) {}
        fn kill(&mut self) {}
    }
    let (sender, receiver) = sync_channel(1);
    drop(sender);
    let end = supervise(
        Box::new(Mute),
        &receiver,
        &NONE,
        &Cancel::new(),
        &mut |_, _| (),
        &mut |_| (),
    );
    assert!(matches!(end.exit, ToolExit::Lost(_)));
}
