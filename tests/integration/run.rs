//! The main path: tools run in order on a private view, and the result is brought back whole.

use crate::support::{Project, has, not_run};

const TWO_TOOLS: &str = r#"
[[tool]]
name = "make"
script = "mkdir -p out && echo made > out/file && rm old && mv from to"

[[tool]]
name = "check"
run = ["test", "-f", "out/file"]
"#;

#[test]
fn a_success_commits_what_the_tools_made_deleted_and_renamed() {
    let project = Project::new(TWO_TOOLS);
    for name in ["old", "from", "untouched"] {
        project.write(name, name);
    }
    let before = project.tree();
    project.run().code(0).says("class=ok code=0");
    assert_eq!(project.read("out/file"), "made\n");
    assert_eq!(project.read("to"), "from");
    assert!(!project.exists("old") && !project.exists("from"));
    let after = project.tree();
    assert_eq!(
        after.get("untouched"),
        before.get("untouched"),
        "bytes, mode and mtime of what no tool touched"
    );
    assert_eq!(
        after.get("to").mtime,
        before.get("from").mtime,
        "a renamed file keeps its time"
    );
}

#[test]
fn a_failing_tool_leaves_the_tree_as_it_was_and_its_result_is_kept() {
    let project = Project::new(
        r#"
[[tool]]
name = "half"
script = "echo new > new; echo changed > file; rm gone; exit 3"
[[tool]]
name = "never"
run = ["touch", "never"]
"#,
    );
    project.write("file", "original\n");
    project.write("gone", "still here\n");
    let before = project.tree();
    let ran = project.run();
    ran.code(3)
        .says("never skipped: `half` failed")
        .says("class=tool tool=half code=3");
    assert_eq!(project.tree(), before);

    let diff = project.devshell(&["results", "diff"]);
    let text = diff.code(0).out();
    for line in ["A new", "M file", "D gone", "-original", "+changed"] {
        assert!(text.contains(line), "`{line}` is not in:\n{text}");
    }
    assert!(project.devshell(&["results"]).code(0).out().contains(ran.kept()));
    project.devshell(&["results", "apply", ran.kept()]).code(0);
    assert_eq!(
        (project.read("new"), project.read("file")),
        ("new\n".into(), "changed\n".into())
    );
    assert!(!project.exists("gone"));
    assert!(
        !project.devshell(&["results"]).code(0).out().contains(ran.kept()),
        "an applied result is dropped"
    );
}

#[test]
fn tools_of_one_run_see_what_the_ones_before_them_did() {
    let project = Project::new(
        r#"
[[tool]]
name = "one"
script = "echo 1 > n"
[[tool]]
name = "two"
script = "echo $(($(cat n) + 1)) > n"
"#,
    );
    project.run().code(0);
    assert_eq!(project.read("n"), "2\n");
}

#[test]
fn the_real_tree_is_not_written_while_tools_run_and_paths_are_the_workspaces_own() {
    let project = Project::new("");
    let outside = project.beside("outside");
    project.write(
        "devshell.toml",
        format!(
            "[[tool]]\nname = \"look\"\nscript = '''\necho private > file\npwd > {o}/pwd\ncat \"$PWD/file\" > {o}/seen\n'''\n",
            o = outside.display()
        ),
    );
    std::fs::create_dir(&outside).unwrap();
    let ran = project.run();
    ran.code(0);
    assert_eq!(std::fs::read_to_string(outside.join("seen")).unwrap(), "private\n");
    if ran.stderr.contains("isolation view") {
        assert_eq!(
            std::fs::read_to_string(outside.join("pwd")).unwrap().trim_end(),
            project.root.to_str().unwrap()
        );
    } else {
        not_run("paths_are_the_workspaces_own", "no mount namespace here");
    }
}

#[test]
fn in_place_works_on_the_real_tree_also_when_it_fails() {
    let project =
        Project::new("[vm.host]\nstrategy = \"in_place\"\n[[tool]]\nname = \"t\"\nscript = \"echo x > x; exit 4\"\n");
    let mut command = project.command(["run"]);
    command.env_remove("DEVSHELL__VM__HOST__STRATEGY");
    crate::support::finish(command).code(4).says("in_place");
    assert_eq!(project.read("x"), "x\n");
}

#[test]
fn a_second_run_carries_nothing_that_did_not_change_and_sees_every_edit() {
    let project = Project::new("[vm.host]\nstrategy = \"copy\"\n[[tool]]\nname = \"t\"\nscript = \"cat a b\"\n");
    project.write("a", "a1\n");
    project.write("b", "b1\n");
    // What is younger than a tick of the file system's clock would be carried twice, to be sure.
    std::thread::sleep(std::time::Duration::from_millis(50));
    project.run().code(0);
    // Same size, and as fast after the run as a program can be.
    project.write("a", "a2\n");
    let second = project.devshell(&["run", "--output", "json"]);
    let pushed = events(&second.code(0).out(), "sync_finished")
        .into_iter()
        .find(|e| e["direction"] == "push")
        .unwrap();
    assert_eq!(pushed["files"], 1, "{pushed}");
    assert!(second.out().contains("a2") && second.out().contains("b1"));
}

#[test]
fn what_a_user_deleted_does_not_come_back_and_leftovers_of_a_failed_run_are_not_seen() {
    let project =
        Project::new("[[tool]]\nname = \"t\"\nscript = \"ls; test ! -e stop || { touch left; rm kept; exit 1; }\"\n");
    for name in ["gone", "stop", "kept"] {
        project.write(name, name);
    }
    project.run().code(1);
    std::fs::remove_file(project.path("gone")).unwrap();
    std::fs::remove_file(project.path("stop")).unwrap();
    let ran = project.run();
    let listed = ran.code(0).out();
    assert!(
        listed.contains("kept") && !listed.contains("gone") && !listed.contains("left"),
        "{listed}"
    );
    assert!(!project.exists("gone") && !project.exists("left"));
}

#[test]
fn the_choice_of_tools_is_the_callers() {
    let project = Project::new(
        r#"
[[tool]]
name = "a"
script = "echo a >> log"
[[tool]]
name = "b"
script = "echo b >> log; exit 7"
[[tool]]
name = "c"
script = "echo c >> log"
[[tool]]
name = "d"
script = "exit 9"
"#,
    );
    let chosen = project.devshell(&["run", "--only", "c,a", "--events", "e"]);
    chosen.code(0).says("devshell: 2 tools skipped: not in --only\n");
    assert_eq!(
        chosen.stderr.matches(" skipped: not in --only").count(),
        1,
        "{}",
        chosen.stderr
    );
    let skipped = events(&project.read("e"), "tool_skipped");
    assert_eq!(
        skipped.iter().map(|event| &event["tool"]).collect::<Vec<_>>(),
        ["b", "d"]
    );
    assert_eq!(project.read("log"), "a\nc\n", "in the order of the config");
    project.devshell(&["run", "--from", "c", "--only", "c"]).code(0);
    assert_eq!(project.read("log"), "a\nc\nc\n");
    let kept_going = project.devshell(&["run", "--keep-going"]);
    kept_going.code(7).says("tool=b");
    assert!(
        kept_going.stderr.contains("] d failed with code 9"),
        "{}",
        kept_going.stderr
    );
    let slow = ["--set", "tool.d.script=sleep 60", "--set", "tool.d.timeout=100ms"];
    let args = [&["run", "--keep-going"][..], &slow].concat();
    project
        .devshell(&args)
        .code(7)
        .says("devshell: warning: `d`: timeout after 100ms\n");
    project.devshell(&["run", "--only", "cc"]).code(64).says("no tool `cc`");
}

#[test]
fn a_tolerated_failure_is_reported_and_does_not_decide() {
    let project = Project::new(
        r#"
[[tool]]
name = "lint"
script = "echo lint > linted; exit 5"
continue_on_error = true
[[tool]]
name = "missing"
run = ["no-such-program-anywhere"]
continue_on_error = true
[[tool]]
name = "after"
run = ["touch", "after"]
"#,
    );
    project
        .run()
        .code(0)
        .says("lint failed with code 5 (tolerated)")
        .says("missing not found (tolerated)");
    assert!(project.exists("after") && project.exists("linted"));
}

#[test]
fn when_is_judged_in_the_view_at_the_tools_turn() {
    let project = Project::new(
        r#"
[[tool]]
name = "make"
run = ["touch", "made"]
[[tool]]
name = "made"
run = ["touch", "ran-made"]
when = { exists = "made" }
[[tool]]
name = "absent"
run = ["touch", "ran-absent"]
when = { exists = "absent" }
[[tool]]
name = "env"
run = ["touch", "ran-env"]
when = { env = "CHOSEN", os = "linux" }
[[tool]]
name = "other-os"
run = ["touch", "ran-os"]
when = { os = "windows" }
"#,
    );
    let ran = project.run();
    ran.code(0)
        .says("absent skipped: when.exists")
        .says("env skipped: when.env")
        .says("other-os skipped: when.os");
    assert!(project.exists("ran-made") && !project.exists("ran-absent") && !project.exists("ran-env"));
    let mut command = project.command(["run"]);
    command.env("CHOSEN", "1");
    crate::support::finish(command).code(0);
    assert!(project.exists("ran-env"));
}

#[test]
fn tools_get_the_callers_environment_their_own_and_an_empty_stdin() {
    let project = Project::new(
        r#"
[env]
SHARED = "all"
OWN = "shared"
[[tool]]
name = "t"
script = 'echo "$CALLER|$SHARED|$OWN|$GIT_OPTIONAL_LOCKS|$(cat)"'
env = { OWN = "tool" }
"#,
    );
    let mut command = project.command(["run"]);
    command.env("CALLER", "from outside");
    let ran = crate::support::finish(command);
    assert_eq!(ran.code(0).out(), "from outside|all|tool|0|\n");
    let mut command = project.command(["run", "--set", "sandbox.pass_env=[\"PATH\"]"]);
    command.env("CALLER", "from outside");
    assert_eq!(crate::support::finish(command).code(0).out(), "|all|tool|0|\n");
}

#[test]
fn exec_runs_in_the_callers_folder_reads_stdin_and_needs_no_config() {
    let project = Project::named("bare");
    project.write("sub/in", "x");
    let mut command = project.command(["exec", "--", "sh", "-c", "cat > copied; pwd"]);
    command.current_dir(project.path("sub"));
    command.stdin(std::process::Stdio::from(
        std::fs::File::open(project.path("sub/in")).unwrap(),
    ));
    let ran = crate::support::finish(command);
    ran.code(0);
    assert_eq!(
        project.read("sub/copied"),
        "x",
        "without a config the current folder is the workspace"
    );

    project.write("devshell.toml", "");
    let mut command = project.command(["exec", "--", "sh", "-c", "echo 1 > here; echo 2 > ../above"]);
    command.current_dir(project.path("sub"));
    crate::support::finish(command).code(0);
    assert_eq!(
        (project.read("sub/here"), project.read("above")),
        ("1\n".into(), "2\n".into())
    );
}

#[test]
fn write_back_never_keeps_and_always_commits_a_failure() {
    let project = Project::new("[[tool]]\nname = \"t\"\nscript = \"echo x > x; test ! -e fail\"\n");
    let ran = project.devshell(&["run", "--write-back", "never"]);
    ran.code(0);
    assert!(!project.exists("x"));
    project.devshell(&["results", "drop", ran.kept()]).code(0);
    project.write("fail", "");
    project.devshell(&["run", "--write-back", "always"]).code(1);
    assert_eq!(project.read("x"), "x\n");
}

#[test]
fn a_run_with_nothing_due_prepares_nothing() {
    let project = Project::new("[[tool]]\nname = \"t\"\nrun = [\"true\"]\nwhen = { os = \"windows\" }\n");
    let ran = project.devshell(&["run", "--output", "json"]);
    assert!(events(&ran.code(0).out(), "session_starting").is_empty());
    assert!(std::fs::read_dir(project.beside("cache")).unwrap().next().is_none());
}

#[test]
fn cache_folders_are_used_and_not_carried() {
    for strategy in ["overlay", "copy"] {
        for there in [true, false] {
            cache_folders(strategy, there);
        }
    }
}

fn cache_folders(strategy: &str, there: bool) {
    let project = Project::new(&format!(
        "[vm.host]\nstrategy = \"{strategy}\"\n{}",
        "[workspace]\ncache_dirs = [\"target/\"]\n[[tool]]\nname = \"t\"\nscript = \"mkdir -p target; echo x >> target/cache; wc -l < target/cache; test ! -e fail\"\n"
    ));
    if there {
        project.write("target/host", "the host's own");
    }
    project.write("fail", "");
    assert_eq!(project.run().code(1).out().trim(), "1");
    std::fs::remove_file(project.path("fail")).unwrap();
    assert_eq!(
        project.run().code(0).out().trim(),
        "2",
        "a failed run keeps what was compiled"
    );
    // An overlay uses the real folder, a copy has one of its own.
    assert_eq!(project.exists("target/cache"), strategy == "overlay");
    assert_eq!(project.exists("target/host"), there);
}

#[test]
fn a_git_repository_is_sound_after_a_commit_and_its_index_is_left_alone() {
    if !has("git") {
        return not_run("a_git_repository_is_sound", "no git here");
    }
    let project = Project::new(
        "[[tool]]\nname = \"t\"\nscript = \"git status --short; git add -A; git -c user.name=n -c user.email=e commit -qm two\"\n",
    );
    let git = |args: &[&str]| {
        let done = std::process::Command::new("git")
            .args(["-c", "user.name=n", "-c", "user.email=e"])
            .args(args)
            .current_dir(&project.root)
            .output()
            .unwrap();
        assert!(done.status.success(), "{done:?}");
        String::from_utf8(done.stdout).unwrap()
    };
    git(&["init", "-q"]);
    git(&["add", "-A"]);
    git(&["commit", "-qm", "one"]);
    let index = project.tree().get(".git/index").clone();
    project
        .devshell(&["run", "--set", "tool.t.script=git status --short"])
        .code(0);
    assert_eq!(project.tree().get(".git/index"), &index);
    project.write("new", "new");
    assert_eq!(project.run().code(0).out(), "?? new\n");
    assert_eq!(git(&["status", "--short"]), "");
    assert_eq!(git(&["log", "--format=%s"]), "two\none\n");
    git(&["fsck", "--strict"]);
}

/// The events of one type in a JSON stream.
pub fn events(stream: &str, kind: &str) -> Vec<serde_json::Value> {
    stream
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .filter(|event| event["type"] == kind)
        .collect()
}
