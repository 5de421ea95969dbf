//! The states of a run, in order.

use std::ffi::OsString;
use std::time::Instant;

use crate::event::{Emitter, EventBody, EventSink, WriteBackState, millis};
use crate::exit::End;
use crate::plan::Plan;
use crate::process::{Cancel, Stdin, Terminal};
use crate::session::{Context, Session};
use crate::vfs::{Vfs, VfsPath};
use crate::workspace::{self, Holder, LockError, Rules, WorkspaceLock};

use super::commands::Commands;
use super::outcome::{Failure, Outcome};
use super::secrets::Secrets;
use super::words::interrupted;

/// What a run gets from its caller besides the plan.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Identifies the run.
    pub run_id: String,
    /// The caller's environment, of which the plan says what reaches the tools.
    pub env: Vec<(OsString, OsString)>,
    /// The values of those secrets of the plan that a tool of this run gets.
    pub secrets: Secrets,
    /// What the tools read.
    pub stdin: Stdin,
    /// Set: the tools' output is a terminal.
    pub terminal: Option<Terminal>,
    /// Whether the workspace's lock is taken; not by a run inside another run's view.
    pub lock: bool,
    /// How the caller is asked for more.
    pub commands: Commands,
}

/// One run of one plan. Each field is a piece of the state that the states below share.
pub struct Runner<'a> {
    pub(super) plan: &'a Plan,
    pub(super) setup: Setup,
    pub(super) session: &'a mut dyn Session,
    pub(super) emitter: Emitter<'a>,
    pub(super) cancel: Cancel,
    pub(super) vfs: Vfs,
    pub(super) rules: Rules,
    /// The workspace as a path of the Vfs.
    pub(super) root: VfsPath,
    /// When the whole run must be over.
    pub(super) deadline: Option<Instant>,
    /// Whether `ensure_ready` succeeded, and whether it was tried.
    pub(super) ready: bool,
    pub(super) opened: bool,
    /// What decides; the first failure stays.
    pub(super) failure: Option<Failure>,
    /// Last, so that the workspace is free only when everything else has been let go.
    pub(super) lock: Option<WorkspaceLock>,
}

impl<'a> Runner<'a> {
    /// Runs the plan to its end: whatever a state meets becomes the outcome, and a session that
    /// was begun is released.
    pub fn run(
        plan: &'a Plan,
        setup: Setup,
        session: &'a mut dyn Session,
        sink: &'a mut dyn EventSink,
        cancel: Cancel,
    ) -> Outcome {
        let mask = setup.secrets.mask().clone();
        let mut emitter = Emitter::new(sink).hiding(mask.clone());
        emitter.emit(EventBody::RunStarted {
            run_id: setup.run_id.clone(),
            workspace: plan.workspace.display().to_string(),
            tools: plan
                .tools
                .iter()
                .filter(|tool| tool.left_out.is_none())
                .map(|tool| tool.name.clone())
                .collect(),
            devshell: env!("CARGO_PKG_VERSION").to_owned(),
        });
        for warning in &plan.warnings {
            emitter.warn(warning.clone());
        }
        let commands = setup.commands.clone();
        let mut outcome = match open(plan, &setup, &mut emitter, &cancel) {
            Err(failure) => Outcome::of(Some(failure), None),
            Ok((lock, vfs, rules)) => {
                let root = vfs.workspace();
                let deadline = plan.run_timeout.and_then(|timeout| Instant::now().checked_add(timeout));
                let mut runner = Runner {
                    plan,
                    setup,
                    session,
                    emitter,
                    cancel,
                    lock,
                    vfs,
                    rules,
                    root,
                    deadline,
                    ready: false,
                    opened: false,
                    failure: None,
                };
                let kept = runner.pass();
                emitter = runner.emitter;
                Outcome::of(runner.failure, kept)
            }
        };
        outcome.note_unwritten(emitter.failure());
        outcome.hide(&mask);
        emitter.emit(EventBody::RunFinished {
            class: outcome.end.class(),
            exit_code: outcome.end.code(plan.exit_code),
            tool: outcome.tool.clone(),
            error: outcome.message.clone(),
            elapsed_ms: millis(emitter.elapsed()),
            kept: outcome.kept.clone(),
            next: commands.next(outcome.tool.as_deref(), outcome.kept.as_deref()),
        });
        // The last event may be the one that did not go out.
        outcome.note_unwritten(emitter.failure());
        outcome
    }

    /// Preparing → Running(i) → ShuttingDown → Committing; gives the id of a kept result.
    fn pass(&mut self) -> Option<String> {
        if self.plan.eager_start {
            self.prepare();
        }
        self.run_tools();
        self.note_stop();
        let baseline = self.shut_down();
        match baseline {
            Some(baseline) => self.write_back(baseline),
            None => {
                self.write_back_finished(WriteBackState::None, 0, 0, Vec::new());
                None
            }
        }
    }

    /// Makes the backend ready, once; says whether tools can be started.
    pub(super) fn prepare(&mut self) -> bool {
        if self.opened {
            return self.ready;
        }
        self.opened = true;
        let backend = self.plan.backend.name().to_owned();
        self.emitter.emit(EventBody::SessionStarting {
            backend: backend.clone(),
        });
        let start = Instant::now();
        let cancel = self.cancel.until(self.ready_limit());
        let mut cx = Context {
            emitter: &mut self.emitter,
            cancel: &cancel,
            lock: self.lock.as_ref(),
        };
        let result = self.session.ensure_ready(&self.vfs, &self.root, &mut cx);
        match result {
            Ok(ready) => {
                self.emitter.emit(EventBody::SessionReady {
                    backend,
                    strategy: ready.strategy.map(str::to_owned),
                    isolation: ready.isolation.word().to_owned(),
                    why: ready.why,
                    elapsed_ms: millis(start.elapsed()),
                });
                self.ready = true;
            }
            Err(error) => {
                let failure = match self.cancel.signal() {
                    None if error.is_cancelled() => self.late(&backend),
                    Some(_) if error.is_cancelled() => {
                        let when = format!("while the {backend} backend was being made ready; nothing was run");
                        interrupted(&self.cancel, &when)
                    }
                    signal => Failure::of(error.end(signal), &error),
                };
                self.fail(failure);
            }
        }
        self.ready
    }

    /// What a backend that took too long means: the run's own deadline is a timeout, the
    /// backend's a backend that is not ready.
    fn late(&self, backend: &str) -> Failure {
        if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return self.run_timed_out();
        }
        let limit = humantime::format_duration(self.plan.ready_timeout.unwrap_or_default());
        let message = format!("the {backend} backend was not ready after {limit} (vm.ready_timeout)");
        Failure {
            end: End::Backend,
            tool: None,
            message: Some(message),
        }
    }

    /// Why the run is to stop although nothing of it failed: a signal, or reports that cannot be
    /// written.
    pub(super) fn stop_reason(&self) -> Option<Failure> {
        if let Some(error) = self.emitter.failure() {
            let message = format!("the run cannot be reported: {error}");
            return Some(Failure {
                end: End::Sync,
                tool: None,
                message: Some(message),
            });
        }
        let signal = self.cancel.signal()?;
        Some(Failure {
            end: End::Interrupted(signal),
            tool: None,
            message: None,
        })
    }

    /// Lets a wish to stop decide that came while nothing asked for it, also when every tool
    /// has succeeded in spite of it.
    pub(super) fn note_stop(&mut self) {
        if !self.failure.as_ref().is_some_and(Failure::outweighs_tools)
            && let Some(failure) = self.stop_reason()
        {
            self.fail(failure);
        }
    }

    /// The end by `run.timeout`.
    pub(super) fn run_timed_out(&self) -> Failure {
        let limit = humantime::format_duration(self.plan.run_timeout.unwrap_or_default());
        Failure {
            end: End::Timeout,
            tool: None,
            message: Some(format!("the run's timeout of {limit} passed")),
        }
    }

    fn ready_limit(&self) -> Option<Instant> {
        let ready = self
            .plan
            .ready_timeout
            .and_then(|timeout| Instant::now().checked_add(timeout));
        match (ready, self.deadline) {
            (Some(ready), Some(run)) => Some(ready.min(run)),
            (ready, run) => ready.or(run),
        }
    }

    /// Records a failure. The first one decides, but what devshell itself could not do and an
    /// interrupt outweigh a tool's failure that came before them: the rest is not known then.
    pub(super) fn fail(&mut self, failure: Failure) {
        let told = match &mut self.failure {
            None => {
                self.failure = Some(failure);
                None
            }
            Some(first) if failure.outweighs_tools() && !first.outweighs_tools() => {
                Some(std::mem::replace(first, failure))
            }
            Some(_) => Some(failure),
        };
        if let Some(message) = told.and_then(Failure::beside) {
            self.emitter.warn(message);
        }
    }
}

/// Takes the lock and looks at the workspace: what must hold before anything is made.
fn open(
    plan: &Plan,
    setup: &Setup,
    emitter: &mut Emitter,
    cancel: &Cancel,
) -> Result<(Option<WorkspaceLock>, Vfs, Rules), Failure> {
    let lock = if setup.lock {
        Some(lock(plan, emitter, cancel)?)
    } else {
        None
    };
    // Inside another run's view the lock, and what a killed commit left, are that run's concern.
    if lock.is_some() {
        let recovered = workspace::recover(&plan.places.commit_area(), &plan.workspace);
        if let Some(recovered) = recovered.map_err(|error| Failure::of(End::Sync, &error))? {
            emitter.warn(recovered.to_string());
        }
    }
    let vfs = Vfs::from_dir(&plan.workspace).map_err(|error| Failure::of(End::Sync, &error))?;
    let rules = Rules::new(&plan.ignore, &plan.cache_dirs).map_err(|error| Failure::of(End::ConfigInvalid, &error))?;
    Ok((lock, vfs, rules))
}

fn lock(plan: &Plan, emitter: &mut Emitter, cancel: &Cancel) -> Result<WorkspaceLock, Failure> {
    let on_wait = &mut |holder: &Holder| {
        emitter.emit(EventBody::LockWaiting {
            pid: holder.pid,
            running_ms: holder.running.map(millis),
            limit_ms: plan.lock_timeout.filter(|limit| !limit.is_zero()).map(millis),
        });
    };
    WorkspaceLock::acquire(&plan.workspace, plan.lock_timeout, &|| cancel.is_raised(), on_wait).map_err(|error| {
        match error {
            LockError::Cancelled => interrupted(cancel, "while it waited for another run in this workspace"),
            error => Failure::of(lock_end(&error, cancel), &error),
        }
    })
}

/// The end of whoever did not get the lock.
pub(crate) fn lock_end(error: &LockError, cancel: &Cancel) -> End {
    match error {
        LockError::Busy { .. } => End::Lost,
        LockError::Cancelled => End::Interrupted(cancel.signal().unwrap_or(2)),
        LockError::Io { .. } => End::Sync,
    }
}
