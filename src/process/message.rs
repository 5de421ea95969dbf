//! The one channel that a running tool, its output and the signals feed.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};

use crate::event::Stream;

use super::ToolEnd;

/// What arrives while a tool runs.
#[derive(Debug)]
pub enum Message {
    /// Bytes of one stream, in the order in which the tool wrote them.
    Output(Stream, Vec<u8>),
    /// A stream is at its end.
    Closed(Stream),
    /// The tool and everything it started has ended.
    Ended(ToolEnd),
    /// [`Cancel`] was raised; look at it.
    Wake,
}

/// A tool that is running: the levers of the staged stop.
pub trait Running: Send {
    /// Asks everything that the tool started to end (SIGTERM).
    fn terminate(&mut self);
    /// Ends everything that the tool started (SIGKILL).
    fn kill(&mut self);
}

/// The caller's wish to stop, shared between the signal thread and everything that waits or
/// works: walks ask [`Cancel::count`] at each entry, a waiting loop is woken by a message.
#[derive(Clone, Default)]
pub struct Cancel {
    inner: Arc<CancelInner>,
}

#[derive(Default)]
struct CancelInner {
    count: AtomicUsize,
    first: AtomicUsize,
    waker: Mutex<Option<SyncSender<Message>>>,
}

impl Cancel {
    /// A wish that nobody has made yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Records one more signal and wakes the loop that waits.
    pub fn raise(&self, signal: i32) {
        let signal = usize::try_from(signal).unwrap_or(0);
        let _ = self
            .inner
            .first
            .compare_exchange(0, signal, Ordering::SeqCst, Ordering::SeqCst);
        self.inner.count.fetch_add(1, Ordering::SeqCst);
        if let Some(waker) = self.inner.waker.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            // A full channel means that the loop is awake and looks at the count anyway.
            let _ = waker.try_send(Message::Wake);
        }
    }

    /// How many signals have come.
    #[must_use]
    pub fn count(&self) -> usize {
        self.inner.count.load(Ordering::SeqCst)
    }

    /// Whether any signal has come.
    #[must_use]
    pub fn is_raised(&self) -> bool {
        self.count() > 0
    }

    /// The number of the first signal that came.
    #[must_use]
    pub fn signal(&self) -> Option<i32> {
        match self.inner.first.load(Ordering::SeqCst) {
            0 => None,
            signal => i32::try_from(signal).ok(),
        }
    }

    /// Whom to wake from now on.
    pub fn wake(&self, waker: Option<SyncSender<Message>>) {
        *self.inner.waker.lock().unwrap_or_else(PoisonError::into_inner) = waker;
    }
}
