//! Everything outside the workspace made read-only, and the rights taken that could undo it. Runs
//! in the clone: nothing here allocates.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::ffi::{CStr, CString, OsStr};
use std::mem::size_of;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fd::{AsFd, AsRawFd as _, BorrowedFd, IntoRawFd as _, OwnedFd, RawFd};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MoveMountFlags, OpenTreeFlags, mount, move_mount, open_tree};
use rustix::thread::{CapabilitySet, capabilities, remove_capability_from_bounding_set, set_capabilities};

use super::setup::Source;
use super::wire::SetupStage;
use crate::sys::signals::last_errno;

/// How many folders may get a file system of their own.
pub(crate) const PRIVATE: usize = 8;

/// What such a file system may hold: half of the memory, as distributions give /tmp. It takes
/// only what is in it.
const SIZE: &CStr = c"mode=1777,size=50%";
/// Stands as its source in /proc/self/mountinfo.
pub(crate) const PRIVATE_NAME: &CStr = c"devshell-private";

/// What a tool of root's keeps. What is left out would undo the rest (mounts, raw devices, the
/// kernel's memory, file handles, other processes) or reaches the whole machine by other means
/// (its clock, its network, its modules).
const LEFT: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::IPC_LOCK)
    .union(CapabilitySet::IPC_OWNER)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::SYS_NICE)
    .union(CapabilitySet::SYS_RESOURCE)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::LEASE)
    .union(CapabilitySet::AUDIT_WRITE);

/// Parts of /proc that belong to the whole machine and that root's tools could write.
const OF_THE_MACHINE: [&CStr; 9] = [
    c"/proc/sys",
    c"/proc/sysrq-trigger",
    c"/proc/irq",
    c"/proc/bus",
    c"/proc/fs",
    c"/proc/scsi",
    c"/proc/acpi",
    c"/proc/mtrr",
    c"/proc/dynamic_debug",
];

/// Where terminals are.
pub(crate) const TERMINALS: &CStr = c"/dev/pts";

/// What is to become of all that lies outside the workspace.
pub(crate) struct Outside {
    /// What stays as it is, with all mounts below it; what lies in another comes after it.
    pub(crate) kept: Vec<Kept>,
    /// Folders that get an empty file system in memory; at most [`PRIVATE`].
    pub(crate) private: Vec<Private>,
    /// Places for `kept` in `private`, parents first.
    pub(crate) made: Vec<Made>,
    /// Whether there are terminals, and a device beside them that makes new ones.
    pub(crate) terminals: bool,
    pub(crate) ptmx: bool,
    /// Whether the caller is root, whom neither owners nor modes stop: no devices but those in
    /// `kept`, and what belongs to the machine in /proc is read-only, too.
    pub(crate) root: bool,
}

/// A place that stays writable.
pub(crate) struct Kept {
    pub(crate) place: Source,
    /// Whether its device files stay devices.
    pub(crate) devices: bool,
}

/// A folder with a file system of its own.
pub(crate) struct Private {
    pub(crate) at: CString,
    /// The one that an earlier keeper had there.
    pub(crate) earlier: Option<RawFd>,
    /// The same for a later one.
    again: Cell<RawFd>,
}

impl Private {
    pub(crate) fn new(at: CString, earlier: Option<RawFd>) -> Self {
        Self {
            at,
            earlier,
            again: Cell::new(-1),
        }
    }
}

/// A folder or an empty file to mount something over.
pub(crate) struct Made {
    pub(crate) path: CString,
    pub(crate) folder: bool,
}

type Failure = (SetupStage, usize, Errno);

impl Outside {
    /// Makes it so. Everything that is to stay is cloned before and put back after, with the
    /// flags that it had: what the host has read-only stays read-only.
    pub(super) fn close(&self) -> Result<(), Failure> {
        for (index, kept) in self.kept.iter().enumerate() {
            let failed = |errno| (SetupStage::Writable, index, errno);
            let tree = clone_tree(kept.place.path()).map_err(failed)?;
            if self.root && !kept.devices {
                restrict(tree.as_fd(), c"", libc::MOUNT_ATTR_NODEV).map_err(failed)?;
            }
            kept.place.hold(tree);
        }
        let no_devices = if self.root { libc::MOUNT_ATTR_NODEV } else { 0 };
        restrict(CWD, c"/", libc::MOUNT_ATTR_RDONLY | no_devices).map_err(|errno| (SetupStage::ReadOnly, 0, errno))?;
        for (index, private) in self.private.iter().enumerate() {
            private
                .set_up()
                .map_err(|errno| (SetupStage::Temporary, index, errno))?;
        }
        if self.terminals {
            self.own_terminals()
                .map_err(|errno| (SetupStage::Terminals, 0, errno))?;
        }
        for made in &self.made {
            made.make().map_err(|errno| (SetupStage::Temporary, 0, errno))?;
        }
        for (index, kept) in self.kept.iter().enumerate() {
            let failed = |errno| (SetupStage::Writable, index, errno);
            let tree = kept.place.take().ok_or(failed(Errno::BADF))?;
            attach(&tree, kept.place.path()).map_err(failed)?;
        }
        Ok(())
    }

    /// Terminals of the tools' own: those of the host can be written as long as they can be seen.
    fn own_terminals(&self) -> Result<(), Errno> {
        let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
        let make = |options: &CStr| mount(c"devpts", TERMINALS, c"devpts", flags, options);
        match make(c"newinstance,ptmxmode=0666,mode=0620,gid=5") {
            // The group of terminals need not be there in a user namespace.
            Err(Errno::INVAL) => make(c"newinstance,ptmxmode=0666,mode=0620")?,
            other => other?,
        }
        if self.ptmx {
            // The device itself looks for the terminals beside it, on its own mount.
            attach(&clone_tree(c"/dev/pts/ptmx")?, c"/dev/ptmx")?;
        }
        Ok(())
    }

    /// What can be done only once the new /proc is there.
    pub(super) fn close_proc(&self) -> Result<(), Failure> {
        if !self.root {
            return Ok(());
        }
        let failed = |errno| (SetupStage::ReadOnly, 0, errno);
        for path in OF_THE_MACHINE {
            match clone_tree(path) {
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(failed(errno)),
                Ok(tree) => {
                    restrict(tree.as_fd(), c"", libc::MOUNT_ATTR_RDONLY).map_err(failed)?;
                    attach(&tree, path).map_err(failed)?;
                }
            }
        }
        Ok(())
    }

    /// The place that a failure at a stage speaks of.
    pub(crate) fn place(&self, stage: SetupStage, index: usize) -> Option<&Path> {
        let path = match stage {
            SetupStage::Writable => self.kept.get(index)?.place.path(),
            SetupStage::Temporary => self.private.get(index)?.at.as_c_str(),
            _ => return None,
        };
        Some(Path::new(OsStr::from_bytes(path.to_bytes())))
    }

    /// The file systems of `private` once more, for a later keeper.
    pub(super) fn again(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let numbers = self.private.iter().map(|private| private.again.get());
        // SAFETY: `set_up` put the number of a descriptor there, which stays open as long as this process.
        numbers
            .filter(|&fd| fd >= 0)
            .map(|fd| unsafe { BorrowedFd::borrow_raw(fd) })
    }
}

impl Private {
    fn set_up(&self) -> Result<(), Errno> {
        match self.earlier {
            // SAFETY: a descriptor that devshell holds as long as the keeper starts.
            Some(fd) => attach(unsafe { BorrowedFd::borrow_raw(fd) }, &self.at)?,
            None => {
                let flags = MountFlags::NOSUID | MountFlags::NODEV;
                mount(PRIVATE_NAME, self.at.as_c_str(), c"tmpfs", flags, SIZE)?;
            }
        }
        self.again.set(clone_tree(&self.at)?.into_raw_fd());
        Ok(())
    }
}

impl Made {
    fn make(&self) -> Result<(), Errno> {
        let path = self.path.as_c_str();
        let made = if self.folder {
            // Whatever the caller's umask is: tools may run under another user.
            rustix::fs::mkdirat(CWD, path, Mode::from_raw_mode(0o755))
                .and_then(|()| rustix::fs::chmodat(CWD, path, Mode::from_raw_mode(0o755), rustix::fs::AtFlags::empty()))
        } else {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
            rustix::fs::openat(CWD, path, flags, Mode::from_raw_mode(0o600)).map(drop)
        };
        match made {
            Err(Errno::EXIST) => Ok(()),
            other => other,
        }
    }
}

/// Takes what could undo a read-only host from this process and from all that it starts. It keeps
/// one right more than they have: without it none of them can trace it.
pub(super) fn drop_rights() -> Result<(), Errno> {
    for number in 0..u64::BITS {
        let one = CapabilitySet::from_bits_retain(1 << number);
        if LEFT.contains(one) {
            continue;
        }
        match remove_capability_from_bounding_set(one) {
            // Past the last one that this kernel knows.
            Err(Errno::INVAL) => break,
            other => other?,
        }
    }
    let mut sets = capabilities(None)?;
    let own = LEFT.union(CapabilitySet::SYS_PTRACE);
    sets.effective = sets.effective.intersection(own);
    sets.permitted = sets.permitted.intersection(own);
    // What is inheritable comes past the bounding set.
    sets.inheritable = sets.inheritable.intersection(LEFT);
    set_capabilities(None, sets)
}

fn clone_tree(path: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE
        | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
    open_tree(CWD, path, flags)
}

fn attach(tree: impl AsFd, path: &CStr) -> Result<(), Errno> {
    move_mount(tree, c"", CWD, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

/// Sets attributes of a mount and of all below it.
fn restrict(folder: BorrowedFd, path: &CStr, set: u64) -> Result<(), Errno> {
    let attributes = libc::mount_attr {
        attr_set: set,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    let empty = if path.is_empty() { libc::AT_EMPTY_PATH } else { 0 };
    // SAFETY: a string, and a structure of the length that is told; the kernel keeps neither.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            folder.as_raw_fd(),
            path.as_ptr(),
            libc::c_long::from(libc::AT_RECURSIVE | empty),
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if done == 0 { Ok(()) } else { Err(last_errno()) }
}
