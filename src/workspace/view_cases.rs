//! What a view can hold, collected and committed: layers, marks of the kernel, entries that are hard to read.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use super::results::{self, NewResult};
use super::roundtrip::{Bench, put, snapshot};
use super::view_bench::{View, shell};
use super::{CommitError, Layers, PullReport};
use crate::sys::fs as sys;
use crate::vfs::{Content, Node, Vfs};

/// The paths of the changes of a Vfs with a letter for what each is.
fn changes(vfs: &Vfs) -> Vec<String> {
    let letter = |node: &Node| match node {
        Node::File(_) => "file",
        Node::Dir { replaces: true, .. } => "new folder",
        Node::Dir { .. } => "folder",
        Node::Symlink { .. } => "link",
        Node::Deleted => "gone",
    };
    let relative = |path: &crate::vfs::VfsPath| path.strip_prefix(&vfs.workspace()).unwrap().display().to_string();
    vfs.changes()
        .map(|(path, node)| format!("{} {}", letter(node), relative(path)))
        .collect()
}

/// The names of a file's extended attributes, though its mode may forbid to read it.
fn attributes(path: &Path) -> Vec<String> {
    let fd = crate::vfs::open_content(&path.canonicalize().unwrap()).unwrap();
    let mut names = sys::attributes(&fd).unwrap();
    names.sort_unstable();
    names.into_iter().map(|name| name.into_string().unwrap()).collect()
}

#[test]
fn only_what_changed_is_a_change() {
    let bench = Bench::new();
    for file in ["same", "touched", "mode", "text", "d/x", "d/y", "gone/a/b"] {
        bench.write(file, "content");
    }
    shell(
        bench.real(""),
        "ln -s same link; ln -s same turned; chmod 644 same mode d/x",
    );
    let Some(view) = View::begin(&bench) else { return };
    view.run(
        "chmod 600 same; chmod 644 same; cp -p d/x d/z; mv d/z d/x; touch -d 2001-01-01 touched; chmod 755 mode
         echo more >>text; rm link; ln -s same link; rm turned; ln -s text turned; rm -r gone; mkdir -p new/deep
         touch d/t; rm d/t",
    );
    let mut vfs = bench.vfs();
    let pulled = view.collect(&mut vfs);
    let wanted = [
        "gone gone",
        "gone gone/a",
        "gone gone/a/b",
        "file mode",
        "new folder new",
        "new folder new/deep",
    ];
    assert_eq!(changes(&vfs)[..6], wanted);
    assert_eq!(changes(&vfs)[6..], ["file text", "file touched", "link turned"]);
    assert_eq!(
        (pulled.report.files, pulled.report.deleted, pulled.report.bytes),
        (6, 3, 7 + 12 + 7)
    );
}

#[test]
fn no_mark_of_the_kernel_reaches_the_workspace_or_a_kept_result() {
    for keep in [false, true] {
        let bench = Bench::new();
        for file in ["plain", "readonly", "closed", "moved"] {
            bench.write(file, "before");
        }
        shell(bench.real(""), "chmod 444 readonly; chmod 600 closed");
        let Some(view) = View::begin(&bench) else { return };
        view.run(
            "echo 2 >>plain; chmod 555 readonly; echo 2 >>closed; chmod 0 closed; mv moved elsewhere; echo n >new
             mkdir made",
        );
        // As the kernel stores what a tool has set itself.
        let upper = &view.layers.uppers[0];
        let fd = fs::File::open(upper.join("plain")).unwrap();
        sys::set_attribute(&fd, "user.overlay.overlay.opaque".as_ref(), b"own").unwrap();
        sys::set_attribute(&fd, "user.other".as_ref(), b"o").unwrap();
        let mtime = upper.join("readonly").metadata().unwrap().mtime_nsec();

        let mut vfs = bench.vfs();
        let mut pulled = view.collect(&mut vfs);
        if keep {
            let state = bench.temp.path().join("state");
            let new = NewResult {
                run_id: "r".into(),
                class: "tool".into(),
                tool: None,
            };
            let kept = results::keep(
                &mut vfs,
                &pulled.baseline,
                &bench.rules,
                &state,
                &state.join("w"),
                &new,
                &|| false,
            );
            let id = kept.unwrap().unwrap();
            for file in fs::read_dir(state.join("w/results").join(&id).join("files")).unwrap() {
                let left = attributes(&file.unwrap().path());
                assert!(
                    left.is_empty() || left == ["user.other", "user.overlay.opaque"],
                    "{left:?}"
                );
            }
            let area = bench.temp.path().join("area");
            results::apply(&state.join("w"), &id, &bench.real(""), &area, &|| false).unwrap();
        } else {
            bench.commit(&mut vfs, &mut pulled.baseline).unwrap();
        }
        assert_eq!(attributes(&bench.real("plain")), ["user.other", "user.overlay.opaque"]);
        for file in ["readonly", "closed", "elsewhere", "new"] {
            assert_eq!(attributes(&bench.real(file)), [""; 0], "{file}");
        }
        let meta = bench.real("readonly").metadata().unwrap();
        assert_eq!((meta.mode() & 0o7777, meta.mtime_nsec()), (0o555, mtime));
        assert_eq!(bench.real("closed").metadata().unwrap().mode() & 0o7777, 0);
        let folder = sys::open_dir(&bench.real("made")).unwrap();
        assert!(sys::attributes(&folder).unwrap().is_empty());
    }
}

#[test]
fn a_kept_result_still_knows_what_the_host_had_changed() {
    for (script, host) in [("echo 2 >>src/a", "echo 3 >>src/a"), ("echo n >src/n", "mv src s2")] {
        let bench = Bench::new();
        bench.write("src/a", "a");
        let Some(view) = View::begin(&bench) else { return };
        view.run_around(script, || shell(bench.real(""), host), "true");
        let mut vfs = bench.vfs();
        let pulled = view.collect(&mut vfs);
        let state = bench.temp.path().join("state");
        let new = NewResult {
            run_id: "r".into(),
            class: "tool".into(),
            tool: None,
        };
        let kept = results::keep(
            &mut vfs,
            &pulled.baseline,
            &bench.rules,
            &state,
            &state.join("w"),
            &new,
            &|| false,
        );
        let area = bench.temp.path().join("area");
        let applied = results::apply(
            &state.join("w"),
            &kept.unwrap().unwrap(),
            &bench.real(""),
            &area,
            &|| false,
        );
        let conflict = matches!(
            applied,
            Err(results::ResultsError::Commit(CommitError::Conflict { .. }))
        );
        assert!(conflict, "{applied:?}");
    }
}

#[test]
fn layers_count_from_the_lowest_and_a_dropped_one_leaves_nothing() {
    let bench = Bench::new();
    for file in ["a", "b", "d/x", "d/y", "e/x"] {
        bench.write(file, "real");
    }
    let Some(mut view) = View::begin(&bench) else { return };
    view.run("echo 1 >>a; echo 1 >>d/x; mkdir made; echo 1 >made/one; echo 1 >made/two; rm -r e; echo 1 >gone");
    view.layer();
    view.run("rm a; echo spoilt >>b; rm -r d made");
    // That attempt failed.
    let dropped = view.layers.uppers.pop().unwrap();
    fs::rename(&dropped, bench.temp.path().join("upper-dropped")).unwrap();
    view.layer();
    view.run(
        "echo 2 >>a; rm -r d; mkdir d; echo 2 >d/z; rm made/one; mv made/two made/three; rm gone; mkdir e; mv a e/a",
    );
    view.layer();
    view.run("echo 3 >>e/a; rm d/z; chmod 700 d; echo 3 >made/four; echo a3 >a");
    view.finish().unwrap();
    let expected = bench.temp.path().join("expected");
    shell(
        bench.temp.path(),
        "mkdir expected; cd expected; printf real >b; mkdir -p d e made; printf 'real1\n2\n3\n' >e/a; chmod 700 d
         echo 1 >made/three; echo 3 >made/four; echo a3 >a",
    );
    let shape = |root: PathBuf| {
        snapshot(&root)
            .into_iter()
            .map(|(path, mode, _, content)| (path, mode, content))
    };
    assert_eq!(
        shape(bench.real("")).collect::<Vec<_>>(),
        shape(expected).collect::<Vec<_>>()
    );
}

#[test]
fn a_file_of_a_lower_layer_that_is_copied_up_is_new_to_the_workspace() {
    let bench = Bench::new();
    bench.write("d/x", "x");
    let Some(mut view) = View::begin(&bench) else { return };
    view.run("echo 1 >d/made");
    view.layer();
    // The host stirs the folder: what came from the workspace and is gone would count as deleted by it.
    view.run_around("echo 2 >>d/made", || shell(bench.real("d"), "echo h >h"), "true");
    view.finish().unwrap();
    assert_eq!(fs::read(bench.real("d/made")).unwrap(), b"1\n2\n");
}

#[test]
fn specials_are_told_of_and_their_deletion_is_carried() {
    let bench = Bench::new();
    bench.write("file", "f");
    bench.write("d/x", "x");
    shell(bench.real(""), "mkfifo pipe chmodded replaced d/pipe d/kept");
    let Some(view) = View::begin(&bench) else { return };
    view.run("rm pipe file; mkfifo file new; chmod 600 chmodded; rm replaced; echo r >replaced; rm -r d");
    let mut vfs = bench.vfs();
    let mut pulled = view.collect(&mut vfs);
    let specials: Vec<&str> = pulled
        .report
        .specials
        .iter()
        .map(|path| path.to_str().unwrap())
        .collect();
    assert_eq!(specials, ["chmodded", "file", "new"]);
    bench.commit(&mut vfs, &mut pulled.baseline).unwrap();
    assert_eq!(snapshot(&bench.real("")).len(), 3, "{:?}", snapshot(&bench.real("")));
    assert!(bench.real("chmodded").metadata().unwrap().file_type().is_fifo());
    assert_eq!(fs::read(bench.real("replaced")).unwrap(), b"r\n");
}

#[test]
fn names_modes_and_hard_links_of_every_kind_come_back() {
    let bench = Bench::new();
    bench.write("shut/in", "in");
    bench.write("d/x", "x");
    let Some(view) = View::begin(&bench) else { return };
    view.run(
        r#"odd=$(printf 'a\377\n b'); echo odd >"$odd"; mkdir "d/$odd"; ln "$odd" "d/$odd/second"
           echo w >writeonly; chmod 200 writeonly; echo n >none; chmod 0 none; echo suid >suid; chmod 4711 suid
           mkdir -p dark/er; echo deep >dark/er/f; chmod 0 dark/er/f; chmod 100 dark/er; chmod 0 dark
           chmod 500 shut; chmod 0 d/x; mkdir n; chmod 1777 n"#,
    );
    view.finish().unwrap();
    let expected = bench.temp.path().join("expected");
    shell(
        bench.temp.path(),
        r#"mkdir -p expected/d expected/shut; cd expected; printf in >shut/in; printf x >d/x
           odd=$(printf 'a\377\n b'); echo odd >"$odd"; mkdir "d/$odd"; echo odd > "d/$odd/second"
           echo w >writeonly; chmod 200 writeonly; echo n >none; chmod 0 none; echo suid >suid; chmod 4711 suid
           mkdir -p dark/er; echo deep >dark/er/f; chmod 0 dark/er/f; chmod 700 dark/er; chmod 700 dark
           chmod 500 shut; chmod 0 d/x; mkdir n; chmod 1777 n"#,
    );
    let mode = |path: &str| bench.real(path).metadata().unwrap().mode() & 0o7777;
    assert_eq!(mode("dark"), 0);
    super::roundtrip::chmod(bench.real("dark"), 0o700);
    assert_eq!(mode("dark/er"), 0o100);
    super::roundtrip::chmod(bench.real("dark/er"), 0o700);
    let shape = |root: PathBuf| {
        snapshot(&root)
            .into_iter()
            .map(|(path, mode, _, content)| (path, mode, content))
    };
    assert_eq!(
        shape(bench.real("")).collect::<Vec<_>>(),
        shape(expected).collect::<Vec<_>>()
    );
}

#[test]
fn ignored_hidden_and_cached_entries_are_not_collected() {
    let bench = Bench::with_rules(&["*.log", "/out/"], &["target/"]);
    for file in ["a.log", "out/x", "target/t", "d/b.log", "d/x", "own/state", "old/c.log"] {
        bench.write(file, "real");
    }
    let Some(mut view) = View::begin(&bench) else { return };
    view.run(
        "echo 2 >>a.log; rm -r out target d/b.log old; echo n >n.log; mkdir -p crate/target; echo n >crate/target/n",
    );
    view.layers.hidden = vec!["own".into()];
    let own = view.layers.uppers[0].join("own");
    put(&own.join("upper"), "devshell's");
    let mut vfs = bench.vfs();
    let mut pulled = view.collect(&mut vfs);
    assert_eq!(changes(&vfs), ["new folder crate", "gone old"]);
    bench.commit(&mut vfs, &mut pulled.baseline).unwrap();
    for file in ["a.log", "out/x", "target/t", "d/b.log", "d/x", "own/state", "old/c.log"] {
        assert_eq!(fs::read(bench.real(file)).unwrap(), b"real", "{file}");
    }
    assert!(!bench.real("n.log").exists() && !bench.real("crate/target").exists());
}

#[test]
fn folders_come_back_with_the_times_that_they_have_in_the_view() {
    let bench = Bench::new();
    bench.write("d/x", "x");
    bench.write("e/x", "x");
    shell(bench.real(""), "touch -d 2020-06-01 d e .");
    let Some(view) = View::begin(&bench) else { return };
    view.run("touch d/n; mkdir -p new/deep; touch -d 2001-06-01 d new/deep new; echo 2 >>e/x; touch -d 2002-06-02 .");
    view.finish().unwrap();
    let year = |path: &str| 1970 + bench.real(path).metadata().unwrap().mtime() / 31_556_952;
    assert_eq!(
        [year("d"), year("new"), year("new/deep"), year("e"), year("")],
        [2001, 2001, 2001, 2020, 2002]
    );
}

#[test]
fn another_folder_in_the_workspaces_place_is_a_conflict() {
    let bench = Bench::new();
    bench.write("x", "x");
    let Some(view) = View::begin(&bench) else { return };
    view.run("echo 2 >>x");
    fs::rename(bench.real(""), bench.temp.path().join("w.old")).unwrap();
    fs::create_dir(bench.real("")).unwrap();
    let Err(CommitError::Conflict { paths }) = view.finish() else {
        panic!("it was committed")
    };
    assert_eq!(paths[0].to_string(), "`.` changed");
}

#[test]
fn a_view_in_which_nothing_was_done_gives_nothing_and_contents_go_by_reference() {
    let bench = Bench::new();
    bench.write("x", "x");
    let Some(view) = View::begin(&bench) else { return };
    view.run("ls -lR; cat x");
    let mut vfs = bench.vfs();
    assert_eq!(view.collect(&mut vfs).report, PullReport::default());
    assert_eq!(vfs.changes().count(), 0);
    view.run("echo 2 >>x");
    view.collect(&mut vfs);
    let Some((_, Node::File(file))) = vfs.changes().next() else {
        panic!("no change")
    };
    let Content::File { path, len, .. } = &file.content else {
        panic!("{file:?}")
    };
    assert_eq!((path, *len), (&view.layers.uppers[0].join("x"), 3));
    // Without layers there is nothing to collect.
    let none = super::collect(
        &Layers::default(),
        &view.beginning,
        &bench.rules,
        &mut vfs,
        None,
        &|| false,
    );
    assert_eq!(none.unwrap().report, PullReport::default());
}
