//! Signal dispositions and masks.
#![allow(unsafe_code)]

use std::mem::MaybeUninit;

/// Whether this process was started with `signal` ignored (nohup(1) does that for SIGHUP, a
/// shell without job control for the SIGINT of its background jobs).
pub(crate) fn is_ignored(signal: i32) -> bool {
    let mut old = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: no new action is given, so nothing changes, and `old` is valid for writes.
    let asked = unsafe { libc::sigaction(signal, std::ptr::null(), old.as_mut_ptr()) };
    // SAFETY: all-zero bytes are a valid `sigaction`, also where the call failed.
    let old = unsafe { old.assume_init() };
    asked == 0 && old.sa_sigaction == libc::SIG_IGN
}

/// All signals are blocked in this thread while it lives; the mask from before returns with the drop.
#[cfg(target_os = "linux")]
pub(crate) struct AllBlocked {
    before: libc::sigset_t,
}

#[cfg(target_os = "linux")]
impl AllBlocked {
    pub(crate) fn new() -> Self {
        let mut all = MaybeUninit::<libc::sigset_t>::zeroed();
        let mut before = MaybeUninit::<libc::sigset_t>::zeroed();
        // SAFETY: both sets are valid for writes, and `all` is filled before it is read.
        unsafe {
            libc::sigfillset(all.as_mut_ptr());
            libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
        }
        // SAFETY: all-zero bytes are a valid set, and the call has filled it.
        let before = unsafe { before.assume_init() };
        Self { before }
    }
}

#[cfg(target_os = "linux")]
impl Drop for AllBlocked {
    fn drop(&mut self) {
        // SAFETY: `before` is a set that the system filled.
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.before, std::ptr::null_mut());
        }
    }
}

/// Unblocks every signal in this thread.
#[cfg(target_os = "linux")]
pub(crate) fn unblock_all() {
    let mut none = MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: `none` is valid for writes and is filled before it is read.
    unsafe {
        libc::sigemptyset(none.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut());
    }
}

/// Gives every signal that has a handler its default action, and SIGPIPE and SIGCHLD in any
/// case; what was ignored by the caller stays ignored, as it would through an exec.
#[cfg(target_os = "linux")]
pub(crate) fn drop_handlers() {
    for signal in 1..=64 {
        let mut action = MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: no new action is given, and `action` is valid for writes. The C library
        // refuses its own signals and SIGKILL, which is well.
        if unsafe { libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) } != 0 {
            continue;
        }
        // SAFETY: all-zero bytes are a valid `sigaction`, and the call has filled it.
        let mut action = unsafe { action.assume_init() };
        let ignored = action.sa_sigaction == libc::SIG_IGN;
        // Rust's runtime ignores SIGPIPE; a SIGCHLD that is ignored would take the ends of our children from us.
        let wanted = signal == libc::SIGPIPE || signal == libc::SIGCHLD;
        if action.sa_sigaction == libc::SIG_DFL || (ignored && !wanted) {
            continue;
        }
        action.sa_sigaction = libc::SIG_DFL;
        action.sa_flags = 0;
        // SAFETY: `action` is a whole action with the default handler.
        unsafe {
            libc::sigaction(signal, &raw const action, std::ptr::null_mut());
        }
    }
}

/// A descriptor that becomes readable when a child changed state; SIGCHLD must be blocked.
#[cfg(target_os = "linux")]
pub(crate) fn child_events() -> rustix::io::Result<rustix::fd::OwnedFd> {
    use rustix::fd::FromRawFd as _;

    let mut set = MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: `set` is valid for writes and is filled before it is read; the descriptor that
    // comes back is new and nobody else's.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), libc::SIGCHLD);
        match libc::signalfd(-1, set.as_ptr(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) {
            -1 => Err(last_errno()),
            fd => Ok(rustix::fd::OwnedFd::from_raw_fd(fd)),
        }
    }
}

/// What the last failed call of the C library said; unlike `io::Error` it is plain data.
#[cfg(target_os = "linux")]
pub(crate) fn last_errno() -> rustix::io::Errno {
    // SAFETY: the address of this thread's errno is always valid.
    rustix::io::Errno::from_raw_os_error(unsafe { *libc::__errno_location() })
}
