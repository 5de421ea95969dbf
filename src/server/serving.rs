//! The server's own life: taking clients in, and ending in good order.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::process::Cancel;

use super::bell::Bell;
use super::connection::Connection;
use super::listener::Listener;
use super::log::Log;
use super::old_trees::OldTrees;
use super::peer::{Peer, left};
use super::registry::{MOST_PENDING, Registry};
use super::settings::Settings;
use super::staging::Roots;

/// How long taking clients in pauses when the system has no descriptor, memory or thread left.
const PAUSE: Duration = Duration::from_millis(100);
/// How long the end waits for what was killed.
const LAST_WAIT: Duration = Duration::from_secs(25);
/// How long a new client waits for those that were told to go.
const ROOM: Duration = Duration::from_secs(5);

/// What all connections share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) settings: Settings,
    pub(super) roots: Roots,
    pub(super) log: Log,
    pub(super) registry: Registry,
    pub(super) old_trees: OldTrees,
    ending: AtomicBool,
    /// How many more execs the descriptors of this process allow for.
    slots: AtomicUsize,
}

/// A place for one exec among all of the server.
#[derive(Debug)]
pub(super) struct Slot(Arc<Shared>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.slots.fetch_add(1, Ordering::SeqCst);
    }
}

impl Shared {
    /// A place for one more exec; none when clients would come to lack descriptors.
    pub(super) fn slot(self: &Arc<Self>) -> Option<Slot> {
        let taken = self
            .slots
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |free| free.checked_sub(1));
        taken.is_ok().then(|| Slot(Arc::clone(self)))
    }

    /// Whether nothing more is to be started.
    pub(super) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::SeqCst)
    }
}

/// Why there is no server, or it could not go on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A root cannot be used.
    #[error("the root `{}` cannot be used", path.display())]
    Root {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// What the server itself needs.
    #[error("the server cannot go on")]
    System(#[from] io::Error),
}

/// Where clients come from.
#[derive(Debug)]
pub enum Clients {
    /// Any number of them, from sockets.
    Sockets(Vec<Listener>),
    /// One, on two descriptors; the server ends with it.
    Stdio {
        /// What it says.
        input: OwnedFd,
        /// What it is told.
        output: OwnedFd,
    },
}

/// Serves until it is told to end: by the first wish of `cancel` running execs are left their
/// grace and then stopped, by the second they are killed. Also ends with its only client, and
/// when nobody has been there for the time that the settings say.
///
/// # Errors
/// [`ServeError`].
pub fn serve(clients: Clients, settings: Settings, cancel: &Cancel, log: Log) -> Result<(), ServeError> {
    let roots = Roots::open(&settings.roots).map_err(|(path, source)| ServeError::Root { path, source })?;
    let bell = Arc::new(Bell::new()?);
    let shared = Arc::new(Shared {
        slots: AtomicUsize::new(slots(settings.max_connections)),
        settings,
        roots,
        log,
        registry: Registry::new(Arc::clone(&bell)),
        old_trees: OldTrees::default(),
        ending: AtomicBool::new(false),
    });
    let (sender, wishes) = sync_channel(4);
    cancel.wake(Some(sender));
    let rung = Arc::clone(&bell);
    std::thread::Builder::new()
        .name("devshell-vm-wish".to_owned())
        .spawn(move || {
            for _ in wishes {
                rung.ring();
            }
        })?;
    shared.forget_old_trees();
    let server = Server { shared, bell, cancel };
    let served = match clients {
        Clients::Sockets(listeners) => server.take_in(&listeners),
        Clients::Stdio { input, output } => server.serve_one(Peer::pipes(input, output)),
    };
    // The sockets are closed, and their files gone, before the last clients are waited for.
    server.end();
    cancel.wake(None);
    served.map_err(ServeError::System)
}

struct Server<'a> {
    shared: Arc<Shared>,
    bell: Arc<Bell>,
    cancel: &'a Cancel,
}

impl Server<'_> {
    fn serve_one(&self, peer: Peer) -> io::Result<()> {
        self.admit(peer)?;
        while self.cancel.count() == 0 && !self.shared.registry.is_empty() {
            self.wait(&[], None)?;
        }
        Ok(())
    }

    /// Until it is told to end, or nobody comes any more.
    fn take_in(&self, listeners: &[Listener]) -> io::Result<()> {
        while self.cancel.count() == 0 {
            let idle_until = match (self.shared.settings.idle_exit, self.shared.registry.empty_since()) {
                (Some(limit), Some(since)) => since.checked_add(limit),
                _ => None,
            };
            if idle_until.is_some_and(|until| until <= Instant::now()) {
                self.shared.log.info("idle", &[]);
                return Ok(());
            }
            for index in self.wait(listeners, idle_until)? {
                if let Some(listener) = listeners.get(index) {
                    self.take(listener)?;
                }
            }
        }
        Ok(())
    }

    /// Waits for clients, the bell, or the moment; gives which sockets have clients.
    fn wait(&self, listeners: &[Listener], until: Option<Instant>) -> io::Result<Vec<usize>> {
        let mut watched: Vec<_> = listeners
            .iter()
            .map(|listener| PollFd::from_borrowed_fd(listener.as_fd(), PollFlags::IN))
            .collect();
        watched.push(PollFd::from_borrowed_fd(self.bell.as_fd(), PollFlags::IN));
        let limit: Option<Timespec> = until.map(left);
        match poll(&mut watched, limit.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        }
        let mut ready: Vec<_> = watched
            .iter()
            .enumerate()
            .filter(|(_, fd)| !fd.revents().is_empty())
            .map(|(index, _)| index)
            .collect();
        if ready.last() == Some(&listeners.len()) {
            self.bell.silence();
            ready.pop();
        }
        Ok(ready)
    }

    /// Takes in the next client of a socket.
    fn take(&self, listener: &Listener) -> io::Result<()> {
        let settings = &self.shared.settings;
        match listener.accept() {
            Ok(Some(peer)) => {
                if let Some(uid) = listener.stranger(&peer, &settings.allow_uids) {
                    self.shared.log.warn("stranger", &[("uid", &uid)]);
                    return Ok(());
                }
                if let Err(error) = self.admit(peer) {
                    self.shared.log.warn("not_admitted", &[("why", &error)]);
                    std::thread::sleep(PAUSE);
                }
                self.shared.registry.wait_for_room(settings.max_connections, ROOM);
            }
            Ok(None) => {}
            // Not for ever; and to ask at once again would only burn time.
            Err(error) if is_shortage(&error) => {
                self.shared.log.warn("not_accepted", &[("why", &error)]);
                std::thread::sleep(PAUSE);
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn admit(&self, peer: Peer) -> io::Result<()> {
        let registry = &self.shared.registry;
        let connection = Connection::new(registry.number(), peer, Arc::clone(&self.shared))?;
        registry.add(&connection);
        let number = connection.number();
        let spawned = std::thread::Builder::new()
            .name(format!("devshell-vm-{number}"))
            .spawn(move || connection.serve());
        if let Err(error) = spawned {
            registry.remove(number);
            return Err(error);
        }
        Ok(())
    }

    /// Lets what runs end, then stops it, then kills it.
    fn end(&self) {
        self.shared.ending.store(true, Ordering::SeqCst);
        let registry = &self.shared.registry;
        for connection in registry.all() {
            connection.end();
        }
        if registry.is_empty() {
            return;
        }
        let grace = self.shared.settings.grace;
        self.shared.log.info(
            "ending",
            &[
                ("grace", &humantime::format_duration(grace)),
                ("connections", &registry.all().len()),
            ],
        );
        let wishes = self.cancel.count();
        if self.wait_until_empty(grace, wishes) {
            return;
        }
        for connection in registry.all() {
            connection.execs().stop_all();
            connection.outbox().nudge();
        }
        if self.wait_until_empty(grace, wishes) {
            return;
        }
        for connection in registry.all() {
            connection.execs().kill_all();
            connection.outbox().nudge();
        }
        if !self.wait_until_empty(LAST_WAIT, usize::MAX) {
            self.shared
                .log
                .warn("left_behind", &[("connections", &registry.all().len())]);
        }
    }

    /// Whether nobody is there any more; a further wish ends the wait.
    fn wait_until_empty(&self, patience: Duration, wishes: usize) -> bool {
        let until = Instant::now() + patience;
        while !self.shared.registry.is_empty() {
            if Instant::now() >= until || self.cancel.count() > wishes.max(1) {
                return false;
            }
            if self.wait(&[], Some(until)).is_err() {
                return false;
            }
        }
        true
    }
}

/// How many execs there may be at once in view of the limit of descriptors.
fn slots(connections: usize) -> usize {
    /// Of an exec: its pipes and what belongs to its keeper.
    const EXEC: usize = 8;
    /// Of a client with a session and its spare keepers, and of one without a handshake.
    const CLIENT: usize = 7;
    const PENDING: usize = 2;
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let limit = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let clients = connections * CLIENT + 3 * MOST_PENDING * PENDING + 32;
    (limit.saturating_sub(clients) / EXEC).max(connections.min(8))
}

/// Whether the system is short of something that comes back.
fn is_shortage(error: &io::Error) -> bool {
    [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}
