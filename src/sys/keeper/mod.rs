//! The keeper: a process that has the run's namespaces, starts its tools and ends what they leave.
//!
//! It is cloned from devshell without an exec, which costs a fraction of one. devshell may have
//! many threads, so the locks of the allocator (and of everything else) may be held for ever in
//! the clone: what runs in it ([`child`], [`setup`], [`outside`], [`tool`], [`processes`]) never allocates.
#![allow(unsafe_code)]

mod child;
mod command;
mod outside;
mod processes;
mod setup;
mod text;
mod tool;
mod wire;

use std::ffi::CString;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use rustix::io::Errno;
use rustix::mount::MountFlags;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use rustix::thread::CapabilitySet;

use super::signals::{AllBlocked, last_errno};

pub(crate) use command::Command;
pub(crate) use outside::{Kept, Made, Outside, PRIVATE, PRIVATE_NAME, Private};
pub(crate) use setup::Source;
pub use wire::SetupStage;
pub(crate) use wire::{LaunchFailure, LaunchStage, RECORD, Reply, Request};

/// The longest wait for a keeper's set-up; a mount on a dead server may take any time.
const SETUP_SECONDS: i64 = 30;

/// What a keeper is to do first, ready for a process that cannot allocate.
pub(crate) struct Setup {
    /// A mount namespace of its own.
    pub(crate) mount: bool,
    /// A PID namespace with its own /proc; needs `mount`.
    pub(crate) pid: bool,
    /// A network namespace with nothing but the loopback.
    pub(crate) loopback_only: bool,
    /// Mounts in their order.
    pub(crate) steps: Vec<Step>,
    /// Set: everything outside the workspace is read-only, and there is an IPC namespace; needs `mount`.
    pub(crate) outside: Option<Outside>,
    /// Descriptors that stay open in the keeper (not in tools) although they are close-on-exec.
    pub(crate) keep: Vec<RawFd>,
}

/// One mount; paths are absolute and without symlinks.
pub(crate) enum Step {
    /// `from` and all mounts below it appear at `onto`.
    Bind { from: Source, onto: CString },
    /// A stack of folders.
    Overlay(Overlay),
}

/// An overlay whose metadata an ordinary user can read and which nothing brings to the disk.
pub(crate) struct Overlay {
    /// Stands as the source in /proc/self/mountinfo.
    pub(crate) name: CString,
    /// The uppermost first.
    pub(crate) lowers: Vec<Source>,
    pub(crate) upper: Source,
    pub(crate) work: Source,
    pub(crate) onto: CString,
    /// What the mount below `onto` forbids must not be allowed by this one.
    pub(crate) flags: MountFlags,
}

/// A keeper that is set up and waits for requests.
pub(crate) struct Started {
    pub(crate) pid: Pid,
    pub(crate) socket: OwnedFd,
    /// Whether a user namespace was needed.
    pub(crate) user: bool,
    /// Whether it finds all that its tools start.
    pub(crate) tracks: bool,
    /// What it has in [`Outside::private`], in that order, for a keeper that is to have the same.
    pub(crate) private: Vec<OwnedFd>,
}

/// Why there is no keeper.
#[derive(Debug)]
pub(crate) struct SetupFailure {
    pub(crate) stage: SetupStage,
    /// Which of the mounts.
    pub(crate) index: usize,
    pub(crate) source: io::Error,
    /// Whether it was tried in a user namespace.
    pub(crate) user: bool,
}

/// Whether the caller may mount without a user namespace of its own.
pub(crate) fn may_mount() -> bool {
    rustix::thread::capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_ADMIN))
}

/// Makes a keeper: without a user namespace where the caller may mount, else with one.
pub(crate) fn start(setup: &Setup) -> Result<Started, SetupFailure> {
    if !setup.mount && !setup.pid && !setup.loopback_only {
        return clone(setup, false);
    }
    if may_mount() {
        match clone(setup, false) {
            // A seccomp filter or a security module may say no all the same, and who may mount
            // need not be allowed to set up a network.
            Err(failure)
                if matches!(failure.stage, SetupStage::Clone | SetupStage::Network) && is_denied(&failure.source) => {}
            result => return result,
        }
    }
    clone(setup, true)
}

fn is_denied(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

fn clone(setup: &Setup, user: bool) -> Result<Started, SetupFailure> {
    let failure = |stage, index, source: Errno| SetupFailure {
        stage,
        index,
        source: source.into(),
        user,
    };
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .map_err(|error| failure(SetupStage::Keeper, 0, error))?;
    let pid = clone_process(setup, user, theirs.as_fd()).map_err(|error| failure(SetupStage::Clone, 0, error))?;
    drop(theirs);
    // Whatever fails from here on, the clone must not stay.
    let mut unfinished = Unfinished(Some(pid));
    if user && let Err(source) = write_maps(pid) {
        return Err(SetupFailure {
            stage: SetupStage::Maps,
            index: 0,
            source,
            user,
        });
    }
    send(ours.as_fd(), Request::Go, &[]).map_err(|error| failure(SetupStage::Keeper, 0, error))?;
    let mut buffer = [0; RECORD];
    let (length, private) =
        receive_in_time(ours.as_fd(), &mut buffer).map_err(|error| failure(SetupStage::Keeper, 0, error))?;
    match Reply::decode(&buffer[..length]) {
        Some(Reply::Ready { tracks }) => {
            unfinished.0 = None;
            Ok(Started {
                pid,
                socket: ours,
                user,
                tracks,
                private,
            })
        }
        Some(Reply::SetupFailed { stage, errno, index }) => Err(failure(stage, index, Errno::from_raw_os_error(errno))),
        _ => Err(failure(SetupStage::Keeper, 0, Errno::PIPE)),
    }
}

struct Unfinished(Option<Pid>);

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            let _ = kill_process(pid, Signal::KILL);
            let _ = waitpid(Some(pid), WaitOptions::empty());
        }
    }
}

fn clone_process(setup: &Setup, user: bool, socket: BorrowedFd) -> rustix::io::Result<Pid> {
    let mut flags = libc::SIGCHLD;
    for (wanted, flag) in [
        (setup.mount || setup.pid, libc::CLONE_NEWNS),
        (setup.pid, libc::CLONE_NEWPID),
        (user, libc::CLONE_NEWUSER),
        (setup.loopback_only, libc::CLONE_NEWNET),
        (setup.outside.is_some(), libc::CLONE_NEWIPC),
    ] {
        if wanted {
            flags |= flag;
        }
    }
    // No handler of ours may run in the clone.
    let blocked = AllBlocked::new();
    // SAFETY: without CLONE_VM and without a stack this is fork(2) with namespaces: the clone
    // goes on with a copy of this memory. It calls only code that does not allocate and it
    // never returns from `child::main`. The order of the last two arguments differs between
    // architectures; all are zero.
    let pid = unsafe {
        libc::syscall(
            libc::SYS_clone,
            libc::c_long::from(flags),
            0_usize,
            0_usize,
            0_usize,
            0_usize,
        )
    };
    if pid == 0 {
        child::main(setup, socket);
    }
    let pid = i32::try_from(pid)
        .ok()
        .filter(|&pid| pid > 0)
        .and_then(Pid::from_raw)
        .ok_or_else(last_errno);
    drop(blocked);
    pid
}

/// Maps the caller's own two ids and no others, which needs no privilege.
fn write_maps(pid: Pid) -> io::Result<()> {
    let folder = format!("/proc/{}", pid.as_raw_nonzero());
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    std::fs::write(format!("{folder}/setgroups"), "deny")?;
    std::fs::write(format!("{folder}/uid_map"), format!("{uid} {uid} 1"))?;
    std::fs::write(format!("{folder}/gid_map"), format!("{gid} {gid} 1"))
}

/// Sends one request with descriptors.
pub(crate) fn send(socket: BorrowedFd, request: Request, descriptors: &[BorrowedFd]) -> rustix::io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(Errno::NOBUFS);
    }
    let bytes = request.encode();
    rustix::io::retry_on_intr(|| sendmsg(socket, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL)).map(drop)
}

/// Waits for one record; 0 at the keeper's end.
pub(crate) fn receive(socket: BorrowedFd, buffer: &mut [u8]) -> rustix::io::Result<usize> {
    loop {
        let mut control = RecvAncillaryBuffer::new(&mut []);
        match recvmsg(
            socket,
            &mut [IoSliceMut::new(buffer)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        ) {
            Err(Errno::INTR) => {}
            Ok(message) => return Ok(message.bytes),
            Err(error) => return Err(error),
        }
    }
}

/// Waits for the first record, with what comes along.
fn receive_in_time(socket: BorrowedFd, buffer: &mut [u8]) -> rustix::io::Result<(usize, Vec<OwnedFd>)> {
    let limit = Timespec {
        tv_sec: SETUP_SECONDS,
        tv_nsec: 0,
    };
    let mut watched = [PollFd::from_borrowed_fd(socket, PollFlags::IN)];
    if rustix::io::retry_on_intr(|| poll(&mut watched, Some(&limit)))? == 0 {
        return Err(Errno::TIMEDOUT);
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(PRIVATE))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let length = rustix::io::retry_on_intr(|| {
        recvmsg(
            socket,
            &mut [IoSliceMut::new(buffer)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        )
    })?
    .bytes;
    let descriptors = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(received) => Some(received),
        _ => None,
    });
    let descriptors = descriptors.flatten().collect();
    Ok((length, descriptors))
}
