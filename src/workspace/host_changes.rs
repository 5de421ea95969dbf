//! What the host does to the workspace while tools work behind an overlay: what can be put together is, and what
//! cannot be is a conflict that leaves the workspace alone.

use std::fs;
use std::path::{Path, PathBuf};

use super::roundtrip::{Bench, snapshot};
use super::view_bench::{View, shell};
use super::{CommitError, ConflictReason};

/// The tree that each case begins with; all its times lie in the past.
const TREE: &str = "
    mkdir -p src/deep/er lib
    echo a >src/a; echo b >src/b; echo c >src/deep/c; echo d >src/deep/er/d; echo l >lib/l; echo r >root
    ln -s a src/link
    find . -depth -exec touch -h -d 2020-01-01 {} +
";

/// Runs the case; gives the conflicts, if it came to that.
fn run(tool: &str, host: &str, then: &str) -> Option<Vec<(PathBuf, ConflictReason)>> {
    let bench = Bench::new();
    shell(bench.real(""), TREE);
    let view = View::begin(&bench)?;
    view.run_around(tool, || shell(bench.real(""), host), then);
    let before = snapshot(&bench.real(""));
    match view.finish() {
        Ok(_) => {
            let expected = bench.temp.path().join("expected");
            fs::create_dir(&expected).unwrap();
            for script in [TREE, tool, host, then] {
                shell(&expected, script);
            }
            assert_eq!(shape(&bench.real("")), shape(&expected), "{tool} | {host} | {then}");
            Some(Vec::new())
        }
        Err(CommitError::Conflict { paths }) => {
            assert_eq!(snapshot(&bench.real("")), before, "{tool} | {host} | {then}");
            Some(
                paths
                    .into_iter()
                    .map(|conflict| (conflict.path, conflict.reason))
                    .collect(),
            )
        }
        Err(error) => panic!("{tool} | {host} | {then}: {error:?}"),
    }
}

/// A tree without its times.
fn shape(root: &Path) -> Vec<(PathBuf, String, String)> {
    snapshot(root)
        .into_iter()
        .map(|(path, mode, _, content)| (path, mode, content))
        .collect()
}

/// For each: what the tool does, and what the host does meanwhile.
fn all_clean(cases: &[(&str, &str)]) {
    for (tool, host) in cases {
        // The tool before the host, and after it.
        for (first, then) in [(*tool, "true"), ("ls -lR >/dev/null; cat src/a", *tool)] {
            if let Some(conflicts) = run(first, host, then) {
                assert_eq!(conflicts, [], "{tool} | {host}");
            }
        }
    }
}

/// For each: what the tool does, what the host does meanwhile, and where they are at odds.
fn all_conflicts(cases: &[(&str, &str, &str, ConflictReason)]) {
    for (tool, host, path, reason) in cases {
        if let Some(conflicts) = run(tool, host, "true") {
            let named = conflicts.contains(&(PathBuf::from(path), *reason));
            assert!(named, "{tool} | {host}: {conflicts:?}");
        }
    }
}

#[test]
fn what_the_host_does_elsewhere_is_no_conflict() {
    all_clean(&[
        ("echo 2 >>src/a", "true"),
        ("echo 2 >>src/a", "echo 3 >>src/b"),
        (
            "echo 2 >>src/a; chmod 600 lib/l",
            "echo 3 >>src/deep/c; chmod 600 src/b",
        ),
        ("echo n >src/n", "echo h >src/h"),
        ("echo n >src/deep/n", "echo h >src/deep/h"),
        ("echo n >src/deep/n; mkdir src/deep/er/e", "rm src/b"),
        ("echo n >n", "echo h >h; mkdir other; mv lib lib2"),
        ("echo 2 >>root", "rm -r lib"),
        ("rm -r lib", "echo 3 >>src/a; echo h >src/deep/h"),
        ("mv src/a src/z", "echo 3 >>src/b"),
        ("mv root root2; mv src/a a", "echo 3 >>src/b"),
        ("mv src/a lib/a", "true"),
        ("mv lib/l src/deep/er/l", "echo h >src/h"),
        ("mv src/deep lib/deep", "echo h >src/h"),
        ("rm -r src/deep; mkdir src/deep; echo c2 >src/deep/c", "echo h >src/h"),
        (
            "rm src/link; ln -s b src/link; rm src/a; mkdir src/a; echo x >src/a/x",
            "echo 3 >>src/b",
        ),
        ("rm -r src/deep; echo file >src/deep", "echo 3 >>src/b"),
        (
            "rm -r src/deep; ln -s /etc src/deep; rm -r lib; ln -s .. lib",
            "echo 3 >>src/b",
        ),
        ("chmod 700 . src", "echo 3 >>src/b"),
    ]);
}

#[test]
fn both_doing_the_same_is_no_conflict() {
    all_clean(&[
        ("echo same >src/n", "echo same >src/n"),
        ("echo same >n", "echo same >n"),
        ("ln -sfn a src/n", "ln -sfn a src/n"),
        ("rm -f src/deep/c", "rm -f src/deep/c"),
        ("rm -f root", "rm -f root"),
        ("echo 2 >src/a", "echo 2 >src/a"),
    ]);
}

#[test]
fn an_entry_that_the_host_changed_is_a_conflict() {
    use ConflictReason::{Appeared, Changed, Missing};
    all_conflicts(&[
        ("echo 2 >>src/a", "echo 3 >>src/a", "src/a", Changed),
        ("echo 2 >>root", "echo 3 >>root", "root", Changed),
        (
            "echo 2 >>src/a",
            "echo A >src/a; touch -d 2020-01-01 src/a",
            "src/a",
            Changed,
        ),
        ("echo 2 >>src/a", "chmod 600 src/a", "src/a", Changed),
        ("echo 2 >>src/a", "touch src/a", "src/a", Changed),
        ("echo 2 >>src/a", "mv src/b src/a", "src/a", Changed),
        ("echo 2 >>src/a", "ln -f src/b src/a", "src/a", Changed),
        ("echo 2 >>src/a", "rm src/a; mkdir src/a", "src/a", Changed),
        ("echo 2 >>src/a", "ln -sf /etc/passwd src/a", "src/a", Changed),
        ("echo 2 >>src/a", "rm src/a", "src/a", Missing),
        ("echo 2 >>src/deep/c", "mv src/deep/c lib/c", "src/deep/c", Missing),
        ("echo 2 >>root", "rm root", "root", Missing),
        ("rm src/a", "echo 3 >>src/a", "src/a", Changed),
        ("rm root", "echo 3 >>root", "root", Changed),
        (
            "rm src/link; ln -s b src/link",
            "ln -sfn x src/link",
            "src/link",
            Changed,
        ),
        ("chmod 600 src/a", "echo 3 >>src/a", "src/a", Changed),
        ("echo n >src/n", "echo h >src/n", "src/n", Changed),
        (
            "echo n >src/deep/er/n",
            "echo h >src/deep/er/n",
            "src/deep/er/n",
            Changed,
        ),
        ("echo n >n", "echo h >n", "n", Appeared),
        ("mkdir n; echo n >n/x", "mkdir n; echo h >n/x", "n/x", Changed),
        ("echo n >n", "ln -s /etc/passwd n", "n", Appeared),
        ("mv src/a src/z", "echo 3 >>src/a", "src/a", Changed),
        ("rm src/a; mkdir src/a", "echo 3 >>src/a", "src/a", Changed),
    ]);
}

#[test]
fn a_folder_on_the_way_that_the_host_moved_or_changed_is_a_conflict() {
    use ConflictReason::{Changed, Missing, NoFolder};
    all_conflicts(&[
        ("echo 2 >>src/a", "chmod 700 src", "src", Changed),
        ("echo n >src/deep/n", "chmod 700 src/deep", "src/deep", Changed),
        ("chmod 711 src/deep", "chmod 700 src/deep", "src/deep", Changed),
        ("chmod 711 .", "chmod 700 .", "", Changed),
        (
            "echo n >src/deep/n",
            "mv src/deep d2; mkdir src/deep",
            "src/deep",
            Changed,
        ),
        ("echo n >src/n", "mv src s2; mkdir src", "src", Changed),
        ("echo n >src/n", "mv src s2; cp -a s2 src", "src", Changed),
        ("echo 2 >>src/a", "mv src s2", "src", Missing),
        ("rm src/a", "mv src s2", "src", Missing),
        ("echo 2 >>src/deep/c", "rm -r src/deep", "src/deep", Missing),
        ("rm src/deep/c", "mv src/deep lib/deep", "src/deep", Missing),
        (
            "chmod 711 src/deep; echo n >src/deep/n",
            "mv src/deep lib/deep",
            "src/deep",
            Missing,
        ),
        ("echo 2 >>src/deep/er/d", "mv src/deep lib/deep", "src/deep", Missing),
        (
            "echo n >src/deep/n",
            "rm -r src/deep; ln -s ../lib src/deep",
            "src/deep",
            NoFolder,
        ),
        ("echo n >src/n", "mv src s2; ln -s /etc src", "src", NoFolder),
        ("echo n >src/n", "mv src s2; echo file >src", "src", NoFolder),
        (
            "echo n >src/deep/er/n",
            "mv src/deep src/e; mv lib src/deep; mkdir src/deep/er",
            "src/deep",
            Changed,
        ),
    ]);
}

#[test]
fn what_the_host_changed_in_a_folder_that_goes_is_a_conflict() {
    use ConflictReason::Changed;
    all_conflicts(&[
        ("rm -r src/deep", "echo 3 >>src/deep/er/d", "src/deep/er/d", Changed),
        ("rm -r src/deep", "echo h >src/deep/er/h", "src/deep/er/h", Changed),
        ("rm -r src", "chmod 700 src/deep", "src/deep", Changed),
        ("rm -r src; mkdir src", "echo 3 >>src/deep/c", "src/deep/c", Changed),
        (
            "rm -r src; mkdir src; echo new >src/a",
            "echo 3 >>src/a",
            "src/a",
            Changed,
        ),
        (
            "rm -r src/deep; mkdir src/deep; echo x >src/deep/c",
            "echo h >src/deep/h",
            "src/deep",
            Changed,
        ),
        (
            "rm -r src; echo file >src",
            "echo 3 >>src/deep/er/d",
            "src/deep/er/d",
            Changed,
        ),
        ("rm -r src; ln -s lib src", "mv lib/l src/deep/l", "src/deep/l", Changed),
    ]);
}

/// Where the clock cannot tell, nothing of the host's is overwritten.
#[test]
fn the_two_cases_that_cannot_be_told_apart_end_on_the_safe_side() {
    // Entries of the host's own in a folder and in its parent: the folder might be another one.
    if let Some(conflicts) = run("echo n >src/deep/n", "echo h >src/deep/h; echo h >src/h", "true") {
        assert_eq!(conflicts, [("src/deep".into(), ConflictReason::Changed)]);
    }
    // A file that was replaced on one side and deleted on the other is a new one.
    let Some(conflicts) = run("echo new >t; mv t src/a", "true", "true") else {
        return;
    };
    assert_eq!(conflicts, []);
    let bench = Bench::new();
    shell(bench.real(""), TREE);
    let Some(view) = View::begin(&bench) else { return };
    view.run("echo new >t; mv t src/a");
    fs::remove_file(bench.real("src/a")).unwrap();
    view.finish().unwrap();
    assert_eq!(fs::read(bench.real("src/a")).unwrap(), b"new\n");
}
