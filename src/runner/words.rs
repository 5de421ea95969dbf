//! What is said after a signal or a deadline: what was stopped, what is waited for and for how
//! long at most, and what a further signal does.

use std::time::Duration;

use crate::exit::{End, signal_name};
use crate::process::{Cancel, LOST, Stage};

use super::outcome::Failure;

/// What SIGINT is: the signal of a wish that no other brought.
const SIGINT: i32 = 2;

/// The end of a run that a signal ended at this moment.
pub(super) fn interrupted(cancel: &Cancel, when: &str) -> Failure {
    Failure {
        end: End::Interrupted(cancel.signal().unwrap_or(SIGINT)),
        tool: None,
        message: Some(format!("{} {when}", by(cancel))),
    }
}

/// A stage of a tool's stop.
pub(super) fn stopping(tool: &str, stage: &Stage, grace: Duration, cancel: &Cancel) -> String {
    match stage {
        Stage::Stopping { why, grace } => {
            let (why, further) = match cancel.signal() {
                Some(_) => (by(cancel), further(cancel)),
                None => ((*why).to_owned(), "Ctrl-C"),
            };
            format!(
                "{why}: `{tool}` and what it started were asked to end (SIGTERM); waiting for them, at most {}; \
                 {further} kills them at once",
                humantime::format_duration(*grace)
            )
        }
        Stage::Killing { why, late } => {
            let why = match (late, cancel.signal()) {
                (true, _) => format!("not ended within {}", humantime::format_duration(grace)),
                (false, Some(_)) if !grace.is_zero() => "a further signal".to_owned(),
                (false, Some(_)) => by(cancel),
                (false, None) => (*why).to_owned(),
            };
            format!(
                "{why}: `{tool}` and what it started are killed (SIGKILL); waiting for their end, at most {}",
                humantime::format_duration(LOST)
            )
        }
    }
}

/// While what the tools changed is brought back.
pub(super) fn collecting(cancel: &Cancel) -> String {
    match cancel.count() {
        0 | 1 => format!(
            "{}: what the tools changed is being brought back, to be kept; {} gives it up",
            by(cancel),
            further(cancel)
        ),
        _ => "a further signal: what the tools changed is given up".to_owned(),
    }
}

/// While the result is committed.
pub(super) fn committing(cancel: &Cancel) -> String {
    match cancel.count() {
        0 | 1 => format!(
            "{} while the result is being committed: the commit is undone, or finished if it is all but done; \
             waiting for that, and a further signal does not change it",
            by(cancel)
        ),
        _ => "a further signal: a commit cannot be left half done; still waiting for it".to_owned(),
    }
}

/// While a result is kept aside.
pub(super) fn keeping(cancel: &Cancel) -> String {
    match cancel.count() {
        0 | 1 => format!(
            "{}: the result is being kept aside; {} gives it up",
            by(cancel),
            further(cancel)
        ),
        _ => "a further signal: the result is not kept".to_owned(),
    }
}

fn by(cancel: &Cancel) -> String {
    format!("interrupted by {}", signal_name(cancel.signal().unwrap_or(SIGINT)))
}

/// What more can be done, as the one who did the first will do it.
fn further(cancel: &Cancel) -> &'static str {
    match cancel.signal() {
        Some(SIGINT) => "a second Ctrl-C",
        _ => "a further signal",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(10);

    fn after(signals: &[i32]) -> Cancel {
        let cancel = Cancel::new();
        signals.iter().for_each(|&signal| cancel.raise(signal));
        cancel
    }

    #[test]
    fn each_stage_says_what_is_waited_for_how_long_and_what_more_can_be_done() {
        let stop = |why, signals: &[i32]| {
            let stage = Stage::Stopping { why, grace: GRACE };
            stopping("t", &stage, GRACE, &after(signals))
        };
        assert_eq!(
            stop("interrupted", &[2]),
            "interrupted by SIGINT: `t` and what it started were asked to end (SIGTERM); waiting for them, at most \
             10s; a second Ctrl-C kills them at once"
        );
        assert!(stop("interrupted", &[15]).contains("by SIGTERM: ") && stop("", &[15]).contains("a further signal"));
        assert!(stop("timeout after 1m", &[]).starts_with("timeout after 1m: `t` and"));
        assert!(stop("timeout after 1m", &[]).ends_with("Ctrl-C kills them at once"));
    }

    #[test]
    fn bringing_back_committing_and_keeping_answer_each_signal() {
        let told = |words: fn(&Cancel) -> String| [words(&after(&[2])), words(&after(&[2, 2])), words(&after(&[15]))];
        let [first, second, term] = told(collecting);
        assert_eq!(
            first,
            "interrupted by SIGINT: what the tools changed is being brought back, to be kept; a second Ctrl-C gives \
             it up"
        );
        assert_eq!(second, "a further signal: what the tools changed is given up");
        assert!(term.starts_with("interrupted by SIGTERM: ") && term.ends_with("a further signal gives it up"));
        let [first, second, _] = told(committing);
        assert!(
            first.contains("the commit is undone, or finished if it is all but done")
                && first.ends_with("waiting for that, and a further signal does not change it"),
            "{first}"
        );
        assert!(
            second.contains("cannot be left half done; still waiting for it"),
            "{second}"
        );
        let [first, second, _] = told(keeping);
        assert!(
            first.ends_with("being kept aside; a second Ctrl-C gives it up"),
            "{first}"
        );
        assert!(second.ends_with("the result is not kept"), "{second}");
    }

    #[test]
    fn a_kill_says_why_it_is_one() {
        let kill = |why, late, grace, signals: &[i32]| {
            let text = stopping("t", &Stage::Killing { why, late }, grace, &after(signals));
            assert!(text.ends_with("waiting for their end, at most 10s"), "{text}");
            text.split(':').next().unwrap().to_owned()
        };
        assert_eq!(kill("interrupted", true, GRACE, &[2]), "not ended within 10s");
        assert_eq!(kill("interrupted", false, GRACE, &[2, 2]), "a further signal");
        assert_eq!(kill("timeout after 1m", false, GRACE, &[2]), "a further signal");
        assert_eq!(kill("timeout after 1m", false, Duration::ZERO, &[]), "timeout after 1m");
        assert_eq!(
            kill("interrupted", false, Duration::ZERO, &[15]),
            "interrupted by SIGTERM"
        );
    }
}
