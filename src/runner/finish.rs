//! The end of a run: shutdown, then the commit, or the result kept aside.

use std::time::Instant;

use crate::event::{EventBody, WriteBackState, millis};
use crate::exit::{Class, End};
use crate::plan::WriteBack;
use crate::session::{Collected, Context};
use crate::workspace::results::{self, NewResult};
use crate::workspace::{self, Baseline, CommitError};

use super::outcome::{Failure, chain};
use super::run::Runner;
use super::told::told;
use super::words::{collecting, committing, interrupted, keeping};

impl Runner<'_> {
    /// Collects, then releases. `None` when there is nothing to write back: no view was made,
    /// or its changes could not be brought back.
    pub(super) fn shut_down(&mut self) -> Option<Baseline> {
        if !self.opened {
            return None;
        }
        let start = Instant::now();
        // After an interrupt the shutdown itself is what was asked for: only a further signal
        // stops it.
        let cancel = self.cancel.second();
        let lock = self.lock.as_ref();
        let collected = if self.ready {
            let (session, vfs) = (&mut self.session, &mut self.vfs);
            told(&mut self.emitter, &self.cancel, collecting, |emitter| {
                let mut cx = Context {
                    emitter,
                    cancel: &cancel,
                    lock,
                };
                session.collect(vfs, &mut cx).map(Some)
            })
        } else {
            Ok(None)
        };
        let released = self.session.release(&mut Context {
            emitter: &mut self.emitter,
            cancel: &cancel,
            lock,
        });
        let collected = collected.unwrap_or_else(|error| {
            let failure = if error.is_cancelled() {
                let when = "while what the tools changed was brought back; it is given up";
                interrupted(&self.cancel, when)
            } else {
                self.if_moved(Failure::of(error.end(self.cancel.signal()), &error))
            };
            self.fail(failure);
            None
        });
        let baseline = collected.map(|collected| self.note_missing(collected));
        if let Err(error) = released {
            self.emitter
                .warn(format!("the backend could not be released: {}", chain(&error)));
        }
        self.emitter.emit(EventBody::SessionFinished {
            elapsed_ms: millis(start.elapsed()),
        });
        baseline
    }

    /// A result without the last of it is not committed: a backend that was lost after its last tool makes the run fail.
    fn note_missing(&mut self, collected: Collected) -> Baseline {
        let known = |failure: &Failure| matches!(failure.end, End::Lost | End::Protocol);
        if let Some(error) = collected.missing.filter(|_| !self.failure.as_ref().is_some_and(known)) {
            let failure = Failure::of(error.end(self.cancel.signal()), &error);
            self.fail(Failure {
                message: failure
                    .message
                    .map(|why| format!("{why}; what the tools did last could not be asked for")),
                ..failure
            });
        }
        collected.baseline
    }

    /// Commits, or keeps the result aside; gives the id of a kept result.
    pub(super) fn write_back(&mut self, mut baseline: Baseline) -> Option<String> {
        self.note_stop();
        if matches!(baseline, Baseline::RealTree) || self.vfs.changes().next().is_none() {
            self.write_back_finished(WriteBackState::None, 0, 0, Vec::new());
            return None;
        }
        let due = match (self.plan.write_back, &self.failure) {
            (WriteBack::Drop, _) => {
                self.write_back_finished(WriteBackState::Dropped, 0, 0, Vec::new());
                return None;
            }
            (WriteBack::Never, _) => false,
            (WriteBack::OnSuccess | WriteBack::Always, None) => true,
            (WriteBack::OnSuccess, Some(_)) => false,
            (WriteBack::Always, Some(failure)) => matches!(failure.end.class(), Class::Tool | Class::Timeout),
        };
        if !due {
            let kept = self.keep(&baseline);
            let state = if kept.is_some() {
                WriteBackState::Kept
            } else {
                WriteBackState::None
            };
            self.write_back_finished(state, 0, 0, Vec::new());
            return kept;
        }
        let area = self.plan.places.commit_area();
        let (vfs, plan, rules, cancel) = (&mut self.vfs, self.plan, &self.rules, &self.cancel);
        let done = told(&mut self.emitter, cancel, committing, |_| {
            workspace::commit(vfs, &mut baseline, &plan.workspace, &area, rules, &|| {
                cancel.is_raised()
            })
        });
        match done {
            Ok(report) => {
                if self.cancel.signal().is_some() {
                    self.emitter
                        .warn("the signal came when the commit could only be finished: it is done and stands");
                }
                self.write_back_finished(WriteBackState::Committed, report.written, report.deleted, Vec::new());
                None
            }
            Err(error) => {
                let conflicts = match &error {
                    CommitError::Conflict { paths } => paths
                        .iter()
                        .map(|conflict| conflict.path.display().to_string())
                        .collect(),
                    _ => Vec::new(),
                };
                let end = match &error {
                    CommitError::Conflict { .. } => End::Conflict,
                    _ => End::Sync,
                };
                // A commit that was refused decides, also over a tool's failure that
                // `write_back = "always"` let pass.
                let failure = match error {
                    CommitError::Cancelled => interrupted(
                        &self.cancel,
                        "while the result was being committed; the commit was undone",
                    ),
                    error => self.if_moved(Failure::of(end, &error)),
                };
                self.fail(failure);
                let kept = self.keep(&baseline);
                self.write_back_finished(WriteBackState::Refused, 0, 0, conflicts);
                kept
            }
        }
    }

    /// The same failure, with what became of the workspace's folder where that is why.
    fn if_moved(&self, failure: Failure) -> Failure {
        match self.lock.as_ref().and_then(|lock| lock.moved(&self.plan.workspace)) {
            None => failure,
            Some(moved) => Failure {
                message: failure.message.map(|why| format!("{why}; {moved}")),
                ..failure
            },
        }
    }

    /// Keeps the result aside. That it cannot be kept does not change the end of the run.
    fn keep(&mut self, baseline: &Baseline) -> Option<String> {
        let (class, tool) = match &self.failure {
            None => (Class::Ok, None),
            Some(failure) => {
                let mask = self.setup.secrets.mask();
                let tool = failure.tool.as_ref().map(|tool| mask.text(tool).into_owned());
                (failure.end.class(), tool)
            }
        };
        let new = NewResult {
            run_id: self.setup.run_id.clone(),
            class: class.word().to_owned(),
            tool,
        };
        let places = &self.plan.places;
        let cancel = self.cancel.second();
        let (vfs, rules) = (&mut self.vfs, &self.rules);
        let kept = told(&mut self.emitter, &self.cancel, keeping, |_| {
            let (root, state) = (&places.state_root, &places.state);
            results::keep(vfs, baseline, rules, root, state, &new, &|| cancel.is_raised())
        });
        match kept {
            Ok(id) => id,
            Err(error) => {
                self.emitter
                    .warn(format!("the result could not be kept: {}", chain(&error)));
                None
            }
        }
    }

    pub(super) fn write_back_finished(
        &mut self,
        state: WriteBackState,
        written: u64,
        deleted: u64,
        conflicts: Vec<String>,
    ) {
        self.emitter.emit(EventBody::WriteBackFinished {
            state,
            written,
            deleted,
            conflicts,
        });
    }
}
