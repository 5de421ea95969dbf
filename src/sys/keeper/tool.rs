//! Starting a tool out of the keeper. Nothing here allocates.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_int, c_void};
use std::ptr::NonNull;

use rustix::fd::{AsRawFd, BorrowedFd, RawFd};
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, StatVfsMountFlags};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, waitpid};

use super::command::Mapped;
use super::text::Text;
use super::wire::{LaunchStage, NONE, Record};
use crate::sys::signals::{last_errno, unblock_all};

const STACK: usize = 128 * 1024;
const GUARD: usize = 64 * 1024;
/// Enough of a file to see its `#!` line.
const HEAD: usize = 256;

/// Why a tool was not started.
pub(super) struct Refusal {
    stage: LaunchStage,
    errno: Errno,
    candidate: usize,
    mode: u32,
    noexec: bool,
    head: [u8; HEAD],
    head_length: usize,
}

impl Refusal {
    fn new(stage: LaunchStage, errno: Errno) -> Self {
        Self {
            stage,
            errno,
            candidate: NONE as usize,
            mode: 0,
            noexec: false,
            head: [0; HEAD],
            head_length: 0,
        }
    }

    pub(super) fn of_keeper(errno: Errno) -> Self {
        Self::new(LaunchStage::Prepare, errno)
    }

    pub(super) fn write(&self, record: &mut Record) {
        record.number(self.stage.number());
        record.number(self.errno.raw_os_error().cast_unsigned());
        record.number(u32::try_from(self.candidate).unwrap_or(NONE));
        record.number(self.mode);
        record.number(u32::from(self.noexec));
        record.text(self.head.get(..self.head_length).unwrap_or(&[]));
    }

    /// Looks at the file while the tool's own working folder and ids still hold.
    fn look_at(&mut self, path: &CStr) {
        self.mode = rustix::fs::stat(path).map_or(0, |stat| stat.st_mode);
        self.noexec = rustix::fs::statvfs(path).is_ok_and(|stat| stat.f_flag.contains(StatVfsMountFlags::NOEXEC));
        // Opening a device may do something.
        if FileType::from_raw_mode(self.mode) == FileType::RegularFile {
            self.head_length = read_head(path, &mut self.head);
        }
    }
}

/// What is needed for every start and made once.
pub(super) struct Launcher {
    stack: NonNull<c_void>,
    /// Whether tools are to die with this process; as init it takes them along anyway.
    bind_to_death: bool,
}

impl Launcher {
    pub(super) fn new(bind_to_death: bool) -> Result<Self, Errno> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK;
        // SAFETY: a new mapping at a place of the kernel's choice; it stays until this process ends.
        let stack = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                GUARD + STACK,
                libc::PROT_READ | libc::PROT_WRITE,
                flags,
                -1,
                0,
            )
        };
        if stack == libc::MAP_FAILED {
            return Err(last_errno());
        }
        // SAFETY: the lower end of the mapping above; an overflow shall fault there.
        if unsafe { libc::mprotect(stack, GUARD, libc::PROT_NONE) } != 0 {
            return Err(last_errno());
        }
        Ok(Self {
            stack: NonNull::new(stack).ok_or(Errno::NOMEM)?,
            bind_to_death,
        })
    }

    #[expect(
        clippy::result_large_err,
        reason = "nothing may be boxed where nothing may be allocated"
    )]
    /// Starts the command that `memory` holds. Comes back when it has been executed.
    pub(super) fn launch(
        &self,
        memory: BorrowedFd,
        length: u64,
        stdio: [BorrowedFd; 3],
        on_terminal: bool,
    ) -> Result<Pid, Refusal> {
        let command = Mapped::new(memory, length).map_err(Refusal::of_keeper)?;
        let mut start = Start {
            command: &command,
            stdio: stdio.map(|fd| fd.as_raw_fd()),
            bind_to_death: self.bind_to_death,
            on_terminal,
            refusal: None,
        };
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
        // SAFETY: the top of our stack, which no other child uses at the same time: CLONE_VFORK
        // stops this process until the child has executed a program or ended. `start` outlives
        // that, and the child touches nothing else of our memory. vfork(2) without a stack of
        // its own is not to be had in Rust, and fork(2) would copy page tables.
        let pid = unsafe {
            let top = self.stack.as_ptr().byte_add(GUARD + STACK);
            libc::clone(run, top, flags, (&raw mut start).cast())
        };
        let Some(child) = (pid > 0).then(|| Pid::from_raw(pid)).flatten() else {
            return Err(Refusal::of_keeper(last_errno()));
        };
        match start.refusal {
            None => Ok(child),
            Some(refusal) => {
                let _ = rustix::io::retry_on_intr(|| waitpid(Some(child), WaitOptions::empty()));
                Err(refusal)
            }
        }
    }
}

struct Start<'a> {
    command: &'a Mapped,
    stdio: [RawFd; 3],
    bind_to_death: bool,
    /// Whether stdin becomes the controlling terminal.
    on_terminal: bool,
    refusal: Option<Refusal>,
}

extern "C" fn run(start: *mut c_void) -> c_int {
    // SAFETY: the pointer that `launch` gave; the keeper stands still meanwhile.
    let start = unsafe { &mut *start.cast::<Start>() };
    let refusal = start.execute();
    start.refusal = Some(refusal);
    127
}

impl Start<'_> {
    /// Becomes the tool; comes back with the reason when that cannot be.
    fn execute(&self) -> Refusal {
        if let Err(errno) = self.enter() {
            return Refusal::of_keeper(errno);
        }
        // SAFETY: a string of the block.
        if let Err(errno) = rustix::process::chdir(unsafe { CStr::from_ptr(self.command.cwd()) }) {
            return Refusal::new(LaunchStage::Chdir, errno);
        }
        if let Err(errno) = descend(self.command.below()) {
            return Refusal::new(LaunchStage::Chdir, errno);
        }
        unblock_all();
        self.execute_first()
    }

    /// Session and standard streams.
    fn enter(&self) -> Result<(), Errno> {
        rustix::process::setsid()?;
        if self.bind_to_death {
            // The keeper has one thread, so here it does mean the process.
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        }
        let mut sources = self.stdio;
        for source in &mut sources {
            // Out of the way of the three that are replaced.
            if *source < 3 {
                // SAFETY: plain system call on descriptors of this process.
                *source = unsafe { libc::fcntl(*source, libc::F_DUPFD_CLOEXEC, 3) };
            }
        }
        for (source, target) in sources.into_iter().zip(0..) {
            // SAFETY: as above; the child has its own table of descriptors.
            if unsafe { libc::dup2(source, target) } == -1 {
                return Err(last_errno());
            }
        }
        if self.on_terminal {
            rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?;
        }
        Ok(())
    }

    /// execvp(3): the first candidate that can be executed. Of those that cannot, the first
    /// that exists is the one to tell about.
    fn execute_first(&self) -> Refusal {
        let mut told: Option<(bool, Refusal)> = None;
        for index in 0..self.command.candidates() {
            let Some(path) = self.command.candidate(index) else {
                break;
            };
            let mut errno = self.execve(path, false);
            if errno == Errno::NOEXEC && is_text(path) {
                errno = self.execve(path, true);
            }
            let mut refusal = Refusal::new(LaunchStage::Exec, errno);
            refusal.candidate = index;
            match errno {
                Errno::NOENT | Errno::ACCESS => {
                    // ENOENT of a file that exists speaks of its interpreter.
                    refusal.look_at(path);
                    let exists = refusal.mode != 0;
                    let better = told.as_ref().is_none_or(|(other, _)| exists && !other);
                    if better && (exists || errno == Errno::ACCESS) {
                        told = Some((exists, refusal));
                    }
                }
                Errno::NOTDIR | Errno::STALE | Errno::NODEV | Errno::TIMEDOUT | Errno::LOOP | Errno::NAMETOOLONG
                    if self.command.candidates() > 1 => {}
                _ => {
                    refusal.look_at(path);
                    return refusal;
                }
            }
        }
        told.map_or_else(|| Refusal::new(LaunchStage::Exec, Errno::NOENT), |(_, refusal)| refusal)
    }

    fn execve(&self, path: &CStr, by_shell: bool) -> Errno {
        let argv = self.command.argv();
        // SAFETY: argv and env are tables of strings that end with a null pointer, and argv has
        // a free place before it and holds at least the program's name.
        unsafe {
            if by_shell {
                let name = *argv;
                *argv.sub(1) = c"/bin/sh".as_ptr();
                *argv = path.as_ptr();
                libc::execve(c"/bin/sh".as_ptr(), argv.sub(1), self.command.env());
                *argv = name;
            } else {
                libc::execve(path.as_ptr(), argv, self.command.env());
            }
        }
        last_errno()
    }
}

/// Goes to a folder below the working folder. Links are followed as long as they do not lead out of it.
fn descend(below: &CStr) -> Result<(), Errno> {
    if below.is_empty() {
        return Ok(());
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let mut tries = 0;
    let folder = loop {
        match rustix::fs::openat2(CWD, below, flags, Mode::empty(), resolve) {
            // Something was renamed meanwhile, and the kernel could not be sure.
            Err(Errno::AGAIN) if tries < 128 => tries += 1,
            Err(Errno::NOSYS | Errno::PERM) => return descend_by_components(below),
            folder => break folder?,
        }
    };
    rustix::process::fchdir(folder)
}

/// Where there is no openat2(2): then no link is followed at all.
fn descend_by_components(below: &CStr) -> Result<(), Errno> {
    for part in below.to_bytes().split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => continue,
            b".." => return Err(Errno::XDEV),
            _ => {}
        }
        let name = Text::<256>::new(part);
        if !name.is_whole() {
            return Err(Errno::NAMETOOLONG);
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = rustix::fs::openat(CWD, name.as_c_str(), flags, Mode::empty())?;
        rustix::process::fchdir(folder)?;
    }
    Ok(())
}

/// Whether a shell could make sense of a file: shells themselves look for a NUL in its first line.
fn is_text(path: &CStr) -> bool {
    let mut head = [0_u8; HEAD];
    let length = read_head(path, &mut head);
    let head = head.get(..length).unwrap_or(&[]);
    head.iter().take_while(|&&byte| byte != b'\n').all(|&byte| byte != 0)
}

fn read_head(path: &CStr, head: &mut [u8; HEAD]) -> usize {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    rustix::fs::openat(CWD, path, flags, Mode::empty())
        .and_then(|file| rustix::io::read(file, head))
        .unwrap_or(0)
}
