//! How long results are kept.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::sys::fs::{self, Time};

use super::RESULTS;
use super::manifest::Manifest;
use super::store::{ids, remove};

/// Results of one workspace.
const MOST: usize = 3;
/// Their age.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);
/// Bytes of all results of all workspaces.
const LARGEST: u64 = 2 * 1024 * 1024 * 1024;

/// Lets results go that are too many or too old in `results`, and the oldest of all workspaces
/// while all of them are too large together. `newest` stays whatever its size. What cannot be
/// removed, or is in use, stays for the next time.
pub(super) fn prune(state_root: &Path, results: &Path, newest: &str) {
    let own = ids(results).unwrap_or_default();
    for (rank, id) in own.iter().rev().enumerate() {
        let too_old = || {
            let created = Manifest::load(&results.join(id)).map(|manifest| manifest.created());
            created.is_none_or(|created| created.plus(LONGEST) < Time::now())
        };
        if id != newest && (rank >= MOST || too_old()) {
            let _ = remove(results, id);
        }
    }
    prune_by_size(state_root, &results.join(newest), LARGEST);
}

fn prune_by_size(state_root: &Path, newest: &Path, limit: u64) {
    let mut all: Vec<(String, PathBuf, u64)> = Vec::new();
    for workspace in std::fs::read_dir(state_root).into_iter().flatten().flatten() {
        let results = workspace.path().join(RESULTS);
        for id in ids(&results).unwrap_or_default() {
            let size = Manifest::load(&results.join(&id)).map_or(0, |manifest| manifest.summary(&id).bytes);
            all.push((id, results.clone(), size));
        }
    }
    all.sort();
    let mut total: u64 = all.iter().map(|(_, _, size)| size).sum();
    for (id, results, size) in all {
        if total <= limit {
            return;
        }
        let is_newest = fs::same_file(&results.join(&id), newest);
        if !is_newest && remove(&results, &id).is_ok() {
            total -= size;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vfs::Vfs;
    use crate::workspace::{Baseline, IndexBaseline, Rules};

    fn keep(root: &Path, key: &str, bytes: usize) -> String {
        let new = super::super::NewResult {
            run_id: "r".to_owned(),
            class: "tool".to_owned(),
            tool: None,
        };
        let mut vfs = Vfs::new();
        vfs.write_file("/w/f", vec![0; bytes], 0o644).unwrap();
        let baseline = Baseline::Index(IndexBaseline::default());
        let rules = Rules::carry_all();
        super::super::keep(&mut vfs, &baseline, &rules, root, &root.join(key), &new, &|| false)
            .unwrap()
            .unwrap()
    }

    #[test]
    fn the_three_newest_of_a_workspace_stay() {
        let temp = tempfile::tempdir().unwrap();
        let other = keep(temp.path(), "other", 1);
        let kept: Vec<String> = (0..5).map(|_| keep(temp.path(), "w", 1)).collect();
        assert_eq!(ids(&temp.path().join("w/results")).unwrap(), kept[2..]);
        assert_eq!(ids(&temp.path().join("other/results")).unwrap(), [other]);
    }

    #[test]
    fn the_oldest_go_when_all_are_too_large_together_and_the_newest_stays_alone() {
        let temp = tempfile::tempdir().unwrap();
        keep(temp.path(), "a", 1000);
        keep(temp.path(), "b", 1000);
        let newest = keep(temp.path(), "w", 5000);
        prune_by_size(temp.path(), &temp.path().join("w/results").join(&newest), 7500);
        let count = |key: &str| ids(&temp.path().join(key).join("results")).unwrap().len();
        assert_eq!(count("a") + count("b"), 2);
        prune_by_size(temp.path(), &temp.path().join("w/results").join(&newest), 6500);
        assert_eq!(count("a") + count("b"), 1);
        prune_by_size(temp.path(), &temp.path().join("w/results").join(&newest), 10);
        assert_eq!((count("a"), count("b"), count("w")), (0, 0, 1));
    }
}
