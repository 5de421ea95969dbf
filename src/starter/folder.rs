//! The folder that is looked at.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Longer files are cut: what is looked for stands in short ones.
const LARGEST: u64 = 1 << 20;

/// A folder and its files.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// Whether something of this name is there.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.join(name).exists()
    }

    /// The first of these names that is there.
    pub(super) fn first<'a>(&self, names: &[&'a str]) -> Option<&'a str> {
        names.iter().copied().find(|name| self.has(name))
    }

    /// The text of a file; empty when it cannot be read. A FIFO would be waited for, so only
    /// regular files are opened.
    pub(super) fn text(&self, name: &str) -> String {
        let path = self.0.join(name);
        let mut bytes = Vec::new();
        if path.metadata().is_ok_and(|meta| meta.is_file())
            && let Ok(file) = File::open(&path)
            && file.take(LARGEST).read_to_end(&mut bytes).is_err()
        {
            bytes.clear();
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Whether a file of the folder itself has such a name.
    pub(super) fn any(&self, is: impl Fn(&str) -> bool) -> bool {
        let entries = std::fs::read_dir(&self.0).into_iter().flatten().flatten();
        entries
            .into_iter()
            .any(|entry| entry.file_name().to_str().is_some_and(&is))
    }
}

/// Whether a text calls devshell: a tool that does would start itself for ever.
pub(super) fn calls_devshell(text: &str) -> bool {
    words(text).any(|word| word == "devshell")
}

/// The words of a text, as names of programs and packages are written.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|char: char| !(char.is_ascii_alphanumeric() || "_-".contains(char)))
}
