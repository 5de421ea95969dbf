//! The one loop that waits for a tool: its output, its end, deadlines and the wish to stop.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::event::Stream;

use super::{Cancel, Message, Running, ToolEnd, ToolExit};

/// How long streams may stay open after the tool and all it started have ended: then somebody
/// out of reach holds them.
const LEAK: Duration = Duration::from_millis(500);
/// How much may still come after that end: more than pipes hold, so it is not the tool's.
const LEAK_BYTES: usize = 8 << 20;
/// How long the end may take after SIGKILL.
pub(crate) const LOST: Duration = Duration::from_secs(10);

/// When a tool is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Of this tool.
    pub timeout: Option<Duration>,
    /// Since its last output.
    pub no_output_timeout: Option<Duration>,
    /// Between the polite stop and the kill; zero kills at once.
    pub grace: Duration,
    /// Of the whole run.
    pub deadline_of_run: Option<RunDeadline>,
}

/// When the whole run is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunDeadline {
    /// The moment.
    pub at: Instant,
    /// The run's timeout that led to it, for the words.
    pub timeout: Duration,
}

/// A stage of the stop has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage<'a> {
    /// Everything that the tool started has been asked to end.
    Stopping {
        /// Which deadline, or "interrupted".
        why: &'a str,
        /// How long it may take.
        grace: Duration,
    },
    /// Everything is being killed.
    Killing {
        /// As above.
        why: &'a str,
        /// Because the time is over that it was given; else at once.
        late: bool,
    },
}

/// Waits for the end of a tool, hands on its output as it comes, and stops it when a limit is
/// reached or the caller wishes it: the first wish politely, the second at once.
///
/// The caller registers the channel with [`Cancel::wake`]. A tool that ended with success in
/// spite of a wish to stop has succeeded; what the run makes of it is the caller's affair.
pub fn supervise(
    running: Box<dyn Running>,
    messages: &Receiver<Message>,
    limits: &Limits,
    cancel: &Cancel,
    on_output: &mut dyn FnMut(Stream, Vec<u8>),
    on_stage: &mut dyn FnMut(Stage),
) -> ToolEnd {
    let mut watch = Watch::new(running, limits);
    let end = loop {
        watch.advance(cancel, on_stage);
        if watch.is_lost() {
            return lost("the tool does not end although it was killed");
        }
        match receive(messages, watch.next_deadline()) {
            Ok(Message::Output(stream, bytes)) => {
                on_output(stream, bytes);
                // After the output was handed on: a slow reader is not the tool's silence.
                watch.last_output = Instant::now();
            }
            Ok(Message::Closed(_)) => watch.open = watch.open.saturating_sub(1),
            Ok(Message::Ended(end)) => break end,
            Ok(Message::Wake) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return lost("nothing reports on the tool any more"),
        }
    };
    let alarm = match watch.why {
        Some(_) => Instant::now().checked_add(LEAK),
        None => limits.deadline_of_run.map(|run| run.at),
    };
    cancel.attended(cancel.count(), alarm);
    let leaked = drain(messages, watch.open, on_output);
    cancel.attended(cancel.count(), None);
    ToolEnd {
        exit: watch.judge(end.exit),
        leaked: leaked || end.leaked,
        ..end
    }
}

fn lost(how: &str) -> ToolEnd {
    ToolEnd {
        exit: ToolExit::Lost(how.to_owned()),
        survivors: Vec::new(),
        leaked: false,
    }
}

fn receive(messages: &Receiver<Message>, deadline: Option<Instant>) -> Result<Message, RecvTimeoutError> {
    match deadline {
        Some(deadline) => messages.recv_timeout(deadline.saturating_duration_since(Instant::now())),
        None => messages.recv().map_err(|_| RecvTimeoutError::Disconnected),
    }
}

/// The rest of the output after the end; true when it did not come to its own end.
fn drain(messages: &Receiver<Message>, mut open: usize, on_output: &mut dyn FnMut(Stream, Vec<u8>)) -> bool {
    // Only the waiting counts, not what the output takes on its way out.
    let mut patience = LEAK;
    let mut bytes_left = LEAK_BYTES;
    while open > 0 {
        let before = Instant::now();
        let message = messages.recv_timeout(patience);
        patience = patience.saturating_sub(before.elapsed());
        match message {
            Ok(Message::Output(stream, bytes)) => {
                let Some(left) = bytes_left.checked_sub(bytes.len()) else {
                    return true;
                };
                bytes_left = left;
                on_output(stream, bytes);
            }
            Ok(Message::Closed(_)) => open -= 1,
            Ok(Message::Ended(_) | Message::Wake) => {}
            Err(_) => return true,
        }
    }
    false
}

/// Why a tool is being stopped.
enum Why {
    /// By a signal, or, without one, because the run cannot go on.
    Cancelled(Option<i32>),
    Deadline(String),
}

impl Why {
    fn text(&self) -> &str {
        match self {
            Self::Cancelled(Some(_)) => "interrupted",
            Self::Cancelled(None) => "the run is given up",
            Self::Deadline(text) => text,
        }
    }
}

enum Progress {
    Running,
    /// Until then it may end by itself; none is a moment beyond the clock's end.
    Stopping(Option<Instant>),
    /// Since then it has been killed.
    Killing(Instant),
}

struct Watch<'a> {
    running: Box<dyn Running>,
    limits: &'a Limits,
    started: Instant,
    last_output: Instant,
    open: usize,
    why: Option<Why>,
    progress: Progress,
}

impl<'a> Watch<'a> {
    fn new(running: Box<dyn Running>, limits: &'a Limits) -> Self {
        let now = Instant::now();
        Self {
            running,
            limits,
            started: now,
            last_output: now,
            open: 2,
            why: None,
            progress: Progress::Running,
        }
    }

    /// Goes to the stage that is due.
    fn advance(&mut self, cancel: &Cancel, on_stage: &mut dyn FnMut(Stage)) {
        let now = Instant::now();
        let signals = cancel.count();
        if let Progress::Running = self.progress
            && let Some(why) = if cancel.is_raised() {
                Some(Why::Cancelled(cancel.signal()))
            } else {
                self.passed(now)
            }
        {
            let wished = matches!(why, Why::Cancelled(_)).then(|| cancel.grace()).flatten();
            let why = self.why.insert(why).text();
            let grace = wished.unwrap_or(self.limits.grace);
            self.progress = Progress::Stopping(now.checked_add(grace));
            if !grace.is_zero() && cancel.count() < 2 {
                self.running.terminate();
                on_stage(Stage::Stopping { why, grace });
            }
        }
        // Whoever has seen a tool being stopped for its deadline need not ask twice.
        let heard = usize::from(matches!(self.why, Some(Why::Cancelled(_))));
        if let Progress::Stopping(until) = self.progress
            && (until.is_some_and(|until| until <= now) || cancel.count() > heard)
        {
            self.progress = Progress::Killing(now);
            self.running.kill();
            on_stage(Stage::Killing {
                why: self.why.as_ref().map_or("", Why::text),
                late: cancel.count() <= heard && !self.limits.grace.is_zero(),
            });
        }
        // Once it is being stopped, a reader that does not read is not worth a wait.
        let alarm = match self.progress {
            Progress::Running => self.next_deadline(),
            Progress::Stopping(_) | Progress::Killing(_) => Some(now),
        };
        cancel.attended(signals, alarm);
    }

    /// The moments at which a running tool has to be stopped.
    fn deadlines(&self) -> [Option<Instant>; 3] {
        [
            self.limits
                .timeout
                .and_then(|timeout| self.started.checked_add(timeout)),
            self.limits
                .no_output_timeout
                .and_then(|timeout| self.last_output.checked_add(timeout)),
            self.limits.deadline_of_run.map(|deadline| deadline.at),
        ]
    }

    /// The earliest deadline that has passed, in words.
    fn passed(&self, now: Instant) -> Option<Why> {
        let (first, at) = self
            .deadlines()
            .into_iter()
            .enumerate()
            .filter_map(|(n, at)| Some((n, at?)))
            .min_by_key(|d| d.1)?;
        if at > now {
            return None;
        }
        let text = |duration: Option<Duration>| humantime::format_duration(duration.unwrap_or_default()).to_string();
        Some(Why::Deadline(match first {
            0 => format!("timeout after {}", text(self.limits.timeout)),
            1 => format!("no output for {}", text(self.limits.no_output_timeout)),
            _ => format!(
                "the run's timeout of {} passed",
                text(self.limits.deadline_of_run.map(|run| run.timeout))
            ),
        }))
    }

    fn next_deadline(&self) -> Option<Instant> {
        match self.progress {
            Progress::Running => self.deadlines().into_iter().flatten().min(),
            Progress::Stopping(until) => until,
            Progress::Killing(since) => since.checked_add(LOST),
        }
    }

    fn is_lost(&self) -> bool {
        matches!(self.progress, Progress::Killing(since) if since.elapsed() >= LOST)
    }

    /// What the tool's own end means in view of the stop.
    fn judge(self, exit: ToolExit) -> ToolExit {
        match (self.why, exit) {
            (Some(Why::Deadline(text)), ToolExit::Success | ToolExit::Code(_) | ToolExit::Signal(_)) => {
                ToolExit::TimedOut(text)
            }
            (Some(Why::Cancelled(_)), ToolExit::Code(_) | ToolExit::Signal(_)) => ToolExit::Cancelled,
            (_, exit) => exit,
        }
    }
}

#[cfg(test)]
mod tests;
