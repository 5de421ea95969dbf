//! Finding, applying and dropping kept results.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use crate::sys::fs;
use crate::vfs::Vfs;
use crate::workspace::content::slot_name;
use crate::workspace::error::At as _;
use crate::workspace::{Baseline, CancelFn, CommitReport, Rules, SyncError, commit};

use super::manifest::{FILES, Manifest};
use super::originals::Originals;
use super::{RESULTS, ResultSummary, ResultsError};

/// A kept result that was opened; as long as it is, nobody else removes or applies it.
#[derive(Debug)]
pub struct KeptResult {
    /// What it is.
    pub summary: ResultSummary,
    folder: PathBuf,
    manifest: Manifest,
    _lock: OwnedFd,
}

impl KeptResult {
    /// Where the content lies that this result has for a file, by its path relative to the workspace.
    #[must_use]
    pub fn content(&self, relative: &Path) -> Option<PathBuf> {
        let slot = self.manifest.slot(relative)?;
        Some(self.folder.join(FILES).join(slot_name(slot)))
    }

    /// The workspace with this result's changes laid over it, and what the commit needs.
    ///
    /// # Errors
    /// [`ResultsError`] when the workspace or the result cannot be read.
    pub fn over(&self, workspace: &Path) -> Result<(Vfs, Baseline, Rules), ResultsError> {
        let mut vfs = Vfs::from_dir(workspace).map_err(SyncError::from)?;
        let damaged = || ResultsError::Damaged {
            path: self.folder.clone(),
        };
        let baseline = self
            .manifest
            .restore(&mut vfs, &self.folder.join(FILES))
            .ok_or_else(damaged)?;
        let rules = Rules::new(&self.manifest.ignore, &self.manifest.cache_dirs).map_err(|_| damaged())?;
        Ok((vfs, Baseline::Index(baseline), rules))
    }
}

/// The kept results of a workspace, newest first. One that is damaged is left out.
///
/// # Errors
/// [`SyncError::Io`] when the folder cannot be read.
pub fn list(state_dir: &Path) -> Result<Vec<ResultSummary>, SyncError> {
    let results = state_dir.join(RESULTS);
    let ids = ids(&results).at("list", &results)?;
    Ok(ids
        .iter()
        .rev()
        .filter_map(|id| Some(Manifest::load(&results.join(id))?.summary(id)))
        .collect())
}

/// The full id of the one result that begins with `prefix`.
///
/// # Errors
/// [`ResultsError::NotFound`], [`ResultsError::Ambiguous`].
pub fn resolve(state_dir: &Path, prefix: &str) -> Result<String, ResultsError> {
    let results = state_dir.join(RESULTS);
    let mut found: Vec<String> = ids(&results)
        .at("list", &results)?
        .into_iter()
        .filter(|id| !prefix.is_empty() && id.starts_with(prefix))
        .collect();
    match found.len() {
        0 => Err(ResultsError::NotFound(prefix.to_owned())),
        1 => Ok(found.remove(0)),
        _ => match found.iter().position(|id| id == prefix) {
            Some(exact) => Ok(found.remove(exact)),
            None => Err(ResultsError::Ambiguous {
                prefix: prefix.to_owned(),
                ids: found,
            }),
        },
    }
}

/// Opens a result by its full id.
///
/// # Errors
/// [`ResultsError::NotFound`], [`ResultsError::Damaged`], [`ResultsError::InUse`].
pub fn load(state_dir: &Path, id: &str) -> Result<KeptResult, ResultsError> {
    if !is_id(id) {
        return Err(ResultsError::NotFound(id.to_owned()));
    }
    let results = state_dir.join(RESULTS);
    let results = results
        .canonicalize()
        .map_err(|_| ResultsError::NotFound(id.to_owned()))?;
    let folder = results.join(id);
    let lock = fs::open_dir(&folder).map_err(|_| ResultsError::NotFound(id.to_owned()))?;
    if !fs::try_lock(&lock).at("lock", &folder)? {
        return Err(ResultsError::InUse(id.to_owned()));
    }
    let Some(manifest) = Manifest::load(&folder) else {
        return Err(ResultsError::Damaged { path: folder });
    };
    Ok(KeptResult {
        summary: manifest.summary(id),
        folder,
        manifest,
        _lock: lock,
    })
}

/// Applies a result to the workspace, by the same way and with the same conflict check as the
/// run that it comes from, but that an entry which was put back to what it was is no conflict.
/// Applied, it is kept no longer. The caller holds the workspace's lock; `area` is as for
/// [`commit`].
///
/// # Errors
/// [`ResultsError`]; the result then stays.
pub fn apply(
    state_dir: &Path,
    id: &str,
    workspace: &Path,
    area: &Path,
    cancel: CancelFn,
) -> Result<CommitReport, ResultsError> {
    let kept = load(state_dir, id)?;
    let (mut vfs, mut baseline, rules) = kept.over(workspace)?;
    if let Baseline::Index(baseline) = &mut baseline {
        Originals::load(&kept.folder).recognise(&vfs, baseline);
    }
    let report = commit(&mut vfs, &mut baseline, workspace, area, &rules, cancel)?;
    // Applied is applied: what cannot be removed now goes with the next retention. It is held meanwhile: a child that
    // another thread is about to start may share the lock for a moment, and no new one could be had then.
    let _ = fs::open_dir(&state_dir.join(RESULTS)).and_then(|results| fs::remove_tree(&results, id.as_ref()));
    drop(kept);
    Ok(report)
}

/// Drops one result, also a damaged one.
///
/// # Errors
/// [`ResultsError::NotFound`], [`ResultsError::InUse`], or a failed removal.
pub fn drop_result(state_dir: &Path, id: &str) -> Result<(), ResultsError> {
    let results = state_dir.join(RESULTS);
    if !is_id(id) || !results.join(id).is_dir() {
        return Err(ResultsError::NotFound(id.to_owned()));
    }
    match remove(&results, id) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(ResultsError::InUse(id.to_owned())),
        other => Ok(other.at("remove", results.join(id))?),
    }
}

/// Drops all results of a workspace; returns how many there were.
///
/// # Errors
/// As [`drop_result`], at the first that cannot be dropped.
pub fn drop_all(state_dir: &Path) -> Result<u64, ResultsError> {
    let results = state_dir.join(RESULTS);
    let mut count = 0;
    for id in ids(&results).at("list", &results)? {
        drop_result(state_dir, &id)?;
        count += 1;
    }
    Ok(count)
}

/// The ids in a folder of results, oldest first; none where the folder is missing.
pub(super) fn ids(results: &Path) -> io::Result<Vec<String>> {
    let folder = match fs::open_dir(results) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let names = fs::names(&folder)?;
    Ok(names
        .into_iter()
        .filter_map(|name| name.into_string().ok())
        .filter(|name| is_id(name))
        .collect())
}

/// Removes a result that nobody uses.
pub(super) fn remove(results: &Path, id: &str) -> io::Result<()> {
    let folder = fs::open_dir(results)?;
    let lock = fs::open_child_dir(&folder, id.as_ref())?;
    if !fs::try_lock(&lock)? {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    fs::remove_tree(&folder, id.as_ref())
}

/// Only such names can be results: `20261123-203012-1a2b`.
fn is_id(name: &str) -> bool {
    let parts: Vec<&str> = name.split('-').collect();
    let [date, time, tail] = parts[..] else { return false };
    let digits = |text: &str, len| text.len() == len && text.bytes().all(|byte| byte.is_ascii_digit());
    digits(date, 8) && digits(time, 6) && !tail.is_empty() && tail.bytes().all(|byte| byte.is_ascii_hexdigit())
}
