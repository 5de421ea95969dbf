//! The keeper: one process per session that holds its namespaces, starts its tools and ends
//! what they leave behind.

use std::ffi::CString;
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, kill_process, pidfd_open, waitpid};

use crate::sys::explain::{Facts, Refusal, explain};
use crate::sys::keeper::{self as raw, SetupFailure, Step};
use crate::sys::mounts;

use super::outside::{PrivateFolders, ReadOnlyHost};
pub use crate::sys::keeper::SetupStage;

/// How long a keeper without a PID namespace may take to end what is left: a little more than
/// it allows itself.
const PATIENCE: Timespec = Timespec { tv_sec: 6, tv_nsec: 0 };

/// What a keeper is to set up.
#[derive(Debug, Default)]
pub struct KeeperSpec {
    /// Mounts in their order, seen by the tools alone. All sources are opened before the first is made.
    pub mounts: Vec<MountStep>,
    /// Whether a keeper without these mounts is of no use.
    pub needs_mounts: bool,
    /// Which namespaces are wanted.
    pub namespaces: Namespaces,
    /// A network of the tools' own with nothing but the loopback; never done without.
    pub loopback_only: bool,
    /// Set: everything is read-only but what this says, and System V IPC is the tools' own; never done without.
    pub read_only: Option<ReadOnlyHost>,
    /// Descriptors that the keeper holds as long as it lives and hands to no tool: locks that
    /// are to be free only when nothing of the session runs any more.
    pub keep: Vec<OwnedFd>,
}

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountStep {
    /// What is at `from`, with all mounts below it, appears at `onto`, too.
    Bind {
        /// An existing folder or file.
        from: PathBuf,
        /// What it covers.
        onto: PathBuf,
    },
    /// A stack of folders appears at `onto`; what is written goes to `upper`.
    Overlay {
        /// Stands as the source in `/proc/self/mountinfo`.
        name: String,
        /// The uppermost first.
        lowers: Vec<PathBuf>,
        /// On a file system that can hold one; no other overlay may be writing to it.
        upper: PathBuf,
        /// An empty folder on the file system and mount of `upper`, for this mount alone.
        work: PathBuf,
        /// What it covers.
        onto: PathBuf,
    },
}

impl MountStep {
    /// What is mounted, and over what.
    fn ends(&self) -> (&Path, &Path) {
        match self {
            Self::Bind { from, onto } => (from, onto),
            Self::Overlay { upper, onto, .. } => (upper, onto),
        }
    }
}

/// Which namespaces are wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Namespaces {
    /// A mount namespace; mounts need it.
    pub mount: bool,
    /// A PID namespace with a /proc of its own; it brings a mount namespace along.
    pub pid: bool,
}

/// What a keeper has reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Isolation {
    /// It has a mount namespace.
    pub mount: bool,
    /// It is the init of a PID namespace.
    pub pid: bool,
    /// A user namespace was needed for that.
    pub user: bool,
    /// Nothing that a tool starts escapes it, also when devshell is killed.
    pub processes: bool,
}

/// Why there is no keeper.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// The kernel refused a step.
    #[error("cannot {stage}: {explanation}")]
    Setup {
        /// Which step.
        stage: SetupStage,
        /// What stands in the way and what helps.
        explanation: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// What the keeper is to hold could not be handed to it.
    #[error("cannot start the process that keeps the tools")]
    Resources(#[source] io::Error),
    /// A path of a mount cannot be used.
    #[error("cannot mount `{}`", path.display())]
    Path {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl KeeperError {
    /// The whole reason, with what the system said.
    #[must_use]
    pub fn in_full(&self) -> String {
        match self {
            Self::Setup { source, .. } | Self::Path { source, .. } | Self::Resources(source) => {
                format!("{self} ({source})")
            }
        }
    }
}

impl fmt::Display for SetupStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Clone => "make namespaces for the tools",
            Self::Maps => "give the tools a user namespace",
            Self::Private => "give the tools mounts of their own",
            Self::Mount => "mount the private tree",
            Self::Overlay => "mount an overlay over the workspace",
            Self::Proc => "give the tools a /proc of their own",
            Self::Keeper => "start the process that keeps the tools",
            Self::ReadOnly => "make everything outside the workspace read-only",
            Self::Writable => "keep a place outside the workspace writable",
            Self::Temporary => "give the tools a private folder for temporary files",
            Self::Terminals => "give the tools terminals of their own",
            Self::Network => "give the tools a network of their own",
            Self::Rights => "take from the tools what would undo the read-only host",
        })
    }
}

/// A running keeper. Dropped, it ends everything that runs in it and waits for that, bounded.
#[derive(Debug)]
pub struct Keeper {
    pid: Pid,
    /// Tells the end without the risk of waiting for ever; none on kernels before 5.3.
    pidfd: Option<OwnedFd>,
    pub(super) socket: Arc<OwnedFd>,
    isolation: Isolation,
    pub(super) next_id: u32,
    /// Whether a tool is running; shared with its pump.
    pub(super) busy: Arc<AtomicBool>,
    /// Whether it is known that nothing of any tool runs any more; set by the pumps.
    pub(super) quiet: Arc<AtomicBool>,
    private: PrivateFolders,
}

impl Keeper {
    /// Starts a keeper that is exactly what `spec` says.
    ///
    /// # Errors
    /// [`KeeperError`] with the step that failed; nothing is left behind.
    pub fn start(spec: &KeeperSpec) -> Result<Self, KeeperError> {
        Self::start_as(spec, spec.namespaces, &spec.mounts)
    }

    /// Starts the best keeper that can be had: all that `spec` wants, else the mounts without a
    /// PID namespace, else (unless the mounts are needed) no namespace at all. Comes with the
    /// reasons for each step down; the caller decides from [`Self::isolation`] whether that is
    /// enough. What is to be shut off (network, writing) is shut off or there is no keeper.
    ///
    /// # Errors
    /// [`KeeperError`] when not even a process can be made, a path of a mount is unusable, or
    /// mounts that are needed, or what is to be shut off, cannot be had.
    pub fn start_best(spec: &KeeperSpec) -> Result<(Self, Vec<String>), KeeperError> {
        let wanted = spec.namespaces;
        let mounts = wanted.mount || !spec.mounts.is_empty() || spec.read_only.is_some();
        let mut why = Vec::new();
        let mut refused = None;
        for (namespaces, usable) in [
            (Namespaces { mount: true, pid: true }, wanted.pid),
            (
                Namespaces {
                    mount: true,
                    pid: false,
                },
                mounts,
            ),
        ] {
            if !usable {
                continue;
            }
            match Self::start_as(spec, namespaces, &spec.mounts) {
                Ok(keeper) => return Ok((keeper, why)),
                Err(error @ (KeeperError::Path { .. } | KeeperError::Resources(_))) => return Err(error),
                Err(error @ KeeperError::Setup { .. }) => {
                    let reason = error.in_full();
                    if !why.contains(&reason) {
                        why.push(reason);
                    }
                    refused = Some(error);
                }
            }
        }
        if let Some(error) = refused.filter(|_| spec.needs_mounts || spec.read_only.is_some()) {
            return Err(error);
        }
        Ok((Self::start_as(spec, Namespaces::default(), &[])?, why))
    }

    /// What has been reached.
    #[must_use]
    pub fn isolation(&self) -> Isolation {
        self.isolation
    }

    /// The keeper's process id as devshell sees it; `/proc/<pid>/root` is the tools' view.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Lets an empty namespace go without waiting for its end, which takes the kernel as long as
    /// it took to make it: the drop waits. Says whether that was done; false: something may still
    /// run here, and only the drop ends it.
    pub fn let_go(&self) -> bool {
        let is_empty = self.isolation.pid && self.quiet.load(Ordering::SeqCst);
        if is_empty {
            self.hang_up();
            self.kill();
        }
        is_empty
    }

    /// Its tools' folders for temporary files, for a keeper that takes its place.
    pub fn take_private(&mut self) -> PrivateFolders {
        std::mem::take(&mut self.private)
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.hang_up();
        // An init takes all with it; without a namespace the keeper must do it by hand first.
        if self.isolation.pid || !self.ends_in_time() {
            self.kill();
            if !self.ends_in_time() {
                return;
            }
        }
        let _ = rustix::io::retry_on_intr(|| waitpid(Some(self.pid), WaitOptions::empty()));
    }
}

impl Keeper {
    fn start_as(spec: &KeeperSpec, namespaces: Namespaces, mounts: &[MountStep]) -> Result<Self, KeeperError> {
        let steps = mounts.iter().map(prepared).collect::<Result<Vec<_>, _>>()?;
        let outside = spec.read_only.as_ref();
        let outside = outside.map(|host| host.prepared(namespaces.pid)).transpose()?;
        let mut keep: Vec<_> = spec.keep.iter().map(|fd| fd.as_raw_fd()).collect();
        keep.extend(spec.read_only.iter().flat_map(|host| host.earlier.descriptors()));
        let setup = raw::Setup {
            mount: namespaces.mount || namespaces.pid || !steps.is_empty() || outside.is_some(),
            pid: namespaces.pid,
            loopback_only: spec.loopback_only,
            steps,
            outside,
            keep,
        };
        let started = raw::start(&setup).map_err(|failure| refused(failure, mounts, &setup))?;
        Ok(Self {
            pid: started.pid,
            pidfd: pidfd_open(started.pid, PidfdFlags::empty()).ok(),
            socket: Arc::new(started.socket),
            isolation: Isolation {
                mount: setup.mount,
                pid: setup.pid,
                user: started.user,
                processes: setup.pid || started.tracks,
            },
            next_id: 1,
            busy: Arc::default(),
            quiet: Arc::new(AtomicBool::new(true)),
            private: PrivateFolders::of(setup.outside.as_ref(), started.private),
        })
    }

    /// The keeper, and a pump that still listens, see the end.
    fn hang_up(&self) {
        let _ = rustix::net::shutdown(&*self.socket, rustix::net::Shutdown::Both);
    }

    fn kill(&self) {
        let _ = kill_process(self.pid, Signal::KILL);
    }

    fn ends_in_time(&self) -> bool {
        let Some(pidfd) = &self.pidfd else { return true };
        let mut watched = [PollFd::new(pidfd, PollFlags::IN)];
        rustix::io::retry_on_intr(|| poll(&mut watched, Some(&PATIENCE))).is_ok_and(|ready| ready > 0)
    }
}

/// A mount as the keeper can make it, which cannot allocate.
fn prepared(step: &MountStep) -> Result<Step, KeeperError> {
    let source = |path: &PathBuf| resolve(path).map(raw::Source::new);
    Ok(match step {
        MountStep::Bind { from, onto } => Step::Bind {
            from: source(from)?,
            onto: resolve(onto)?,
        },
        MountStep::Overlay {
            name,
            lowers,
            upper,
            work,
            onto,
        } => Step::Overlay(raw::Overlay {
            name: CString::new(name.as_str()).unwrap_or_default(),
            lowers: lowers.iter().map(source).collect::<Result<_, _>>()?,
            upper: source(upper)?,
            work: source(work)?,
            flags: mounts::restrictions(onto).map_err(|source| KeeperError::Path {
                path: onto.clone(),
                source,
            })?,
            onto: resolve(onto)?,
        }),
    })
}

/// Mounts go to the real place, whatever symlinks lead there: both names show the view then.
pub(super) fn resolve(path: &Path) -> Result<CString, KeeperError> {
    let fault = |source| KeeperError::Path {
        path: path.to_owned(),
        source,
    };
    let real = path.canonicalize().map_err(fault)?;
    CString::new(real.as_os_str().as_bytes()).map_err(|error| fault(error.into()))
}

fn refused(failure: SetupFailure, mounts: &[MountStep], setup: &raw::Setup) -> KeeperError {
    let place = setup
        .outside
        .as_ref()
        .and_then(|outside| outside.place(failure.stage, failure.index));
    let mount = match failure.stage {
        SetupStage::Mount | SetupStage::Overlay => mounts.get(failure.index).map(MountStep::ends),
        _ => place.map(|place| (place, place)),
    };
    let errno = failure.source.raw_os_error().unwrap_or(0);
    let refusal = Refusal {
        stage: failure.stage,
        errno,
        user: failure.user,
        mount,
        network: setup.loopback_only,
        ipc: setup.outside.is_some(),
    };
    KeeperError::Setup {
        stage: failure.stage,
        explanation: explain(refusal, &Facts::gather()),
        source: failure.source,
    }
}
