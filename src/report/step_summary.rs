//! The summary of a GitHub step, in Markdown.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::Path;

use crate::event::ToolOutcome;

use super::failure::closing;
use super::record::{Record, ToolRecord, ToolState};
use super::summary::{counts, write_back};
use super::words::time;

/// GitHub takes no summary of a step that is larger.
const LIMIT: usize = 1 << 20;
/// Room for the line that says that something is left out.
const LAST: usize = 200;
/// How many lines of a failed tool's output are shown.
const LINES: usize = 40;

/// Appends the summary of a run to the file, to which others may have written before. What does
/// not fit is left out.
///
/// # Errors
/// What the system says.
pub(super) fn append(path: &Path, record: &Record) -> io::Result<()> {
    let mut file = OpenOptions::new().append(true).create(true).open(path)?;
    let there = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    let text = markdown(record, LIMIT.saturating_sub(there));
    file.write_all(text.as_bytes())
}

/// A text that keeps to a length.
struct Bounded {
    text: String,
    room: usize,
    left_out: usize,
}

impl Bounded {
    /// Adds a piece, or leaves it out as a whole.
    fn add(&mut self, piece: &str) {
        if self.text.len() + piece.len() + LAST <= self.room {
            self.text.push_str(piece);
        } else {
            self.left_out += 1;
        }
    }
}

fn markdown(record: &Record, room: usize) -> String {
    let mut out = Bounded {
        text: String::new(),
        room,
        left_out: 0,
    };
    let title = match record.tools.is_empty() {
        true => "the run did not begin".to_owned(),
        false => counts(record),
    };
    out.add(&format!("### devshell: {}\n\n", escaped(&title)));
    if !record.tools.is_empty() {
        out.add("| tool | outcome | time | attempts |\n|:---|:---|---:|---:|\n");
        for tool in &record.tools {
            out.add(&row(tool));
        }
        out.add("\n");
    }
    for line in write_back(record, true) {
        out.add(&format!("{}\n\n", escaped(&line.text)));
    }
    let closing: Vec<String> = closing(record).into_iter().map(|line| line.text).collect();
    if !closing.is_empty() {
        out.add(&format!("{}\n\n", fenced(&closing.join("\n"))));
    }
    // The closing block is about the tool that decided.
    let deciding = record.end.as_ref().and_then(|end| end.tool.as_ref());
    let others = record.tools.iter().filter(|tool| Some(&tool.name) != deciding);
    for tool in others.filter(|tool| has_failed(tool)) {
        let mut lines = tool.stderr.lines(LINES);
        if lines.is_empty() {
            lines = tool.stdout.lines(LINES);
        }
        if !lines.is_empty() {
            let title = escaped(&format!("The last lines of {}:", tool.name));
            out.add(&format!("{title}\n\n{}\n\n", fenced(&lines.join("\n"))));
        }
    }
    if out.left_out > 0 && out.text.len() + LAST <= room {
        out.text
            .push_str("\n\nSome of this summary is left out: GitHub takes no more than 1 MiB a step.\n");
    }
    out.text
}

fn has_failed(tool: &ToolRecord) -> bool {
    matches!(&tool.state, ToolState::Finished(end) if end.outcome != ToolOutcome::Success)
}

fn row(tool: &ToolRecord) -> String {
    let outcome = match &tool.state {
        ToolState::Finished(end) => match (end.outcome, tool.is_flaky(), end.tolerated) {
            (ToolOutcome::Success, true, _) => "ok, **flaky**".to_owned(),
            (ToolOutcome::Success, ..) if end.cached => "ok, cached".to_owned(),
            (ToolOutcome::Success, ..) => "ok".to_owned(),
            (_, _, true) => format!("{}, tolerated", escaped(&end.how())),
            _ => format!("**{}**", escaped(&end.how())),
        },
        ToolState::Skipped { why } => format!("skipped: {}", escaped(why)),
        ToolState::Waiting | ToolState::Running { .. } => "not run".to_owned(),
    };
    let (elapsed, attempts) = match tool.attempts {
        0 => (String::new(), String::new()),
        attempts => (time(tool.elapsed_ms), attempts.to_string()),
    };
    format!("| {} | {outcome} | {elapsed} | {attempts} |\n", escaped(&tool.name))
}

/// Text in one line that means nothing but itself.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            char if char.is_control() => out.push(' '),
            '\\' | '`' | '*' | '_' | '{' | '}' | '[' | ']' | '<' | '>' | '#' | '|' | '&' | '~' | '!' | '@' => {
                out.push('\\');
                out.push(char);
            }
            char => out.push(char),
        }
    }
    out
}

/// A block of text as it is. Its fence is longer than any in the text.
fn fenced(text: &str) -> String {
    let longest = text.split(|char| char != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    format!("{fence}text\n{text}\n{fence}")
}

#[cfg(test)]
mod tests {
    use super::super::samples::Script;
    use super::*;
    use crate::event::{Stream, WriteBackState};
    use crate::exit::Class;

    /// A run of which one tool failed whose output tries to get out of its block.
    fn failed() -> Script {
        let mut script = Script::of(&["ok", "let", "flaky", "bad", "never"]);
        script.tool("ok", ToolOutcome::Success, 41);
        script.tolerated("let", 3, 5);
        script.retried("flaky", 1, 1000);
        script.started("bad", 1);
        script.output("bad", Stream::Stderr, "```\n# not a title\n<b>`````\n");
        script.ended("bad", 1, Some(9), None, 3240);
        script.skipped("never", "`bad` failed | <b>*so*</b>");
        script.written(WriteBackState::None);
        script.finished(Class::Tool, 9, Some("bad"), None);
        script
    }

    #[test]
    fn nothing_in_the_summary_means_more_than_it_says() {
        insta::assert_snapshot!(markdown(&failed().record, LIMIT), @r"
        ### devshell: 5 tools, 2 ok (1 flaky), 1 failed, 1 failed and tolerated, 1 skipped

        | tool | outcome | time | attempts |
        |:---|:---|---:|---:|
        | ok | ok | 41 ms | 1 |
        | let | failed with code 3, tolerated | 5 ms | 1 |
        | flaky | ok, **flaky** | 2.0s | 2 |
        | bad | **failed with code 9** | 3.2s | 1 |
        | never | skipped: \`bad\` failed \| \<b\>\*so\*\</b\> |  |  |

        nothing was committed

        ``````text
        error: `bad` failed with code 9 after 3.2s
          command: run bad 'a b'
          in: /home/me/hello/sub
          code: 9
          its stderr:
            | ```
            | # not a title
            | <b>`````
          only this tool again: devshell run --profile ci --only bad
        ``````
        ");
    }

    #[test]
    fn what_does_not_fit_is_left_out_and_that_is_said() {
        let record = failed().record;
        let whole = markdown(&record, LIMIT);
        for room in 0..whole.len() + 2 * LAST {
            let text = markdown(&record, room);
            assert!(text.len() <= room, "{room}");
            assert!(
                text == whole || room < 2 * LAST || text.contains("left out"),
                "{room}: {text}"
            );
            let fences = text.lines().filter(|line| line.starts_with("``````")).count();
            assert_eq!(fences % 2, 0, "no block is left open: {text}");
        }
    }
}
