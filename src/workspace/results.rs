//! Kept results: the changes of a run that were not committed, kept to look at or to apply later.

mod diff;
mod keep;
mod manifest;
mod originals;
mod retain;
mod store;

use std::io;
use std::path::{Path, PathBuf};

use crate::sys::fs::Time;

use super::{CommitError, SyncError};

pub use diff::diff;
pub use keep::{NewResult, keep, time_name};
pub use store::{KeptResult, apply, drop_all, drop_result, list, load, resolve};

/// The folder of kept results in a workspace's state folder.
pub(crate) const RESULTS: &str = "results";

/// Where the kept results of a workspace lie in its state folder.
#[must_use]
pub fn folder(state_dir: &Path) -> PathBuf {
    state_dir.join(RESULTS)
}

/// What is known of a kept result without opening its contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResultSummary {
    /// Its name, such as `20261123-203012-1a2b`; names sort by time.
    pub id: String,
    /// When it was kept.
    pub created: Time,
    /// The run that it comes from.
    pub run_id: String,
    /// The class of that run's end.
    pub class: String,
    /// The tool that decided that end.
    pub tool: Option<String>,
    /// Entries to be written.
    pub written: u64,
    /// Entries to be deleted.
    pub deleted: u64,
    /// Bytes of its contents.
    pub bytes: u64,
}

/// Why a kept result could not be used.
#[derive(Debug, thiserror::Error)]
pub enum ResultsError {
    /// No result has this name, or one that begins so.
    #[error("there is no kept result `{0}`; `devshell results list` shows those that are there")]
    NotFound(String),
    /// Several results begin so.
    #[error("`{prefix}` is the beginning of several kept results: {}", ids.join(", "))]
    Ambiguous {
        /// As given.
        prefix: String,
        /// What it may mean.
        ids: Vec<String>,
    },
    /// Its manifest cannot be read.
    #[error("the kept result `{}` is damaged; `devshell results drop` removes it", path.display())]
    Damaged {
        /// Its folder.
        path: PathBuf,
    },
    /// Another devshell is using it.
    #[error("the kept result `{0}` is being used by another devshell")]
    InUse(String),
    /// It could not be written out.
    #[error("cannot write the differences")]
    Output(#[source] io::Error),
    /// It could not be read or moved.
    #[error(transparent)]
    Sync(#[from] SyncError),
    /// It could not be applied; it stays.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::CommitError;
    use crate::workspace::roundtrip::{Bench, chmod, put, snapshot};
    use std::fs;
    use std::os::unix::fs::symlink;

    fn new() -> NewResult {
        NewResult {
            run_id: "run".to_owned(),
            class: "tool".to_owned(),
            tool: Some("test".to_owned()),
        }
    }

    /// A kept result of a run that changed, made and deleted entries; the staging is overwritten since.
    fn kept() -> (Bench, PathBuf, String) {
        let bench = Bench::new();
        bench.write("text", "one\ntwo\nthree\n");
        bench.write("binary", "b");
        bench.write("script", "#!");
        bench.write("gone", "g");
        bench.write("deep/down", "d");
        symlink("text", bench.real("moved")).unwrap();
        chmod(bench.real("script"), 0o644);
        let (mut vfs, pulled) = bench.run(|bench| {
            put(&bench.staged("text"), "one\n2\nthree\n");
            fs::write(bench.staged("binary"), b"\xff\0").unwrap();
            chmod(bench.staged("script"), 0o755);
            fs::remove_file(bench.staged("gone")).unwrap();
            fs::remove_dir_all(bench.staged("deep")).unwrap();
            put(&bench.staged("deep"), "a file now\n");
            put(&bench.staged("new/file"), "fresh\n");
            symlink("text", bench.staged("link")).unwrap();
            fs::remove_file(bench.staged("moved")).unwrap();
            symlink("a\nb", bench.staged("moved")).unwrap();
        });
        let root = bench.temp.path().join("state");
        let state = root.join("key");
        let id = keep(&mut vfs, &pulled.baseline, &bench.rules, &root, &state, &new(), &|| {
            false
        })
        .unwrap()
        .unwrap();
        assert_eq!(vfs.read_file("/w/new/file").unwrap(), b"fresh\n");
        bench.push(&bench.vfs());
        (bench, state, id)
    }

    #[test]
    fn a_kept_result_is_listed_shown_and_applied() {
        let (bench, state, id) = kept();
        let listed = list(&state).unwrap();
        assert_eq!(listed.len(), 1);
        let summary = &listed[0];
        assert_eq!((summary.id.as_str(), summary.class.as_str()), (id.as_str(), "tool"));
        assert_eq!(
            (summary.written, summary.deleted, summary.bytes),
            (8, 2, 12 + 2 + 2 + 11 + 6)
        );
        assert_eq!(resolve(&state, &id[..4]).unwrap(), id);
        assert!(matches!(resolve(&state, "9999"), Err(ResultsError::NotFound(_))));

        let mut out = Vec::new();
        diff(&load(&state, &id).unwrap(), &bench.real(""), &mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "M binary\nbinary files differ\n\
             T deep\n--- /dev/null\n+++ b/deep\n@@ -0,0 +1 @@\n+a file now\n\
             D deep/down\nD gone\nA link (link to text)\nM moved (link text -> \"a\\nb\")\nA new\n\
             A new/file\n--- /dev/null\n+++ b/new/file\n@@ -0,0 +1 @@\n+fresh\n\
             M script (mode 644 -> 755)\n\
             M text\n--- a/text\n+++ b/text\n@@ -1,3 +1,3 @@\n one\n-two\n+2\n three\n"
        );

        let area = bench.temp.path().join("area");
        let report = apply(&state, &id, &bench.real(""), &area, &|| false).unwrap();
        assert_eq!((report.written, report.deleted), (8, 3));
        assert_eq!(fs::read(bench.real("text")).unwrap(), b"one\n2\nthree\n");
        assert_eq!(fs::read(bench.real("deep")).unwrap(), b"a file now\n");
        assert!(!bench.real("gone").exists());
        assert!(list(&state).unwrap().is_empty());
    }

    #[test]
    fn a_reader_that_goes_away_ends_the_differences_and_is_told_apart() {
        /// Takes one line.
        struct Closed(Vec<u8>);
        impl io::Write for Closed {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                if self.0.contains(&b'\n') {
                    return Err(io::ErrorKind::BrokenPipe.into());
                }
                self.0.extend(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (bench, state, id) = kept();
        let mut out = Closed(Vec::new());
        let error = diff(&load(&state, &id).unwrap(), &bench.real(""), &mut out).unwrap_err();
        let ResultsError::Output(source) = error else {
            panic!("{error:?}");
        };
        assert_eq!(source.kind(), io::ErrorKind::BrokenPipe);
        assert!(out.0.starts_with(b"M binary"));
    }

    #[test]
    fn a_result_is_not_applied_to_another_folder_by_the_same_name() {
        let (bench, state, id) = kept();
        fs::rename(bench.real(""), bench.temp.path().join("w.old")).unwrap();
        fs::create_dir(bench.real("")).unwrap();
        let area = bench.temp.path().join("area");
        let result = apply(&state, &id, &bench.real(""), &area, &|| false);
        let Err(ResultsError::Commit(CommitError::Conflict { paths })) = result else {
            panic!("{result:?}");
        };
        assert_eq!(paths[0].to_string(), "`.` changed");
        assert!(fs::read_dir(bench.real("")).unwrap().next().is_none());
        assert_eq!(list(&state).unwrap().len(), 1);
    }

    #[test]
    fn a_kept_result_is_its_owners_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let (_bench, state, id) = kept();
        let results = state.join("results");
        for folder in [&state, &results, &results.join(&id), &results.join(&id).join("files")] {
            assert_eq!(
                folder.metadata().unwrap().permissions().mode() & 0o777,
                0o700,
                "{folder:?}"
            );
        }
    }

    #[test]
    fn a_conflict_leaves_the_workspace_and_the_result_as_they_were() {
        let (bench, state, id) = kept();
        bench.write("text", "edited since");
        let before = (snapshot(&bench.real("")), snapshot(&state));
        let area = bench.temp.path().join("area");
        let result = apply(&state, &id, &bench.real(""), &area, &|| false);
        assert!(matches!(
            result,
            Err(ResultsError::Commit(CommitError::Conflict { .. }))
        ));
        assert_eq!((snapshot(&bench.real("")), snapshot(&state)), before);
    }

    #[test]
    fn what_was_put_back_to_what_it_was_is_no_conflict_whatever_its_time() {
        let (bench, state, id) = kept();
        let area = bench.temp.path().join("area");
        for (path, text) in [("text", "one\ntwo\nthree\n"), ("gone", "g")] {
            bench.write(path, "an editor");
            let result = apply(&state, &id, &bench.real(""), &area, &|| false);
            assert!(matches!(
                result,
                Err(ResultsError::Commit(CommitError::Conflict { .. }))
            ));
            fs::remove_file(bench.real(path)).unwrap();
            bench.write(path, text);
        }
        // As long, and not the same.
        bench.write("deep/down", "D");
        let result = apply(&state, &id, &bench.real(""), &area, &|| false);
        let Err(ResultsError::Commit(CommitError::Conflict { paths })) = result else {
            panic!("{result:?}");
        };
        assert_eq!(paths.len(), 1, "{paths:?}");
        bench.write("deep/down", "d");
        chmod(bench.real("text"), 0o600);
        let mode = bench.real("text").metadata().unwrap();
        assert!(
            apply(&state, &id, &bench.real(""), &area, &|| false).is_err(),
            "{mode:?}"
        );
        chmod(bench.real("text"), 0o644);
        apply(&state, &id, &bench.real(""), &area, &|| false).unwrap();
        assert_eq!(fs::read(bench.real("text")).unwrap(), b"one\n2\nthree\n");
        assert!(!bench.real("gone").exists() && bench.real("deep").is_file());
    }

    #[test]
    fn without_what_the_originals_were_the_times_decide() {
        let (bench, state, id) = kept();
        fs::remove_file(state.join("results").join(&id).join("originals")).unwrap();
        bench.write("text", "one\ntwo\nthree\n");
        let area = bench.temp.path().join("area");
        assert!(apply(&state, &id, &bench.real(""), &area, &|| false).is_err());
    }

    #[test]
    fn a_kept_content_is_found_by_the_path_of_its_file() {
        let (_bench, state, id) = kept();
        let open = load(&state, &id).unwrap();
        let content = open.content("new/file".as_ref()).unwrap();
        assert_eq!(fs::read(content).unwrap(), b"fresh\n");
        assert_eq!(open.content("gone".as_ref()), None);
    }

    #[test]
    fn a_result_in_use_is_not_dropped_and_a_damaged_one_can_be() {
        let (_bench, state, id) = kept();
        let open = load(&state, &id).unwrap();
        assert!(matches!(drop_result(&state, &id), Err(ResultsError::InUse(_))));
        assert!(matches!(load(&state, &id), Err(ResultsError::InUse(_))));
        drop(open);
        fs::write(state.join("results").join(&id).join("manifest"), "x").unwrap();
        assert!(matches!(load(&state, &id), Err(ResultsError::Damaged { .. })));
        assert!(list(&state).unwrap().is_empty());
        assert_eq!(drop_all(&state).unwrap(), 1);
        assert!(matches!(drop_result(&state, &id), Err(ResultsError::NotFound(_))));
        assert!(matches!(drop_result(&state, "../key"), Err(ResultsError::NotFound(_))));
    }

    #[test]
    fn a_run_that_changed_nothing_keeps_nothing() {
        let bench = Bench::new();
        bench.write("a", "a");
        let (mut vfs, pulled) = bench.run(|_| {});
        let root = bench.temp.path().join("state");
        let kept = keep(
            &mut vfs,
            &pulled.baseline,
            &bench.rules,
            &root,
            &root.join("k"),
            &new(),
            &|| false,
        );
        assert_eq!(kept.unwrap(), None);
        assert!(!root.exists());
    }
}
