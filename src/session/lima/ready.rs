//! Bringing an instance to where tools can run in it.

use std::path::Path;
use std::time::Duration;

use crate::process::Cancel;
use crate::session::{Context, VmError};

use super::agent::AgentChoice;
use super::connect::{Bringing, StageFn, Up, by_shortcut};
use super::instance::{Instance, mount_expression};
use super::lease::turn;
use super::limactl::{Limactl, logs};
use super::line::{AtOnce, Line};
use super::settings::LimaSettings;

/// How long the stop of a start that was called off may take.
const AFTER: Duration = Duration::from_secs(60);

/// Finds or makes the instance, starts it, and proves that the mount works. `started` says at any
/// time whether this call has started it.
pub(super) fn bring_up(
    settings: &LimaSettings,
    limactl: &Limactl,
    choice: &AgentChoice,
    started: &mut bool,
    stage: StageFn,
    cx: &mut Context,
) -> Result<Up, VmError> {
    let cancel = cx.cancel.clone();
    let take_turn = || {
        turn(&settings.leases, &limactl.instance, &cancel)
            .map_err(|error| VmError::Lima(format!("`{}` cannot be used: {error}", settings.leases.display())))?
            .ok_or(VmError::Interrupted)
    };
    // Who stops the instance has done so now, or will see this run's lease. The short way needs no more than that, and
    // the staging of a large tree holds up nobody.
    drop(take_turn()?);
    let may_carry = settings.may_carry() && choice.program().is_some();
    if choice.program().is_none() {
        settings.does_without(choice.why_none(), &limactl.instance)?;
    }
    // Whether there is a compiler is for the long way to find out.
    if let Some(program) = choice.program().filter(|_| !settings.lima.auto_build_essential)
        && let Some(up) = by_shortcut(settings, limactl, program, stage, cx)?
    {
        return Ok(up);
    }
    let _turn = take_turn()?;
    let at_once = AtOnce {
        agent: choice.program().map(|program| program.digest.clone()),
        needs_cc: settings.lima.auto_build_essential,
        root: settings.lima.guest.guest_workspace.clone(),
    };
    // Asking and connecting take as long as each other, and mostly the instance runs.
    let mut early = Line::start(limactl, &at_once).ok();
    let mut found = match limactl.find(&cancel)? {
        Some(found) => found,
        None => create(settings, limactl, cx)?,
    };
    let unseen = no_mount(settings, limactl, &found);
    if let Some(unseen) = unseen.as_ref().filter(|_| !may_carry) {
        // Before anything is started: no start mends a mount that is not there.
        return Err(VmError::Lima(unseen.clone()));
    }
    if found.status != "Running" {
        early = None;
    }
    if found.status == "Broken" {
        cx.emitter.warn(format!(
            "the Lima instance `{}` is broken ({}): it is stopped by force and started anew",
            limactl.instance,
            found.errors_in_words()
        ));
        limactl.stop(true, &cancel)?;
        found = again(limactl, &cancel)?;
    }
    if found.status != "Running" {
        start(limactl, &found, cx)?;
        *started = true;
        found = again(limactl, &cancel)?;
    }
    if found.status != "Running" {
        return Err(VmError::Lima(format!(
            "the Lima instance `{}` is {} after it was started: {}; {}",
            limactl.instance,
            found.status,
            found.errors_in_words(),
            limactl.why_not_up(&found.dir)
        )));
    }
    let bringing = Bringing {
        settings,
        limactl,
        found: &found,
        unseen,
        at_once,
    };
    bringing.connect(choice, early, cx)
}

fn again(limactl: &Limactl, cancel: &Cancel) -> Result<Instance, VmError> {
    limactl
        .find(cancel)?
        .ok_or_else(|| VmError::Lima(format!("the Lima instance `{}` is gone", limactl.instance)))
}

/// In GiB, as limactl takes sizes.
fn gib(bytes: u64) -> String {
    const MIB: u64 = 1 << 20;
    let mib = bytes.div_ceil(MIB);
    format!("{}.{:03}", mib / 1024, (mib % 1024) * 1000 / 1024)
}

fn create(settings: &LimaSettings, limactl: &Limactl, cx: &mut Context) -> Result<Instance, VmError> {
    let lima = &settings.lima;
    let mount = mount_expression(&settings.parent, &lima.guest.guest_workspace);
    let Some(template) = &lima.template else {
        return Err(VmError::Lima(format!(
            "there is no Lima instance `{}`. Set vm.lima.template to have it made (`template:default`, a file or a \
             URL), or make it: `{} create --name={} --set '{mount}' template:default`",
            limactl.instance,
            limactl.program.display(),
            limactl.instance
        )));
    };
    cx.emitter.warn(format!(
        "the Lima instance `{}` is made from `{template}`",
        limactl.instance
    ));
    let flags = [
        format!("--cpus={}", lima.cpus),
        format!("--memory={}", gib(lima.memory)),
        format!("--disk={}", gib(lima.disk)),
        "--set".to_owned(),
        mount,
    ];
    limactl.create(template, &flags, cx)?;
    again(limactl, cx.cancel)
}

fn start(limactl: &Limactl, found: &Instance, cx: &mut Context) -> Result<(), VmError> {
    let error = match limactl.start(cx) {
        Ok(()) => return Ok(()),
        Err(error) => error,
    };
    // Half a start is nobody's: what came up so far is stopped.
    let cancel = Cancel::new().until(std::time::Instant::now().checked_add(AFTER));
    if let Err(left) = limactl.stop(true, &cancel) {
        cx.emitter.warn(left.to_string());
    }
    match error {
        VmError::Lima(message) => Err(VmError::Lima(format!("{message}; {}", limactl.why_not_up(&found.dir)))),
        error => {
            cx.emitter.warn(format!(
                "the start of the Lima instance `{}` was called off; {}",
                limactl.instance,
                logs(&found.dir)
            ));
            Err(error)
        }
    }
}

/// Why the mount will not do, as the instance was configured, whatever lies there now.
fn no_mount(settings: &LimaSettings, limactl: &Limactl, found: &Instance) -> Option<String> {
    let guest = &settings.lima.guest.guest_workspace;
    let home = settings.lima.home.clone().unwrap_or_default();
    let parent = settings.parent.display();
    let what = match found.shows(&settings.parent, Path::new(guest), &home) {
        Some(true) => return None,
        Some(false) => "read-only",
        None => "not",
    };
    Some(format!(
        "the Lima instance `{0}` does {what} show `{parent}` as `{guest}`. Stop it (`{1} stop {0}`), add to `mounts` \
         in `{2}` (or with `{1} edit {0}`)\n\n    mounts:\n    - location: \"{parent}\"\n      mountPoint: \
         \"{guest}\"\n      writable: true\n\nand run again; vm.workspace_parent and vm.guest_workspace say which \
         folder and where",
        limactl.instance,
        limactl.program.display(),
        found.dir.join("lima.yaml").display(),
    ).replace("does read-only show", "shows only for reading"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_told_in_gib() {
        assert_eq!(gib(4 << 30), "4.000");
        assert_eq!(gib(1536 << 20), "1.500");
    }
}
