//! Any tree and any work of tools on it: what the staging holds is what the workspace gets, or
//! the workspace stays as it was.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::commit::fault;
use super::roundtrip::{Bench, put, snapshot};
use crate::vfs::{Node, Vfs};

/// One thing that a person or a tool does to a tree. Whatever does not fit is left out.
#[derive(Debug, Clone)]
enum Deed {
    Write(PathBuf, u8, u32),
    MakeDir(PathBuf),
    Link(PathBuf, u8),
    Chmod(PathBuf, u32),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf),
    HardLink(PathBuf, PathBuf),
}

fn path() -> impl Strategy<Value = PathBuf> {
    let name = prop_oneof![Just("a"), Just("a-b"), Just("b"), Just("c\n"), Just(" d")];
    prop::collection::vec(name, 1..4).prop_map(|parts| parts.iter().collect())
}

fn file_mode() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0o644), Just(0o755), Just(0o400), Just(0o4711)]
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        4 => (path(), 0..4u8, file_mode()).prop_map(|(path, content, mode)| Deed::Write(path, content, mode)),
        1 => path().prop_map(Deed::MakeDir),
        1 => (path(), 0..3u8).prop_map(|(path, target)| Deed::Link(path, target)),
        1 => (path(), prop_oneof![Just(0o700), Just(0o555), Just(0o755)]).prop_map(|(path, mode)| Deed::Chmod(path, mode)),
        2 => path().prop_map(Deed::Remove),
        2 => (path(), path()).prop_map(|(from, to)| Deed::Rename(from, to)),
        1 => (path(), path()).prop_map(|(from, to)| Deed::HardLink(from, to)),
    ]
}

fn act(root: &Path, deed: &Deed) {
    // Whether it can be done depends on what was done before; both are fine.
    let _ = match deed {
        Deed::Write(path, content, mode) => {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap())
                .and_then(|()| fs::write(&path, vec![*content; usize::from(*content) * 700]))
                .and_then(|()| fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(*mode)))
        }
        Deed::MakeDir(path) => fs::create_dir_all(root.join(path)),
        Deed::Link(path, target) => symlink(["a", "/no/way", "../a-b"][usize::from(*target)], root.join(path)),
        Deed::Chmod(path, mode) => match root.join(path).symlink_metadata() {
            Ok(meta) if meta.is_dir() => {
                fs::set_permissions(root.join(path), std::os::unix::fs::PermissionsExt::from_mode(*mode))
            }
            _ => Ok(()),
        },
        Deed::Remove(path) => match root.join(path).symlink_metadata() {
            Ok(meta) if meta.is_dir() => fs::remove_dir_all(root.join(path)),
            _ => fs::remove_file(root.join(path)),
        },
        Deed::Rename(from, to) => fs::rename(root.join(from), root.join(to)),
        Deed::HardLink(from, to) => fs::hard_link(root.join(from), root.join(to)),
    };
}

/// A snapshot without the times.
fn shape(root: &Path) -> Vec<(PathBuf, String, String)> {
    snapshot(root)
        .into_iter()
        .map(|(path, mode, _, content)| (path, mode, content))
        .collect()
}

/// The mtimes of what the Vfs has changed and is about to write.
fn times(vfs: &Vfs) -> Vec<(PathBuf, i64, u32)> {
    vfs.changes()
        .filter_map(|(path, node)| {
            let mtime = match node {
                Node::File(file) => file.mtime,
                Node::Dir { mtime, .. } | Node::Symlink { mtime, .. } => *mtime,
                Node::Deleted => None,
            }?;
            let relative = path.strip_prefix(&vfs.workspace())?.to_owned();
            Some((relative, mtime.secs(), mtime.nanos()))
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_workspace_becomes_what_the_staging_is(
        tree in prop::collection::vec(deed(), 0..25),
        tools in prop::collection::vec(deed(), 0..25),
        fail_at in 0..30usize,
        no_exchange in any::<bool>(),
    ) {
        let bench = Bench::new();
        put(&bench.real("always"), "there");
        for deed in &tree {
            act(&bench.real(""), deed);
        }
        let mut vfs = bench.vfs();
        // What an ordinary user may not read is refused, and that is tested elsewhere.
        let index = bench.temp.path().join("index");
        let Ok(pushed) = super::push(&vfs, &bench.staged(""), &index, &bench.rules, &|| false) else {
            return Ok(());
        };
        prop_assert_eq!(snapshot(&bench.staged("")), snapshot(&bench.real("")));
        for deed in &tools {
            act(&bench.staged(""), deed);
        }
        let wanted = shape(&bench.staged(""));
        let mut pulled = bench.pull(&pushed, &mut vfs);

        let before = snapshot(&bench.real(""));
        let changes = vfs.changes().count();
        fault::FAIL_AT.set(Some(fail_at));
        fault::NO_EXCHANGE.set(no_exchange);
        let times = times(&vfs);
        let outcome = bench.commit(&mut vfs, &mut pulled.baseline);
        fault::FAIL_AT.set(None);
        if outcome.is_err() {
            prop_assert_eq!(snapshot(&bench.real("")), before, "{:?}", outcome);
            prop_assert_eq!(vfs.changes().count(), changes);
            // Undone, it can be done again.
            let again = bench.commit(&mut vfs, &mut pulled.baseline);
            prop_assert!(again.is_ok(), "{:?}", again);
        }
        for (path, secs, nanos) in times {
                let meta = bench.real(&path).symlink_metadata().unwrap();
                prop_assert_eq!((meta.mtime(), meta.mtime_nsec()), (secs, i64::from(nanos)), "{:?}", path);
        }
        fault::NO_EXCHANGE.set(false);
        prop_assert_eq!(shape(&bench.real("")), wanted);
        let report = bench.push(&bench.vfs()).report;
        prop_assert_eq!(snapshot(&bench.staged("")), snapshot(&bench.real("")), "{:?}", report);
    }
}
