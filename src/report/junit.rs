//! `--junit FILE`: the run as JUnit XML, as Surefire writes it and Jenkins, GitLab and their kin
//! read it.
//!
//! Written by hand, not by a crate: the one that there is (`quick-junit`) brings eight more of
//! them, and sets an attribute (`skipped` of `testsuites`) that strict readers refuse.

use std::io;
use std::path::Path;
use std::time::SystemTime;

use crate::event::{Event, EventBody, EventSink, ToolOutcome};
use crate::exit::{Class, signal_name};
use crate::quote::command_line;

use super::attempts::{Attempt, AttemptEnd, Attempts, Tool};
use super::tail::Tail;
use super::whole_file::WholeFile;
use super::words::time;
use super::xml::Xml;

/// How many lines of output a failure repeats: what GitLab shows of a failed test.
const LINES: usize = 20;
/// The case that stands for the run itself. No tool can have this name.
const RUN: &str = "devshell:run";

/// One test suite a run, a test case a tool.
///
/// The file is written three times: at the beginning and before the commit with a case that says
/// that the run did not end, so that a devshell that was killed leaves no report of an older run
/// behind and a full disk is met before anything is applied; and at the end.
pub struct JunitReporter {
    file: WholeFile,
    attempts: Attempts,
    started: Option<SystemTime>,
}

impl JunitReporter {
    /// Reports to this file.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn create(path: &Path) -> io::Result<Self> {
        let mut reporter = Self {
            file: WholeFile::at(path)?,
            attempts: Attempts::default(),
            started: None,
        };
        reporter.write()?;
        Ok(reporter)
    }

    fn write(&mut self) -> io::Result<()> {
        let text = document(&self.attempts, self.started);
        self.file.write(text.as_bytes(), self.attempts.end.is_some())
    }
}

impl EventSink for JunitReporter {
    fn emit(&mut self, event: &Event) -> io::Result<()> {
        self.attempts.note(event);
        match &event.body {
            EventBody::RunStarted { .. } => {
                self.started = Some(SystemTime::now());
                Ok(())
            }
            EventBody::SessionFinished { .. } | EventBody::RunFinished { .. } => self.write(),
            _ => Ok(()),
        }
    }
}

/// What a test case says.
enum Verdict {
    Passed,
    Skipped { kind: &'static str, message: String },
    Bad(Bad),
}

/// A failure or an error.
struct Bad {
    /// Whether the tool is not to blame: it was not there, was lost or was interrupted.
    is_error: bool,
    kind: &'static str,
    message: String,
}

impl Bad {
    fn error(kind: &'static str, message: impl Into<String>) -> Self {
        Self {
            is_error: true,
            kind,
            message: message.into(),
        }
    }

    /// What a failed attempt means.
    fn of(attempt: &Attempt) -> Self {
        let Some(end) = &attempt.end else {
            return Self::error("unfinished", "it had not ended when devshell did");
        };
        let (is_error, kind) = match (end.outcome, end.exit_code, end.signal) {
            (ToolOutcome::Failed, Some(_), _) => (false, "exit-code"),
            (ToolOutcome::Failed, None, Some(_)) => (false, "signal"),
            (ToolOutcome::Timeout, ..) => (false, "timeout"),
            (ToolOutcome::Failed, None, None) => (true, "not-executable"),
            (ToolOutcome::NotFound, ..) => (true, "not-found"),
            (ToolOutcome::Cancelled, ..) => (true, "interrupted"),
            (ToolOutcome::Lost | ToolOutcome::Success, ..) => (true, "lost"),
        };
        Self {
            is_error,
            kind,
            message: end.words(),
        }
    }

    fn element(&self) -> &'static str {
        if self.is_error { "error" } else { "failure" }
    }
}

impl Verdict {
    fn of(tool: &Tool) -> Self {
        let Some(last) = tool.attempts.last() else {
            let message = tool.skipped.clone();
            return Self::Skipped {
                kind: "skipped",
                message: message.unwrap_or_else(|| "the run did not come to it".to_owned()),
            };
        };
        match &last.end {
            Some(end) if end.outcome == ToolOutcome::Success => Self::Passed,
            // As pytest reports what was expected to fail.
            Some(end) if end.tolerated => Self::Skipped {
                kind: "tolerated",
                message: format!("{}; tolerated (continue_on_error)", end.words()),
            },
            // The first failure stands for the case, as Surefire has it; of what kind it is, the
            // last one says.
            _ => Self::Bad(Bad {
                is_error: Bad::of(last).is_error,
                ..Bad::of(&tool.attempts[0])
            }),
        }
    }
}

/// The whole document.
fn document(run: &Attempts, started: Option<SystemTime>) -> String {
    let name = suite_name(run);
    let verdicts: Vec<Verdict> = run.tools.iter().map(Verdict::of).collect();
    let of_run = verdict_of_run(run, &verdicts);
    let is_bad = |is_error: bool| move |bad: &&Bad| bad.is_error == is_error;
    let bad = || {
        let of_tools = verdicts.iter().filter_map(|verdict| match verdict {
            Verdict::Bad(bad) => Some(bad),
            _ => None,
        });
        of_tools.chain(&of_run)
    };
    let skipped = |verdict: &&Verdict| matches!(verdict, Verdict::Skipped { .. });
    let counts = [
        ("tests", verdicts.len() + usize::from(of_run.is_some())),
        ("failures", bad().filter(is_bad(false)).count()),
        ("errors", bad().filter(is_bad(true)).count()),
    ]
    .map(|(name, number)| (name, number.to_string()));
    let skipped = verdicts.iter().filter(skipped).count().to_string();
    let elapsed_ms = match &run.end {
        Some(end) => end.elapsed_ms,
        None => run.tools.iter().map(elapsed_of).sum(),
    };
    let elapsed = seconds(elapsed_ms);
    let timestamp = started.map(|started| humantime::format_rfc3339_seconds(started).to_string());

    let mut sums: Vec<(&str, &str)> = vec![("name", &name)];
    sums.extend(counts.iter().map(|(name, number)| (*name, number.as_str())));
    sums.push(("time", &elapsed));
    let mut xml = Xml::new();
    xml.start("testsuites", &sums);
    sums.push(("skipped", &skipped));
    sums.extend(timestamp.iter().map(|timestamp| ("timestamp", timestamp.as_str())));
    xml.start("testsuite", &sums);
    properties(&mut xml, run);
    let class_name = format!("devshell.{}", name.replace('.', "_"));
    for (tool, verdict) in run.tools.iter().zip(&verdicts) {
        case(&mut xml, &class_name, tool, verdict);
    }
    if let Some(bad) = of_run {
        xml.start(
            "testcase",
            &[("name", RUN), ("classname", &class_name), ("time", &elapsed)],
        );
        // The faults of a config are many lines: lists of tests show one.
        let first = bad.message.lines().next().unwrap_or_default();
        xml.text(bad.element(), &[("message", first), ("type", bad.kind)], &bad.message);
        xml.end();
    }
    xml.finish()
}

/// The workspace's own name, or devshell's for a run that never began.
fn suite_name(run: &Attempts) -> String {
    let name = run.workspace.trim_end_matches('/').rsplit('/').next();
    name.filter(|name| !name.is_empty()).unwrap_or("devshell").to_owned()
}

/// What the run itself failed of, where no tool did.
fn verdict_of_run(run: &Attempts, of_tools: &[Verdict]) -> Option<Bad> {
    let Some(end) = &run.end else {
        return Some(Bad::error(
            "unfinished",
            "devshell ended before the run did: it was killed, or the machine went down",
        ));
    };
    let tool_is_told = end.tool.is_some() && of_tools.iter().any(|verdict| matches!(verdict, Verdict::Bad(_)));
    if end.class == Class::Ok || tool_is_told {
        return None;
    }
    let message = end.error.clone();
    let message = message.unwrap_or_else(|| match end.class {
        Class::Interrupted => format!("interrupted by {}", signal_name(i32::from(end.exit_code) - 128)),
        class => format!("the run ended with class {}", class.word()),
    });
    Some(Bad::error(end.class.word(), message.trim_start_matches("error: ")))
}

fn properties(xml: &mut Xml, run: &Attempts) {
    let mut properties: Vec<(&str, String)> = Vec::new();
    if !run.run_id.is_empty() {
        properties.push(("devshell", run.devshell.clone()));
        properties.push(("run_id", run.run_id.clone()));
        properties.push(("workspace", run.workspace.clone()));
    }
    if let Some(place) = &run.place {
        properties.push(("backend", place.backend.clone()));
        properties.extend(place.strategy.iter().map(|strategy| ("strategy", strategy.clone())));
        properties.push(("isolation", place.isolation.clone()));
    }
    if let Some(end) = &run.end {
        properties.push(("class", end.class.word().to_owned()));
        properties.push(("exit_code", end.exit_code.to_string()));
        properties.extend(end.tool.iter().map(|tool| ("tool", tool.clone())));
        properties.extend(end.kept.iter().map(|kept| ("kept", kept.clone())));
    }
    if properties.is_empty() {
        return;
    }
    xml.start("properties", &[]);
    for (name, value) in &properties {
        xml.empty("property", &[("name", name), ("value", value)]);
    }
    xml.end();
}

fn case(xml: &mut Xml, class_name: &str, tool: &Tool, verdict: &Verdict) {
    let elapsed = seconds(elapsed_of(tool));
    let attributes = [
        ("name", tool.name.as_str()),
        ("classname", class_name),
        ("time", &elapsed),
    ];
    xml.start("testcase", &attributes);
    let shown = match verdict {
        Verdict::Passed => {
            let (last, earlier) = tool.attempts.split_last().unzip();
            for attempt in earlier.into_iter().flatten() {
                rerun(xml, ["flakyFailure", "flakyError"], tool, attempt);
            }
            last
        }
        Verdict::Skipped { kind, message } => {
            xml.empty("skipped", &[("message", message), ("type", kind)]);
            tool.attempts.last()
        }
        Verdict::Bad(bad) => {
            let (first, later) = tool.attempts.split_first().unzip();
            let text = first.map(|attempt| account(tool, attempt)).unwrap_or_default();
            let attributes = [("message", bad.message.as_str()), ("type", bad.kind)];
            xml.text(bad.element(), &attributes, &text);
            for attempt in later.into_iter().flatten() {
                rerun(xml, ["rerunFailure", "rerunError"], tool, attempt);
            }
            first
        }
    };
    if let Some(attempt) = shown {
        outputs(xml, attempt);
    }
    xml.end();
}

/// Another attempt, beside the one that the case itself tells of.
fn rerun(xml: &mut Xml, [failure, error]: [&'static str; 2], tool: &Tool, attempt: &Attempt) {
    let bad = Bad::of(attempt);
    let element = if bad.is_error { error } else { failure };
    xml.start(element, &[("message", &bad.message), ("type", bad.kind)]);
    xml.text("stackTrace", &[], &account(tool, attempt));
    outputs(xml, attempt);
    xml.end();
}

/// What was run, how it ended, and the last lines of its stderr, or of its stdout where that is
/// empty.
fn account(tool: &Tool, attempt: &Attempt) -> String {
    let mut text = format!("command: {}\n", command_line(&tool.argv));
    if let Some(end) = &attempt.end {
        text.push_str(&format!("{} after {}\n", end.words(), time(end.elapsed_ms)));
    }
    let mut lines = attempt.stderr.lines(LINES);
    if lines.is_empty() {
        lines = attempt.stdout.lines(LINES);
    }
    if !lines.is_empty() {
        text.push('\n');
        text.push_str(&lines.join("\n"));
        text.push('\n');
    }
    text
}

fn outputs(xml: &mut Xml, attempt: &Attempt) {
    for (element, tail) in [("system-out", &attempt.stdout), ("system-err", &attempt.stderr)] {
        output(xml, element, tail);
    }
}

fn output(xml: &mut Xml, element: &'static str, tail: &Tail) {
    let kept = tail.text();
    if kept.text.is_empty() {
        return;
    }
    let text = match kept.cut {
        true => format!("[devshell: what came before is left out]\n{}", kept.text),
        false => kept.text,
    };
    xml.text(element, &[], &text);
}

/// The time of all attempts.
fn elapsed_of(tool: &Tool) -> u64 {
    let ends = tool.attempts.iter().filter_map(|attempt| attempt.end.as_ref());
    ends.map(|end: &AttemptEnd| end.elapsed_ms).sum()
}

/// Seconds with three decimals.
fn seconds(elapsed_ms: u64) -> String {
    format!("{}.{:03}", elapsed_ms / 1000, elapsed_ms % 1000)
}

#[cfg(test)]
mod tests {
    use super::super::samples::Script;
    use super::*;
    use crate::event::Stream;

    fn shown(script: &Script) -> String {
        let mut run = Attempts::default();
        for event in &script.events {
            run.note(event);
        }
        document(&run, Some(SystemTime::UNIX_EPOCH))
    }

    #[test]
    fn each_end_of_a_tool_has_its_place() {
        let mut script = Script::of(&["ok", "fails", "gone", "slow", "none", "let", "off", "never"]);
        script.started("ok", 1);
        script.output("ok", Stream::Stdout, "fine\n");
        script.ended("ok", 1, Some(0), None, 41);
        script.started("fails", 1);
        script.output("fails", Stream::Stdout, "a < b\n");
        script.output("fails", Stream::Stderr, "\x1b[31merror\x1b[0m: \0 & more\r\n");
        script.ended("fails", 1, Some(101), None, 3240);
        script.failed("gone", None, Some(9), 5);
        script.tool("slow", ToolOutcome::Timeout, 5);
        script.tool("none", ToolOutcome::NotFound, 0);
        script.tolerated("let", 3, 5);
        script.skipped("off", "when.os is `windows`, and the backend's is `linux`");
        script.finished(Class::Tool, 101, Some("fails"), Some("20261123-203012-1a2b"));
        insta::assert_snapshot!(shown(&script), @r#"
        <?xml version="1.0" encoding="UTF-8"?>
        <testsuites name="hello" tests="8" failures="3" errors="1" time="3.296">
          <testsuite name="hello" tests="8" failures="3" errors="1" time="3.296" skipped="3" timestamp="1970-01-01T00:00:00Z">
            <properties>
              <property name="devshell" value="0"/>
              <property name="run_id" value="id"/>
              <property name="workspace" value="/home/me/hello"/>
              <property name="class" value="tool"/>
              <property name="exit_code" value="101"/>
              <property name="tool" value="fails"/>
              <property name="kept" value="20261123-203012-1a2b"/>
            </properties>
            <testcase name="ok" classname="devshell.hello" time="0.041">
              <system-out>fine
        </system-out>
            </testcase>
            <testcase name="fails" classname="devshell.hello" time="3.240">
              <failure message="failed with code 101" type="exit-code">command: run fails 'a b'
        failed with code 101 after 3.2s

        error:  &amp; more
        </failure>
              <system-out>a &lt; b
        </system-out>
              <system-err>error:  &amp; more
        </system-err>
            </testcase>
            <testcase name="gone" classname="devshell.hello" time="0.005">
              <failure message="ended by SIGKILL" type="signal">command: run gone 'a b'
        ended by SIGKILL after 5 ms
        </failure>
            </testcase>
            <testcase name="slow" classname="devshell.hello" time="0.005">
              <failure message="stopped at its timeout" type="timeout">command: run slow 'a b'
        stopped at its timeout after 5 ms
        </failure>
            </testcase>
            <testcase name="none" classname="devshell.hello" time="0.000">
              <error message="not found" type="not-found">command: run none 'a b'
        not found after 0 ms
        </error>
            </testcase>
            <testcase name="let" classname="devshell.hello" time="0.005">
              <skipped message="failed with code 3; tolerated (continue_on_error)" type="tolerated"/>
            </testcase>
            <testcase name="off" classname="devshell.hello" time="0.000">
              <skipped message="when.os is `windows`, and the backend's is `linux`" type="skipped"/>
            </testcase>
            <testcase name="never" classname="devshell.hello" time="0.000">
              <skipped message="the run did not come to it" type="skipped"/>
            </testcase>
          </testsuite>
        </testsuites>
        "#);
    }

    #[test]
    fn earlier_attempts_are_flaky_before_a_success_and_reruns_before_a_failure() {
        let mut script = Script::of(&["flaky", "bad"]);
        script.started("flaky", 1);
        script.output("flaky", Stream::Stderr, "no luck\n");
        script.ended("flaky", 1, Some(1), None, 1000);
        script.started("flaky", 2);
        script.ended("flaky", 2, Some(0), None, 2000);
        for attempt in 1..=2 {
            script.started("bad", attempt);
            script.output("bad", Stream::Stdout, &format!("attempt {attempt}\n"));
            script.ended("bad", attempt, Some(attempt.try_into().unwrap()), None, 10);
        }
        script.finished(Class::Tool, 2, Some("bad"), None);
        insta::assert_snapshot!(shown(&script), @r#"
        <?xml version="1.0" encoding="UTF-8"?>
        <testsuites name="hello" tests="2" failures="1" errors="0" time="3.020">
          <testsuite name="hello" tests="2" failures="1" errors="0" time="3.020" skipped="0" timestamp="1970-01-01T00:00:00Z">
            <properties>
              <property name="devshell" value="0"/>
              <property name="run_id" value="id"/>
              <property name="workspace" value="/home/me/hello"/>
              <property name="class" value="tool"/>
              <property name="exit_code" value="2"/>
              <property name="tool" value="bad"/>
            </properties>
            <testcase name="flaky" classname="devshell.hello" time="3.000">
              <flakyFailure message="failed with code 1" type="exit-code">
                <stackTrace>command: run flaky 'a b'
        failed with code 1 after 1.0s

        no luck
        </stackTrace>
                <system-err>no luck
        </system-err>
              </flakyFailure>
            </testcase>
            <testcase name="bad" classname="devshell.hello" time="0.020">
              <failure message="failed with code 1" type="exit-code">command: run bad 'a b'
        failed with code 1 after 10 ms

        attempt 1
        </failure>
              <rerunFailure message="failed with code 2" type="exit-code">
                <stackTrace>command: run bad 'a b'
        failed with code 2 after 10 ms

        attempt 2
        </stackTrace>
                <system-out>attempt 2
        </system-out>
              </rerunFailure>
              <system-out>attempt 1
        </system-out>
            </testcase>
          </testsuite>
        </testsuites>
        "#);
    }

    #[test]
    fn what_no_tool_is_to_blame_for_is_an_error_of_the_run() {
        let mut script = Script::of(&["t"]);
        script.failed_run(Class::Backend, 69, "no \"such\" thing");
        insta::assert_snapshot!(shown(&script), @r#"
        <?xml version="1.0" encoding="UTF-8"?>
        <testsuites name="hello" tests="2" failures="0" errors="1" time="0.000">
          <testsuite name="hello" tests="2" failures="0" errors="1" time="0.000" skipped="1" timestamp="1970-01-01T00:00:00Z">
            <properties>
              <property name="devshell" value="0"/>
              <property name="run_id" value="id"/>
              <property name="workspace" value="/home/me/hello"/>
              <property name="class" value="backend"/>
              <property name="exit_code" value="69"/>
            </properties>
            <testcase name="t" classname="devshell.hello" time="0.000">
              <skipped message="the run did not come to it" type="skipped"/>
            </testcase>
            <testcase name="devshell:run" classname="devshell.hello" time="0.000">
              <error message="no &quot;such&quot; thing" type="backend">no "such" thing</error>
            </testcase>
          </testsuite>
        </testsuites>
        "#);
    }

    #[test]
    fn a_run_that_did_not_end_says_so() {
        let mut script = Script::of(&["a", "b"]);
        script.tool("a", ToolOutcome::Success, 5);
        script.started("b", 1);
        let text = shown(&script);
        assert!(text.contains("errors=\"2\""), "{text}");
        assert!(text.contains("type=\"unfinished\""), "{text}");
        let nothing = document(&Attempts::default(), None);
        assert!(
            nothing.contains("<testsuite name=\"devshell\" tests=\"1\" failures=\"0\" errors=\"1\""),
            "{nothing}"
        );
    }

    #[test]
    fn what_is_kept_of_output_is_bounded_and_says_so() {
        let mut script = Script::of(&["t"]);
        script.started("t", 1);
        for n in 0..100_000 {
            script.output("t", Stream::Stdout, &format!("line {n}\n"));
        }
        script.ended("t", 1, Some(0), None, 5);
        let text = shown(&script);
        assert!(text.len() < 20_000, "{}", text.len());
        assert!(
            text.contains("<system-out>[devshell: what came before is left out]\nline 9"),
            "{text}"
        );
        assert!(text.contains("line 99999\n</system-out>"));
    }

    #[test]
    fn the_file_is_there_from_the_beginning_and_final_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("junit.xml");
        std::fs::write(&path, "<testsuite name=\"of an older run\"/>").unwrap();
        let mut reporter = JunitReporter::create(&path).unwrap();
        let read = || std::fs::read_to_string(&path).unwrap();
        assert!(read().contains("type=\"unfinished\""), "{}", read());
        let mut script = Script::of(&["t"]);
        script.tool("t", ToolOutcome::Success, 5);
        script.emit(EventBody::SessionFinished { elapsed_ms: 1 });
        for event in script.events.drain(..) {
            reporter.emit(&event).unwrap();
        }
        assert!(
            read().contains("type=\"unfinished\"") && read().contains("name=\"t\""),
            "{}",
            read()
        );
        script.finished(Class::Ok, 0, None, None);
        reporter.emit(&script.events[0]).unwrap();
        assert!(!read().contains("<error"), "{}", read());
    }
}
