//! A devshell that a tool of another devshell starts.

use std::fs::{File, TryLockError};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::plan::{Places, Plan};
use crate::session::host::{ViewPlace, is_view_in_use, view_name};
use crate::sys::keeper::PRIVATE_NAME;
use crate::sys::mounts::mounts;

use super::end::say;

/// The variable by which a run tells its tools which it is: the workspace's key, `/`, its id.
pub(super) const RUN_ID: &str = "DEVSHELL_RUN_ID";

/// Where this process is, seen from a run of the same workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nesting {
    /// In no run of this workspace.
    Outside,
    /// In its view: the lock is the outer run's, and so is the transaction.
    Inside,
    /// Started by one of its tools, which work on a copy elsewhere because no view could be had:
    /// here is the real tree, which is not to be written before that run has ended.
    Beside,
}

/// Finds out. A value that was left over, from a run that has ended, is named and not believed:
/// it would take the lock, the view and the transaction away.
pub(super) fn nesting(plan: &Plan) -> Nesting {
    let key = &plan.places.key;
    if !std::env::var(RUN_ID).is_ok_and(|outer| outer.split('/').next() == Some(key)) {
        return Nesting::Outside;
    }
    if is_view_of(plan) {
        return Nesting::Inside;
    }
    let Places { cache, staging, .. } = &plan.places;
    let copy = cache.join("copy");
    let name = plan.workspace.file_name().unwrap_or_default();
    let private = is_held(&copy) || is_view_in_use(&ViewPlace::all(cache, staging, &plan.workspace, key));
    match (private, is_held(&plan.workspace)) {
        // In the view the workspace's path shows the copy.
        (true, _) if is_same(&copy.join("tree").join(name), &plan.workspace) => Nesting::Inside,
        (true, true) => Nesting::Beside,
        // Nothing private is in use: the outer run works in place.
        (false, true) => Nesting::Inside,
        (_, false) => {
            say(&format!(
                "warning: {RUN_ID} names a run of this workspace that has ended; it is ignored"
            ));
            Nesting::Outside
        }
    }
}

/// What the outer run has shut off already and a run inside it need not shut off once more: the
/// network, and writing outside. It would part the two from each other: their loopbacks and their
/// files in /tmp would not be the same.
pub(super) fn is_shut_off() -> [bool; 2] {
    let network = std::fs::read_to_string("/proc/net/dev").is_ok_and(|table| {
        let mut devices = table.lines().skip(2).filter_map(|line| line.split(':').next());
        devices.all(|device| device.trim() == "lo")
    });
    let outside = mounts()
        .unwrap_or_default()
        .iter()
        .any(|mount| mount.kind == "tmpfs" && mount.source.as_encoded_bytes() == PRIVATE_NAME.to_bytes());
    [network, outside]
}

/// Whether the workspace's path shows an overlay that a run of it has made, or its copy. The
/// folder of the copy itself need not be visible here.
fn is_view_of(plan: &Plan) -> bool {
    let key = &plan.places.key;
    let overlay = view_name(key);
    let copy = Path::new(key)
        .join("copy/tree")
        .join(plan.workspace.file_name().unwrap_or_default());
    let mounts = mounts().unwrap_or_default();
    let shown = mounts.iter().rev().find(|mount| mount.point == plan.workspace);
    shown.is_some_and(|mount| {
        (mount.kind == "overlay" && mount.source == overlay.as_str()) || mount.root.ends_with(&copy)
    })
}

fn is_held(folder: &Path) -> bool {
    File::open(folder).is_ok_and(|folder| matches!(folder.try_lock(), Err(TryLockError::WouldBlock)))
}

fn is_same(a: &Path, b: &Path) -> bool {
    let (Ok(a), Ok(b)) = (a.metadata(), b.metadata()) else {
        return false;
    };
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}
