//! The host backend: what the kernel allows, and whether a view of this workspace can be had.

use rustix::io::Errno;

use crate::plan::{Backend, HostAccess, Strategy};
use crate::process::{Isolation, Keeper, KeeperError, KeeperSpec, Namespaces};
use crate::session;
use crate::sys::explain::{Facts, Refusal, namespaces, remedy};
use crate::sys::keeper::may_mount;
use crate::sys::probe::{Question, Refused, ask, landlock, openat2};

use super::Case;
use super::report::Check;
use super::view::{self, Kernel};

pub(super) fn checks(case: &Case) -> Vec<Check> {
    let host = case.host();
    let processes = tried(true);
    let mounts = if processes.is_ok() {
        processes.clone()
    } else {
        tried(false)
    };
    let kernel = Kernel {
        remedy: [&mounts, &processes]
            .into_iter()
            .find_map(|tried| tried.as_ref().err()?.remedy.clone()),
    };
    let wants_view = host.strategy != Strategy::InPlace;
    let mut checks = vec![
        self::kernel(),
        user_namespaces(&mounts),
        mount_namespace(&mounts),
        process_namespace(&processes, &mounts),
        network(host.network),
        read_only(host.host == HostAccess::ReadOnly),
        openat2_check(),
        landlock_check(),
    ];
    if let Backend::Host(_) = &case.plan.backend
        && let Err(error) = session::open(&case.plan)
    {
        checks.push(
            Check::problem("config", error.to_string())
                .mended_by("devshell run --set sandbox.network=true --set sandbox.host=rw"),
        );
    }
    if wants_view {
        checks.extend(view::checks(case, &host, &kernel));
    } else {
        checks.push(Check::ok(
            "view",
            "none: vm.host.strategy is `in_place`, the tools work on the real tree",
        ));
    }
    checks
}

/// Why a keeper was refused, in words and with the command that helps.
#[derive(Debug, Clone)]
struct No {
    why: String,
    remedy: Option<String>,
}

/// Starts a keeper with mounts of its own, and drops it.
fn tried(pid: bool) -> Result<Isolation, No> {
    let spec = KeeperSpec {
        namespaces: Namespaces { mount: true, pid },
        ..KeeperSpec::default()
    };
    match Keeper::start(&spec) {
        Ok(keeper) => Ok(keeper.isolation()),
        Err(error) => Err(No {
            why: error.in_full(),
            remedy: command_for(&error),
        }),
    }
}

fn command_for(error: &KeeperError) -> Option<String> {
    let KeeperError::Setup { stage, source, .. } = error else {
        return None;
    };
    let refusal = Refusal {
        stage: *stage,
        errno: source.raw_os_error().unwrap_or(0),
        user: !may_mount(),
        mount: None,
        network: false,
        ipc: false,
    };
    remedy(refusal, &Facts::gather())
}

fn kernel() -> Check {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim();
    match version(release) {
        Some(version) if version < (5, 11) && !may_mount() => Check::warning(
            "kernel",
            format!("Linux {release}: before 5.11 ordinary users cannot mount overlays"),
        ),
        Some(_) => Check::ok("kernel", format!("Linux {release}")),
        None => Check::info("kernel", "its version cannot be read from /proc/sys/kernel/osrelease"),
    }
}

/// The first two numbers of `6.18.5-arch1`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|char: char| !char.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn user_namespaces(mounts: &Result<Isolation, No>) -> Check {
    let name = "user_namespaces";
    match mounts {
        Ok(Isolation { user: false, .. }) => Check::ok(name, "not needed: the caller may mount"),
        Ok(_) => Check::ok(name, "can be made by this user"),
        Err(_) if may_mount() => Check::info(name, "not needed: the caller may mount"),
        Err(no) => Check::warning(name, &no.why).maybe_mended_by(no.remedy.clone()),
    }
}

fn mount_namespace(mounts: &Result<Isolation, No>) -> Check {
    match mounts {
        Ok(_) => Check::ok("mount_namespace", "tools can have mounts of their own"),
        // It would be the same sentence once more.
        Err(_) if !may_mount() => Check::warning("mount_namespace", "none without a user namespace"),
        Err(no) => Check::warning("mount_namespace", &no.why).maybe_mended_by(no.remedy.clone()),
    }
}

fn process_namespace(processes: &Result<Isolation, No>, mounts: &Result<Isolation, No>) -> Check {
    let name = "process_namespace";
    let instead = "a supervising process ends what tools leave running";
    match (processes, mounts) {
        (Ok(_), _) => Check::ok(name, "what tools leave running is ended by the kernel"),
        (Err(no), Err(same)) if no.why == same.why => {
            Check::warning(name, format!("none without a mount namespace: {instead}"))
        }
        (Err(no), _) => Check::warning(name, format!("{}; {instead}", no.why)).maybe_mended_by(no.remedy.clone()),
    }
}

fn network(with_network: bool) -> Check {
    let name = "network_namespace";
    match ask(Question::Network) {
        Ok(()) => Check::ok(name, "tools can be kept from the network"),
        Err(refused) => wanted(
            name,
            !with_network,
            format!("sandbox.network = false cannot be had: {}", words(refused)),
            remedy_of(refused, "net"),
        ),
    }
}

fn read_only(asked: bool) -> Check {
    let name = "read_only_mounts";
    match ask(Question::ReadOnlyMounts) {
        Ok(()) => Check::ok(name, "tools can be kept from writing outside the workspace"),
        Err(refused) => wanted(
            name,
            asked,
            format!("sandbox.host = \"ro\" cannot be had: {}", words(refused)),
            remedy_of(refused, "mnt"),
        ),
    }
}

/// What only some configs need is a problem for those alone.
fn wanted(name: &str, asked: bool, found: String, remedy: Option<String>) -> Check {
    let check = if asked {
        Check::problem(name, found)
    } else {
        Check::info(name, found)
    };
    check.maybe_mended_by(remedy)
}

fn words(refused: Refused) -> String {
    match refused.errno {
        libc::ENOSYS => "this kernel does not have it (5.12 and newer do)".to_owned(),
        errno => Errno::from_raw_os_error(errno).to_string(),
    }
}

/// As for the keeper's namespaces, which are made the same way.
fn remedy_of(refused: Refused, kind: &str) -> Option<String> {
    use crate::process::SetupStage;
    let path = format!("/proc/sys/user/max_{kind}_namespaces");
    if refused.errno == libc::ENOSPC && std::fs::read_to_string(path).is_ok_and(|text| text.trim() == "0") {
        return Some(format!("sudo sysctl -w {}", namespaces(kind)));
    }
    let stage = if refused.at_clone {
        SetupStage::Clone
    } else {
        SetupStage::Private
    };
    let refusal = Refusal {
        stage,
        errno: refused.errno,
        user: !may_mount(),
        mount: None,
        network: kind == "net",
        ipc: false,
    };
    remedy(refusal, &Facts::gather())
}

fn openat2_check() -> Check {
    match openat2() {
        Ok(()) => Check::ok("openat2", "the kernel itself keeps paths inside the workspace"),
        Err(error) => Check::info(
            "openat2",
            format!("not to be had ({error}): paths are opened component by component, which is slower"),
        ),
    }
}

fn landlock_check() -> Check {
    match landlock() {
        Ok(version) => Check::info(
            "landlock",
            format!("version {version} of its interface; devshell does not use it"),
        ),
        Err(_) => Check::info(
            "landlock",
            "not in this kernel or switched off; devshell does not use it",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_the_first_two_numbers_of_a_release() {
        assert_eq!(version("6.18.5-arch1-1"), Some((6, 18)));
        assert_eq!(version("5.4-rc1"), Some((5, 4)));
        assert_eq!(version(""), None);
        assert_eq!(version("unknown"), None);
    }

    #[test]
    fn what_no_config_asks_for_is_no_problem() {
        let asked = |asked| wanted("x", asked, String::new(), None).state;
        assert_eq!(asked(true), crate::doctor::State::Problem);
        assert_eq!(asked(false), crate::doctor::State::Info);
    }
}
