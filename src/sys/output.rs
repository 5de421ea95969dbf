//! Streams: what they are, and writing to one whose reader may be slow, or not read at all.

use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::FileType;
use rustix::io::{Errno, ReadWriteFlags};
use rustix::net::SendFlags;

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
    let at_once = write_at_once(&stream, kind, bytes);
    match at_once {
        Err(Errno::AGAIN | Errno::OPNOTSUPP) => {}
        written => return told(kind, written),
    }
    let wait = Timespec {
        tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(wait.subsec_nanos()),
    };
    match poll(&mut [PollFd::new(&stream, PollFlags::OUT)], Some(&wait)) {
        Ok(0) | Err(Errno::INTR) => return Ok(0),
        Ok(_) => {}
        Err(error) => return Err(error.into()),
    }
    if at_once == Err(Errno::AGAIN) {
        return told(kind, write_at_once(&stream, kind, bytes));
    }
    let piece = match kind {
        FileType::CharacterDevice => bytes.len().min(TERMINAL_PIECE),
        _ => bytes.len().min(PIPE_PIECE),
    };
    told(kind, rustix::io::write(&stream, &bytes[..piece]))
}

/// Writes all that goes without a wait, where the kernel can be asked for that: of sockets, and of pipes since
/// Linux 6.4. `OPNOTSUPP` where it cannot: then only what the stream promises to take once it says that it
/// takes something can be written without one.
fn write_at_once(stream: impl AsFd, kind: FileType, bytes: &[u8]) -> Result<usize, Errno> {
    let written = match kind {
        FileType::RegularFile => return rustix::io::write(stream, bytes),
        FileType::Socket => rustix::net::send(stream, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL),
        FileType::Fifo => {
            let here = u64::MAX;
            rustix::io::pwritev2(stream, &[IoSlice::new(bytes)], here, ReadWriteFlags::NOWAIT)
        }
        _ => Err(Errno::OPNOTSUPP),
    };
    written.map_err(|error| match error {
        Errno::NOSYS | Errno::INVAL | Errno::SPIPE | Errno::MSGSIZE => Errno::OPNOTSUPP,
        error => error,
    })
}

fn told(kind: FileType, written: Result<usize, Errno>) -> io::Result<usize> {
    match written {
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
    use std::io::Read as _;

    use super::*;

    /// Fills a stream that blocks until it takes nothing more, and gives what it took.
    fn fill(stream: &impl AsFd) -> usize {
        let bytes = vec![7; 1 << 20];
        let mut taken = 0;
        loop {
            match write_some(stream, &bytes, Duration::from_millis(1)).unwrap() {
                0 => return taken,
                written => taken += written,
            }
            assert!(taken < 64 << 20, "it never says that it is full");
        }
    }

    #[test]
    fn a_full_stream_that_blocks_holds_up_nobody() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let held = fill(&writer);
        assert!(held >= 4096, "{held}");
        let mut some = vec![0; 8192];
        reader.read_exact(&mut some).unwrap();
        let again = fill(&writer);
        assert!((1..=8192).contains(&again), "{again}");
        let mut rest = vec![0; held + again - some.len()];
        reader.read_exact(&mut rest).unwrap();
        drop(reader);
        let error = write_some(&writer, b"x", Duration::ZERO).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);

        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(fill(&ours) > 0);
        drop(theirs);
        let error = write_some(&ours, b"x", Duration::ZERO).unwrap_err();
        assert!(matches!(
            error.kind(),
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
        ));
    }

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
