//! Repeating a tool from the state before its failed attempt.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::plan::{Retries, ToolPlan};
use crate::process::{Cancel, ToolExit};
use crate::session::{Context, Session, VmError};

use super::outcome::Failure;
use super::run::Runner;

/// Whether a further attempt may end otherwise: a program that is not there stays away.
pub(super) fn is_worth_a_retry(retries: &Retries, exit: &ToolExit) -> bool {
    match exit {
        ToolExit::Code(code) => retries.exit_codes.is_empty() || retries.exit_codes.contains(code),
        ToolExit::Signal(_) | ToolExit::TimedOut(_) => retries.exit_codes.is_empty(),
        ToolExit::Success
        | ToolExit::Cancelled
        | ToolExit::NotFound(_)
        | ToolExit::NotExecutable(_)
        | ToolExit::Lost(_) => false,
    }
}

impl Runner<'_> {
    /// Notes the state that a repeated attempt starts from; `false` when the run is over.
    pub(super) fn checkpoint(&mut self, tool: &ToolPlan) -> bool {
        match self.with_session(|session, cx| session.checkpoint(cx)) {
            Ok(true) => true,
            Ok(false) => {
                self.emitter.warn(format!(
                    "in place there is no state to go back to: each retry of `{}` starts from what the attempt before \
                     it left",
                    tool.name
                ));
                true
            }
            Err(error) => {
                self.session_failed(&error);
                false
            }
        }
    }

    /// Goes back to that state and waits as long as the tool wants it; `false` when there is to
    /// be no further attempt.
    pub(super) fn go_back(&mut self, tool: &ToolPlan) -> bool {
        if let Err(error) = self.with_session(|session, cx| session.roll_back(cx)) {
            self.session_failed(&error);
            return false;
        }
        let limit = self
            .deadline
            .map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if limit.is_some_and(|limit| limit < tool.retries.delay) {
            return false;
        }
        wait(tool.retries.delay, &self.cancel)
    }

    /// What the session could not do between two tools ends the run.
    pub(super) fn session_failed(&mut self, error: &VmError) {
        let failure = match self.cancel.signal() {
            None if error.is_cancelled() => self.run_timed_out(),
            signal => Failure::of(error.end(signal), error),
        };
        self.fail(failure);
    }

    fn with_session<T>(&mut self, act: impl FnOnce(&mut dyn Session, &mut Context) -> T) -> T {
        let cancel = self.cancel.until(self.deadline);
        let mut cx = Context {
            emitter: &mut self.emitter,
            cancel: &cancel,
            lock: self.lock.as_ref(),
        };
        act(self.session, &mut cx)
    }
}

/// Waits; `false` when somebody wished to stop meanwhile.
fn wait(delay: Duration, cancel: &Cancel) -> bool {
    if cancel.is_raised() {
        return false;
    }
    let (sender, woken) = mpsc::sync_channel(1);
    cancel.wake(Some(sender));
    // A signal may have come just before anybody was to be woken.
    let waited = cancel.is_raised() || matches!(woken.recv_timeout(delay), Err(RecvTimeoutError::Timeout));
    cancel.wake(None);
    waited && !cancel.is_raised()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_end_otherwise_is_repeated() {
        let any = Retries {
            count: 1,
            ..Retries::default()
        };
        let some = Retries {
            exit_codes: vec![75],
            ..any.clone()
        };
        let judged = |exit: ToolExit| (is_worth_a_retry(&any, &exit), is_worth_a_retry(&some, &exit));
        assert_eq!(judged(ToolExit::Code(75)), (true, true));
        assert_eq!(judged(ToolExit::Code(1)), (true, false));
        assert_eq!(judged(ToolExit::Signal(11)), (true, false));
        assert_eq!(judged(ToolExit::TimedOut(String::new())), (true, false));
        assert_eq!(judged(ToolExit::NotFound(String::new())), (false, false));
        assert_eq!(judged(ToolExit::Success), (false, false));
    }

    #[test]
    fn a_signal_ends_the_wait() {
        let cancel = Cancel::new();
        assert!(wait(Duration::from_millis(1), &cancel));
        let other = cancel.clone();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| wait(Duration::from_secs(60), &cancel));
            other.raise(2);
            assert!(!waiting.join().unwrap());
        });
    }
}
