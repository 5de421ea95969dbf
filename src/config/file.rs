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
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    match str::from_utf8(bytes) {
        Ok(text) => Ok(source(text.to_owned())),
        Err(error) => {
            let fault = not_utf8(bytes, error.valid_up_to(), source);
            Err(ConfigError::Invalid(vec![fault]))
        }
    }
}

/// Text of another encoding; as much of it is shown as can be.
fn not_utf8(bytes: &[u8], at: usize, source: impl Fn(String) -> SourceText) -> Fault {
    let units = |from: fn([u8; 2]) -> u16| -> String {
        let units: Vec<u16> = bytes[2..]
            .chunks_exact(2)
            .map(|pair| from([pair[0], pair[1]]))
            .collect();
        String::from_utf16_lossy(&units)
    };
    let utf16 = match bytes {
        [0xff, 0xfe, ..] => Some(units(u16::from_le_bytes)),
        [0xfe, 0xff, ..] => Some(units(u16::from_be_bytes)),
        _ => None,
    };
    match utf16 {
        Some(text) => {
            let place = Place {
                source: Arc::new(source(text)),
                span: 0..1,
            };
            Fault::new("the file is UTF-16", place).help("save it as UTF-8")
        }
        None => {
            let place = Place {
                source: Arc::new(source(String::from_utf8_lossy(bytes).into_owned())),
                span: at..at + 1,
            };
            let byte = bytes[at];
            Fault::new(
                format!("the file is not UTF-8: byte 0x{byte:02x} at offset {at}"),
                place,
            )
            .help("save it as UTF-8")
        }
    }
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
