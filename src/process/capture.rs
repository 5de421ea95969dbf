//! What a program says, for devshell's own questions: bounded in time and in bytes.

use std::io;
use std::sync::mpsc;
use std::time::Duration;

use crate::event::Stream;

use super::{Cancel, Keeper, KeeperError, KeeperSpec, Limits, SpawnRequest, ToolExit, supervise};

/// Between the polite stop and the kill of a program that takes too long.
const GRACE: Duration = Duration::from_secs(1);
/// How many messages may wait; each is at most what a pipe holds.
const MESSAGES: usize = 4;

/// How long a program may take and how much of what it says is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CaptureLimits {
    /// After this it is stopped, with everything that it started.
    pub timeout: Duration,
    /// Of each stream; what is more is dropped.
    pub bytes: usize,
}

/// What a program said and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captured {
    /// How it ended; a program that is not found or took too long is an end, too.
    pub exit: ToolExit,
    /// Its stdout, as much as was to be kept.
    pub stdout: Vec<u8>,
    /// Its stderr, as much as was to be kept.
    pub stderr: Vec<u8>,
    /// Whether there was more of either.
    pub cut: bool,
}

/// Why a program could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// There is no process to start it in.
    #[error(transparent)]
    Keeper(#[from] KeeperError),
    /// It could not be handed over.
    #[error("cannot start the program")]
    Start(#[source] io::Error),
}

/// Runs a program on this host, without a view and without a terminal, and gives what it says.
///
/// It has the whole machinery of tools: nothing that it starts outlives the call, also where it
/// daemonizes, and a wish to stop ends it. Not for programs that are to leave something running.
/// `cancel` wakes this call while it waits, and nobody afterwards.
///
/// # Errors
/// [`CaptureError`] when there are no processes or descriptors left.
pub fn capture(request: &SpawnRequest, limits: CaptureLimits, cancel: &Cancel) -> Result<Captured, CaptureError> {
    let mut keeper = Keeper::start(&KeeperSpec::default())?;
    let (sender, messages) = mpsc::sync_channel(MESSAGES);
    cancel.wake(Some(sender.clone()));
    let tool = keeper.spawn(request, sender).map_err(CaptureError::Start)?;
    let mut kept = [Vec::new(), Vec::new()];
    let mut cut = false;
    let mut keep = |stream: Stream, bytes: Vec<u8>| {
        let [stdout, stderr] = &mut kept;
        let kept = match stream {
            Stream::Stdout => stdout,
            Stream::Stderr => stderr,
        };
        let room = limits.bytes.saturating_sub(kept.len()).min(bytes.len());
        cut |= room < bytes.len();
        kept.extend_from_slice(&bytes[..room]);
    };
    let limits_of_tool = Limits {
        timeout: Some(limits.timeout),
        no_output_timeout: None,
        grace: GRACE,
        deadline_of_run: None,
    };
    let end = supervise(
        Box::new(tool),
        &messages,
        &limits_of_tool,
        cancel,
        &mut keep,
        &mut |_| {},
    );
    cancel.wake(None);
    let [stdout, stderr] = kept;
    Ok(Captured {
        exit: end.exit,
        stdout,
        stderr,
        cut,
    })
}
