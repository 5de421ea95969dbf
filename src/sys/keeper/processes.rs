//! Finding, naming and ending what a tool started. Runs in the keeper: nothing here allocates.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::mem::MaybeUninit;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, RawDir};
use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, kill_process_group, waitpgid};

use super::text::ProcPath;
use super::wire::Record;

/// How many survivors are named.
pub(crate) const SURVIVORS: usize = 64;
/// How many bytes of a survivor's command line are kept.
pub(crate) const SURVIVOR_TEXT: usize = 200;
/// How many descendants are seen at once where there is no PID namespace.
const DESCENDANTS: usize = 4096;

/// How far the keeper's arm reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// It is the init of a PID namespace with a /proc of its own.
    Namespace,
    /// It is the sub-reaper of everything, found through `/proc/…/children`.
    Children,
    /// No usable /proc: only the tool's own process group.
    Group,
}

impl Reach {
    /// What this process can do; `namespace` says whether it was made as an init.
    pub(super) fn detect(namespace: bool) -> Self {
        // kill(-1) outside a namespace of our own would end everything of the user's, so it is
        // believed only where the kernel says so, too.
        if namespace && getpid() == Pid::INIT {
            return Self::Namespace;
        }
        // A /proc of another PID namespace would name other processes than ours.
        let mut link = [MaybeUninit::uninit(); 16];
        let own = rustix::fs::readlinkat_raw(CWD, c"/proc/self", &mut link)
            .is_ok_and(|(text, _)| parse(text) == Some(getpid().as_raw_nonzero().get()));
        if own && open(c"/proc/thread-self/children", OFlags::empty()).is_ok() {
            Self::Children
        } else {
            Self::Group
        }
    }

    /// Sends a signal to everything that `tool` started and itself.
    pub(super) fn signal(self, signal: Signal, tool: Option<Pid>) {
        match self {
            Self::Namespace => signal_namespace(signal),
            Self::Children => {
                for pid in Descendants::find().iter() {
                    let _ = kill_process(pid, signal);
                }
            }
            Self::Group => signal_group(signal, tool),
        }
    }

    /// One round of SIGKILL. Where only children can be killed without the risk of meeting a
    /// number that was given anew, their own children come to us when they die: the next
    /// round has those.
    pub(super) fn kill(self, tool: Option<Pid>) {
        match self {
            Self::Namespace => signal_namespace(Signal::KILL),
            Self::Children => children(b"/proc/thread-self/children", &mut |pid| {
                let _ = kill_process(pid, Signal::KILL);
            }),
            Self::Group => signal_group(Signal::KILL, tool),
        }
    }

    /// Names what is alive except `tool` itself, at most [`SURVIVORS`]; zombies are dead.
    pub(super) fn name_survivors(self, tool: Option<Pid>, record: &mut Record) {
        let mut named = 0;
        let mut name = |pid: Pid| {
            if named < SURVIVORS && Some(pid) != tool && describe(pid, record) {
                named += 1;
            }
        };
        match self {
            Self::Namespace => numbers_in(c"/proc", &mut |pid| {
                if pid != Pid::INIT {
                    name(pid);
                }
            }),
            Self::Children => Descendants::find().iter().for_each(name),
            Self::Group => {}
        }
    }
}

fn signal_namespace(signal: Signal) {
    if getpid() == Pid::INIT {
        // SAFETY: plain system call; as init of a PID namespace it reaches that namespace only.
        unsafe {
            libc::kill(-1, signal.as_raw());
        }
    }
}

fn signal_group(signal: Signal, tool: Option<Pid>) {
    let Some(tool) = tool else { return };
    // Once no child of ours is in the group, its number may be somebody else's.
    if waitpgid(tool, WaitOptions::NOHANG).is_ok() {
        let _ = kill_process_group(tool, signal);
    }
}

/// A signal to the process group of a tool that was not reaped yet, so that its number is its own.
pub(super) fn signal_group_raw(signal: i32, tool: Pid) {
    // SAFETY: plain system call. rustix has no real-time signals without a name.
    unsafe {
        libc::kill(-tool.as_raw_nonzero().get(), signal);
    }
}

/// The descendants of this process, parents before children.
struct Descendants {
    queue: [Option<Pid>; DESCENDANTS],
    filled: usize,
}

impl Descendants {
    /// Finds them all before anything is done to one: the children of a process that has ended
    /// are found no more where they were.
    fn find() -> Self {
        let mut found = Self {
            queue: [None; DESCENDANTS],
            filled: 0,
        };
        children(b"/proc/thread-self/children", &mut |pid| found.push(pid));
        let mut next = 0;
        while let Some(Some(pid)) = found.queue.get(next).copied() {
            next += 1;
            let mut tasks = ProcPath::new(b"/proc/");
            tasks.number(pid.as_raw_nonzero().get());
            tasks.text(b"/task");
            numbers_in(tasks.as_c_str(), &mut |task| {
                let mut path = tasks;
                path.text(b"/");
                path.number(task.as_raw_nonzero().get());
                path.text(b"/children");
                children(path.as_bytes(), &mut |pid| found.push(pid));
            });
        }
        found
    }

    fn push(&mut self, pid: Pid) {
        if let Some(slot) = self.queue.get_mut(self.filled) {
            *slot = Some(pid);
            self.filled += 1;
        }
    }

    fn iter(&self) -> impl Iterator<Item = Pid> + '_ {
        self.queue.iter().map_while(|pid| *pid)
    }
}

/// Calls `found` for each number in a `children` file.
fn children(path: &[u8], found: &mut dyn FnMut(Pid)) {
    let Ok(file) = open(ProcPath::new(path).as_c_str(), OFlags::empty()) else {
        return;
    };
    let mut buffer = [0_u8; 4096];
    let mut number = 0_i32;
    while let Ok(length) = rustix::io::read(&file, &mut buffer) {
        if length == 0 {
            break;
        }
        for &byte in buffer.get(..length).unwrap_or(&[]) {
            if byte.is_ascii_digit() {
                number = number.wrapping_mul(10).wrapping_add(i32::from(byte - b'0'));
            } else if let Some(pid) = Pid::from_raw(std::mem::take(&mut number)) {
                found(pid);
            }
        }
    }
}

/// Calls `found` for each entry of a folder that is a number.
pub(super) fn numbers_in(path: &CStr, found: &mut dyn FnMut(Pid)) {
    let Ok(folder) = open(path, OFlags::DIRECTORY) else {
        return;
    };
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut entries = RawDir::new(folder.as_fd(), &mut buffer);
    while let Some(Ok(entry)) = entries.next() {
        if let Some(pid) = parse(entry.file_name().to_bytes()).and_then(Pid::from_raw) {
            found(pid);
        }
    }
}

/// Appends pid and command line; false when there is nothing alive.
fn describe(pid: Pid, record: &mut Record) -> bool {
    let number = pid.as_raw_nonzero().get();
    let mut text = [0_u8; 512];
    let stat = read(&[b"/proc/"], number, b"/stat", &mut text);
    // The name may hold anything, also parentheses: the state follows the last one.
    let Some(end) = stat.iter().rposition(|&byte| byte == b')') else {
        return false;
    };
    if matches!(stat.get(end + 2), None | Some(b'Z' | b'X')) {
        return false;
    }
    let name = stat
        .iter()
        .position(|&byte| byte == b'(')
        .and_then(|start| stat.get(start..=end))
        .unwrap_or(b"?");
    let mut line = [0_u8; SURVIVOR_TEXT];
    let line = read(&[b"/proc/"], number, b"/cmdline", &mut line);
    record.number(number.cast_unsigned());
    record.text(if line.is_empty() { name } else { line });
    true
}

fn read<'a>(before: &[&[u8]], number: i32, after: &[u8], buffer: &'a mut [u8]) -> &'a [u8] {
    let mut path = ProcPath::new(b"");
    for part in before {
        path.text(part);
    }
    path.number(number);
    path.text(after);
    let length = open(path.as_c_str(), OFlags::empty())
        .and_then(|file| rustix::io::read(file, &mut *buffer))
        .unwrap_or(0);
    buffer.get(..length).unwrap_or(&[])
}

fn open(path: &CStr, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat(CWD, path, flags | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

fn parse(text: &[u8]) -> Option<i32> {
    let mut number = 0_i32;
    for byte in text {
        if !byte.is_ascii_digit() {
            return None;
        }
        number = number.checked_mul(10)?.checked_add(i32::from(byte - b'0'))?;
    }
    (!text.is_empty()).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_numbers_are_parsed() {
        assert_eq!(parse(b"4711"), Some(4711));
        assert_eq!(parse(b""), None);
        assert_eq!(parse(b"12a"), None);
        assert_eq!(parse(b"99999999999"), None);
    }

    #[test]
    fn outside_a_namespace_of_its_own_nothing_claims_to_be_its_init() {
        assert_ne!(Reach::detect(true), Reach::Namespace);
    }
}
