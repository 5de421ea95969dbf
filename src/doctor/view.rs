//! Whether a private view of this workspace can be had: it is made as a run would make it, in a
//! throw-away folder, and dropped before any tool is started.

use std::io;
use std::path::{Path, PathBuf};

use crate::event::{Emitter, Event, EventBody, EventSink};
use crate::plan::{HostPlan, Require, Strategy};
use crate::process::Cancel;
use crate::runner::chain;
use crate::session::host::{HostSandboxSession, HostSettings, ViewPlace};
use crate::session::{Context, Readiness, Session as _, StagingPlace, VmError};
use crate::sys::fs;
use crate::vfs::Vfs;
use crate::workspace::Beginning;

use super::facts::share_a_mount;
use super::report::Check;
use super::throwaway::Throwaway;
use super::{Case, workspace};

/// What is known of the kernel already.
pub(super) struct Kernel {
    /// The command that would allow namespaces.
    pub(super) remedy: Option<String>,
}

pub(super) fn checks(case: &Case, host: &HostPlan, kernel: &Kernel) -> Vec<Check> {
    let settings = HostSettings::of_plan(&case.plan, host);
    let place = place(case, &settings);
    let overlay = overlay(case, &settings, place.as_ref());
    let folder = match &place {
        Some(Ok(place)) => Some(place.folder.as_path()),
        _ => None,
    };
    let remedy = |why: &str| kernel.remedy.clone().or_else(|| workspace::remedy(case, why));
    let mut checks = vec![view(host, &settings, &overlay, folder, &remedy)];
    if let Ok(tried) = &overlay {
        checks.extend(tried.warnings.iter().map(|text| Check::warning("view_limits", text)));
    }
    if let Some(Ok(place)) = &place {
        checks.push(times(case, &place.throwaway));
        checks.push(exchange(&place.throwaway));
    }
    checks
}

/// What a view would be like.
pub(super) struct Foreseen {
    pub(super) isolation: Require,
    pub(super) why: Option<String>,
    pub(super) warnings: Vec<String>,
}

/// Makes a view of this kind and drops it; says why there can be none.
pub(super) fn foresee(case: &Case, host: &HostPlan, strategy: Strategy) -> Result<Foreseen, String> {
    let settings = HostSettings::of_plan(&case.plan, host);
    let tried = match strategy {
        Strategy::Auto | Strategy::Overlay => overlay(case, &settings, place(case, &settings).as_ref()),
        Strategy::Copy => match &host.no_copy {
            Some(no_copy) => Err(no_copy.clone()),
            None => copy(&settings),
        },
        Strategy::InPlace => {
            let settings = HostSettings {
                require: Require::None,
                cache: None,
                ..settings
            };
            attempt(settings, &case.plan.workspace)
        }
    }?;
    Ok(Foreseen {
        isolation: tried.readiness.isolation,
        why: tried.readiness.why,
        warnings: tried.warnings,
    })
}

/// A folder on the workspace's own file system and mount.
struct Place {
    throwaway: Throwaway,
    /// What a run would take.
    folder: PathBuf,
}

/// The first place for an upper layer that suits, as a run chooses it; none: there is none.
fn place(case: &Case, settings: &HostSettings) -> Option<io::Result<Place>> {
    let suits = |place: &&ViewPlace| {
        let folder = &place.folder;
        // A folder of that name in the workspace itself may be the user's.
        let foreign = folder.parent() == Some(case.plan.workspace.as_path()) && folder.exists();
        !foreign && share_a_mount(folder, &case.plan.workspace).unwrap_or(false)
    };
    let folder = settings.view_places.iter().find(suits)?.folder.clone();
    Some(Throwaway::below(&folder).map(|throwaway| Place { throwaway, folder }))
}

/// A view that was made and dropped.
struct Tried {
    readiness: Readiness,
    warnings: Vec<String>,
}

fn overlay(case: &Case, settings: &HostSettings, place: Option<&io::Result<Place>>) -> Result<Tried, String> {
    let view_places = match place {
        Some(Ok(place)) => vec![ViewPlace::shared(place.throwaway.path().to_path_buf())],
        Some(Err(error)) => return Err(format!("no folder for its layers can be made: {error}")),
        // The session itself says what it tried.
        None => settings.view_places.clone(),
    };
    let settings = HostSettings {
        strategy: Strategy::Overlay,
        require: Require::None,
        cache: None,
        view_places,
        ..settings.clone()
    };
    attempt(settings, &case.plan.workspace)
}

/// A copy of nothing: what it is bound over and what keeps the tools are the same for any tree.
fn copy(settings: &HostSettings) -> Result<Tried, String> {
    let nothing = tempfile::tempdir().map_err(|error| format!("no temporary folder can be made: {error}"))?;
    let settings = HostSettings {
        strategy: Strategy::Copy,
        require: Require::None,
        cache: None,
        staging: StagingPlace::Temporary,
        ..settings.clone()
    };
    attempt(settings, nothing.path())
}

fn attempt(settings: HostSettings, tree: &Path) -> Result<Tried, String> {
    let vfs = Vfs::from_dir(tree).map_err(|error| error.to_string())?;
    let mut warnings = Warnings::default();
    let mut emitter = Emitter::new(&mut warnings);
    let cancel = Cancel::new();
    let mut cx = Context {
        emitter: &mut emitter,
        cancel: &cancel,
        lock: None,
    };
    let mut session = HostSandboxSession::new(settings);
    let ready = session.ensure_ready(&vfs, &vfs.workspace(), &mut cx);
    // Nothing of it is to be left, whatever came of it.
    let _ = session.release(&mut cx);
    match ready {
        Ok(readiness) => Ok(Tried {
            readiness,
            warnings: warnings.0,
        }),
        Err(VmError::NoOverlay { why }) => Err(why),
        Err(error) => Err(chain(&error)),
    }
}

/// Keeps what a session warns of.
#[derive(Default)]
struct Warnings(Vec<String>);

impl EventSink for Warnings {
    fn emit(&mut self, event: &Event) -> io::Result<()> {
        if let EventBody::Warning { message } = &event.body {
            self.0.push(message.clone());
        }
        Ok(())
    }
}

/// What a run would work on, and whether that is what was asked for.
fn view(
    host: &HostPlan,
    settings: &HostSettings,
    overlay: &Result<Tried, String>,
    folder: Option<&Path>,
    remedy: &dyn Fn(&str) -> Option<String>,
) -> Check {
    let name = "view";
    let (strategy, found, readiness) = match (host.strategy, overlay) {
        (Strategy::Auto | Strategy::Overlay, Ok(tried)) => {
            let folder = folder.map_or_else(String::new, |folder| format!(", its layers in `{}`", folder.display()));
            ("overlay", format!("overlay{folder}"), &tried.readiness)
        }
        (Strategy::Overlay, Err(why)) => {
            let found = format!("vm.host.strategy is `overlay`, and there can be none: {why}");
            return Check::problem(name, found).maybe_mended_by(remedy(why));
        }
        _ => return copied(host, settings, overlay, remedy),
    };
    level(host, readiness, strategy).unwrap_or_else(|| Check::ok(name, found))
}

fn copied(
    host: &HostPlan,
    settings: &HostSettings,
    overlay: &Result<Tried, String>,
    remedy: &dyn Fn(&str) -> Option<String>,
) -> Check {
    let name = "view";
    let why = match (host.strategy, overlay) {
        (Strategy::Copy, _) => None,
        (_, overlay) => overlay.as_ref().err(),
    };
    let less = why.map(|why| format!("no overlay: {why}"));
    let with = |found: String| less.iter().cloned().chain([found]).collect::<Vec<_>>().join("; ");
    let mended = why.and_then(|why| remedy(why));
    if let Some(no_copy) = &host.no_copy {
        return Check::problem(name, with(no_copy.clone())).maybe_mended_by(mended);
    }
    let tried = match copy(settings) {
        Ok(tried) => tried,
        Err(error) => return Check::problem(name, with(error)).maybe_mended_by(mended),
    };
    if let Some(lower) = level(host, &tried.readiness, "copy") {
        return match mended {
            Some(command) => lower.mended_by(command),
            None => lower,
        };
    }
    let found = match &settings.staging {
        StagingPlace::Fixed(folder) | StagingPlace::Apart { folder, .. } => format!("a copy in `{}`", folder.display()),
        StagingPlace::Temporary => "a copy in a temporary folder".to_owned(),
    };
    match less {
        Some(_) => Check::warning(name, with(found)).maybe_mended_by(mended),
        None => Check::ok(name, found),
    }
}

/// That less isolation would be reached than was asked for.
fn level(host: &HostPlan, readiness: &Readiness, strategy: &str) -> Option<Check> {
    let reached = readiness.isolation;
    if reached >= host.require {
        return None;
    }
    let why = readiness.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    let found = format!(
        "sandbox.require is `{}`, and the isolation reached with `{strategy}` is `{}`{why}",
        host.require.word(),
        reached.word()
    );
    Some(Check::problem("view", found).mended_by(format!("devshell run --set sandbox.require={}", reached.word())))
}

/// How finely the file system tells one change from the next.
fn times(case: &Case, throwaway: &Throwaway) -> Check {
    let name = "times";
    match Beginning::note(&case.plan.workspace, throwaway.path()) {
        Ok(beginning) if beginning.is_fine() => Check::ok(name, "fine enough to tell each change from the next"),
        Ok(beginning) if beginning.is_coarse() => Check::warning(
            name,
            "the workspace's file system keeps whole seconds only: what the host changes just before a run may count \
             as changed during it, which refuses a commit",
        ),
        Ok(_) => Check::info(
            name,
            "one tick of the clock is the finest: a run waits for the next one, at most 10 ms (Linux 6.13 has finer \
             ones)",
        ),
        Err(error) => Check::warning(name, chain(&error)),
    }
}

/// Whether a commit can exchange old and new in one step.
fn exchange(throwaway: &Throwaway) -> Check {
    let name = "exchange";
    let exchanged = || {
        let folder = fs::open_dir(throwaway.path())?;
        for file in ["old", "new"] {
            std::fs::write(throwaway.path().join(file), file)?;
        }
        fs::exchange(&folder, "new".as_ref(), &folder, "old".as_ref())
    };
    match exchanged() {
        Ok(()) => Check::ok(name, "a commit replaces each file in one step"),
        Err(error) if fs::is_unsupported(&error) => Check::info(
            name,
            "the file system cannot exchange two files in one step: a commit takes two steps for each",
        ),
        Err(error) => Check::warning(name, format!("it could not be tried: {error}")),
    }
}
