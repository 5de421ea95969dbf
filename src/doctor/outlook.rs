//! What a run would meet, for `devshell plan`: the view that it would get, what is to be carried,
//! who holds the workspace. Tried as [`super::view`] does, without a trace.

use crate::plan::{Backend, HostPlan, Plan, Require, Strategy, WorkspaceMode};
use crate::session::StagingPlace;
use crate::session::host::HostSettings;
use crate::vfs::Vfs;
use crate::workspace::{self, Holder, PushReport, Rules};

use super::Case;
use super::view::{Foreseen, foresee};

/// What a run would meet now.
#[derive(Debug)]
pub struct Outlook {
    /// The view of the host backend, or why there is none; none for another backend, which only a
    /// run asks.
    pub view: Option<Result<View, String>>,
    /// What would be carried before the first tool; none where nothing is.
    pub push: Option<Result<PushReport, String>>,
    /// Who holds the workspace now.
    pub holder: Option<Holder>,
}

/// The view that the tools would get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// `overlay`, `copy` or `in_place`.
    pub strategy: &'static str,
    /// The isolation that it reaches.
    pub isolation: Require,
    /// Why it is not better, in words.
    pub why: Option<String>,
    /// Whether the run would end with 71 for that.
    pub is_too_little: bool,
    /// What devshell would warn of.
    pub warnings: Vec<String>,
}

/// Looks ahead.
#[must_use]
pub fn outlook(case: &Case) -> Outlook {
    let plan = &case.plan;
    let view = match &plan.backend {
        Backend::Host(host) => Some(view(case, host)),
        _ => None,
    };
    Outlook {
        push: push(plan, view.as_ref()),
        view,
        holder: workspace::holder(&plan.workspace).ok().flatten(),
    }
}

fn view(case: &Case, host: &HostPlan) -> Result<View, String> {
    let of = |foreseen: Foreseen, strategy, less: Option<String>| View {
        strategy,
        isolation: foreseen.isolation,
        is_too_little: foreseen.isolation < host.require,
        why: match (less, foreseen.why) {
            (Some(less), Some(why)) => Some(format!("{less}; {why}")),
            (less, why) => less.or(why),
        },
        warnings: foreseen.warnings,
    };
    match host.strategy {
        Strategy::Overlay => foresee(case, host, Strategy::Overlay).map(|seen| of(seen, "overlay", None)),
        Strategy::Copy => foresee(case, host, Strategy::Copy).map(|seen| of(seen, "copy", None)),
        Strategy::InPlace => foresee(case, host, Strategy::InPlace).map(|seen| of(seen, "in_place", None)),
        Strategy::Auto => match foresee(case, host, Strategy::Overlay) {
            Ok(seen) => Ok(of(seen, "overlay", None)),
            Err(why) => {
                if let Some(no_copy) = &host.no_copy {
                    return Err(format!("{no_copy}; and no overlay: {why}"));
                }
                foresee(case, host, Strategy::Copy).map(|seen| of(seen, "copy", Some(format!("no overlay: {why}"))))
            }
        },
    }
}

/// What the first tool waits for.
fn push(plan: &Plan, view: Option<&Result<View, String>>) -> Option<Result<PushReport, String>> {
    let due = match (&plan.backend, view) {
        (Backend::Host(host), Some(Ok(view))) if view.strategy == "copy" => {
            let StagingPlace::Fixed(folder) = HostSettings::of_plan(plan, host).staging else {
                return None;
            };
            (folder.join("tree"), folder.join("index"))
        }
        (Backend::Host(_), _) => return None,
        _ if plan.workspace_mode == WorkspaceMode::Guest => return None,
        _ => (plan.places.staging.clone(), plan.places.cache.join("guest/index")),
    };
    let (tree, index) = due;
    let count = || {
        let rules = Rules::new(&plan.ignore, &plan.cache_dirs).map_err(|error| error.to_string())?;
        let vfs = Vfs::from_dir(&plan.workspace).map_err(|error| error.to_string())?;
        let folder = vfs.workspace().under(&tree);
        workspace::push_due(&vfs, &folder, &index, &rules, &|| false).map_err(|error| crate::runner::chain(&error))
    };
    Some(count())
}
