//! The tool list: which tool is due, running it, and what its end means.

use std::ffi::OsString;
use std::sync::mpsc;
use std::time::Instant;

use crate::event::{EventBody, OutputData, Stream, ToolOutcome, ToolTerminal, millis};
use crate::exit::End;
use crate::plan::{Backend, ToolPlan, guest_environment, tool_environment};
use crate::process::{Limits, RunDeadline, Stage, ToolCommand, ToolEnd, ToolExit, supervise};
use crate::vfs::VfsPath;

use super::outcome::Failure;
use super::output::{Recent, Tails};
use super::retries::is_worth_a_retry;
use super::run::Runner;
use super::secrets::MaskedOutput;
use super::words::stopping;

/// How many messages may wait: with chunks of 64 KiB a few MiB, then the tool waits.
const WAITING_MESSAGES: usize = 32;

/// How one attempt ended.
enum Attempted {
    /// Well, or with a failure that is tolerated.
    Done,
    /// With a failure that decides.
    Failed(Failure),
    /// With one that decides unless a further attempt does better.
    ToRepeat(Failure),
}

impl Runner<'_> {
    /// Runs every tool that is due, or says why not.
    pub(super) fn run_tools(&mut self) {
        for tool in &self.plan.tools {
            match self.why_not(tool) {
                Some(why) => self.skipped(tool, why),
                None => self.run_tool(tool),
            }
        }
    }

    fn skipped(&mut self, tool: &ToolPlan, why: impl Into<String>) {
        self.emitter.emit(EventBody::ToolSkipped {
            tool: tool.name.clone(),
            why: why.into(),
        });
    }

    /// Why a tool is not run; makes the backend ready when the answer needs the view.
    fn why_not(&mut self, tool: &ToolPlan) -> Option<String> {
        if let Some(why) = &tool.left_out {
            return Some(why.clone());
        }
        if let Some(failure) = self.stop_reason() {
            self.fail(failure);
            return Some("the run was stopped".to_owned());
        }
        if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            if self.failure.is_none() {
                let failure = self.run_timed_out();
                self.fail(failure);
            }
            return Some("the run's timeout had passed".to_owned());
        }
        if let Some(failure) = &self.failure {
            let tool_failed =
                failure.tool.is_some() && !matches!(failure.end, End::Lost | End::Protocol | End::Interrupted(_));
            if self.plan.fail_fast || !tool_failed {
                return Some(match &failure.tool {
                    Some(first) => format!("`{first}` failed"),
                    None => "the run had failed before".to_owned(),
                });
            }
        }
        let when = &tool.when;
        let own = match self.plan.backend {
            Backend::Lima(_) => "linux",
            Backend::Host(_) | Backend::Beta(_) | Backend::Remote => std::env::consts::OS,
        };
        if let Some(os) = &when.os
            && os != own
        {
            return Some(format!("when.os is `{os}`, and the backend's is `{own}`"));
        }
        if let Some(name) = &when.env {
            let set = self
                .environment(tool)
                .iter()
                .any(|(key, value)| key == name.as_str() && !value.is_empty());
            if !set {
                return Some(format!("when.env: `{name}` is not set"));
            }
        }
        if !self.prepare() {
            return Some("the backend is not ready".to_owned());
        }
        if let Some(path) = &when.exists {
            let cancel = self.cancel.until(self.deadline);
            match self.root.resolve(path).map(|path| self.session.exists(&path, &cancel)) {
                Ok(Ok(true)) => {}
                Ok(Ok(false)) | Err(_) => return Some(format!("when.exists: `{path}` does not exist")),
                Ok(Err(error)) => {
                    self.session_failed(&error);
                    return Some(format!("when.exists: whether there is `{path}` cannot be told"));
                }
            }
        }
        None
    }

    fn run_tool(&mut self, tool: &ToolPlan) {
        let cwd = match self.root.resolve(&tool.cwd) {
            Ok(cwd) => cwd,
            Err(error) => {
                let failure = Failure::of(End::ConfigInvalid, &error);
                self.skipped(tool, "its working folder is no path of the workspace");
                return self.fail(failure);
            }
        };
        let command = self.command(tool, cwd);
        if tool.retries.count > 0 && !self.checkpoint(tool) {
            return self.skipped(tool, "the state that a retry would go back to cannot be kept");
        }
        let mut attempt = 1;
        loop {
            let failure = match self.attempt(tool, &command, attempt) {
                Attempted::Done => {
                    if attempt > 1 {
                        let of = tool.retries.count + 1;
                        self.emitter.warn(format!(
                            "`{}` is flaky: it succeeded at attempt {attempt} of {of}",
                            tool.name
                        ));
                    }
                    return;
                }
                Attempted::Failed(failure) => return self.fail(failure),
                Attempted::ToRepeat(failure) => failure,
            };
            if !self.go_back(tool) {
                return self.fail(failure);
            }
            attempt += 1;
        }
    }

    /// Runs a tool once.
    fn attempt(&mut self, tool: &ToolPlan, command: &ToolCommand, attempt: u32) -> Attempted {
        let start = Instant::now();
        self.emitter.emit(EventBody::ToolStarted {
            tool: tool.name.clone(),
            argv: tool
                .argv
                .iter()
                .map(|argument| argument.to_string_lossy().into_owned())
                .collect(),
            cwd: command.cwd.to_string(),
            attempt,
            terminal: command.terminal.map(|terminal| ToolTerminal {
                joined: terminal.joined,
                interactive: terminal.interactive,
            }),
        });
        let (end, stderr) = self.execute(tool, command);
        if end.leaked {
            self.emitter.warn(format!(
                "`{}` ended, but something that it started and that devshell cannot reach still holds its output",
                tool.name
            ));
        }
        let out_of_time = self.deadline.is_some_and(|deadline| Instant::now() >= deadline);
        let stopped = matches!(end.exit, ToolExit::Cancelled | ToolExit::Lost(_));
        let failure = match &end.exit {
            ToolExit::Cancelled => self.stop_reason().map(|failure| Failure {
                tool: Some(tool.name.clone()),
                ..failure
            }),
            exit => Failure::of_tool(&tool.name, exit).map(|failure| self.more_of(failure)),
        };
        let final_one = stopped || out_of_time || attempt > tool.retries.count || self.stop_reason().is_some();
        let will_retry = failure.is_some() && !final_one && is_worth_a_retry(&tool.retries, &end.exit);
        let tolerated = tool.continue_on_error && failure.is_some() && !stopped && !out_of_time && !will_retry;
        let failed = matches!(end.exit, ToolExit::Code(_) | ToolExit::Signal(_));
        self.tool_finished(tool, attempt, end, [tolerated, will_retry], start);
        if failed && let Some(why) = self.session.explain(stderr.bytes()) {
            self.emitter
                .warn(format!("`{}` may have failed for this: {why}", tool.name));
        }
        match failure.filter(|_| !tolerated) {
            None => Attempted::Done,
            Some(failure) if will_retry => Attempted::ToRepeat(failure),
            Some(failure) => Attempted::Failed(failure),
        }
    }

    /// A loss as the backend itself sees it, where it does.
    fn more_of(&self, failure: Failure) -> Failure {
        match self.session.loss().filter(|_| failure.end == End::Lost) {
            Some(error) => Failure {
                tool: failure.tool,
                ..Failure::of(error.end(None), &error)
            },
            None => failure,
        }
    }

    fn command(&self, tool: &ToolPlan, cwd: VfsPath) -> ToolCommand {
        let mut env = self.environment(tool);
        env.retain(|(name, _)| name != "DEVSHELL_RUN_ID");
        // The key tells a devshell inside whether it is in the same workspace.
        let id = format!("{}/{}", self.plan.places.key, self.setup.run_id);
        env.push(("DEVSHELL_RUN_ID".into(), OsString::from(id)));
        if self.setup.terminal.is_some_and(|terminal| !terminal.interactive) {
            without_pager(tool, &mut env);
        }
        ToolCommand {
            argv: tool.argv.clone(),
            cwd,
            env,
            stdin: self.setup.stdin,
            terminal: self.setup.terminal,
        }
    }

    /// What reaches a tool: of the caller's variables, its own, and its secrets.
    fn environment(&self, tool: &ToolPlan) -> Vec<(OsString, OsString)> {
        let mut env = match self.plan.backend {
            Backend::Host(_) => tool_environment(tool, &self.setup.env),
            Backend::Lima(_) | Backend::Beta(_) | Backend::Remote => guest_environment(tool, &self.setup.env),
        };
        self.setup.secrets.add_to(&mut env, &tool.secrets);
        env
    }

    /// Starts the tool and waits for its end.
    fn execute(&mut self, tool: &ToolPlan, command: &ToolCommand) -> (ToolEnd, Recent) {
        let (sender, messages) = mpsc::sync_channel(WAITING_MESSAGES);
        let mut recent = Recent::default();
        self.cancel.wake(Some(sender.clone()));
        let cancel = self.cancel.until(self.deadline);
        let end = match self.session.start_tool(&mut self.vfs, command, sender, &cancel) {
            Err(error) if error.is_cancelled() => match self.cancel.signal() {
                Some(_) => ToolExit::Cancelled.into(),
                None => ToolExit::TimedOut(self.run_timed_out().message.unwrap_or_default()).into(),
            },
            Err(error) => ToolEnd {
                exit: ToolExit::Lost(super::outcome::chain(&error)),
                survivors: Vec::new(),
                leaked: false,
            },
            Ok(running) => {
                let limits = Limits {
                    timeout: tool.timeout,
                    no_output_timeout: tool.no_output_timeout,
                    grace: tool.grace_period,
                    deadline_of_run: self.deadline.map(|at| RunDeadline {
                        at,
                        timeout: self.plan.run_timeout.unwrap_or_default(),
                    }),
                };
                // One closure at a time may hold the emitter, so output and stages share a cell.
                let emitter = std::cell::RefCell::new(&mut self.emitter);
                let mut tails = Tails::default();
                let joined = command.terminal.is_some_and(|terminal| terminal.joined);
                let mut masked = MaskedOutput::new(self.setup.secrets.mask());
                let mut hand_on = |stream: Stream, bytes: Vec<u8>| {
                    if stream == Stream::Stderr || joined {
                        recent.push(&bytes);
                    }
                    let bytes = tails.whole(stream, bytes);
                    if bytes.is_empty() {
                        return;
                    }
                    let mut emitter = emitter.borrow_mut();
                    let lost_before = emitter.failure().is_some();
                    emitter.emit(EventBody::ToolOutput {
                        tool: tool.name.clone(),
                        stream,
                        data: OutputData(bytes),
                    });
                    if emitter.failure().is_some() && !lost_before {
                        // Nobody learns any more what happens: end the run politely.
                        self.cancel.stop();
                    }
                };
                // Before everything else: neither the last bytes nor the events may hold a secret.
                let mut output = |stream: Stream, bytes: Vec<u8>| hand_on(stream, masked.push(stream, bytes));
                let mut stage = |stage: Stage| {
                    let text = stopping(&tool.name, &stage, tool.grace_period, &self.cancel);
                    emitter.borrow_mut().warn(text);
                };
                let end = supervise(running, &messages, &limits, &self.cancel, &mut output, &mut stage);
                for (stream, bytes) in masked.rest() {
                    hand_on(stream, bytes);
                }
                for (stream, bytes) in tails.rest() {
                    self.emitter.emit(EventBody::ToolOutput {
                        tool: tool.name.clone(),
                        stream,
                        data: OutputData(bytes),
                    });
                }
                end
            }
        };
        self.cancel.wake(None);
        (end, recent)
    }

    fn tool_finished(
        &mut self,
        tool: &ToolPlan,
        attempt: u32,
        end: ToolEnd,
        [tolerated, will_retry]: [bool; 2],
        start: Instant,
    ) {
        let (outcome, exit_code, signal, message) = match end.exit {
            ToolExit::Success => (ToolOutcome::Success, Some(0), None, None),
            ToolExit::Code(code) => (ToolOutcome::Failed, Some(code), None, None),
            ToolExit::Signal(signal) => (ToolOutcome::Failed, None, Some(signal), None),
            ToolExit::TimedOut(message) => (ToolOutcome::Timeout, None, None, Some(message)),
            ToolExit::Cancelled => (ToolOutcome::Cancelled, None, None, None),
            ToolExit::NotFound(message) => (ToolOutcome::NotFound, None, None, Some(message)),
            ToolExit::NotExecutable(message) => (ToolOutcome::Failed, None, None, Some(message)),
            ToolExit::Lost(message) => (ToolOutcome::Lost, None, None, Some(message)),
        };
        self.emitter.emit(EventBody::ToolFinished {
            tool: tool.name.clone(),
            attempt,
            cached: false,
            outcome,
            exit_code,
            signal,
            message,
            tolerated,
            will_retry,
            elapsed_ms: millis(start.elapsed()),
            survivors: end.survivors,
        });
    }
}

/// What programs page their output with on a terminal. Nobody can turn the pages there.
const PAGERS: [&str; 2] = ["PAGER", "GIT_PAGER"];

/// Has a tool that finds itself on a terminal write all of its output, unless the config names a pager.
fn without_pager(tool: &ToolPlan, env: &mut Vec<(OsString, OsString)>) {
    for name in PAGERS {
        if !tool.env.contains_key(name) {
            env.retain(|(other, _)| other != name);
            env.push((name.into(), "cat".into()));
        }
    }
}
