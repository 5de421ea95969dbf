//! What is done to an exec that runs: signals, its end, its input. An exec that is unknown has ended, which is no fault.

use std::time::Duration;

use crate::sidecar::{ExecCancel, ExecSignal, ExecStdin};

use super::connection::Connection;
use super::refusal::Refusal;

/// Sends a signal to the process group of a tool.
pub(super) fn signal(connection: &Connection, request: &ExecSignal) -> Result<(), Refusal> {
    let Some(signal) = i32::try_from(request.signal)
        .ok()
        .filter(|signal| (1..=64).contains(signal))
    else {
        return Err(Refusal::bad_request(format!("there is no signal {}", request.signal)));
    };
    if let Some(lever) = connection.execs().get(request.id) {
        lever.signaller.signal(signal);
    }
    Ok(())
}

/// Stops a tool and everything that it started.
pub(super) fn cancel(connection: &Connection, request: &ExecCancel) {
    if let Some(lever) = connection.execs().get(request.id) {
        match request.grace_ms {
            Some(millis) => lever.cancel.stop_within(Duration::from_millis(millis)),
            None => lever.cancel.stop(),
        }
        connection.outbox().nudge();
    }
}

/// Hands input on to a tool.
pub(super) fn stdin(connection: &Connection, request: &ExecStdin, raw: Vec<u8>) -> Result<(), Refusal> {
    let Some(lever) = connection.execs().get(request.id) else {
        return Ok(());
    };
    let Some(feed) = lever.feed else {
        return Err(Refusal::bad_request(format!(
            "the exec {} reads /dev/null (it was not started with `stdin`)",
            request.id
        )));
    };
    if feed.take(raw, request.eof) {
        return Ok(());
    }
    Err(Refusal::bad_request(format!(
        "exec_stdin of {}: more than {} bytes are under way, or it came after the end",
        request.id,
        crate::sidecar::STDIN_WINDOW
    )))
}
