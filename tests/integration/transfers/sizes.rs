//! Large contents in flat memory.

use std::io::Write as _;

use super::Apart;
use crate::support::{number, say};

/// What a process has needed at most, in KiB.
fn peak_of(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Runs a script in the project under a watch: gives devshell's own peak in KiB.
fn watched(apart: &Apart, args: &[&str]) -> u64 {
    let script = "\"$@\" & pid=$!; peak=0; while line=$(grep VmHWM /proc/$pid/status 2>/dev/null); do \
                  set -- $line; test \"$2\" -gt $peak && peak=$2; sleep 0.05; done; wait $pid || exit; echo $peak >&2";
    let mut command = apart.project.program("sh");
    command
        .args(["-c", script, "sh"])
        .arg(crate::support::devshell())
        .args(args);
    let ran = crate::support::finish(command);
    ran.code(0);
    ran.stderr.lines().last().unwrap().trim().parse().unwrap()
}

#[test]
fn one_large_file_goes_there_and_back_in_flat_memory() {
    let mib = number("DEVSHELL_TEST_LARGE_MIB", 48);
    let apart = Apart::served("");
    let mut file = std::fs::File::create(apart.project.path("large")).unwrap();
    for at in 0..mib {
        let block: Vec<u8> = (0..1_u32 << 20)
            .map(|byte| (byte.wrapping_mul(2_654_435_761).wrapping_add(at as u32) >> 9) as u8)
            .collect();
        file.write_all(&block).unwrap();
    }
    drop(file);
    let here = watched(
        &apart,
        &["exec", "--", "sh", "-c", "tail -c +3 large > other; rm large"],
    );
    let there = peak_of(apart.server.as_ref().unwrap().0.id());
    let size = apart.project.path("other").metadata().unwrap().len();
    assert_eq!(size, (mib << 20) - 2);
    say(&format!(
        "transfer of {mib} MiB in one file: devshell {here} KiB, devshell-vm {there} KiB"
    ));
    assert!(
        here < 40 * 1024 && there < 40 * 1024,
        "{here} KiB here, {there} KiB there"
    );
}

#[test]
fn in_guest_mode_a_large_file_goes_in_and_comes_out_in_flat_memory() {
    let mib = number("DEVSHELL_TEST_LARGE_MIB", 48);
    let apart = Apart::served("");
    let file = std::fs::File::create(apart.project.path("large")).unwrap();
    std::io::copy(
        &mut std::io::Read::take(std::fs::File::open("/dev/urandom").unwrap(), mib << 20),
        &mut &file,
    )
    .unwrap();
    let root = apart.project.beside("root");
    let staging = format!("vm.beta.session_staging={}", root.display());
    let guest = format!("vm.guest_workspace={}", root.display());
    let here = watched(
        &apart,
        &[
            "exec",
            "--workspace-mode",
            "guest",
            "--set",
            &staging,
            "--set",
            &guest,
            "--set",
            "workspace.inputs=[\"large\"]",
            "--set",
            "workspace.outputs=[\"copy\"]",
            "--",
            "cp",
            "large",
            "copy",
        ],
    );
    let there = peak_of(apart.server.as_ref().unwrap().0.id());
    let same = std::process::Command::new("cmp")
        .args([apart.project.path("large"), apart.project.path("copy")])
        .status();
    assert!(same.unwrap().success());
    say(&format!(
        "fs_raw of {mib} MiB: devshell {here} KiB, devshell-vm {there} KiB"
    ));
    assert!(
        here < 40 * 1024 && there < 40 * 1024,
        "{here} KiB here, {there} KiB there"
    );
}
