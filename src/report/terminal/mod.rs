//! The reporter for people at a terminal: what the plain one says, in colour, with a live view
//! below it while nothing is written.

mod cursor;
mod live;
mod screen;
mod view;

#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use crate::event::{Event, EventSink};
use crate::sys::terminal;

use super::own_lines::OwnLines;
use super::paint::Paint;
use super::pipe::Pipe;
use super::plain::{PlainReporter, Terminals};

use live::{Live, SizeFn};
use view::Size;

/// How the terminal is used.
#[derive(Debug)]
pub struct TerminalStyle {
    /// Colours for devshell's own words.
    pub colours: bool,
    /// The terminal below whose output the live view is shown; none where nothing may move.
    pub view: Option<OwnedFd>,
    /// How devshell's own lines look besides.
    pub own: OwnLines,
}

/// Tools' output as it comes, unchanged; what devshell says in colour; and a live view of all
/// tools below, which is away whenever something is written and when the run has ended.
pub struct TerminalReporter {
    shared: Arc<Shared>,
    clock: Option<JoinHandle<()>>,
}

struct Shared {
    live: Mutex<Live>,
    /// There may be something to draw again.
    woken: Condvar,
}

impl Shared {
    fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Draws as time passes, until the run has ended.
    fn draw(&self) {
        let mut live = self.live();
        while !live.is_over() {
            let wait = live.tick(Instant::now());
            live.is_asleep = wait.is_none();
            live = match wait {
                Some(wait) => {
                    let waited = self.woken.wait_timeout(live, wait);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None if live.is_over() => break,
                None => self.woken.wait(live).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}

impl TerminalReporter {
    /// Reports to these streams.
    #[must_use]
    pub fn new(out: Pipe, err: Pipe, terminals: Terminals, style: TerminalStyle) -> Self {
        let mut plain = PlainReporter::new(out, err, terminals).with_lines(style.own);
        plain.paint = Paint::new(style.colours);
        let has_view = style.view.is_some();
        let size: SizeFn = Box::new(move || {
            let (columns, lines) = terminal::size(style.view.as_ref()?).unwrap_or((80, 24));
            Some(Size { columns, lines })
        });
        let shared = Arc::new(Shared {
            live: Mutex::new(Live::new(plain, size, Instant::now())),
            woken: Condvar::new(),
        });
        let drawn = Arc::clone(&shared);
        let clock = std::thread::Builder::new().name("devshell-view".to_owned());
        Self {
            // Without the thread there is no view, and that is all.
            clock: has_view.then(|| clock.spawn(move || drawn.draw()).ok()).flatten(),
            shared,
        }
    }
}

impl EventSink for TerminalReporter {
    fn emit(&mut self, event: &Event) -> io::Result<()> {
        let mut live = self.shared.live();
        let emitted = live.emit(event, Instant::now());
        let wakes = live.is_over() || (live.is_asleep && live.may_be_shown());
        drop(live);
        if wakes {
            self.shared.woken.notify_one();
        }
        emitted
    }
}

impl Drop for TerminalReporter {
    fn drop(&mut self) {
        self.shared.live().end();
        self.shared.woken.notify_one();
        if let Some(clock) = self.clock.take() {
            let _ = clock.join();
        }
    }
}
