//! What tools may write outside the workspace when the host is read-only to them.

use std::fs::FileType;
use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use crate::event::Emitter;
use crate::process::{PrivateFolders, ReadOnlyHost};

/// Folders for temporary files that every tool has for itself then.
const TEMPORARY: [&str; 3] = ["/tmp", "/var/tmp", "/dev/shm"];

/// `sandbox.host = "ro"`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outside {
    /// Stay writable: `sandbox.writable`.
    pub writable: Vec<PathBuf>,
    /// Files and FIFOs by which the tools speak to who started devshell; those that exist stay as they are.
    pub passed: Vec<PathBuf>,
    /// Folders for temporary files besides /tmp, /var/tmp and /dev/shm.
    pub temporary: Vec<PathBuf>,
}

impl Outside {
    /// What the keeper is to leave, besides where the tree lies.
    pub(super) fn spec(&self, tree: Vec<PathBuf>, earlier: PrivateFolders) -> ReadOnlyHost {
        let is =
            |path: &PathBuf, kind: fn(&FileType) -> bool| path.metadata().is_ok_and(|meta| kind(&meta.file_type()));
        let passed = self
            .passed
            .iter()
            .filter(|path| is(path, FileType::is_file) || is(path, FileType::is_fifo));
        let there = self.writable.iter().filter(|path| path.metadata().is_ok());
        ReadOnlyHost {
            writable: tree.into_iter().chain(there.cloned()).chain(passed.cloned()).collect(),
            temporary: self.folders(),
            earlier,
        }
    }

    fn folders(&self) -> Vec<PathBuf> {
        TEMPORARY
            .iter()
            .map(PathBuf::from)
            .chain(self.temporary.iter().cloned())
            .collect()
    }

    /// Says which places cannot be kept writable because they are not there. That is no failure:
    /// whoever does not use such a cache need not have it, and who does is told again.
    pub(super) fn warn_of_missing(&self, emitter: &mut Emitter) {
        for path in &self.writable {
            if let Err(error) = path.metadata() {
                let told = match error.kind() {
                    io::ErrorKind::NotFound => missing(path),
                    _ => format!("`{}` of sandbox.writable cannot be looked at: {error}", path.display()),
                };
                emitter.warn(told);
            }
        }
    }

    /// The entry of `sandbox.writable` that is not there and that a path belongs to.
    pub(super) fn missing_above(&self, path: &Path) -> Option<&Path> {
        let mut entries = self.writable.iter().filter(|entry| entry.metadata().is_err());
        entries.find(|entry| path.starts_with(entry)).map(PathBuf::as_path)
    }

    /// Whether tools may write a path.
    pub(super) fn is_writable(&self, path: &Path) -> bool {
        self.writable
            .iter()
            .chain(&self.passed)
            .any(|entry| path.starts_with(entry))
            || self.private_above(path).is_some()
    }

    /// The private folder for temporary files in which a path lies.
    pub(super) fn private_above(&self, path: &Path) -> Option<PathBuf> {
        let kept = self
            .writable
            .iter()
            .chain(&self.passed)
            .any(|entry| path.starts_with(entry));
        self.folders()
            .into_iter()
            .find(|folder| !kept && path.starts_with(folder))
    }
}

/// That an entry is not there, and what helps.
pub(super) fn missing(path: &Path) -> String {
    let path = path.display();
    format!(
        "`{path}` of sandbox.writable does not exist and so is not writable: make it before the run (`mkdir -p {path}`)"
    )
}
