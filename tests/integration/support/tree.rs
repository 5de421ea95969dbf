//! A tree with everything about it that devshell promises to keep.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

/// Every path below a folder (itself as ``) and what it is.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Tree(pub BTreeMap<PathBuf, Entry>);

/// One entry: kind, permission bits, time of change in nanoseconds, and bytes or link target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub kind: char,
    pub mode: u32,
    pub mtime: i128,
    pub content: Vec<u8>,
}

/// Reads a tree.
pub fn tree(root: &Path) -> Tree {
    let mut entries = BTreeMap::new();
    for entry in walkdir::WalkDir::new(root) {
        let entry = entry.unwrap();
        let meta = entry.path().symlink_metadata().unwrap();
        let (kind, content) = if meta.is_symlink() {
            let target = std::fs::read_link(entry.path()).unwrap();
            ('l', std::os::unix::ffi::OsStrExt::as_bytes(target.as_os_str()).to_vec())
        } else if meta.is_dir() {
            ('d', Vec::new())
        } else if meta.file_type().is_fifo() {
            ('p', Vec::new())
        } else {
            // A digest would do; the trees of these tests are small but for sparse giants.
            let content = if meta.len() > 1 << 24 {
                meta.len().to_le_bytes().to_vec()
            } else {
                std::fs::read(entry.path()).unwrap()
            };
            ('f', content)
        };
        let mtime = i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec());
        let path = entry.path().strip_prefix(root).unwrap().to_path_buf();
        entries.insert(
            path,
            Entry {
                kind,
                mode: meta.mode() & 0o7777,
                mtime,
                content,
            },
        );
    }
    Tree(entries)
}

impl Tree {
    /// The same without one subtree, for cache folders.
    pub fn without(mut self, prefix: &str) -> Self {
        self.0.retain(|path, _| !path.starts_with(prefix));
        self
    }

    /// Whether this tree is that one; else the first differences, for a tree of thousands.
    pub fn same_as(&self, wanted: &Self) -> Result<(), String> {
        const SHOWN: usize = 8;
        let paths: BTreeSet<&PathBuf> = self.0.keys().chain(wanted.0.keys()).collect();
        let mut differences = Vec::new();
        for path in paths {
            let (is, should) = (self.0.get(path), wanted.0.get(path));
            if is != should {
                differences.push(format!("{path:?} is {}, should be {}", shown(is), shown(should)));
            }
        }
        if differences.is_empty() {
            return Ok(());
        }
        let more = differences.len().saturating_sub(SHOWN);
        differences.truncate(SHOWN);
        Err(format!("{}\nand {more} more", differences.join("\n")))
    }

    pub fn get(&self, path: &str) -> &Entry {
        self.0
            .get(Path::new(path))
            .unwrap_or_else(|| panic!("{path} is not there: {self:?}"))
    }
}

fn shown(entry: Option<&Entry>) -> String {
    entry.map_or("nothing".to_owned(), |entry| {
        let start = String::from_utf8_lossy(&entry.content[..entry.content.len().min(24)]).into_owned();
        let length = entry.content.len();
        format!("{} {:04o} {} {length} {start:?}", entry.kind, entry.mode, entry.mtime)
    })
}

/// One line an entry, so that a failed comparison can be read.
impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f)?;
        for (path, entry) in &self.0 {
            let text = String::from_utf8_lossy(&entry.content[..entry.content.len().min(40)]).into_owned();
            writeln!(f, "{} {:04o} {} {path:?} {text:?}", entry.kind, entry.mode, entry.mtime)?;
        }
        Ok(())
    }
}
