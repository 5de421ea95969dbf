//! The summary after a run: a line a tool, then what became of the result.

use crate::event::{ToolOutcome, WriteBackState};
use crate::exit::Class;

use super::record::{Record, ToolRecord, ToolState};
use super::said::{Said, Tone};
use super::tail::width;
use super::words::{how, time};

/// With more tools than this only those are listed that somebody may want to look at.
const MOST_ROWS: usize = 30;
/// As many tools that were skipped for one reason, one after the other, share a line.
const ALIKE: usize = 4;

/// The summary of a run that has ended. There is a table only where more than one tool ran.
/// `columns`: where the table is shown, if that has a width.
pub(super) fn summary(record: &Record, columns: Option<usize>) -> Vec<Said> {
    let ran = record.tools.iter().filter(|tool| tool.has_run()).count();
    let mut lines = Vec::new();
    if ran > 1 {
        lines.push(Said::new(Tone::Head, format!("summary: {}", counts(record))));
        lines.extend(table(record, columns));
    }
    lines.extend(write_back(record, ran > 1));
    lines
}

/// `5 tools, 3 ok (1 flaky), 1 failed, 1 skipped`
pub(super) fn counts(record: &Record) -> String {
    let count = |is: &dyn Fn(&ToolRecord) -> bool| record.tools.iter().filter(|tool| is(tool)).count();
    let flaky = count(&ToolRecord::is_flaky);
    let skipped = count(&|tool| matches!(tool.state, ToolState::Skipped { .. }));
    let ok = count(&ToolRecord::succeeded);
    let failed = |tolerated| {
        count(&|tool| {
            matches!(&tool.state, ToolState::Finished(end)
                if !matches!(end.outcome, ToolOutcome::Success | ToolOutcome::Cancelled) && end.tolerated == tolerated)
        })
    };
    let stopped =
        count(&|tool| matches!(&tool.state, ToolState::Finished(end) if end.outcome == ToolOutcome::Cancelled));
    let mut text = match record.tools.len() {
        1 => "1 tool".to_owned(),
        number => format!("{number} tools"),
    };
    let ok = match flaky {
        0 => format!("{ok} ok"),
        flaky => format!("{ok} ok ({flaky} flaky)"),
    };
    text = format!("{text}, {ok}");
    for (number, word) in [
        (failed(false), "failed"),
        (failed(true), "failed and tolerated"),
        (stopped, "stopped"),
        (skipped, "skipped"),
    ] {
        if number > 0 {
            text = format!("{text}, {number} {word}");
        }
    }
    text
}

/// One row before it is laid out.
struct Row {
    tone: Tone,
    name: String,
    outcome: String,
    time: String,
    notes: String,
}

fn table(record: &Record, columns: Option<usize>) -> Vec<Said> {
    let slowest = slowest(record);
    let (mut rows, more) = rows(record, slowest);
    let widest =
        |cell: fn(&Row) -> &str, most: usize| rows.iter().map(|row| width(cell(row))).max().unwrap_or(0).min(most);
    // One long name or reason does not push everything else aside.
    let (name, outcome, time) = (
        widest(|row| &row.name, 30),
        widest(|row| if row.time.is_empty() { "" } else { &row.outcome }, 36),
        widest(|row| &row.time, 12),
    );
    let laid_out = |row: &Row| {
        let text = if row.time.is_empty() {
            format!("  {}  {}", padded(&row.name, name), row.outcome)
        } else {
            let outcome = padded(&row.outcome, outcome);
            format!(
                "  {}  {outcome}  {:>time$}  {}",
                padded(&row.name, name),
                row.time,
                row.notes
            )
        };
        text.trim_end().to_owned()
    };
    let fits = |text: &String| columns.is_none_or(|columns| width(text) + "devshell: ".len() < columns);
    let mut lines: Vec<Said> = if rows.iter().map(laid_out).all(|text| fits(&text)) {
        rows.iter().map(|row| Said::new(row.tone, laid_out(row))).collect()
    } else {
        rows.drain(..).map(|row| Said::new(row.tone, row.narrow())).collect()
    };
    if more > 0 {
        lines.push(Said::new(Tone::Faint, format!("  and {more} more that are ok")));
    }
    lines
}

impl Row {
    /// Where there is no room for columns.
    fn narrow(self) -> String {
        let cells = [self.name, self.outcome, self.time, self.notes];
        let cells: Vec<&str> = cells
            .iter()
            .map(String::as_str)
            .filter(|cell| !cell.is_empty())
            .collect();
        format!("  {}", cells.join(" "))
    }
}

fn padded(text: &str, to: usize) -> String {
    format!("{text}{}", " ".repeat(to.saturating_sub(width(text))))
}

/// The rows that are shown, and how many tools that are ok are left out.
fn rows(record: &Record, slowest: Option<&str>) -> (Vec<Row>, usize) {
    let all = record.tools.len() <= MOST_ROWS;
    let mut rows = Vec::new();
    let mut more = 0;
    let mut tools = record.tools.as_slice();
    while let Some((tool, rest)) = tools.split_first() {
        tools = rest;
        match &tool.state {
            ToolState::Skipped { why } => {
                let alike =
                    |tool: &&ToolRecord| matches!(&tool.state, ToolState::Skipped { why: other } if other == why);
                let number = 1 + rest.iter().take_while(alike).count();
                if number < ALIKE {
                    rows.push(Row::skipped(tool.name.clone(), why));
                } else {
                    let last = &rest[number - 2].name;
                    rows.push(Row::skipped(format!("{} .. {last} ({number})", tool.name), why));
                    tools = &rest[number - 1..];
                }
            }
            ToolState::Finished(end) => {
                let is_slowest = slowest == Some(tool.name.as_str());
                if !all && end.outcome == ToolOutcome::Success && !tool.is_flaky() && !is_slowest {
                    more += 1;
                    continue;
                }
                let mut notes = Vec::new();
                if tool.attempts > 1 {
                    notes.push(format!("{} attempts", tool.attempts));
                }
                if is_slowest {
                    notes.push("slowest".to_owned());
                }
                let (tone, outcome) = match (end.outcome, tool.is_flaky(), end.tolerated) {
                    (ToolOutcome::Success, true, _) => (Tone::Caution, "ok, flaky".to_owned()),
                    (ToolOutcome::Success, ..) if end.cached => (Tone::Good, "ok, cached".to_owned()),
                    (ToolOutcome::Success, ..) => (Tone::Good, "ok".to_owned()),
                    (_, _, true) => (Tone::Caution, format!("{}, tolerated", end.how())),
                    _ => (Tone::Bad, end.how()),
                };
                rows.push(Row {
                    tone,
                    name: tool.name.clone(),
                    outcome,
                    time: time(tool.elapsed_ms),
                    notes: notes.join(", "),
                });
            }
            // The run ended before anything was said of them.
            ToolState::Waiting | ToolState::Running { .. } => rows.push(Row {
                tone: Tone::Faint,
                name: tool.name.clone(),
                outcome: "not run".to_owned(),
                time: String::new(),
                notes: String::new(),
            }),
        }
    }
    (rows, more)
}

impl Row {
    fn skipped(name: String, why: &str) -> Self {
        Self {
            tone: Tone::Faint,
            name,
            outcome: format!("skipped: {why}"),
            time: String::new(),
            notes: String::new(),
        }
    }
}

impl super::record::Finished {
    /// How it ended, in a few words.
    pub(super) fn how(&self) -> String {
        how(self.outcome, self.exit_code, self.signal)
    }
}

/// The tool that took longest, where there is one to compare it with.
fn slowest(record: &Record) -> Option<&str> {
    let ran = record.tools.iter().filter(|tool| tool.has_run());
    let slowest = ran.max_by_key(|tool| tool.elapsed_ms)?;
    Some(slowest.name.as_str())
}

/// What became of the result.
pub(super) fn write_back(record: &Record, with_table: bool) -> Vec<Said> {
    let Some(done) = &record.write_back else {
        return Vec::new();
    };
    let succeeded = record.end.as_ref().is_some_and(|end| end.class == Class::Ok);
    match done.state {
        WriteBackState::Committed => {
            let text = format!("committed: {} written, {} deleted", done.written, done.deleted);
            vec![Said::new(Tone::Good, text)]
        }
        WriteBackState::Refused => {
            let paths = done.conflicts.iter();
            let mut lines: Vec<Said> = paths
                .map(|path| Said::new(Tone::Bad, format!("conflict: {path}")))
                .collect();
            lines.push(Said::new(Tone::Bad, "nothing was committed"));
            lines
        }
        WriteBackState::Kept => vec![Said::new(
            Tone::Plain,
            "nothing was committed: the result is kept aside",
        )],
        WriteBackState::Dropped => vec![Said::new(Tone::Plain, "dropped: nothing of what was changed is left")],
        WriteBackState::None if !with_table => Vec::new(),
        WriteBackState::None if record.strategy.as_deref() == Some("in_place") => {
            let text = "nothing to commit: the tools worked on the workspace itself";
            vec![Said::new(Tone::Plain, text)]
        }
        WriteBackState::None if succeeded => vec![Said::new(Tone::Plain, "nothing to commit: nothing has changed")],
        WriteBackState::None => vec![Said::new(Tone::Plain, "nothing was committed")],
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::Script;
    use super::*;
    use crate::event::ToolOutcome::{Failed, Success};

    fn text(script: &Script, columns: Option<usize>) -> String {
        let lines = summary(&script.record, columns);
        lines.iter().map(|line| format!("{}\n", line.text)).collect()
    }

    #[test]
    fn a_row_a_tool_with_what_matters_of_each() {
        let mut script = Script::of(&["fmt", "test", "lint", "doc", "later"]);
        script.tool("fmt", Success, 400);
        script.retried("test", 2, 3000);
        script.tolerated("lint", 3, 12_345);
        script.failed("doc", Some(101), None, 700);
        script.skipped("later", "`doc` failed");
        script.written(WriteBackState::Kept);
        script.finished(Class::Tool, 101, Some("doc"), Some("20261123-203012-1a2b"));
        insta::assert_snapshot!(text(&script, None), @r"
        summary: 5 tools, 2 ok (1 flaky), 1 failed, 1 failed and tolerated, 1 skipped
          fmt    ok                             400 ms
          test   ok, flaky                        9.0s  3 attempts
          lint   failed with code 3, tolerated   12.3s  slowest
          doc    failed with code 101           700 ms
          later  skipped: `doc` failed
        nothing was committed: the result is kept aside
        ");
        insta::assert_snapshot!(text(&script, Some(50)), @r"
        summary: 5 tools, 2 ok (1 flaky), 1 failed, 1 failed and tolerated, 1 skipped
          fmt ok 400 ms
          test ok, flaky 9.0s 3 attempts
          lint failed with code 3, tolerated 12.3s slowest
          doc failed with code 101 700 ms
          later skipped: `doc` failed
        nothing was committed: the result is kept aside
        ");
    }

    #[test]
    fn a_tool_that_was_interrupted_is_no_failure_of_its_own() {
        let mut script = Script::of(&["a", "b", "c"]);
        script.tool("a", Success, 5);
        script.tool("b", ToolOutcome::Cancelled, 5);
        script.skipped("c", "the run was stopped");
        assert_eq!(counts(&script.record), "3 tools, 1 ok, 1 stopped, 1 skipped");
    }

    #[test]
    fn one_tool_needs_no_table() {
        let mut script = Script::of(&["t"]);
        script.tool("t", Success, 400);
        script.written(WriteBackState::Committed);
        script.finished(Class::Ok, 0, None, None);
        assert_eq!(text(&script, None), "committed: 1 written, 1 deleted\n");
    }

    #[test]
    fn two_hundred_tools_are_no_two_hundred_rows() {
        let names: Vec<String> = (0..200).map(|n| format!("t{n}")).collect();
        let mut script = Script::of(&names.iter().map(String::as_str).collect::<Vec<_>>());
        for (n, name) in names.iter().enumerate().take(100) {
            match n {
                7 => script.retried(name, 1, 5),
                50 => script.tool(name, Success, 99_000),
                99 => script.failed(name, None, Some(9), 10),
                _ => script.tool(name, Success, 10),
            }
        }
        for name in &names[100..] {
            script.skipped(name, "`t99` failed");
        }
        script.written(WriteBackState::None);
        script.finished(Class::Tool, 137, Some("t99"), None);
        insta::assert_snapshot!(text(&script, None), @r"
        summary: 200 tools, 99 ok (1 flaky), 1 failed, 100 skipped
          t7                  ok, flaky         10 ms  2 attempts
          t50                 ok                99.0s  slowest
          t99                 ended by SIGKILL  10 ms
          t100 .. t199 (100)  skipped: `t99` failed
          and 97 more that are ok
        nothing was committed
        ");
    }

    #[test]
    fn a_refused_result_names_what_stood_in_its_way() {
        let mut script = Script::of(&["t"]);
        script.tool("t", Failed, 1);
        script.written(WriteBackState::Refused);
        script.finished(Class::Conflict, 73, None, Some("id"));
        assert_eq!(text(&script, None), "conflict: some/file\nnothing was committed\n");
    }

    #[test]
    fn a_result_that_was_dropped_is_said_to_be_gone() {
        let mut script = Script::of(&["t"]);
        script.tool("t", Failed, 1);
        script.written(WriteBackState::Dropped);
        assert_eq!(text(&script, None), "dropped: nothing of what was changed is left\n");
    }
}
