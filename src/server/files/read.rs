//! A file's content.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;

use crate::sidecar::{FsErrorCode, FsStat};
use crate::sys::fs::{Kind, Stat, entry_inside, stat_fd};

use super::{FsRefusal, Target, wire_stat};

/// A regular file that is open for reading.
pub(in crate::server) struct Opened {
    file: File,
    stat: Stat,
}

impl Opened {
    pub(in crate::server) fn new(target: &Target) -> Result<Self, FsRefusal> {
        // A FIFO does not make it wait.
        let fd = entry_inside(target.session, target.below.path()).map_err(|error| target.refuse(&error))?;
        let stat = stat_fd(&fd).map_err(|error| target.refuse(&error))?;
        match stat.stamp.kind() {
            Kind::File => Ok(Self { file: fd.into(), stat }),
            Kind::Dir => Err(target.refuse(&io::ErrorKind::IsADirectory.into())),
            Kind::Symlink | Kind::Special => Err(FsRefusal::new(
                FsErrorCode::IoError,
                format!("`{}` is no regular file", target.shown),
            )),
        }
    }

    pub(in crate::server) fn stat(&self) -> FsStat {
        wire_stat(&self.stat)
    }

    /// The next bytes from `offset`; none at the end.
    pub(in crate::server) fn read(&self, offset: u64, most: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; most];
        let mut filled = 0;
        while filled < most {
            let room = bytes.get_mut(filled..).unwrap_or_default();
            match self.file.read_at(room, offset.saturating_add(filled as u64)) {
                Ok(0) => break,
                Ok(length) => filled += length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }
}

/// The whole content, if it is no more than `most` bytes.
pub(in crate::server) fn read_whole(target: &Target, most: usize) -> Result<Vec<u8>, FsRefusal> {
    let opened = Opened::new(target)?;
    let too_long = || {
        FsRefusal::new(
            FsErrorCode::IoError,
            format!(
                "`{}` is too large for one line, which takes {most} bytes of content: that needs a larger \
                 `devshell-vm --max-line`, or the capability fs_raw",
                target.shown
            ),
        )
    };
    let size = usize::try_from(opened.stat.stamp.size).unwrap_or(usize::MAX);
    if size > most {
        return Err(too_long());
    }
    // It may have grown meanwhile, and files of /proc have no size.
    let mut content = Vec::with_capacity(size);
    opened
        .file
        .take(most as u64 + 1)
        .read_to_end(&mut content)
        .map_err(|error| target.refuse(&error))?;
    if content.len() > most {
        return Err(too_long());
    }
    Ok(content)
}
