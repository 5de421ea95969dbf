//! Every attempt of every tool with the end of its output: what a report is made of that is
//! written when all is over.

use crate::event::{Event, EventBody, Stream, ToolOutcome};
use crate::exit::Class;

use super::tail::Tail;
use super::words::how;

/// A run as far as it has come. Memory grows with the number of attempts, by the length of two
/// [`Tail`]s each.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    /// The workspace on the host; empty for a run that never began.
    pub(super) workspace: String,
    pub(super) run_id: String,
    pub(super) devshell: String,
    /// What `session_ready` said of the place.
    pub(super) place: Option<Place>,
    /// The tools that are due, in order.
    pub(super) tools: Vec<Tool>,
    /// What `run_finished` said.
    pub(super) end: Option<RunEnd>,
}

/// Where the tools run.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) backend: String,
    pub(super) strategy: Option<String>,
    pub(super) isolation: String,
}

/// One tool.
#[derive(Debug, Default)]
pub(super) struct Tool {
    pub(super) name: String,
    pub(super) argv: Vec<String>,
    pub(super) attempts: Vec<Attempt>,
    /// Why it was not run.
    pub(super) skipped: Option<String>,
}

/// One attempt of a tool.
#[derive(Debug, Default)]
pub(super) struct Attempt {
    pub(super) stdout: Tail,
    pub(super) stderr: Tail,
    /// `None` while it runs.
    pub(super) end: Option<AttemptEnd>,
}

/// How an attempt ended.
#[derive(Debug, Clone)]
pub(super) struct AttemptEnd {
    pub(super) outcome: ToolOutcome,
    pub(super) exit_code: Option<i32>,
    pub(super) signal: Option<i32>,
    pub(super) message: Option<String>,
    pub(super) tolerated: bool,
    pub(super) elapsed_ms: u64,
}

/// How the run ended.
#[derive(Debug, Clone)]
pub(super) struct RunEnd {
    pub(super) class: Class,
    pub(super) exit_code: u8,
    pub(super) tool: Option<String>,
    pub(super) error: Option<String>,
    pub(super) elapsed_ms: u64,
    pub(super) kept: Option<String>,
}

impl AttemptEnd {
    /// `failed with code 3`, and why where that is known.
    pub(super) fn words(&self) -> String {
        let how = how(self.outcome, self.exit_code, self.signal);
        match &self.message {
            Some(message) => format!("{how}: {message}"),
            None => how,
        }
    }
}

impl Attempts {
    /// Takes the next event.
    pub(super) fn note(&mut self, event: &Event) {
        match &event.body {
            EventBody::RunStarted {
                run_id,
                workspace,
                tools,
                devshell,
            } => {
                self.workspace.clone_from(workspace);
                self.run_id.clone_from(run_id);
                self.devshell.clone_from(devshell);
                let named = |name: &String| Tool {
                    name: name.clone(),
                    ..Tool::default()
                };
                self.tools = tools.iter().map(named).collect();
            }
            EventBody::SessionReady {
                backend,
                strategy,
                isolation,
                ..
            } => {
                self.place = Some(Place {
                    backend: backend.clone(),
                    strategy: strategy.clone(),
                    isolation: isolation.clone(),
                });
            }
            EventBody::ToolStarted { tool, argv, .. } => {
                if let Some(tool) = self.tool(tool) {
                    tool.argv.clone_from(argv);
                    tool.attempts.push(Attempt::default());
                }
            }
            EventBody::ToolOutput { tool, stream, data } => {
                if let Some(attempt) = self.tool(tool).and_then(|tool| tool.attempts.last_mut()) {
                    match stream {
                        Stream::Stdout => attempt.stdout.push(&data.0),
                        Stream::Stderr => attempt.stderr.push(&data.0),
                    }
                }
            }
            EventBody::ToolFinished {
                tool,
                outcome,
                exit_code,
                signal,
                message,
                tolerated,
                elapsed_ms,
                ..
            } => {
                if let Some(attempt) = self.tool(tool).and_then(|tool| tool.attempts.last_mut()) {
                    attempt.end = Some(AttemptEnd {
                        outcome: *outcome,
                        exit_code: *exit_code,
                        signal: *signal,
                        message: message.clone(),
                        tolerated: *tolerated,
                        elapsed_ms: *elapsed_ms,
                    });
                }
            }
            // A tool that was left out by the command line is none of the run's.
            EventBody::ToolSkipped { tool, why } => {
                if let Some(tool) = self.tool(tool) {
                    tool.skipped = Some(why.clone());
                }
            }
            EventBody::RunFinished {
                class,
                exit_code,
                tool,
                error,
                elapsed_ms,
                kept,
                next: _,
            } => {
                self.end = Some(RunEnd {
                    class: *class,
                    exit_code: *exit_code,
                    tool: tool.clone(),
                    error: error.clone(),
                    elapsed_ms: *elapsed_ms,
                    kept: kept.clone(),
                });
            }
            EventBody::LockWaiting { .. }
            | EventBody::SessionStarting { .. }
            | EventBody::SyncProgress { .. }
            | EventBody::SyncFinished { .. }
            | EventBody::WriteBackFinished { .. }
            | EventBody::SessionFinished { .. }
            | EventBody::Warning { .. } => {}
        }
    }

    fn tool(&mut self, name: &str) -> Option<&mut Tool> {
        // Of a long list it is most often one near its end that is asked for, again and again.
        self.tools.iter_mut().rev().find(|tool| tool.name == name)
    }
}
