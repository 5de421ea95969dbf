//! The names in a folder.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use crate::sidecar::{FsEntry, FsErrorCode, GuestFsOk, to_base64};
use crate::sys::fs::{folder_inside, for_each_name};

use super::{FsRefusal, Target, stat_with_target};

/// Bytes of names in one page: written as JSON they can be six times as long.
const PAGE: usize = 128 * 1024;
/// Bytes of entries in one page, written as JSON.
const PAGE_OF_ENTRIES: usize = 900 * 1024;

/// What of a folder is asked for.
pub(in crate::server) struct Page {
    /// Names behind this one.
    pub(in crate::server) after: Option<Vec<u8>>,
    /// With metadata.
    pub(in crate::server) with_stat: bool,
    /// The client can take names that are not UTF-8.
    pub(in crate::server) raw_names: bool,
    /// All names have to fit into one line of so many bytes; none: in pages.
    pub(in crate::server) whole_within: Option<usize>,
}

/// Lists a folder, sorted by the bytes of the names, in memory that does not grow with it.
pub(in crate::server) fn list_dir(target: &Target, page: &Page) -> Result<GuestFsOk, FsRefusal> {
    let folder = folder_inside(target.session, target.below.path()).map_err(|error| target.refuse(&error))?;
    let mut names = Smallest {
        names: BTreeSet::new(),
        bytes: 0,
        most: page.whole_within.unwrap_or(PAGE),
        more: false,
    };
    for_each_name(&folder, |name| {
        let name = name.as_bytes();
        if page.after.as_deref().is_none_or(|after| name > after) {
            names.add(name);
        }
    })
    .map_err(|error| target.refuse(&error))?;
    let mut done = target.done();
    if page.whole_within.is_none() {
        done.more = Some(names.more);
    } else if names.more {
        return Err(too_long(target));
    }
    if !page.raw_names
        && let Some(name) = names.names.iter().find(|name| std::str::from_utf8(name).is_err())
    {
        return Err(FsRefusal::new(
            FsErrorCode::IoError,
            format!(
                "`{}` holds the name `{}`, which is not UTF-8: that needs the capability fs_raw",
                target.shown,
                name.escape_ascii()
            ),
        ));
    }
    if page.with_stat {
        let mut entries = Vec::new();
        let mut written = 0;
        for name in &names.names {
            let stat = match stat_with_target(&folder, OsStr::from_bytes(name)) {
                Ok(stat) => stat,
                // It has gone meanwhile.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                // A folder that may be listed and not entered is not empty.
                Err(error) => return Err(target.refuse(&error)),
            };
            let entry = FsEntry::new(name, stat);
            written += serde_json::to_vec(&entry).map_or(0, |text| text.len()) + 1;
            if written > PAGE_OF_ENTRIES && !entries.is_empty() {
                done.more = Some(true);
                break;
            }
            entries.push(entry);
        }
        done.entries = Some(entries);
        return Ok(done);
    }
    let (text, raw): (Vec<_>, Vec<_>) = names.names.into_iter().map(String::from_utf8).partition(Result::is_ok);
    done.names = Some(text.into_iter().flatten().collect());
    if page.raw_names {
        let raw = raw.into_iter().filter_map(Result::err);
        done.names_base64 = Some(raw.map(|error| to_base64(error.as_bytes())).collect());
    }
    if let Some(limit) = page.whole_within
        && serde_json::to_vec(&done).map_or(0, |text| text.len()) > limit
    {
        return Err(too_long(target));
    }
    Ok(done)
}

fn too_long(target: &Target) -> FsRefusal {
    FsRefusal::new(
        FsErrorCode::IoError,
        format!(
            "`{}` holds more names than fit into one line (devshell-vm --max-line): that needs the capability fs_stat",
            target.shown
        ),
    )
}

/// The first names in the order of their bytes, as many as fit.
struct Smallest {
    names: BTreeSet<Vec<u8>>,
    bytes: usize,
    most: usize,
    more: bool,
}

impl Smallest {
    fn add(&mut self, name: &[u8]) {
        self.names.insert(name.to_vec());
        self.bytes += name.len() + 4;
        while self.bytes > self.most && self.names.len() > 1 {
            if let Some(last) = self.names.pop_last() {
                self.bytes -= last.len() + 4;
                self.more = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_names_are_kept_within_the_bound() {
        let mut smallest = Smallest {
            names: BTreeSet::new(),
            bytes: 0,
            most: 20,
            more: false,
        };
        for name in ["d", "b", "e", "a", "c", "f"] {
            smallest.add(name.as_bytes());
        }
        assert!(smallest.more);
        assert_eq!(smallest.names.into_iter().collect::<Vec<_>>(), [b"a", b"b", b"c", b"d"]);
    }
}
