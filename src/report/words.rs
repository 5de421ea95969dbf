//! Pieces of text that several reporters use.

use std::fmt::Write as _;

use crate::event::{EventBody, ToolOutcome, Word};
use crate::exit::{Class, signal_name};
use crate::quote::command_line;

/// Seconds with one decimal, as the last line has them: `3.2s`.
pub(super) fn seconds(elapsed_ms: u64) -> String {
    format!("{}.{}s", elapsed_ms / 1000, elapsed_ms % 1000 / 100)
}

/// A time for people: `41 ms`, `3.2s`.
pub(super) fn time(elapsed_ms: u64) -> String {
    if elapsed_ms < 1000 {
        format!("{elapsed_ms} ms")
    } else {
        seconds(elapsed_ms)
    }
}

/// A command line that can be typed as it stands.
pub(crate) fn typed(words: &[Word]) -> String {
    let words: Vec<String> = words
        .iter()
        .map(|word| match word.is_quoted() {
            true => word.text().to_owned(),
            false => command_line([word.text()]),
        })
        .collect();
    words.join(" ")
}

/// How a tool ended, in a few words.
pub(super) fn how(outcome: ToolOutcome, exit_code: Option<i32>, signal: Option<i32>) -> String {
    match (outcome, exit_code, signal) {
        (ToolOutcome::Success, ..) => "ok".to_owned(),
        (ToolOutcome::Failed, Some(code), _) => format!("failed with code {code}"),
        (ToolOutcome::Failed, None, Some(signal)) => format!("ended by {}", signal_name(signal)),
        (ToolOutcome::Failed, None, None) => "could not be executed".to_owned(),
        (ToolOutcome::Timeout, ..) => "stopped at its timeout".to_owned(),
        (ToolOutcome::Cancelled, ..) => "stopped".to_owned(),
        (ToolOutcome::Lost, ..) => "lost".to_owned(),
        (ToolOutcome::NotFound, ..) => "not found".to_owned(),
    }
}

/// The last line of a run: words that a script can read.
#[must_use]
pub fn last_line(class: Class, tool: Option<&str>, code: u8, elapsed_ms: Option<u64>, kept: Option<&str>) -> String {
    let mut line = format!("devshell: class={}", class.word());
    if let Some(tool) = tool {
        let _ = write!(line, " tool={tool}");
    }
    let _ = write!(line, " code={code}");
    if let Some(elapsed_ms) = elapsed_ms {
        let _ = write!(line, " elapsed={}", seconds(elapsed_ms));
    }
    if let Some(kept) = kept {
        let _ = write!(line, " kept={kept}");
    }
    line
}

/// The last line that belongs to a `run_finished`.
pub(super) fn last_line_of(body: &EventBody) -> Option<String> {
    let EventBody::RunFinished {
        class,
        exit_code,
        tool,
        elapsed_ms,
        kept,
        ..
    } = body
    else {
        return None;
    };
    Some(last_line(
        *class,
        tool.as_deref(),
        *exit_code,
        Some(*elapsed_ms),
        kept.as_deref(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_has_its_documented_form() {
        assert_eq!(
            last_line(Class::Tool, Some("clippy"), 101, Some(3240), Some("x")),
            "devshell: class=tool tool=clippy code=101 elapsed=3.2s kept=x"
        );
        assert_eq!(
            last_line(Class::Config, None, 78, None, None),
            "devshell: class=config code=78"
        );
    }
}
