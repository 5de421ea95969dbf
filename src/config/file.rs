//! Finding and reading the config file.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::{ConfigError, Missing};
use super::fault::Fault;
use super::source::{Holder, Place, SourceText};

/// The name that is looked for.
pub const FILE_NAME: &str = "devshell.toml";

/// Longer files are no configs; keeps a slip such as `/dev/zero` from filling the memory.
const LARGEST: u64 = 1 << 20;

/// The file that a request means: the one that is named, else `devshell.toml` here or in the
/// nearest parent folder.
///
/// # Errors
/// [`ConfigError::Missing`] when there is none and `required` is set.
pub(super) fn find(named: Option<&Path>, cwd: &Path, required: bool) -> Result<Option<PathBuf>, ConfigError> {
    if let Some(named) = named {
        return Ok(Some(cwd.join(named)));
    }
    for folder in cwd.ancestors() {
        let path = folder.join(FILE_NAME);
        // A dangling link of that name is meant, too, and reading it says what is wrong.
        if path.symlink_metadata().is_ok() {
            return Ok(Some(path));
        }
    }
    if required {
        return Err(ConfigError::Missing(Missing::Above(cwd.to_owned())));
    }
    Ok(None)
}

/// Opens a file and nothing else: a FIFO would be waited for, and the folder of a pipe or of
/// /dev/stdin would become the workspace.
fn open_regular(path: &Path) -> io::Result<File> {
    let kind = path.metadata()?.file_type();
    if !kind.is_file() && !kind.is_dir() {
        return Err(io::Error::other("it is no regular file"));
    }
    File::open(path)
}

/// Reads a file.
///
/// # Errors
/// [`ConfigError::Missing`], [`ConfigError::Unreadable`], and [`ConfigError::Invalid`] when it
/// is no UTF-8 or too long.
pub(super) fn read(path: &Path, cwd: &Path) -> Result<SourceText, ConfigError> {
    let mut bytes = Vec::new();
    let result = open_regular(path).and_then(|file| file.take(LARGEST + 1).read_to_end(&mut bytes));
    if let Err(source) = result {
        return Err(unreadable(path, source));
    }
    let source = |text: String| {
        let holder = Holder::File {
            path: path.to_owned(),
            shown: path.strip_prefix(cwd).unwrap_or(path).display().to_string(),
        };
        SourceText::new(holder, text, path.parent().unwrap_or(cwd))
    };
    if bytes.len() as u64 > LARGEST {
        let place = Place {
            source: Arc::new(source(String::new())),
            span: 0..0,
        };
        let fault = Fault::new(
            format!("the file is longer than {} MiB: it is no config", LARGEST >> 20),
            place,
        );
        return Err(ConfigError::Invalid(vec![fault]));
    }
    String::from_utf8(bytes).map(source).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
        let byte = error.as_bytes()[at];
        let place = Place {
            source: Arc::new(source(text)),
            span: at..at + 1,
        };
        let fault = Fault::new(
            format!("the file is not UTF-8: byte 0x{byte:02x} at offset {at}"),
            place,
        )
        .help(match error.as_bytes() {
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "it is UTF-16: save it as UTF-8",
            _ => "save it as UTF-8",
        });
        ConfigError::Invalid(vec![fault])
    })
}

fn unreadable(path: &Path, source: io::Error) -> ConfigError {
    let dangling = path.symlink_metadata().is_ok();
    let remedy = match source.kind() {
        io::ErrorKind::NotFound if !dangling => return ConfigError::Missing(Missing::Named(path.to_owned())),
        io::ErrorKind::NotFound => "it is a symlink to nothing: mend or remove the link",
        io::ErrorKind::PermissionDenied => "make it and the folders above it readable for this user",
        io::ErrorKind::IsADirectory => "name the file, not its folder",
        io::ErrorKind::NotADirectory => "something on the way to it is not a folder",
        _ => "see whether the file can be read at all",
    };
    ConfigError::Unreadable {
        path: path.to_owned(),
        remedy,
        source,
    }
}
