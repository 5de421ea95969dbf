//! Why the kernel refuses a sandbox, in words, with the remedy (the kernel itself says only
//! EPERM, ENOSPC or EINVAL).

mod remedy;

use std::fs;
use std::path::Path;

use super::keeper::SetupStage;

pub(crate) use remedy::{namespaces, remedy};

/// What the system says about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Kinds of namespaces (`user`, `mnt`, `pid`, `net`, `ipc`) of which none may be made.
    forbidden: Vec<&'static str>,
    /// Debian's `kernel.unprivileged_userns_clone` is 0.
    userns_clone_off: bool,
    /// Ubuntu's `kernel.apparmor_restrict_unprivileged_userns` is 1.
    apparmor: bool,
    /// A system call filter is set, as container engines do.
    seccomp: bool,
    /// The root folder is no mount point, as in a chroot.
    chroot: bool,
    /// What is mounted over parts of /proc.
    masked: Vec<String>,
}

impl Facts {
    /// Reads them from /proc; what cannot be read counts as no obstacle.
    pub(crate) fn gather() -> Self {
        let number = |path: &str| {
            fs::read_to_string(path)
                .ok()
                .and_then(|text| text.trim().parse::<u64>().ok())
        };
        let forbidden = ["user", "mnt", "pid", "net", "ipc"]
            .into_iter()
            .filter(|kind| number(&format!("/proc/sys/user/max_{kind}_namespaces")) == Some(0))
            .collect();
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let mounts = super::mounts::mounts().unwrap_or_default();
        let points: Vec<&Path> = mounts.iter().map(|mount| mount.point.as_path()).collect();
        Self {
            forbidden,
            userns_clone_off: number("/proc/sys/kernel/unprivileged_userns_clone") == Some(0),
            apparmor: number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == Some(1),
            seccomp: status.lines().any(|line| line.split_whitespace().eq(["Seccomp:", "2"])),
            chroot: !points.is_empty() && !points.contains(&Path::new("/")),
            masked: points
                .iter()
                .filter(|point| point.starts_with("/proc") && **point != Path::new("/proc"))
                .map(|point| point.display().to_string())
                .collect(),
        }
    }
}

/// What was refused.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Refusal<'a> {
    pub(crate) stage: SetupStage,
    pub(crate) errno: i32,
    /// Whether a user namespace was asked for, too.
    pub(crate) user: bool,
    /// Source and target of the mount that failed.
    pub(crate) mount: Option<(&'a Path, &'a Path)>,
    /// Whether a network and an IPC namespace were asked for.
    pub(crate) network: bool,
    pub(crate) ipc: bool,
}

const APPARMOR: &str = "AppArmor does not let ordinary programs use user namespaces \
    (kernel.apparmor_restrict_unprivileged_userns is 1): set it to 0 with sysctl, or give devshell an AppArmor profile \
    with the rule `userns,`";

/// What stands in the way and what helps.
pub(crate) fn explain(refusal: Refusal, facts: &Facts) -> String {
    let denied = matches!(refusal.errno, libc::EPERM | libc::EACCES);
    match refusal.stage {
        SetupStage::Clone => explain_clone(refusal, facts),
        SetupStage::Maps
        | SetupStage::Private
        | SetupStage::Mount
        | SetupStage::Overlay
        | SetupStage::ReadOnly
        | SetupStage::Writable
        | SetupStage::Temporary
        | SetupStage::Terminals
        | SetupStage::Network
            if denied && refusal.user && facts.apparmor =>
        {
            APPARMOR.to_owned()
        }
        SetupStage::Maps => "the caller's user and group could not be mapped into the user namespace".to_owned(),
        SetupStage::Private | SetupStage::Mount if refusal.errno == libc::EINVAL && facts.chroot => {
            "the root folder is no mount point, as in a chroot: mounts cannot be parted from the host's there"
                .to_owned()
        }
        SetupStage::Private if denied => format!("mounting is not allowed here{}", container(facts)),
        SetupStage::Private => "the mounts could not be parted from the host's".to_owned(),
        SetupStage::Mount => explain_mount(refusal, facts, denied),
        SetupStage::Overlay => explain_overlay(refusal, facts, denied),
        SetupStage::Proc if denied && !facts.masked.is_empty() => format!(
            "/proc is masked here ({}), as in a container, so a process namespace cannot have a /proc of its own",
            facts.masked.join(", ")
        ),
        SetupStage::Proc => format!("a new /proc could not be mounted{}", container(facts)),
        SetupStage::Keeper if refusal.errno == libc::ETIMEDOUT => "the set-up did not end in time".to_owned(),
        SetupStage::Keeper if refusal.errno == libc::EPIPE => "the process was ended from outside".to_owned(),
        SetupStage::Keeper => "a system resource could not be had".to_owned(),
        SetupStage::ReadOnly | SetupStage::Writable if refusal.errno == libc::ENOSYS => {
            "this kernel cannot make all mounts read-only at once; kernels before 5.12 cannot".to_owned()
        }
        SetupStage::ReadOnly if refusal.errno == libc::EINVAL && facts.chroot => {
            "the root folder is no mount point, as in a chroot: what is mounted cannot be made read-only there"
                .to_owned()
        }
        SetupStage::ReadOnly => format!("the mounts could not be made read-only{}", container(facts)),
        SetupStage::Writable => {
            let place = refusal
                .mount
                .map_or_else(String::new, |(place, _)| format!(" `{}`", place.display()));
            format!("the place{place} could not be kept writable{}", container(facts))
        }
        SetupStage::Temporary => {
            let place = refusal
                .mount
                .map_or_else(String::new, |(place, _)| format!(" over `{}`", place.display()));
            format!(
                "a file system in memory could not be mounted{place}{}",
                container(facts)
            )
        }
        SetupStage::Terminals => format!("a file system of terminals could not be mounted{}", container(facts)),
        SetupStage::Network if denied => "the loopback of a new network may not be set up here: the right \
            CAP_NET_ADMIN is missing (for a container: `--cap-add NET_ADMIN`)"
            .to_owned(),
        SetupStage::Network => "the loopback of a new network could not be set up".to_owned(),
        SetupStage::Rights => "the tools' rights could not be taken: the right CAP_SETPCAP is missing (for a \
            container: `--cap-add SETPCAP`)"
            .to_owned(),
    }
}

fn explain_clone(refusal: Refusal, facts: &Facts) -> String {
    match refusal.errno {
        libc::ENOSPC if forbidden(refusal, facts).next().is_some() => {
            let names: Vec<String> = forbidden(refusal, facts)
                .map(|kind| format!("user.max_{kind}_namespaces"))
                .collect();
            format!("{} is 0: raise it with sysctl", names.join(", "))
        }
        libc::ENOSPC => "too many namespaces: a limit (user.max_*_namespaces) of this system or of an enclosing \
            user namespace is reached, or they are nested more than 32 deep"
            .to_owned(),
        libc::EPERM | libc::EACCES if refusal.user && facts.userns_clone_off => {
            "kernel.unprivileged_userns_clone is 0: set it to 1 with sysctl".to_owned()
        }
        libc::EPERM | libc::EACCES if refusal.user && facts.apparmor => APPARMOR.to_owned(),
        libc::EPERM | libc::EACCES if facts.seccomp => {
            "a seccomp filter forbids namespaces, as container engines do by default: run the container with \
            `--security-opt seccomp=unconfined` or a profile that allows clone with namespaces"
                .to_owned()
        }
        libc::EPERM if facts.chroot => "namespaces cannot be made inside a chroot".to_owned(),
        libc::EINVAL if refusal.user => "this kernel has no user namespaces".to_owned(),
        libc::EINVAL if refusal.network => "this kernel lacks mount, process or network namespaces".to_owned(),
        libc::EINVAL => "this kernel lacks mount or process namespaces".to_owned(),
        libc::EAGAIN | libc::ENOMEM => "no more processes can be made (see `ulimit -u` and the memory)".to_owned(),
        _ => "the process could not be made".to_owned(),
    }
}

/// The kinds of namespaces that were asked for and of which none may be made.
fn forbidden<'a>(refusal: Refusal, facts: &'a Facts) -> impl Iterator<Item = &'a &'static str> {
    facts.forbidden.iter().filter(move |kind| match **kind {
        "net" => refusal.network,
        "ipc" => refusal.ipc,
        _ => true,
    })
}

fn explain_mount(refusal: Refusal, facts: &Facts, denied: bool) -> String {
    let what = refusal.mount.map_or_else(
        || "a mount".to_owned(),
        |(from, onto)| format!("`{}` could not be mounted over `{}`", from.display(), onto.display()),
    );
    let why = match refusal.errno {
        libc::ENOENT => ": one of them does not exist".to_owned(),
        libc::ENOTDIR => ": one of them is no folder".to_owned(),
        libc::ELOOP => ": one of them is a symlink now".to_owned(),
        _ if denied => container(facts),
        _ => String::new(),
    };
    what + &why
}

fn explain_overlay(refusal: Refusal, facts: &Facts, denied: bool) -> String {
    let upper = refusal
        .mount
        .map_or_else(String::new, |(upper, _)| format!(" `{}`", upper.display()));
    match refusal.errno {
        libc::ENODEV => "this kernel has no overlay file system (`modprobe overlay` as root loads it)".to_owned(),
        _ if denied && facts.seccomp => format!("mounting is not allowed here{}", container(facts)),
        _ if denied && refusal.user => {
            "this kernel does not let ordinary users mount overlays; kernels before 5.11 do not".to_owned()
        }
        libc::EINVAL => format!("the file system of{upper} or of the workspace does not suit an overlay"),
        libc::ELOOP => format!("the layer{upper} and the workspace lie within each other"),
        libc::EBUSY => format!("the layer{upper} is in use by another mount"),
        libc::ENAMETOOLONG => "there are too many layers".to_owned(),
        _ => "the overlay could not be mounted".to_owned(),
    }
}

fn container(facts: &Facts) -> String {
    if facts.seccomp {
        ", as in a container with a seccomp filter: a larger set of rights (such as `--cap-add SYS_ADMIN`) would help"
            .to_owned()
    } else {
        String::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clone(errno: i32) -> Refusal<'static> {
        Refusal {
            stage: SetupStage::Clone,
            errno,
            user: true,
            mount: None,
            network: false,
            ipc: false,
        }
    }

    #[test]
    fn each_obstacle_is_named_with_its_remedy() {
        let none = Facts::default();
        let forbidden = Facts {
            forbidden: vec!["user"],
            ..Facts::default()
        };
        let debian = Facts {
            userns_clone_off: true,
            seccomp: true,
            ..Facts::default()
        };
        let ubuntu = Facts {
            apparmor: true,
            seccomp: true,
            ..Facts::default()
        };
        let docker = Facts {
            seccomp: true,
            masked: vec!["/proc/kcore".to_owned()],
            ..Facts::default()
        };
        let chroot = Facts {
            chroot: true,
            ..Facts::default()
        };
        let no_network = Facts {
            forbidden: vec!["net"],
            ..Facts::default()
        };
        let stage = |stage, errno| Refusal { stage, ..clone(errno) };
        for (refusal, facts, text) in [
            (clone(libc::ENOSPC), &forbidden, "user.max_user_namespaces is 0"),
            (clone(libc::ENOSPC), &none, "nested"),
            (clone(libc::EPERM), &debian, "unprivileged_userns_clone is 0"),
            (clone(libc::EPERM), &ubuntu, "`userns,`"),
            (clone(libc::EPERM), &docker, "seccomp=unconfined"),
            (clone(libc::EPERM), &chroot, "chroot"),
            (stage(SetupStage::Maps, libc::EACCES), &ubuntu, "AppArmor"),
            (stage(SetupStage::Mount, libc::EACCES), &ubuntu, "AppArmor"),
            (stage(SetupStage::Private, libc::EINVAL), &chroot, "chroot"),
            (stage(SetupStage::Proc, libc::EPERM), &docker, "/proc/kcore"),
            (clone(libc::ENOSPC), &no_network, "too many"),
            (
                Refusal {
                    network: true,
                    ..clone(libc::ENOSPC)
                },
                &no_network,
                "user.max_net_namespaces is 0",
            ),
            (stage(SetupStage::ReadOnly, libc::ENOSYS), &none, "before 5.12"),
            (stage(SetupStage::ReadOnly, libc::EPERM), &docker, "--cap-add SYS_ADMIN"),
            (stage(SetupStage::ReadOnly, libc::EACCES), &ubuntu, "AppArmor"),
            (stage(SetupStage::Network, libc::EPERM), &none, "NET_ADMIN"),
            (stage(SetupStage::Rights, libc::EPERM), &none, "SETPCAP"),
        ] {
            let words = explain(refusal, facts);
            assert!(words.contains(text), "{refusal:?}: {words}");
        }
    }

    #[test]
    fn root_without_a_user_namespace_is_not_told_of_apparmor() {
        let ubuntu = Facts {
            apparmor: true,
            ..Facts::default()
        };
        assert!(
            !explain(
                Refusal {
                    user: false,
                    ..clone(libc::EPERM)
                },
                &ubuntu
            )
            .contains("AppArmor")
        );
    }
}
