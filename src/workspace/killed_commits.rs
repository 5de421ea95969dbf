//! Commits that are killed before any of their changes, and what the next command makes of them.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};

use super::commit::fault;
use super::hard_cases::{Mount, rich_at, set_times};
use super::roundtrip::{Bench, Snapshot, chmod, is_root, put, skipped, snapshot};
use super::{COMMIT_DIR, CommitError, Pulled, RecoverError, Recovered, Rules};
use crate::sys::fs::death::dies_at;
use crate::vfs::Vfs;

/// Where the work folder of the commits stands, and what they can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// In the area.
    Area,
    /// In the workspace.
    Inside,
    /// In the workspace, which its owner may not write before it is opened up.
    InsideClosed,
    /// In the area, and entries cannot be exchanged.
    NoExchange,
    /// In the area, with a folder of the workspace on a file system of its own.
    SubMount,
    /// The same, and entries cannot be exchanged.
    SubMountNoExchange,
}

struct Case {
    /// Before the bench, which removes what is below it.
    _mount: Option<Mount>,
    bench: Bench,
    vfs: Vfs,
    pulled: Pulled,
    area: PathBuf,
    _elsewhere: Option<tempfile::TempDir>,
}

/// A file system in memory, where syncing costs nothing.
const MEMORY: &str = "/dev/shm";

impl Case {
    /// `None` where the layout cannot be had here.
    fn new(layout: Layout) -> Option<Self> {
        let temp = tempfile::tempdir_in(MEMORY).or_else(|_| tempfile::tempdir()).unwrap();
        let bench = Bench::at(temp, Rules::carry_all());
        let device = |path: &Path| path.metadata().unwrap().dev();
        let elsewhere = match layout {
            Layout::Inside | Layout::InsideClosed => {
                let folder = tempfile::tempdir().unwrap();
                if device(folder.path()) == device(bench.temp.path()) {
                    skipped("needs /dev/shm on a file system of its own");
                    return None;
                }
                Some(folder)
            }
            _ => None,
        };
        let mount = match layout {
            Layout::SubMount | Layout::SubMountNoExchange => {
                Some(Mount::tmpfs(&bench.real("sub"), c"size=1m").or_else(|| {
                    skipped("needs the right to mount a tmpfs");
                    None
                })?)
            }
            _ => None,
        };
        let area = elsewhere
            .as_ref()
            .map_or(bench.temp.path().join("area"), |it| it.path().join("area"));
        let (bench, vfs, pulled) = if mount.is_some() {
            sub_mounted(bench)
        } else {
            rich_at(bench)
        };
        if layout == Layout::InsideClosed {
            chmod(bench.real(""), 0o555);
        }
        Some(Self {
            _mount: mount,
            bench,
            vfs,
            pulled,
            area,
            _elsewhere: elsewhere,
        })
    }

    fn commit(&mut self, layout: Layout) -> Result<(), CommitError> {
        fault::NO_EXCHANGE.set(matches!(layout, Layout::NoExchange | Layout::SubMountNoExchange));
        let Self {
            bench,
            vfs,
            pulled,
            area,
            ..
        } = self;
        super::commit(vfs, &mut pulled.baseline, &bench.real(""), area, &bench.rules, &|| {
            false
        })
        .map(|_| ())
    }

    /// A commit that dies before its change number `at`; whether it came to its end before.
    fn commit_dying_at(&mut self, layout: Layout, at: usize) -> bool {
        let outcome = dies_at(at, || self.commit(layout));
        if let Some(outcome) = outcome {
            outcome.unwrap();
            return true;
        }
        false
    }

    fn recover(&self) -> Result<Option<Recovered>, RecoverError> {
        super::recover(&self.area, &self.bench.real(""))
    }

    fn look(&self) -> Snapshot {
        snapshot(&self.bench.real(""))
    }

    /// Recovers, and compares with the trees before and after the commit.
    fn recovers(&self, old: &Snapshot, new: &Snapshot, when: &str) -> bool {
        let needed = super::needs_recovery(&self.area, &self.bench.real("")).unwrap();
        let found = self.look();
        let recovered = self.recover().unwrap();
        let now = self.look();
        assert!(needed || found == now, "{when}");
        let finished = recovered.as_ref().map(|recovered| recovered.finished);
        if let Some(recovered) = recovered {
            assert_eq!((recovered.left, recovered.kept), (vec![], None), "{when}");
        }
        let is_new = finished.unwrap_or(now == *new);
        assert_eq!(now, *if is_new { new } else { old }, "{when}, finished: {finished:?}");
        assert_eq!(self.leftovers(), Vec::<PathBuf>::new(), "{when}");
        assert_eq!(self.recover().unwrap(), None, "{when}");
        is_new
    }

    fn leftovers(&self) -> Vec<PathBuf> {
        fs::read_dir(&self.area)
            .map(|area| area.map(|entry| entry.unwrap().path()).collect())
            .unwrap_or_default()
    }
}

/// A run that does one of everything in a folder on a file system of its own.
fn sub_mounted(bench: Bench) -> (Bench, Vfs, Pulled) {
    for file in [
        "sub/replace",
        "sub/gone",
        "sub/dir/x",
        "sub/d/one",
        "sub/to-file/x",
        "main",
    ] {
        bench.write(file, "before");
    }
    symlink("gone", bench.real("sub/link")).unwrap();
    set_times(&bench.real(""), 1_000_000_000);
    let (vfs, pulled) = bench.run(|bench| {
        put(&bench.staged("sub/replace"), "after");
        put(&bench.staged("sub/made/new"), "after");
        put(&bench.staged("sub/d/two"), "after");
        fs::remove_file(bench.staged("sub/link")).unwrap();
        symlink("new", bench.staged("sub/link")).unwrap();
        fs::remove_file(bench.staged("sub/gone")).unwrap();
        fs::remove_dir_all(bench.staged("sub/dir")).unwrap();
        fs::remove_dir_all(bench.staged("sub/to-file")).unwrap();
        put(&bench.staged("sub/to-file"), "after");
        put(&bench.staged("main"), "after");
        set_times(&bench.staged(""), 1_100_000_000);
    });
    (bench, vfs, pulled)
}

/// The trees before and after the commit of a layout.
fn trees(layout: Layout) -> Option<(Snapshot, Snapshot)> {
    let mut case = Case::new(layout)?;
    let old = case.look();
    case.commit(layout).unwrap();
    let new = case.look();
    assert_ne!(old, new);
    Some((old, new))
}

/// Kills commits at each change, and recovers; returns after how many changes they were done.
fn kill_everywhere(layout: Layout) {
    let Some((old, new)) = trees(layout) else { return };
    let mut outcomes = Vec::new();
    for at in 0.. {
        let mut case = Case::new(layout).unwrap();
        if case.commit_dying_at(layout, at) {
            break;
        }
        outcomes.push(case.recovers(&old, &new, &format!("{layout:?}, killed before change {at}")));
    }
    // All deaths before some point leave the old tree, all after it the new one.
    assert!(outcomes.is_sorted());
    let (undone, finished) = (outcomes.iter().filter(|new| !**new).count(), outcomes.len());
    assert!(undone > 30 && finished > undone, "{undone} of {finished}");
}

#[test]
fn a_commit_that_is_killed_anywhere_is_undone_or_finished() {
    kill_everywhere(Layout::Area);
}

#[test]
fn the_same_with_the_work_folder_in_the_workspace() {
    kill_everywhere(Layout::Inside);
    // Root needs no permission.
    if !is_root() {
        kill_everywhere(Layout::InsideClosed);
    }
}

#[test]
fn the_same_where_entries_cannot_be_exchanged() {
    kill_everywhere(Layout::NoExchange);
}

#[test]
fn the_same_with_folders_on_a_mount_of_their_own() {
    kill_everywhere(Layout::SubMount);
    kill_everywhere(Layout::SubMountNoExchange);
}

#[test]
fn a_recovery_that_is_killed_anywhere_is_taken_up_by_the_next() {
    let layouts = [
        Layout::Area,
        Layout::Inside,
        Layout::NoExchange,
        Layout::SubMount,
        Layout::SubMountNoExchange,
    ];
    for layout in layouts {
        let Some((old, new)) = trees(layout) else { continue };
        let mut at = 3;
        let mut kills = 0;
        'commit: loop {
            for again in 0.. {
                let mut case = Case::new(layout).unwrap();
                if case.commit_dying_at(layout, at) {
                    break 'commit;
                }
                if dies_at(again, || case.recover().unwrap()).is_some() {
                    break;
                }
                case.recovers(&old, &new, &format!("{layout:?}, killed before {at} and {again}"));
                kills += 1;
            }
            at += 61;
        }
        assert!(kills > 20, "{kills}");
    }
}

#[test]
fn what_the_host_changed_after_the_kill_stays_and_the_original_is_kept() {
    type Edit = fn(&Path);
    let edits: &[(&str, Edit)] = &[
        ("replace", |path| fs::write(path, "the host's").unwrap()),
        ("replace", |path| {
            put(&path.with_file_name("temporary"), "the host's");
            fs::rename(path.with_file_name("temporary"), path).unwrap();
        }),
        ("gone", |path| put(path, "the host's")),
        ("dir", |path| {
            let _ = fs::remove_dir_all(path);
            put(path, "the host's");
        }),
    ];
    for layout in [Layout::Area, Layout::Inside, Layout::NoExchange] {
        for (number, (path, edit)) in edits.iter().enumerate() {
            let mut originals = 0;
            for at in (0..).step_by(13) {
                let Some(mut case) = Case::new(layout) else { break };
                if case.commit_dying_at(layout, at) {
                    break;
                }
                let when = format!("{layout:?}, edit {number}, killed before change {at}");
                let old_bytes = fs::read(case.bench.real(path)).ok();
                edit(&case.bench.real(path));
                let recovered = case.recover().unwrap_or_else(|error| panic!("{when}: {error}"));
                assert_eq!(fs::read(case.bench.real(path)).unwrap(), b"the host's", "{when}");
                let Some(recovered) = recovered else { continue };
                if recovered.finished || old_bytes.as_deref() == Some(b"before") {
                    continue;
                }
                let Some(left) = recovered.left.iter().find(|left| left.path == Path::new(path)) else {
                    // The folder was there as before, and the host itself made it something else.
                    assert_eq!(*path, "dir", "{when}");
                    continue;
                };
                let original = left.original.as_ref().unwrap_or_else(|| panic!("{when}: no original"));
                let original = if *path == "dir" {
                    original.join("a")
                } else {
                    original.clone()
                };
                assert_eq!(fs::read(&original).unwrap(), b"before", "{when}");
                assert!(recovered.to_string().contains(path), "{recovered}");
                originals += 1;

                // It is no hindrance, and goes when it is told to.
                assert_eq!(case.recover().unwrap(), None, "{when}");
                case.bench
                    .run_and_commit_to(&case.area, |bench| put(&bench.staged("later"), "x"));
                assert!(original.exists(), "{when}");
                let kept = recovered.kept.unwrap();
                assert_eq!(super::drop_originals(&case.area, &case.bench.real("")).unwrap(), [kept]);
                assert!(!original.exists() && case.leftovers().is_empty(), "{when}");
                assert!(!case.bench.real(COMMIT_DIR).exists(), "{when}");
            }
            assert!(originals > 0 || layout == Layout::Inside, "{layout:?}: {number}");
        }
    }
}

/// A commit that died when it had done something, with the path of its journal.
fn killed_in_the_middle(layout: Layout) -> Option<(Case, PathBuf)> {
    for at in (0..).step_by(5) {
        let mut case = Case::new(layout)?;
        assert!(!case.commit_dying_at(layout, at));
        let is_begun = fs::read(case.bench.real("to-file")).is_ok();
        let unfinished = super::unfinished_commits(&case.area, &case.bench.real("")).unwrap();
        if let [work] = &unfinished[..]
            && is_begun
        {
            return Some((case, work.join("journal")));
        }
    }
    None
}

#[test]
fn a_damaged_journal_is_refused_and_nothing_is_thrown_away() {
    let (case, journal) = killed_in_the_middle(Layout::Area).unwrap();
    let good = fs::read(&journal).unwrap();
    let root = case.bench.temp.path();
    for at in 0..good.len() {
        let mut bent = good.clone();
        bent[at] ^= 0x10;
        for bytes in [&bent[..], &good[..at]] {
            fs::write(&journal, bytes).unwrap();
            let before = (at % 50 == 0).then(|| snapshot(root));
            let error = case.recover().unwrap_err();
            assert!(matches!(error, RecoverError::Unusable { .. }), "{error}");
            assert!(before.is_none_or(|before| before == snapshot(root)), "{at}");
        }
    }
    fs::write(&journal, &good).unwrap();
    assert!(case.recover().unwrap().is_some_and(|recovered| !recovered.finished));
    assert_eq!(fs::read(case.bench.real("to-file/x")).unwrap(), b"before");
}

#[test]
fn a_journal_of_another_version_or_another_folder_is_refused() {
    let (case, journal) = killed_in_the_middle(Layout::Area).unwrap();
    let good = fs::read(&journal).unwrap();
    let body = &good[8..good.len() - 4];
    fs::write(&journal, super::index::with_checksum(b"DSJOURN\x02", body)).unwrap();
    let error = case.recover().unwrap_err().to_string();
    assert!(error.contains("another version"), "{error}");
    fs::write(&journal, &good).unwrap();

    let moved = case.bench.temp.path().join("moved");
    fs::rename(case.bench.real(""), &moved).unwrap();
    put(&case.bench.real("other"), "x");
    let before = snapshot(case.bench.temp.path());
    let error = case.recover().unwrap_err().to_string();
    assert!(error.contains("a commit to another folder"), "{error}");
    assert_eq!(snapshot(case.bench.temp.path()), before);
    // In its place again, and wherever it is, it is the folder that is meant.
    fs::remove_dir_all(case.bench.real("")).unwrap();
    assert!(super::recover(&case.area, &moved).unwrap().is_some());
    assert_eq!(fs::read(moved.join("to-file/x")).unwrap(), b"before");
}

#[test]
fn a_commit_waits_until_a_killed_one_is_recovered() {
    for layout in [Layout::Area, Layout::Inside] {
        let Some((case, journal)) = killed_in_the_middle(layout) else {
            continue;
        };
        let before = case.look();
        let other = Case::new(Layout::Area).unwrap();
        let (mut vfs, mut baseline) = (other.vfs, other.pulled.baseline);
        let super::Baseline::Index(index) = &mut baseline else {
            unreachable!()
        };
        index.root = None;
        let real = case.bench.real("");
        let error = super::commit(&mut vfs, &mut baseline, &real, &case.area, &case.bench.rules, &|| false);
        assert!(!matches!(error, Ok(_) | Err(CommitError::Cancelled)));
        assert_eq!(case.look(), before);
        assert!(journal.exists());
    }
}

#[test]
fn somebodys_own_folder_of_that_name_is_left_alone() {
    for is_folder in [true, false] {
        let Some(mut case) = Case::new(Layout::Inside) else {
            return;
        };
        let own = case.bench.real(COMMIT_DIR);
        put(&if is_folder { own.join("journal") } else { own.clone() }, "mine");
        let before = snapshot(&own);
        assert_eq!(case.recover().unwrap(), None);
        assert!(!case.commit_dying_at(Layout::Inside, 80));
        assert!(case.bench.real(format!("{COMMIT_DIR}-1")).exists());
        assert!(case.recover().unwrap().is_some());
        assert_eq!(snapshot(&own), before);
        case.bench
            .run_and_commit_to(&case.area, |bench| put(&bench.staged("later"), "x"));
        assert_eq!(snapshot(&own), before);
        assert!(!case.bench.real(format!("{COMMIT_DIR}-1")).exists());
    }
}

#[test]
fn a_wish_to_stop_in_the_middle_of_a_commit_is_heard_and_all_is_undone() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let asked = AtomicUsize::new(0);
    let mut heard = 0;
    for stop_at in 0.. {
        let mut case = Case::new(Layout::Area).unwrap();
        let before = case.look();
        asked.store(0, Ordering::Relaxed);
        let cancel = || asked.fetch_add(1, Ordering::Relaxed) >= stop_at;
        let Case {
            bench,
            vfs,
            pulled,
            area,
            ..
        } = &mut case;
        match super::commit(vfs, &mut pulled.baseline, &bench.real(""), area, &bench.rules, &cancel) {
            Ok(_) => break,
            Err(CommitError::Cancelled) => heard += 1,
            Err(error) => panic!("{error}"),
        }
        assert_eq!(case.look(), before, "{stop_at}");
        assert_eq!(case.leftovers(), Vec::<PathBuf>::new());
        // The result is whole, and can be committed.
        case.commit(Layout::Area).unwrap();
        assert_eq!(fs::read(case.bench.real("to-file")).unwrap(), b"after");
    }
    assert!(heard > 40, "{heard}");
}

#[test]
fn a_mount_that_is_missing_is_named() {
    let Some(mut case) = Case::new(Layout::SubMount) else {
        return;
    };
    let old = case.look();
    let work = || super::unfinished_commits(&case.area, &case.bench.real("")).unwrap();
    assert!(work().is_empty());
    assert!(!case.commit_dying_at(Layout::SubMount, 60));
    // Under a name without it: as if it had not been mounted after a power cut.
    let real = case.bench.real("sub");
    let aside = case.bench.temp.path().join("aside");
    fs::create_dir(&aside).unwrap();
    let (from, to) = (real.as_path(), aside.as_path());
    if rustix::mount::mount_move(from, to).is_err() {
        return skipped("needs mounts that may be moved");
    }
    let error = case.recover().unwrap_err();
    assert!(
        matches!(&error, RecoverError::NotMounted { at } if at.starts_with(&real)),
        "{error}"
    );
    rustix::mount::mount_move(to, from).unwrap();
    chmod(&aside, 0o755);
    assert!(case.recover().unwrap().is_some());
    assert_eq!(case.look(), old);
}
