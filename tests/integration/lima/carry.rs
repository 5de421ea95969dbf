//! A tree that is carried into the guest of a scripted limactl, and when it is.

use serde_json::Value;

use crate::support::Ran;

use super::scripted::{Lima, TRUE, agent_name, script, set_agent, set_carry};

fn events(ran: &Ran) -> Vec<Value> {
    ran.out()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// A run, with what it says of how the tree got there.
fn run(lima: &Lima) -> (Ran, String) {
    let ran = lima.project.devshell(&["run", "--output", "json"]);
    let ready = events(&ran).into_iter().find(|event| event["type"] == "session_ready");
    let why = ready.unwrap_or_default()["why"].as_str().unwrap_or_default().to_owned();
    (ran, why)
}

/// How many files went, and how many deletions, each way.
fn carried(ran: &Ran) -> Vec<(u64, u64)> {
    events(ran)
        .iter()
        .filter(|event| event["type"] == "sync_finished")
        .map(|event| (event["files"].as_u64().unwrap(), event["deleted"].as_u64().unwrap()))
        .collect()
}

#[test]
fn an_instance_that_does_not_see_the_workspace_serves_all_the_same() {
    let lima = Lima::running(&script("cat in; echo out > made"));
    lima.put("mounts", "[]");
    lima.project.write("in", "here\n");
    // The second takes the shortest way.
    for _ in 0..2 {
        let (ran, why) = run(&lima);
        ran.code(0);
        assert!(why.starts_with("the tree is carried to `"), "{why}");
        assert_eq!(lima.project.read("made"), "out\n");
    }
    for set in ["vm.lima.carry=mount", "vm.lima.agent=off"] {
        lima.project
            .devshell(&["run", "--set", set])
            .code(69)
            .says("mountPoint:");
    }
    // An agent that turns out not to serve is no way, either.
    std::fs::remove_file(lima.guest_cache().join(agent_name())).unwrap();
    lima.put("arch", "s390x");
    lima.run().code(69).says("mountPoint:").says("the guest is s390x");
}

#[test]
fn the_mount_is_taken_where_it_is_as_good_or_nothing_else_is_to_be_had() {
    let lima = Lima::running(TRUE);
    lima.put("mount-type", "virtiofs");
    assert_eq!(run(&lima).1, "mounted by virtiofs");
    let transfer = |more: &str| {
        let set = ["run", "--set", "vm.lima.carry=transfer", "--set", more];
        lima.project.devshell(&set)
    };
    transfer("vm.lima.hints=true").code(0).says("the tree is carried to");
    transfer("vm.lima.agent=off").code(78).says("cannot hold with");
    lima.put("arch", "s390x");
    std::fs::remove_file(lima.guest_cache().join(agent_name())).unwrap();
    transfer("vm.lima.hints=true")
        .code(69)
        .says("the guest is s390x")
        .says("`auto` goes by the mount then");
    let why = run(&lima).1;
    assert!(why.starts_with("mounted by virtiofs; without the agent: "), "{why}");
}

#[test]
fn an_instance_that_was_edited_and_started_again_is_judged_anew() {
    let lima = Lima::running(TRUE);
    // As limactl does at each start.
    let start = |mount_type: &str| {
        lima.put("mount-type", mount_type);
        lima.put("ha.pid", "1");
    };
    start("virtiofs");
    for _ in 0..2 {
        assert_eq!(run(&lima).1, "mounted by virtiofs");
    }
    start("reverse-sshfs");
    for _ in 0..2 {
        let why = run(&lima).1;
        assert!(why.starts_with("the tree is carried to `"), "{why}");
    }
    start("virtiofs");
    assert_eq!(run(&lima).1, "mounted by virtiofs");
}

#[test]
fn a_mount_that_may_show_files_as_they_were_is_warned_of_where_it_is_used() {
    const WARNING: &str = "the guest may see files";
    let lima = Lima::running(TRUE);
    lima.put("mount-type", "reverse-sshfs");
    let ran = lima.run();
    assert!(!ran.code(0).stderr.contains(WARNING), "{}", ran.stderr);
    set_carry("mount");
    for agent in ["auto", "off"] {
        set_agent(agent);
        let lima = Lima::running(TRUE);
        lima.put("mount-type", "reverse-sshfs");
        // Each time: the shortest way says it, too.
        for _ in 0..2 {
            lima.run().code(0).says(WARNING);
        }
    }
}

#[test]
fn what_both_sides_have_is_not_carried_again_and_caches_stay_in_the_guest() {
    let lima = Lima::running(&format!(
        "[workspace]\ncache_dirs = [\"target/\"]\n{}",
        script("mkdir -p target; echo x >> target/count; wc -l < target/count > runs; cat [ab] > sum")
    ));
    lima.project.write("a", "a\n");
    lima.project.write("b", "b\n");
    let first = run(&lima).0;
    // The config is one of the files.
    assert_eq!(carried(first.code(0)), [(3, 0), (2, 0)], "{}", first.out());
    assert_eq!(lima.project.read("sum"), "a\nb\n");
    let second = run(&lima).0;
    assert_eq!(carried(second.code(0)), [(0, 0), (2, 0)], "{}", second.out());
    assert_eq!(lima.project.read("runs").trim(), "2");
    assert!(!lima.project.exists("target"));
    std::fs::remove_file(lima.project.path("b")).unwrap();
    let third = run(&lima).0;
    assert_eq!(carried(third.code(0)), [(0, 1), (2, 0)], "{}", third.out());
    assert_eq!(lima.project.read("sum"), "a\n");
}

#[test]
fn a_retry_begins_from_the_state_before_the_attempt_that_failed() {
    let lima = Lima::running("");
    let mark = lima.project.beside("mark");
    let text = lima.project.read("devshell.toml");
    let tools = format!(
        "[[tool]]\nname = \"first\"\nscript = \"echo 1 > log\"\n[[tool]]\nname = \"second\"\nretries = 2\nscript = '''echo 2 >> \
         log; test -e {0} || {{ touch {0}; exit 1; }}'''\n",
        mark.display()
    );
    lima.project.write("devshell.toml", text + &tools);
    lima.run().code(0);
    // What the first attempt has written is gone.
    assert_eq!(lima.project.read("log"), "1\n2\n");
}

#[test]
fn a_tool_that_fails_leaves_the_tree_and_what_it_made_is_kept() {
    let lima = Lima::running(&script("echo half > made; rm gone; exit 5"));
    lima.project.write("gone", "still\n");
    let before = lima.project.tree();
    let ran = lima.run();
    ran.code(5).says("kept aside");
    assert_eq!(lima.project.tree(), before);
    lima.project.devshell(&["results", "apply", ran.kept()]).code(0);
    assert_eq!(lima.project.read("made"), "half\n");
    assert!(!lima.project.exists("gone"));
}

#[test]
fn an_edit_on_the_host_of_what_a_tool_writes_is_a_conflict_and_stays() {
    let lima = Lima::running("");
    let (started, go) = (lima.project.beside("started"), lima.project.beside("go"));
    let text = lima.project.read("devshell.toml");
    let wait = format!(
        "echo tool > file; touch {}; while ! [ -e {} ]; do sleep 0.05; done",
        started.display(),
        go.display()
    );
    lima.project.write("devshell.toml", text + &script(&wait));
    lima.project.write("file", "old\n");
    let running = lima.project.start_until(&["run"], &started);
    lima.project.write("file", "edited\n");
    std::fs::write(&go, "").unwrap();
    let ran = running.end();
    ran.code(73);
    assert_eq!(lima.project.read("file"), "edited\n");
    assert!(!ran.kept().is_empty());
}

#[test]
fn a_tree_that_cannot_be_brought_back_is_74_and_the_real_one_stays() {
    let lima = Lima::running(&script("cd ..; rm -rf project; echo none > project"));
    lima.project.write("file", "old\n");
    let before = lima.project.tree();
    lima.run().code(74);
    assert_eq!(lima.project.tree(), before);
}
