//! Who is connected.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::bell::Bell;
use super::connection::Connection;

/// How many clients may be connected that have not made their handshake.
pub(super) const MOST_PENDING: usize = 64;

/// All connections, by their number: the oldest first.
#[derive(Debug)]
pub(super) struct Registry {
    state: Mutex<State>,
    changed: Condvar,
    /// Rung when one has ended.
    bell: Arc<Bell>,
    next: AtomicU64,
}

#[derive(Debug)]
struct State {
    connections: BTreeMap<u64, Entry>,
    empty_since: Instant,
}

#[derive(Debug)]
struct Entry {
    connection: Arc<Connection>,
    is_established: bool,
}

impl Registry {
    pub(super) fn new(bell: Arc<Bell>) -> Self {
        Self {
            state: Mutex::new(State {
                connections: BTreeMap::new(),
                empty_since: Instant::now(),
            }),
            changed: Condvar::new(),
            bell,
            next: AtomicU64::new(1),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number that no other connection has had.
    pub(super) fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// One more, without a handshake so far. Who has been there longest without one has to go when
    /// there are too many: a flood of silent clients keeps nobody out who speaks.
    pub(super) fn add(&self, connection: &Arc<Connection>) {
        let mut state = self.lock();
        let entry = Entry {
            connection: Arc::clone(connection),
            is_established: false,
        };
        state.connections.insert(connection.number(), entry);
        let pending = state.connections.values().filter(|entry| !entry.is_established);
        let excess = pending.clone().count().saturating_sub(MOST_PENDING);
        for entry in pending.take(excess) {
            entry.connection.end();
        }
    }

    /// Waits until those that were told to go have gone: false when it takes too long.
    pub(super) fn wait_for_room(&self, most: usize, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        let mut state = self.lock();
        while state.connections.len() >= most + 2 * MOST_PENDING {
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

    /// It has made its handshake; false when there are as many as may be already.
    pub(super) fn establish(&self, number: u64, most: usize) -> bool {
        let mut state = self.lock();
        let established = state.connections.values().filter(|entry| entry.is_established).count();
        match state.connections.get_mut(&number) {
            Some(entry) if established < most => {
                entry.is_established = true;
                true
            }
            _ => false,
        }
    }

    pub(super) fn remove(&self, number: u64) {
        let mut state = self.lock();
        state.connections.remove(&number);
        if state.connections.is_empty() {
            state.empty_since = Instant::now();
        }
        self.changed.notify_all();
        self.bell.ring();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().connections.is_empty()
    }

    /// Since when there is nobody; none while there is somebody.
    pub(super) fn empty_since(&self) -> Option<Instant> {
        let state = self.lock();
        state.connections.is_empty().then_some(state.empty_since)
    }

    /// All that are there.
    pub(super) fn all(&self) -> Vec<Arc<Connection>> {
        let state = self.lock();
        state
            .connections
            .values()
            .map(|entry| Arc::clone(&entry.connection))
            .collect()
    }
}
