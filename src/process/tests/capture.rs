//! Questions to programs.

use std::path::Path;
use std::time::{Duration, Instant};

use super::*;
use crate::process::{CaptureLimits, Captured, capture};

const LIMITS: CaptureLimits = CaptureLimits {
    timeout: Duration::from_secs(60),
    bytes: 1000,
};

fn ask(script: &str, limits: CaptureLimits) -> Captured {
    capture(&sh(script), limits, &Cancel::new()).unwrap()
}

#[test]
fn what_a_program_says_and_its_end_are_told_apart() {
    let captured = ask("echo out; echo err >&2; exit 3", LIMITS);
    assert_eq!(captured.exit, ToolExit::Code(3));
    assert_eq!(captured.stdout, b"out\n");
    assert_eq!(captured.stderr, b"err\n");
    assert!(!captured.cut);
}

#[test]
fn only_the_beginning_of_what_is_long_is_kept_and_the_program_comes_to_its_end() {
    let captured = ask("head -c 3000000 /dev/zero; echo whole >&2", LIMITS);
    assert_eq!(captured.exit, ToolExit::Success);
    assert_eq!((captured.stdout.len(), captured.cut), (1000, true));
    assert_eq!(captured.stderr, b"whole\n");
}

#[test]
fn a_program_that_hangs_is_stopped_with_what_it_started() {
    let limits = CaptureLimits {
        timeout: Duration::from_millis(300),
        ..LIMITS
    };
    let start = Instant::now();
    let captured = ask("setsid sleep 3456.5 & echo $!; trap '' TERM; sleep 3456.5", limits);
    assert!(matches!(captured.exit, ToolExit::TimedOut(_)), "{captured:?}");
    assert!(start.elapsed() < Duration::from_secs(60));
    let pid = String::from_utf8(captured.stdout).unwrap();
    assert!(!Path::new("/proc").join(pid.trim()).exists());
}

#[test]
fn a_program_that_is_not_there_is_an_answer() {
    let captured = capture(&request(&["no-such-program"]), LIMITS, &Cancel::new()).unwrap();
    assert!(matches!(captured.exit, ToolExit::NotFound(_)), "{captured:?}");
}
