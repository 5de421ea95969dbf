//! Exit codes: every way a devshell process can end, and the one mapping to a number.
//!
//! The table is API; the README carries it and a test compares the two.

use schemars::JsonSchema;
use serde::Serialize;

/// Class of an end: what CI can decide on without knowing any tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Every required tool succeeded and the result is committed.
    Ok,
    /// A required tool failed.
    Tool,
    /// Wrong command line.
    Usage,
    /// The config is missing or invalid.
    Config,
    /// The backend is not ready.
    Backend,
    /// A bug of devshell.
    Internal,
    /// The required isolation is not available.
    Isolation,
    /// The tree changed under the run.
    Conflict,
    /// Carrying the tree there or back failed.
    Sync,
    /// The backend was lost, or a lock stayed busy.
    Lost,
    /// The sidecar speaks something else.
    Protocol,
    /// A deadline passed.
    Timeout,
    /// A signal ended the run.
    Interrupted,
}

impl Class {
    /// Every class, in the order of the table.
    pub const ALL: [Self; 13] = [
        Self::Ok,
        Self::Tool,
        Self::Usage,
        Self::Config,
        Self::Backend,
        Self::Internal,
        Self::Isolation,
        Self::Conflict,
        Self::Sync,
        Self::Lost,
        Self::Protocol,
        Self::Timeout,
        Self::Interrupted,
    ];

    /// The word that stands in the last line on stderr and in `run_finished`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Tool => "tool",
            Self::Usage => "usage",
            Self::Config => "config",
            Self::Backend => "backend",
            Self::Internal => "internal",
            Self::Isolation => "isolation",
            Self::Conflict => "conflict",
            Self::Sync => "sync",
            Self::Lost => "lost",
            Self::Protocol => "protocol",
            Self::Timeout => "timeout",
            Self::Interrupted => "interrupted",
        }
    }
}

/// What the exit code of a failed tool tells (`run.exit_code`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ExitCodePolicy {
    /// The tool's own code.
    #[default]
    Tool,
    /// Always 1, so that 64 to 78 and 124 can only be devshell's.
    Class,
}

/// The name of a signal: `SIGKILL`, or `signal 40` where it has none.
pub(crate) fn signal_name(signal: i32) -> String {
    match signal_hook::low_level::signal_name(signal) {
        Some(name) => name.to_owned(),
        None => format!("signal {signal}"),
    }
}

/// Every way a run can end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Everything succeeded and is committed.
    Ok,
    /// A required tool ended with this code, 1 to 255.
    ToolCode(i32),
    /// A required tool was ended by this signal, which devshell did not send.
    ToolSignal(i32),
    /// A required tool's program is there and cannot be executed.
    ToolNotExecutable,
    /// A required tool's program was not found in the backend.
    ToolNotFound,
    /// Wrong command line.
    Usage,
    /// The config file is missing.
    ConfigMissing,
    /// The config is invalid.
    ConfigInvalid,
    /// The backend is not ready.
    Backend,
    /// A bug of devshell.
    Internal,
    /// The required isolation is not available.
    Isolation,
    /// The tree changed under the run.
    Conflict,
    /// Push, pull or write-back failed and was rolled back.
    Sync,
    /// The backend was lost, or a lock stayed busy.
    Lost,
    /// The sidecar speaks something else.
    Protocol,
    /// A tool, no-output or whole-run timeout.
    Timeout,
    /// This signal ended the run (1 SIGHUP, 2 SIGINT, 15 SIGTERM).
    Interrupted(i32),
}

impl End {
    /// Its class.
    #[must_use]
    pub fn class(self) -> Class {
        match self {
            Self::Ok => Class::Ok,
            Self::ToolCode(_) | Self::ToolSignal(_) | Self::ToolNotExecutable | Self::ToolNotFound => Class::Tool,
            Self::Usage => Class::Usage,
            Self::ConfigMissing | Self::ConfigInvalid => Class::Config,
            Self::Backend => Class::Backend,
            Self::Internal => Class::Internal,
            Self::Isolation => Class::Isolation,
            Self::Conflict => Class::Conflict,
            Self::Sync => Class::Sync,
            Self::Lost => Class::Lost,
            Self::Protocol => Class::Protocol,
            Self::Timeout => Class::Timeout,
            Self::Interrupted(_) => Class::Interrupted,
        }
    }

    /// The exit code: the one mapping.
    ///
    /// | code | class | meaning |
    /// |---|---|---|
    /// | 0 | ok | every required tool succeeded and the result is committed |
    /// | the tool's own; 128+n for signal n | tool | the first required tool that failed |
    /// | 64 | usage | wrong command line |
    /// | 66 / 78 | config | file missing / invalid |
    /// | 69 | backend | backend not ready |
    /// | 70 | internal | a bug of devshell (a panic, too) |
    /// | 71 | isolation | the required isolation is not available |
    /// | 73 | conflict | the tree changed under the run; nothing applied, result kept |
    /// | 74 | sync | push, pull or write-back failed; rolled back, result kept |
    /// | 75 | lost | the backend was lost during the run, or a lock stayed busy |
    /// | 76 | protocol | the sidecar speaks something else |
    /// | 124 | timeout | tool, no-output or whole-run timeout |
    /// | 126 / 127 | tool | not executable / not found, in the backend |
    /// | 129 / 130 / 143 | interrupted | SIGHUP / SIGINT / SIGTERM, after clean-up |
    #[must_use]
    pub fn code(self, policy: ExitCodePolicy) -> u8 {
        if policy == ExitCodePolicy::Class && self.class() == Class::Tool {
            return 1;
        }
        match self {
            Self::Ok => 0,
            // A tool that ended with a code outside 1 to 255 does not exist on Unix; a peer
            // that reports one must not turn a failure into a success.
            Self::ToolCode(code) => u8::try_from(code).ok().filter(|code| *code != 0).unwrap_or(1),
            Self::ToolSignal(signal) | Self::Interrupted(signal) => signal_code(signal),
            Self::ToolNotExecutable => 126,
            Self::ToolNotFound => 127,
            Self::Usage => 64,
            Self::ConfigMissing => 66,
            Self::ConfigInvalid => 78,
            Self::Backend => 69,
            Self::Internal => 70,
            Self::Isolation => 71,
            Self::Conflict => 73,
            Self::Sync => 74,
            Self::Lost => 75,
            Self::Protocol => 76,
            Self::Timeout => 124,
        }
    }
}

/// 128+n, as shells say it.
fn signal_code(signal: i32) -> u8 {
    u8::try_from(signal)
        .ok()
        .filter(|signal| (1..=64).contains(signal))
        .map_or(1, |signal| 128 + signal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_table_has_its_code_and_class() {
        let rows = [
            (End::Ok, 0, "ok"),
            (End::ToolCode(1), 1, "tool"),
            (End::ToolCode(101), 101, "tool"),
            (End::ToolCode(255), 255, "tool"),
            (End::ToolSignal(9), 137, "tool"),
            (End::ToolSignal(15), 143, "tool"),
            (End::ToolNotExecutable, 126, "tool"),
            (End::ToolNotFound, 127, "tool"),
            (End::Usage, 64, "usage"),
            (End::ConfigMissing, 66, "config"),
            (End::ConfigInvalid, 78, "config"),
            (End::Backend, 69, "backend"),
            (End::Internal, 70, "internal"),
            (End::Isolation, 71, "isolation"),
            (End::Conflict, 73, "conflict"),
            (End::Sync, 74, "sync"),
            (End::Lost, 75, "lost"),
            (End::Protocol, 76, "protocol"),
            (End::Timeout, 124, "timeout"),
            (End::Interrupted(1), 129, "interrupted"),
            (End::Interrupted(2), 130, "interrupted"),
            (End::Interrupted(15), 143, "interrupted"),
        ];
        for (end, code, class) in rows {
            assert_eq!(end.code(ExitCodePolicy::Tool), code, "{end:?}");
            assert_eq!(end.class().word(), class, "{end:?}");
        }
    }

    #[test]
    fn with_class_every_end_of_a_tool_is_1_and_nothing_else_changes() {
        for end in [
            End::ToolCode(101),
            End::ToolSignal(9),
            End::ToolNotFound,
            End::ToolNotExecutable,
        ] {
            assert_eq!(end.code(ExitCodePolicy::Class), 1);
        }
        assert_eq!(End::Timeout.code(ExitCodePolicy::Class), 124);
        assert_eq!(End::Ok.code(ExitCodePolicy::Class), 0);
        assert_eq!(End::Interrupted(2).code(ExitCodePolicy::Class), 130);
    }

    #[test]
    fn no_code_of_a_peer_becomes_a_success() {
        for code in [-1, 0, 256, 512, i32::MIN] {
            assert_ne!(End::ToolCode(code).code(ExitCodePolicy::Tool), 0, "{code}");
        }
        for signal in [-1, 0, 65, 128, i32::MAX] {
            assert_ne!(End::ToolSignal(signal).code(ExitCodePolicy::Tool), 0, "{signal}");
        }
    }

    #[test]
    fn words_agree_with_the_wire_form() {
        for class in Class::ALL {
            assert_eq!(serde_json::to_value(class).unwrap(), class.word());
        }
    }
}
