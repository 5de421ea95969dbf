//! Keeping a result.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::sys::fs::{self, CopyMemory};
use crate::vfs::{Content, Node, Vfs, VfsPath};
use crate::workspace::content::{move_content, put, slot_name};
use crate::workspace::error::At as _;
use crate::workspace::{Baseline, CancelFn, Rules, SyncError};

use super::RESULTS;
use super::manifest::{FILES, MANIFEST, Manifest};
use super::originals::{ORIGINALS, Originals};
use super::retain::prune;

/// A result in the making begins with this; it does not count yet.
pub(super) const UNFINISHED: &str = ".new-";

/// What the result's list shows of the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewResult {
    /// The run that it comes from.
    pub run_id: String,
    /// The class of that run's end.
    pub class: String,
    /// The tool that decided that end.
    pub tool: Option<String>,
}

/// Keeps the changes of `vfs` below `state_dir`, the workspace's own folder in `state_root`, and
/// then lets older results go: at most 3 a workspace, 7 days, 2 GiB below `state_root`; the
/// newest always stays. Contents are moved where they can be, and the Vfs refers to them at
/// their new place. Returns the id, or `None` when nothing was changed.
///
/// # Errors
/// [`SyncError`]; the contents are then where they were, and nothing is kept.
pub fn keep(
    vfs: &mut Vfs,
    baseline: &Baseline,
    rules: &Rules,
    state_root: &Path,
    state_dir: &Path,
    new: &NewResult,
    cancel: CancelFn,
) -> Result<Option<String>, SyncError> {
    let Baseline::Index(baseline) = baseline else {
        return Ok(None);
    };
    if vfs.changes().next().is_none() {
        return Ok(None);
    }
    let results = state_dir.join(RESULTS);
    fs::make_private_dirs(&results).at("make the folder", &results)?;
    let results = results.canonicalize().at("find", &results)?;
    let folder = fs::open_dir(&results).at("open", &results)?;
    remove_unfinished(&folder).at("clean", &results)?;

    let id = time_name(|id| results.join(id).exists());
    let temp = results.join(format!("{UNFINISHED}{id}"));
    let mut moved = Vec::new();
    let manifest = Manifest::describe(vfs, baseline, rules, new);
    let originals = Originals::read(vfs, baseline, cancel);
    let write = |moved: &mut Vec<(u32, PathBuf)>| -> Result<(), SyncError> {
        fs::make_private_dirs(&temp.join(FILES)).at("make the folder", &temp)?;
        let files = fs::open_dir(&temp.join(FILES)).at("open", &temp)?;
        bring(vfs, &files, &temp, moved, cancel)?;
        std::fs::write(temp.join(MANIFEST), manifest.encode().at("describe", &temp)?).at("write", &temp)?;
        // A result is as good without them, and a disk that is all but full must not cost it.
        if !originals
            .encode()
            .is_ok_and(|bytes| std::fs::write(temp.join(ORIGINALS), bytes).is_ok())
        {
            let _ = std::fs::remove_file(temp.join(ORIGINALS));
        }
        // A power cut must not leave a result that counts and is not whole.
        fs::sync_file_system(&files).at("bring to the disk", &temp)?;
        std::fs::rename(&temp, results.join(&id)).at("finish", &temp)?;
        fs::sync_file(&folder).at("bring to the disk", &results)
    };
    if let Err(error) = write(&mut moved) {
        for (slot, from) in moved {
            let _ = std::fs::rename(temp.join(FILES).join(slot_name(slot)), from);
        }
        let _ = remove_unfinished(&folder);
        return Err(error);
    }
    point_to(vfs, &results.join(&id).join(FILES));
    prune(state_root, &results, &id);
    Ok(Some(id))
}

/// Brings every content into `files`, numbered as the changes are.
fn bring(
    vfs: &Vfs,
    files: &OwnedFd,
    temp: &Path,
    moved: &mut Vec<(u32, PathBuf)>,
    cancel: CancelFn,
) -> Result<(), SyncError> {
    let memory = CopyMemory::default();
    for ((_, node), slot) in vfs.changes().zip(0..) {
        let Node::File(file) = node else { continue };
        if let Content::File { path, .. } = &file.content
            && move_content(path, files, &slot_name(slot)).at("move", path)?
        {
            moved.push((slot, path.clone()));
            continue;
        }
        put(node, files, &slot_name(slot), &temp.join(FILES), &memory, cancel)?;
    }
    Ok(())
}

fn point_to(vfs: &mut Vfs, files: &Path) {
    let paths: Vec<VfsPath> = vfs.changes().map(|(path, _)| path.clone()).collect();
    for (path, slot) in paths.iter().zip(0..) {
        if let Some(Node::File(file)) = vfs.change_mut(path) {
            file.content = Content::File {
                path: files.join(slot_name(slot)),
                len: file.content.len(),
                lease: None,
            };
        }
    }
}

fn remove_unfinished(results: &OwnedFd) -> io::Result<()> {
    for name in fs::names(results)? {
        if name.to_string_lossy().starts_with(UNFINISHED) {
            fs::remove_tree(results, &name)?;
        }
    }
    Ok(())
}

/// A name that sorts by time, such as `20261123-203012-1a2b`, and is not `taken`.
pub fn time_name(taken: impl Fn(&str) -> bool) -> String {
    let now = SystemTime::now();
    let time: String = humantime::format_rfc3339_seconds(now)
        .to_string()
        .chars()
        .filter_map(|letter| match letter {
            'T' => Some('-'),
            digit => digit.is_ascii_digit().then_some(digit),
        })
        .collect();
    // The tail is the time within the second, so that names sort by time there as well.
    let nanos = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.subsec_nanos());
    let tail = u64::from(nanos) * 0x1_0000 / 1_000_000_000;
    (tail..)
        .map(|tail| format!("{time}-{tail:04x}"))
        .find(|id| !taken(id))
        .unwrap_or(time)
}
