//! The taker's part: what is lacking is fetched, and only then put in its place.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use crate::sidecar::{Digest, MAX_FRAME, TreeRecord};
use crate::sys::fs::{self, CopyMemory, Kind};
use crate::workspace::{At as _, CancelFn, Pace, PathTable, Progress, ProgressFn, SyncError, settle, stop_if};

use super::entries::{hear_entries, word};
use super::look::{Own, has_gone};
use super::place::Placing;
use super::plan::{Plan, Want, compare_trees};
use super::store::{Store, digest_of_target};
use super::stream::Stream;
use super::{Manifest, Mirror, MirrorError, nonsense};

/// What was taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    /// How many entries the tree has now.
    pub(crate) entries: u64,
    /// Files and links that are new or changed.
    pub(crate) files: u64,
    /// Bytes of content that came over the wire.
    pub(crate) bytes: u64,
    /// Entries that were removed; a folder with its content counts as one.
    pub(crate) deleted: u64,
    /// FIFOs, sockets and devices that the giver has.
    pub(crate) specials: Vec<PathBuf>,
}

impl Mirror {
    /// Asks for the entries where the request did not say that the trees differ.
    pub(crate) fn ask_for_entries(stream: &mut Stream) -> Result<(), MirrorError> {
        stream.say(&TreeRecord::Differs)?;
        stream.flush()
    }

    /// The giver's side of [`Self::ask_for_entries`].
    pub(crate) fn is_asked_for_entries(stream: &mut Stream) -> Result<(), MirrorError> {
        match stream.hear()? {
            TreeRecord::Differs => Ok(()),
            other => nonsense(format!("`differs` was due, not {}", word(&other))),
        }
    }

    /// Becomes equal to the giver's tree. As long as something is lacking nothing of the tree is touched.
    pub(crate) fn take(
        &self,
        own: &Manifest,
        stream: &mut Stream,
        cancel: CancelFn,
        tell: ProgressFn,
    ) -> Result<Taken, MirrorError> {
        let taken = self.take_opened(own, stream, cancel, tell);
        if taken.is_err() {
            // The failure counts, and the next look opens up what it has to.
            let _ = self.close_again(own);
        }
        taken
    }

    fn take_opened(
        &self,
        own: &Manifest,
        stream: &mut Stream,
        cancel: CancelFn,
        tell: ProgressFn,
    ) -> Result<Taken, MirrorError> {
        let theirs = hear_entries(stream)?;
        let plan = compare_trees(&theirs, &own.rows)?;
        let mut store = Store::open(&self.store)?;
        let fetched = self.fetch(&plan, &own.rows, &mut store, stream, cancel, tell);
        let (targets, bytes) = fetched.inspect_err(|error| clear_if_full(&store, error))?;
        let placing = Placing {
            mirror: self,
            theirs: &theirs,
            store: &store,
            targets: &targets,
            cancel,
        };
        let placed = placing.place(&plan);
        let mut placed = placed
            .map_err(MirrorError::from)
            .inspect_err(|error| clear_if_full(&store, error))?;
        if let Some(newest) = placed.newest {
            settle(newest, cancel)?;
        }
        if placed.is_changed {
            placed.stamps.sort_unstable_by_key(|(row, _)| *row);
            self.remember(&theirs, |row| {
                let put = u32::try_from(row).ok().and_then(|row| {
                    let at = placed.stamps.binary_search_by_key(&row, |(row, _)| *row).ok()?;
                    Some(placed.stamps[at].1)
                });
                match put {
                    Some(stamp) => Some(Own {
                        stamp,
                        digest: theirs.value(row).digest(),
                        settled: true,
                    }),
                    None => plan.same[row].map(|row| *own.rows.value(row as usize)),
                }
            })?;
        }
        stream.say(&TreeRecord::Done)?;
        stream.flush()?;
        Ok(Taken {
            entries: (theirs.len() - plan.specials.len()) as u64,
            files: placed.files,
            bytes,
            deleted: placed.deleted,
            specials: plan.specials,
        })
    }

    /// Where nothing was put in its place: folders that the look has opened up get their modes back.
    pub(crate) fn close_again(&self, own: &Manifest) -> Result<(), SyncError> {
        let mut closed = Vec::new();
        let mut cursor = own.rows.cursor();
        while let Some((_, own)) = cursor.current() {
            if own.is_closed() {
                closed.push((cursor.path().to_owned(), own.stamp.mode()));
            }
            cursor.advance();
        }
        let mut done = Ok(());
        for (path, mode) in closed.into_iter().rev() {
            let closed = fs::open_beneath(&self.root, &path)
                .and_then(|folder| fs::set_mode_fd(&folder, mode))
                .at("close the folder", self.path.join(&path));
            done = done.and(closed);
        }
        done
    }

    /// Brings all contents that are needed into the store; gives the targets of links, and how many bytes came.
    fn fetch(
        &self,
        plan: &Plan,
        ours: &PathTable<Own>,
        store: &mut Store,
        stream: &mut Stream,
        cancel: CancelFn,
        tell: ProgressFn,
    ) -> Result<(HashMap<Digest, OsString>, u64), MirrorError> {
        store.keep_only(|digest| plan.places.contains_key(&(*digest, false)))?;
        // By their places among the wants, with what is there of each.
        let mut lacking: Vec<(usize, u64)> = Vec::new();
        for (place, want) in plan.wants.iter().enumerate() {
            stop_if(cancel)?;
            let there = if want.is_link {
                0
            } else {
                store.has(&want.digest, want.size, cancel)?
            };
            if there < want.size {
                lacking.push((place, there));
            }
        }
        self.find_here(&mut lacking, plan, ours, store, cancel)?;
        self.check_room(&lacking, plan)?;
        for (place, offset) in &lacking {
            let entry = u32::try_from(plan.wants[*place].row).unwrap_or(u32::MAX);
            stream.say(&TreeRecord::Want { entry, offset: *offset })?;
        }
        let count = lacking.len() as u64;
        stream.say(&TreeRecord::Wants { count })?;
        stream.flush()?;

        let mut targets = HashMap::new();
        let (mut bytes, mut is_changed) = (0, false);
        let mut pace = Pace::new();
        for (files, (place, offset)) in (0..).zip(&lacking) {
            stop_if(cancel)?;
            let want = &plan.wants[*place];
            let mut each = |more: u64| {
                bytes += more;
                if pace.is_due() {
                    tell(Progress {
                        files,
                        files_total: count,
                        bytes,
                    });
                }
            };
            is_changed |= if want.is_link {
                !hear_target(want, stream, &mut targets, &mut each)?
            } else {
                !hear_content(want, *offset, store, stream, cancel, &mut each)?
            };
        }
        if is_changed {
            return Err(MirrorError::Changed);
        }
        Ok((targets, bytes))
    }

    /// Takes contents from files that this side has elsewhere: those that were moved or copied need not come.
    fn find_here(
        &self,
        lacking: &mut Vec<(usize, u64)>,
        plan: &Plan,
        ours: &PathTable<Own>,
        store: &Store,
        cancel: CancelFn,
    ) -> Result<(), SyncError> {
        if lacking.is_empty() {
            return Ok(());
        }
        let memory = CopyMemory::default();
        let mut found = vec![false; plan.wants.len()];
        let mut tried = found.clone();
        let mut cursor = ours.cursor();
        while let Some((_, own)) = cursor.current() {
            let place = plan.places.get(&(own.digest, false)).copied();
            if let Some(place) = place
                && own.stamp.kind() == Kind::File
                && plan.wants[place].size == own.stamp.size
                && !found[place]
            {
                stop_if(cancel)?;
                let path = cursor.path();
                let opened = match (path.parent(), path.file_name()) {
                    (Some(parent), Some(name)) => {
                        fs::open_beneath(&self.root, parent).and_then(|folder| fs::open_file_forced(&folder, name))
                    }
                    _ => Err(io::ErrorKind::NotFound.into()),
                };
                match opened {
                    Ok(file) => {
                        found[place] = store.copy_own(&own.digest, &file, &memory, cancel)?;
                        tried[place] = true;
                    }
                    Err(error) if has_gone(&error) => {}
                    Err(error) => return Err(error).at("open", self.path.join(path)),
                }
            }
            cursor.advance();
        }
        lacking.retain_mut(|(place, offset)| {
            // A copy that was wrong has taken the place of what was there of it.
            if tried[*place] {
                *offset = 0;
            }
            !found[*place]
        });
        Ok(())
    }

    /// Refuses before the disk is full what would fill it.
    fn check_room(&self, lacking: &[(usize, u64)], plan: &Plan) -> Result<(), SyncError> {
        let needed = lacking.iter().fold(0_u64, |sum, (place, offset)| {
            sum.saturating_add(plan.wants[*place].size - offset)
        });
        let free = fs::free_bytes(&self.root).at("look at", &self.path)?;
        if needed > free {
            return Err(io::Error::from(io::ErrorKind::StorageFull)).at("write into", &self.path);
        }
        Ok(())
    }
}

/// What could not be finished for want of room must not keep the room.
fn clear_if_full(store: &Store, error: &MirrorError) {
    if let MirrorError::Local(SyncError::Io { source, .. }) = error
        && matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    {
        store.clear();
    }
}

/// Hears one content; false when it does not come.
fn hear_content(
    want: &Want,
    offset: u64,
    store: &Store,
    stream: &mut Stream,
    cancel: CancelFn,
    each: &mut dyn FnMut(u64),
) -> Result<bool, MirrorError> {
    let mut arriving = store.arrive(&want.digest, offset, cancel)?;
    loop {
        match stream.hear()? {
            TreeRecord::Piece { len } => {
                check_piece(len, want.size - arriving.length)?;
                stream.hear_piece(len, |bytes| {
                    stop_if(cancel)?;
                    store.add(&mut arriving, &want.digest, bytes)?;
                    each(bytes.len() as u64);
                    Ok(())
                })?;
            }
            TreeRecord::End if arriving.length == want.size => {
                if store.complete(arriving, &want.digest)? {
                    return Ok(true);
                }
                // What an earlier transfer has left may be what is wrong.
                return match offset {
                    0 => nonsense("a content came with other bytes than were announced"),
                    _ => Ok(false),
                };
            }
            TreeRecord::Changed => {
                store.forget(&want.digest)?;
                return Ok(false);
            }
            other => return nonsense(format!("a piece of a content was due, not {}", word(&other))),
        }
    }
}

/// Hears the target of a link; false when it does not come.
fn hear_target(
    want: &Want,
    stream: &mut Stream,
    targets: &mut HashMap<Digest, OsString>,
    each: &mut dyn FnMut(u64),
) -> Result<bool, MirrorError> {
    let mut target = Vec::new();
    loop {
        match stream.hear()? {
            TreeRecord::Piece { len } => {
                check_piece(len, want.size - target.len() as u64)?;
                stream.hear_piece(len, |bytes| {
                    target.extend_from_slice(bytes);
                    Ok(())
                })?;
            }
            TreeRecord::End if target.len() as u64 == want.size => {
                each(target.len() as u64);
                let is_target = !target.contains(&0);
                let target = OsString::from_vec(target);
                if !is_target || digest_of_target(&target) != want.digest {
                    return nonsense("a link came with another target than was announced");
                }
                targets.insert(want.digest, target);
                return Ok(true);
            }
            TreeRecord::Changed => return Ok(false),
            other => return nonsense(format!("the target of a link was due, not {}", word(&other))),
        }
    }
}

fn check_piece(len: u32, left: u64) -> Result<(), MirrorError> {
    if len == 0 || len as usize > MAX_FRAME || u64::from(len) > left {
        return nonsense("a content is longer than was announced");
    }
    Ok(())
}
