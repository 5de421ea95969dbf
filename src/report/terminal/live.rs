//! When the view is there and when it is away.

use std::io;
use std::time::{Duration, Instant};

use crate::event::{Event, EventBody, EventSink as _, Stream};
use crate::report::plain::PlainReporter;

use super::cursor::Cursor;
use super::screen::Screen;
use super::view::{Size, rows};

/// How long nothing may have been written before the view comes: tools that print all the time
/// are not interrupted by it, and short runs not at all.
pub(super) const QUIET: Duration = Duration::from_millis(100);
/// Between two drawings, for the times in it.
const TICK: Duration = Duration::from_millis(200);

/// How large the terminal is now.
pub(super) type SizeFn = Box<dyn Fn() -> Option<Size> + Send>;

/// The reporter and the view, whose clock comes from outside.
pub(super) struct Live {
    plain: PlainReporter,
    screen: Screen,
    cursor: Cursor,
    size: SizeFn,
    /// When something was written last that is not the view.
    written: Instant,
    drawn: Instant,
    /// The last event's time of the run, and when that was.
    clock: (u64, Instant),
    /// The run has ended, or the terminal takes nothing more.
    is_over: bool,
    /// Whether the thread that draws waits for a reason to go on.
    pub(super) is_asleep: bool,
}

impl Live {
    pub(super) fn new(plain: PlainReporter, size: SizeFn, now: Instant) -> Self {
        Self {
            plain,
            screen: Screen::default(),
            cursor: Cursor::default(),
            size,
            written: now,
            drawn: now,
            clock: (0, now),
            is_over: false,
            is_asleep: false,
        }
    }

    /// Reports an event. What it writes to the terminal comes above the view, which is away
    /// meanwhile.
    pub(super) fn emit(&mut self, event: &Event, now: Instant) -> io::Result<()> {
        self.clock = (event.t_ms, now);
        let output = match &event.body {
            EventBody::ToolOutput { stream, data, .. } => Some((self.is_on_screen(*stream), &data.0)),
            body if PlainReporter::is_silent(body) => Some((false, &NOTHING)),
            _ => None,
        };
        if let Some((false, _)) = output {
            // The screen stays as it is; what the view shows changes with its next drawing.
            return self.plain.emit(event);
        }
        let columns = (self.size)().map(|size| size.columns);
        self.erase(columns)?;
        self.plain.columns = columns;
        if output.is_none() && self.cursor.is_coloured() {
            self.plain.err.wipe(b"\x1b[0m")?;
            self.cursor.feed(b"\x1b[0m");
        }
        if matches!(event.body, EventBody::RunFinished { .. }) {
            self.is_over = true;
        }
        let emitted = self.plain.emit(event);
        match output {
            Some((_, bytes)) => self.cursor.feed(bytes),
            None => self.cursor = Cursor::default(),
        }
        self.written = now;
        emitted
    }

    /// Draws the view if it is time for it, and says after which time to look again; `None`:
    /// when something has happened.
    pub(super) fn tick(&mut self, now: Instant) -> Option<Duration> {
        if self.is_over || !self.may_be_shown() {
            return None;
        }
        let due = if self.screen.is_shown() {
            self.drawn + TICK
        } else {
            self.written + QUIET
        };
        if let Some(left) = due.checked_duration_since(now).filter(|left| !left.is_zero()) {
            return Some(left);
        }
        self.drawn = now;
        if self.draw(now).is_err() {
            // Whoever writes next says so.
            self.is_over = true;
            return None;
        }
        Some(TICK)
    }

    /// Whether nothing of a tool would be torn by it.
    pub(super) fn may_be_shown(&self) -> bool {
        self.cursor.is_free()
    }

    /// Takes the view away for good.
    pub(super) fn end(&mut self) {
        let columns = (self.size)().map(|size| size.columns);
        let _ = self.erase(columns);
        self.is_over = true;
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    fn draw(&mut self, now: Instant) -> io::Result<()> {
        let Some(size) = (self.size)() else {
            return Ok(());
        };
        // A reader that is behind gets what tools say, and no pictures.
        if !self.plain.err.catch_up()? {
            return Ok(());
        }
        let (event_ms, at) = self.clock;
        let now_ms = event_ms + u64::try_from(now.duration_since(at).as_millis()).unwrap_or(0);
        let rows = rows(&self.plain.record, now_ms, size, self.plain.paint);
        match self.screen.draw(&rows, size.columns) {
            Some(bytes) => self.plain.err.draw(bytes.as_bytes()),
            None => Ok(()),
        }
    }

    fn erase(&mut self, columns: Option<usize>) -> io::Result<()> {
        match self.screen.erase(columns.unwrap_or(80)) {
            Some(bytes) => self.plain.err.wipe(bytes.as_bytes()),
            None => Ok(()),
        }
    }

    fn is_on_screen(&self, stream: Stream) -> bool {
        match stream {
            Stream::Stdout => self.plain.terminals.stdout,
            Stream::Stderr => self.plain.terminals.stderr,
        }
    }
}

static NOTHING: Vec<u8> = Vec::new();
