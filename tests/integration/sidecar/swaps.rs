//! Links and folders that are swapped while the server works on their paths: nothing outside the
//! root is touched. A few seconds; `DEVSHELL_TEST_SWAP_SECONDS` makes it longer.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::json;

use super::peer::{Client, Sidecar, Transport};

fn seconds() -> Duration {
    let text = std::env::var("DEVSHELL_TEST_SWAP_SECONDS").ok();
    Duration::from_secs(text.and_then(|text| text.parse().ok()).unwrap_or(4))
}

/// What can be seen of everything outside.
fn outside(folder: &Path) -> Vec<String> {
    let mut seen: Vec<_> = walkdir::WalkDir::new(folder)
        .into_iter()
        .map(|entry| {
            let entry = entry.unwrap();
            let meta = entry.metadata().unwrap();
            let content = std::fs::read(entry.path()).unwrap_or_default();
            format!(
                "{} {:?} {:?} {content:?}",
                entry.path().display(),
                meta.permissions(),
                meta.modified()
            )
        })
        .collect();
    seen.sort();
    seen
}

/// Puts everything in its place, while nothing is swapped. Nothing is written by a name that may be a link.
fn plant(staging: &Path, round: u64) {
    let new = staging.join("new");
    let _ = std::fs::create_dir_all(new.join("sub"));
    for name in ["kept", "sub/kept", "x", "file"] {
        let _ = std::fs::write(new.join(name), "inside");
    }
    for name in ["d", "real", "f", "fl"] {
        let path = staging.join(name);
        let _ = match path.symlink_metadata() {
            Ok(meta) if meta.is_dir() => std::fs::remove_dir_all(&path),
            _ => std::fs::remove_file(&path),
        };
    }
    let target = ["../../outside", "/etc"][usize::try_from(round % 2).unwrap()];
    let _ = std::os::unix::fs::symlink(target, staging.join("d"));
    let _ = std::os::unix::fs::symlink("../../outside/kept", staging.join("fl"));
    let _ = std::fs::rename(new.join("file"), staging.join("f"));
    let _ = std::fs::rename(&new, staging.join("real"));
}

/// Swaps two names as fast as it goes.
fn swap(a: &Path, b: &Path, stop: &AtomicBool) -> u64 {
    let mut swaps = 0;
    while !stop.load(Ordering::Relaxed) {
        if renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE).is_ok() {
            swaps += 1;
        }
    }
    swaps
}

/// Every operation on a path that may lead anywhere at any moment. Gives how often something was
/// done, and how often it was refused.
fn attack(client: &mut Client, stop: &AtomicBool) -> (u64, u64) {
    let (mut done, mut refused) = (0, 0);
    let paths = [
        "/workspace/d/kept",
        "/workspace/d/sub/kept",
        "/workspace/f",
        "/workspace/d",
    ];
    let mut round = 0_usize;
    while !stop.load(Ordering::Relaxed) {
        let path = paths[round % paths.len()];
        for (operation, fields) in [
            ("read_file", json!({"id": 1})),
            (
                "write_file",
                json!({"id": 1, "content_base64": "dG91Y2hlZA==", "mode": 511}),
            ),
            ("list_dir", json!({"id": 1, "stat": true})),
            ("mkdir", json!({"id": 1, "mode": 511})),
            ("set_stat", json!({"id": 1, "mode": 511, "mtime_s": 1})),
            ("symlink", json!({"id": 1, "target": "touched"})),
            ("stat", json!({"id": 1})),
        ] {
            let reply = client.fs(operation, path, &fields);
            assert!(
                !reply.to_string().contains("c2VjcmV0"),
                "the secret came out by {operation}"
            );
            assert!(
                !reply.to_string().contains("only-outside"),
                "a name came out by {operation}"
            );
            if reply["op"] == "guest_fs_ok" {
                done += 1;
            } else {
                refused += 1;
            }
        }
        let removed = client.fs("remove", &format!("{path}/x"), &json!({"id": 1}));
        assert!(
            removed["op"] == "guest_fs_ok" || removed["op"] == "guest_fs_error",
            "{removed}"
        );
        if round.is_multiple_of(3) {
            client.fs("remove", path, &json!({"id": 1}));
        }
        if round.is_multiple_of(8) {
            client.start(2, &["pwd", "-P"], &json!({"guest_cwd": "/workspace/d"}));
            let ran = client.result(2);
            let (at, nowhere) = (ran.out(), ran.stdout.is_empty());
            // The guest's own name, where this machine has such a folder to mount on.
            let is_inside = at.contains("/root/ws/") || at.starts_with("/workspace/");
            assert!(nowhere || is_inside, "it ran in {at}");
        }
        round += 1;
    }
    (done, refused)
}

#[test]
fn links_that_are_swapped_during_the_work_lead_nowhere() {
    let sidecar = Sidecar::new(Transport::Unix);
    let beyond = sidecar.path("outside");
    std::fs::create_dir_all(beyond.join("sub")).unwrap();
    for name in ["kept", "sub/kept", "only-outside", "x"] {
        std::fs::write(beyond.join(name), "secret").unwrap();
    }
    let before = outside(&beyond);
    let staging = sidecar.staging();
    let stop = AtomicBool::new(false);
    let until = Instant::now() + seconds();
    let (swaps, (done, refused)) = std::thread::scope(|scope| {
        let swapping = scope.spawn(|| {
            let mut swaps = 0;
            while Instant::now() < until {
                plant(&staging, swaps);
                let pause = AtomicBool::new(false);
                std::thread::scope(|scope| {
                    let folders = scope.spawn(|| swap(&staging.join("d"), &staging.join("real"), &pause));
                    let files = scope.spawn(|| swap(&staging.join("f"), &staging.join("fl"), &pause));
                    std::thread::sleep(Duration::from_millis(20));
                    pause.store(true, Ordering::Relaxed);
                    swaps += folders.join().unwrap() + files.join().unwrap();
                });
            }
            stop.store(true, Ordering::Relaxed);
            swaps
        });
        let attacks: Vec<_> = (0..2)
            .map(|_| {
                let mut client = sidecar.modern();
                let stop = &stop;
                scope.spawn(move || attack(&mut client, stop))
            })
            .collect();
        let counts = attacks
            .into_iter()
            .map(|attack| attack.join().unwrap())
            .fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        (swapping.join().unwrap(), counts)
    });
    assert_eq!(outside(&beyond), before, "something outside was touched");
    crate::support::say(&format!(
        "SWAPS: {swaps} swaps, {done} operations done, {refused} refused"
    ));
    assert!(swaps > 1000 && done > 100 && refused > 20, "{swaps} {done} {refused}");
    sidecar.serves_others();
}
