//! What tells, without a scan at the start, whether the host has changed the workspace since.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use crate::sys::fs::{self, Stamp, Stat, Time};

use super::error::At as _;
use super::{RootId, SyncError};

/// A root folder with more entries than this is not listed: that alone would take a millisecond.
const LISTED_AT_MOST: usize = 4096;
/// Longer than any clock tick: a time that stands still for so long is kept in seconds only.
const LONGEST_TICK: Duration = Duration::from_millis(40);

/// What the workspace looked like when its view was made, without a scan of it.
///
/// Everything that the host changes after [`Beginning::note`] has a ctime that tells so, also where the mtime was put
/// back. Whatever it did before is part of what the tools see, and counts for nothing.
#[derive(Debug)]
pub struct Beginning {
    floor: Floor,
    root: Stat,
    /// The entries of the workspace's own folder with the inode numbers that it has for them.
    listing: Option<HashMap<OsString, u64>>,
    /// By how much the wall clock was ahead of the clock that only runs forward.
    clock_lead: (i128, i128),
}

/// From which ctime on an entry has been changed since the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Floor {
    /// From this one on.
    At(Time),
    /// Later than this one.
    Above(Time),
    /// From this one on; changes of the same second before the beginning look like later ones.
    Second(Time),
}

impl Beginning {
    /// Notes how things stand. Everything that the tools may see differently than devshell must be made after this:
    /// first this, then the view, then the tools. `place` is a folder of devshell's own on the workspace's own file
    /// system; nothing stays in it. On kernels without fine-grained times (before 6.13) it waits for the next tick of
    /// the clock, at most 10 ms.
    ///
    /// # Errors
    /// [`SyncError::Io`] where the workspace cannot be listed, or nothing can be made in `place`.
    pub fn note(workspace: &Path, place: &Path) -> Result<Self, SyncError> {
        let floor = stamped(place).at("make a file in", place)?;
        let fd = fs::open_dir(workspace).at("open", workspace)?;
        Ok(Self {
            floor,
            root: fs::stat_fd(&fd).at("look at", workspace)?,
            listing: list(&fd).at("list", workspace)?,
            clock_lead: fs::clock_lead(),
        })
    }

    /// Whether the file system keeps whole seconds only: then what the host changed within the second before the
    /// beginning counts as changed since, and a conflict may be a false one. Worth a warning.
    #[must_use]
    pub fn is_coarse(&self) -> bool {
        matches!(self.floor, Floor::Second(_))
    }

    /// Whether the kernel stamps changes finely enough to tell the beginning from what came just before (6.13); else
    /// [`Self::note`] had to wait for the clock's next tick.
    #[must_use]
    pub fn is_fine(&self) -> bool {
        matches!(self.floor, Floor::At(_))
    }

    pub(super) fn root_id(&self) -> RootId {
        RootId::of(&self.root)
    }

    pub(super) fn root(&self) -> &Stamp {
        &self.root.stamp
    }

    fn is_since(&self, time: Time) -> bool {
        match self.floor {
            Floor::At(floor) | Floor::Second(floor) => time >= floor,
            Floor::Above(floor) => time > floor,
        }
    }
}

/// The entries of a folder with their inode numbers, unless there are too many.
fn list(folder: &OwnedFd) -> io::Result<Option<HashMap<OsString, u64>>> {
    let mut listing = HashMap::new();
    fs::for_each_entry(folder, |name, ino| {
        if listing.len() <= LISTED_AT_MOST {
            listing.insert(name.to_owned(), ino);
        }
    })?;
    Ok((listing.len() <= LISTED_AT_MOST).then_some(listing))
}

/// Makes a file and has the file system stamp it.
fn stamped(place: &Path) -> io::Result<Floor> {
    let file = tempfile::Builder::new().prefix(".stamp-").tempfile_in(place)?;
    let touch = |mode| -> io::Result<Time> {
        fs::set_mode_fd(file.as_file(), mode)?;
        Ok(fs::stat_fd(file.as_file())?.stamp.ctime())
    };
    // A file system with fine-grained times gives one to what is changed after somebody looked at it, and from then on
    // nothing anywhere gets an earlier one. The first time may be that of the last tick, for everything around.
    let first = fs::stat_fd(file.as_file())?.stamp.ctime();
    let second = touch(0o400)?;
    if second > first && second.nanos() != 0 {
        return Ok(Floor::At(second));
    }
    if first.nanos() == 0 && second.nanos() == 0 {
        return Ok(Floor::Second(first));
    }
    // Changes within one tick look alike, and the earlier ones must not count. So nothing may be read that could be
    // changed again in the same tick.
    let start = std::time::Instant::now();
    while start.elapsed() < LONGEST_TICK {
        std::thread::sleep(Duration::from_millis(1));
        if touch(0o600)? > first {
            return Ok(Floor::Above(first));
        }
    }
    Ok(Floor::Second(first))
}

/// What the host has done to an entry since the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing.
    Same,
    /// Something; or nobody can tell.
    Changed,
    /// It made it.
    Appeared,
}

/// Compares entries of the workspace with the beginning.
pub(super) struct Judge<'a> {
    beginning: &'a Beginning,
    /// The listing of the workspace's folder now, where there is one of the beginning.
    listing: Option<HashMap<OsString, u64>>,
    /// The wall clock was set back: times tell nothing any more.
    clock_fell: bool,
}

impl<'a> Judge<'a> {
    pub(super) fn new(beginning: &'a Beginning, root: &OwnedFd) -> io::Result<Self> {
        let listing = if beginning.listing.is_some() { list(root)? } else { None };
        let ((then, then_off), (now, now_off)) = (beginning.clock_lead, fs::clock_lead());
        Ok(Self {
            beginning,
            listing,
            clock_fell: now + now_off + then_off < then,
        })
    }

    /// Whether something was done to the entry since.
    pub(super) fn is_touched(&self, real: &Stamp) -> bool {
        self.clock_fell || self.beginning.is_since(real.ctime())
    }

    /// An entry that the result replaces or deletes, or a folder that it made anew.
    pub(super) fn entry(&self, path: &Path, real: &Stamp) -> Verdict {
        match self.first_level(path) {
            Some(Verdict::Same) | None if self.is_touched(real) => Verdict::Changed,
            Some(verdict) => verdict,
            None => Verdict::Same,
        }
    }

    /// A folder on the way to what the result changes; `parent` is the folder that holds it. Its times are new when
    /// entries came or went in it, which is no harm, and when another folder was put in its place, which is.
    pub(super) fn folder_on_the_way(&self, path: &Path, real: &Stamp, parent: &Stamp) -> Verdict {
        let known = self.first_level(path);
        if known.is_some_and(|verdict| verdict != Verdict::Same) || self.clock_fell {
            return known.filter(|_| !self.clock_fell).unwrap_or(Verdict::Changed);
        }
        if !self.is_touched(real) {
            return Verdict::Same;
        }
        // Moved or with another mode: nothing in it changed.
        let is_itself_changed = !self.beginning.is_since(real.mtime());
        let may_be_another = known.is_none() && self.beginning.is_since(parent.mtime());
        if is_itself_changed || may_be_another {
            Verdict::Changed
        } else {
            Verdict::Same
        }
    }

    /// Whether an entry stood at the beginning where nothing stands now, so that it is the host that removed it;
    /// `None`: it did if what the view has there once came from the workspace. `parent` is the folder that held it.
    pub(super) fn is_lost(&self, path: &Path, parent: &Stamp) -> Option<bool> {
        match (first_name(path), &self.beginning.listing) {
            (Some(name), Some(then)) => Some(then.contains_key(name)),
            // Without a change of the folder nothing can have gone from it: a tool gave the file this name.
            _ => (!self.is_touched(parent)).then_some(false),
        }
    }

    /// What the listing of the workspace's folder tells of an entry in it.
    fn first_level(&self, path: &Path) -> Option<Verdict> {
        let (then, now) = (self.beginning.listing.as_ref()?, self.listing.as_ref()?);
        let name = first_name(path)?;
        Some(match (then.get(name), now.get(name)) {
            (None, _) => Verdict::Appeared,
            (then, now) if then == now => Verdict::Same,
            _ => Verdict::Changed,
        })
    }
}

/// The name of an entry of the workspace's own folder.
fn first_name(path: &Path) -> Option<&OsStr> {
    let mut names = path.iter();
    names.next().filter(|_| names.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_there_before_is_not_since_and_what_comes_after_is() {
        let temp = tempfile::tempdir().unwrap();
        let work = temp.path().join("w");
        std::fs::create_dir(&work).unwrap();
        for round in 0..200 {
            let (before, after) = (work.join("before"), work.join(format!("after{round}")));
            std::fs::write(&before, "x").unwrap();
            let beginning = Beginning::note(&work, temp.path()).unwrap();
            std::fs::write(&after, "x").unwrap();
            let folder = fs::open_dir(&work).unwrap();
            let ctime = |name: &Path| fs::stat_at(&folder, name.file_name().unwrap()).unwrap().stamp.ctime();
            assert!(beginning.is_since(ctime(&after)), "{round}");
            assert!(beginning.is_coarse() || !beginning.is_since(ctime(&before)), "{round}");
        }
        assert!(
            !std::fs::read_dir(temp.path())
                .unwrap()
                .any(|entry| entry.unwrap().file_name() != "w")
        );
    }

    #[test]
    fn nothing_is_believed_when_the_clock_was_set_back() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::write(temp.path().join("f"), "x").unwrap();
        let mut beginning = crate::workspace::view_bench::settled(temp.path(), temp.path());
        let root = fs::open_dir(temp.path()).unwrap();
        let file = fs::stat_at(&root, "f".as_ref()).unwrap().stamp;
        let judged = |beginning: &Beginning| Judge::new(beginning, &root).unwrap().entry(Path::new("f"), &file);
        assert_eq!(judged(&beginning), Verdict::Same);
        beginning.clock_lead.0 += 1_000_000_000;
        assert_eq!(judged(&beginning), Verdict::Changed);
    }

    #[test]
    fn a_root_with_very_many_entries_is_not_listed() {
        let temp = tempfile::tempdir().unwrap();
        for number in 0..=LISTED_AT_MOST {
            std::fs::write(temp.path().join(number.to_string()), "").unwrap();
        }
        let root = fs::open_dir(temp.path()).unwrap();
        assert_eq!(list(&root).unwrap(), None);
        std::fs::remove_file(temp.path().join("0")).unwrap();
        assert_eq!(list(&root).unwrap().unwrap().len(), LISTED_AT_MOST);
    }
}
