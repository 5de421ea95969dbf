//! Copying the content of one open file into another.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;

use super::{before_change, stat_fd};
#[cfg(target_os = "linux")]
use super::{is_cross_device, is_unsupported};

/// Below this a plain read and write is faster than asking the kernel to copy.
const SMALL: u64 = 64 * 1024;
/// Read and written at a time where the kernel does not copy.
const BUFFER: usize = 256 * 1024;
/// How much is copied between two looks at the caller's wish to stop.
const CHUNK: u64 = 8 * 1024 * 1024;

/// What copying learned about the two file systems; shared by all threads of one run.
#[derive(Debug, Default)]
pub(crate) struct CopyMemory {
    no_reflink: AtomicBool,
    no_kernel_copy: AtomicBool,
}

/// Copies all of `from` into the empty file `to`: shared blocks where the file system can, else
/// in the kernel, else by reading and writing. Holes stay holes. Returns the bytes of content.
pub(crate) fn copy_contents(
    from: &OwnedFd,
    to: &OwnedFd,
    memory: &CopyMemory,
    cancel: &(dyn Fn() -> bool + Sync),
) -> io::Result<u64> {
    before_change();
    let stat = stat_fd(from)?;
    let size = stat.stamp.size;
    if size == 0 {
        return Ok(0);
    }
    #[cfg(target_os = "linux")]
    if !memory.no_reflink.load(Ordering::Relaxed) {
        match rustix::fs::ioctl_ficlone(to, from) {
            Ok(()) => return Ok(size),
            Err(_) => memory.no_reflink.store(true, Ordering::Relaxed),
        }
    }
    if size <= SMALL {
        return read_write(from, to, size, cancel);
    }
    #[cfg(target_os = "linux")]
    {
        if stat.blocks.saturating_mul(512) < size {
            return copy_extents(from, to, size, memory, cancel);
        }
        if !memory.no_kernel_copy.load(Ordering::Relaxed) {
            match copy_range(from, to, 0, size, cancel) {
                Ok(done) => return Ok(done),
                Err(error) if leaves_it_to_us(&error) => memory.no_kernel_copy.store(true, Ordering::Relaxed),
                Err(error) => return Err(error),
            }
            rustix::fs::ftruncate(to, 0)?;
        }
    }
    read_write(from, to, size, cancel)
}

/// Gives the empty file `to` the content of `from` by sharing its blocks, or says why that cannot be.
#[cfg(target_os = "linux")]
pub(crate) fn reflink(from: &OwnedFd, to: &OwnedFd) -> io::Result<()> {
    before_change();
    Ok(rustix::fs::ioctl_ficlone(to, from)?)
}

/// Copies the parts that hold data and leaves the holes between them.
#[cfg(target_os = "linux")]
fn copy_extents(
    from: &OwnedFd,
    to: &OwnedFd,
    size: u64,
    memory: &CopyMemory,
    cancel: &(dyn Fn() -> bool + Sync),
) -> io::Result<u64> {
    use rustix::fs::{SeekFrom, ftruncate, seek};

    ftruncate(to, size)?;
    let mut at = 0;
    while at < size {
        let start = match seek(from, SeekFrom::Data(at)) {
            Ok(start) => start,
            // No data behind `at`.
            Err(Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let end = seek(from, SeekFrom::Hole(start))?.min(size);
        if end <= start {
            break;
        }
        let copied = if memory.no_kernel_copy.load(Ordering::Relaxed) {
            Err(Errno::NOSYS.into())
        } else {
            copy_range(from, to, start, end, cancel)
        };
        match copied {
            Ok(_) => {}
            Err(error) if leaves_it_to_us(&error) => {
                memory.no_kernel_copy.store(true, Ordering::Relaxed);
                copy_part(from, to, start, end, BUFFER, cancel)?;
            }
            Err(error) => return Err(error),
        }
        at = end;
    }
    Ok(size)
}

#[cfg(target_os = "linux")]
fn copy_range(
    from: &OwnedFd,
    to: &OwnedFd,
    start: u64,
    end: u64,
    cancel: &(dyn Fn() -> bool + Sync),
) -> io::Result<u64> {
    let (mut read_at, mut write_at) = (start, start);
    while read_at < end {
        stop_if(cancel)?;
        let want = usize::try_from((end - read_at).min(CHUNK)).unwrap_or(usize::MAX);
        let copied = rustix::fs::copy_file_range(from, Some(&mut read_at), to, Some(&mut write_at), want)?;
        if copied == 0 {
            // Some pseudo file systems answer 0 for files that do have content.
            if read_at == 0 {
                return Err(Errno::NOSYS.into());
            }
            break;
        }
    }
    Ok(read_at - start)
}

/// Copies from `at` to `end`, or to the end of `from` if that comes first; returns the bytes copied.
fn copy_part(
    from: &OwnedFd,
    to: &OwnedFd,
    start: u64,
    end: u64,
    buffer: usize,
    cancel: &(dyn Fn() -> bool + Sync),
) -> io::Result<u64> {
    let mut buffer = vec![0; buffer];
    let mut at = start;
    while at < end {
        stop_if(cancel)?;
        let want = buffer.len().min(usize::try_from(end - at).unwrap_or(usize::MAX));
        let count = match rustix::io::pread(from, &mut buffer[..want], at) {
            Ok(0) => break,
            Ok(count) => count,
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        };
        write_all_at(to, &buffer[..count], at)?;
        at += count as u64;
    }
    Ok(at - start)
}

/// Writes a new file's content.
pub(crate) fn write_all(to: &OwnedFd, bytes: &[u8]) -> io::Result<()> {
    before_change();
    write_all_at(to, bytes, 0)
}

/// Writes at a place of a file of devshell's own.
pub(crate) fn write_all_at(to: &OwnedFd, bytes: &[u8], at: u64) -> io::Result<()> {
    let mut written = 0;
    while written < bytes.len() {
        match rustix::io::pwrite(to, &bytes[written..], at + written as u64) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(more) => written += more,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Reads until the buffer is full or the file ends; returns how much there was.
pub(crate) fn read_full_at(from: &OwnedFd, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match rustix::io::pread(from, &mut buffer[filled..], at + filled as u64) {
            Ok(0) => break,
            Ok(more) => filled += more,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(filled)
}

fn read_write(from: &OwnedFd, to: &OwnedFd, size: u64, cancel: &(dyn Fn() -> bool + Sync)) -> io::Result<u64> {
    // One byte more than the file, so that the end is seen in the same read.
    let buffer = usize::try_from(size + 1).unwrap_or(BUFFER).min(BUFFER);
    copy_part(from, to, 0, u64::MAX, buffer, cancel)
}

fn stop_if(cancel: &(dyn Fn() -> bool + Sync)) -> io::Result<()> {
    if cancel() { Err(Errno::CANCELED.into()) } else { Ok(()) }
}

/// Whether the kernel does not copy between these files, while reading and writing may do.
#[cfg(target_os = "linux")]
fn leaves_it_to_us(error: &io::Error) -> bool {
    is_unsupported(error) || is_cross_device(error) || error.raw_os_error() == Some(Errno::PERM.raw_os_error())
}
