//! The backend that a plan means.

use crate::plan::{Backend, Plan, WorkspaceMode};

use super::beta::{BetaSession, BetaSettings};
use super::host::{HostSandboxSession, HostSettings};
use super::{Session, VmError};

/// Opens the session of a plan. Whatever can be refused before anything is made is refused here;
/// nothing else ever takes the place of what was asked for.
///
/// # Errors
/// [`VmError::BackendNotImplemented`] for a backend and [`VmError::Config`] for a mode that is not
/// to be had.
pub fn open(plan: &Plan) -> Result<Box<dyn Session>, VmError> {
    let host = match &plan.backend {
        Backend::Host(host) => host,
        Backend::Beta(beta) => return Ok(Box::new(BetaSession::new(BetaSettings::of_plan(plan, beta)))),
        Backend::Lima | Backend::Remote => return Err(not_implemented(plan.backend.name())),
    };
    if plan.workspace_mode == WorkspaceMode::Guest {
        return Err(no_guest());
    }
    Ok(Box::new(HostSandboxSession::new(HostSettings::of_plan(plan, host))))
}

/// Whether this version has a backend of this name, as `Backend::name` has it.
#[must_use]
pub fn is_in_this_version(backend: &str) -> bool {
    matches!(backend, "host" | "beta")
}

/// A backend that this version does not have.
pub(super) fn not_implemented(backend: &str) -> VmError {
    VmError::BackendNotImplemented(format!(
        "the {backend} backend is not available in this version; nothing was run. Choose `--backend host` to run the \
         tools on this machine"
    ))
}

/// `guest` where there is no guest, with both ways out.
pub(super) fn no_guest() -> VmError {
    VmError::Config(
        "workspace mode `guest` needs a backend with a guest, and the host has none: turn the VM on (DEVSHELL_VM=on \
         with DEVSHELL_VM_BACKEND=lima or beta) or choose `--workspace-mode sync`"
            .to_owned(),
    )
}
