//! What a run would need and whether it is there: every backend, the workspace, devshell's own
//! folders and the programs that the tools name.
//!
//! A check is tried rather than guessed wherever trying leaves nothing behind: the view of the
//! workspace is really made and dropped, files are really exchanged and cloned in a folder that
//! goes again. All of it is bounded in time; a group that hangs (a dead file server, a limactl
//! that waits) is told as that. [`preflight`] is the part that each run can afford.

mod beta;
mod facts;
mod folders;
mod host;
mod lima;
mod outlook;
mod preflight;
mod programs;
mod remote;
mod report;
mod throwaway;
mod view;
mod workspace;

use std::ffi::OsString;
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::plan::{Backend, HostPlan, Plan};

pub use outlook::{Outlook, View, outlook};
pub use preflight::{Unready, preflight};
pub use report::{BackendReport, Check, DOCTOR_VERSION, Report, State};

/// Longer than all that is bounded by itself.
const PATIENCE: Duration = Duration::from_secs(40);

/// What is to be looked at.
#[derive(Debug, Clone)]
pub struct Case {
    /// The plan of all tools.
    pub plan: Plan,
    /// What it was made of.
    pub config: Config,
    /// The caller's environment.
    pub env: Vec<(OsString, OsString)>,
    /// The caller's folder.
    pub cwd: PathBuf,
}

impl Case {
    /// What the host backend would be told, also where another one is configured.
    fn host(&self) -> HostPlan {
        match &self.plan.backend {
            Backend::Host(host) => host.clone(),
            _ => HostPlan::of(&self.config),
        }
    }
}

/// A group of checks with the name that it has in the report.
type Group = (&'static str, fn(&Case) -> Vec<Check>);

/// The backends by name, then what all of them need: the order of the report.
const ORDER: [&str; 7] = ["beta", "host", "lima", "remote", "workspace", "folders", "programs"];

/// What is looked at at the same time. Groups that make folders to try things in take turns:
/// what one makes must not look to another as if it had been there before.
const THREADS: [&[Group]; 5] = [
    &[
        ("host", host::checks),
        ("folders", folders::checks),
        ("workspace", workspace::checks),
    ],
    &[("lima", lima::checks)],
    &[("beta", beta::checks)],
    &[("remote", remote::checks)],
    &[("programs", programs::checks)],
];

/// Looks at everything.
#[must_use]
pub fn examine(case: Case) -> Report {
    let case = Arc::new(case);
    let (sender, receiver) = mpsc::channel();
    let threads = THREADS.map(|groups| {
        let (case, sender) = (Arc::clone(&case), sender.clone());
        let look = move || {
            for (name, checks) in groups {
                // Nobody listens any more when it took too long.
                let _ = sender.send((*name, checks(&case)));
            }
        };
        std::thread::Builder::new().name("doctor".to_owned()).spawn(look).ok()
    });
    drop(sender);
    let deadline = Instant::now() + PATIENCE;
    let mut found = Vec::new();
    while let Ok(group) = receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        found.push(group);
    }
    for thread in threads.into_iter().flatten().filter(|thread| thread.is_finished()) {
        // What panicked is a bug and not a finding.
        if let Err(panic) = thread.join() {
            resume_unwind(panic);
        }
    }
    let groups = ORDER.map(|name| match found.iter().position(|(of, _)| *of == name) {
        Some(at) => found.swap_remove(at),
        None => (name, vec![hangs()]),
    });
    Report::of(&case.plan, groups.into())
}

/// In the place of a group that did not come to its end.
fn hangs() -> Check {
    let found = format!(
        "looking at it took more than {} s (a file server that is gone?), or could not begin",
        PATIENCE.as_secs()
    );
    Check::problem("answer", found).mended_by("df -h")
}

#[cfg(test)]
mod tests;
