//! What the live view shows: a line a tool as far as there is room, and one for the whole.

use crate::event::{Direction, ToolOutcome};
use crate::report::paint::Paint;
use crate::report::progress::{bar, size};
use crate::report::record::{Phase, Record, ToolRecord, ToolState};
use crate::report::said::Tone;
use crate::report::tail::{cut, width};

use super::screen::Drawn;

/// More lines than this only push the output away.
const MOST_ROWS: usize = 12;
/// Below this there is room for a sign only where there else is a word.
const NARROW: usize = 48;
/// Narrower than this there is no view.
const TOO_NARROW: usize = 12;
/// What is typed into the terminal (`^C`) shows at the end of the last row.
const TYPED: usize = 3;

/// How large the terminal is, in columns and lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) columns: usize,
    pub(super) lines: usize,
}

/// The rows of the view at this time of the run.
pub(super) fn rows(record: &Record, now_ms: u64, size: Size, paint: Paint) -> Vec<Drawn> {
    if size.columns < TOO_NARROW {
        return Vec::new();
    }
    let room = Room {
        columns: size.columns - TYPED,
        paint,
        now_ms,
        name: 0,
    };
    let most = (size.lines / 2).clamp(1, MOST_ROWS);
    let whole = room.whole(record);
    if most == 1 || record.tools.is_empty() {
        return vec![match (&record.phase, record.running()) {
            (Phase::Running, Some(tool)) => room.tool(tool),
            _ => whole,
        }];
    }
    if let [tool] = record.tools.as_slice() {
        return match record.phase {
            Phase::Running => vec![room.tool(tool)],
            _ => vec![whole],
        };
    }
    // Before anything of it has begun, the list says nothing.
    let is_ahead = record.phase != Phase::Running && !record.tools.iter().any(ToolRecord::has_run);
    let mut rows = if is_ahead {
        Vec::new()
    } else {
        room.tools(record, most - 1)
    };
    rows.push(whole);
    rows
}

struct Room {
    columns: usize,
    paint: Paint,
    now_ms: u64,
    /// How wide the names are that stand below each other.
    name: usize,
}

impl Room {
    fn is_narrow(&self) -> bool {
        self.columns < NARROW
    }

    /// The tools in at most `most` rows: all of them, or the one that is due with those behind
    /// it, and the rest as numbers.
    fn tools(&self, record: &Record, most: usize) -> Vec<Drawn> {
        let tools = record.tools.as_slice();
        let is_over = |tool: &ToolRecord| match &tool.state {
            ToolState::Finished(end) => !end.will_retry,
            ToolState::Skipped { .. } => true,
            ToolState::Waiting | ToolState::Running { .. } => false,
        };
        let due = tools.iter().position(|tool| !is_over(tool)).unwrap_or(tools.len());
        let (from, to) = if tools.len() <= most {
            (0, tools.len())
        } else {
            let from = due.min(tools.len() - 1);
            let has_before = usize::from(from > 0 && most > 1);
            let shown = most - has_before;
            let to = (from + shown).min(tools.len());
            let has_behind = usize::from(to < tools.len() && shown > 1);
            (from, to - has_behind)
        };
        let names = tools[from..to].iter().map(|tool| width(&tool.name)).max().unwrap_or(0);
        let room = Room {
            name: names.min(self.columns / 2),
            ..*self
        };
        let mut rows = Vec::with_capacity(most);
        if from > 0 && most > 1 {
            rows.push(room.before(&tools[..from]));
        }
        rows.extend(tools[from..to].iter().map(|tool| room.tool(tool)));
        if to < tools.len() && rows.len() < most {
            let text = format!("and {} more", tools.len() - to);
            rows.push(room.row((Tone::Faint, "", ""), &text));
        }
        rows
    }

    /// What came before the tools that are shown.
    fn before(&self, tools: &[ToolRecord]) -> Drawn {
        let failed = |tool: &&ToolRecord| matches!(&tool.state, ToolState::Finished(end) if end.outcome != ToolOutcome::Success && !end.will_retry);
        let skipped = |tool: &&ToolRecord| matches!(tool.state, ToolState::Skipped { .. });
        let (failed, skipped) = (
            tools.iter().filter(failed).count(),
            tools.iter().filter(skipped).count(),
        );
        let mut text = format!("{} done", tools.len() - skipped);
        if failed > 0 {
            text = format!("{text}, {failed} of them failed");
        }
        if skipped > 0 {
            text = format!("{text}, {skipped} skipped");
        }
        let tone = if failed > 0 { Tone::Bad } else { Tone::Good };
        self.row((tone, if failed > 0 { "failed" } else { "ok" }, "+"), &text)
    }

    fn tool(&self, tool: &ToolRecord) -> Drawn {
        let name = cut(&tool.name, self.columns / 2);
        let name = format!("{name}{}", " ".repeat(self.name.saturating_sub(width(&name))));
        let gap = if self.is_narrow() { " " } else { "  " };
        match &tool.state {
            ToolState::Waiting => self.row((Tone::Faint, "waiting", "."), &name),
            ToolState::Running { since_ms } => {
                let attempt = match tool.attempts {
                    0 | 1 => String::new(),
                    number => format!("{gap}attempt {number}"),
                };
                let time = clock(self.now_ms.saturating_sub(*since_ms));
                let line = tool.last_line().unwrap_or_default();
                let text = format!("{name}{gap}{time:>5}{attempt}{gap}{}", line.trim_start());
                self.row((Tone::Head, "running", ">"), &text)
            }
            ToolState::Skipped { why } => self.row((Tone::Faint, "skipped", "-"), &format!("{name}{gap}{why}")),
            ToolState::Finished(end) => {
                let mark = match end.outcome {
                    ToolOutcome::Success if tool.is_flaky() => (Tone::Caution, "flaky", "~"),
                    ToolOutcome::Success => (Tone::Good, "ok", "+"),
                    _ if end.will_retry => (Tone::Caution, "again", "~"),
                    _ if end.tolerated => (Tone::Caution, "failed", "!"),
                    _ => (Tone::Bad, "failed", "!"),
                };
                self.row(mark, &format!("{name}{gap}{:>5}", clock(tool.elapsed_ms)))
            }
        }
    }

    /// The last row: how far the run is, and what devshell itself is doing.
    fn whole(&self, record: &Record) -> Drawn {
        let done = record
            .tools
            .iter()
            .filter(|tool| match &tool.state {
                ToolState::Finished(end) => !end.will_retry,
                ToolState::Skipped { .. } => true,
                ToolState::Waiting | ToolState::Running { .. } => false,
            })
            .count();
        let all = record.tools.len();
        let doing = match &record.phase {
            Phase::Starting => "starting".to_owned(),
            Phase::WaitingForLock => "waiting for another run in this workspace".to_owned(),
            Phase::Preparing(backend) => format!("preparing the {backend} backend"),
            Phase::Syncing {
                direction,
                files,
                of,
                bytes,
            } => {
                let what = match direction {
                    Direction::Push => "copying the workspace",
                    Direction::Pull => "bringing the result back",
                };
                let of = of.map(|of| format!(" of {of}")).unwrap_or_default();
                format!("{what}: {files}{of} files, {}", size(*bytes))
            }
            Phase::Running if done < all => String::new(),
            Phase::Running | Phase::Finishing => "finishing".to_owned(),
        };
        let mut text = match &record.phase {
            Phase::Syncing { .. } => clock(self.now_ms),
            _ => format!("{done}/{all}  {}", clock(self.now_ms)),
        };
        if !self.is_narrow() {
            // While a tree is carried, that is what is waited for.
            let (done, all) = match &record.phase {
                Phase::Syncing {
                    files, of: Some(of), ..
                } => (*files, *of),
                _ => (done as u64, all as u64),
            };
            text = format!("{} {text}", bar(done, all.max(1), (self.columns / 3).min(30)));
        }
        if !doing.is_empty() {
            text = format!("{text}  {doing}");
        }
        self.drawn(None, &text)
    }

    /// A row with what kind it is: a word in a column of its own, or a sign.
    fn row(&self, (tone, word, sign): (Tone, &str, &str), text: &str) -> Drawn {
        let (mark, columns) = if self.is_narrow() { (sign, 1) } else { (word, 7) };
        let mark = format!("{mark}{}", " ".repeat(columns - mark.len()));
        self.drawn(Some((tone, mark)), text)
    }

    fn drawn(&self, mark: Option<(Tone, String)>, text: &str) -> Drawn {
        let Some((tone, mark)) = mark else {
            let text = cut(text.trim_end(), self.columns);
            return Drawn {
                width: width(&text),
                text,
            };
        };
        let room = self.columns.saturating_sub(mark.len() + 1);
        let text = cut(text.trim_end(), room);
        Drawn {
            width: mark.len() + 1 + width(&text),
            text: format!("{} {text}", self.paint.word(tone, &mark)),
        }
    }
}

/// A time that is looked at while it passes: `0.4s`, `12s`, `3m05s`, `2h03m`.
fn clock(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0..10 => format!("{seconds}.{}s", ms % 1000 / 100),
        10..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{EventBody, Stream, ToolOutcome};
    use crate::report::samples::Script;

    fn shown(script: &Script, columns: usize, lines: usize) -> String {
        let rows = rows(&script.record, 61_234, Size { columns, lines }, Paint::default());
        let most = (lines / 2).clamp(1, MOST_ROWS);
        assert!(rows.len() <= most, "{rows:?}");
        for row in &rows {
            assert_eq!(row.width, width(&row.text));
            assert!(row.width + TYPED <= columns, "{columns}: {row:?}");
        }
        rows.iter().map(|row| format!("{}\n", row.text.trim_end())).collect()
    }

    fn underway() -> Script {
        let mut script = Script::of(&["fmt", "gen", "clippy", "test", "doc"]);
        script.emit(EventBody::SessionReady {
            backend: "host".to_owned(),
            strategy: Some("overlay".to_owned()),
            isolation: "view".to_owned(),
            why: None,
            elapsed_ms: 3,
        });
        script.tool("fmt", ToolOutcome::Success, 400);
        script.retried("gen", 1, 5000);
        script.tolerated("clippy", 1, 45_000);
        script.started("test", 1);
        script.output(
            "test",
            Stream::Stderr,
            "   Compiling serde\x1b[0m v1.0.219 (a very long line that has no room)\n",
        );
        script
    }

    #[test]
    fn a_line_a_tool_and_one_for_the_whole() {
        insta::assert_snapshot!(shown(&underway(), 60, 24), @r"
        ok      fmt      0.4s
        flaky   gen       10s
        failed  clippy    45s
        running test     5.8s  Compiling serde v1.0.219 (a very …
        waiting doc
        [==========>      ] 3/5  1m01s
        ");
    }

    #[test]
    fn a_narrow_terminal_gets_signs() {
        insta::assert_snapshot!(shown(&underway(), 20, 24), @r"
        + fmt     0.4s
        ~ gen      10s
        ! clippy   45s
        > test    5.8s C…
        . doc
        3/5  1m01s
        ");
    }

    #[test]
    fn there_is_room_for_something_on_every_terminal() {
        let script = underway();
        for columns in TOO_NARROW..130 {
            for lines in 1..40 {
                assert!(!shown(&script, columns, lines).is_empty());
            }
        }
    }

    #[test]
    fn of_two_hundred_tools_those_are_shown_that_are_due() {
        let names: Vec<String> = (0..200).map(|n| format!("t{n}")).collect();
        let mut script = Script::of(&names.iter().map(String::as_str).collect::<Vec<_>>());
        insta::assert_snapshot!(shown(&script, 80, 10), @r"
        [                       ] 0/200  1m01s  starting
        ");
        for name in &names[..50] {
            script.tool(name, ToolOutcome::Success, 10);
        }
        script.skipped("t50", "when");
        script.failed("t51", Some(1), None, 10);
        script.started("t52", 1);
        insta::assert_snapshot!(shown(&script, 80, 12), @r"
        failed  51 done, 1 of them failed, 1 skipped
        running t52  1m00s
        waiting t53
        waiting t54
                and 145 more
        [=====>                 ] 52/200  1m01s
        ");
        for name in &names[52..] {
            script.skipped(name, "`t51` failed");
        }
        insta::assert_snapshot!(shown(&script, 80, 12), @r"
        failed  51 done, 1 of them failed, 148 skipped
        skipped t199  `t51` failed
        [=======================] 200/200  1m01s  finishing
        ");
    }

    #[test]
    fn one_tool_alone_needs_one_line() {
        let mut script = Script::of(&["t"]);
        insta::assert_snapshot!(shown(&script, 80, 24), @r"
        [                       ] 0/1  1m01s  starting
        ");
        script.started("t", 1);
        script.output("t", Stream::Stdout, "10%\r20%");
        insta::assert_snapshot!(shown(&script, 80, 24), @r"
        running t  1m01s  20%
        ");
    }

    #[test]
    fn what_is_carried_is_shown_in_files_and_bytes() {
        let mut script = Script::of(&["a", "b"]);
        script.emit(EventBody::SessionStarting {
            backend: "host".to_owned(),
        });
        script.emit(EventBody::SyncProgress {
            direction: Direction::Push,
            files: 500,
            files_total: Some(2000),
            bytes: 3 << 20,
        });
        insta::assert_snapshot!(shown(&script, 100, 24), @r"
        [=======>                    ] 1m01s  copying the workspace: 500 of 2000 files, 3.00 MiB
        ");
        script.emit(EventBody::SyncFinished {
            direction: Direction::Push,
            files: 2000,
            bytes: 12 << 20,
            deleted: 0,
            elapsed_ms: 900,
        });
        insta::assert_snapshot!(shown(&script, 100, 24), @r"
        [                            ] 0/2  1m01s  preparing the host backend
        ");
    }

    #[test]
    fn times_are_short() {
        let clocks: Vec<String> = [0, 999, 9_999, 10_000, 59_999, 60_000, 3_599_999, 3_600_000, 360_000_000]
            .map(clock)
            .to_vec();
        assert_eq!(
            clocks,
            [
                "0.0s", "0.9s", "9.9s", "10s", "59s", "1m00s", "59m59s", "1h00m", "100h00m"
            ]
        );
    }
}
