//! One run at a time per workspace: a lock on the workspace folder itself.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::sys::fs;

use super::CancelFn;

/// How often a waiting caller is asked whether it still wishes to wait.
const LOOK: Duration = Duration::from_millis(100);
/// Clock ticks per second in `/proc/PID/stat`; 100 on every Linux that Rust runs on.
const TICKS: f64 = 100.0;

/// Holds the workspace for one run; dropped, it is free again. The lock is on the folder, not on
/// a file in it, and holds across users.
#[derive(Debug)]
pub struct WorkspaceLock {
    folder: OwnedFd,
}

impl AsFd for WorkspaceLock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
    }
}

/// Who holds a workspace, as far as it can be seen.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Holder {
    /// The process that took the lock.
    pub pid: Option<u32>,
    /// For how long that process has been running.
    pub running: Option<Duration>,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.pid, self.running) {
            (None, _) => f.write_str("another run"),
            (Some(pid), None) => write!(f, "process {pid}"),
            (Some(pid), Some(running)) => write!(f, "process {pid}, running for {} s", running.as_secs()),
        }
    }
}

/// Why a workspace could not be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another run held it for all the time that the caller would wait.
    #[error("the workspace `{}` is in use by {holder}", root.display())]
    Busy {
        /// The workspace.
        root: PathBuf,
        /// By whom.
        holder: Holder,
    },
    /// The caller wished to stop.
    #[error("interrupted while waiting for the workspace")]
    Cancelled,
    /// The folder could not be locked.
    #[error("cannot lock the workspace `{}`", root.display())]
    Io {
        /// The workspace.
        root: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl WorkspaceLock {
    /// Takes the workspace if nobody has it.
    ///
    /// # Errors
    /// [`LockError::Io`].
    pub fn try_acquire(root: &Path) -> Result<Option<Self>, LockError> {
        let folder = fs::open_dir(root);
        let locked = folder.and_then(|folder| Ok(fs::try_lock(&folder)?.then_some(Self { folder })));
        locked.map_err(|source| LockError::Io {
            root: root.to_owned(),
            source,
        })
    }

    /// What became of the folder that is held, if it is not the one at `root` any more; in words.
    #[must_use]
    pub fn moved(&self, root: &Path) -> Option<String> {
        let held = fs::stat_fd(&self.folder).ok()?.id();
        if fs::open_dir(root)
            .and_then(fs::stat_fd)
            .is_ok_and(|there| there.id() == held)
        {
            return None;
        }
        let now = std::fs::read_link(format!("/proc/self/fd/{}", self.folder.as_raw_fd())).ok()?;
        if now == root {
            return None;
        }
        // So the kernel marks it.
        let removed = now.as_os_str().as_encoded_bytes().ends_with(b" (deleted)");
        Some(if removed {
            "the workspace's folder was removed while the run held it".to_owned()
        } else {
            format!(
                "the workspace's folder was moved to `{}` while the run held it: move it back",
                now.display()
            )
        })
    }

    /// Takes the workspace. When another run has it, `on_wait` is told by whom, once, and the
    /// call waits for at most `timeout`; `None` and zero are no limit.
    ///
    /// # Errors
    /// [`LockError`].
    pub fn acquire(
        root: &Path,
        timeout: Option<Duration>,
        cancel: CancelFn,
        on_wait: &mut dyn FnMut(&Holder),
    ) -> Result<Self, LockError> {
        let io = |source| LockError::Io {
            root: root.to_owned(),
            source,
        };
        let folder = fs::open_dir(root).map_err(io)?;
        if fs::try_lock(&folder).map_err(io)? {
            return Ok(Self { folder });
        }
        on_wait(&holder_of(&folder));
        let limit = timeout.filter(|limit| !limit.is_zero());
        let until = limit.map(|limit| Instant::now() + limit);

        // The kernel wakes the thread; when nobody waits for it any more, the lock that it may
        // still get goes with the descriptor at once.
        let (sender, receiver) = mpsc::sync_channel(1);
        let waiting = folder.try_clone().map_err(io)?;
        std::thread::Builder::new()
            .name("workspace-lock".to_owned())
            .spawn(move || {
                let locked = fs::lock(&waiting);
                let _ = sender.send(locked.map(|()| waiting));
            })
            .map_err(io)?;
        drop(folder);
        loop {
            let wait = until.map_or(LOOK, |until| until.saturating_duration_since(Instant::now()).min(LOOK));
            match receiver.recv_timeout(wait) {
                Ok(Ok(folder)) => return Ok(Self { folder }),
                Ok(Err(error)) => return Err(io(error)),
                Err(RecvTimeoutError::Disconnected) => return Err(io(io::Error::other("the waiting thread ended"))),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if cancel() {
                return Err(LockError::Cancelled);
            }
            if until.is_some_and(|until| Instant::now() >= until) {
                let holder = fs::open_dir(root).map_or_else(|_| Holder::default(), |folder| holder_of(&folder));
                return Err(LockError::Busy {
                    root: root.to_owned(),
                    holder,
                });
            }
        }
    }
}

/// Who has the workspace now; `None`: nobody. Nobody waits for that.
///
/// # Errors
/// [`LockError::Io`].
pub fn holder(root: &Path) -> Result<Option<Holder>, LockError> {
    let looked = fs::open_dir(root).and_then(|folder| Ok((!fs::try_lock(&folder)?).then(|| holder_of(&folder))));
    looked.map_err(|source| LockError::Io {
        root: root.to_owned(),
        source,
    })
}

/// Looks the lock's holder up in `/proc`; where that is not to be seen, nothing is known.
fn holder_of(folder: &OwnedFd) -> Holder {
    let Ok(stat) = fs::stat_fd(folder) else {
        return Holder::default();
    };
    let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
    let Some(pid) = find_holder(&locks, fs::device_numbers(stat.dev), stat.stamp.ino) else {
        return Holder::default();
    };
    Holder {
        pid: Some(pid),
        running: running_for(pid),
    }
}

/// Finds the pid in lines such as `3: FLOCK  ADVISORY  WRITE 1234 fe:00:131 0 EOF`.
fn find_holder(locks: &str, device: (u32, u32), ino: u64) -> Option<u32> {
    let mut by_inode = None;
    for line in locks.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        // Lines of those who wait have an arrow in the second place.
        let [_, "FLOCK", _, _, pid, place, ..] = fields[..] else {
            continue;
        };
        let mut parts = place.split(':');
        let (Some(major), Some(minor), Some(inode)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        if inode.parse() != Ok(ino) {
            continue;
        }
        // A process of another PID namespace shows as 0 or -1.
        let pid = pid.parse().ok().filter(|pid| *pid > 0);
        let hex = |text| u32::from_str_radix(text, 16).ok();
        if (hex(major), hex(minor)) == (Some(device.0), Some(device.1)) {
            return pid;
        }
        // btrfs and overlay show other device numbers here than in stat.
        by_inode = by_inode.or(pid);
    }
    by_inode
}

fn running_for(pid: u32) -> Option<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let uptime = std::fs::read_to_string("/proc/uptime").ok()?;
    let uptime: f64 = uptime.split_whitespace().next()?.parse().ok()?;
    // The name in the second field may hold blanks and parentheses; the start is field 22.
    let started: f64 = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()?;
    Duration::try_from_secs_f64((uptime - started / TICKS).max(0.0)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    fn take(root: &Path) -> WorkspaceLock {
        WorkspaceLock::acquire(root, None, &|| false, &mut |_| panic!("it is free")).unwrap()
    }

    #[test]
    fn the_second_taker_waits_is_told_for_whom_and_gets_it() {
        let temp = tempfile::tempdir().unwrap();
        let first = take(temp.path());
        let told = std::sync::Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            let second = scope.spawn(|| {
                WorkspaceLock::acquire(temp.path(), None, &|| false, &mut |holder| {
                    told.lock().unwrap().push(*holder);
                })
            });
            while told.lock().unwrap().is_empty() {
                std::thread::yield_now();
            }
            drop(first);
            assert!(second.join().unwrap().is_ok());
        });
        let told = told.into_inner().unwrap();
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].pid, Some(std::process::id()));
        assert!(
            told[0]
                .running
                .is_some_and(|running| running < Duration::from_secs(24 * 3600))
        );
        take(temp.path());
    }

    #[test]
    fn the_holder_is_told_to_who_does_not_wait() {
        let temp = tempfile::tempdir().unwrap();
        assert_eq!(holder(temp.path()).unwrap(), None);
        let first = take(temp.path());
        let held = holder(temp.path()).unwrap().unwrap();
        assert_eq!(held.pid, Some(std::process::id()));
        drop(first);
        take(temp.path());
    }

    #[test]
    fn a_limit_ends_the_wait_and_leaves_the_lock_usable() {
        let temp = tempfile::tempdir().unwrap();
        let first = take(temp.path());
        let limit = Some(Duration::from_millis(20));
        let busy = WorkspaceLock::acquire(temp.path(), limit, &|| false, &mut |_| {});
        assert!(matches!(busy, Err(LockError::Busy { .. })));
        drop(first);
        // The abandoned waiter may hold it for a moment.
        WorkspaceLock::acquire(temp.path(), None, &|| false, &mut |_| {}).unwrap();
    }

    #[test]
    fn a_wish_to_stop_ends_the_wait() {
        let temp = tempfile::tempdir().unwrap();
        let _first = take(temp.path());
        let stop = AtomicBool::new(false);
        let result = WorkspaceLock::acquire(temp.path(), None, &|| stop.load(Ordering::Relaxed), &mut |_| {
            stop.store(true, Ordering::Relaxed);
        });
        assert!(matches!(result, Err(LockError::Cancelled)));
    }

    #[test]
    fn the_holder_is_found_by_device_and_inode() {
        let locks = "1: POSIX  ADVISORY  WRITE 7 fe:00:131 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 8 fe:01:131 0 EOF\n\
                     2: -> FLOCK  ADVISORY  WRITE 10 fe:00:131 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 9 fe:00:131 0 EOF\n\
                     4: FLOCK  ADVISORY  WRITE -1 fe:00:132 0 EOF\n";
        assert_eq!(find_holder(locks, (0xfe, 0), 131), Some(9));
        assert_eq!(find_holder(locks, (0, 0x2b), 131), Some(8));
        assert_eq!(find_holder(locks, (0xfe, 0), 132), None);
        assert_eq!(find_holder("", (0xfe, 0), 131), None);
    }
}
