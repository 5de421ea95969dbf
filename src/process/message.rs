//! The one channel that a running tool, its output and the signals feed.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

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
/// works: walks ask [`Cancel::is_raised`] at each entry, a waiting loop is woken by a message.
///
/// A clone shares the signals; [`Cancel::until`] and [`Cancel::second`] narrow what a clone
/// takes for a wish to stop.
#[derive(Clone, Default)]
pub struct Cancel {
    inner: Arc<CancelInner>,
    deadline: Option<Instant>,
    seen: usize,
}

/// What is done at each wish.
type Hook = Box<dyn Fn() + Send>;

#[derive(Default)]
struct CancelInner {
    count: AtomicUsize,
    first: AtomicUsize,
    waker: Mutex<Option<SyncSender<Message>>>,
    hook: Mutex<Option<Hook>>,
    grace: Mutex<Option<Duration>>,
    attention: Mutex<Attention>,
}

/// What the waiting loop has already acted on.
#[derive(Default)]
struct Attention {
    count: usize,
    alarm: Option<Instant>,
}

impl Cancel {
    /// A wish that nobody has made yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same wish, which also counts as made once `deadline` has passed.
    #[must_use]
    pub fn until(&self, deadline: Option<Instant>) -> Self {
        Self {
            deadline,
            ..self.clone()
        }
    }

    /// The same wish, for work that a first signal asks for or at least does not make useless,
    /// such as keeping what there is: only a further one counts.
    #[must_use]
    pub fn second(&self) -> Self {
        Self {
            seen: self.count().max(1),
            ..self.clone()
        }
    }

    /// Records one more signal and wakes the loop that waits.
    pub fn raise(&self, signal: i32) {
        let signal = usize::try_from(signal).unwrap_or(0);
        let _ = self
            .inner
            .first
            .compare_exchange(0, signal, Ordering::SeqCst, Ordering::SeqCst);
        self.stop();
    }

    /// As [`Self::raise`], for a wish that no signal brought.
    pub fn stop(&self) {
        self.inner.count.fetch_add(1, Ordering::SeqCst);
        if let Some(waker) = self.inner.waker.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            // A full channel means that the loop is awake and looks at the count anyway.
            let _ = waker.try_send(Message::Wake);
        }
        if let Some(hook) = self.inner.hook.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            hook();
        }
    }

    /// As [`Self::stop`], with a time between the polite stop and the kill in place of the limits'.
    pub fn stop_within(&self, grace: Duration) {
        *self.inner.grace.lock().unwrap_or_else(PoisonError::into_inner) = Some(grace);
        self.stop();
    }

    /// What the wish itself says of that time.
    pub(super) fn grace(&self) -> Option<Duration> {
        *self.inner.grace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many signals have come.
    #[must_use]
    pub fn count(&self) -> usize {
        self.inner.count.load(Ordering::SeqCst)
    }

    /// Whether the work at hand is to stop: a signal has come, or the deadline has passed.
    #[must_use]
    pub fn is_raised(&self) -> bool {
        self.count() > self.seen || self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// The number of the first signal that came.
    #[must_use]
    pub fn signal(&self) -> Option<i32> {
        match self.inner.first.load(Ordering::SeqCst) {
            0 => None,
            signal => i32::try_from(signal).ok(),
        }
    }

    /// The waiting loop has acted on `count` signals and wants to be back at its wait by `alarm`.
    pub(super) fn attended(&self, count: usize, alarm: Option<Instant>) {
        *self.inner.attention.lock().unwrap_or_else(PoisonError::into_inner) = Attention { count, alarm };
    }

    /// Whether the waiting loop is wanted for something else: whoever writes what it hands out,
    /// to a reader that does not read, has to let it go.
    #[must_use]
    pub fn wants_attention(&self) -> bool {
        let attention = self.inner.attention.lock().unwrap_or_else(PoisonError::into_inner);
        self.count() > attention.count || attention.alarm.is_some_and(|alarm| Instant::now() >= alarm)
    }

    /// What to call at each further wish; on the thread that brings it, so it must be short.
    pub fn at_each(&self, hook: Option<Box<dyn Fn() + Send>>) {
        *self.inner.hook.lock().unwrap_or_else(PoisonError::into_inner) = hook;
    }

    /// Whom to wake from now on.
    pub fn wake(&self, waker: Option<SyncSender<Message>>) {
        *self.inner.waker.lock().unwrap_or_else(PoisonError::into_inner) = waker;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_signal_is_remembered_and_all_are_counted() {
        let cancel = Cancel::new();
        assert_eq!((cancel.signal(), cancel.is_raised()), (None, false));
        cancel.raise(15);
        cancel.clone().raise(2);
        assert_eq!((cancel.signal(), cancel.count()), (Some(15), 2));
    }

    #[test]
    fn work_caused_by_a_signal_stops_only_at_the_next_one() {
        let cancel = Cancel::new();
        let before = cancel.second();
        cancel.raise(2);
        let later = cancel.second();
        assert!(cancel.is_raised() && !before.is_raised() && !later.is_raised());
        cancel.raise(2);
        assert!(before.is_raised() && later.is_raised());
    }

    #[test]
    fn a_passed_deadline_counts_as_a_wish_without_a_signal() {
        let late = Cancel::new().until(Some(Instant::now()));
        assert!(late.is_raised());
        assert_eq!((late.signal(), late.count()), (None, 0));
    }
}
