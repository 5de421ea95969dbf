//! The first steps of a keeper: descriptors, mounts, /proc, network. Runs in the clone: nothing here allocates.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;

use rustix::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd as _, IntoRawFd as _, OwnedFd, RawFd};
use rustix::fs::{CWD, FileType, Mode, OFlags, RawDir};
use rustix::io::{Errno, FdFlags};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_bind_recursive, mount_change};

use super::outside;
use super::text::{ProcPath, Text};
use super::wire::SetupStage;
use super::{Overlay, Setup, Step};
use crate::sys::signals::last_errno;

/// What mount(2) takes as options: one page.
type Options = Text<4096>;

/// The set-up as ordered; where it fails, the stage and which mount.
pub(super) fn run(setup: &Setup) -> Result<(), (SetupStage, usize, Errno)> {
    // Before anything is put to its place that cannot be put there twice.
    if setup.loopback_only {
        loopback_up().map_err(|error| (SetupStage::Network, 0, error))?;
    }
    if setup.mount || setup.pid {
        mounts(setup)?;
    }
    if setup.outside.is_some() {
        outside::drop_rights().map_err(|error| (SetupStage::Rights, 0, error))?;
    }
    Ok(())
}

fn mounts(setup: &Setup) -> Result<(), (SetupStage, usize, Errno)> {
    // What is mounted here must not appear on the host; what the host mounts may appear here,
    // unless all is to be read-only: what comes later would not be.
    let flow = match setup.outside {
        None => MountPropagationFlags::DOWNSTREAM,
        Some(_) => MountPropagationFlags::PRIVATE,
    };
    mount_change(c"/", flow | MountPropagationFlags::REC).map_err(|error| (SetupStage::Private, 0, error))?;
    // What may be refused comes before an overlay: its work folder serves for one mount only.
    if setup.pid {
        mount_proc()?;
    }
    // All sources first: a mount may cover the path of a later one.
    for (index, step) in setup.steps.iter().enumerate() {
        open_sources(step).map_err(|error| (SetupStage::Mount, index, error))?;
    }
    for (index, step) in setup.steps.iter().enumerate() {
        match step {
            Step::Bind { from, onto } => bind(from, onto).map_err(|error| (SetupStage::Mount, index, error)),
            Step::Overlay(overlay) => mount_overlay(overlay).map_err(|error| (SetupStage::Overlay, index, error)),
        }?;
    }
    if let Some(outside) = &setup.outside {
        outside.close()?;
        // The one that was mounted first is read-only now.
        if setup.pid {
            mount_proc()?;
        }
        outside.close_proc()?;
    }
    Ok(())
}

fn mount_proc() -> Result<(), (SetupStage, usize, Errno)> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount(c"proc", c"/proc", c"proc", flags, None).map_err(|error| (SetupStage::Proc, 0, error))
}

/// In a network namespace that was just made the loopback is there, and down.
fn loopback_up() -> Result<(), Errno> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
    // Any socket will do, and those of this kind there are on every machine.
    let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    // SAFETY: a plain structure, for which zero bytes are a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (place, letter) in request.ifr_name.iter_mut().zip(*b"lo") {
        *place = letter.cast_signed() as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the structure that this request takes; the kernel does not keep it.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) };
    if done == 0 { Ok(()) } else { Err(last_errno()) }
}

/// Opened without following a symlink at the end, in the namespace where they are used:
/// descriptors from before the unshare would be refused.
fn open_sources(step: &Step) -> Result<(), Errno> {
    match step {
        Step::Bind { from, .. } => from.open(),
        Step::Overlay(overlay) => {
            for layer in overlay.lowers.iter().chain([&overlay.upper, &overlay.work]) {
                layer.open()?;
            }
            Ok(())
        }
    }
}

fn bind(from: &Source, onto: &CStr) -> Result<(), Errno> {
    let source = from.take().ok_or(Errno::BADF)?;
    let target = anchor(onto)?;
    match mount_bind_recursive(through(&source).as_c_str(), through(&target).as_c_str()) {
        // No /proc: then by name.
        Err(Errno::NOENT) => mount_bind_recursive(from.path.as_c_str(), onto),
        result => result,
    }
}

/// The layers by their descriptors: commas, colons and backslashes in paths mean nothing then.
fn mount_overlay(overlay: &Overlay) -> Result<(), Errno> {
    let mut options = Options::new(b"userxattr,volatile");
    for (number, lower) in overlay.lowers.iter().enumerate() {
        lower.name(if number == 0 { b",lowerdir=" } else { b":" }, &mut options);
    }
    overlay.upper.name(b",upperdir=", &mut options);
    overlay.work.name(b",workdir=", &mut options);
    if !options.is_whole() {
        return Err(Errno::NAMETOOLONG);
    }
    let target = anchor(&overlay.onto)?;
    let mounted = mount(
        overlay.name.as_c_str(),
        through(&target).as_c_str(),
        c"overlay",
        overlay.flags,
        options.as_c_str(),
    );
    for layer in overlay.lowers.iter().chain([&overlay.upper, &overlay.work]) {
        drop(layer.take());
    }
    mounted
}

/// Where something is mounted from. Its descriptor lives in the memory that devshell made for it.
pub(crate) struct Source {
    path: CString,
    fd: std::cell::Cell<RawFd>,
}

impl Source {
    pub(crate) fn new(path: CString) -> Self {
        Self {
            path,
            fd: std::cell::Cell::new(-1),
        }
    }

    pub(super) fn path(&self) -> &CStr {
        &self.path
    }

    fn open(&self) -> Result<(), Errno> {
        self.hold(anchor(&self.path)?);
        Ok(())
    }

    pub(super) fn hold(&self, fd: OwnedFd) {
        self.fd.set(fd.into_raw_fd());
    }

    pub(super) fn take(&self) -> Option<OwnedFd> {
        let fd = self.fd.replace(-1);
        // SAFETY: `open` put the number of a descriptor there that nothing else owns, and it is given away once.
        (fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd) })
    }

    fn name(&self, before: &[u8], options: &mut Options) {
        options.text(before);
        options.text(b"/proc/self/fd/");
        options.number(self.fd.get());
    }
}

fn anchor(path: &CStr) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(
        CWD,
        path,
        OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

fn through(descriptor: &OwnedFd) -> ProcPath {
    let mut path = ProcPath::new(b"/proc/self/fd/");
    path.number(descriptor.as_raw_fd());
    path
}

/// Closes what an exec would have closed, so that no lock and no pipe of devshell's, nor the
/// socket of another keeper, is held here. The rest is for the tools; with `but_folders` not what
/// is a folder: through one, a tool would reach the host's tree past all mounts made here.
pub(super) fn close_inherited(socket: BorrowedFd, keep: &[RawFd], but_folders: bool) {
    let close = |fd: RawFd| {
        let unwanted = |fd| is_close_on_exec(fd) || (but_folders && fd > 2 && is_folder(fd));
        if fd != socket.as_raw_fd() && !keep.contains(&fd) && unwanted(fd) {
            // SAFETY: the descriptor is this process's copy; nobody in it uses it any more.
            unsafe {
                libc::close(fd);
            }
        }
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(folder) = rustix::fs::openat(CWD, c"/proc/self/fd", flags, Mode::empty()) else {
        for fd in 3..4096 {
            close(fd);
        }
        return;
    };
    let own = folder.as_raw_fd();
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut entries = RawDir::new(folder.as_fd(), &mut buffer);
    while let Some(Ok(entry)) = entries.next() {
        if let Some(fd) = entry.file_name().to_str().ok().and_then(|name| name.parse().ok())
            && fd != own
        {
            close(fd);
        }
    }
}

fn is_close_on_exec(fd: RawFd) -> bool {
    // SAFETY: the number is looked at only; where it is no open descriptor, the call says so.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    rustix::io::fcntl_getfd(borrowed).is_ok_and(|flags| flags.contains(FdFlags::CLOEXEC))
}

fn is_folder(fd: RawFd) -> bool {
    // SAFETY: as above.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    rustix::fs::fstat(borrowed).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}
