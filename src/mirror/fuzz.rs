//! What is said in a carriage, spoilt: to the taker, as a client that pulls would hear it, and to the giver.
//! `DEVSHELL_TEST_FUZZ_SECONDS` makes the loops longer, `DEVSHELL_TEST_FUZZ_SEED` others.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use super::bench::{Side, carry_until, shown};
use super::{MirrorError, Stream, Wire};

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

/// A tree, one that it is to become, and what both sides say for that.
fn recorded(temp: &Path) -> (Side, Side, Vec<u8>, Vec<u8>) {
    let (here, far) = (Side::new(&temp.join("here")), Side::new(&temp.join("far")));
    for side in [&here, &far] {
        side.write("same", "the same");
        side.write("d/file", "small");
    }
    here.write("d/new", vec![3; 200]);
    here.write("e/f/deep", "deep");
    std::os::unix::fs::symlink("d/new", here.path("link")).unwrap();
    far.write("surplus/x", "x");
    let probe = Side::new(&temp.join("probe"));
    for (from, to) in [("same", "same"), ("d/file", "d/file"), ("surplus/x", "surplus/x")] {
        probe.write(to, fs::read(far.path(from)).unwrap());
    }
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
        let bytes = spoil(&said, &mut dice);
        let mut wire = Spoilt {
            rest: &bytes,
            width: 1 + dice.below(500),
        };
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
                    assert_eq!(shown(&far.path("")), before);
                }
            }
        }
        if rounds % 64 == 0 {
            assert_eq!(shown(&temp.path().join("outside")), outside);
            let mut names: Vec<_> = fs::read_dir(temp.path())
                .unwrap()
                .map(|entry| entry.unwrap().file_name())
                .collect();
            names.sort();
            assert_eq!(names, ["far", "here", "outside", "probe"]);
            // What was taken may have grown.
            fs::remove_dir_all(far.path("d")).ok();
            fs::remove_dir_all(far.folder.join("store")).ok();
            far.write("d/file", "small");
        }
    }
    say(&format!(
        "FUZZ: {rounds} spoilt trees for a taker, {taken} taken all the same, {nonsense} found out as nonsense"
    ));
    assert!(nonsense > 0);
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
