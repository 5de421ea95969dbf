//! What has happened so far, collected from events: what a summary, a failure block and a live
//! view are made of.

use crate::event::{Direction, Event, EventBody, Next, Stream, ToolOutcome, WriteBackState};
use crate::exit::Class;

use super::tail::Tail;

/// The state of a run as its events tell it. Memory grows with the number of tools, not with
/// what they print.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// The workspace on the host.
    pub(super) workspace: String,
    /// The tools that are due, in order.
    pub(super) tools: Vec<ToolRecord>,
    /// `overlay`, `copy` or `in_place`, once the host backend is ready.
    pub(super) strategy: Option<String>,
    /// What is being done besides running a tool.
    pub(super) phase: Phase,
    /// What became of the result.
    pub(super) write_back: Option<WriteBack>,
    /// How the run ended.
    pub(super) end: Option<RunEnd>,
    /// The backend that is being made ready.
    backend: Option<String>,
    current: Option<usize>,
}

/// What devshell itself is doing.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) enum Phase {
    #[default]
    Starting,
    WaitingForLock,
    /// This backend is being made ready.
    Preparing(String),
    /// A tree is being carried: so much of it by now.
    Syncing {
        direction: Direction,
        files: u64,
        of: Option<u64>,
        bytes: u64,
    },
    /// A tool runs, or is due.
    Running,
    /// The backend is being released, the result committed.
    Finishing,
}

/// One tool of the run.
#[derive(Debug, Default)]
pub(super) struct ToolRecord {
    pub(super) name: String,
    pub(super) argv: Vec<String>,
    /// As a path of the Vfs.
    pub(super) cwd: String,
    /// How often it was started.
    pub(super) attempts: u32,
    /// Wall time of all finished attempts.
    pub(super) elapsed_ms: u64,
    pub(super) state: ToolState,
    /// The end of its last attempt's output; only while it runs and after a failure.
    pub(super) stdout: Tail,
    pub(super) stderr: Tail,
    /// Whether its stderr comes as stdout: both are one terminal.
    pub(super) joined: bool,
    /// On which stream it spoke last.
    last_stream: Option<Stream>,
}

#[derive(Debug, Default)]
pub(super) enum ToolState {
    #[default]
    Waiting,
    /// Since this time of the run.
    Running {
        since_ms: u64,
    },
    Finished(Finished),
    Skipped {
        why: String,
    },
}

/// How the last attempt ended.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) outcome: ToolOutcome,
    pub(super) exit_code: Option<i32>,
    pub(super) signal: Option<i32>,
    pub(super) tolerated: bool,
    pub(super) will_retry: bool,
    pub(super) cached: bool,
}

/// What `write_back_finished` said.
#[derive(Debug)]
pub(super) struct WriteBack {
    pub(super) state: WriteBackState,
    pub(super) written: u64,
    pub(super) deleted: u64,
    pub(super) conflicts: Vec<String>,
}

/// What `run_finished` said.
#[derive(Debug)]
pub(super) struct RunEnd {
    pub(super) class: Class,
    pub(super) exit_code: u8,
    pub(super) tool: Option<String>,
    pub(super) error: Option<String>,
    pub(super) kept: Option<String>,
    pub(super) next: Next,
}

impl ToolRecord {
    /// Whether it was started at all.
    pub(super) fn has_run(&self) -> bool {
        self.attempts > 0
    }

    /// Whether it succeeded, and not at its first attempt.
    pub(super) fn is_flaky(&self) -> bool {
        self.attempts > 1 && self.succeeded()
    }

    pub(super) fn succeeded(&self) -> bool {
        matches!(&self.state, ToolState::Finished(end) if end.outcome == ToolOutcome::Success)
    }

    /// The line that it printed last, on either stream.
    pub(super) fn last_line(&self) -> Option<String> {
        match self.last_stream? {
            Stream::Stdout => self.stdout.last_line().or_else(|| self.stderr.last_line()),
            Stream::Stderr => self.stderr.last_line().or_else(|| self.stdout.last_line()),
        }
    }
}

impl Record {
    /// The tool of this name.
    pub(super) fn tool(&self, name: &str) -> Option<&ToolRecord> {
        self.tools.iter().find(|tool| tool.name == name)
    }

    /// The tool that runs.
    pub(super) fn running(&self) -> Option<&ToolRecord> {
        let tool = &self.tools[self.current?];
        matches!(tool.state, ToolState::Running { .. }).then_some(tool)
    }

    /// Takes the next event.
    pub(super) fn note(&mut self, event: &Event) {
        match &event.body {
            EventBody::RunStarted { workspace, tools, .. } => {
                self.workspace.clone_from(workspace);
                self.tools = tools.iter().map(|name| ToolRecord::named(name)).collect();
            }
            EventBody::LockWaiting { .. } => self.phase = Phase::WaitingForLock,
            EventBody::SessionStarting { backend } => {
                self.phase = Phase::Preparing(backend.clone());
                self.backend = Some(backend.clone());
            }
            EventBody::SessionReady { strategy, .. } => {
                self.backend = None;
                self.strategy.clone_from(strategy);
                self.phase = Phase::Running;
            }
            EventBody::SyncProgress {
                direction,
                files,
                files_total,
                bytes,
            } => {
                self.phase = Phase::Syncing {
                    direction: *direction,
                    files: *files,
                    of: *files_total,
                    bytes: *bytes,
                };
            }
            EventBody::SyncFinished { .. } => {
                if matches!(self.phase, Phase::Syncing { .. }) {
                    self.phase = match &self.backend {
                        Some(backend) => Phase::Preparing(backend.clone()),
                        None => Phase::Finishing,
                    };
                }
            }
            EventBody::Warning { .. } => {}
            EventBody::ToolStarted {
                tool,
                argv,
                cwd,
                terminal,
                ..
            } => {
                self.phase = Phase::Running;
                let tool = self.turn_to(tool);
                tool.attempts += 1;
                tool.argv.clone_from(argv);
                tool.cwd.clone_from(cwd);
                tool.joined = terminal.is_some_and(|terminal| terminal.joined);
                tool.state = ToolState::Running { since_ms: event.t_ms };
                tool.forget_output();
            }
            EventBody::ToolOutput { tool, stream, data } => {
                let tool = self.turn_to(tool);
                tool.last_stream = Some(*stream);
                match stream {
                    Stream::Stdout => tool.stdout.push(&data.0),
                    Stream::Stderr => tool.stderr.push(&data.0),
                }
            }
            EventBody::ToolFinished { tool, .. } => self.turn_to(tool).finish(&event.body),
            EventBody::ToolSkipped { tool, why } => {
                // A tool that was left out by the command line is none of the run's.
                if let Some(tool) = self.tools.iter_mut().find(|record| record.name == *tool) {
                    tool.state = ToolState::Skipped { why: why.clone() };
                }
            }
            EventBody::WriteBackFinished {
                state,
                written,
                deleted,
                conflicts,
            } => {
                self.phase = Phase::Finishing;
                self.write_back = Some(WriteBack {
                    state: *state,
                    written: *written,
                    deleted: *deleted,
                    conflicts: conflicts.clone(),
                });
            }
            EventBody::SessionFinished { .. } => self.phase = Phase::Finishing,
            EventBody::RunFinished {
                class,
                exit_code,
                tool,
                error,
                kept,
                next,
                ..
            } => {
                self.end = Some(RunEnd {
                    class: *class,
                    exit_code: *exit_code,
                    tool: tool.clone(),
                    error: error.clone(),
                    kept: kept.clone(),
                    next: next.clone(),
                });
            }
        }
    }

    /// The tool that an event is about; it is most often the one that the last was about.
    fn turn_to(&mut self, name: &str) -> &mut ToolRecord {
        let index = match self.current.filter(|index| self.tools[*index].name == name) {
            Some(index) => index,
            None => match self.tools.iter().position(|tool| tool.name == name) {
                Some(index) => index,
                None => {
                    self.tools.push(ToolRecord::named(name));
                    self.tools.len() - 1
                }
            },
        };
        self.current = Some(index);
        &mut self.tools[index]
    }
}

impl ToolRecord {
    fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..Self::default()
        }
    }

    fn forget_output(&mut self) {
        (self.stdout, self.stderr, self.last_stream) = (Tail::default(), Tail::default(), None);
    }

    fn finish(&mut self, body: &EventBody) {
        let EventBody::ToolFinished {
            cached,
            outcome,
            exit_code,
            signal,
            tolerated,
            will_retry,
            elapsed_ms,
            ..
        } = body
        else {
            return;
        };
        self.elapsed_ms += elapsed_ms;
        if *outcome == ToolOutcome::Success {
            self.forget_output();
        }
        self.state = ToolState::Finished(Finished {
            outcome: *outcome,
            exit_code: *exit_code,
            signal: *signal,
            tolerated: *tolerated,
            will_retry: *will_retry,
            cached: *cached,
        });
    }
}
