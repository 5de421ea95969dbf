//! What happens during a run, as one stream of owned values.
//!
//! The runner and the sessions emit [`EventBody`] values into an [`EventSink`]; every
//! reporter, the JSON stream included, is such a sink. The wire form is one JSON object a
//! line, tagged by `type` (after nextest's and codex's event streams); its schema is
//! `docs/events.schema.json`. Field names, types and tags are API and change only with
//! [`EVENT_VERSION`].

mod hide;
mod unwritten;
mod word;

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use schemars::JsonSchema;
use serde::Serialize;

use crate::exit::Class;
use crate::mask::Mask;

pub use word::Word;

pub(crate) use unwritten::unwritten;

/// The value of `v` in every event of this version.
pub const EVENT_VERSION: u32 = 1;

/// One event as it is written to the wire.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Event {
    /// Version of the stream: [`EVENT_VERSION`].
    pub v: u32,
    /// Milliseconds since the run started, from a monotonic clock.
    pub t_ms: u64,
    /// What happened.
    #[serde(flatten)]
    pub body: EventBody,
}

/// What happened.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum EventBody {
    /// First event of every run.
    RunStarted {
        /// Identifies this run.
        run_id: String,
        /// The workspace on the host, as text (lossy where it is not UTF-8).
        workspace: String,
        /// Names of the tools that are due, in order.
        tools: Vec<String>,
        /// devshell's own version.
        devshell: String,
    },
    /// Another run holds the workspace; this one waits for it.
    LockWaiting {
        /// Process that holds the lock, where it can be known.
        #[serde(skip_serializing_if = "Option::is_none")]
        pid: Option<u32>,
        /// For how long that process has been running, in milliseconds.
        #[serde(skip_serializing_if = "Option::is_none")]
        running_ms: Option<u64>,
        /// How long this one waits at most, where there is a limit.
        #[serde(skip_serializing_if = "Option::is_none")]
        limit_ms: Option<u64>,
    },
    /// The backend is being made ready.
    SessionStarting {
        /// `host`, `lima`, `beta` or `remote`.
        backend: String,
    },
    /// The backend is ready.
    SessionReady {
        /// `host`, `lima`, `beta` or `remote`.
        backend: String,
        /// Host backend: `overlay`, `copy` or `in_place`.
        #[serde(skip_serializing_if = "Option::is_none")]
        strategy: Option<String>,
        /// The isolation that was reached: `none`, `processes`, `view` or `full`.
        isolation: String,
        /// Why less than the best was chosen, in words.
        #[serde(skip_serializing_if = "Option::is_none")]
        why: Option<String>,
        /// Time since `session_starting`.
        elapsed_ms: u64,
    },
    /// A tree is being carried, and it takes a while: at most ten times a second, never after
    /// its `sync_finished`.
    SyncProgress {
        /// `push` or `pull`.
        direction: Direction,
        /// Files and symlinks carried by now.
        files: u64,
        /// How many there are to carry, where that is known.
        #[serde(skip_serializing_if = "Option::is_none")]
        files_total: Option<u64>,
        /// Bytes carried by now.
        bytes: u64,
    },
    /// A tree was carried to the backend or back.
    SyncFinished {
        /// `push` or `pull`.
        direction: Direction,
        /// Files and symlinks carried.
        files: u64,
        /// Bytes carried.
        bytes: u64,
        /// Entries deleted on the receiving side.
        deleted: u64,
        /// How long it took.
        elapsed_ms: u64,
    },
    /// A tool was started.
    ToolStarted {
        /// Name of the tool.
        tool: String,
        /// Its argv, as text.
        argv: Vec<String>,
        /// Working folder as a path of the Vfs.
        cwd: String,
        /// 1 for the first attempt.
        attempt: u32,
        /// Set where its output is to be a terminal; none: stdout and stderr are pipes.
        #[serde(skip_serializing_if = "Option::is_none")]
        terminal: Option<ToolTerminal>,
    },
    /// A piece of a tool's output; pieces of one stream are in order.
    ToolOutput {
        /// Name of the tool.
        tool: String,
        /// Which stream.
        stream: Stream,
        /// The bytes: `text` where they are UTF-8, else `base64`.
        #[serde(flatten)]
        data: OutputData,
    },
    /// A tool ended.
    ToolFinished {
        /// Name of the tool.
        tool: String,
        /// 1 for the first attempt.
        attempt: u32,
        /// Whether the result came from a cache instead of a run.
        cached: bool,
        /// How it ended.
        outcome: ToolOutcome,
        /// Exit code, where the tool gave one.
        #[serde(skip_serializing_if = "Option::is_none")]
        exit_code: Option<i32>,
        /// Number of the signal that ended it.
        #[serde(skip_serializing_if = "Option::is_none")]
        signal: Option<i32>,
        /// Why it could not be started or was stopped, in words.
        #[serde(skip_serializing_if = "Option::is_none")]
        message: Option<String>,
        /// Whether the failure is tolerated (`continue_on_error`).
        tolerated: bool,
        /// Whether the tool is run once more (`retries`).
        will_retry: bool,
        /// Wall time of this attempt.
        elapsed_ms: u64,
        /// Processes that the tool left running and that were ended.
        survivors: Vec<Survivor>,
    },
    /// A tool was not run.
    ToolSkipped {
        /// Name of the tool.
        tool: String,
        /// Why, in words.
        why: String,
    },
    /// The result was applied to the workspace, or not.
    WriteBackFinished {
        /// What became of it.
        state: WriteBackState,
        /// Entries written.
        written: u64,
        /// Entries deleted.
        deleted: u64,
        /// Paths that changed on the host during the run (state `refused`).
        conflicts: Vec<String>,
    },
    /// The backend was released.
    SessionFinished {
        /// How long the release took.
        elapsed_ms: u64,
    },
    /// Something that the user should know and that does not decide the run.
    Warning {
        /// In words.
        message: String,
    },
    /// Last event of every run, and the only one of a run that never began (a wrong config, say).
    RunFinished {
        /// Class of the end.
        class: Class,
        /// devshell's exit code.
        exit_code: u8,
        /// The tool that decided, if one did.
        #[serde(skip_serializing_if = "Option::is_none")]
        tool: Option<String>,
        /// The cause and its remedy, in words; none for a success.
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<String>,
        /// Time of the whole run.
        elapsed_ms: u64,
        /// Id of the kept result, if one was kept.
        #[serde(skip_serializing_if = "Option::is_none")]
        kept: Option<String>,
        /// Commands that may be wanted now.
        #[serde(skip_serializing_if = "Next::is_empty")]
        #[schemars(default)]
        next: Next,
    },
}

/// The terminal that a tool's stdout is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ToolTerminal {
    /// Whether its stderr is that terminal, too: then all its output has the stream `stdout`.
    pub joined: bool,
    /// Whether its stdin is that terminal, too: somebody is typing there.
    pub interactive: bool,
}

/// What to type next, each command as its argv. An argument that is not UTF-8 stands there as a shell reads it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, JsonSchema)]
pub struct Next {
    /// Repeats only the tool that decided. What looks like a secret is left out of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repeat: Option<Vec<Word>>,
    /// Shows what the kept result would change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diff: Option<Vec<Word>>,
    /// Applies the kept result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub apply: Option<Vec<Word>>,
}

impl Next {
    /// Whether there is nothing to type.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Which way a tree was carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Vfs to the backend.
    Push,
    /// Backend to the Vfs.
    Pull,
}

/// Which stream of a tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// How a tool ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ToolOutcome {
    /// Exit code 0.
    Success,
    /// Another exit code, a signal, or a program that could not be executed.
    Failed,
    /// Stopped at a deadline.
    Timeout,
    /// Stopped because the run was interrupted.
    Cancelled,
    /// The backend was lost while it ran.
    Lost,
    /// The program was not found.
    NotFound,
}

/// What became of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WriteBackState {
    /// Applied.
    Committed,
    /// Not applied because of a conflict or an error.
    Refused,
    /// Not applied, kept aside.
    Kept,
    /// Not applied and not kept, as the user wished.
    Dropped,
    /// There was nothing to apply, or the tools worked on the real tree.
    None,
}

/// A process that outlived its tool and was ended by devshell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Survivor {
    /// Its process id as the backend numbers it.
    pub pid: u32,
    /// Its command line, as text.
    pub argv: String,
}

/// Bytes of output: shown as `text` on the wire where they are UTF-8, else as `base64`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputData(pub Vec<u8>);

impl Serialize for OutputData {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap as _;
        let mut map = serializer.serialize_map(Some(1))?;
        match std::str::from_utf8(&self.0) {
            Ok(text) => map.serialize_entry("text", text)?,
            Err(_) => map.serialize_entry("base64", &BASE64.encode(&self.0))?,
        }
        map.end()
    }
}

impl JsonSchema for OutputData {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "OutputData".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "object",
            "oneOf": [
                { "properties": { "text": { "type": "string", "description": "the bytes, which are UTF-8" } }, "required": ["text"] },
                { "properties": { "base64": { "type": "string", "description": "the bytes, which are not UTF-8" } }, "required": ["base64"] },
            ]
        })
    }
}

/// Whoever takes the events.
///
/// It can be handed to another thread, which says what happens while the first one works.
pub trait EventSink: Send {
    /// Takes one event. An error means that the sink can take no more; the runner then ends
    /// the run politely instead of tearing it.
    ///
    /// # Errors
    /// What the sink met while writing.
    fn emit(&mut self, event: &Event) -> std::io::Result<()>;
}

/// Stamps events with the time since its start and hands them to a sink.
///
/// The sessions get this, not the sink itself, so that nobody can forget the stamp. The
/// first failure of the sink is remembered; it gets the later events all the same, because of
/// several reporters behind it only one may have failed.
pub struct Emitter<'a> {
    start: Instant,
    sink: &'a mut dyn EventSink,
    failed: Option<std::io::Error>,
    mask: Mask,
}

impl<'a> Emitter<'a> {
    /// Starts the clock.
    pub fn new(sink: &'a mut dyn EventSink) -> Self {
        Self {
            start: Instant::now(),
            sink,
            failed: None,
            mask: Mask::default(),
        }
    }

    /// Hides these values in the texts of all events from now on. A tool's output must come
    /// without them: see [`Mask::stream`].
    #[must_use]
    pub fn hiding(self, mask: Mask) -> Self {
        Self { mask, ..self }
    }

    /// Time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Stamps and hands on one event.
    pub fn emit(&mut self, mut body: EventBody) {
        body.hide(&self.mask);
        let event = Event {
            v: EVENT_VERSION,
            t_ms: millis(self.start.elapsed()),
            body,
        };
        if let Err(error) = self.sink.emit(&event) {
            self.failed.get_or_insert(error);
        }
    }

    /// Emits a [`EventBody::Warning`].
    pub fn warn(&mut self, message: impl Into<String>) {
        self.emit(EventBody::Warning {
            message: message.into(),
        });
    }

    /// The sink's first failure, if there was one.
    #[must_use]
    pub fn failure(&self) -> Option<&std::io::Error> {
        self.failed.as_ref()
    }
}

/// Whole milliseconds of a duration.
#[must_use]
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `DEVSHELL_TEST_BLESS=1 cargo test` writes the file anew.
    #[test]
    fn the_published_schema_is_the_one_of_these_types() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/events.schema.json");
        let schema = format!("{:#}\n", serde_json::to_value(schemars::schema_for!(Event)).unwrap());
        if std::env::var_os("DEVSHELL_TEST_BLESS").is_some() {
            std::fs::write(file, &schema).unwrap();
        }
        assert_eq!(
            std::fs::read_to_string(file).unwrap(),
            schema,
            "docs/events.schema.json has drifted"
        );
    }

    #[test]
    fn the_first_failure_of_a_sink_is_remembered_and_the_others_behind_it_get_everything() {
        struct Full(u32);
        impl EventSink for Full {
            fn emit(&mut self, _: &Event) -> std::io::Result<()> {
                self.0 += 1;
                Err(if self.0 == 1 {
                    std::io::ErrorKind::StorageFull
                } else {
                    std::io::ErrorKind::Other
                }
                .into())
            }
        }
        let mut sink = Full(0);
        let mut emitter = Emitter::new(&mut sink);
        emitter.warn("one");
        emitter.warn("two");
        assert_eq!(emitter.failure().unwrap().kind(), std::io::ErrorKind::StorageFull);
        assert_eq!(sink.0, 2);
    }
}
