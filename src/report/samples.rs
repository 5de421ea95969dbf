//! Events of made-up runs, for the tests of reporters.

use crate::event::{Event, EventBody, Next, OutputData, Stream, ToolOutcome, Word, WriteBackState};
use crate::exit::Class;

use super::record::Record;

/// A run that is told event by event.
#[derive(Default)]
pub(super) struct Script {
    /// What came of the events so far.
    pub(super) record: Record,
    /// The events so far.
    pub(super) events: Vec<Event>,
    t_ms: u64,
}

impl Script {
    /// A run of these tools in the workspace `/home/me/hello`.
    pub(super) fn of(tools: &[&str]) -> Self {
        let mut script = Self::default();
        script.emit(EventBody::RunStarted {
            run_id: "id".to_owned(),
            workspace: "/home/me/hello".to_owned(),
            tools: tools.iter().map(|&name| name.to_owned()).collect(),
            devshell: "0".to_owned(),
        });
        script
    }

    pub(super) fn emit(&mut self, body: EventBody) {
        let event = Event {
            v: 1,
            t_ms: self.t_ms,
            body,
        };
        self.record.note(&event);
        self.events.push(event);
    }

    pub(super) fn started(&mut self, tool: &str, attempt: u32) {
        self.emit(EventBody::ToolStarted {
            tool: tool.to_owned(),
            argv: vec!["run".to_owned(), tool.to_owned(), "a b".to_owned()],
            cwd: "/hello/sub".to_owned(),
            attempt,
            terminal: None,
        });
    }

    pub(super) fn output(&mut self, tool: &str, stream: Stream, text: &str) {
        self.emit(EventBody::ToolOutput {
            tool: tool.to_owned(),
            stream,
            data: OutputData(text.as_bytes().to_vec()),
        });
    }

    pub(super) fn ended(&mut self, tool: &str, attempt: u32, code: Option<i32>, signal: Option<i32>, elapsed_ms: u64) {
        let outcome = if code == Some(0) {
            ToolOutcome::Success
        } else {
            ToolOutcome::Failed
        };
        self.finish(tool, attempt, outcome, [code, signal], [false, false], elapsed_ms);
    }

    pub(super) fn ended_as(&mut self, tool: &str, outcome: ToolOutcome, elapsed_ms: u64) {
        self.finish(tool, 1, outcome, [None, None], [false, false], elapsed_ms);
    }

    fn finish(
        &mut self,
        tool: &str,
        attempt: u32,
        outcome: ToolOutcome,
        [exit_code, signal]: [Option<i32>; 2],
        [tolerated, will_retry]: [bool; 2],
        elapsed_ms: u64,
    ) {
        self.t_ms += elapsed_ms;
        self.emit(EventBody::ToolFinished {
            tool: tool.to_owned(),
            attempt,
            cached: false,
            outcome,
            exit_code,
            signal,
            message: None,
            tolerated,
            will_retry,
            elapsed_ms,
            survivors: Vec::new(),
        });
    }

    /// A whole tool without output.
    pub(super) fn tool(&mut self, tool: &str, outcome: ToolOutcome, elapsed_ms: u64) {
        self.started(tool, 1);
        let code = match outcome {
            ToolOutcome::Success => Some(0),
            ToolOutcome::Failed => Some(1),
            _ => None,
        };
        self.finish(tool, 1, outcome, [code, None], [false, false], elapsed_ms);
    }

    pub(super) fn failed(&mut self, tool: &str, code: Option<i32>, signal: Option<i32>, elapsed_ms: u64) {
        self.started(tool, 1);
        self.ended(tool, 1, code, signal, elapsed_ms);
    }

    pub(super) fn tolerated(&mut self, tool: &str, code: i32, elapsed_ms: u64) {
        self.started(tool, 1);
        self.finish(
            tool,
            1,
            ToolOutcome::Failed,
            [Some(code), None],
            [true, false],
            elapsed_ms,
        );
    }

    /// A tool that fails so often and then succeeds.
    pub(super) fn retried(&mut self, tool: &str, failures: u32, elapsed_ms: u64) {
        for attempt in 1..=failures {
            self.started(tool, attempt);
            self.finish(
                tool,
                attempt,
                ToolOutcome::Failed,
                [Some(1), None],
                [false, true],
                elapsed_ms,
            );
        }
        self.started(tool, failures + 1);
        self.ended(tool, failures + 1, Some(0), None, elapsed_ms);
    }

    pub(super) fn skipped(&mut self, tool: &str, why: &str) {
        self.emit(EventBody::ToolSkipped {
            tool: tool.to_owned(),
            why: why.to_owned(),
        });
    }

    pub(super) fn written(&mut self, state: WriteBackState) {
        let refused = state == WriteBackState::Refused;
        self.emit(EventBody::WriteBackFinished {
            state,
            written: 1,
            deleted: 1,
            conflicts: if refused {
                vec!["some/file".to_owned()]
            } else {
                Vec::new()
            },
        });
    }

    pub(super) fn finished(&mut self, class: Class, exit_code: u8, tool: Option<&str>, kept: Option<&str>) {
        let words = |text: String| text.split(' ').map(Word::from).collect();
        self.emit(EventBody::RunFinished {
            class,
            exit_code,
            tool: tool.map(str::to_owned),
            error: None,
            elapsed_ms: self.t_ms,
            kept: kept.map(str::to_owned),
            next: Next {
                repeat: tool.map(|tool| words(format!("devshell run --profile ci --only {tool}"))),
                diff: kept.map(|id| words(format!("devshell results diff {id}"))),
                apply: kept.map(|id| words(format!("devshell results apply {id}"))),
            },
        });
    }

    pub(super) fn failed_run(&mut self, class: Class, exit_code: u8, error: &str) {
        self.emit(EventBody::RunFinished {
            class,
            exit_code,
            tool: None,
            error: Some(error.to_owned()),
            elapsed_ms: self.t_ms,
            kept: None,
            next: Next::default(),
        });
    }
}
