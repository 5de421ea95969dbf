//! The keeper's own life, from the clone to its end. Nothing here allocates.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char};
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use rustix::process::{Pid, Signal, WaitOptions, wait};

use super::Setup;
use super::outside::{Outside, PRIVATE};
use super::processes::{self, Reach};
use super::setup;
use super::tool::{Launcher, Refusal};
use super::wire::{ENDED, NONE, READY, REQUEST, Record, Request, SETUP_FAILED, SPAWN_FAILED, SetupStage};
use crate::sys::signals;

/// How long processes that are just ending may take before they count as left behind.
const LINGER: Duration = Duration::from_millis(100);
/// How long everything may take to end after SIGKILL.
const KILL: Duration = Duration::from_secs(5);
/// Without a PID namespace a listing may miss a process that is just being made.
const KILL_AGAIN: Duration = Duration::from_millis(10);

/// The whole life of the clone. It ends when devshell closes its end of the socket or dies by
/// whatever means: the kernel closes it then. PR_SET_PDEATHSIG would be wrong for that, as it
/// fires when the *thread* that cloned ends.
pub(super) fn main(setup: &Setup, socket: BorrowedFd) -> ! {
    let _guard = NoReturn;
    setup::close_inherited(socket, &setup.keep, setup.outside.is_some());
    signals::drop_handlers();
    let _ = rustix::thread::set_name(c"devshell-keeper");
    forget_environment();
    // A session of its own keeps the terminal's Ctrl-C away.
    let _ = rustix::process::setsid();
    if !matches!(next_request(socket), Some((Request::Go, _))) {
        exit(1);
    }
    let mut record = Record::new();
    match Keeper::new(setup, socket) {
        Ok(mut keeper) => {
            record.start(READY);
            record.number(u32::from(keeper.reach != Reach::Group));
            reply_with(socket, &record, setup.outside.as_ref());
            keeper.serve();
            keeper.end_all();
            exit(0)
        }
        Err((stage, index, errno)) => {
            record.start(SETUP_FAILED);
            record.number(stage.number());
            record.number(errno.raw_os_error().cast_unsigned());
            record.number(u32::try_from(index).unwrap_or(NONE));
            reply(socket, &record);
            exit(1)
        }
    }
}

/// Overwrites this process's copy of devshell's environment, which its tools can read as
/// `/proc/1/environ`: it may hold what not all of them are to get.
fn forget_environment() {
    unsafe extern "C" {
        static environ: *const *mut c_char;
    }
    // SAFETY: the list that execve(2) made of devshell's environment, which ends with a null
    // pointer, or none. This process has one thread, reads no variable, and its memory is a copy.
    unsafe {
        let mut variable = environ;
        while let Some(text) = variable.as_ref().and_then(|text| NonNull::new(*text)) {
            text.write_bytes(0, CStr::from_ptr(text.as_ptr()).count_bytes());
            variable = variable.add(1);
        }
    }
}

/// Unwinding out of the clone would make a second devshell of it.
struct NoReturn;

impl Drop for NoReturn {
    fn drop(&mut self) {
        exit(70);
    }
}

fn exit(code: i32) -> ! {
    // SAFETY: ends this process without running anything of the program it was cloned from.
    unsafe { libc::_exit(code) }
}

#[derive(Clone, Copy)]
enum Phase {
    Idle,
    Running,
    /// The tool has ended; what it started may do so, too.
    Lingering(Instant),
    /// All have had SIGTERM; devshell says when it is enough.
    Stopping,
    /// All get SIGKILL until none is left.
    Killing(Instant),
}

struct Keeper<'a> {
    socket: BorrowedFd<'a>,
    children: OwnedFd,
    launcher: Launcher,
    reach: Reach,
    phase: Phase,
    id: u32,
    tool: Option<Pid>,
    /// Whether the tool has a controlling terminal.
    on_terminal: bool,
    status: Option<i32>,
    terminated: bool,
    survivors: Record,
}

impl<'a> Keeper<'a> {
    fn new(setup: &Setup, socket: BorrowedFd<'a>) -> Result<Self, (SetupStage, usize, Errno)> {
        let own = |error| (SetupStage::Keeper, 0, error);
        setup::run(setup)?;
        // Not to hold a folder of the caller's, nor one that is covered now.
        rustix::process::chdir(c"/").map_err(own)?;
        if !setup.pid {
            rustix::process::set_child_subreaper(Some(rustix::process::getpid())).map_err(own)?;
        }
        let children = signals::child_events().map_err(own)?;
        let launcher = Launcher::new(!setup.pid).map_err(own)?;
        Ok(Self {
            socket,
            children,
            launcher,
            reach: Reach::detect(setup.pid),
            phase: Phase::Idle,
            id: 0,
            tool: None,
            on_terminal: false,
            status: None,
            terminated: false,
            survivors: Record::new(),
        })
    }

    /// Serves until devshell's end is closed.
    fn serve(&mut self) {
        loop {
            let limit = match self.phase {
                Phase::Idle | Phase::Running | Phase::Stopping => None,
                Phase::Lingering(until) => Some(until.saturating_duration_since(Instant::now())),
                Phase::Killing(until) => Some(until.saturating_duration_since(Instant::now()).min(KILL_AGAIN)),
            };
            let limit = limit.map(timespec);
            let mut watched = [
                PollFd::from_borrowed_fd(self.socket, PollFlags::IN),
                PollFd::from_borrowed_fd(self.children.as_fd(), PollFlags::IN),
            ];
            if poll(&mut watched, limit.as_ref()).is_err() {
                continue;
            }
            let [requested, changed] = watched.map(|fd| !fd.revents().is_empty());
            if changed {
                let mut events = [0_u8; 1024];
                let _ = rustix::io::read(&self.children, &mut events);
            }
            self.step();
            if requested {
                match next_request(self.socket) {
                    Some((request, descriptors)) => self.obey(request, descriptors),
                    None => return,
                }
            }
        }
    }

    /// Reaps what has ended and goes on to the next phase when it is time.
    fn step(&mut self) {
        let none_left = self.reap();
        match self.phase {
            Phase::Idle => {}
            _ if none_left => self.report_end(false),
            Phase::Running if self.status.is_some() => {
                self.phase = if self.terminated {
                    Phase::Stopping
                } else {
                    Phase::Lingering(Instant::now() + LINGER)
                };
            }
            Phase::Lingering(until) if until <= Instant::now() => self.kill(),
            Phase::Killing(until) if until <= Instant::now() => self.report_end(true),
            Phase::Killing(_) => self.reach.kill(self.tool),
            Phase::Running | Phase::Lingering(_) | Phase::Stopping => {}
        }
    }

    /// Reaps; true when no child is left, and so nothing that any tool has started.
    fn reap(&mut self) -> bool {
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => {
                    if Some(pid) == self.tool && self.status.is_none() {
                        self.status = Some(status.as_raw());
                    }
                }
                Ok(None) => return false,
                Err(Errno::INTR) => {}
                Err(_) => return true,
            }
        }
    }

    fn obey(&mut self, request: Request, descriptors: [Option<OwnedFd>; 4]) {
        match request {
            Request::Go => {}
            Request::Spawn { id, length } => self.spawn(id, length, descriptors, false),
            Request::Terminate(id) => {
                if id == self.id && !matches!(self.phase, Phase::Idle | Phase::Killing(_)) {
                    self.terminated = true;
                    self.reach.signal(Signal::TERM, self.tool);
                    if self.on_terminal {
                        // A shell that is typed to ignores the one and heeds the other.
                        self.reach.signal(Signal::HUP, self.tool);
                    }
                    // What is stopped could not act on it.
                    self.reach.signal(Signal::CONT, self.tool);
                    if let Phase::Lingering(_) = self.phase {
                        self.phase = Phase::Stopping;
                    }
                }
            }
            Request::Kill(id) => {
                if id == self.id && !matches!(self.phase, Phase::Idle) {
                    self.kill();
                }
            }
            Request::Signal { id, signal } => {
                if id == self.id
                    && self.status.is_none()
                    && let (Phase::Running, Some(tool)) = (self.phase, self.tool)
                {
                    processes::signal_group_raw(signal, tool);
                }
            }
            Request::SpawnOnTerminal { id, length } => self.spawn(id, length, descriptors, true),
        }
    }

    fn spawn(&mut self, id: u32, length: u64, descriptors: [Option<OwnedFd>; 4], on_terminal: bool) {
        let outcome = if let (Phase::Idle, [Some(command), Some(stdin), Some(stdout), Some(stderr)]) =
            (self.phase, &descriptors)
        {
            let stdio = [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
            self.launcher.launch(command.as_fd(), length, stdio, on_terminal)
        } else {
            Err(Refusal::of_keeper(Errno::BUSY))
        };
        match outcome {
            Ok(pid) => {
                self.phase = Phase::Running;
                self.id = id;
                self.tool = Some(pid);
                self.on_terminal = on_terminal;
                self.status = None;
                self.terminated = false;
                self.survivors.start(0);
            }
            Err(refusal) => {
                let mut record = Record::new();
                record.start(SPAWN_FAILED);
                record.number(id);
                refusal.write(&mut record);
                reply(self.socket, &record);
            }
        }
    }

    fn kill(&mut self) {
        // Only what survived the tool, or the polite stop, is worth a name: with a hard stop
        // there is nobody to blame.
        if !matches!(self.phase, Phase::Killing(_)) {
            self.survivors.start(0);
            if self.terminated || self.status.is_some() {
                self.reach.name_survivors(self.tool, &mut self.survivors);
            }
            self.phase = Phase::Killing(Instant::now() + KILL);
        }
        self.reach.kill(self.tool);
    }

    fn report_end(&mut self, stuck: bool) {
        let mut record = Record::new();
        record.start(ENDED);
        record.number(self.id);
        record.number(u32::from(self.status.is_some()));
        record.number(self.status.unwrap_or(0).cast_unsigned());
        record.number(u32::from(stuck));
        record.raw(self.survivors.bytes().get(4..).unwrap_or(&[]));
        self.phase = Phase::Idle;
        self.tool = None;
        reply(self.socket, &record);
    }

    /// Ends everything. As init it would be enough to go, but the kernel closes a dying init's
    /// descriptors, locks among them, before it ends the namespace.
    fn end_all(&mut self) {
        let limit = Instant::now() + KILL;
        while !self.reap() && Instant::now() < limit {
            self.reach.kill(self.tool);
            let mut watched = [PollFd::from_borrowed_fd(self.children.as_fd(), PollFlags::IN)];
            let _ = poll(&mut watched, Some(&timespec(KILL_AGAIN)));
            let mut events = [0_u8; 1024];
            let _ = rustix::io::read(&self.children, &mut events);
        }
    }
}

fn timespec(duration: Duration) -> Timespec {
    // Rounded up to a millisecond, lest the last moment be waited for in many small ones.
    let millis = i64::try_from(duration.as_micros().div_ceil(1000)).unwrap_or(i64::MAX);
    Timespec {
        tv_sec: millis / 1000,
        tv_nsec: (millis % 1000) * 1_000_000,
    }
}

/// The next request with what came along; none when devshell's end is closed.
fn next_request(socket: BorrowedFd) -> Option<(Request, [Option<OwnedFd>; 4])> {
    let mut bytes = [0_u8; REQUEST];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = loop {
        match recvmsg(
            socket,
            &mut [IoSliceMut::new(&mut bytes)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        ) {
            Err(Errno::INTR) => {}
            result => break result.ok()?,
        }
    };
    let mut descriptors = [None, None, None, None];
    for ancillary in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = ancillary {
            for (slot, descriptor) in descriptors.iter_mut().zip(received) {
                *slot = Some(descriptor);
            }
        }
    }
    let request = Request::decode(bytes.get(..message.bytes)?)?;
    Some((request, descriptors))
}

fn reply(socket: BorrowedFd, record: &Record) {
    reply_with(socket, record, None);
}

/// With the file systems that a later keeper is to have, too.
fn reply_with(socket: BorrowedFd, record: &Record, outside: Option<&Outside>) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(PRIVATE))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let mut descriptors = [socket; PRIVATE];
    let mut count = 0;
    for (slot, again) in descriptors.iter_mut().zip(outside.into_iter().flat_map(Outside::again)) {
        *slot = again;
        count += 1;
    }
    let descriptors = descriptors.get(..count).unwrap_or(&[]);
    if !descriptors.is_empty() {
        // There is room for as many as there can be.
        control.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    // When it cannot be sent, devshell is gone, and the next receive says so.
    let _ = rustix::io::retry_on_intr(|| {
        sendmsg(
            socket,
            &[IoSlice::new(record.bytes())],
            &mut control,
            SendFlags::NOSIGNAL,
        )
    });
}
