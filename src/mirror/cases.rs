//! Single things that a carriage has to get right.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};

use super::bench::{Side, carry, carry_until, shown};
use super::{MirrorError, Stream, Wire};
use crate::sidecar::{TreeKind, TreeRecord};
use crate::workspace::{Rules, SyncError};

fn sides() -> (tempfile::TempDir, Side, Side) {
    let temp = tempfile::tempdir().unwrap();
    let (here, far) = (
        Side::new(&temp.path().join("here")),
        Side::new(&temp.path().join("far")),
    );
    (temp, here, far)
}

#[test]
fn nothing_changed_means_that_nothing_is_read_or_said() {
    let (_temp, here, far) = sides();
    for index in 0..300 {
        here.write(&format!("d{}/f{index}", index % 7), format!("{index}"));
    }
    symlink("d1/f1", here.path("link")).unwrap();
    carry(&here, &far);
    // The first look may have come within the tick of the last write.
    std::thread::sleep(std::time::Duration::from_millis(30));
    here.look();
    let again = carry_until(&here, &far, usize::MAX);
    assert_eq!((again.said.len(), again.answered.len(), again.read), (0, 0, [0, 0]));
    // One file: all entries, and its content alone.
    here.write("d3/f3", "other");
    let one = carry_until(&here, &far, usize::MAX);
    let taken = one.taken.unwrap();
    assert_eq!((taken.files, taken.bytes, taken.deleted, one.read), (1, 5, 0, [1, 0]));
}

#[test]
fn a_content_that_is_there_already_does_not_come() {
    let (_temp, here, far) = sides();
    here.write("big", vec![7; 300_000]);
    carry(&here, &far);
    // Moved, copied twice, and touched.
    fs::create_dir(here.path("d")).unwrap();
    fs::rename(here.path("big"), here.path("d/moved")).unwrap();
    fs::copy(here.path("d/moved"), here.path("copy")).unwrap();
    fs::copy(here.path("d/moved"), here.path("copy2")).unwrap();
    let taken = carry(&here, &far);
    assert_eq!((taken.files, taken.bytes, taken.deleted), (3, 0, 1));
    assert_eq!(shown(&far.path("")), shown(&here.path("")));
    assert_eq!(far.path("copy").metadata().unwrap().nlink(), 1);
    // The same new content for several files comes once.
    for name in ["x", "y", "z"] {
        here.write(name, vec![9; 50_000]);
    }
    assert_eq!(carry(&here, &far).bytes, 50_000);
    assert_eq!(fs::read_dir(far.folder.join("store")).unwrap().count(), 0);
}

#[test]
fn a_large_file_is_gone_on_with_where_it_broke_off() {
    let (_temp, here, far) = sides();
    let content: Vec<u8> = (0..3_000_000_u32)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    here.write("large", &content);
    let broken = carry_until(&here, &far, 2_000_000);
    assert!(matches!(broken.taken, Err(MirrorError::Cut)));
    assert!(!far.path("large").exists());
    let taken = carry(&here, &far);
    assert!(taken.bytes < 1_200_000, "{} bytes came again", taken.bytes);
    assert_eq!(fs::read(far.path("large")).unwrap(), content);
    // What was spoilt meanwhile is not believed.
    here.write("large", content.repeat(2));
    assert!(carry_until(&here, &far, 4_000_000).taken.is_err());
    let part = fs::read_dir(far.folder.join("store"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let mut spoilt = fs::read(&part).unwrap();
    spoilt[1000] ^= 1;
    fs::write(&part, spoilt).unwrap();
    assert!(matches!(
        carry_until(&here, &far, usize::MAX).taken,
        Err(MirrorError::Changed)
    ));
    carry(&here, &far);
    assert_eq!(fs::read(far.path("large")).unwrap(), content.repeat(2));
}

#[test]
fn hard_links_are_parted_before_one_of_them_is_changed() {
    let (_temp, here, far) = sides();
    here.write("a", "same");
    here.write("b", "same");
    carry(&here, &far);
    fs::remove_file(far.path("b")).unwrap();
    fs::hard_link(far.path("a"), far.path("b")).unwrap();
    fs::hard_link(far.path("a"), far.folder.join("outside")).unwrap();
    let outside = fs::metadata(far.folder.join("outside")).unwrap();
    crate::sys::fs::set_mode_at(&here.mirror.root, "a".as_ref(), 0o640).unwrap();
    carry(&here, &far);
    assert_eq!(shown(&far.path("")), shown(&here.path("")));
    let after = fs::metadata(far.folder.join("outside")).unwrap();
    assert_eq!(
        (outside.mode(), outside.mtime_nsec()),
        (after.mode(), after.mtime_nsec())
    );
}

#[test]
fn ignored_entries_and_cache_folders_stay_where_they_are() {
    let temp = tempfile::tempdir().unwrap();
    let side = |name: &str| {
        let rules = Rules::new(&["*.log".to_owned()], &["target/".to_owned()]).unwrap();
        Side::with_rules(&temp.path().join(name), rules)
    };
    let (here, far) = (side("here"), side("far"));
    here.write("src/main", "1");
    here.write("here.log", "here");
    here.write("target/own", "here");
    far.write("src/far.log", "far");
    far.write("target/debug/app", "built");
    far.write("surplus", "x");
    carry(&here, &far);
    assert!(!far.path("surplus").exists() && !far.path("here.log").exists() && !far.path("target/own").exists());
    assert_eq!(fs::read(far.path("src/far.log")).unwrap(), b"far");
    assert_eq!(fs::read(far.path("target/debug/app")).unwrap(), b"built");
    carry(&far, &here);
    assert_eq!(fs::read(here.path("here.log")).unwrap(), b"here");
    assert!(here.path("target/own").exists() && !here.path("target/debug").exists());
}

#[test]
fn what_is_ignored_by_its_kind_gives_way_to_what_is_not() {
    let temp = tempfile::tempdir().unwrap();
    let side = |name: &str| {
        let rules = Rules::new(&["x".to_owned(), "!x/".to_owned()], &["target/".to_owned()]).unwrap();
        Side::with_rules(&temp.path().join(name), rules)
    };
    let (here, far) = (side("here"), side("far"));
    here.write("x/inside", "1");
    here.write("target", "a file");
    symlink("target", here.path("link")).unwrap();
    far.write("x", "an ignored file");
    far.write("target/app", "built");
    far.write("link/target/app", "built");
    carry(&here, &far);
    assert_eq!(shown(&far.path("")), shown(&here.path("")));
}

#[test]
fn what_is_no_file_is_told_of_and_not_carried() {
    let (_temp, here, far) = sides();
    drop(std::os::unix::net::UnixListener::bind(here.path("sock")).unwrap());
    far.write("sock", "a file in its place");
    let taken = carry(&here, &far);
    assert_eq!(taken.specials, ["sock"].map(std::path::PathBuf::from));
    assert!(!far.path("sock").exists());
}

/// Says what it was told to say, and hears nothing.
struct Said(Vec<Vec<u8>>);

impl Wire for Said {
    fn send(&mut self, _: &[u8]) -> Result<(), MirrorError> {
        Ok(())
    }

    fn receive(&mut self) -> Result<Vec<u8>, MirrorError> {
        self.0.pop().ok_or(MirrorError::Cut)
    }
}

fn entry(depth: u16, name: &[u8], kind: TreeKind) -> TreeRecord<'_> {
    TreeRecord::Entry {
        depth,
        name,
        kind,
        mode: 0o755,
        mtime_s: 0,
        mtime_ns: 0,
    }
}

fn file(content: &[u8]) -> TreeKind {
    TreeKind::File {
        size: content.len() as u64,
        digest: *blake3::hash(content).as_bytes(),
    }
}

#[test]
fn a_giver_that_lies_changes_nothing() {
    let root = entry(0, b"", TreeKind::Dir);
    let long_link = TreeKind::Symlink {
        size: 5000,
        digest: [0; 32],
    };
    let entries = |list: &[TreeRecord]| {
        let mut bytes = Vec::new();
        for record in list {
            record.write_to(&mut bytes);
        }
        TreeRecord::Entries {
            count: list.len() as u64,
        }
        .write_to(&mut bytes);
        bytes
    };
    let with = |more: &[TreeRecord]| entries(&[&[root][..], more].concat());
    let pieces = |list: &[(&TreeRecord, &[u8])]| {
        let mut bytes = with(&[entry(1, b"f", file(b"abc"))]);
        for (record, raw) in list {
            record.write_to(&mut bytes);
            bytes.extend_from_slice(raw);
        }
        bytes
    };
    let (three, four) = (TreeRecord::Piece { len: 3 }, TreeRecord::Piece { len: 4 });
    let huge = TreeKind::File {
        size: 1 << 60,
        digest: [1; 32],
    };
    let mut wrong_count = Vec::new();
    root.write_to(&mut wrong_count);
    TreeRecord::Entries { count: 2 }.write_to(&mut wrong_count);
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("no root", entries(&[entry(1, b"a", TreeKind::Dir)])),
        ("a root with a name", entries(&[entry(0, b"a", TreeKind::Dir)])),
        ("a root that is a file", entries(&[entry(0, b"", file(b"x"))])),
        ("two roots", with(&[root])),
        ("nothing at all", entries(&[])),
        ("up", with(&[entry(1, b"..", TreeKind::Dir)])),
        ("here", with(&[entry(1, b".", TreeKind::Dir)])),
        ("a path", with(&[entry(1, b"a/b", file(b""))])),
        ("an absolute path", with(&[entry(1, b"/etc", file(b""))])),
        ("a NUL", with(&[entry(1, b"a\0", file(b""))])),
        ("no name", with(&[entry(1, b"", file(b""))])),
        ("a name too long", with(&[entry(1, &[b'x'; 1025], file(b""))])),
        ("too deep", with(&[entry(2, b"a", TreeKind::Dir)])),
        (
            "below a file",
            with(&[entry(1, b"a", file(b"")), entry(2, b"b", file(b""))]),
        ),
        (
            "below a link",
            with(&[
                entry(
                    1,
                    b"a",
                    TreeKind::Symlink {
                        size: 1,
                        digest: [0; 32],
                    },
                ),
                entry(2, b"b", file(b"")),
            ]),
        ),
        (
            "disorder",
            with(&[entry(1, b"b", file(b"")), entry(1, b"a", file(b""))]),
        ),
        ("twice", with(&[entry(1, b"a", file(b"")), entry(1, b"a", file(b""))])),
        ("an endless link", with(&[entry(1, b"a", long_link)])),
        ("two sizes of one digest", {
            let other = TreeKind::File {
                size: 4,
                digest: *blake3::hash(b"abc").as_bytes(),
            };
            with(&[entry(1, b"a", file(b"abc")), entry(1, b"b", other)])
        }),
        ("a digest of something for nothing", {
            let nothing = TreeKind::File {
                size: 0,
                digest: *blake3::hash(b"abc").as_bytes(),
            };
            with(&[
                entry(1, b"a", file(b"abc")),
                entry(1, b"b", nothing),
                entry(1, b"c", nothing),
            ])
        }),
        ("another count", wrong_count),
        ("a longer content", pieces(&[(&four, b"abcd")])),
        (
            "a shorter content",
            pieces(&[(&TreeRecord::Piece { len: 2 }, b"ab"), (&TreeRecord::End, b"")]),
        ),
        ("another content", pieces(&[(&three, b"abX"), (&TreeRecord::End, b"")])),
        ("an empty piece", pieces(&[(&TreeRecord::Piece { len: 0 }, b"")])),
        ("no content", pieces(&[(&TreeRecord::Done, b"")])),
        ("no record", vec![0xff; 10]),
    ];
    let is_nonsense = |bytes: Vec<u8>| {
        let (temp, _, far) = sides();
        far.write("kept", "kept");
        let before = shown(&far.path(""));
        let own = far.look();
        let mut wire = Said(bytes.chunks(3).rev().map(<[u8]>::to_vec).collect());
        let error = far
            .mirror
            .take(&own, &mut Stream::new(&mut wire), &|| false, &mut |_| ())
            .unwrap_err();
        assert_eq!(shown(&far.path("")), before);
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 2);
        error
    };
    for (name, bytes) in cases {
        let error = is_nonsense(bytes);
        assert!(matches!(error, MirrorError::Peer(_)), "{name}: {error:?}");
    }
    // More than the disk holds is refused before it comes.
    let error = is_nonsense(with(&[entry(1, b"huge", huge)]));
    let MirrorError::Local(SyncError::Io { source, .. }) = error else {
        panic!("{error:?}")
    };
    assert_eq!(source.kind(), std::io::ErrorKind::StorageFull);
}

#[test]
fn wants_of_what_there_is_not_are_refused() {
    let (_temp, here, _) = sides();
    here.write("a", "abc");
    let own = here.look();
    for wants in [
        vec![TreeRecord::Want { entry: 0, offset: 0 }],
        vec![TreeRecord::Want { entry: 2, offset: 0 }],
        vec![TreeRecord::Want {
            entry: u32::MAX,
            offset: 0,
        }],
        vec![TreeRecord::Want { entry: 1, offset: 4 }],
        vec![
            TreeRecord::Want { entry: 1, offset: 0 },
            TreeRecord::Want { entry: 1, offset: 0 },
        ],
        vec![TreeRecord::Wants { count: 1 }],
        vec![TreeRecord::Done],
        vec![TreeRecord::Wants { count: 0 }, TreeRecord::End],
    ] {
        let mut bytes = Vec::new();
        for record in &wants {
            record.write_to(&mut bytes);
        }
        let given = here
            .mirror
            .give(&own, &mut Stream::new(&mut Said(vec![bytes])), &|| false, &mut |_| ());
        assert!(matches!(given, Err(MirrorError::Peer(_))), "{wants:?}: {given:?}");
    }
}

#[test]
fn what_changes_after_the_look_is_not_given_for_what_it_was() {
    let (_temp, here, far) = sides();
    here.write("a", "abc");
    let own = here.look();
    here.write("a", "abcd");
    let (mut giver, mut taker) = super::bench::wire();
    let theirs = far.look();
    let taken = std::thread::scope(|scope| {
        scope.spawn(|| {
            let _ = here
                .mirror
                .give(&own, &mut Stream::new(&mut giver), &|| false, &mut |_| ());
            drop(giver);
        });
        let taken = far
            .mirror
            .take(&theirs, &mut Stream::new(&mut taker), &|| false, &mut |_| ());
        drop(taker);
        taken
    });
    assert!(matches!(taken, Err(MirrorError::Changed)), "{taken:?}");
    assert!(!far.path("a").exists());
}
