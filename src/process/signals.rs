//! The thread that turns SIGINT, SIGTERM and SIGHUP into the wish to stop.

use std::io;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

use crate::sys::signals::is_ignored;

use super::{Cancel, threads};

/// Forwards signals as long as it lives. The handlers stay afterwards, so that a late Ctrl-C does
/// not tear what is being finished.
#[derive(Debug)]
pub struct SignalThread {
    handle: Handle,
}

/// Raises `cancel` with each SIGINT, SIGTERM and SIGHUP from now on. A signal that was ignored
/// when the program started stays so: nohup(1) and background jobs of plain shells mean it.
///
/// # Errors
/// When the handlers or the thread cannot be had.
pub fn forward_to(cancel: Cancel) -> io::Result<SignalThread> {
    let wanted = [SIGINT, SIGTERM, SIGHUP]
        .into_iter()
        .filter(|&signal| !is_ignored(signal));
    let mut signals = Signals::new(wanted)?;
    let handle = signals.handle();
    threads::start("devshell-signals", move || {
        for signal in signals.forever() {
            cancel.raise(signal);
        }
    })?;
    Ok(SignalThread { handle })
}

impl Drop for SignalThread {
    fn drop(&mut self) {
        // The thread ends by itself; nobody needs to wait for it.
        self.handle.close();
    }
}
