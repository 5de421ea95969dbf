//! The thread that turns SIGINT, SIGTERM and SIGHUP into the wish to stop.

use std::io;
use std::thread::JoinHandle;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

use crate::sys::signals::is_ignored;

use super::Cancel;

/// Forwards signals as long as it lives. The handlers stay afterwards, so that a late Ctrl-C does
/// not tear what is being finished.
#[derive(Debug)]
pub struct SignalThread {
    handle: Handle,
    thread: Option<JoinHandle<()>>,
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
    let thread = std::thread::Builder::new()
        .name("devshell-signals".to_owned())
        .spawn(move || {
            for signal in signals.forever() {
                cancel.raise(signal);
            }
        })?;
    Ok(SignalThread {
        handle,
        thread: Some(thread),
    })
}

impl Drop for SignalThread {
    fn drop(&mut self) {
        self.handle.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
