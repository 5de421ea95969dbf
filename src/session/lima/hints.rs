//! What helps, from what limactl or a tool in the guest has said.

use std::path::Path;

/// The words by which a cause is known, and what helps.
struct Hint {
    any_of: &'static [&'static str],
    helps: &'static str,
}

const LIMACTL: &[Hint] = &[
    Hint {
        any_of: &["must not run as the root"],
        helps: "Run devshell as an ordinary user: limactl refuses root",
    },
    Hint {
        any_of: &[
            "/dev/kvm",
            "KVM kernel module: Permission denied",
            "failed to initialize kvm",
        ],
        helps: "This user may not use /dev/kvm: `sudo usermod -aG kvm \"$USER\"` and log in anew",
    },
    Hint {
        any_of: &["virtiofsd"],
        helps: "Lima's mountType `virtiofs` needs the Rust virtiofsd, known to QEMU by a file in \
                /usr/share/qemu/vhost-user; mountType `9p` needs nothing",
    },
    Hint {
        any_of: &["executable file not found", "qemu-system"],
        helps: "Install the virtual machine's program (Debian: `sudo apt-get install qemu-system`)",
    },
    Hint {
        any_of: &["template", "no such file or directory"],
        helps: "vm.lima.template names a template that limactl does not have: `limactl create --list-templates` \
                shows those that it has, and a file or URL does, too",
    },
    Hint {
        any_of: &["No space left", "no space left"],
        helps: "The disk that holds the instances (LIMA_HOME, else ~/.lima) is full",
    },
    Hint {
        any_of: &[
            "Waiting for the essential requirement",
            "user session is ready for ssh",
            "`ssh`",
        ],
        helps: "The guest's sshd does not answer: its serial log says how far it has come; a slow machine needs a \
                longer vm.ready_timeout",
    },
];

/// What helps where limactl has said this.
pub(super) fn of_limactl(said: &str, limactl: &Path) -> Option<String> {
    let hint = LIMACTL
        .iter()
        .find(|hint| hint.any_of.iter().any(|words| said.contains(words)))?;
    let limactl = limactl.display();
    Some(hint.helps.replace("`limactl create", &format!("`{limactl} create")))
}

/// A compiler, linker or the like that is missing.
const NO_CC: &[&str] = &[
    "linker `cc` not found",
    "cc: not found",
    "cc: command not found",
    "cc: No such file",
];

/// Whether a tool may have failed because there is no C compiler.
pub(super) fn misses_cc(stderr: &str) -> bool {
    NO_CC.iter().any(|words| stderr.contains(words))
}

/// Why a tool may have failed in this guest that would not fail on the host.
pub(super) fn of_tool(stderr: &[u8], instance: &str) -> Option<String> {
    let said = String::from_utf8_lossy(stderr);
    if misses_cc(&said) {
        return Some(format!(
            "the guest has no C compiler: `limactl shell {instance} sudo apt-get install -y build-essential`, or \
             vm.lima.auto_build_essential = true"
        ));
    }
    if said.contains("cargo: not found") || said.contains("cargo: command not found") {
        return Some(no_program("cargo", instance));
    }
    if said.contains("No space left on device") {
        return Some(format!(
            "a disk is full, the guest's or the one that holds vm.workspace_parent: `limactl shell {instance} df -h`"
        ));
    }
    None
}

/// That the guest lacks a program, with what brings it.
pub(super) fn no_program(program: &str, instance: &str) -> String {
    match program {
        "cargo" | "rustc" | "rustup" => format!(
            "the guest has no {program}: install Rust in it (`limactl shell {instance}`, then \
             https://rustup.rs), or use a template that has it; PATH there is what a login shell sets"
        ),
        _ => format!("the guest has its own programs: install `{program}` in it (`limactl shell {instance}`)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_what_helps() {
        let helps = |said: &str| of_limactl(said, "limactl".as_ref()).unwrap_or_default();
        assert!(helps("must not run as the root user").contains("ordinary user"));
        assert!(helps("Could not access KVM kernel module: Permission denied").contains("usermod"));
        assert!(helps("exec: \"qemu-system-x86_64\": executable file not found in $PATH").contains("Install"));
        assert!(helps("failed to locate virtiofsd").contains("9p"));
        assert!(helps("template \"nix\" not found").contains("--list-templates"));
        assert!(helps("write x: no space left on device").contains("full"));
        assert_eq!(of_limactl("something else", "limactl".as_ref()), None);
    }

    #[test]
    fn a_tool_that_misses_a_compiler_is_told_of_it() {
        assert!(of_tool(b"error: linker `cc` not found", "t").is_some_and(|told| told.contains("build-essential")));
        assert!(of_tool(b"sh: 1: cargo: not found", "t").is_some_and(|told| told.contains("rustup")));
        assert!(of_tool(b"write: No space left on device", "t").is_some_and(|told| told.contains("df -h")));
        assert_eq!(of_tool(b"error: test failed", "t"), None);
    }
}
