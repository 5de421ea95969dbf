//! The user's file: where it is, and what of it can be read.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::ConfigError;
use super::fault::Fault;
use super::file;
use super::source::{Holder, Place, SourceText};

/// What the user's file gives.
#[derive(Debug, Default)]
pub(super) struct UserFile {
    /// Its text, when there is one that can be read.
    pub(super) text: Option<SourceText>,
    /// Why a file that is there cannot be read.
    pub(super) faults: Vec<Fault>,
    pub(super) warnings: Vec<String>,
}

/// Reads `$XDG_CONFIG_HOME/devshell/config.toml`, else `$HOME/.config/devshell/config.toml`.
/// That there is none is nothing to speak of.
pub(super) fn read(xdg: Option<&OsStr>, home: Option<&OsStr>, cwd: &Path) -> UserFile {
    // The XDG specification has relative paths ignored.
    let absolute = |path: &&Path| path.is_absolute();
    let folder = xdg
        .map(Path::new)
        .filter(absolute)
        .map(Path::to_owned)
        .or_else(|| home.map(Path::new).filter(absolute).map(|home| home.join(".config")));
    let Some(path) = folder.map(|folder| folder.join("devshell/config.toml")) else {
        return UserFile::default();
    };
    match file::read(&path, cwd) {
        Ok(text) => UserFile {
            text: Some(text),
            ..UserFile::default()
        },
        Err(ConfigError::Invalid(faults)) => UserFile {
            faults,
            ..UserFile::default()
        },
        Err(ConfigError::Unreadable { path, remedy, source }) => unreadable(path, remedy, &source, cwd),
        Err(_) => UserFile::default(),
    }
}

fn unreadable(path: PathBuf, remedy: &str, source: &io::Error, cwd: &Path) -> UserFile {
    let mut out = UserFile::default();
    match path.symlink_metadata() {
        // Something on the way is a file: then there is none.
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {}
        // HOME is another user's, as with `su` and in containers: whether there is one at all
        // cannot be known, and what it would say is not meant for this user.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => out.warnings.push(format!(
            "the user's file {} is out of reach and left out: {source}; set HOME or XDG_CONFIG_HOME to this user's own",
            path.display()
        )),
        _ => {
            let shown = path.strip_prefix(cwd).unwrap_or(&path).display().to_string();
            let remedy = match source.kind() {
                io::ErrorKind::IsADirectory => "a file is looked for there: move the folder away",
                _ => remedy,
            };
            let base = path.parent().unwrap_or(&path).to_owned();
            let place = Place {
                source: Arc::new(SourceText::new(Holder::File { path, shown }, "", base)),
                span: 0..0,
            };
            out.faults
                .push(Fault::new(format!("cannot read the user's file: {source}"), place).help(remedy));
        }
    }
    out
}
