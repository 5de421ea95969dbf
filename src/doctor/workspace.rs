//! The workspace itself: where it lies, whose it is, who uses it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use walkdir::WalkDir;

use crate::plan::Backend;
use crate::quote::command_line;
use crate::sys::fs;
use crate::sys::keeper::may_mount;
use crate::sys::mounts::{is_read_only, mounts, unfit_for_upper};
use crate::workspace;

use super::Case;
use super::facts::{room_check, text};
use super::report::Check;

/// How much of a tree is looked at for files of other owners.
const LOOKED_AT: usize = 20_000;
const LOOKING: Duration = Duration::from_secs(2);

pub(super) fn checks(case: &Case) -> Vec<Check> {
    let root = &case.plan.workspace;
    let mut checks = vec![
        file_system(root),
        room_check("room", root),
        owner(root),
        mounts_inside(root),
    ];
    checks.extend(read_only(root));
    checks.extend(case_of_names(root));
    checks.push(lock(root));
    checks.push(unfinished(case));
    checks
}

fn file_system(root: &Path) -> Check {
    let name = "file_system";
    let table = mounts().unwrap_or_default();
    let kind = table
        .iter()
        .filter(|mount| root.starts_with(&mount.point))
        .max_by_key(|mount| mount.point.components().count())
        .map_or("unknown", |mount| mount.kind.as_str());
    match unfit_for_upper(root) {
        Ok(None) => Check::ok(name, kind),
        Ok(Some(unfit)) => Check::info(
            name,
            format!("{kind}: {unfit} can be the lower layer of an overlay only"),
        ),
        Err(error) => Check::problem(name, format!("the workspace cannot be looked at: {error}")),
    }
}

/// A run begins there all the same, and one that changes nothing ends well.
fn read_only(root: &Path) -> Option<Check> {
    if !is_read_only(root).unwrap_or(false) {
        return None;
    }
    let table = mounts().unwrap_or_default();
    let over = table.iter().filter(|mount| root.starts_with(&mount.point));
    let point = &over.max_by_key(|mount| mount.point.components().count())?.point;
    let found =
        "the workspace is mounted read-only: a run that changes anything in it cannot be committed, and ends with 74";
    Some(Check::warning("read_only", found).mended_by(command_line([
        "sudo",
        "mount",
        "-o",
        "remount,rw",
        &text(point),
    ])))
}

/// Something of another owner in the workspace.
enum Foreign {
    Root { uid: u32, gid: u32 },
    Entry(PathBuf),
}

fn foreign(root: &Path) -> io::Result<Option<Foreign>> {
    let (uid, gid) = fs::caller();
    let own = fs::stat_fd(fs::open_dir(root)?)?.stamp;
    if (own.uid, own.gid) != (uid, gid) {
        return Ok(Some(Foreign::Root {
            uid: own.uid,
            gid: own.gid,
        }));
    }
    let start = Instant::now();
    let entries = WalkDir::new(root).same_file_system(true).into_iter().flatten();
    for entry in entries.take(LOOKED_AT).take_while(|_| start.elapsed() < LOOKING) {
        use std::os::unix::fs::MetadataExt as _;
        if entry.metadata().is_ok_and(|it| (it.uid(), it.gid()) != (uid, gid)) {
            return Ok(Some(Foreign::Entry(entry.into_path())));
        }
    }
    Ok(None)
}

fn owner(root: &Path) -> Check {
    let name = "owner";
    if may_mount() {
        return Check::ok(name, "of no matter to who may mount");
    }
    let found = match foreign(root) {
        Ok(None) => return Check::ok(name, "the caller's"),
        Ok(Some(foreign)) => foreign,
        Err(error) => return Check::problem(name, format!("the workspace cannot be entered: {error}")),
    };
    let check = match &found {
        Foreign::Root { uid, gid } => Check::warning(
            name,
            format!("the folder belongs to user {uid} and group {gid}: an overlay could change nothing in it"),
        ),
        Foreign::Entry(path) => Check::warning(
            name,
            format!(
                "`{}` has another owner or group: in an overlay it can be removed and not changed",
                path.display()
            ),
        ),
    };
    check.mended_by(chown(root))
}

fn chown(root: &Path) -> String {
    let (uid, gid) = fs::caller();
    command_line(["sudo", "chown", "-R", &format!("{uid}:{gid}"), &text(root)])
}

fn inside(root: &Path) -> Vec<PathBuf> {
    let table = mounts().unwrap_or_default();
    let mut points: Vec<PathBuf> = table
        .into_iter()
        .map(|mount| mount.point)
        .filter(|point| point != root && point.starts_with(root))
        .collect();
    points.dedup();
    points
}

fn mounts_inside(root: &Path) -> Check {
    let name = "mounts";
    let points = inside(root);
    let Some(first) = points.first() else {
        return Check::ok(name, "none inside the workspace");
    };
    let listed: Vec<String> = points.iter().map(|point| format!("`{}`", point.display())).collect();
    let listed = listed.join(", ");
    let what_follows = if may_mount() {
        "they show through the view, and what tools write there is there at once"
    } else {
        "without root no overlay can cover them"
    };
    Check::warning(name, format!("inside the workspace: {listed}; {what_follows}")).mended_by(command_line([
        "sudo",
        "umount",
        &text(first),
    ]))
}

/// Told by an entry that answers to a name that it does not have; nothing is made for it.
fn case_of_names(root: &Path) -> Option<Check> {
    let entries = std::fs::read_dir(root).ok()?.flatten().take(LOOKED_AT);
    let mut names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let name = names.find(|name| swapped(name) != *name)?;
    if fs::same_file(&root.join(&name), &root.join(swapped(&name))) {
        Some(Check::warning(
            "case",
            format!("names that differ in case only are one file here (`{name}`): tools may overwrite what they made"),
        ))
    } else {
        Some(Check::ok("case", "names that differ in case are different files"))
    }
}

fn swapped(name: &str) -> String {
    let swap = |letter: char| match letter {
        'a'..='z' => letter.to_ascii_uppercase(),
        'A'..='Z' => letter.to_ascii_lowercase(),
        _ => letter,
    };
    name.chars().map(swap).collect()
}

fn lock(root: &Path) -> Check {
    let name = "lock";
    match workspace::holder(root) {
        Ok(None) => Check::ok(name, "free"),
        Ok(Some(holder)) => Check::info(name, format!("in use by {holder}: a run would wait for it")),
        Err(error) => {
            Check::problem(name, crate::runner::chain(&error)).mended_by(command_line(["ls", "-ld", &text(root)]))
        }
    }
}

fn unfinished(case: &Case) -> Check {
    let name = "unfinished_commits";
    let root = &case.plan.workspace;
    match workspace::unfinished_commits(&case.plan.places.commit_area(), root) {
        Ok(found) if found.is_empty() => Check::ok(name, "none"),
        // One that is being made looks the same, but for the lock.
        Ok(_) if workspace::holder(root).is_ok_and(|holder| holder.is_some()) => {
            Check::info(name, "a run is committing now")
        }
        Ok(_) => Check::warning(
            name,
            "a run was killed in the middle of its commit; the next run finishes or undoes that first",
        )
        .mended_by("devshell clean"),
        Err(error) => Check::warning(name, crate::runner::chain(&error)).mended_by("devshell clean"),
    }
}

/// The command that makes the workspace fit for an overlay, where one does.
pub(super) fn remedy(case: &Case, why: &str) -> Option<String> {
    let root = &case.plan.workspace;
    if !may_mount() {
        if let Some(mount) = inside(root).first() {
            return Some(command_line(["sudo", "umount", &text(mount)]));
        }
        if let Ok(Some(Foreign::Root { .. })) = foreign(root) {
            return Some(chown(root));
        }
    }
    // Where no place suits, one beside the workspace may.
    let beside = root.parent()?.join(".devshell-cache");
    let is_host = matches!(case.plan.backend, Backend::Host(_));
    (is_host && why.contains("DEVSHELL_EXPORT_BASE"))
        .then(|| command_line(["export", &format!("DEVSHELL_EXPORT_BASE={}", text(&beside))]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_told_from_the_same_in_other_case_where_the_file_system_does() {
        let temp = tempfile::tempdir().unwrap();
        assert_eq!(case_of_names(temp.path()), None, "nothing to tell by");
        std::fs::write(temp.path().join("123"), "").unwrap();
        assert_eq!(case_of_names(temp.path()), None);
        std::fs::write(temp.path().join("ab"), "").unwrap();
        let check = case_of_names(temp.path()).unwrap();
        assert_eq!(check.state, crate::doctor::State::Ok);
        // As a file system without case would answer.
        std::fs::hard_link(temp.path().join("ab"), temp.path().join("AB")).unwrap();
        let check = case_of_names(temp.path()).unwrap();
        assert_eq!(check.state, crate::doctor::State::Warning);
    }
}
