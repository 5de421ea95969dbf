//! What the places, the host and the moment can do to a push, a pull or a commit.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use super::commit::fault;
use super::roundtrip::{Bench, chmod, is_root, put, skipped, snapshot};
use super::{Baseline, COMMIT_DIR, CommitError, Pulled, SyncError};
use crate::vfs::Vfs;

/// A run that does one of everything: 4 folders, replaced, new, deleted, swapped entries.
pub(super) fn rich() -> (Bench, Vfs, Pulled) {
    rich_at(Bench::new())
}

/// When everything was changed last in [`rich`], before and by the run.
const TIMES: [i64; 2] = [1_000_000_000, 1_100_000_000];

/// Gives everything that has not the first time the one that is wanted.
pub(super) fn set_times(root: &Path, wanted: i64) {
    for entry in walkdir::WalkDir::new(root).contents_first(true) {
        let path = entry.unwrap().into_path();
        if path.symlink_metadata().unwrap().mtime() != TIMES[0] {
            let parent = crate::sys::fs::open_dir(path.parent().unwrap()).unwrap();
            let time = crate::vfs::Time::new(wanted, 1);
            crate::sys::fs::set_mtime_at(parent, path.file_name().unwrap(), time).unwrap();
        }
    }
}

/// The same in a workspace of the caller's choice. It has the same times each time.
pub(super) fn rich_at(bench: Bench) -> (Bench, Vfs, Pulled) {
    for file in [
        "keep",
        "replace",
        "gone",
        "dir/a",
        "dir/b/c",
        "to-dir",
        "to-file/x",
        "ro/old",
        "mode/x",
    ] {
        bench.write(file, "before");
    }
    symlink("keep", bench.real("link")).unwrap();
    chmod(bench.real("ro"), 0o555);
    set_times(&bench.real(""), TIMES[0]);
    let (vfs, pulled) = bench.run(|bench| {
        put(&bench.staged("replace"), "after");
        fs::remove_file(bench.staged("gone")).unwrap();
        fs::remove_dir_all(bench.staged("dir")).unwrap();
        fs::remove_file(bench.staged("to-dir")).unwrap();
        put(&bench.staged("to-dir/deep/file"), "after");
        fs::remove_dir_all(bench.staged("to-file")).unwrap();
        put(&bench.staged("to-file"), "after");
        chmod(bench.staged("ro"), 0o755);
        put(&bench.staged("ro/new"), "after");
        fs::remove_file(bench.staged("ro/old")).unwrap();
        chmod(bench.staged("ro"), 0o555);
        chmod(bench.staged("mode"), 0o700);
        fs::remove_file(bench.staged("link")).unwrap();
        symlink("elsewhere", bench.staged("link")).unwrap();
        put(&bench.staged("new/closed/file"), "after");
        chmod(bench.staged("new/closed"), 0o500);
        set_times(&bench.staged(""), TIMES[1]);
    });
    (bench, vfs, pulled)
}

/// Lets the commit fail before each of its steps, and at last succeed.
fn fail_at_every_step(bench: &Bench, vfs: &mut Vfs, baseline: &mut Baseline, area: &Path) {
    let before = snapshot(&bench.real(""));
    let mut failures = 0;
    loop {
        fault::FAIL_AT.set(Some(failures));
        let outcome = super::commit(vfs, baseline, &bench.real(""), area, &bench.rules, &|| false);
        fault::FAIL_AT.set(None);
        match outcome {
            Ok(_) => break,
            Err(CommitError::Io(SyncError::Io { source, .. })) if source.to_string().contains("a test") => {
                failures += 1;
                assert!(failures < 1000, "it never succeeds");
            }
            Err(other) => panic!("at step {failures}: {other:?}"),
        }
        assert_eq!(snapshot(&bench.real("")), before, "at step {failures}");
        assert!(fs::read_dir(area).unwrap().next().is_none());
    }
    assert!(failures > 12, "{failures}");
    assert_eq!(fs::read(bench.real("to-file")).unwrap(), b"after");
    assert_eq!(fs::read(bench.real("to-dir/deep/file")).unwrap(), b"after");
    assert_eq!(fs::read(bench.real("ro/new")).unwrap(), b"after");
    assert_eq!(bench.real("ro").metadata().unwrap().mode() & 0o777, 0o555);
    assert_eq!(bench.real("new/closed").metadata().unwrap().mode() & 0o777, 0o500);
    assert_eq!(fs::read_link(bench.real("link")).unwrap(), Path::new("elsewhere"));
    assert!(!bench.real(COMMIT_DIR).exists());
}

#[test]
fn a_failure_at_any_step_leaves_the_workspace_as_it_was() {
    let (bench, mut vfs, mut pulled) = rich();
    let area = bench.temp.path().join("area");
    fail_at_every_step(&bench, &mut vfs, &mut pulled.baseline, &area);
}

#[test]
fn the_same_holds_where_entries_cannot_be_exchanged() {
    let (bench, mut vfs, mut pulled) = rich();
    let area = bench.temp.path().join("area");
    fault::NO_EXCHANGE.set(true);
    fail_at_every_step(&bench, &mut vfs, &mut pulled.baseline, &area);
    fault::NO_EXCHANGE.set(false);
}

#[test]
fn the_same_holds_when_the_state_lies_on_another_file_system() {
    let (bench, mut vfs, mut pulled) = rich();
    let device = |path: &Path| path.metadata().map(|meta| meta.dev()).ok();
    let elsewhere = Path::new("/dev/shm");
    if device(elsewhere).is_none() || device(elsewhere) == device(bench.temp.path()) {
        return skipped("needs /dev/shm on a file system of its own");
    }
    let area = tempfile::tempdir_in(elsewhere).unwrap();
    let root = bench.real("").metadata().unwrap();
    fail_at_every_step(&bench, &mut vfs, &mut pulled.baseline, area.path());
    // The root's own content changed, so its time is the one that it has in the view.
    assert_eq!(root.ino(), bench.real("").metadata().unwrap().ino());
}

/// Mounts a small tmpfs until it is dropped.
pub(super) struct Mount(std::path::PathBuf);

impl Mount {
    pub(super) fn tmpfs(at: &Path, size: &std::ffi::CStr) -> Option<Self> {
        use rustix::mount::{MountFlags, mount};
        fs::create_dir_all(at).unwrap();
        mount("tmpfs", at, "tmpfs", MountFlags::empty(), size).ok()?;
        Some(Self(at.to_owned()))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH);
    }
}

#[test]
fn a_full_disk_leaves_the_workspace_as_it_was_and_says_so() {
    let bench = Bench::new();
    let Some(_mount) = Mount::tmpfs(&bench.real(""), c"size=256k") else {
        return skipped("needs the right to mount a tmpfs");
    };
    bench.write("a", "before");
    let (mut vfs, mut pulled) = bench.run(|bench| {
        put(&bench.staged("a"), "after");
        fs::write(bench.staged("large"), vec![1; 1024 * 1024]).unwrap();
    });
    let before = snapshot(&bench.real(""));
    let error = bench.commit(&mut vfs, &mut pulled.baseline).unwrap_err();
    assert_eq!(snapshot(&bench.real("")), before);
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("the disk is full"), "{source}");
    assert_eq!(vfs.read_file("/w/large").unwrap().len(), 1024 * 1024);
}

#[test]
fn folders_on_a_mount_of_their_own_below_the_workspace_are_written_too() {
    let bench = Bench::new();
    let Some(_mount) = Mount::tmpfs(&bench.real("sub"), c"size=1m") else {
        return skipped("needs the right to mount a tmpfs");
    };
    bench.write("sub/replace", "before");
    bench.write("sub/gone", "before");
    bench.write("sub/dir/x", "before");
    bench.write("main", "before");
    let (mut vfs, mut pulled) = bench.run(|bench| {
        put(&bench.staged("sub/replace"), "after");
        put(&bench.staged("sub/new"), "after");
        symlink("new", bench.staged("sub/link")).unwrap();
        fs::remove_file(bench.staged("sub/gone")).unwrap();
        fs::remove_dir_all(bench.staged("sub/dir")).unwrap();
        put(&bench.staged("main"), "after");
    });
    let before = snapshot(&bench.real(""));
    for step in 0..6 {
        fault::FAIL_AT.set(Some(step));
        assert!(bench.commit(&mut vfs, &mut pulled.baseline).is_err());
        assert_eq!(snapshot(&bench.real("")), before, "at step {step}");
    }
    fault::FAIL_AT.set(None);
    bench.commit(&mut vfs, &mut pulled.baseline).unwrap();
    let names: Vec<_> = snapshot(&bench.real("")).into_iter().map(|(path, ..)| path).collect();
    let wanted = ["", "main", "sub", "sub/link", "sub/new", "sub/replace"];
    assert_eq!(names, wanted.map(std::path::PathBuf::from));
    assert_eq!(fs::read(bench.real("sub/replace")).unwrap(), b"after");
}

#[test]
fn a_workspace_that_may_not_be_written_is_left_alone() {
    if is_root() {
        return skipped("root may write everywhere; needs an ordinary user");
    }
    let bench = Bench::new();
    bench.write("a", "before");
    bench.write("foreign/b", "before");
    let (mut vfs, mut pulled) = bench.run(|bench| {
        put(&bench.staged("a"), "after");
        put(&bench.staged("foreign/b"), "after");
    });
    // The caller's own read-only folders are opened for the moment and closed again.
    chmod(bench.real("foreign"), 0o555);
    chmod(bench.real(""), 0o555);
    // Its own chmod is a change of the folder, and not of what is in it.
    let report = bench.commit(&mut vfs, &mut pulled.baseline).unwrap();
    assert_eq!(report.written, 2);
    assert_eq!(fs::read(bench.real("foreign/b")).unwrap(), b"after");
    assert_eq!(bench.real("foreign").metadata().unwrap().mode() & 0o777, 0o555);
    assert_eq!(bench.real("").metadata().unwrap().mode() & 0o777, 0o555);
    chmod(bench.real(""), 0o755);
}

#[test]
fn what_may_not_be_read_is_named_with_the_remedy() {
    if is_root() {
        return skipped("root may read everything; needs an ordinary user");
    }
    for (path, mode) in [("d/secret", 0), ("d", 0), ("d", 0o600)] {
        let bench = Bench::new();
        bench.write("d/secret", "s");
        chmod(bench.real(path), mode);
        let index = bench.temp.path().join("index");
        let error = super::push(&bench.vfs(), &bench.staged(""), &index, &bench.rules, &|| false).unwrap_err();
        let message = error.to_string();
        assert!(matches!(error, SyncError::Unreadable { .. }), "{error:?}");
        assert!(
            message.contains("/d") && message.contains("[workspace] ignore"),
            "{message}"
        );
        chmod(bench.real("d"), 0o755);
    }
}

#[test]
fn owners_are_kept_when_root_stages_and_commits() {
    if !is_root() {
        return skipped("needs root");
    }
    let bench = Bench::new();
    bench.write("d/edited", "before");
    bench.write("d/left", "before");
    for path in ["d", "d/edited", "d/left"] {
        std::os::unix::fs::chown(bench.real(path), Some(1234), Some(4321)).unwrap();
    }
    chmod(bench.real("d/edited"), 0o4755);
    let owner = |path: std::path::PathBuf| path.metadata().map(|meta| (meta.uid(), meta.gid())).unwrap();
    bench.run_and_commit(|bench| {
        for path in ["d", "d/edited", "d/left"] {
            assert_eq!(owner(bench.staged(path)), (1234, 4321));
        }
        fs::write(bench.staged("d/edited"), "after").unwrap();
        chmod(bench.staged("d/edited"), 0o4755);
        put(&bench.staged("d/new"), "after");
    });
    assert_eq!(owner(bench.real("d/edited")), (1234, 4321));
    assert_eq!(bench.real("d/edited").metadata().unwrap().mode() & 0o7777, 0o4755);
    assert_eq!(owner(bench.real("d/new")), (0, 0));
}

/// Lets the other thread end, also when this one fails.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_link_swapped_in_during_a_push_never_leads_outside() {
    let bench = Bench::new();
    for number in 0..20 {
        bench.write(&format!("sub/f{number}"), "inside");
        put(&bench.temp.path().join(format!("outside/f{number}")), "SECRET");
    }
    symlink("../outside", bench.real("swap")).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let root = crate::sys::fs::open_dir(&bench.real("")).unwrap();
            while !stop.load(Ordering::Relaxed) {
                crate::sys::fs::exchange(&root, "sub".as_ref(), &root, "swap".as_ref()).unwrap();
            }
        });
        let _stop = StopOnDrop(&stop);
        for _ in 0..40 {
            let _ = fs::remove_file(bench.temp.path().join("index"));
            // It may fail, since the tree never stands still; it may not be led astray.
            let index = bench.temp.path().join("index");
            let _ = super::push(&bench.vfs(), &bench.staged(""), &index, &bench.rules, &|| false);
            for (path, _, _, content) in snapshot(&bench.staged("")) {
                assert!(!content.contains("83, 69, 67"), "{path:?}");
            }
        }
    });
    assert_eq!(fs::read(bench.temp.path().join("outside/f1")).unwrap(), b"SECRET");
}

#[test]
fn a_link_that_a_tool_swaps_in_before_the_pull_is_carried_as_a_link() {
    let bench = Bench::new();
    bench.write("sub/f", "inside");
    put(&bench.temp.path().join("outside/f"), "SECRET");
    bench.run_and_commit(|bench| {
        fs::remove_dir_all(bench.staged("sub")).unwrap();
        symlink(bench.temp.path().join("outside"), bench.staged("sub")).unwrap();
    });
    assert_eq!(
        fs::read_link(bench.real("sub")).unwrap(),
        bench.temp.path().join("outside")
    );
    assert_eq!(fs::read(bench.temp.path().join("outside/f")).unwrap(), b"SECRET");
}

#[test]
fn a_file_of_holes_is_carried_without_filling_them() {
    let bench = Bench::new();
    let file = fs::File::create(bench.real("holes")).unwrap();
    file.set_len(1 << 30).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"island", 512 << 20).unwrap();
    drop(file);
    if bench.real("holes").metadata().unwrap().blocks() > 1 << 16 {
        return skipped("needs a file system with sparse files");
    }
    bench.push(&bench.vfs());
    let staged = bench.staged("holes").metadata().unwrap();
    assert_eq!(staged.len(), 1 << 30);
    assert!(staged.blocks() < 1 << 16, "{} blocks", staged.blocks());
    let mut island = [0; 6];
    let copy = fs::File::open(bench.staged("holes")).unwrap();
    std::os::unix::fs::FileExt::read_exact_at(&copy, &mut island, 512 << 20).unwrap();
    assert_eq!(&island, b"island");
}

#[test]
fn hard_links_are_parted() {
    let bench = Bench::new();
    bench.write("a", "before");
    fs::hard_link(bench.real("a"), bench.real("b")).unwrap();
    bench.run_and_commit(|bench| {
        assert_ne!(
            bench.staged("a").metadata().unwrap().ino(),
            bench.staged("b").metadata().unwrap().ino()
        );
        put(&bench.staged("a"), "after");
        fs::hard_link(bench.staged("a"), bench.staged("c")).unwrap();
    });
    assert_eq!(fs::read(bench.real("a")).unwrap(), b"after");
    assert_eq!(fs::read(bench.real("b")).unwrap(), b"before");
    assert_eq!(fs::read(bench.real("c")).unwrap(), b"after");
}

#[test]
fn a_wish_to_stop_is_heard_everywhere_and_changes_nothing() {
    let (bench, mut vfs, mut pulled) = rich();
    let before = snapshot(&bench.real(""));
    let area = bench.temp.path().join("area");
    let outcome = super::commit(
        &mut vfs,
        &mut pulled.baseline,
        &bench.real(""),
        &area,
        &bench.rules,
        &|| true,
    );
    assert!(matches!(outcome, Err(CommitError::Cancelled)));
    assert_eq!(snapshot(&bench.real("")), before);
    let index = bench.temp.path().join("index");
    let pushed = super::push(&vfs, &bench.staged(""), &index, &bench.rules, &|| true);
    assert!(matches!(pushed, Err(SyncError::Cancelled)));
    let pushed = bench.push(&bench.vfs());
    let pulled = super::pull(&pushed, &bench.rules, &mut bench.vfs(), None, &|| true);
    assert!(matches!(pulled, Err(SyncError::Cancelled)));
}

#[test]
fn a_tree_in_memory_goes_in_and_comes_back() {
    let bench = Bench::new();
    let mut vfs = Vfs::new();
    vfs.write_file("/hello/a.txt", "a", 0o640).unwrap();
    vfs.write_file("/hello/gone", "g", 0o644).unwrap();
    vfs.symlink("a.txt", "/hello/link").unwrap();
    vfs.mkdir("/hello/empty").unwrap();
    let pushed = bench.push(&vfs);
    assert_eq!(fs::read(bench.staged("hello/a.txt")).unwrap(), b"a");
    assert_eq!(bench.staged("hello/a.txt").metadata().unwrap().mode() & 0o777, 0o640);
    assert!(bench.staged("hello/empty").is_dir());
    fs::remove_file(bench.staged("hello/gone")).unwrap();
    put(&bench.staged("hello/new/b.txt"), "b");
    let pulled = bench.pull(&pushed, &mut vfs);
    assert_eq!((pulled.report.files, pulled.report.deleted), (2, 1));
    assert_eq!(vfs.read_dir("/hello").unwrap(), ["a.txt", "empty", "link", "new"]);
    assert_eq!(vfs.read_file("/hello/new/b.txt").unwrap(), b"b");
    assert_eq!(vfs.read_file("/hello/a.txt").unwrap(), b"a");

    // Pushed once more, the Vfs refers to contents in this very staging.
    let pushed = bench.push(&vfs);
    assert_eq!(fs::read(bench.staged("hello/new/b.txt")).unwrap(), b"b");
    let pulled = bench.pull(&pushed, &mut vfs);
    assert_eq!((pulled.report.files, pulled.report.deleted), (0, 0));
}

#[test]
fn changes_made_before_the_push_are_staged_and_committed_with_the_rest() {
    let bench = Bench::new();
    for file in ["edited", "removed/x", "removed/y", "both", "kept"] {
        bench.write(file, "before");
    }
    let mut vfs = bench.vfs();
    vfs.write_file("/w/edited", "by the caller", 0o644).unwrap();
    vfs.write_file("/w/both", "by the caller", 0o644).unwrap();
    vfs.remove("/w/removed").unwrap();
    vfs.write_file("/w/removed/z", "by the caller", 0o644).unwrap();
    let pushed = bench.push(&vfs);
    assert_eq!(fs::read(bench.staged("edited")).unwrap(), b"by the caller");
    assert!(!bench.staged("removed/x").exists());
    put(&bench.staged("both"), "by the tool");
    let mut pulled = bench.pull(&pushed, &mut vfs);
    assert_eq!(pulled.report.files, 1);
    bench.commit(&mut vfs, &mut pulled.baseline).unwrap();
    for (file, content) in [
        ("edited", "by the caller"),
        ("both", "by the tool"),
        ("removed/z", "by the caller"),
        ("kept", "before"),
    ] {
        assert_eq!(fs::read_to_string(bench.real(file)).unwrap(), content);
    }
    assert!(!bench.real("removed/x").exists());
    assert!(!bench.real("removed/y").exists());
}

#[test]
fn a_staging_within_the_workspace_is_refused_before_anything_is_copied() {
    let bench = Bench::new();
    bench.write("a", "a");
    let index = bench.temp.path().join("index");
    for staging in [bench.real("sub/staging"), bench.temp.path().to_owned()] {
        let outcome = super::push(&bench.vfs(), &staging, &index, &bench.rules, &|| false);
        assert!(matches!(outcome, Err(SyncError::Overlap { .. })), "{outcome:?}");
    }
}

#[test]
fn a_tool_that_closes_folders_and_files_is_pulled_and_the_next_push_mends_the_staging() {
    let bench = Bench::new();
    bench.write("d/x", "before");
    bench.write("d/e/y", "before");
    let report = bench.run_and_commit(|bench| {
        put(&bench.staged("d/x"), "after");
        chmod(bench.staged("d/x"), 0o200);
        chmod(bench.staged("d/e"), 0);
        chmod(bench.staged("d"), 0o300);
    });
    assert_eq!(report.written, 3);
    assert_eq!(bench.real("d").metadata().unwrap().mode() & 0o777, 0o300);
    chmod(bench.real("d"), 0o755);
    assert_eq!(bench.real("d/e").metadata().unwrap().mode() & 0o777, 0);
    chmod(bench.real("d/e"), 0o755);
    chmod(bench.real("d/x"), 0o644);
    bench.push(&bench.vfs());
    assert_eq!(snapshot(&bench.staged("")), snapshot(&bench.real("")));
}

#[test]
fn an_edit_of_the_host_between_two_pulls_is_a_conflict() {
    let bench = Bench::new();
    bench.write("a", "before");
    let mut vfs = bench.vfs();
    let pushed = bench.push(&vfs);
    put(&bench.staged("a"), "by the first tool");
    let first = bench.pull(&pushed, &mut vfs).baseline;
    put(&bench.real("a"), "by the host");
    let pushed = bench.push(&vfs);
    assert_eq!(fs::read(bench.staged("a")).unwrap(), b"by the first tool");
    put(&bench.staged("a"), "by the second tool");
    let second = bench.pull(&pushed, &mut vfs).baseline;
    let outcome = bench.commit(&mut vfs, &mut second.with_earlier(first));
    assert!(matches!(outcome, Err(CommitError::Conflict { .. })), "{outcome:?}");
    assert_eq!(fs::read(bench.real("a")).unwrap(), b"by the host");
}

#[test]
fn what_a_later_tool_puts_back_is_no_change_any_more() {
    let bench = Bench::new();
    bench.write("a", "before");
    let mut vfs = bench.vfs();
    let pushed = bench.push(&vfs);
    put(&bench.staged("a"), "after!");
    bench.pull(&pushed, &mut vfs);
    assert_eq!(vfs.changes().count(), 1);
    let pushed = bench.push(&vfs);
    put(&bench.staged("a"), "before");
    let time = bench.real("a").metadata().unwrap().modified().unwrap();
    let file = fs::File::options().write(true).open(bench.staged("a")).unwrap();
    file.set_modified(time).unwrap();
    bench.pull(&pushed, &mut vfs);
    assert_eq!(vfs.changes().count(), 0);
}
