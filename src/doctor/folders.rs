//! devshell's own folders: whether they can be made and written, whose they are, where they lie.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::plan::{Backend, Strategy};
use crate::quote::command_line;
use crate::runner::chain;
use crate::sys::fs::{self, existing, obstacle};
use crate::workspace::results;

use super::Case;
use super::facts::{room_check, share_a_mount, size, text};
use super::report::{Check, State};
use super::throwaway::Throwaway;
use super::view::foresee;

/// As much as kept results may take in all.
const KEPT_AT_MOST: u64 = 2 << 30;

pub(super) fn checks(case: &Case) -> Vec<Check> {
    let places = &case.plan.places;
    let is_guest = !matches!(case.plan.backend, Backend::Host(_));
    let cache = [
        folder(
            case,
            &Folder {
                name: "cache",
                root: &places.cache_root,
                part: &places.cache.join("view"),
                elsewhere: "an overlay's layers go beside the workspace, and a copy shares no blocks with it",
                remedy: "DEVSHELL_EXPORT_BASE",
            },
        ),
        room_check("cache_room", &places.cache_root),
    ];
    let mut checks: Vec<Check> = cache.map(|check| unless_unused(case, check)).into();
    checks.extend([
        folder(
            case,
            &Folder {
                name: "state",
                root: &places.state_root,
                part: &places.state,
                elsewhere: "a commit needs a folder `.devshell-commit` in the workspace for its time",
                remedy: "XDG_STATE_HOME",
            },
        ),
        room_check("state_room", &places.state_root),
    ]);
    if is_guest {
        checks.push(folder(
            case,
            &Folder {
                name: "staging",
                root: places.staging.parent().unwrap_or(&places.staging),
                part: &places.staging,
                elsewhere: "it shares no blocks with the workspace",
                remedy: "DEVSHELL__VM__WORKSPACE_PARENT",
            },
        ));
    }
    checks.push(reflink(case));
    checks.push(kept(case));
    checks
}

/// A finding about the cache folder, which is no problem to a run whose view lies elsewhere.
fn unless_unused(case: &Case, check: Check) -> Check {
    if check.state != State::Problem || needs_cache(case) {
        return check;
    }
    let found = format!("{}; a run as it is configured does without the folder", check.found);
    Check {
        state: State::Warning,
        found,
        ..check
    }
}

/// Whether a run would keep anything in the cache folder that it cannot do without.
fn needs_cache(case: &Case) -> bool {
    match &case.plan.backend {
        Backend::Host(host) => match host.strategy {
            Strategy::InPlace => false,
            Strategy::Copy => true,
            // Its layers lie on the workspace's own disk, whose room is looked at for itself; without it, there is a
            // copy.
            Strategy::Auto | Strategy::Overlay => foresee(case, host, Strategy::Overlay).is_err(),
        },
        _ => true,
    }
}

/// One of devshell's own.
struct Folder<'a> {
    name: &'a str,
    /// Of all workspaces.
    root: &'a Path,
    /// Of this one.
    part: &'a Path,
    /// What follows where it is on another file system than the workspace.
    elsewhere: &'a str,
    /// The variable that moves it.
    remedy: &'a str,
}

fn folder(case: &Case, folder: &Folder) -> Check {
    let root = folder.root;
    let is_there = root.symlink_metadata().is_ok();
    let throwaway = match Throwaway::below(folder.part) {
        Ok(throwaway) => throwaway,
        Err(error) => return not_writable(folder, &error),
    };
    drop(throwaway);
    let place = if is_there { "" } else { ", which will be made" };
    let mut found = format!("`{}`{place}", root.display());
    let (caller, _) = fs::caller();
    if let Some(owner) = owner(root).filter(|owner| *owner != caller) {
        let found = format!("{found}: it belongs to user {owner}, and the caller is user {caller}");
        return Check::warning(folder.name, found).mended_by(format!("export {}=...", folder.remedy));
    }
    if !share_a_mount(root, &case.plan.workspace).unwrap_or(true) {
        found = format!(
            "{found}; on another file system or mount than the workspace: {}",
            folder.elsewhere
        );
        return Check::info(folder.name, found);
    }
    Check::ok(folder.name, found)
}

fn owner(root: &Path) -> Option<u32> {
    root.metadata().ok().map(|found| found.uid())
}

fn not_writable(folder: &Folder, error: &io::Error) -> Check {
    if let Some(obstacle) = obstacle(folder.part) {
        let found = format!("`{}` cannot be made: {obstacle}", folder.part.display());
        return Check::problem(folder.name, found).mended_by(format!("export {}=...", folder.remedy));
    }
    let at = existing(folder.part);
    let found = format!("nothing can be written in `{}`: {error}", at.display());
    let (uid, gid) = fs::caller();
    let remedy = match owner(at) {
        Some(owner) if owner != uid && at.starts_with(folder.root) => {
            command_line(["sudo", "chown", "-R", &format!("{uid}:{gid}"), &text(folder.root)])
        }
        Some(owner) if owner == uid && error.kind() == io::ErrorKind::PermissionDenied => {
            command_line(["chmod", "u+rwx", &text(at)])
        }
        _ => format!("export {}=...", folder.remedy),
    };
    Check::problem(folder.name, found).mended_by(remedy)
}

/// Whether a staged copy shares the blocks of the workspace's files; a file of the workspace's own
/// file system is cloned into the cache folder.
fn reflink(case: &Case) -> Check {
    let name = "reflink";
    let places = &case.plan.places;
    let cloned = || -> io::Result<()> {
        let to = Throwaway::below(&places.cache.join("view"))?;
        let source = source(&case.plan.workspace).ok_or(io::ErrorKind::NotFound)?;
        let copy = File::create_new(to.path().join("copy"))?;
        fs::reflink(&source.into(), &copy.into())
    };
    match cloned() {
        Ok(()) => Check::ok(name, "a copy shares the blocks of the workspace's files"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Check::info(
            name,
            "not tried: the workspace has no file in its own folder to try it with",
        ),
        Err(error) if fs::is_unsupported(&error) || fs::is_cross_device(&error) => Check::info(
            name,
            "none between the workspace and the cache folder: the first copy of a tree is read and written whole",
        ),
        Err(error) => Check::info(name, format!("it could not be tried: {error}")),
    }
}

/// A file of the workspace to read, with something in it.
fn source(root: &Path) -> Option<File> {
    let folder = fs::open_dir(root).ok()?;
    let names = fs::names(&folder).ok()?;
    let opened = names.iter().filter_map(|name| fs::open_file(&folder, name).ok());
    opened
        .map(File::from)
        .find(|file| file.metadata().is_ok_and(|found| found.len() > 0))
}

fn kept(case: &Case) -> Check {
    let name = "kept_results";
    let kept = match results::list(&case.plan.places.state) {
        Ok(kept) => kept,
        Err(error) => return Check::warning(name, chain(&error)),
    };
    let bytes: u64 = kept.iter().map(|result| result.bytes).sum();
    let found = match kept.len() {
        0 => "none of this workspace".to_owned(),
        1 => format!("1 of this workspace, {}", size(bytes)),
        number => format!("{number} of this workspace, {}", size(bytes)),
    };
    if bytes > KEPT_AT_MOST {
        Check::info(name, found).mended_by("devshell results drop --all")
    } else {
        Check::ok(name, found)
    }
}
