//! Any tree there and back, and any change of it: what arrives is what was given, whatever the names.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::bench::{Side, carry, carry_until, shown};
use crate::sys::fs::{Time, open_dir, set_mtime_at};

/// One thing that is done to a tree. Whatever does not fit is left out.
#[derive(Debug, Clone)]
enum Deed {
    Write(PathBuf, u8, usize, u32),
    MakeDir(PathBuf),
    Link(PathBuf, usize),
    Chmod(PathBuf, u32),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf),
    HardLink(PathBuf, PathBuf),
    Touch(PathBuf, i64, u32),
}

const TARGETS: [&[u8]; 5] = [b"a", b"/nowhere/at all", b"../../../../etc", b"\xff\n", b"."];

fn path() -> impl Strategy<Value = PathBuf> {
    let name = prop_oneof![
        4 => prop::sample::select(vec![&b"a"[..], b"a-b", b"b", b"c\n", b" d", b"\xff\xfe", b"-", b"\\", b"\"", b".git"])
            .prop_map(<[u8]>::to_vec),
        1 => prop::collection::vec(prop_oneof![1..=46u8, 48..=255u8], 1..40),
        1 => Just(vec![b'n'; 255]),
    ];
    prop::collection::vec(name, 1..5)
        .prop_map(|parts| parts.iter().map(|part| OsStr::from_bytes(part)).collect::<PathBuf>())
        .prop_filter("no ways up", |path| {
            !path.iter().any(|part| part == "." || part == "..")
        })
}

fn mode() -> impl Strategy<Value = u32> {
    prop::sample::select(vec![0o644, 0o755, 0o400, 0o000, 0o4711, 0o2755, 0o1777, 0o222])
}

fn size() -> impl Strategy<Value = usize> {
    prop_oneof![4 => 0..3000usize, 1 => Just(65_536usize), 1 => 60_000..200_000usize]
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        5 => (path(), 0..4u8, size(), mode()).prop_map(|(path, byte, size, mode)| Deed::Write(path, byte, size, mode)),
        2 => path().prop_map(Deed::MakeDir),
        2 => (path(), 0..TARGETS.len()).prop_map(|(path, target)| Deed::Link(path, target)),
        1 => (path(), mode()).prop_map(|(path, mode)| Deed::Chmod(path, mode)),
        2 => path().prop_map(Deed::Remove),
        2 => (path(), path()).prop_map(|(from, to)| Deed::Rename(from, to)),
        1 => (path(), path()).prop_map(|(from, to)| Deed::HardLink(from, to)),
        2 => (path(), -3_000_000_000..4_000_000_000i64, 0..1_000_000_000u32)
            .prop_map(|(path, secs, nanos)| Deed::Touch(path, secs, nanos)),
    ]
}

fn act(root: &Path, deed: &Deed) {
    let set_mode = |path: &Path, mode: u32| fs::set_permissions(path, fs::Permissions::from_mode(mode));
    // Whether it can be done depends on what was done before; both are fine.
    let _ = match deed {
        Deed::Write(path, byte, size, mode) => {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap())
                .and_then(|()| fs::write(&path, vec![*byte; *size]))
                .and_then(|()| set_mode(&path, *mode))
        }
        Deed::MakeDir(path) => fs::create_dir_all(root.join(path)),
        Deed::Link(path, target) => symlink(OsStr::from_bytes(TARGETS[*target]), root.join(path)),
        Deed::Chmod(path, mode) => match root.join(path).symlink_metadata() {
            Ok(meta) if !meta.is_symlink() => set_mode(&root.join(path), *mode),
            _ => Ok(()),
        },
        Deed::Remove(path) => match root.join(path).symlink_metadata() {
            Ok(meta) if meta.is_dir() => fs::remove_dir_all(root.join(path)),
            _ => fs::remove_file(root.join(path)),
        },
        Deed::Rename(from, to) => fs::rename(root.join(from), root.join(to)),
        Deed::HardLink(from, to) => fs::hard_link(root.join(from), root.join(to)),
        Deed::Touch(path, secs, nanos) => {
            let at = root.join(path);
            match (at.parent().map(open_dir), at.file_name()) {
                (Some(Ok(dir)), Some(name)) => set_mtime_at(&dir, name, Time::new(*secs, *nanos)),
                _ => Ok(()),
            }
        }
    };
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_tree_arrives_and_any_change_of_it_and_comes_back(
        first in prop::collection::vec(deed(), 0..25),
        second in prop::collection::vec(deed(), 0..12),
        there in prop::collection::vec(deed(), 0..12),
    ) {
        let temp = tempfile::tempdir().unwrap();
        let (here, far) = (Side::new(&temp.path().join("here")), Side::new(&temp.path().join("far")));
        for deeds in [&first, &second] {
            for deed in deeds {
                act(&here.path(""), deed);
            }
            let before = shown(&here.path(""));
            carry(&here, &far);
            prop_assert_eq!(shown(&far.path("")), before.clone());
            prop_assert_eq!(shown(&here.path("")), before);
        }
        // Tools work there, and what they have done comes home.
        for deed in &there {
            act(&far.path(""), deed);
        }
        let before = shown(&far.path(""));
        carry(&far, &here);
        prop_assert_eq!(shown(&here.path("")), before.clone());
        // Then both are the same, and nothing more is said.
        let again = carry_until(&here, &far, usize::MAX);
        prop_assert_eq!(again.said.len(), 0);
        prop_assert_eq!(shown(&far.path("")), before);
    }

    #[test]
    fn a_wire_that_breaks_anywhere_leaves_the_tree_alone_and_the_next_one_goes_on(
        first in prop::collection::vec(deed(), 0..12),
        second in prop::collection::vec(deed(), 1..12),
        cuts in prop::collection::vec(0..60_000usize, 1..4),
    ) {
        let temp = tempfile::tempdir().unwrap();
        let (here, far) = (Side::new(&temp.path().join("here")), Side::new(&temp.path().join("far")));
        for deed in &first {
            act(&here.path(""), deed);
        }
        carry(&here, &far);
        let before = shown(&far.path(""));
        for deed in &second {
            act(&here.path(""), deed);
        }
        for cut in cuts {
            if carry_until(&here, &far, cut).taken.is_err() {
                prop_assert_eq!(shown(&far.path("")), before.clone());
            }
        }
        carry(&here, &far);
        prop_assert_eq!(shown(&far.path("")), shown(&here.path("")));
    }
}
