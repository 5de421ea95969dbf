//! Whether an overlay suits a workspace, found out before anything is made.

use std::path::{Path, PathBuf};

use crate::sys::fs;
use crate::sys::keeper::may_mount;
use crate::sys::mounts;
use crate::workspace::{Class, Rules};

use super::view_place::ViewPlace;

/// What an overlay over a workspace is made of.
pub(super) struct Layout {
    /// Where its upper layer goes.
    pub(super) place: ViewPlace,
    /// Mounts inside the workspace, none of them below another.
    pub(super) submounts: Vec<PathBuf>,
}

/// Finds the layout, or says in words why there is none and what helps.
pub(super) fn find(workspace: &Path, places: &[ViewPlace]) -> Result<Layout, String> {
    let io = |error: std::io::Error| format!("cannot look at the workspace: {error}");
    let privileged = may_mount();
    let submounts = submounts(workspace).map_err(io)?;
    if let Some(mount) = submounts.first().filter(|_| !privileged) {
        return Err(format!(
            "`{}` is a mount inside the workspace, which without root no overlay can cover: unmount it, or make the \
             workspace smaller",
            mount.display()
        ));
    }
    let root = fs::open_dir(workspace).map_err(io)?;
    let stamp = fs::stat_fd(&root).map_err(io)?.stamp;
    let (uid, gid) = fs::caller();
    if !privileged && stamp.uid != uid {
        return Err(format!(
            "the workspace's folder belongs to user {}, and an overlay of user {uid} could change nothing in it",
            stamp.uid
        ));
    }
    if !privileged && stamp.gid != gid {
        return Err(format!(
            "the workspace's folder belongs to group {0}, and an overlay could change nothing of that group: run \
             devshell with that group (`sg GROUP -c 'devshell run'`), or give the folder your own (`chgrp {gid}`)",
            stamp.gid
        ));
    }
    if let Some(name) = mounts::unfit_for_upper(workspace).map_err(io)? {
        return Err(format!(
            "the workspace lies on {name}, on which no overlay can be written: move it to a file system such as ext4, \
             xfs or btrfs (for a container: a volume)"
        ));
    }
    let mut tried = Vec::new();
    for place in places {
        match place.unfit(workspace) {
            Ok(None) => {
                return Ok(Layout {
                    place: place.clone(),
                    submounts,
                });
            }
            Ok(Some(why)) => tried.push(format!("`{}` ({why})", place.folder.display())),
            Err(error) => tried.push(format!("`{}` ({error})", place.folder.display())),
        }
    }
    Err(format!(
        "there is no place for its upper layer on the workspace's own file system and mount; tried {}: set \
         DEVSHELL_EXPORT_BASE or vm.workspace_parent to a folder there",
        tried.join(", ")
    ))
}

/// The mounts below a folder, none of them below another.
fn submounts(workspace: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut points: Vec<PathBuf> = mounts::mounts()?
        .into_iter()
        .map(|mount| mount.point)
        .filter(|point| point != workspace && point.starts_with(workspace))
        .collect();
    points.sort();
    let mut topmost: Vec<PathBuf> = Vec::new();
    for point in points {
        if !topmost.last().is_some_and(|above| point.starts_with(above)) {
            topmost.push(point);
        }
    }
    Ok(topmost)
}

/// The cache folders that are there and can be named without a walk: what a pattern without
/// wildcards says. The others are brought home when the run ends.
pub(super) fn cache_folders(workspace: &Path, patterns: &[String], rules: &Rules) -> Vec<PathBuf> {
    let Ok(root) = fs::open_dir(workspace) else {
        return Vec::new();
    };
    let mut found: Vec<PathBuf> = patterns
        .iter()
        .filter(|pattern| !pattern.starts_with(['!', '#']) && !pattern.contains(['*', '?', '[', '\\']))
        .map(|pattern| PathBuf::from(pattern.trim_matches('/')))
        .filter(|path| !path.as_os_str().is_empty() && rules.classify(path, true) == Class::Cache)
        // Without following a link: what lies outside is not a part of the workspace.
        .filter(|path| fs::open_beneath(&root, path).is_ok())
        .map(|path| workspace.join(path))
        .collect();
    found.sort();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caches_that_are_there_and_have_a_plain_name_are_found() {
        let temp = tempfile::tempdir().unwrap();
        for folder in ["target", "a/cache", "other"] {
            std::fs::create_dir_all(temp.path().join(folder)).unwrap();
        }
        std::os::unix::fs::symlink("/tmp", temp.path().join("out")).unwrap();
        std::fs::write(temp.path().join("file"), "").unwrap();
        let patterns: Vec<String> = [
            "target/", "/a/cache", "gone/", "o*/", "out/", "file", "!target2", "../x", "target",
        ]
        .map(str::to_owned)
        .to_vec();
        let rules = Rules::new(&[], &patterns).unwrap();
        let found = cache_folders(temp.path(), &patterns, &rules);
        assert_eq!(found, [temp.path().join("a/cache"), temp.path().join("target")]);
    }

    #[test]
    fn a_file_system_that_cannot_hold_a_layer_is_named_with_what_was_tried() {
        let temp = tempfile::tempdir().unwrap();
        let places = [ViewPlace::lasting("/proc/x".into())];
        let why = find(temp.path(), &places).err().unwrap();
        assert!(why.contains("`/proc/x` (on another file system or mount)"), "{why}");
        assert!(why.contains("DEVSHELL_EXPORT_BASE"), "{why}");
    }
}
