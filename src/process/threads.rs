//! Threads, on a machine that may have none left to give.

use std::io;

/// What a system means that refuses one more process or thread with EAGAIN.
pub(super) const NO_MORE: &str = "this user can have no more processes and threads: end some of them or raise the limit \
                                  (`ulimit -u`, pids.max of the cgroup)";

/// Starts a thread. A limit of the system is said with its remedy: its own words for it are "try again".
pub(crate) fn start(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(work);
    thread.map(drop).map_err(explained)
}

fn explained(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => io::Error::new(error.kind(), NO_MORE),
        _ => error,
    }
}
