//! Sidecars that die and wires that break, anywhere: the real tree stays as it was, and the next run goes on.

use std::process::Stdio;
use std::sync::Mutex;
use std::time::Duration;

use super::proxy::{Way, between};
use super::{Apart, events, synced};

use crate::support::{Disk, Random, Running, number, own_mounts, say, wait_for};

#[test]
fn a_sidecar_that_is_gone_while_a_tool_runs_is_75_and_the_next_run_is_a_run() {
    let mut apart = Apart::served("");
    apart.project.write("file", "old");
    let before = apart.project.tree();
    let marker = apart.project.beside("started");
    let script = format!("echo half > file; touch {}; sleep 300", marker.display());
    let running = apart.project.start_until(&["exec", "--", "sh", "-c", &script], &marker);
    apart.kill_server();
    running.end().code(75).says("closed the connection");
    assert_eq!(apart.project.tree(), before);
    apart.serve();
    assert_eq!(apart.exec(&[], "cat file").code(0).out(), "old");
}

#[test]
fn a_sidecar_that_is_killed_at_any_moment_leaves_the_tree_alone_and_is_gone_on_with() {
    let rounds = number("DEVSHELL_TEST_SIDECAR_KILLS", 8);
    let mut random = Random(number("DEVSHELL_TEST_SEED", 1));
    let mut apart = Apart::new("");
    for index in 0..300 {
        apart
            .project
            .write(format!("d{}/f{index}", index % 10), format!("{index}").repeat(300));
    }
    let script = "for f in d*/f*; do echo x >> $f; done; rm -r d3; mkdir d3; head -c 2000000 /dev/urandom > d3/new";
    let (mut lost, mut done) = (0, 0);
    for round in 0..rounds {
        // A first push each time, and what comes of it.
        if round % 2 == 0 {
            let _ = std::fs::remove_dir_all(apart.project.beside("root/.devshell-trees"));
        }
        apart.serve();
        let before = apart.project.tree();
        let mut child = apart.project.command(["exec", "--", "sh", "-c", script]);
        child.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = child.spawn().unwrap();
        std::thread::sleep(Duration::from_micros(random.below(700_000)));
        apart.kill_server();
        let code = child.wait().unwrap().code().unwrap();
        if code == 0 {
            done += 1;
            continue;
        }
        lost += 1;
        // 69: before there was a session.
        assert!([69, 75].contains(&code), "round {round}: code {code}");
        assert!(
            apart.project.tree() == before,
            "round {round}: the tree changed, code {code}"
        );
        apart.serve();
        apart.exec(&[], "test $(ls d*/f* | wc -l) -ge 270").code(0);
        assert!(apart.project.tree() == before, "round {round}: nothing was to change");
        apart.kill_server();
    }
    say(&format!(
        "transfer kills: rounds {rounds}, lost {lost}, done before {done}, wrong 0"
    ));
}

/// A project behind a proxy that does what the last entry says, and then the one before it.
fn behind(apart: &mut Apart, ways: Vec<Way>) {
    let real = apart.project.beside("real.sock");
    apart.serve_at(&real);
    let ways = Mutex::new(ways);
    between(&apart.project.beside("s.sock"), &real, move || {
        ways.lock().unwrap().pop().unwrap_or(Way::CutThere(u64::MAX))
    });
}

#[test]
fn a_wire_that_is_slow_or_gives_one_byte_at_a_time_carries_everything() {
    for way in [Way::Slow(Duration::from_millis(3)), Way::Trickle] {
        let mut apart = Apart::new("");
        for index in 0..20 {
            apart.project.write(format!("f{index}"), format!("{index}").repeat(50));
        }
        // The first connection finds that no folder is shared and goes on.
        behind(&mut apart, vec![way; 2]);
        apart.exec(&[], "cat f1 f2 > both; rm f3").code(0);
        assert_eq!(apart.project.read("both"), "1".repeat(50) + &"2".repeat(50));
        assert!(!apart.project.exists("f3"));
    }
}

#[test]
fn a_wire_that_breaks_after_any_number_of_bytes_is_75_and_the_next_run_goes_on() {
    let rounds = number("DEVSHELL_TEST_CUTS", 12);
    let mut random = Random(number("DEVSHELL_TEST_SEED", 7));
    let mut apart = Apart::new("");
    for index in 0..100 {
        apart
            .project
            .write(format!("d{}/f{index}", index % 7), format!("{index} ").repeat(500));
    }
    let ways = (0..rounds)
        .map(|round| match round % 3 {
            0 => Way::CutThere(random.below(150_000)),
            1 => Way::CutThere(random.below(60_000)),
            _ => Way::CutBack(random.below(140_000)),
        })
        .rev()
        .collect();
    behind(&mut apart, ways);
    let script = "for f in d*/f*; do cp $f $f.new; echo >> $f.new; done";
    let mut codes = Vec::new();
    for round in 0..rounds {
        // A first push, one that goes on with it, and one with whatever there is.
        if round % 3 == 0 {
            let _ = std::fs::remove_dir_all(apart.project.beside("root/.devshell-trees"));
        }
        let before = apart.project.tree();
        let ran = apart.exec(&[], script);
        let code = ran.status.code().unwrap();
        codes.push(code);
        if code == 0 {
            // It had said all before the wire would have broken, and all has come.
            let new = (0..100).filter(|index| apart.project.exists(format!("d{}/f{index}.new", index % 7)));
            assert_eq!(new.count(), 100, "round {round}: code 0");
            apart.exec(&[], "rm d*/*.new").status.code().unwrap();
            continue;
        }
        assert!([69, 75].contains(&code), "round {round}: {code}: {}", ran.stderr);
        assert!(
            apart.project.tree() == before,
            "round {round}: the tree changed, code {code}"
        );
    }
    assert!(codes.contains(&75), "{codes:?}");
    // All ways are used up.
    while apart.exec(&[], "true").status.code() != Some(0) {}
    apart.exec(&[], script).code(0);
    let new = walkdir::WalkDir::new(apart.project.path("")).into_iter().flatten();
    assert_eq!(
        new.filter(|entry| entry.path().extension().is_some_and(|end| end == "new"))
            .count(),
        100
    );
    say(&format!("transfer cuts: {rounds}, codes {codes:?}, wrong 0"));
}

#[test]
fn a_sidecar_that_ends_with_its_last_tool_is_75_and_nothing_is_committed() {
    for options in ["", "[workspace]\nwrite_back = \"always\"\n"] {
        let mut apart = Apart::served(options);
        apart.project.write("old", "old");
        apart.exec(&[], "true").code(0);
        let before = apart.project.tree();
        // With `always` a tool that fails would be committed, too.
        let script =
            "echo new > made; rm old; touch up; until [ -e go ]; do sleep 0.02; done; rm up go; test -z \"$1\"";
        let running = Running::of(apart.project.command(["exec", "--", "sh", "-c", script, "sh", options]));
        wait_for(|| apart.far().join("up").exists(), "the tool");
        apart.signal_server("TERM");
        std::fs::write(apart.far().join("go"), "").unwrap();
        let ran = running.end();
        ran.code(75).says("class=lost");
        assert_eq!(apart.project.tree(), before, "{}", ran.stderr);
        // And the next run finds everything in order.
        apart.kill_server();
        apart.serve();
        apart.exec(&[], "cat old; test ! -e made").code(0);
    }
}

#[test]
fn an_interrupt_while_an_output_comes_out_of_the_guest_is_heeded() {
    let mut apart = Apart::new("[workspace]\noutputs = [\"out\"]\n");
    let config = apart.project.read("devshell.toml");
    let root = apart.project.beside("root");
    std::fs::create_dir(root.join("ws")).unwrap();
    let staging = format!("[vm.beta]\nsession_staging = {:?}\n", root.join("ws"));
    let config = config.replacen("[vm]\n", "[vm]\nworkspace_mode = \"guest\"\n", 1);
    let config = config.replacen("[vm.beta]\n", &staging, 1);
    apart.project.write("devshell.toml", config);
    // 900 kB, 16 KiB at a time: 16 s.
    behind(&mut apart, vec![Way::Slow(Duration::from_millis(300)); 4]);
    let script = "head -c 900000 /dev/zero > out; echo done >&2";
    let mut running = Running::of(apart.project.command(["exec", "--", "sh", "-c", script]));
    running.until_it_says("done");
    let start = std::time::Instant::now();
    // The first is for the run; what was there by then would be brought out, were it not for another.
    while running.child.try_wait().unwrap().is_none() {
        running.signal("INT");
        std::thread::sleep(Duration::from_millis(500));
    }
    running.end().code(130);
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert!(!apart.project.exists("out"));
}

#[test]
fn a_large_file_is_gone_on_with_in_both_directions() {
    const LARGE: usize = 8_000_000;
    let mut apart = Apart::new("");
    let content: Vec<u8> = (0..LARGE as u32)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 11) as u8)
        .collect();
    apart.project.write("large", &content);
    // In the order of the runs: a push that breaks, one that goes on, a pull that breaks, and one that goes on.
    let whole = Way::CutThere(u64::MAX);
    behind(
        &mut apart,
        vec![whole, Way::CutBack(6_000_000), whole, Way::CutThere(6_000_000)],
    );
    apart.exec(&[], "true").code(75);
    assert!(!apart.far().join("large").exists());
    let second = apart.project.devshell(&["exec", "--output", "json", "--", "true"]);
    second.code(0);
    let push = synced(&events(&second), "push");
    assert!(push[0][0] == 2 && push[0][1] < 2_600_000, "{push:?}");
    assert!(std::fs::read(apart.far().join("large")).unwrap() == content);

    // The same bytes in another order, so that nothing is found at home.
    let script = "tail -c +4000001 large > turned; head -c 4000000 large >> turned";
    apart.exec(&[], script).code(75);
    assert!(!apart.project.exists("turned"));
    let again = apart
        .project
        .devshell(&["exec", "--output", "json", "--", "sh", "-c", script]);
    again.code(0);
    let pull = synced(&events(&again), "pull");
    assert!(pull[0][1] < 2_600_000, "{pull:?}");
    assert!(
        std::fs::read(apart.project.path("turned")).unwrap() == [&content[4_000_000..], &content[..4_000_000]].concat()
    );
}

#[test]
fn an_interrupt_while_the_tree_is_under_way_is_an_interrupt() {
    let mut apart = Apart::new("");
    for index in 0..40 {
        apart
            .project
            .write(format!("f{index}"), format!("{index}").repeat(20_000));
    }
    behind(&mut apart, vec![Way::Slow(Duration::from_millis(60))]);
    let child = apart.project.command(["exec", "--", "true"]).spawn().unwrap();
    let running = Running { child };
    let store = apart.project.beside("root/.devshell-trees");
    wait_for(
        || {
            walkdir::WalkDir::new(&store)
                .into_iter()
                .flatten()
                .any(|entry| entry.path().ends_with("store"))
        },
        "the tree is under way",
    );
    running.signal("INT");
    running.end().code(130);
}

#[test]
fn a_disk_that_is_full_at_the_sidecar_is_74_and_does_not_stay_full() {
    if !own_mounts("transfers::breaks::a_disk_that_is_full_at_the_sidecar_is_74_and_does_not_stay_full") {
        return;
    }
    let mut apart = Apart::new("");
    let Some(_disk) = Disk::tmpfs(&apart.project.beside("root"), "2m") else {
        return crate::support::not_run("a_disk_that_is_full_at_the_sidecar", "no tmpfs can be mounted");
    };
    apart.serve();
    apart.project.write("small", "small");
    apart.exec(&[], "true").code(0);
    apart.project.write("large", vec![7; 3_000_000]);
    let before = apart.project.tree();
    apart.exec(&[], "true").code(74).says("full");
    assert_eq!(apart.project.tree(), before);
    // It would have fitted by the sizes, and somebody else was faster.
    apart.project.write("large", vec![7; 900_000]);
    std::fs::write(apart.project.beside("root/other"), vec![1; 1_200_000]).unwrap();
    apart.exec(&[], "true").code(74);
    std::fs::remove_file(apart.project.beside("root/other")).unwrap();
    assert_eq!(apart.exec(&[], "wc -c < large").code(0).out(), "900000\n");
}
