//! Streams: what they are, and writing to one whose reader may be slow, or not read at all.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::FileType;
use rustix::io::Errno;

/// How much a pipe takes at once without a wait when it says that it takes something (PIPE_BUF).
const PIPE_PIECE: usize = 4096;
/// A terminal promises less.
const TERMINAL_PIECE: usize = 256;

/// Writes the beginning of `bytes`, as much as goes without a wait, and gives how much that was;
/// waits at most `wait` for the stream to take anything, and gives 0 when it does not. Whether
/// the descriptor blocks does not matter: it may be shared with programs that changed that.
///
/// # Errors
/// What the system says of the write; `BrokenPipe` when the reader, or the terminal, has gone.
pub(crate) fn write_some(stream: impl AsFd, bytes: &[u8], wait: Duration) -> io::Result<usize> {
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&stream)?.st_mode);
    let piece = match kind {
        FileType::RegularFile => bytes.len(),
        FileType::CharacterDevice => bytes.len().min(TERMINAL_PIECE),
        _ => bytes.len().min(PIPE_PIECE),
    };
    let wait = Timespec {
        tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(wait.subsec_nanos()),
    };
    let mut watched = [PollFd::new(&stream, PollFlags::OUT)];
    match poll(&mut watched, Some(&wait)) {
        Ok(0) | Err(Errno::INTR) => return Ok(0),
        Ok(_) => {}
        Err(error) => return Err(error.into()),
    }
    match rustix::io::write(&stream, &bytes[..piece]) {
        Err(Errno::AGAIN | Errno::INTR) => Ok(0),
        // How a terminal says that its window was closed.
        Err(Errno::IO) if kind == FileType::CharacterDevice => Err(io::ErrorKind::BrokenPipe.into()),
        written => Ok(written?),
    }
}

/// Whether the stream is a regular file.
pub(crate) fn is_file(stream: impl AsFd) -> bool {
    let stat = rustix::fs::fstat(stream);
    stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode).is_file())
}

/// Whether both streams are the same file, pipe or terminal.
pub(crate) fn are_one(one: impl AsFd, other: impl AsFd) -> bool {
    let (Ok(one), Ok(other)) = (rustix::fs::fstat(one), rustix::fs::fstat(other)) else {
        return false;
    };
    (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_told_apart_by_where_they_lead() {
        let (reader, writer) = std::io::pipe().unwrap();
        let again = writer.try_clone().unwrap();
        let (_, other) = std::io::pipe().unwrap();
        assert!(are_one(&writer, &again) && !are_one(&writer, &other));
        let file = tempfile::tempfile().unwrap();
        assert!(is_file(&file) && !is_file(&reader) && !are_one(&file, &reader));
    }
}
