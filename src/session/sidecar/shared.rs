//! A folder that both sides share: what is held back on the way there or back is written out.

use std::time::Duration;

use crate::process::Cancel;
use crate::session::VmError;
use crate::sidecar::{Direction, ErrorCode, Reply, Request, SyncRequest};
use crate::workspace::SyncError;

use super::greeting::failed;
use super::link::{Broken, CallError};
use super::mirror::At;
use super::said::of_reply;

/// How long the other side may take for it.
const SYNC: Duration = Duration::from_secs(300);

/// Says to the other side which way the tree goes, and waits until it is in order there.
pub(in crate::session) fn sync(at: &At, direction: Direction, cancel: &Cancel) -> Result<(), VmError> {
    let request = SyncRequest {
        session_id: at.session_id.to_owned(),
        direction,
        vfs_cwd_leaf: String::new(),
        manifest: None,
    };
    let asked = Request::SyncRequest(request);
    match at.link.call(asked, Some(SYNC), &|| !cancel.is_raised()) {
        Ok(Reply::SyncOk(_)) => Ok(()),
        Ok(other) => Err(of_call(at, "sync_request", CallError::Unexpected(of_reply(&other)))),
        Err(error) => Err(of_call(at, "sync_request", error)),
    }
}

/// What it means that a tree was not brought in order or carried, in a session that has begun.
pub(super) fn of_call(at: &At, asked: &str, error: CallError) -> VmError {
    let lost = |message: String| VmError::Lost { message, source: None };
    match error {
        CallError::Broken(Broken::Lost(why)) => lost(format!("the sidecar was lost at `{asked}`: {why}")),
        CallError::Late => lost(format!("the sidecar did not answer `{asked}`")),
        CallError::Refused(refused) => match refused.code {
            ErrorCode::StagingIo => VmError::Sync(SyncError::Afar {
                message: refused.message,
            }),
            ErrorCode::ShuttingDown => lost(format!("the sidecar has ended at `{asked}`: {}", refused.message)),
            _ => failed(at.address, asked, CallError::Refused(refused)),
        },
        error => failed(at.address, asked, error),
    }
}
