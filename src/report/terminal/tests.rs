//! What stands on a (virtual) terminal while a run is reported.

use std::io::{PipeReader, Read as _};
use std::time::{Duration, Instant};

use proptest::prelude::*;

use crate::event::{Event, EventBody, Stream, ToolOutcome, WriteBackState};
use crate::exit::Class;
use crate::report::paint::Paint;
use crate::report::pipe::Pipe;
use crate::report::plain::{PlainReporter, Terminals};
use crate::report::samples::Script;

use super::live::{Live, QUIET};
use super::view::Size;

fn screen(columns: u16, lines: u16) -> vt100::Parser {
    let [columns, lines] = [columns, lines].map(|number| std::num::NonZeroU16::new(number).unwrap());
    vt100::Parser::new(lines, columns, 10_000)
}

/// A terminal of this size with a run on it, and a clock that is set by hand.
struct Terminal {
    live: Live,
    written: PipeReader,
    screen: vt100::Parser,
    /// Everything that came to it.
    bytes: Vec<u8>,
    now: Instant,
    has_view: bool,
    script: Script,
}

impl Terminal {
    fn new(tools: &[&str], columns: u16, lines: u16) -> Self {
        Self::with(tools, columns, lines, Paint::default(), true)
    }

    fn with(tools: &[&str], columns: u16, lines: u16, paint: Paint, has_view: bool) -> Self {
        let (written, writer) = std::io::pipe().unwrap();
        rustix::fs::fcntl_setfl(&written, rustix::fs::OFlags::NONBLOCK).unwrap();
        let stream = || Pipe::new(writer.try_clone().unwrap().into(), || false);
        let terminals = Terminals {
            stdout: true,
            stderr: true,
        };
        let mut plain = PlainReporter::new(stream(), stream(), terminals);
        plain.paint = paint;
        let now = Instant::now();
        let size = move || {
            Some(Size {
                columns: columns.into(),
                lines: lines.into(),
            })
        };
        let mut terminal = Self {
            live: Live::new(plain, Box::new(size), now),
            written,
            screen: screen(columns, lines),
            bytes: Vec::new(),
            now,
            has_view,
            script: Script::of(tools),
        };
        terminal.report();
        terminal
    }

    /// Reports what the script has told since the last time.
    fn report(&mut self) {
        for event in std::mem::take(&mut self.script.events) {
            self.live.emit(&event, self.now).unwrap();
            self.look();
        }
    }

    fn tell(&mut self, tell: impl FnOnce(&mut Script)) {
        tell(&mut self.script);
        self.report();
    }

    fn output(&mut self, text: &str) {
        self.tell(|script| script.output("t", Stream::Stdout, text));
    }

    /// Lets time pass.
    fn wait(&mut self, duration: Duration) {
        let until = self.now + duration;
        while self.has_view
            && let Some(wait) = self.live.tick(self.now)
            && self.now + wait <= until
        {
            self.now += wait;
            self.live.tick(self.now);
            self.look();
        }
        self.now = until;
        self.look();
    }

    /// Takes what was written, as a terminal does that begins a line where a line ends.
    fn look(&mut self) {
        let mut buffer = [0; 65536];
        while let Ok(length) = self.written.read(&mut buffer)
            && length > 0
        {
            for byte in &buffer[..length] {
                if *byte == b'\n' {
                    self.screen.process(b"\r");
                }
                self.screen.process(&[*byte]);
            }
            self.bytes.extend_from_slice(&buffer[..length]);
        }
    }

    fn shown(&self) -> String {
        let lines = self.screen.screen().contents();
        lines.lines().map(|line| format!("{}\n", line.trim_end())).collect()
    }

    /// All lines, those that have left the screen, too.
    fn history(&mut self) -> String {
        let screen = self.screen.screen_mut();
        screen.set_scrollback(usize::MAX);
        let mut lines = Vec::new();
        for back in (1..=screen.scrollback()).rev() {
            screen.set_scrollback(back);
            lines.extend(screen.rows(0, u16::MAX).next());
        }
        screen.set_scrollback(0);
        lines.extend(screen.rows(0, u16::MAX));
        lines.join("\n").trim_end().to_owned()
    }

    fn shows_view(&self) -> bool {
        self.shown().contains("/3  ")
    }
}

fn in_the_middle(columns: u16, lines: u16) -> Terminal {
    let mut terminal = Terminal::new(&["first", "t", "last"], columns, lines);
    terminal.tell(|script| {
        script.tool("first", ToolOutcome::Success, 1500);
        script.started("t", 1);
    });
    terminal
}

#[test]
fn the_view_comes_when_it_is_quiet_and_is_away_while_something_is_written() {
    let mut terminal = in_the_middle(80, 24);
    assert!(!terminal.shows_view());
    terminal.wait(QUIET);
    insta::assert_snapshot!(terminal.shown(), @r"
    devshell: [1/3] first: run first 'a b'
    devshell: [1/3] first ok after 1.5s
    devshell: [2/3] t: run t 'a b'
    ok      first   1.5s
    running t       0.1s
    waiting last
    [=======>               ] 1/3  1.6s
    ");
    terminal.output("some output\n");
    insta::assert_snapshot!(terminal.shown(), @r"
    devshell: [1/3] first: run first 'a b'
    devshell: [1/3] first ok after 1.5s
    devshell: [2/3] t: run t 'a b'
    some output
    ");
    terminal.wait(QUIET * 20);
    insta::assert_snapshot!(terminal.shown(), @r"
    devshell: [1/3] first: run first 'a b'
    devshell: [1/3] first ok after 1.5s
    devshell: [2/3] t: run t 'a b'
    some output
    ok      first   1.5s
    running t       1.9s  some output
    waiting last
    [=======>               ] 1/3  3.4s
    ");
}

#[test]
fn below_an_unfinished_line_there_is_no_view() {
    let mut terminal = in_the_middle(80, 24);
    terminal.wait(QUIET * 3);
    for piece in ["question: ", "\x1b[1mno", "\x1b[0m", "\r50%", "\r60%"] {
        terminal.output(piece);
        terminal.wait(QUIET * 10);
        assert!(!terminal.shows_view(), "{piece:?}: {}", terminal.shown());
    }
    terminal.output("\n");
    terminal.wait(QUIET * 10);
    assert!(terminal.shows_view());
    assert!(terminal.shown().contains("\n60%stion: no\n"), "{}", terminal.shown());
}

#[test]
fn tools_that_print_all_the_time_are_not_interrupted() {
    let mut terminal = in_the_middle(80, 24);
    let before = terminal.bytes.len();
    for n in 0..100 {
        terminal.output(&format!("line {n}\n"));
        terminal.wait(QUIET / 2);
    }
    let expected: String = (0..100).map(|n| format!("line {n}\n")).collect();
    assert_eq!(String::from_utf8_lossy(&terminal.bytes[before..]), expected);
}

#[test]
fn at_every_size_nothing_of_the_view_is_left_at_the_end() {
    for columns in [5, 20, 40, 80, 200] {
        for lines in [2, 5, 24, 100] {
            let run = |has_view| {
                let mut terminal = Terminal::with(&["first", "t", "last"], columns, lines, Paint::default(), has_view);
                terminal.wait(QUIET * 5);
                terminal.tell(|script| {
                    script.tool("first", ToolOutcome::Success, 1500);
                    script.started("t", 1);
                });
                for n in 0..lines * 2 {
                    terminal.wait(QUIET * 3);
                    terminal.output(&format!("line {n} {}\n", "x".repeat(usize::from(n))));
                }
                terminal.tell(|script| script.ended("t", 1, Some(3), None, 700));
                terminal.wait(QUIET * 3);
                terminal.tell(|script| {
                    script.skipped("last", "`t` failed");
                    script.written(WriteBackState::Kept);
                    script.finished(Class::Tool, 3, Some("t"), Some("20261123-203012-1a2b"));
                });
                terminal.wait(QUIET * 3);
                (terminal.bytes.len(), terminal.history())
            };
            let ((with, seen), (without, expected)) = (run(true), run(false));
            if columns >= 20 && lines > 2 {
                assert!(with > without, "it was there");
            }
            assert_eq!(seen, expected, "{columns} columns, {lines} lines");
        }
    }
}

#[test]
fn of_two_hundred_tools_the_view_shows_what_fits() {
    let names: Vec<String> = (0..200).map(|n| format!("tool-{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut terminal = Terminal::new(&names, 60, 16);
    terminal.tell(|script| {
        for name in &names[..120] {
            script.tool(name, ToolOutcome::Success, 10);
        }
        script.started("tool-120", 1);
    });
    terminal.wait(QUIET);
    insta::assert_snapshot!(terminal.shown(), @r"
    devshell: [117/200] tool-116 ok after 10 ms
    devshell: [118/200] tool-117: run tool-117 'a b'
    devshell: [118/200] tool-117 ok after 10 ms
    devshell: [119/200] tool-118: run tool-118 'a b'
    devshell: [119/200] tool-118 ok after 10 ms
    devshell: [120/200] tool-119: run tool-119 'a b'
    devshell: [120/200] tool-119 ok after 10 ms
    devshell: [121/200] tool-120: run tool-120 'a b'
    ok      120 done
    running tool-120   0.1s
    waiting tool-121
    waiting tool-122
    waiting tool-123
    waiting tool-124
            and 75 more
    [==========>      ] 120/200  1.3s
    ");
}

#[test]
fn a_terminal_made_smaller_is_not_left_with_pieces() {
    use super::screen::{Drawn, Screen};
    let row = |width: usize| Drawn {
        width,
        text: "x".repeat(width),
    };
    let mut screen = Screen::default();
    assert_eq!(
        screen.draw(&[row(3), row(70)], 80).unwrap(),
        format!("\rxxx\x1b[K\r\n{}\x1b[J", "x".repeat(70))
    );
    assert_eq!(screen.draw(&[row(3), row(70)], 80), None, "it is there already");
    // 70 columns are 2 lines of 40, so the first row begins 2 lines above.
    assert_eq!(
        screen.draw(&[row(3), row(30)], 40).unwrap(),
        format!("\r\x1b[2Axxx\x1b[K\r\n{}\x1b[J", "x".repeat(30))
    );
    assert_eq!(screen.erase(10).unwrap(), "\r\x1b[3A\x1b[J");
    assert_eq!(screen.erase(10), None);
}

#[test]
fn what_goes_to_a_file_leaves_the_view_where_it_is() {
    let mut terminal = in_the_middle(80, 24);
    let (mut file, writer) = std::io::pipe().unwrap();
    let mut plain = PlainReporter::new(
        Pipe::new(writer.into(), || false),
        Pipe::new(
            {
                let (reader, writer) = std::io::pipe().unwrap();
                rustix::fs::fcntl_setfl(&reader, rustix::fs::OFlags::NONBLOCK).unwrap();
                terminal.written = reader;
                writer.into()
            },
            || false,
        ),
        Terminals {
            stdout: false,
            stderr: true,
        },
    );
    plain.record = std::mem::take(&mut terminal.script.record);
    let size = || Some(Size { columns: 80, lines: 24 });
    terminal.live = Live::new(plain, Box::new(size), terminal.now);
    terminal.screen = screen(80, 24);
    terminal.wait(QUIET);
    assert!(terminal.shows_view());
    terminal.output("to the file, \x1b[31munfinished");
    assert!(terminal.shows_view(), "it is not taken away");
    terminal.wait(QUIET * 3);
    assert!(
        terminal.shown().contains("to the file, unfinished"),
        "{}",
        terminal.shown()
    );
    drop(terminal);
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "to the file, \x1b[31munfinished");
}

#[test]
fn colours_that_a_tool_leaves_on_do_not_reach_devshells_words() {
    let mut terminal = in_the_middle(80, 24);
    terminal.output("\x1b[31mred\n");
    terminal.wait(QUIET * 3);
    assert!(
        !terminal.shows_view(),
        "a view would be red, or the rest of the tool's text would not"
    );
    terminal.tell(|script| script.ended("t", 1, Some(0), None, 10));
    terminal.wait(QUIET);
    let screen = terminal.screen.screen();
    let cell = |text: &str| {
        let row = terminal.shown().lines().position(|line| line.contains(text)).unwrap();
        screen.cell(u16::try_from(row).unwrap(), 0).unwrap().fgcolor()
    };
    assert_eq!(cell("red"), vt100::Color::Idx(1));
    assert_eq!(cell("devshell: [2/3] t ok"), vt100::Color::Default);
    assert!(terminal.shows_view());
}

#[test]
fn the_last_line_has_no_colours_and_without_colours_nothing_has() {
    for paint in [Paint::new(true), Paint::default()] {
        let mut terminal = Terminal::with(&["first", "t", "last"], 80, 24, paint, true);
        terminal.tell(|script| script.tool("t", ToolOutcome::Failed, 10));
        terminal.wait(QUIET * 2);
        terminal.tell(|script| script.finished(Class::Tool, 1, Some("t"), None));
        let text = String::from_utf8(terminal.bytes).unwrap();
        let last = text.lines().last().unwrap();
        assert!(last.starts_with("devshell: class=tool"), "{last:?}");
        let coloured = text.contains("m") && text.contains("\x1b[1m\x1b[31merror\x1b[0m");
        assert_eq!(coloured, paint == Paint::new(true), "{text:?}");
        if paint == Paint::default() {
            let sequences: Vec<&str> = text.split("\x1b[").skip(1).collect();
            assert!(sequences.iter().all(|rest| {
                !rest
                    .trim_start_matches(|c: char| c.is_ascii_digit() || c == ';')
                    .starts_with('m')
            }));
        }
    }
}

/// What a tool may write: text, unfinished lines, colours, bars.
fn piece() -> impl Strategy<Value = (&'static str, u64)> {
    let text = prop::sample::select(vec![
        "word",
        "word\n",
        "a line of some length, longer than narrow terminals are wide\n",
        "\n",
        "\x1b[32mgreen",
        "\x1b[0m",
        "\x1b[32mgreen\x1b[0m\n",
        "\r\x1b[K",
        "one\ntwo\nthree\n\x1b[2Anew\x1b[K\n\n",
        "日本語\n",
        "\x1b]0;title\x07",
    ]);
    (text, 0..500_u64)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whatever_is_written_when_the_screen_ends_as_it_would_without_a_view(
        pieces in prop::collection::vec(piece(), 1..40),
        columns in 12..100_u16,
        lines in 8..30_u16,
    ) {
        let run = |has_view| {
            let mut terminal = Terminal::with(&["first", "t", "last"], columns, lines, Paint::default(), has_view);
            terminal.tell(|script| script.started("t", 1));
            for (text, wait) in &pieces {
                terminal.output(text);
                terminal.wait(Duration::from_millis(*wait));
            }
            terminal.tell(|script| script.ended("t", 1, Some(0), None, 10));
            terminal.tell(|script| script.finished(Class::Ok, 0, None, None));
            terminal.history()
        };
        prop_assert_eq!(run(true), run(false));
    }
}

#[test]
fn a_warning_while_the_view_is_there_stands_above_it() {
    let mut terminal = in_the_middle(80, 24);
    terminal.wait(QUIET * 3);
    let message = "interrupted: asked to end".to_owned();
    let event = Event {
        v: 1,
        t_ms: 5000,
        body: EventBody::Warning { message },
    };
    terminal.live.emit(&event, terminal.now).unwrap();
    terminal.wait(QUIET * 3);
    let shown = terminal.shown();
    let (warning, view) = (shown.find("warning: interrupted").unwrap(), shown.find("/3  ").unwrap());
    assert!(warning < view, "{shown}");
}
