//! What a commit does for the originals: when it fails, and when the workspace is not where it was.

use std::fs;

use super::CommitError;
use super::commit::fault;
use super::hard_cases::rich;
use super::roundtrip::{Bench, put, snapshot};

#[test]
fn a_panic_in_the_middle_of_a_commit_is_undone_and_goes_on() {
    let (bench, mut vfs, mut pulled) = rich();
    let before = snapshot(&bench.real(""));
    fault::ON_STEP.set(Some(Box::new(|step| assert!(step != 9, "a test asked for this"))));
    let commit = std::panic::AssertUnwindSafe(|| bench.commit(&mut vfs, &mut pulled.baseline));
    assert!(std::panic::catch_unwind(commit).is_err());
    fault::ON_STEP.set(None);
    assert_eq!(snapshot(&bench.real("")), before);
    let area = bench.temp.path().join("area");
    assert!(fs::read_dir(&area).unwrap().next().is_none());
    // The contents are back where the Vfs has them.
    bench.commit(&mut vfs, &mut pulled.baseline).unwrap();
}

#[test]
fn another_folder_in_the_workspaces_place_is_a_conflict() {
    let (bench, mut vfs, mut pulled) = rich();
    fs::rename(bench.real(""), bench.temp.path().join("w.old")).unwrap();
    fs::create_dir(bench.real("")).unwrap();
    let error = bench.commit(&mut vfs, &mut pulled.baseline).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the result and the workspace are at odds: `.` changed"
    );
    assert!(fs::read_dir(bench.real("")).unwrap().next().is_none());
    // The run's own folder takes the result, wherever it was meanwhile.
    fs::remove_dir(bench.real("")).unwrap();
    fs::rename(bench.temp.path().join("w.old"), bench.real("")).unwrap();
    bench.commit(&mut vfs, &mut pulled.baseline).unwrap();
}

#[test]
fn another_folder_on_the_way_is_a_conflict() {
    // The second round has an index of the first, which knew another folder by that name.
    for rounds in 1..=2 {
        let bench = Bench::new();
        bench.write("a/d/old", "before");
        let mut outcome = None;
        for round in 1..=rounds {
            let (mut vfs, mut pulled) = bench.run(|bench| put(&bench.staged("a/d/new"), &format!("{round}")));
            if round == rounds {
                fs::rename(bench.real("a/d"), bench.real("a/e")).unwrap();
                fs::create_dir(bench.real("a/d")).unwrap();
            }
            outcome = Some(bench.commit(&mut vfs, &mut pulled.baseline));
            if round < rounds {
                let times = bench.real("a/d").metadata().unwrap().modified().unwrap();
                fs::rename(bench.real("a/d"), bench.real("a/moved")).unwrap();
                fs::create_dir(bench.real("a/d")).unwrap();
                fs::File::open(bench.real("a/d")).unwrap().set_modified(times).unwrap();
            }
        }
        let Some(Err(CommitError::Conflict { paths })) = outcome else {
            panic!("{rounds}: {outcome:?}");
        };
        assert_eq!(paths[0].to_string(), "`a/d` changed");
        assert!(fs::read_dir(bench.real("a/d")).unwrap().next().is_none());
    }
}

#[test]
fn a_folder_that_took_anothers_place_before_the_run_is_no_conflict() {
    let bench = Bench::new();
    bench.write("d/x", "before");
    bench.run_and_commit(|bench| put(&bench.staged("d/x"), "first"));
    let times = bench.real("d").metadata().unwrap().modified().unwrap();
    fs::rename(bench.real("d"), bench.real("e")).unwrap();
    bench.write("d/x", "again");
    fs::File::open(bench.real("d")).unwrap().set_modified(times).unwrap();
    bench.run_and_commit(|bench| put(&bench.staged("d/x"), "second"));
    assert_eq!(fs::read(bench.real("d/x")).unwrap(), b"second");
}

#[test]
fn a_folder_in_which_a_file_was_only_replaced_keeps_its_time() {
    for no_exchange in [false, true] {
        let bench = Bench::new();
        bench.write("d/x", "before");
        let long_ago = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
        for folder in ["d", ""] {
            fs::File::open(bench.real(folder))
                .unwrap()
                .set_modified(long_ago)
                .unwrap();
        }
        fault::NO_EXCHANGE.set(no_exchange);
        bench.run_and_commit(|bench| fs::write(bench.staged("d/x"), "after").unwrap());
        fault::NO_EXCHANGE.set(false);
        assert_eq!(fs::read(bench.real("d/x")).unwrap(), b"after");
        for folder in ["d", ""] {
            assert_eq!(bench.real(folder).metadata().unwrap().modified().unwrap(), long_ago);
        }
    }
}
