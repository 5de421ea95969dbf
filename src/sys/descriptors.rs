//! The descriptors that this process was started with.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd as _, FromRawFd as _, OwnedFd, RawFd};

/// The first that does not belong to the standard streams.
const FIRST: RawFd = 3;

/// Takes over the descriptors 3, 4 and so on, which the one who started this process has handed
/// over; those that are not open are left out. To be called once, before anything else is opened.
pub(crate) fn take_inherited(count: RawFd) -> Vec<OwnedFd> {
    let mut taken = Vec::new();
    for number in FIRST..FIRST.saturating_add(count) {
        // SAFETY: the number is only looked at; where it is no open descriptor, the call says so.
        let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
        if flags >= 0 {
            // SAFETY: it is open, it came with the start of this process, and nothing in here has
            // opened or taken anything before.
            taken.push(unsafe { OwnedFd::from_raw_fd(number) });
        }
    }
    taken
}

/// Nothing but the standard streams reaches the programs that this one starts.
pub(crate) fn keep_from_children() -> io::Result<()> {
    let flags = libc::CLOSE_RANGE_CLOEXEC.cast_signed();
    // SAFETY: plain system call that changes a flag of descriptors and closes none.
    let done = unsafe { libc::close_range(FIRST.cast_unsigned(), u32::MAX, flags) };
    if done == 0 {
        return Ok(());
    }
    // A kernel before 5.11.
    let mut limit = 1024;
    if let Some(most) = rustix::process::getrlimit(rustix::process::Resource::Nofile).current {
        limit = RawFd::try_from(most).unwrap_or(limit).min(1 << 20);
    }
    for number in FIRST..limit {
        // SAFETY: plain system call that changes a flag, or fails where nothing is open.
        unsafe {
            libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC);
        }
    }
    Ok(())
}

/// Standard input and output as descriptors of their own, which no program gets that this one
/// starts; in their place is /dev/null, so that nothing speaks into what is said there.
pub(crate) fn take_stdio() -> io::Result<(OwnedFd, OwnedFd)> {
    let input = io::stdin().as_fd().try_clone_to_owned()?;
    let output = io::stdout().as_fd().try_clone_to_owned()?;
    let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    Ok((input, output))
}
