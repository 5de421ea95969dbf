//! What the entries of a tree weigh: whoever hears them holds them in memory, whoever says them.

use crate::sidecar::{ENTRY_WEIGHT, MAX_ENTRIES, MAX_FOLDER_PATH, MAX_WEIGHT};
use crate::sys::fs::Kind;

/// The entries so far, in the order of a table.
#[derive(Debug, Default)]
pub(super) struct Weight {
    entries: usize,
    bytes: usize,
    /// By depth: where the path of the last row on the way to the current one ends.
    ends: Vec<usize>,
}

impl Weight {
    /// Adds an entry.
    ///
    /// # Errors
    /// Why the tree is too large, with what helps.
    pub(super) fn add(&mut self, depth: usize, name: &[u8], kind: Kind) -> Result<(), String> {
        self.ends.truncate(depth);
        let above = self.ends.last().copied().unwrap_or(0);
        let path = if above == 0 { name.len() } else { above + 1 + name.len() };
        self.ends.push(path);
        self.entries += 1;
        self.bytes += ENTRY_WEIGHT + name.len();
        // What is to be done in a folder, and what is told of a special, goes by its path.
        if matches!(kind, Kind::Dir | Kind::Special) {
            self.bytes += path;
        }
        if kind == Kind::Dir && path > MAX_FOLDER_PATH {
            return Err(too_large(&format!(
                "a folder in it has a path of more than {MAX_FOLDER_PATH} bytes"
            )));
        }
        if self.entries > MAX_ENTRIES {
            return Err(too_large(&format!("it has more than {MAX_ENTRIES} entries")));
        }
        if self.bytes > MAX_WEIGHT {
            return Err(too_large(&format!(
                "its entries weigh more than {} MiB ({ENTRY_WEIGHT} bytes and the name each, folders their path besides)",
                MAX_WEIGHT >> 20
            )));
        }
        Ok(())
    }
}

fn too_large(why: &str) -> String {
    format!("the tree is too large to be carried: {why}; have `ignore` or `cache_dirs` leave folders out")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many entries of a kind fit below a folder with a long path.
    fn fitting(path: usize, name: usize, kind: Kind) -> usize {
        let mut weight = Weight::default();
        weight.add(0, b"", Kind::Dir).unwrap();
        weight.add(1, &vec![b'x'; path], Kind::Dir).unwrap();
        let name = vec![b'y'; name];
        (0..).find(|_| weight.add(2, &name, kind).is_err()).unwrap()
    }

    #[test]
    fn names_and_paths_weigh_and_files_do_not_weigh_the_way_to_them() {
        assert_eq!(fitting(1, 32, Kind::File), MAX_ENTRIES - 2);
        let less = (MAX_WEIGHT - 8192) / (ENTRY_WEIGHT + 1000);
        assert!((less - 10..less + 10).contains(&fitting(4000, 1000, Kind::File)));
        for kind in [Kind::Dir, Kind::Special] {
            let count = fitting(4000, 1, kind);
            assert!(count * 4000 <= MAX_WEIGHT && count > 90_000, "{count}");
        }
    }

    #[test]
    fn a_path_that_no_system_call_takes_is_too_long() {
        let mut weight = Weight::default();
        weight.add(0, b"", Kind::Dir).unwrap();
        let name = [b'd'; 255];
        for depth in 1..=16 {
            weight.add(depth, &name, Kind::Dir).unwrap();
        }
        // 16 names of 255 bytes and 15 slashes are 4095.
        weight.add(17, b"file", Kind::File).unwrap();
        let error = weight.add(17, b"d", Kind::Dir).unwrap_err();
        assert!(error.contains("4095") && error.contains("`ignore`"), "{error}");
    }
}
