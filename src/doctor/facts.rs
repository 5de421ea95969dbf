//! Words and numbers that several groups of checks share.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use crate::quote::command_line;
use crate::sys::fs::{self, existing};
use crate::sys::room::{Room, room};

use super::Case;
use super::report::Check;

const MIB: u64 = 1 << 20;
/// With less than this a build may fill it.
const LOW: (u64, u64) = (1024 * MIB, 10_000);

/// The room where something will be written.
pub(super) fn room_check(check: &str, path: &Path) -> Check {
    let at = existing(path);
    let room = match room(at) {
        Ok(room) => room,
        Err(error) => return Check::warning(check, format!("cannot be told: {error}")),
    };
    let found = words(room);
    if room.is_full() {
        Check::problem(check, format!("{found}: full")).mended_by(command_line(["df", "-hi", &text(at)]))
    } else if room.is_below(LOW) {
        Check::warning(check, found).mended_by(command_line(["df", "-hi", &text(at)]))
    } else {
        Check::ok(check, found)
    }
}

/// What is left, in words.
pub(super) fn words(room: Room) -> String {
    let bytes = room.bytes.map(|bytes| format!("{} free", size(bytes)));
    let inodes = room.inodes.map(|inodes| format!("{inodes} inodes free"));
    let known: Vec<String> = bytes.into_iter().chain(inodes).collect();
    if known.is_empty() {
        "the file system does not say how much is free".to_owned()
    } else {
        known.join(", ")
    }
}

/// A size for reading.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let unit = (bytes.max(1).ilog2() / 10).min(4);
    let name = UNITS.get(unit as usize).unwrap_or(&"TiB");
    let whole = bytes >> (10 * unit);
    // One digit behind the point where the number is small.
    let rest = bytes - (whole << (10 * unit));
    let tenth = (rest * 10) >> (10 * unit);
    if unit > 0 && whole < 10 {
        format!("{whole}.{tenth} {name}")
    } else {
        format!("{whole} {name}")
    }
}

/// Whether two places lie on one file system and mount; those that are not there, by what is.
pub(super) fn share_a_mount(a: &Path, b: &Path) -> io::Result<bool> {
    let mount = |path| fs::mount_of(fs::open_dir(existing(path))?);
    Ok(mount(a)? == mount(b)?)
}

/// A path in a command.
pub(super) fn text(path: &Path) -> String {
    path.display().to_string()
}

/// The caller's variable, if it is set and not empty.
pub(super) fn variable<'a>(case: &'a Case, name: &str) -> Option<&'a OsStr> {
    let found = case.env.iter().find(|(known, _)| known == name);
    found
        .map(|(_, value)| value.as_os_str())
        .filter(|value| !value.is_empty())
}

/// Where a program is that devshell itself needs: by the caller's `PATH`.
pub(super) fn program(case: &Case, name: impl AsRef<OsStr>) -> Option<PathBuf> {
    which::which_in(name, variable(case, "PATH"), &case.cwd).ok()
}

/// The command that installs a package with the package manager that is there: the first of these
/// (manager, package) whose manager is found.
pub(super) fn install(case: &Case, packages: &[(&str, &str)]) -> Option<String> {
    let (manager, package) = packages.iter().find(|(manager, _)| program(case, manager).is_some())?;
    Some(match *manager {
        "pacman" => format!("sudo pacman -S {package}"),
        "apk" => format!("sudo apk add {package}"),
        "brew" => format!("brew install {package}"),
        manager => format!("sudo {manager} install {package}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_told_in_the_unit_that_suits_them() {
        for (bytes, words) in [
            (0, "0 bytes"),
            (1023, "1023 bytes"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (20 * MIB, "20 MiB"),
            (u64::MAX, "16777215 TiB"),
        ] {
            assert_eq!(size(bytes), words);
        }
    }
}
