//! The execs of one connection.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::process::{Cancel, Signaller};

use super::stdin::Feed;

/// What can be done to an exec while it runs.
#[derive(Clone)]
pub(super) struct Lever {
    pub(super) cancel: Cancel,
    pub(super) signaller: Signaller,
    pub(super) feed: Option<Arc<Feed>>,
}

/// All that run, by id.
#[derive(Default)]
pub(super) struct Execs {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    running: HashMap<u64, Lever>,
    /// Those that run, and those whose result is on its way to the client.
    unfinished: usize,
}

impl Execs {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn begin(&self, id: u64, lever: Lever) {
        let mut state = self.lock();
        state.running.insert(id, lever);
        state.unfinished += 1;
    }

    /// It has ended; its result is still to be said.
    pub(super) fn ended(&self, id: u64) {
        self.lock().running.remove(&id);
    }

    /// Its result has been said.
    pub(super) fn finished(&self) {
        let mut state = self.lock();
        state.unfinished = state.unfinished.saturating_sub(1);
        self.changed.notify_all();
    }

    pub(super) fn get(&self, id: u64) -> Option<Lever> {
        self.lock().running.get(&id).cloned()
    }

    /// Whether `most` run, or as many more have results that nobody takes. Who has heard a result may begin the next
    /// exec at once: those whose results are on their way do not count as running.
    pub(super) fn are_full(&self, most: usize) -> bool {
        let state = self.lock();
        state.running.len() >= most || state.unfinished >= most.saturating_mul(2)
    }

    /// How many are unfinished.
    pub(super) fn unfinished(&self) -> usize {
        self.lock().unfinished
    }

    /// Stops all politely; those that are being stopped already are killed.
    pub(super) fn stop_all(&self) {
        for lever in self.lock().running.values() {
            lever.cancel.stop();
        }
    }

    /// Kills all.
    pub(super) fn kill_all(&self) {
        for lever in self.lock().running.values() {
            lever.cancel.stop();
            lever.cancel.stop();
        }
    }

    /// Waits until all are finished; false when they are not in time.
    pub(super) fn wait(&self, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        let mut state = self.lock();
        while state.unfinished > 0 {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        true
    }
}
