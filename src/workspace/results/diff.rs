//! What a kept result would change in the workspace as it is now.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use similar::TextDiff;

use crate::vfs::{Kind, Metadata, Node, Vfs, VfsPath};
use crate::workspace::SyncError;

use super::{KeptResult, ResultsError};

/// Larger files are named, and not compared line by line.
const SHOWN: u64 = 4 * 1024 * 1024;
/// How long the comparison of one file may take before it becomes a coarser one.
const PATIENCE: Duration = Duration::from_secs(2);

/// Writes a line per entry, `A`dded, `M`odified, `D`eleted or of another `T`ype, and below it the
/// changed lines of a text file. Entries that the workspace holds already are left out.
///
/// # Errors
/// [`ResultsError`]; [`ResultsError::Output`] when `out` cannot take more.
pub fn diff(kept: &KeptResult, workspace: &Path, out: &mut dyn Write) -> Result<(), ResultsError> {
    let (after, _, _) = kept.over(workspace)?;
    let before = Vfs::from_dir(workspace).map_err(SyncError::from)?;
    let mount = after.workspace();
    for (path, node) in after.changes() {
        let Some(relative) = path.strip_prefix(&mount) else {
            continue;
        };
        let name = printable(relative.as_os_str());
        let old = before.metadata(path).ok();
        match describe(&before, &after, path, node, old.as_ref())? {
            None => {}
            Some(Shown::Status(letter)) => writeln!(out, "{letter} {name}").map_err(ResultsError::Output)?,
            Some(Shown::Link(letter, targets)) => {
                writeln!(out, "{letter} {name} ({targets})").map_err(ResultsError::Output)?;
            }
            Some(Shown::Mode(was, is)) => {
                writeln!(out, "M {name} (mode {was:o} -> {is:o})").map_err(ResultsError::Output)?;
            }
            Some(Shown::Content(letter, was, is)) => {
                writeln!(out, "{letter} {name}").map_err(ResultsError::Output)?;
                write_content(&name, was.as_deref(), &is, out).map_err(ResultsError::Output)?;
            }
        }
    }
    out.flush().map_err(ResultsError::Output)
}

enum Shown {
    Status(char),
    /// Where a link leads, and where the one in its place led.
    Link(char, String),
    Mode(u32, u32),
    Content(char, Option<Vec<u8>>, Vec<u8>),
}

fn describe(
    before: &Vfs,
    after: &Vfs,
    path: &VfsPath,
    node: &Node,
    old: Option<&Metadata>,
) -> Result<Option<Shown>, SyncError> {
    let letter = |kind: Kind| match old {
        None => 'A',
        Some(old) if old.kind == kind => 'M',
        Some(_) => 'T',
    };
    Ok(match node {
        Node::Deleted => old.map(|_| Shown::Status('D')),
        Node::Dir { mode, .. } => match old {
            Some(old) if old.kind == Kind::Dir => (old.mode != *mode).then_some(Shown::Mode(old.mode, *mode)),
            _ => Some(Shown::Status(letter(Kind::Dir))),
        },
        Node::Symlink { target, .. } => {
            let is = printable(target.as_os_str());
            match before.read_link(path) {
                Ok(was) if was == *target => None,
                Ok(was) => {
                    let targets = format!("link {} -> {is}", printable(was.as_os_str()));
                    Some(Shown::Link(letter(Kind::Symlink), targets))
                }
                Err(_) => Some(Shown::Link(letter(Kind::Symlink), format!("link to {is}"))),
            }
        }
        Node::File(file) => {
            let letter = letter(Kind::File);
            if file.content.len() > SHOWN || old.is_some_and(|old| old.len > SHOWN) {
                return Ok(Some(Shown::Status(letter)));
            }
            let is = after.read_file(path)?;
            let was = match old {
                Some(old) if old.kind == Kind::File => Some(before.read_file(path)?),
                _ => None,
            };
            match (was, old) {
                (Some(was), Some(old)) if was == is => {
                    (old.mode != file.mode).then_some(Shown::Mode(old.mode, file.mode))
                }
                (was, _) => Some(Shown::Content(letter, was, is)),
            }
        }
    })
}

fn write_content(name: &str, was: Option<&[u8]>, is: &[u8], out: &mut dyn Write) -> io::Result<()> {
    let text = |bytes| std::str::from_utf8(bytes).ok().filter(|text| !text.contains('\0'));
    let (Some(old), Some(new)) = (text(was.unwrap_or_default()), text(is)) else {
        return writeln!(out, "binary files differ");
    };
    let from = if was.is_some() {
        format!("a/{name}")
    } else {
        "/dev/null".to_owned()
    };
    TextDiff::configure()
        .timeout(PATIENCE)
        .diff_lines(old, new)
        .unified_diff()
        .header(&from, &format!("b/{name}"))
        .to_writer(out)
}

/// The name as it is, or quoted where it would break the line or the terminal.
fn printable(name: &OsStr) -> String {
    match name.to_str() {
        Some("") => ".".to_owned(),
        Some(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => format!("{name:?}"),
    }
}
