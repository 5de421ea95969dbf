//! Disks of a test's own: small ones, that fill up, and such that become read-only.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{has, is_root, not_run};

/// Set in the process that has a mount namespace of its own.
const INSIDE: &str = "DEVSHELL_TEST_MOUNTS";

/// Whether this process has a mount namespace of its own, where a test may mount what it likes
/// and the kernel unmounts it however the test ends. Else the test, by its whole name, is run
/// again in one, and the caller has nothing left to do.
pub fn own_mounts(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    if !is_root() || !has("unshare") {
        not_run(test, "only root can mount a disk of its own");
        return false;
    }
    let again = Command::new("unshare")
        .args(["--mount", "--propagation", "private"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&again.stdout) + String::from_utf8_lossy(&again.stderr);
    if text.contains("unshare: unshare failed") {
        not_run(test, "no mount namespace to be had");
        return false;
    }
    // What it says aloud goes the way of what is said aloud here.
    for line in text.lines().filter(|line| line.starts_with("NOT RUN: ")) {
        super::say(line);
    }
    assert!(again.status.success() && text.contains("1 passed"), "{text}");
    false
}

/// A disk, unmounted at the end.
pub struct Disk(pub PathBuf);

impl Disk {
    /// A tmpfs of this size.
    pub fn tmpfs(at: &Path, size: &str) -> Option<Self> {
        let options = format!("size={size}");
        Self::mount(at, &["-t", "tmpfs", "-o", &options, "tmpfs"])
    }

    /// An ext4 file system in a file beside the mount point.
    pub fn ext4(at: &Path, mebibytes: u64) -> Option<Self> {
        let image = at.with_extension("image");
        std::fs::File::create(&image).ok()?.set_len(mebibytes << 20).ok()?;
        let made = Command::new("mkfs.ext4")
            .args(["-q", "-m", "0", "-I", "256"])
            .arg(&image)
            .output();
        if !made.is_ok_and(|made| made.status.success()) {
            return None;
        }
        Self::mount(at, &["-o", "loop", image.to_str()?])
    }

    fn mount(at: &Path, how: &[&str]) -> Option<Self> {
        if !is_root() {
            return None;
        }
        std::fs::create_dir_all(at).unwrap();
        let mounted = Command::new("mount").args(how).arg(at).output().ok()?.status.success();
        mounted.then(|| Self(at.canonicalize().unwrap()))
    }

    /// Makes it read-only (`ro`) or writable (`rw`) for everybody; not while a file is open for writing.
    pub fn remount(&self, how: &str) -> bool {
        let options = format!("remount,{how}");
        let done = Command::new("mount").args(["-o", &options]).arg(&self.0).output();
        done.is_ok_and(|done| done.status.success())
    }

    /// Fills it up but for this many KiB; the filler is `filler` on it.
    pub fn fill_script(&self, left: u64) -> String {
        format!(
            "dd if=/dev/zero of='{0}/filler' bs=4k 2>/dev/null || true; sync -f '{0}'; dd if=/dev/zero of='{0}/filler' \
             oflag=append conv=notrunc bs=4k 2>/dev/null || true; truncate -s -{left}K '{0}/filler'; sync -f '{0}'",
            self.0.display()
        )
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
