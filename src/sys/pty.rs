//! Pseudo-terminals, and the caller's terminal in raw mode.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, Once, PoisonError};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{
    LocalModes, OptionalActions, OutputModes, SpecialCodeIndex, Termios, tcgetattr, tcgetpgrp, tcgetwinsize, tcsetattr,
    tcsetwinsize,
};

use super::signals::is_ignored;

/// A new pseudo-terminal: devshell's end, which does not block.
pub(crate) fn open() -> io::Result<OwnedFd> {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    unlockpt(&ours)?;
    rustix::fs::fcntl_setfl(&ours, OFlags::RDWR | OFlags::NONBLOCK)?;
    Ok(ours)
}

/// The tool's end of a pseudo-terminal on which nobody types: whoever asks there for an answer is
/// told at once that there is none. What is written comes out as it is, without CR before each LF.
pub(crate) fn end_to_write(ours: impl AsFd) -> io::Result<OwnedFd> {
    let mut settings = tcgetattr(&ours)?;
    settings.output_modes.remove(OutputModes::OPOST);
    // A read gives nothing instead of waiting.
    settings.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
    settings.special_codes[SpecialCodeIndex::VMIN] = 0;
    settings.special_codes[SpecialCodeIndex::VTIME] = 0;
    tcsetattr(&ours, OptionalActions::Now, &settings)?;
    let end = peer(ours, OFlags::WRONLY)?;
    // Pagers open it anew by its name, and set it so that they do wait. Root may all the same, and
    // where the device is not ours, or its mount is read-only, so may everybody.
    let _ = rustix::fs::fchmod(&end, Mode::WUSR);
    Ok(end)
}

/// The tool's end of a pseudo-terminal.
pub(crate) fn end_to_type(ours: impl AsFd) -> io::Result<OwnedFd> {
    Ok(peer(ours, OFlags::RDWR)?)
}

/// Not by its name: `/dev/pts` may be another one here.
fn peer(ours: impl AsFd, access: OFlags) -> rustix::io::Result<OwnedFd> {
    let access = OpenptFlags::from_bits_retain(access.bits());
    ioctl_tiocgptpeer(ours, access | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
}

/// Gives a pseudo-terminal the settings of another terminal.
pub(crate) fn copy_settings(from: impl AsFd, to: impl AsFd) -> io::Result<()> {
    Ok(tcsetattr(to, OptionalActions::Now, &tcgetattr(from)?)?)
}

/// Gives a pseudo-terminal the size of another terminal; its foreground processes are told. A
/// terminal that does not know its size has none to give.
pub(crate) fn copy_size(from: impl AsFd, to: impl AsFd) -> io::Result<()> {
    let size = tcgetwinsize(from)?;
    if size.ws_col > 0 && size.ws_row > 0 {
        tcsetwinsize(to, size)?;
    }
    Ok(())
}

/// Signals that end a process by default, without it having a say. What unwinds or is waited for
/// (SIGINT, SIGTERM, SIGHUP) is not among them, nor what no handler can survive. SIGTSTP stops.
const SUDDEN: [i32; 9] = [
    libc::SIGQUIT,
    libc::SIGABRT,
    libc::SIGALRM,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGXCPU,
    libc::SIGXFSZ,
    libc::SIGSYS,
    libc::SIGTSTP,
];

/// The caller's terminal hands on every byte, Ctrl-C too, while this lives. Dropped, or when a
/// signal ends this process, it is as it was before.
#[derive(Debug)]
pub(crate) struct RawMode(());

struct Held {
    terminal: OwnedFd,
    before: Termios,
}

/// The terminal that is in raw mode; for handlers of signals, which must not wait for a lock.
static HELD: AtomicPtr<Held> = AtomicPtr::new(ptr::null_mut());
/// Taken by whoever changes the mode of that terminal.
static CHANGING: Mutex<()> = Mutex::new(());

impl RawMode {
    /// Puts a terminal into raw mode. What was typed ahead stays.
    ///
    /// # Errors
    /// When it is no terminal, or when this process has one in raw mode already.
    pub(crate) fn enter(terminal: OwnedFd) -> io::Result<Self> {
        static HANDLERS: Once = Once::new();
        let _changing = CHANGING.lock().unwrap_or_else(PoisonError::into_inner);
        if !HELD.load(Ordering::SeqCst).is_null() {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        let before = tcgetattr(&terminal)?;
        HANDLERS.call_once(|| SUDDEN.into_iter().for_each(restore_at));
        let held = Box::into_raw(Box::new(Held { terminal, before }));
        // Before the mode changes, so that a signal in between finds what to restore.
        HELD.store(held, Ordering::SeqCst);
        // SAFETY: made above, and never freed.
        let entered = raw(unsafe { &*held });
        if let Err(error) = entered {
            HELD.store(ptr::null_mut(), Ordering::SeqCst);
            return Err(error.into());
        }
        Ok(Self(()))
    }

    /// Once more, after somebody else may have changed the mode: a shell does when this process was
    /// stopped and goes on. Nothing without a [`RawMode`] that lives.
    pub(crate) fn renew() {
        let _changing = CHANGING.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: a held terminal is never freed.
        if let Some(held) = unsafe { HELD.load(Ordering::SeqCst).as_ref() }
            && is_in_foreground(held)
        {
            let _ = raw(held);
        }
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        let _changing = CHANGING.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: a held terminal is never freed: a handler may be looking at it just now. It is
        // one small block a tool that had the terminal.
        if let Some(held) = unsafe { HELD.load(Ordering::SeqCst).as_ref() } {
            restore(held);
        }
        HELD.store(ptr::null_mut(), Ordering::SeqCst);
    }
}

fn raw(held: &Held) -> rustix::io::Result<()> {
    let mut settings = held.before.clone();
    settings.make_raw();
    tcsetattr(&held.terminal, OptionalActions::Now, &settings)
}

/// Plain system calls, fit for a handler of signals. Whoever has the terminal in the foreground
/// meanwhile has also set it as he wants it.
fn restore(held: &Held) {
    if is_in_foreground(held) {
        let _ = tcsetattr(&held.terminal, OptionalActions::Now, &held.before);
    }
}

/// To change it from the background would stop this process.
fn is_in_foreground(held: &Held) -> bool {
    match tcgetpgrp(&held.terminal) {
        Ok(group) => group == rustix::process::getpgrp(),
        // Not our controlling terminal: then nobody is stopped for it.
        Err(error) => error == Errno::NOTTY,
    }
}

/// Has this signal restore the terminal before it does what it does by default.
fn restore_at(signal: i32) {
    if is_ignored(signal) {
        return;
    }
    let action = move || {
        // SAFETY: a held terminal is never freed.
        if let Some(held) = unsafe { HELD.load(Ordering::SeqCst).as_ref() } {
            restore(held);
        }
        let _ = signal_hook::low_level::emulate_default_handler(signal);
    };
    // SAFETY: what it calls is safe in a handler: an atomic load, tcgetpgrp(3), getpgrp(2) and
    // tcsetattr(3) as plain system calls, and a function that is made for it.
    let registered = unsafe { signal_hook::low_level::register(signal, action) };
    // Without it, that signal leaves the terminal as a SIGKILL does.
    drop(registered);
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn bytes_come_out_of_a_pseudo_terminal_as_they_went_in_and_nothing_can_be_read_of_its_end() {
        let ours = open().unwrap();
        let end = end_to_write(&ours).unwrap();
        assert!(rustix::termios::isatty(&end));
        let sent: Vec<u8> = (0..=255).collect();
        rustix::io::write(&end, &sent).unwrap();
        let mut got = [0; 512];
        let length = rustix::io::read(&ours, &mut got).unwrap();
        assert_eq!(got[..length], sent);
        assert_eq!(rustix::io::read(&end, &mut got), Err(Errno::BADF));
        // Opened anew by whoever may, it has nothing to say.
        let anew = end_to_type(&ours).unwrap();
        assert_eq!(rustix::io::read(&anew, &mut got), Ok(0));
        drop(anew);
        // It does not block, and its end is told.
        assert_eq!(rustix::io::read(&ours, &mut got), Err(Errno::AGAIN));
        drop(end);
        assert_eq!(
            std::fs::File::from(ours).read(&mut got).unwrap_err().raw_os_error(),
            Some(libc::EIO)
        );
    }

    #[test]
    fn a_terminal_is_raw_for_one_at_a_time_and_then_as_it_was() {
        let ours = open().unwrap();
        let end = end_to_type(&ours).unwrap();
        let mode = |end: &OwnedFd| {
            let settings = tcgetattr(end).unwrap();
            (settings.local_modes, settings.output_modes, settings.input_modes)
        };
        let before = mode(&end);
        let raw = RawMode::enter(end.try_clone().unwrap()).unwrap();
        assert!(!mode(&end).0.contains(LocalModes::ISIG));
        assert!(RawMode::enter(end.try_clone().unwrap()).is_err());
        tcsetattr(&end, OptionalActions::Now, &{
            let mut settings = tcgetattr(&end).unwrap();
            settings.local_modes |= LocalModes::ISIG;
            settings
        })
        .unwrap();
        RawMode::renew();
        assert!(!mode(&end).0.contains(LocalModes::ISIG));
        drop(raw);
        assert_eq!(mode(&end), before);
        RawMode::renew();
        assert_eq!(mode(&end), before);
        let again = end.try_clone().unwrap();
        let panicked = std::panic::catch_unwind(move || {
            let _raw = RawMode::enter(again).unwrap();
            panic!("as a bug would");
        });
        assert!(panicked.is_err());
        assert_eq!(mode(&end), before, "after a panic");
    }

    #[test]
    fn a_terminal_that_went_away_is_a_reader_that_went_away() {
        let ours = open().unwrap();
        let end = end_to_write(&ours).unwrap();
        drop(ours);
        let error = crate::sys::output::write_some(&end, b"x", std::time::Duration::ZERO).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn a_size_is_copied_where_there_is_one() {
        let (one, other) = (open().unwrap(), open().unwrap());
        let mut size = tcgetwinsize(&one).unwrap();
        (size.ws_col, size.ws_row) = (111, 33);
        tcsetwinsize(&one, size).unwrap();
        copy_size(&one, &other).unwrap();
        assert_eq!(tcgetwinsize(&other).unwrap(), size);
        copy_size(open().unwrap(), &other).unwrap();
        assert_eq!(tcgetwinsize(&other).unwrap(), size);
    }
}
