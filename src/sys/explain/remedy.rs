//! The command that mends what the kernel refuses, where there is one.

use super::super::keeper::SetupStage;
use super::{Facts, Refusal, forbidden};

/// As many namespaces as kernels allow by themselves on a machine of some gigabytes.
const NAMESPACES: u32 = 15_000;

/// The command, or how the container is to be started.
pub(crate) fn remedy(refusal: Refusal, facts: &Facts) -> Option<String> {
    let denied = matches!(refusal.errno, libc::EPERM | libc::EACCES);
    match refusal.stage {
        SetupStage::Clone => remedy_of_clone(refusal, facts),
        _ if denied && refusal.user && facts.apparmor => Some(apparmor()),
        SetupStage::Overlay if refusal.errno == libc::ENODEV => Some("sudo modprobe overlay".to_owned()),
        SetupStage::Proc if denied && !facts.masked.is_empty() => {
            Some("docker run --security-opt systempaths=unconfined ...".to_owned())
        }
        SetupStage::Private
        | SetupStage::Mount
        | SetupStage::Overlay
        | SetupStage::Proc
        | SetupStage::ReadOnly
        | SetupStage::Writable
        | SetupStage::Temporary
        | SetupStage::Terminals
            if denied && facts.seccomp =>
        {
            Some("docker run --cap-add SYS_ADMIN --security-opt apparmor=unconfined ...".to_owned())
        }
        SetupStage::Network if denied => Some("docker run --cap-add NET_ADMIN ...".to_owned()),
        _ => None,
    }
}

fn remedy_of_clone(refusal: Refusal, facts: &Facts) -> Option<String> {
    let denied = matches!(refusal.errno, libc::EPERM | libc::EACCES);
    if refusal.errno == libc::ENOSPC && forbidden(refusal, facts).next().is_some() {
        let settings = forbidden(refusal, facts).map(|kind| namespaces(kind));
        return Some(format!("sudo sysctl -w {}", settings.collect::<Vec<_>>().join(" ")));
    }
    if !denied {
        return None;
    }
    if refusal.user && facts.userns_clone_off {
        Some("sudo sysctl -w kernel.unprivileged_userns_clone=1".to_owned())
    } else if refusal.user && facts.apparmor {
        Some(apparmor())
    } else if facts.seccomp {
        Some("docker run --security-opt seccomp=unconfined ...".to_owned())
    } else {
        None
    }
}

/// The setting that allows namespaces of a kind.
pub(crate) fn namespaces(kind: &str) -> String {
    format!("user.max_{kind}_namespaces={NAMESPACES}")
}

fn apparmor() -> String {
    "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(stage: SetupStage, errno: i32, facts: &Facts) -> Option<String> {
        let refusal = Refusal {
            stage,
            errno,
            user: true,
            mount: None,
            network: false,
            ipc: false,
        };
        remedy(refusal, facts)
    }

    #[test]
    fn each_obstacle_that_a_command_moves_has_its_command() {
        let none = Facts::default();
        let forbidden = Facts {
            forbidden: vec!["user", "mnt"],
            ..Facts::default()
        };
        let debian = Facts {
            userns_clone_off: true,
            seccomp: true,
            ..Facts::default()
        };
        let ubuntu = Facts {
            apparmor: true,
            ..Facts::default()
        };
        let docker = Facts {
            seccomp: true,
            masked: vec!["/proc/kcore".to_owned()],
            ..Facts::default()
        };
        for (stage, errno, facts, part) in [
            (
                SetupStage::Clone,
                libc::ENOSPC,
                &forbidden,
                "user.max_user_namespaces=15000 user.max_mnt_namespaces=15000",
            ),
            (
                SetupStage::Clone,
                libc::EPERM,
                &debian,
                "kernel.unprivileged_userns_clone=1",
            ),
            (
                SetupStage::Maps,
                libc::EACCES,
                &ubuntu,
                "kernel.apparmor_restrict_unprivileged_userns=0",
            ),
            (SetupStage::Clone, libc::EPERM, &docker, "seccomp=unconfined"),
            (SetupStage::Proc, libc::EPERM, &docker, "systempaths=unconfined"),
            (SetupStage::Private, libc::EPERM, &docker, "--cap-add SYS_ADMIN"),
            (SetupStage::Overlay, libc::ENODEV, &none, "modprobe overlay"),
            (SetupStage::ReadOnly, libc::EPERM, &docker, "--cap-add SYS_ADMIN"),
            (SetupStage::Network, libc::EPERM, &none, "--cap-add NET_ADMIN"),
        ] {
            let command = of(stage, errno, facts).unwrap_or_default();
            assert!(command.contains(part), "{stage:?} {errno}: {command}");
        }
        assert_eq!(of(SetupStage::Clone, libc::EPERM, &none), None);
        assert_eq!(of(SetupStage::Keeper, libc::ETIMEDOUT, &docker), None);
    }
}
