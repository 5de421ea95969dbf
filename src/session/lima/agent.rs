//! The program that serves in a guest, as it lies on this host.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::plan::AgentPlan;

/// What the program is called.
const NAME: &str = "devshell-vm";
/// The beginning of an ELF file, as far as it says for what machine it is.
const HEADER: usize = 20;

/// A program that can serve in a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentProgram {
    /// Where it lies.
    pub path: PathBuf,
    /// What tells it from any other.
    pub digest: String,
    /// Its length in bytes.
    pub size: u64,
    /// The machine that it is for, as limactl calls it.
    pub arch: &'static str,
}

/// What a plan means here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentChoice {
    /// None is wanted.
    Off,
    /// This one, where it turns out to work.
    Auto(AgentProgram),
    /// This one and no other way.
    Named(AgentProgram),
    /// None is to be had here, and none was asked for by name.
    Missing(String),
}

impl AgentChoice {
    /// Looks for the program.
    ///
    /// # Errors
    /// Why a program that is named will not do, in words.
    pub fn of_plan(plan: &AgentPlan) -> Result<Self, String> {
        match plan {
            AgentPlan::Off => Ok(Self::Off),
            AgentPlan::Auto => Ok(match beside() {
                Ok(path) => AgentProgram::read(&path).map_or_else(Self::Missing, Self::Auto),
                Err(error) => Self::Missing(format!("where devshell itself lies is not known: {error}")),
            }),
            AgentPlan::Named(path) => AgentProgram::read(path).map(Self::Named),
        }
    }

    /// Why there is none, in words.
    #[must_use]
    pub fn why_none(&self) -> &str {
        match self {
            Self::Missing(why) => why,
            Self::Off | Self::Auto(_) | Self::Named(_) => "vm.lima.agent is `off`",
        }
    }

    /// The program, where there is one.
    #[must_use]
    pub fn program(&self) -> Option<&AgentProgram> {
        match self {
            Self::Auto(program) | Self::Named(program) => Some(program),
            Self::Off | Self::Missing(_) => None,
        }
    }
}

/// Where it lies by default.
fn beside() -> io::Result<PathBuf> {
    Ok(std::env::current_exe()?.with_file_name(NAME))
}

impl AgentProgram {
    /// Reads one.
    ///
    /// # Errors
    /// Why it will not do, in words.
    pub fn read(path: &Path) -> Result<Self, String> {
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => format!("there is no `{}`", path.display()),
            _ => format!("`{}` cannot be read: {error}", path.display()),
        };
        let mut file = File::open(path).map_err(failed)?;
        let mut header = Vec::with_capacity(HEADER);
        (&mut file)
            .take(HEADER as u64)
            .read_to_end(&mut header)
            .map_err(failed)?;
        let arch = linux_arch(&header).ok_or_else(|| {
            format!(
                "`{}` is no program for Linux on a machine that Lima has guests of",
                path.display()
            )
        })?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(&header);
        hasher.update_reader(&mut file).map_err(failed)?;
        let size = hasher.count();
        let digest = hasher.finalize().to_hex().chars().take(32).collect();
        Ok(Self {
            path: path.to_owned(),
            digest,
            size,
            arch,
        })
    }
}

/// The machine of an ELF program for Linux, as limactl calls it; none for anything else.
fn linux_arch(header: &[u8]) -> Option<&'static str> {
    let &[0x7f, b'E', b'L', b'F', _, order, _, system, ..] = header else {
        return None;
    };
    // System V and Linux.
    if !matches!(system, 0 | 3) {
        return None;
    }
    let machine: [u8; 2] = header.get(18..20)?.try_into().ok()?;
    let machine = if order == 2 {
        u16::from_be_bytes(machine)
    } else {
        u16::from_le_bytes(machine)
    };
    match machine {
        62 => Some("x86_64"),
        183 => Some("aarch64"),
        243 => Some("riscv64"),
        40 => Some("armv7l"),
        22 => Some("s390x"),
        21 => Some("ppc64le"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(order: u8, system: u8, machine: [u8; 2]) -> Vec<u8> {
        let mut bytes = vec![0x7f, b'E', b'L', b'F', 2, order, 1, system];
        bytes.resize(18, 0);
        bytes.extend(machine);
        bytes
    }

    #[test]
    fn the_machine_is_read_from_the_program_itself() {
        assert_eq!(linux_arch(&header(1, 0, [62, 0])), Some("x86_64"));
        assert_eq!(linux_arch(&header(1, 3, [183, 0])), Some("aarch64"));
        assert_eq!(linux_arch(&header(2, 0, [0, 22])), Some("s390x"));
        // FreeBSD, an unknown machine, Mach-O, something short.
        assert_eq!(linux_arch(&header(1, 9, [62, 0])), None);
        assert_eq!(linux_arch(&header(1, 0, [8, 0])), None);
        assert_eq!(linux_arch(&[0xcf, 0xfa, 0xed, 0xfe, 7, 0, 0, 1, 3, 0]), None);
        assert_eq!(linux_arch(b"\x7fELF"), None);
    }

    #[test]
    fn a_program_is_known_by_its_contents_and_others_are_refused_in_words() {
        let place = tempfile::tempdir().unwrap();
        let file = |name: &str, more: &[u8]| {
            let path = place.path().join(name);
            std::fs::write(&path, [header(1, 0, [62, 0]).as_slice(), more].concat()).unwrap();
            AgentProgram::read(&path).unwrap()
        };
        let (one, other, same) = (file("a", b"1"), file("b", b"2"), file("c", b"1"));
        assert_eq!((one.size, one.arch, one.digest.len()), (21, "x86_64", 32));
        assert!(one.digest != other.digest && one.digest == same.digest);
        let script = place.path().join("script");
        std::fs::write(&script, "#!/bin/sh\n").unwrap();
        assert!(
            AgentProgram::read(&script)
                .unwrap_err()
                .contains("no program for Linux")
        );
        let none = AgentProgram::read(&place.path().join("none"));
        assert!(none.unwrap_err().contains("there is no"));
    }

    #[test]
    fn only_a_named_program_has_to_be_there() {
        assert_eq!(AgentChoice::of_plan(&AgentPlan::Off), Ok(AgentChoice::Off));
        assert!(AgentChoice::of_plan(&AgentPlan::Named("/no/such".into())).is_err());
        // Beside the tests' own program there is none.
        assert!(matches!(
            AgentChoice::of_plan(&AgentPlan::Auto),
            Ok(AgentChoice::Missing(why)) if why.contains("devshell-vm")
        ));
    }
}
