//! What is said in a carriage, spoilt: to the taker, as a client that pulls would hear it, and to the giver.
//! `DEVSHELL_TEST_FUZZ_SECONDS` makes the loops longer, `DEVSHELL_TEST_FUZZ_SEED` others.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use super::bench::{Side, carry_until, shown};
use super::{MirrorError, Stream, Wire};
use crate::sidecar::{TreeKind, TreeRecord};

/// Numbers that are the same in every run.
struct Dice(u64);

impl Dice {
    fn new() -> Self {
        let text = std::env::var("DEVSHELL_TEST_FUZZ_SEED").ok();
        Self(text.and_then(|text| text.parse().ok()).unwrap_or(0x5eed))
    }

    fn below(&mut self, end: usize) -> usize {
        // An xorshift: good enough to spoil bytes.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end as u64).unwrap()
    }
}

fn until() -> Instant {
    let text = std::env::var("DEVSHELL_TEST_FUZZ_SECONDS").ok();
    Instant::now() + Duration::from_secs(text.and_then(|text| text.parse().ok()).unwrap_or(1))
}

const PIECES: [&[u8]; 12] = [
    b"..",
    b"/",
    b"\0",
    b"\x01\x01\x02..",
    b"\xff\xff\xff\xff\x0f",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"\x00",
    b"\x02\x01",
    b"\x05\xff\xff\x03",
    b"\x06",
    b"\x07",
    b"\x08",
];

fn spoil(bytes: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=dice.below(4) {
        let at = dice.below(bytes.len() + 1);
        match dice.below(5) {
            0 if at < bytes.len() => bytes[at] ^= 1 << dice.below(8),
            1 => bytes.truncate(at),
            2 => drop(bytes.drain(at..(at + dice.below(40)).min(bytes.len()))),
            3 => {
                let piece = bytes[at..(at + dice.below(60)).min(bytes.len())].to_vec();
                bytes.splice(at..at, piece);
            }
            _ => {
                bytes.splice(at..at, PIECES[dice.below(PIECES.len())].iter().copied());
            }
        }
    }
    bytes
}

/// The same with one entry that is another one, as somebody would say it who knows how.
fn pervert(bytes: &[u8], dice: &mut Dice) -> Vec<u8> {
    let entries = count_entries(bytes);
    let chosen = dice.below(entries);
    let (mut out, mut rest, mut number) = (Vec::new(), bytes, 0);
    while let Ok((record, length)) = TreeRecord::read_from(rest) {
        rest = &rest[length..];
        let record = match record {
            TreeRecord::Entry { .. } => {
                number += 1;
                if number - 1 == chosen {
                    other_entry(record, dice)
                } else {
                    record
                }
            }
            record => record,
        };
        record.write_to(&mut out);
        if let TreeRecord::Piece { len } = record {
            let (raw, later) = rest.split_at(len as usize);
            out.extend_from_slice(raw);
            rest = later;
        }
    }
    out
}

fn count_entries(bytes: &[u8]) -> usize {
    let (mut rest, mut entries) = (bytes, 0);
    while let Ok((TreeRecord::Entry { .. }, length)) = TreeRecord::read_from(rest) {
        rest = &rest[length..];
        entries += 1;
    }
    entries
}

fn other_entry<'a>(entry: TreeRecord<'a>, dice: &mut Dice) -> TreeRecord<'a> {
    const NAMES: [&[u8]; 9] = [b"..", b".", b"", b"a/b", b"\0", b"\xff", b"zzz", b"link", &[b'n'; 256]];
    let TreeRecord::Entry {
        mut depth,
        mut name,
        mut kind,
        mut mode,
        mut mtime_s,
        mut mtime_ns,
    } = entry
    else {
        return entry;
    };
    match dice.below(6) {
        0 => name = NAMES[dice.below(NAMES.len())],
        1 => depth = u16::try_from(dice.below(4)).unwrap(),
        2 => mode = [0, 0o7777, 0o4755, 0o10000, u16::MAX, 0o222][dice.below(6)],
        3 => mtime_s = [i64::MIN, i64::MAX, -1, 0, 1 << 34, -(1 << 40)][dice.below(6)],
        4 => mtime_ns = [0, 999_999_999, 1_000_000_000, u32::MAX][dice.below(4)],
        _ => {
            let (size, digest) = match kind {
                TreeKind::File { size, digest } | TreeKind::Symlink { size, digest } => (size, digest),
                TreeKind::Dir | TreeKind::Special => (0, [0; 32]),
            };
            kind = match dice.below(5) {
                0 => TreeKind::Dir,
                1 => TreeKind::Special,
                2 => TreeKind::Symlink { size, digest },
                3 => TreeKind::File { size: 0, digest },
                _ => TreeKind::File { size, digest },
            };
        }
    }
    TreeRecord::Entry {
        depth,
        name,
        kind,
        mode,
        mtime_s,
        mtime_ns,
    }
}

struct Spoilt<'a> {
    rest: &'a [u8],
    width: usize,
}

impl Wire for Spoilt<'_> {
    fn send(&mut self, _: &[u8]) -> Result<(), MirrorError> {
        Ok(())
    }

    fn receive(&mut self) -> Result<Vec<u8>, MirrorError> {
        if self.rest.is_empty() {
            return Err(MirrorError::Cut);
        }
        let (now, later) = self.rest.split_at(self.width.min(self.rest.len()));
        self.rest = later;
        Ok(now.to_vec())
    }
}

fn plant(side: &Side) {
    side.write("same", "the same");
    side.write("d/file", "small");
    side.write("surplus/x", "x");
}

/// A tree, one that it is to become, and what both sides say for that.
fn recorded(temp: &Path) -> (Side, Side, Vec<u8>, Vec<u8>) {
    let (here, far) = (Side::new(&temp.join("here")), Side::new(&temp.join("far")));
    here.write("same", "the same");
    here.write("d/file", "small");
    here.write("d/new", vec![3; 200]);
    here.write("e/f/deep", "deep");
    std::os::unix::fs::symlink("d/new", here.path("link")).unwrap();
    let probe = Side::new(&temp.join("probe"));
    plant(&far);
    plant(&probe);
    let carried = carry_until(&here, &probe, usize::MAX);
    carried.taken.unwrap();
    (here, far, carried.said, carried.answered)
}

#[test]
fn no_giver_makes_a_taker_panic_or_write_elsewhere() {
    let temp = tempfile::tempdir().unwrap();
    fs::create_dir(temp.path().join("outside")).unwrap();
    fs::write(temp.path().join("outside/kept"), "kept").unwrap();
    let (_, far, said, _) = recorded(temp.path());
    let outside = shown(&temp.path().join("outside"));
    let (mut dice, until) = (Dice::new(), until());
    let (mut rounds, mut taken, mut nonsense) = (0_u64, 0_u64, 0_u64);
    while rounds < 64 || Instant::now() < until {
        rounds += 1;
        let bytes = match dice.below(2) {
            0 => spoil(&said, &mut dice),
            _ => pervert(&said, &mut dice),
        };
        let mut wire = Spoilt {
            rest: &bytes,
            width: 1 + dice.below(500),
        };
        // A tree whose own folder is closed is one that the tree's owner cannot use either.
        fs::set_permissions(far.path(""), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let before = shown(&far.path(""));
        let own = far.look();
        match far
            .mirror
            .take(&own, &mut Stream::new(&mut wire), &|| false, &mut |_| ())
        {
            Ok(_) => taken += 1,
            Err(error) => {
                nonsense += u64::from(matches!(error, MirrorError::Peer(_)));
                // A name that no file system takes fails while it is put in its place.
                if !matches!(error, MirrorError::Local(_)) {
                    assert_eq!(shown(&far.path("")), before, "{error:?}");
                }
            }
        }
        if rounds % 16 == 0 {
            assert_eq!(shown(&temp.path().join("outside")), outside);
            let mut names: Vec<_> = fs::read_dir(temp.path())
                .unwrap()
                .map(|entry| entry.unwrap().file_name())
                .collect();
            names.sort();
            assert_eq!(names, ["far", "here", "outside", "probe"]);
            // What was taken may be anything.
            fs::set_permissions(far.path(""), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
            for name in crate::sys::fs::names(&far.mirror.root).unwrap() {
                crate::sys::fs::remove_tree(&far.mirror.root, &name).unwrap();
            }
            plant(&far);
        }
    }
    say(&format!(
        "FUZZ: {rounds} spoilt trees for a taker, {taken} taken all the same, {nonsense} found out as nonsense"
    ));
    assert!(nonsense > 0 && taken > 0);
}

#[test]
fn no_taker_makes_a_giver_panic_or_change_anything() {
    let temp = tempfile::tempdir().unwrap();
    let (here, _, _, answered) = recorded(temp.path());
    let before = shown(&here.path(""));
    let (mut dice, until) = (Dice::new(), until());
    let (mut rounds, mut given) = (0_u64, 0_u64);
    let own = here.look();
    while rounds < 64 || Instant::now() < until {
        rounds += 1;
        let bytes = spoil(&answered, &mut dice);
        let mut wire = Spoilt {
            rest: &bytes,
            width: 1 + dice.below(20),
        };
        let gave = here
            .mirror
            .give(&own, &mut Stream::new(&mut wire), &|| false, &mut |_| ());
        given += u64::from(gave.is_ok());
    }
    assert_eq!(shown(&here.path("")), before);
    say(&format!(
        "FUZZ: {rounds} spoilt answers for a giver, {given} served all the same"
    ));
}

fn say(text: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "{text}");
}
