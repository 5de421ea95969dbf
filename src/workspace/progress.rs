//! How far the carrying of a tree is, told while it goes on.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Between two tellings.
pub(super) const PACE: Duration = Duration::from_millis(100);

/// How much has been carried by now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Files and links.
    pub files: u64,
    /// How many of them there are to carry.
    pub files_total: u64,
    /// Bytes.
    pub bytes: u64,
}

/// Who is told, at most ten times a second, on the thread that asked for the work.
pub type ProgressFn<'a> = &'a mut dyn FnMut(Progress);

/// Counted by all threads that carry.
#[derive(Debug, Default)]
pub(super) struct Counter {
    files: AtomicU64,
    bytes: AtomicU64,
}

impl Counter {
    pub(super) fn add(&self, bytes: u64) {
        self.files.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn progress(&self, files_total: u64) -> Progress {
        Progress {
            files: self.files.load(Ordering::Relaxed),
            files_total,
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }
}

/// Says when it is time to tell, in a loop of one thread.
#[derive(Debug)]
pub(crate) struct Pace(Instant);

impl Pace {
    pub(crate) fn new() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn is_due(&mut self) -> bool {
        let is_due = self.0.elapsed() >= PACE;
        if is_due {
            self.0 = Instant::now();
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vfs::Vfs;
    use crate::workspace::{Rules, pull_telling, push_telling};

    #[test]
    fn a_push_and_a_pull_that_take_a_while_tell_how_far_they_are() {
        let temp = tempfile::tempdir().unwrap();
        let tree = temp.path().join("tree");
        for folder in ["a", "b", "c", "d"] {
            std::fs::create_dir_all(tree.join(folder)).unwrap();
            for file in 0..20 {
                std::fs::write(tree.join(folder).join(file.to_string()), "12345").unwrap();
            }
        }
        let mut vfs = Vfs::from_dir(&tree).unwrap();
        let rules = Rules::new(&[], &[]).unwrap();
        let slow = || {
            std::thread::sleep(Duration::from_millis(10));
            false
        };
        let (staging, index) = (temp.path().join("staging"), temp.path().join("index"));
        let mut told = Vec::new();
        let pushed = push_telling(&vfs, &staging, &index, &rules, &slow, &mut |progress| {
            told.push(progress)
        })
        .unwrap();
        let check = |told: &[Progress]| {
            assert!(!told.is_empty());
            for pair in told.windows(2) {
                assert!(
                    pair[0].files <= pair[1].files && pair[0].bytes <= pair[1].bytes,
                    "{told:?}"
                );
            }
            let enough = |progress: &Progress| {
                progress.files_total == 80 && progress.files <= 80 && progress.bytes <= progress.files * 6
            };
            assert!(told.iter().all(enough), "{told:?}");
        };
        check(&told);
        for folder in ["a", "b", "c", "d"] {
            for file in 0..20 {
                std::fs::write(staging.join(folder).join(file.to_string()), "123456").unwrap();
            }
        }
        told.clear();
        let tell = &mut |progress| told.push(progress);
        pull_telling(&pushed, &rules, &mut vfs, None, &slow, tell).unwrap();
        check(&told);
    }
}
