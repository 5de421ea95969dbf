//! What a sidecar said, for messages.

use crate::sidecar::Reply;

/// How much of what is not the protocol is shown.
const SHOWN: usize = 120;

/// The beginning of what came, fit to be printed.
pub(in crate::session) fn shown(line: &[u8]) -> String {
    let head = line.get(..SHOWN).unwrap_or(line);
    let more = if head.len() < line.len() { "…" } else { "" };
    format!("`{}{more}`", head.escape_ascii())
}

/// A reply in a word.
pub(in crate::session) fn of_reply(reply: &Reply) -> String {
    match reply {
        Reply::HandshakeOk(_) => "handshake_ok".to_owned(),
        Reply::SessionOk(_) => "session_ok".to_owned(),
        Reply::SyncOk(_) => "sync_ok".to_owned(),
        Reply::ExecResult(_) => "exec_result".to_owned(),
        Reply::ExecOutput(_) => "exec_output".to_owned(),
        Reply::ExecStdinTaken(_) => "exec_stdin_taken".to_owned(),
        Reply::GuestFsOk(_) => "guest_fs_ok".to_owned(),
        Reply::GuestFsError(error) => format!("guest_fs_error {}: {}", error.code, error.message),
        Reply::FsData(_) => "fs_data".to_owned(),
        Reply::ShutdownOk(_) => "shutdown_ok".to_owned(),
        Reply::Error(error) => format!("error {}: {}", error.code, error.message),
        Reply::TransferOk(_) => "transfer_ok".to_owned(),
        Reply::TransferData(_) => "transfer_data".to_owned(),
        Reply::Ping => "ping".to_owned(),
    }
}
