//! The last block of a run that failed: everything that is needed to go on from there.

use std::path::Path;

use crate::exit::{Class, signal_name};
use crate::quote::command_line;

use super::record::{Record, RunEnd, ToolRecord, ToolState};
use super::said::{Said, Tone};
use super::tail::{Tail, cut};
use super::words::{time, typed};

/// How many lines of a tool's output are repeated.
const LINES: usize = 20;
/// A line or a command longer than this is cut: the whole of it stands above.
const COLUMNS: usize = 400;

/// What is said last, after all other output and before the last line: the failure with its
/// tool, and what can be done with a kept result. Nothing for a run that succeeded and kept
/// nothing.
pub(super) fn closing(record: &Record) -> Vec<Said> {
    let Some(end) = &record.end else {
        return Vec::new();
    };
    let tool = end.tool.as_ref().and_then(|name| record.tool(name));
    let mut lines = Vec::new();
    match tool.filter(|tool| tool.has_run()) {
        Some(tool) => {
            lines.push(Said::new(Tone::Bad, headline(end, tool)));
            lines.extend(block(record, end, tool));
        }
        None if end.class != Class::Ok => lines.push(Said::new(Tone::Bad, headline_without_tool(end))),
        None => {}
    }
    lines.extend(kept(end));
    if let Some(repeat) = &end.next.repeat {
        lines.push(said("only this tool again", typed(repeat)));
    }
    lines
}

/// `error: test failed with code 101 after 3.2s`
fn headline(end: &RunEnd, tool: &ToolRecord) -> String {
    let name = &tool.name;
    let after = time(tool.elapsed_ms);
    if end.class == Class::Interrupted {
        return format!("error: {} while `{name}` ran, for {after}", interrupted(end));
    }
    let how = match &tool.state {
        ToolState::Finished(finished) => finished.how(),
        _ => "failed".to_owned(),
    };
    let attempts = match tool.attempts {
        0 | 1 => String::new(),
        number => format!(", at each of {number} attempts"),
    };
    match &end.error {
        Some(error) => format!("error: `{name}` {how} after {after}{attempts}: {error}"),
        None => format!("error: `{name}` {how} after {after}{attempts}"),
    }
}

fn headline_without_tool(end: &RunEnd) -> String {
    match &end.error {
        Some(error) => format!("error: {error}"),
        None if end.class == Class::Interrupted => format!("error: {}", interrupted(end)),
        None => format!("error: the run ended with class {}", end.class.word()),
    }
}

fn interrupted(end: &RunEnd) -> String {
    let signal = i32::from(end.exit_code) - 128;
    format!("interrupted by {}", signal_name(signal))
}

fn block(record: &Record, end: &RunEnd, tool: &ToolRecord) -> Vec<Said> {
    let mut lines = vec![
        said("command", cut(&command_line(&tool.argv), COLUMNS)),
        said("in", folder(&record.workspace, &tool.cwd)),
    ];
    if let ToolState::Finished(finished) = &tool.state {
        let how = match (finished.exit_code, finished.signal) {
            (Some(code), _) => Some(("code", code.to_string())),
            (None, Some(9)) => Some((
                "signal",
                format!(
                    "{} (9), not sent by devshell; the kernel does when memory is short",
                    signal_name(9)
                ),
            )),
            (None, Some(signal)) => Some(("signal", format!("{} ({signal})", signal_name(signal)))),
            (None, None) => None,
        };
        lines.extend(how.map(|(what, text)| said(what, text)));
    }
    // Whoever interrupted a tool knows what it was doing.
    if end.class != Class::Interrupted {
        lines.extend(output(tool));
    }
    lines
}

/// The last lines of its stderr, or of its stdout where that is empty: where both are one terminal,
/// everything comes there.
fn output(tool: &ToolRecord) -> Vec<Said> {
    let last = |name: &'static str, tail: &Tail| Some((name, tail.lines(LINES))).filter(|(_, lines)| !lines.is_empty());
    let stdout = if tool.joined { "output" } else { "stdout" };
    let Some((stream, output)) = last("stderr", &tool.stderr).or_else(|| last(stdout, &tool.stdout)) else {
        return vec![said("output", "none")];
    };
    let title = match output.len() {
        LINES => format!("  its {stream}, the last {LINES} lines:"),
        _ => format!("  its {stream}:"),
    };
    let mut lines = vec![Said::new(Tone::Plain, title)];
    lines.extend(
        output
            .iter()
            .map(|line| Said::new(Tone::Plain, format!("    | {}", cut(line, COLUMNS)))),
    );
    lines
}

/// The kept result and what can be done with it.
fn kept(end: &RunEnd) -> Vec<Said> {
    let Some(id) = &end.kept else {
        return Vec::new();
    };
    let mut lines = vec![Said::new(Tone::Plain, format!("the result is kept as {id}"))];
    let commands = [("to look at it", &end.next.diff), ("to apply it", &end.next.apply)];
    for (what, command) in commands {
        if let Some(command) = command {
            lines.push(said(what, typed(command)));
        }
    }
    lines
}

fn said(what: &str, text: impl AsRef<str>) -> Said {
    Said::new(Tone::Plain, format!("  {what}: {}", text.as_ref()))
}

/// The folder of a tool on the host; `cwd` is a path of the Vfs, which starts at the workspace's
/// parent.
fn folder(workspace: &str, cwd: &str) -> String {
    let below = Path::new(cwd.trim_start_matches('/'));
    let mut parts = below.components();
    parts.next();
    let folder = Path::new(workspace).join(parts.as_path());
    folder.display().to_string().trim_end_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::samples::Script;
    use super::*;
    use crate::event::{EventBody, Stream, ToolOutcome, ToolTerminal};

    fn text(script: &Script) -> String {
        closing(&script.record)
            .iter()
            .map(|line| format!("{}\n", line.text))
            .collect()
    }

    #[test]
    fn the_block_has_everything_to_go_on_with() {
        let mut script = Script::of(&["build", "test"]);
        script.tool("build", ToolOutcome::Success, 5);
        script.started("test", 1);
        for n in 0..50 {
            script.output("test", Stream::Stderr, &format!("\x1b[31mline {n}\x1b[0m\r\n"));
        }
        script.output("test", Stream::Stdout, "something else\n");
        script.ended("test", 1, Some(101), None, 3240);
        script.finished(Class::Tool, 101, Some("test"), Some("20261123-203012-1a2b"));
        let text = text(&script);
        assert_eq!(text.matches("    | line ").count(), 20, "{text}");
        assert!(
            text.contains("    | line 49\n") && !text.contains("line 29\n"),
            "{text}"
        );
        let short = text
            .lines()
            .filter(|line| !line.contains("| line 3") && !line.contains("| line 4"));
        insta::assert_snapshot!(short.collect::<Vec<_>>().join("\n"), @r"
        error: `test` failed with code 101 after 3.2s
          command: run test 'a b'
          in: /home/me/hello/sub
          code: 101
          its stderr, the last 20 lines:
        the result is kept as 20261123-203012-1a2b
          to look at it: devshell results diff 20261123-203012-1a2b
          to apply it: devshell results apply 20261123-203012-1a2b
          only this tool again: devshell run --profile ci --only test
        ");
    }

    #[test]
    fn a_signal_has_its_name_and_stdout_stands_in_for_an_empty_stderr() {
        let mut script = Script::of(&["t"]);
        script.started("t", 1);
        script.output("t", Stream::Stdout, "10%\r20%\nthe end");
        script.ended("t", 1, None, Some(9), 1000);
        script.finished(Class::Tool, 137, Some("t"), None);
        insta::assert_snapshot!(text(&script), @r"
        error: `t` ended by SIGKILL after 1.0s
          command: run t 'a b'
          in: /home/me/hello/sub
          signal: SIGKILL (9), not sent by devshell; the kernel does when memory is short
          its stdout:
            | 20%
            | the end
          only this tool again: devshell run --profile ci --only t
        ");
    }

    #[test]
    fn what_came_through_one_terminal_is_neither_stdout_nor_stderr() {
        let mut script = Script::of(&["t"]);
        script.emit(EventBody::ToolStarted {
            tool: "t".to_owned(),
            argv: vec!["t".to_owned()],
            cwd: "/hello".to_owned(),
            attempt: 1,
            terminal: Some(ToolTerminal {
                joined: true,
                interactive: false,
            }),
        });
        script.output("t", Stream::Stdout, "the end\r\n");
        script.ended("t", 1, Some(1), None, 1000);
        script.finished(Class::Tool, 1, Some("t"), None);
        let text = text(&script);
        assert!(text.contains("  its output:\n    | the end\n"), "{text}");
    }

    #[test]
    fn an_interrupt_is_told_as_one() {
        let mut script = Script::of(&["t"]);
        script.started("t", 1);
        script.output("t", Stream::Stderr, "working\n");
        script.ended_as("t", ToolOutcome::Cancelled, 1000);
        script.finished(Class::Interrupted, 130, Some("t"), None);
        assert!(text(&script).starts_with("error: interrupted by SIGINT while `t` ran, for 1.0s\n"));
        assert!(!text(&script).contains("working"));
    }

    #[test]
    fn a_failure_of_no_tool_says_its_cause_and_a_success_nothing() {
        let mut script = Script::of(&["t"]);
        script.tool("t", ToolOutcome::Success, 5);
        script.finished(Class::Ok, 0, None, None);
        assert_eq!(text(&script), "");
        script.failed_run(Class::Backend, 69, "no such thing");
        assert_eq!(text(&script), "error: no such thing\n");
    }

    #[test]
    fn the_folder_is_the_one_on_the_host() {
        assert_eq!(folder("/home/me/hello", "/hello"), "/home/me/hello");
        assert_eq!(folder("/home/me/hello", "/hello/a/b"), "/home/me/hello/a/b");
    }
}
