//! A plan as JSON, for programs: `docs/plan.schema.json`. Names of variables only, never values.

use std::collections::BTreeSet;
use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;

use crate::doctor::{Case, Outlook};
use crate::plan::{Backend, HostAccess, Plan, ToolPlan};

use super::plan_tools::{Verdict, verdict};

/// The value of `v`.
const PLAN_VERSION: u32 = 1;

/// What `devshell plan --format json` prints.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct PlanJson {
    /// Version of this form: 1.
    v: u32,
    /// The config file, if there is one.
    config: Option<String>,
    /// The workspace's real path.
    workspace: String,
    /// `host`, `lima`, `beta` or `remote`.
    backend: &'static str,
    /// Why that one, in words.
    backend_why: String,
    /// `sync` or `guest`.
    workspace_mode: &'static str,
    /// Host backend: what was asked for.
    sandbox: Option<SandboxJson>,
    /// `on_success`, `always` or `never`.
    write_back: &'static str,
    /// Patterns that are left alone.
    ignore: Vec<String>,
    /// Patterns of folders that are used and not carried.
    cache_dirs: Vec<String>,
    /// Of the whole run; absent: none.
    timeout_ms: Option<u64>,
    /// For making the backend ready; absent: none.
    ready_timeout_ms: Option<u64>,
    /// For another run in this workspace; absent: none.
    lock_timeout_ms: Option<u64>,
    /// Whether the first failure ends the run.
    fail_fast: bool,
    /// Where devshell keeps its own things.
    places: PlacesJson,
    /// What a run that began now would meet.
    now: NowJson,
    /// The tools in order.
    tools: Vec<ToolJson>,
    /// Host backend: where the programs that the tools name are found now; null: not in PATH.
    programs: Vec<ProgramJson>,
    /// What the user should know before a run.
    warnings: Vec<String>,
}

/// `[sandbox]` and `[vm.host]` as asked for.
#[derive(Debug, Serialize, JsonSchema)]
struct SandboxJson {
    /// `auto`, `overlay`, `copy` or `in_place`.
    strategy: &'static str,
    /// The isolation below which a run ends with 71.
    require: &'static str,
    /// Whether tools have the network.
    network: bool,
    /// `rw` or `ro`.
    host: &'static str,
    /// Kept writable when `host` is `ro`.
    writable: Vec<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct PlacesJson {
    cache: String,
    state: String,
    /// Of guests; absent for the host backend.
    staging: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct NowJson {
    /// The view that tools would get; absent where only a run asks the backend.
    view: Option<ViewJson>,
    /// What is to be carried before the first tool; absent where nothing is.
    push: Option<PushJson>,
    /// Another run holds the workspace.
    locked: bool,
    /// Its process, where that is known.
    locked_by_pid: Option<u32>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct ViewJson {
    /// `overlay`, `copy` or `in_place`; absent: there can be none.
    strategy: Option<&'static str>,
    /// `none`, `processes`, `view` or `full`.
    isolation: Option<&'static str>,
    /// Why it is not better, or why there is none.
    why: Option<String>,
    /// Whether the run would go on to its tools.
    sufficient: bool,
    /// What devshell would warn of.
    warnings: Vec<String>,
}

#[derive(Debug, Default, Serialize, JsonSchema)]
struct PushJson {
    files: u64,
    bytes: u64,
    deleted: u64,
    /// Why it could not be counted.
    error: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct ToolJson {
    name: String,
    /// Program and arguments, as text.
    argv: Vec<String>,
    /// Below the workspace; empty for the workspace itself.
    cwd: String,
    /// `due`, `skipped`, `depends` (seen when its turn comes) or `left_out` (by --only or --from).
    verdict: &'static str,
    /// Why, where it is not due.
    why: Option<String>,
    /// Names of the variables that it sets.
    sets: Vec<String>,
    /// Names or patterns of the caller's variables that reach it.
    passes: Vec<String>,
    timeout_ms: Option<u64>,
    no_output_timeout_ms: Option<u64>,
    grace_period_ms: u64,
    retries: u32,
    continue_on_error: bool,
}

#[derive(Debug, Serialize, JsonSchema)]
struct ProgramJson {
    program: String,
    path: Option<String>,
}

pub(super) fn describe(
    plan: &Plan,
    case: &Case,
    ahead: &Outlook,
    programs: &BTreeSet<(String, Option<String>)>,
) -> PlanJson {
    let on_host = matches!(plan.backend, Backend::Host(_));
    PlanJson {
        v: PLAN_VERSION,
        config: plan.config_file.as_deref().map(text),
        workspace: text(&plan.workspace),
        backend: plan.backend.name(),
        backend_why: plan.backend_why.clone(),
        workspace_mode: plan.workspace_mode.word(),
        sandbox: sandbox(plan),
        write_back: plan.write_back.word(),
        ignore: plan.ignore.clone(),
        cache_dirs: plan.cache_dirs.clone(),
        timeout_ms: plan.run_timeout.map(crate::event::millis),
        ready_timeout_ms: plan.ready_timeout.map(crate::event::millis),
        lock_timeout_ms: plan.lock_timeout.map(crate::event::millis),
        fail_fast: plan.fail_fast,
        places: PlacesJson {
            cache: text(&plan.places.cache),
            state: text(&plan.places.state),
            staging: (!on_host).then(|| text(&plan.places.staging)),
        },
        now: now(ahead),
        tools: plan.tools.iter().map(|tool| tool_json(tool, plan, case)).collect(),
        programs: programs
            .iter()
            .map(|(program, path)| ProgramJson {
                program: program.clone(),
                path: path.clone(),
            })
            .collect(),
        warnings: plan.warnings.clone(),
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn sandbox(plan: &Plan) -> Option<SandboxJson> {
    let Backend::Host(host) = &plan.backend else {
        return None;
    };
    Some(SandboxJson {
        strategy: host.strategy.word(),
        require: host.require.word(),
        network: host.network,
        host: match host.host {
            HostAccess::ReadWrite => "rw",
            HostAccess::ReadOnly => "ro",
        },
        writable: host.writable.iter().map(|path| text(path)).collect(),
    })
}

fn now(ahead: &Outlook) -> NowJson {
    let view = ahead.view.as_ref().map(|view| match view {
        Ok(view) => ViewJson {
            strategy: Some(view.strategy),
            isolation: Some(view.isolation.word()),
            why: view.why.clone(),
            sufficient: !view.is_too_little,
            warnings: view.warnings.clone(),
        },
        Err(why) => ViewJson {
            strategy: None,
            isolation: None,
            why: Some(why.clone()),
            sufficient: false,
            warnings: Vec::new(),
        },
    });
    let push = ahead.push.as_ref().map(|push| match push {
        Ok(push) => PushJson {
            files: push.files,
            bytes: push.bytes,
            deleted: push.deleted,
            error: None,
        },
        Err(why) => PushJson {
            error: Some(why.clone()),
            ..PushJson::default()
        },
    });
    NowJson {
        view,
        push,
        locked: ahead.holder.is_some(),
        locked_by_pid: ahead.holder.and_then(|holder| holder.pid),
    }
}

fn tool_json(tool: &ToolPlan, plan: &Plan, case: &Case) -> ToolJson {
    let (verdict, why) = match &tool.left_out {
        Some(why) => ("left_out", Some(why.clone())),
        None => match verdict(tool, plan, &case.env) {
            Verdict::Due => ("due", None),
            Verdict::Skipped(why) => ("skipped", Some(why)),
            Verdict::Depends(why) => ("depends", Some(why)),
        },
    };
    ToolJson {
        name: tool.name.clone(),
        argv: tool
            .argv
            .iter()
            .map(|argument| argument.to_string_lossy().into_owned())
            .collect(),
        cwd: text(&tool.cwd),
        verdict,
        why,
        sets: tool.env.keys().cloned().collect(),
        passes: tool.pass_env.clone(),
        timeout_ms: tool.timeout.map(crate::event::millis),
        no_output_timeout_ms: tool.no_output_timeout.map(crate::event::millis),
        grace_period_ms: crate::event::millis(tool.grace_period),
        retries: tool.retries.count,
        continue_on_error: tool.continue_on_error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `DEVSHELL_TEST_BLESS=1 cargo test` writes the file anew.
    #[test]
    fn the_published_schema_is_the_one_of_these_types() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/plan.schema.json");
        let schema = format!("{:#}\n", serde_json::to_value(schemars::schema_for!(PlanJson)).unwrap());
        if std::env::var_os("DEVSHELL_TEST_BLESS").is_some() {
            std::fs::write(file, &schema).unwrap();
        }
        assert_eq!(
            std::fs::read_to_string(file).unwrap_or_default(),
            schema,
            "docs/plan.schema.json has drifted"
        );
    }
}
