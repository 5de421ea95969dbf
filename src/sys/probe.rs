//! Single questions to the kernel. What would change something is asked in a process with
//! namespaces of its own, which goes at once.
#![allow(unsafe_code)]

use std::mem::MaybeUninit;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, kill_process, pidfd_open, waitpid};

use super::keeper::may_mount;
use super::signals::{AllBlocked, last_errno};

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Question {
    /// A network namespace with its loopback up.
    Network,
    /// Every mount made read-only at once (5.12).
    ReadOnlyMounts,
}

/// Where the kernel said no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refused {
    /// Whether the namespaces themselves were refused, and not what was to be done in them.
    pub(crate) at_clone: bool,
    pub(crate) errno: i32,
}

/// Longer than any answer takes.
const PATIENCE: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };
/// The exit code of an answer that is no error number.
const NO_ANSWER: i32 = 127;

/// Asks. Without the right to mount, a user namespace comes with it, as a run would have it.
pub(crate) fn ask(question: Question) -> Result<(), Refused> {
    let user = if may_mount() { 0 } else { libc::CLONE_NEWUSER };
    let own = match question {
        Question::Network => libc::CLONE_NEWNET,
        Question::ReadOnlyMounts => libc::CLONE_NEWNS,
    };
    let pid = clone(user | own, question).map_err(|errno| Refused {
        at_clone: true,
        errno: errno.raw_os_error(),
    })?;
    match answer(pid) {
        0 => Ok(()),
        errno => Err(Refused { at_clone: false, errno }),
    }
}

fn clone(namespaces: i32, question: Question) -> Result<Pid, Errno> {
    let flags = libc::c_long::from(libc::SIGCHLD | namespaces);
    let blocked = AllBlocked::new();
    // SAFETY: without CLONE_VM and without a stack this is fork(2) with namespaces. The clone
    // makes system calls only, allocates nothing, and ends by _exit. All arguments whose order
    // differs between architectures are zero.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0_usize, 0_usize, 0_usize, 0_usize) };
    if pid == 0 {
        let code = match question {
            Question::Network => loopback_up(),
            Question::ReadOnlyMounts => all_read_only(),
        };
        let code = code.err().map_or(0, Errno::raw_os_error);
        // SAFETY: ends the clone without running anything of the parent's.
        unsafe { libc::_exit(code) }
    }
    let pid = i32::try_from(pid).ok().filter(|&pid| pid > 0);
    let pid = pid.and_then(Pid::from_raw).ok_or_else(last_errno);
    drop(blocked);
    pid
}

fn answer(pid: Pid) -> i32 {
    if let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) {
        let mut watched = [PollFd::new(&pidfd, PollFlags::IN)];
        let ended = rustix::io::retry_on_intr(|| poll(&mut watched, Some(&PATIENCE)));
        if !ended.is_ok_and(|ended| ended > 0) {
            let _ = kill_process(pid, Signal::KILL);
            let _ = waitpid(Some(pid), WaitOptions::empty());
            return libc::ETIMEDOUT;
        }
    }
    match rustix::io::retry_on_intr(|| waitpid(Some(pid), WaitOptions::empty())) {
        Ok(Some((_, status))) => status.exit_status().unwrap_or(NO_ANSWER),
        _ => NO_ANSWER,
    }
}

fn loopback_up() -> Result<(), Errno> {
    // SAFETY: a new socket, closed with the process.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if socket < 0 {
        return Err(last_errno());
    }
    let mut request = MaybeUninit::<libc::ifreq>::zeroed();
    // SAFETY: all-zero bytes are a valid `ifreq`; the name is shorter than its field, and the
    // flags are the member that this call reads.
    let done = unsafe {
        let request = request.assume_init_mut();
        request.ifr_name[0] = b'l' as libc::c_char;
        request.ifr_name[1] = b'o' as libc::c_char;
        request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
        libc::ioctl(socket, libc::SIOCSIFFLAGS, std::ptr::from_mut(request))
    };
    if done < 0 { Err(last_errno()) } else { Ok(()) }
}

/// Only ever in a mount namespace of its own: see [`clone`].
fn all_read_only() -> Result<(), Errno> {
    mount_change(c"/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?;
    let mut attributes = MaybeUninit::<libc::mount_attr>::zeroed();
    // SAFETY: all-zero bytes are a valid `mount_attr`, the path is a string that ends with 0, and
    // the size is that of the structure.
    let done = unsafe {
        let attributes = attributes.assume_init_mut();
        attributes.attr_set = libc::MOUNT_ATTR_RDONLY;
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            c"/".as_ptr(),
            libc::AT_RECURSIVE,
            std::ptr::from_mut(attributes),
            size_of::<libc::mount_attr>(),
        )
    };
    if done < 0 { Err(last_errno()) } else { Ok(()) }
}

/// The version of Landlock that the kernel has.
pub(crate) fn landlock() -> Result<u32, Errno> {
    const VERSION: libc::c_ulong = 1;
    // SAFETY: with this flag no attributes are read, and no descriptor is made.
    let version = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<libc::c_void>(),
            0_usize,
            VERSION,
        )
    };
    u32::try_from(version).map_err(|_| last_errno())
}

/// Whether paths can be opened beneath a folder without following a link (5.6; some filters refuse it).
pub(crate) fn openat2() -> Result<(), Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let root = rustix::fs::openat(CWD, c"/", flags, Mode::empty())?;
    rustix::fs::openat2(&root, c".", flags, Mode::empty(), resolve).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_only_mounts() -> usize {
        let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let options = |line: &str| line.split(' ').nth(5).unwrap_or_default().to_owned();
        table.lines().filter(|line| options(line).starts_with("ro")).count()
    }

    #[test]
    fn questions_leave_the_askers_mounts_and_network_as_they_are() {
        let before = (
            read_only_mounts(),
            std::fs::read_link("/proc/self/ns/net").unwrap(),
            std::fs::read_link("/proc/self/ns/mnt").unwrap(),
        );
        for question in [Question::Network, Question::ReadOnlyMounts] {
            if let Err(refused) = ask(question) {
                assert!(refused.errno > 0, "{question:?}: {refused:?}");
            }
        }
        let after = (
            read_only_mounts(),
            std::fs::read_link("/proc/self/ns/net").unwrap(),
            std::fs::read_link("/proc/self/ns/mnt").unwrap(),
        );
        assert_eq!(before, after);
    }

    #[test]
    fn what_is_not_there_is_an_error_and_not_a_version() {
        assert!(landlock().is_ok_and(|version| version > 0) || landlock().is_err());
        assert!(openat2().is_ok() || openat2() == Err(Errno::NOSYS) || openat2() == Err(Errno::PERM));
    }
}
