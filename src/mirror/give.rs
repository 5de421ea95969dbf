//! The giver's part: the entries, then the contents that are wanted.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::sidecar::{MAX_FRAME, TreeRecord};
use crate::sys::fs::{self, Kind, Stamp};
use crate::workspace::{At as _, CancelFn, Pace, Progress, ProgressFn, stop_if};

use super::entries::{record_of, word};
use super::look::has_gone;
use super::stream::Stream;
use super::weight::Weight;
use super::{Manifest, Mirror, MirrorError, nonsense};

/// What was given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Given {
    /// Contents.
    pub(crate) files: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
}

/// A content that the taker lacks.
struct Wanted {
    row: usize,
    offset: u64,
}

/// How the sending of a content ended.
enum Sent {
    Whole,
    Changed,
}

impl Mirror {
    /// Gives the tree, as it was found, to a taker whose tree is another one.
    pub(crate) fn give(
        &self,
        own: &Manifest,
        stream: &mut Stream,
        cancel: CancelFn,
        tell: ProgressFn,
    ) -> Result<Given, MirrorError> {
        let mut weight = Weight::default();
        for row in 0..own.rows.len() {
            let kind = own.rows.value(row).stamp.kind();
            weight
                .add(own.rows.depth(row), own.rows.name(row).as_bytes(), kind)
                .map_err(|why| io::Error::new(io::ErrorKind::FileTooLarge, why))
                .at("carry", &self.path)?;
        }
        for row in 0..own.rows.len() {
            stream.say(&record_of(&own.rows, row))?;
        }
        stream.say(&TreeRecord::Entries { count: own.len() })?;
        stream.flush()?;
        let wants = hear_wants(own, stream)?;
        let mut given = Given::default();
        let mut pace = Pace::new();
        let mut cursor = own.rows.cursor();
        let mut folder: Option<(PathBuf, OwnedFd)> = None;
        for want in &wants {
            stop_if(cancel)?;
            while cursor.row() < want.row {
                cursor.advance();
            }
            let told = given.files;
            let mut count = |bytes: u64| {
                given.bytes += bytes;
                if pace.is_due() {
                    tell(Progress {
                        files: told,
                        files_total: wants.len() as u64,
                        bytes: given.bytes,
                    });
                }
            };
            let stamp = own.rows.value(want.row).stamp;
            match self.send(
                cursor.path(),
                &stamp,
                want.offset,
                &mut folder,
                stream,
                cancel,
                &mut count,
            )? {
                Sent::Whole => stream.say(&TreeRecord::End)?,
                Sent::Changed => stream.say(&TreeRecord::Changed)?,
            }
            given.files += 1;
        }
        stream.flush()?;
        match stream.hear()? {
            TreeRecord::Done => Ok(given),
            other => nonsense(format!("`done` was due, not {}", word(&other))),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one content with all that it takes")]
    fn send(
        &self,
        path: &Path,
        stamp: &Stamp,
        offset: u64,
        folder: &mut Option<(PathBuf, OwnedFd)>,
        stream: &mut Stream,
        cancel: CancelFn,
        count: &mut dyn FnMut(u64),
    ) -> Result<Sent, MirrorError> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Ok(Sent::Changed);
        };
        let at = self.path.join(path);
        if folder.as_ref().is_none_or(|(open, _)| open != parent) {
            match fs::open_beneath(&self.root, parent) {
                Ok(fd) => *folder = Some((parent.to_owned(), fd)),
                Err(error) if has_gone(&error) => return Ok(Sent::Changed),
                Err(error) => return Err(error).at("open the folder", self.path.join(parent))?,
            }
        }
        let Some((_, dir)) = folder else {
            return Ok(Sent::Changed);
        };
        if stamp.kind() == Kind::Symlink {
            let target = match fs::read_link_at(&*dir, name) {
                Ok(target) => target,
                Err(error) if has_gone(&error) => return Ok(Sent::Changed),
                Err(error) => return Err(error).at("read the link", at)?,
            };
            let target = target.as_os_str().as_bytes();
            if target.len() as u64 != stamp.size {
                return Ok(Sent::Changed);
            }
            let rest = usize::try_from(offset).ok().and_then(|offset| target.get(offset..));
            stream.say_piece(rest.unwrap_or_default())?;
            count(target.len() as u64);
            return Ok(Sent::Whole);
        }
        let file = match fs::open_file_forced(&*dir, name) {
            Ok(file) => file,
            Err(error) if has_gone(&error) => return Ok(Sent::Changed),
            Err(error) => return Err(error).at("open", at)?,
        };
        let is_the_same = || -> io::Result<bool> {
            let now = fs::stat_fd(&file)?.stamp;
            // Opening what may not be read changes the ctime.
            Ok((now.size, now.ino, now.mtime()) == (stamp.size, stamp.ino, stamp.mtime()))
        };
        if !is_the_same().at("look at", &at)? {
            return Ok(Sent::Changed);
        }
        let mut buffer = vec![0; MAX_FRAME.min(usize::try_from(stamp.size).unwrap_or(MAX_FRAME))];
        let mut from = offset;
        while from < stamp.size {
            stop_if(cancel)?;
            let most = usize::try_from(stamp.size - from)
                .unwrap_or(MAX_FRAME)
                .min(buffer.len());
            let read = fs::read_full_at(&file, &mut buffer[..most], from).at("read", &at)?;
            if read == 0 {
                return Ok(Sent::Changed);
            }
            stream.say_piece(&buffer[..read])?;
            count(read as u64);
            from += read as u64;
        }
        Ok(if is_the_same().at("look at", &at)? {
            Sent::Whole
        } else {
            Sent::Changed
        })
    }
}

fn hear_wants(own: &Manifest, stream: &mut Stream) -> Result<Vec<Wanted>, MirrorError> {
    let mut wants: Vec<Wanted> = Vec::new();
    loop {
        match stream.hear()? {
            TreeRecord::Want { entry, offset } => {
                let row = entry as usize;
                let is_next = wants.last().is_none_or(|last| last.row < row);
                let holds = row < own.rows.len() && {
                    let stamp = own.rows.value(row).stamp;
                    matches!(stamp.kind(), Kind::File | Kind::Symlink) && offset <= stamp.size
                };
                if !is_next || !holds {
                    return nonsense(format!("the content {entry} from {offset} on cannot be wanted"));
                }
                wants.push(Wanted { row, offset });
            }
            TreeRecord::Wants { count } if count == wants.len() as u64 => return Ok(wants),
            other => return nonsense(format!("a want was due, not {}", word(&other))),
        }
    }
}
