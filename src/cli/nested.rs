//! A devshell that a tool of another devshell starts.

use std::fs::{File, TryLockError};
use std::path::Path;

use crate::plan::Plan;

use super::end::say;

/// The variable by which a run tells its tools which it is: the workspace's key, `/`, its id.
pub(super) const RUN_ID: &str = "DEVSHELL_RUN_ID";

/// Whether this process works inside the view of a run of the same workspace. A value that was
/// left over, from a run that has ended, is named and not believed: it would take the lock, the
/// view and the transaction away.
pub(super) fn inside_a_run(plan: &Plan) -> bool {
    let key = &plan.places.key;
    if !std::env::var(RUN_ID).is_ok_and(|outer| outer.split('/').next() == Some(key)) {
        return false;
    }
    // A run holds its workspace's folder. In its view that folder is another one, but then it
    // holds the copy that the view shows.
    let alive = is_held(&plan.workspace) || is_held(&plan.places.cache.join("copy"));
    if !alive {
        say(&format!(
            "warning: {RUN_ID} names a run of this workspace that has ended; it is ignored"
        ));
    }
    alive
}

fn is_held(folder: &Path) -> bool {
    File::open(folder).is_ok_and(|folder| matches!(folder.try_lock(), Err(TryLockError::WouldBlock)))
}
