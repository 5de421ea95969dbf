//! What `when` means for a tool at this moment.

use std::ffi::OsString;

use crate::plan::{Backend, Plan, ToolPlan, tool_environment};

/// Whether a tool's turn would come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Yes, unless one before it fails.
    Due,
    /// No, and why.
    Skipped(String),
    /// That is seen when its turn comes; how it looks now.
    Depends(String),
}

/// Judges `when` as far as it can be: the system and the variables are known; whether a path
/// exists is asked in the view, where tools before it may have made or removed it.
pub(super) fn verdict(tool: &ToolPlan, plan: &Plan, caller: &[(OsString, OsString)]) -> Verdict {
    let on_host = matches!(plan.backend, Backend::Host(_));
    let os = std::env::consts::OS;
    match &tool.when.os {
        Some(wanted) if on_host && wanted != os => {
            return Verdict::Skipped(format!("when.os is `{wanted}`, and this is `{os}`"));
        }
        Some(wanted) if !on_host => {
            return Verdict::Depends(format!(
                "when.os is `{wanted}`, which is asked of the {} backend",
                plan.backend.name()
            ));
        }
        _ => {}
    }
    if let Some(name) = &tool.when.env {
        let env = tool_environment(tool, caller);
        let is_set = env.iter().any(|(key, value)| key == name.as_str() && !value.is_empty());
        if !is_set {
            return Verdict::Skipped(format!("when.env: `{name}` is not set"));
        }
    }
    match &tool.when.exists {
        None => Verdict::Due,
        Some(path) => {
            let there = plan.workspace.join(path).symlink_metadata().is_ok();
            let now = if there { "exists now" } else { "does not exist now" };
            Verdict::Depends(format!("when.exists: `{path}` {now}"))
        }
    }
}
