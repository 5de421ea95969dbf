//! The whole way, push → tools → pull → commit, on real folders.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use super::{Baseline, CommitError, CommitReport, ConflictReason, Pulled, PushReport, Pushed, Rules};
use crate::vfs::Vfs;

/// A workspace, its staging and the places around them.
pub(super) struct Bench {
    pub(super) temp: tempfile::TempDir,
    pub(super) rules: Rules,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with_rules(&[], &[])
    }

    pub(super) fn with_rules(ignore: &[&str], cache: &[&str]) -> Self {
        let owned = |lines: &[&str]| lines.iter().map(ToString::to_string).collect::<Vec<_>>();
        let rules = Rules::new(&owned(ignore), &owned(cache)).unwrap();
        Self::at(tempfile::tempdir().unwrap(), rules)
    }

    pub(super) fn at(temp: tempfile::TempDir, rules: Rules) -> Self {
        fs::create_dir(temp.path().join("w")).unwrap();
        Self { temp, rules }
    }

    pub(super) fn real(&self, path: impl AsRef<Path>) -> PathBuf {
        self.temp.path().join("w").join(path)
    }

    pub(super) fn staged(&self, path: impl AsRef<Path>) -> PathBuf {
        self.temp.path().join("staging/w").join(path)
    }

    pub(super) fn write(&self, path: &str, content: &str) {
        put(&self.real(path), content);
    }

    pub(super) fn vfs(&self) -> Vfs {
        Vfs::from_dir(self.real("")).unwrap()
    }

    pub(super) fn push(&self, vfs: &Vfs) -> Pushed {
        let index = self.temp.path().join("index");
        super::push(vfs, &self.staged(""), &index, &self.rules, &|| false).unwrap()
    }

    pub(super) fn pull(&self, pushed: &Pushed, vfs: &mut Vfs) -> Pulled {
        super::pull(pushed, &self.rules, vfs, None, &|| false).unwrap()
    }

    pub(super) fn commit(&self, vfs: &mut Vfs, baseline: &mut Baseline) -> Result<CommitReport, CommitError> {
        let area = self.temp.path().join("area");
        super::commit(vfs, baseline, &self.real(""), &area, &self.rules, &|| false)
    }

    /// Push, `tool` on the staging, pull.
    pub(super) fn run(&self, tool: impl FnOnce(&Self)) -> (Vfs, Pulled) {
        let mut vfs = self.vfs();
        let pushed = self.push(&vfs);
        tool(self);
        let pulled = self.pull(&pushed, &mut vfs);
        (vfs, pulled)
    }

    /// The whole way.
    pub(super) fn run_and_commit(&self, tool: impl FnOnce(&Self)) -> CommitReport {
        let report = self.run_and_commit_to(&self.temp.path().join("area"), tool);
        assert!(fs::read_dir(self.temp.path().join("area")).map_or(true, |mut area| area.next().is_none()));
        report
    }
}

impl Bench {
    /// The whole way, with the commit's own place given.
    pub(super) fn run_and_commit_to(&self, area: &Path, tool: impl FnOnce(&Self)) -> CommitReport {
        let (mut vfs, mut pulled) = self.run(tool);
        let report = super::commit(
            &mut vfs,
            &mut pulled.baseline,
            &self.real(""),
            area,
            &self.rules,
            &|| false,
        );
        assert_eq!(vfs.changes().count(), 0);
        report.unwrap()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // Read-only folders would stay behind.
        let open = crate::sys::fs::open_dir(self.temp.path());
        for part in ["w", "staging", "area"] {
            let _ = open
                .as_ref()
                .map(|temp| crate::sys::fs::remove_tree(temp, part.as_ref()));
        }
    }
}

/// Says aloud that a test could not run here.
#[expect(clippy::print_stderr, reason = "a test that did not run must not look as if it had")]
pub(super) fn skipped(why: &str) {
    eprintln!("NOT RUN: {why}");
}

pub(super) fn is_root() -> bool {
    crate::sys::fs::caller().0 == 0
}

pub(super) fn put(path: &Path, content: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

pub(super) fn chmod(path: impl AsRef<Path>, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Everything that "untouched" means: the path, mode, mtime, and bytes or link target of each entry.
pub(super) type Snapshot = Vec<(PathBuf, String, (i64, i64), String)>;

pub(super) fn snapshot(root: &Path) -> Snapshot {
    let mut lines = Vec::new();
    for entry in walkdir::WalkDir::new(root).sort_by_file_name() {
        let entry = entry.unwrap();
        let meta = entry.path().symlink_metadata().unwrap();
        let content = if meta.is_symlink() {
            format!("{:?}", fs::read_link(entry.path()).unwrap())
        } else if meta.is_file() {
            // Reading must not change the ctime of what can be read.
            let closed = meta.mode() & 0o400 == 0 && !is_root();
            if closed {
                chmod(entry.path(), meta.mode() | 0o400);
            }
            let content = format!("{:?}", fs::read(entry.path()).unwrap());
            if closed {
                chmod(entry.path(), meta.mode());
            }
            content
        } else {
            String::new()
        };
        lines.push((
            entry.path().strip_prefix(root).unwrap().to_owned(),
            format!("{:o}", meta.mode()),
            (meta.mtime(), meta.mtime_nsec()),
            content,
        ));
    }
    lines
}

#[test]
fn changes_deletions_and_new_entries_come_back() {
    let bench = Bench::new();
    bench.write("src/main.rs", "old");
    bench.write("src/gone.rs", "gone");
    bench.write("docs/a/b", "b");
    bench.write("same", "same");
    symlink("same", bench.real("link")).unwrap();
    let same = bench.real("same").metadata().unwrap();

    let report = bench.run_and_commit(|bench| {
        put(&bench.staged("src/main.rs"), "new");
        fs::remove_file(bench.staged("src/gone.rs")).unwrap();
        fs::remove_dir_all(bench.staged("docs")).unwrap();
        put(&bench.staged("made/deep/file"), "x");
        fs::create_dir(bench.staged("empty")).unwrap();
        fs::remove_file(bench.staged("link")).unwrap();
        symlink("/nowhere", bench.staged("link")).unwrap();
    });

    assert_eq!(fs::read(bench.real("src/main.rs")).unwrap(), b"new");
    assert!(!bench.real("src/gone.rs").exists());
    assert!(!bench.real("docs").exists());
    assert_eq!(fs::read(bench.real("made/deep/file")).unwrap(), b"x");
    assert!(bench.real("empty").is_dir());
    assert_eq!(fs::read_link(bench.real("link")).unwrap(), Path::new("/nowhere"));
    let after = bench.real("same").metadata().unwrap();
    assert_eq!((after.ino(), after.ctime_nsec()), (same.ino(), same.ctime_nsec()));
    assert_eq!(report, CommitReport { written: 6, deleted: 4 });
}

#[test]
fn a_second_push_copies_nothing_and_an_edit_is_never_missed() {
    let bench = Bench::new();
    for number in 0..300 {
        bench.write(&format!("d{}/f{number}", number % 7), "content");
    }
    // Older than any clock tick.
    std::thread::sleep(std::time::Duration::from_millis(40));
    let first = bench.push(&bench.vfs());
    assert_eq!((first.report.files, first.report.deleted), (300, 0));
    assert_eq!(bench.push(&bench.vfs()).report, PushReport::default());

    // The same size and the same mtime: only the ctime tells.
    let edited = bench.real("d1/f1");
    let mtime = edited.metadata().unwrap().modified().unwrap();
    fs::write(&edited, "CONTENT").unwrap();
    fs::File::options()
        .write(true)
        .open(&edited)
        .unwrap()
        .set_modified(mtime)
        .unwrap();
    fs::remove_file(bench.real("d2/f2")).unwrap();
    let third = bench.push(&bench.vfs());
    assert_eq!((third.report.files, third.report.deleted), (1, 1));
    assert_eq!(fs::read(bench.staged("d1/f1")).unwrap(), b"CONTENT");
    assert!(!bench.staged("d2/f2").exists());
}

#[test]
fn an_edit_right_after_the_push_is_seen_whatever_the_clock_says() {
    let bench = Bench::new();
    for round in 0..20 {
        bench.write("f", &format!("{round:04}"));
        bench.push(&bench.vfs());
        bench.write("f", &format!("{:04}", round + 1000));
        bench.push(&bench.vfs());
        assert_eq!(
            fs::read_to_string(bench.staged("f")).unwrap(),
            format!("{:04}", round + 1000)
        );
        let (_, pulled) = bench.run(|bench| fs::write(bench.staged("f"), format!("{:04}", round + 2000)).unwrap());
        assert_eq!(pulled.report.files, 1);
    }
}

#[test]
fn leftovers_of_a_failed_run_do_not_survive_the_next_push() {
    let bench = Bench::new();
    bench.write("a", "a");
    bench.write("dir/b", "b");
    std::thread::sleep(std::time::Duration::from_millis(40));
    let (_vfs, _pulled) = bench.run(|bench| {
        put(&bench.staged("a"), "spoilt");
        put(&bench.staged("junk/deep/file"), "junk");
        fs::remove_dir_all(bench.staged("dir")).unwrap();
        put(&bench.staged("dir"), "a file now");
    });
    bench.push(&bench.vfs());
    assert_eq!(snapshot(&bench.staged("")), snapshot(&bench.real("")));
}

#[test]
fn a_new_time_and_a_mode_are_changes_also_where_the_bytes_are_the_same() {
    let bench = Bench::new();
    bench.write("touched", "t");
    bench.write("rewritten", "r");
    bench.write("script", "#!/bin/sh");
    bench.write("d/x", "x");
    chmod(bench.real("script"), 0o644);
    let report = bench.run_and_commit(|bench| {
        let file = fs::File::options().write(true).open(bench.staged("touched")).unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        fs::remove_file(bench.staged("rewritten")).unwrap();
        put(&bench.staged("rewritten"), "r");
        chmod(bench.staged("script"), 0o4755);
        chmod(bench.staged("d"), 0o2750);
    });
    assert_eq!(report.written, 4);
    let touched = bench.real("touched").metadata().unwrap().modified().unwrap();
    assert_eq!(touched, std::time::SystemTime::UNIX_EPOCH);
    assert_eq!(bench.real("script").metadata().unwrap().mode() & 0o7777, 0o4755);
    assert_eq!(bench.real("d").metadata().unwrap().mode() & 0o7777, 0o2750);
}

#[test]
fn files_folders_and_links_can_take_each_others_places() {
    let bench = Bench::new();
    bench.write("file", "f");
    bench.write("folder/in", "f");
    symlink("file", bench.real("link")).unwrap();
    symlink("folder", bench.real("link-to-folder")).unwrap();
    bench.run_and_commit(|bench| {
        fs::remove_file(bench.staged("file")).unwrap();
        put(&bench.staged("file/now/deep"), "d");
        fs::remove_dir_all(bench.staged("folder")).unwrap();
        symlink("..", bench.staged("folder")).unwrap();
        fs::remove_file(bench.staged("link")).unwrap();
        put(&bench.staged("link"), "a file");
        fs::remove_file(bench.staged("link-to-folder")).unwrap();
        put(&bench.staged("link-to-folder/x"), "x");
    });
    assert_eq!(fs::read(bench.real("file/now/deep")).unwrap(), b"d");
    assert_eq!(fs::read_link(bench.real("folder")).unwrap(), Path::new(".."));
    assert!(bench.real("link").symlink_metadata().unwrap().is_file());
    assert!(bench.real("link-to-folder").symlink_metadata().unwrap().is_dir());
    assert_eq!(fs::read(bench.real("link-to-folder/x")).unwrap(), b"x");
}

#[test]
fn odd_names_links_modes_and_times_go_both_ways() {
    let bench = Bench::new();
    let odd = |name: &[u8]| PathBuf::from(std::ffi::OsStr::from_bytes(name));
    for name in [
        &b"new\nline"[..],
        b"\xff\xfe",
        b" blanks ",
        b"back\\slash",
        b"-rf",
        b"...",
    ] {
        put(&bench.real(odd(name)), "odd");
    }
    symlink("/absolute/nowhere", bench.real("absolute")).unwrap();
    symlink("dangling", bench.real("dangling")).unwrap();
    symlink(odd(b"\xff\xfe"), bench.real("odd-target")).unwrap();
    fs::create_dir_all(bench.real("empty/empty")).unwrap();
    bench.write("zero", "");
    bench.write("old", "old");
    let ancient = std::time::SystemTime::UNIX_EPOCH - std::time::Duration::new(1000, 5);
    fs::File::options()
        .write(true)
        .open(bench.real("old"))
        .unwrap()
        .set_modified(ancient)
        .unwrap();
    bench.write("ro/file", "read-only");
    chmod(bench.real("ro/file"), 0o444);
    chmod(bench.real("ro"), 0o555);
    bench.write("odd-mode", "m");
    chmod(bench.real("odd-mode"), 0o6711);

    bench.push(&bench.vfs());
    assert_eq!(snapshot(&bench.staged("")), snapshot(&bench.real("")));
    bench.push(&bench.vfs());
    assert_eq!(snapshot(&bench.staged("")), snapshot(&bench.real("")));

    bench.run_and_commit(|bench| {
        chmod(bench.staged("ro"), 0o755);
        fs::remove_file(bench.staged("ro/file")).unwrap();
        put(&bench.staged("ro/other"), "o");
        chmod(bench.staged("ro/other"), 0o400);
        chmod(bench.staged("ro"), 0o555);
        fs::rename(bench.staged(odd(b"\xff\xfe")), bench.staged(odd(b"\xfd\n"))).unwrap();
        fs::remove_file(bench.staged("old")).unwrap();
        chmod(bench.staged("zero"), 0);
    });
    assert!(bench.real(odd(b"\xfd\n")).exists());
    assert!(!bench.real(odd(b"\xff\xfe")).exists());
    assert_eq!(bench.real("ro").metadata().unwrap().mode() & 0o7777, 0o555);
    assert_eq!(bench.real("ro/other").metadata().unwrap().mode() & 0o7777, 0o400);
    assert_eq!(bench.real("zero").metadata().unwrap().mode() & 0o7777, 0);
}

#[test]
fn special_files_are_named_and_not_carried() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let bench = Bench::new();
    bench.write("a", "a");
    let fifo = |path: PathBuf| mknodat(CWD, path, FileType::Fifo, Mode::RUSR, 0).unwrap();
    fifo(bench.real("pipe"));
    let mut vfs = bench.vfs();
    let pushed = bench.push(&vfs);
    assert_eq!(pushed.report.specials, [Path::new("pipe")]);
    assert!(!bench.staged("pipe").exists());
    fifo(bench.staged("tool-pipe"));
    let mut pulled = bench.pull(&pushed, &mut vfs);
    assert_eq!(pulled.report.specials, [Path::new("tool-pipe")]);
    bench.commit(&mut vfs, &mut pulled.baseline).unwrap();
    assert!(bench.real("pipe").exists());
    assert!(!bench.real("tool-pipe").exists());
}

#[test]
fn special_files_do_not_make_the_index_be_written_again() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let bench = Bench::new();
    for file in ["a", "d/a", "d/z", "z"] {
        bench.write(file, "old");
    }
    for pipe in ["d/m", "m", "zz"] {
        mknodat(CWD, bench.real(pipe), FileType::Fifo, Mode::RUSR, 0).unwrap();
    }
    std::thread::sleep(std::time::Duration::from_millis(40));
    let index = || bench.temp.path().join("index").metadata().unwrap().ino();
    let report = |files, bytes| PushReport {
        files,
        bytes,
        deleted: 0,
        specials: ["d/m", "m", "zz"].map(PathBuf::from).to_vec(),
    };
    assert_eq!(bench.push(&bench.vfs()).report, report(4, 12));
    let written = index();
    assert_eq!(bench.push(&bench.vfs()).report, report(0, 0));
    assert_eq!(index(), written);
    // Of what is written then, each row is still the one of its path.
    bench.write("z", "newer");
    std::thread::sleep(std::time::Duration::from_millis(40));
    assert_eq!(bench.push(&bench.vfs()).report, report(1, 5));
    assert_ne!(index(), written);
    assert_eq!(bench.push(&bench.vfs()).report, report(0, 0));
    // One entry less, and nothing else to be done.
    fs::remove_file(bench.real("z")).unwrap();
    fs::remove_file(bench.staged("z")).unwrap();
    let pushed = bench.push(&bench.vfs());
    assert_eq!(pushed.index.len(), 5);
}

#[test]
fn ignored_entries_and_caches_are_left_alone_on_both_sides() {
    let bench = Bench::with_rules(&["*.log", "/private"], &["target/"]);
    bench.write("a.log", "host");
    bench.write("private/key", "secret");
    bench.write("target/host", "host");
    bench.write("lib/src", "s");
    bench.write("lib/b.log", "host");
    bench.write("lib/target/host", "host");
    bench.run_and_commit(|bench| {
        assert!(!bench.staged("a.log").exists());
        assert!(!bench.staged("private").exists());
        assert!(!bench.staged("target").exists());
        put(&bench.staged("a.log"), "tool");
        put(&bench.staged("target/tool"), "tool");
        fs::remove_dir_all(bench.staged("lib")).unwrap();
    });
    assert_eq!(fs::read(bench.real("a.log")).unwrap(), b"host");
    assert!(!bench.real("target/tool").exists());
    assert!(!bench.real("lib/src").exists());
    assert!(bench.real("lib/b.log").exists());
    assert!(bench.real("lib/target/host").exists());

    bench.push(&bench.vfs());
    assert!(bench.staged("target/tool").exists(), "a cache stays in the staging");
    assert!(!bench.staged("a.log").exists(), "a leftover that is ignored goes");
}

#[test]
fn conflicts_refuse_the_whole_commit_and_leave_everything_as_it_was() {
    type Host = fn(&Bench);
    let cases: [(&str, ConflictReason, Host); 7] = [
        ("edited", ConflictReason::Changed, |bench| {
            put(&bench.real("edited"), "by the host")
        }),
        ("edited", ConflictReason::Missing, |bench| {
            fs::remove_file(bench.real("edited")).unwrap();
        }),
        ("new", ConflictReason::Appeared, |bench| {
            put(&bench.real("new"), "by the host")
        }),
        ("deleted", ConflictReason::Changed, |bench| {
            put(&bench.real("deleted"), "by the host");
        }),
        ("dir/more", ConflictReason::Appeared, |bench| {
            put(&bench.real("dir/more"), "by the host");
        }),
        ("sub", ConflictReason::NoFolder, |bench| {
            fs::rename(bench.real("sub"), bench.temp.path().join("moved")).unwrap();
            symlink(bench.temp.path().join("moved"), bench.real("sub")).unwrap();
        }),
        ("sub", ConflictReason::Missing, |bench| {
            fs::remove_dir_all(bench.real("sub")).unwrap();
        }),
    ];
    for (path, reason, host) in cases {
        let bench = Bench::new();
        for file in ["edited", "deleted", "dir/a", "dir/b/c", "sub/f", "other"] {
            bench.write(file, "before");
        }
        let (mut vfs, mut pulled) = bench.run(|bench| {
            put(&bench.staged("edited"), "by the tool");
            put(&bench.staged("new"), "by the tool");
            put(&bench.staged("sub/f"), "by the tool");
            fs::remove_file(bench.staged("deleted")).unwrap();
            fs::remove_dir_all(bench.staged("dir")).unwrap();
        });
        host(&bench);
        let before = snapshot(&bench.real(""));
        let changes = vfs.changes().count();
        match bench.commit(&mut vfs, &mut pulled.baseline) {
            Err(CommitError::Conflict { paths }) => {
                assert_eq!(paths.len(), 1, "{paths:?}");
                assert_eq!((paths[0].path.to_str(), paths[0].reason), (Some(path), reason));
            }
            other => panic!("{path} {reason:?}: {other:?}"),
        }
        assert_eq!(snapshot(&bench.real("")), before);
        assert_eq!(vfs.changes().count(), changes);
        assert_eq!(vfs.read_file("/w/edited").unwrap(), b"by the tool");
    }
}

#[test]
fn edits_of_other_files_and_the_same_edit_on_both_sides_are_no_conflict() {
    let bench = Bench::new();
    for file in ["a", "b", "dir/c", "dir/d"] {
        bench.write(file, "before");
    }
    let (mut vfs, mut pulled) = bench.run(|bench| {
        put(&bench.staged("a"), "after");
        put(&bench.staged("dir/c"), "after");
        put(&bench.staged("made/x"), "after");
        fs::remove_file(bench.staged("b")).unwrap();
    });
    put(&bench.real("dir/d"), "by the host");
    put(&bench.real("dir/new"), "by the host");
    put(&bench.real("a"), "after");
    put(&bench.real("made/y"), "by the host");
    fs::remove_file(bench.real("b")).unwrap();
    bench.commit(&mut vfs, &mut pulled.baseline).unwrap();
    for (file, content) in [
        ("a", "after"),
        ("dir/c", "after"),
        ("dir/d", "by the host"),
        ("dir/new", "by the host"),
        ("made/x", "after"),
        ("made/y", "by the host"),
    ] {
        assert_eq!(fs::read_to_string(bench.real(file)).unwrap(), content);
    }
}
