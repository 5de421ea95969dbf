//! The Lima backend: limactl, the instance and its mount, and what qemu needs.

use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::{Carry, WorkspaceMode};
use crate::process::{Cancel, CaptureLimits, Captured, SpawnRequest, Stdin, ToolExit, capture};
use crate::quote::command_line;
use crate::runner::chain;
use crate::session::lima::agent::AgentChoice;
use crate::session::lima::instance::{self, Instance, mount_expression};

use super::Case;
use super::facts::{install, program, text, variable};
use super::remote::version;
use super::report::Check;

/// limactl answers in a fraction of a second, or hangs on an instance that is broken.
const LIMITS: CaptureLimits = CaptureLimits {
    timeout: Duration::from_secs(8),
    bytes: 4 << 20,
};

pub(super) fn checks(case: &Case) -> Vec<Check> {
    let mut checks = vec![version("lima")];
    let configured = &case.config.vm.lima.limactl;
    match program(case, configured) {
        None => checks.push(missing(case, configured)),
        Some(limactl) => {
            let (said, works) = limactl_check(case, &limactl);
            checks.push(said);
            if works {
                checks.extend(instance(case, &limactl));
            }
        }
    }
    checks.push(kvm());
    checks.push(qemu(case));
    checks
}

fn missing(case: &Case, limactl: &Path) -> Check {
    const PACKAGES: [(&str, &str); 3] = [("brew", "lima"), ("pacman", "lima"), ("apk", "lima")];
    let how = install(case, &PACKAGES).unwrap_or_else(|| {
        "see https://lima-vm.io/docs/installation/, or set vm.lima.limactl to where limactl is".to_owned()
    });
    let found = if limactl.components().count() > 1 {
        format!(
            "`{}` is not there or not executable (vm.lima.limactl)",
            limactl.display()
        )
    } else {
        format!("`{}` is not in PATH", limactl.display())
    };
    Check::problem("limactl", found).mended_by(how)
}

fn ask(case: &Case, limactl: &Path, arguments: &[&str]) -> Result<Captured, String> {
    let arguments = arguments.iter().map(Into::into);
    let request = SpawnRequest {
        argv: [limactl.as_os_str().to_owned()].into_iter().chain(arguments).collect(),
        env: case.env.clone(),
        cwd: PathBuf::from("/"),
        stdin: Stdin::Null,
        terminal: None,
    };
    let captured = capture(&request, LIMITS, &Cancel::new()).map_err(|error| chain(&error))?;
    match &captured.exit {
        ToolExit::TimedOut(_) => Err(format!("it did not answer within {} s", LIMITS.timeout.as_secs())),
        ToolExit::NotExecutable(why) | ToolExit::NotFound(why) | ToolExit::Lost(why) => Err(why.clone()),
        _ => Ok(captured),
    }
}

/// Its version, and whether it does anything for this user: it refuses root.
fn limactl_check(case: &Case, limactl: &Path) -> (Check, bool) {
    let name = "limactl";
    let place = limactl.display();
    let version = match ask(case, limactl, &["--version"]) {
        Ok(said) => first_line(&said.stdout).unwrap_or_else(|| "of an unknown version".to_owned()),
        Err(why) => {
            return (
                Check::problem(name, format!("`{place}`: {why}")).mended_by(by_hand(limactl)),
                false,
            );
        }
    };
    match ask(case, limactl, &["list", "--format", "json"]) {
        Ok(said) if said.exit == ToolExit::Success => (Check::ok(name, format!("`{place}`, {version}")), true),
        Ok(said) => {
            let why = last_line(&said.stderr).unwrap_or_else(|| "no reason given".to_owned());
            let check = Check::problem(name, format!("`{place}` ({version}) refuses: {why}"));
            let remedy = if rustix::process::geteuid().is_root() {
                "sudo -u USER devshell doctor".to_owned()
            } else {
                by_hand(limactl)
            };
            (check.mended_by(remedy), false)
        }
        Err(why) => (
            Check::problem(name, format!("`{place}` ({version}): {why}")).mended_by(by_hand(limactl)),
            false,
        ),
    }
}

/// What shows the same trouble without devshell.
fn by_hand(limactl: &Path) -> String {
    command_line([&text(limactl), "list"])
}

fn first_line(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    text.lines()
        .map(str::trim)
        .find(|line| !line.is_empty())
        .map(str::to_owned)
}

fn last_line(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    text.lines()
        .rev()
        .map(str::trim)
        .find(|line| !line.is_empty())
        .map(str::to_owned)
}

fn instance(case: &Case, limactl: &Path) -> Vec<Check> {
    let lima = &case.config.vm.lima;
    let name = lima.instance.as_str();
    let said = match ask(case, limactl, &["list", "--format", "json", name]) {
        Ok(said) => said,
        Err(why) => return vec![Check::problem("instance", why).mended_by(by_hand(limactl))],
    };
    let found = instance::find(&said.stdout, name);
    let Some(found) = found else {
        return vec![match &lima.template {
            Some(template) => Check::info("instance", format!("`{name}` will be created from `{template}`")),
            None => Check::problem(
                "instance",
                format!("there is no instance `{name}`, and vm.lima.template does not say what to create it from"),
            )
            .mended_by(create(case, limactl, name)),
        }];
    };
    let agent = AgentChoice::of_plan(&case.config.vm.lima.agent.clone().into());
    let fits = |choice: &AgentChoice| choice.program().is_some_and(|program| program.arch == found.arch);
    let is_needed = !agent.as_ref().is_ok_and(fits)
        || lima.carry == Carry::Mount
        || case.config.vm.workspace_mode == WorkspaceMode::Guest;
    let mount = mount(case, &found, limactl, is_needed);
    let mut checks = vec![status(&found, limactl, name), mount];
    let digest = agent.as_ref().ok().and_then(AgentChoice::program);
    let digest = digest.map(|program| program.digest.clone()).unwrap_or_default();
    let mut is_there = false;
    if found.status == "Running" {
        let (inside, has_agent) = inside(case, limactl, name, &digest);
        checks.extend(inside);
        is_there = has_agent;
    }
    checks.push(agent_check(&agent, &found.arch, is_there));
    checks
}

/// Whether the guest can have an agent, which spares a `limactl shell` a tool.
fn agent_check(agent: &Result<AgentChoice, String>, arch: &str, is_there: bool) -> Check {
    let name = "agent";
    let without = "a `limactl shell` a tool in its place";
    let remedy = format!("set vm.lima.agent to a devshell-vm for Linux on {arch}, or to \"off\"");
    match agent {
        Err(why) => Check::problem(name, format!("vm.lima.agent: {why}")).mended_by(remedy),
        Ok(AgentChoice::Off) => Check::info(name, format!("off: {without}")),
        Ok(AgentChoice::Missing(why)) => Check::warning(name, format!("{why}: {without}")).mended_by(remedy),
        Ok(AgentChoice::Named(program)) if program.arch != arch => Check::problem(
            name,
            format!(
                "`{}` is for {}, and the guest is {arch}",
                program.path.display(),
                program.arch
            ),
        )
        .mended_by(remedy),
        Ok(AgentChoice::Auto(program)) if program.arch != arch => Check::warning(
            name,
            format!(
                "`{}` is for {}, and the guest is {arch}: {without}",
                program.path.display(),
                program.arch
            ),
        )
        .mended_by(remedy),
        Ok(AgentChoice::Auto(program) | AgentChoice::Named(program)) => {
            let path = program.path.display();
            Check::ok(
                name,
                if is_there {
                    format!("`{path}`, which the guest has")
                } else {
                    format!("`{path}`: a run puts it there")
                },
            )
        }
    }
}

/// With less than this in the guest a build will fill its disk.
const LOW_KIB: u64 = 512 << 10;

/// What a guest that runs has for tools, and whether it has the agent of this digest; nothing is
/// started for it.
fn inside(case: &Case, limactl: &Path, name: &str, digest: &str) -> (Vec<Check>, bool) {
    // The word tells the guest's answer from what a login shell says.
    const WORD: &str = "devshell-doctor";
    const SCRIPT: &str = "echo devshell-doctor; for p in cc cargo; do command -v $p >/dev/null && echo has $p; done; \
                          [ ! -x \"${XDG_CACHE_HOME:-$HOME/.cache}/devshell/devshell-vm-$1\" ] || echo has agent; \
                          df -Pk / | tail -n 1";
    let program = text(limactl);
    let unreachable = |why: String| {
        let check = Check::problem("ssh", format!("the guest cannot be reached: {why}"));
        (vec![check.mended_by(anew(&program, name))], false)
    };
    let arguments = ["shell", "--workdir", "/", name, "sh", "-c", SCRIPT, "sh", digest];
    let said = match ask(case, limactl, &arguments) {
        Ok(said) => said,
        Err(why) => return unreachable(why),
    };
    let out = String::from_utf8_lossy(&said.stdout).into_owned();
    let mut lines = out.lines().skip_while(|line| line.trim() != WORD);
    if lines.next().is_none() {
        if said.exit == ToolExit::Success {
            return (Vec::new(), false);
        }
        return unreachable(last_line(&said.stderr).unwrap_or_else(|| "no reason given".to_owned()));
    }
    let lines: Vec<&str> = lines.map(str::trim).collect();
    let has = |what: &str| lines.contains(&format!("has {what}").as_str());
    let cc = if has("cc") {
        Check::ok("cc", "the guest has a C compiler")
    } else if case.config.vm.lima.auto_build_essential {
        Check::info(
            "cc",
            "the guest has no C compiler: a run installs one (vm.lima.auto_build_essential)",
        )
    } else {
        Check::warning("cc", "the guest has no C compiler").mended_by(command_line([
            program.as_str(),
            "shell",
            name,
            "sudo",
            "apt-get",
            "install",
            "-y",
            "build-essential",
        ]))
    };
    let cargo = if has("cargo") {
        Check::ok("cargo", "the guest has cargo")
    } else {
        Check::info(
            "cargo",
            "the guest has no cargo in the PATH of a login shell (https://rustup.rs)",
        )
    };
    let free = lines
        .last()
        .and_then(|line| line.split_whitespace().nth(3)?.parse::<u64>().ok());
    let disk = free.map(|free| {
        let found = format!("{} MiB free on the guest's own disk", free >> 10);
        if free < LOW_KIB {
            Check::warning("disk", found).mended_by(command_line([program.as_str(), "shell", name, "df", "-h"]))
        } else {
            Check::ok("disk", found)
        }
    });
    ([cc, cargo].into_iter().chain(disk).collect(), has("agent"))
}

fn anew(limactl: &str, name: &str) -> String {
    format!(
        "{} && {}",
        command_line([limactl, "stop", "--force", name]),
        command_line([limactl, "start", name])
    )
}

fn status(found: &Instance, limactl: &Path, name: &str) -> Check {
    let status = found.status.as_str();
    let said = format!("`{name}` is {status}");
    let limactl = text(limactl);
    match status {
        "Running" => Check::ok("instance", said),
        "Stopped" => Check::info("instance", format!("{said}: a run starts it")),
        "Broken" => Check::problem("instance", format!("{said}: {}", found.errors_in_words())).mended_by(format!(
            "{} && {}",
            command_line([&limactl, "stop", "--force", name]),
            command_line([&limactl, "start", name])
        )),
        _ => Check::warning("instance", said).mended_by(command_line([&limactl, "start", name])),
    }
}

/// The folder that is to appear in the guest.
fn parent(case: &Case) -> &Path {
    let staging = &case.plan.places.staging;
    staging.parent().unwrap_or(staging)
}

/// `is_needed`: nothing else could carry the tree.
fn mount(case: &Case, found: &Instance, limactl: &Path, is_needed: bool) -> Check {
    let (parent, guest) = (parent(case), Path::new(&case.config.vm.guest_workspace));
    let home = variable(case, "HOME").map(PathBuf::from).unwrap_or_default();
    let seen = found.shows(parent, guest, &home);
    let (parent, guest) = (parent.display(), guest.display());
    let name = case.config.vm.lima.instance.as_str();
    let check = match seen {
        None | Some(false) if !is_needed => {
            let why = format!("`{parent}` does not appear as `{guest}` to be written: the agent carries the tree");
            return Check::info("mount", why);
        }
        Some(true) => return Check::ok("mount", format!("`{parent}` appears as `{guest}`")),
        Some(false) => Check::problem("mount", format!("`{parent}` appears as `{guest}`, but read-only")),
        None => Check::problem(
            "mount",
            format!("`{parent}` does not appear as `{guest}` in the instance"),
        ),
    };
    let limactl = text(limactl);
    check.mended_by(format!(
        "{} && {}",
        command_line([&limactl, "stop", name]),
        command_line([&limactl, "edit", name, "--set", &expression(case)])
    ))
}

fn expression(case: &Case) -> String {
    mount_expression(parent(case), &case.config.vm.guest_workspace)
}

fn create(case: &Case, limactl: &Path, name: &str) -> String {
    command_line([
        &text(limactl),
        "create",
        "--tty=false",
        &format!("--name={name}"),
        "--set",
        &expression(case),
        "template:default",
    ])
}

fn kvm() -> Check {
    let name = "kvm";
    match OpenOptions::new().read(true).write(true).open("/dev/kvm") {
        Ok(_) => Check::ok(name, "`/dev/kvm` can be used"),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Check::warning(
            name,
            "`/dev/kvm` may not be used by this user: guests are emulated, which is slow",
        )
        .mended_by("sudo usermod -aG kvm \"$USER\""),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Check::warning(name, "there is no `/dev/kvm`: guests are emulated, which is slow")
                .mended_by("sudo modprobe kvm")
        }
        Err(error) => Check::warning(name, format!("`/dev/kvm` cannot be used: {error}")),
    }
}

fn qemu(case: &Case) -> Check {
    let name = format!("qemu-system-{}", std::env::consts::ARCH);
    let from = format!("QEMU_SYSTEM_{}", std::env::consts::ARCH.to_uppercase());
    // Lima takes program and arguments from there.
    let told = variable(case, &from).and_then(|told| told.to_str()?.split_whitespace().next().map(str::to_owned));
    let wanted = told.unwrap_or_else(|| name.clone());
    match program(case, &wanted) {
        Some(place) => Check::ok("qemu", format!("`{}`", place.display())),
        None => {
            let packages = [
                ("apt-get", "qemu-system"),
                ("dnf", "qemu-system-x86"),
                ("pacman", "qemu-base"),
                ("apk", name.as_str()),
                ("zypper", "qemu"),
                ("brew", "qemu"),
            ];
            Check::problem("qemu", format!("`{wanted}` is not in PATH")).maybe_mended_by(install(case, &packages))
        }
    }
}
