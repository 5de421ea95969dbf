//! What tools write into cache folders behind an overlay is there afterwards, whatever became of the run.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};

use super::KeptCaches;
use super::roundtrip::{Bench, snapshot};
use super::view_bench::{View, shell};
use crate::sys::fs as sys;

fn keep(view: &View) -> KeptCaches {
    super::keep_caches(&view.layers, &view.bench.rules, &view.bench.real(""), &|| false).unwrap()
}

fn shape(root: PathBuf) -> Vec<(PathBuf, String, String)> {
    snapshot(&root)
        .into_iter()
        .map(|(path, mode, _, content)| (path, mode, content))
        .collect()
}

/// No mark of the kernel in a whole tree.
fn assert_plain(root: &Path) {
    for entry in walkdir::WalkDir::new(root) {
        let entry = entry.unwrap();
        if entry.file_type().is_dir() || entry.file_type().is_file() {
            let fd = fs::File::open(entry.path()).unwrap();
            assert!(sys::attributes(&fd).unwrap().is_empty(), "{:?}", entry.path());
        }
    }
}

#[test]
fn a_new_cache_is_moved_whole_and_an_old_one_entry_by_entry() {
    let bench = Bench::with_rules(&[], &["target/", "/.cache/"]);
    for file in [
        "a/target/old",
        "a/target/gone",
        "a/target/d/x",
        "a/target/f/x",
        "a/src",
        "b/target/z",
        "b/src",
    ] {
        bench.write(file, "real");
    }
    shell(bench.real(""), "touch -d 2020-06-01 a b .");
    let script = "
        echo 2 >>a/target/old; rm a/target/gone; rm -r a/target/d; mkdir a/target/d; echo y >a/target/d/y
        rm -r a/target/f; echo file >a/target/f; ln -s old a/target/link; mkdir -p a/target/new/deep
        echo n >a/target/new/deep/n; chmod 555 a/target/new/deep; chmod 444 a/target/old
        mkdir -p .cache/k; echo k >.cache/k/k; ln .cache/k/k .cache/second; chmod 550 .cache; rm -r b/target";
    let Some(view) = View::begin(&bench) else { return };
    view.run(&format!("{script}; echo 2 >>a/src; mkfifo a/target/pipe"));
    let kept = keep(&view);
    assert!(kept.failed.is_empty() && kept.left.is_empty(), "{kept:?}");
    assert_eq!((kept.moved, kept.removed), (6, 2), "{kept:?}");
    let expected = bench.temp.path().join("expected");
    shell(
        bench.temp.path(),
        "mkdir -p expected/a/target/d expected/a/target/f expected/b/target; cd expected
         for f in a/target/old a/target/gone a/target/d/x a/target/f/x a/src b/target/z b/src; do printf real >$f; done",
    );
    shell(&expected, script);
    assert_eq!(shape(bench.real("")), shape(expected));
    assert_plain(&bench.real(""));
    for folder in ["a", "b", ""] {
        assert_eq!(
            bench.real(folder).metadata().unwrap().mtime() / 31_556_952,
            50,
            "{folder}"
        );
    }
}

#[test]
fn a_cache_in_a_folder_that_the_run_made_comes_after_the_commit() {
    for commit in [false, true] {
        let bench = Bench::with_rules(&[], &["target/"]);
        bench.write("x", "x");
        let Some(view) = View::begin(&bench) else { return };
        view.run("mkdir -p new/target; echo n >new/target/n; echo n >new/n");
        if commit {
            view.finish().unwrap();
        }
        let kept = keep(&view);
        assert!(kept.failed.is_empty());
        assert_eq!(
            kept.left,
            if commit {
                vec![]
            } else {
                vec![PathBuf::from("new/target")]
            }
        );
        assert_eq!(bench.real("new/target/n").exists(), commit);
    }
}

#[test]
fn layers_are_merged_in_a_cache_as_well() {
    let bench = Bench::with_rules(&[], &["target/"]);
    bench.write("x", "x");
    let Some(mut view) = View::begin(&bench) else { return };
    view.run("mkdir -p target/d; echo 1 >target/one; echo 1 >target/d/gone; echo 1 >target/d/kept");
    view.layer();
    view.run("echo 2 >>target/one; rm target/d/gone; echo 2 >target/d/two");
    let kept = keep(&view);
    assert!(kept.failed.is_empty(), "{kept:?}");
    assert_eq!(fs::read(bench.real("target/one")).unwrap(), b"1\n2\n");
    let mut names: Vec<_> = fs::read_dir(bench.real("target/d"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["kept", "two"]);
    assert_plain(&bench.real(""));
}

#[test]
fn what_is_no_folder_in_a_caches_place_is_left_alone_and_links_are_not_followed() {
    let bench = Bench::with_rules(&[], &["target/"]);
    bench.write("a/target/x", "x");
    bench.write("b/x", "x");
    let outside = bench.temp.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let Some(view) = View::begin(&bench) else { return };
    view.run("echo n >a/target/n; mkdir b/target; echo n >b/target/n; mkdir target; echo n >target/n");
    fs::rename(bench.real("a/target"), bench.temp.path().join("old")).unwrap();
    symlink(&outside, bench.real("a/target")).unwrap();
    fs::rename(bench.real("b"), bench.temp.path().join("old-b")).unwrap();
    symlink(&outside, bench.real("b")).unwrap();
    bench.write("target", "a file");
    let kept = keep(&view);
    assert_eq!((kept.moved, kept.failed.len(), kept.left.len()), (0, 2, 1), "{kept:?}");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    assert_eq!(fs::read(bench.real("target")).unwrap(), b"a file");
}

#[test]
fn a_cache_on_another_file_system_is_copied() {
    let bench = Bench::with_rules(&[], &["target/"]);
    bench.write("target/old", "old");
    let Ok(other) = tempfile::tempdir_in("/dev/shm") else {
        return super::roundtrip::skipped("needs /dev/shm on a file system of its own");
    };
    let Some(view) = View::begin(&bench) else { return };
    view.run(
        "echo 2 >>target/old; mkdir -p target/d c/target; echo x >target/d/x; ln -s x target/l; echo c >c/target/c",
    );
    shell(other.path(), "mkdir w w/c w/target; printf old >w/target/old");
    let workspace = other.path().join("w");
    let kept = super::keep_caches(&view.layers, &bench.rules, &workspace, &|| false).unwrap();
    assert!(kept.failed.is_empty(), "{kept:?}");
    assert_eq!(fs::read(workspace.join("target/old")).unwrap(), b"old2\n");
    assert_eq!(fs::read(workspace.join("target/d/x")).unwrap(), b"x\n");
    assert_eq!(fs::read_link(workspace.join("target/l")).unwrap(), Path::new("x"));
    assert_eq!(fs::read(workspace.join("c/target/c")).unwrap(), b"c\n");
    assert_plain(&workspace);
}
