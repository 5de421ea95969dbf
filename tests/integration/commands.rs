//! The commands beside `run` and `exec`.

use crate::support::{Project, finish, tree};

const VALID: &str = "[run]\ntimeout = \"1h\"\n[[tool]]\nname = \"t\"\nrun = [\"cargo\", \"test\"]\ntimeout = \"5m\"\n";

#[test]
fn check_shows_all_faults_at_once_with_place_and_nearest_name() {
    let project = Project::new(
        "[vm]\nbackned = \"host\"\n[run]\ntimeout = \"5 parsecs\"\nfail_fast = 3\n[[tool]]\nname = \"a\"\n",
    );
    let ran = project.devshell(&["check"]);
    ran.code(78);
    for text in [
        "devshell.toml:2:1",
        "backend",
        "devshell.toml:4:11",
        "devshell.toml:5:13",
        "devshell.toml:7:8",
    ] {
        ran.says(text);
    }
}

#[test]
fn config_prints_what_a_config_can_be_made_of() {
    let project = Project::new(VALID);
    let mut command = project.command(["config", "--set", "run.grace_period=3s"]);
    command.env("DEVSHELL_VM_EAGER", "on");
    let printed = finish(command);
    let text = printed.code(0).out();
    assert!(
        text.contains("eager_start = true")
            && text.contains("grace_period = \"3s\"")
            && text.contains("timeout = \"1h\""),
        "{text}"
    );
    project.write("again.toml", &text);
    let again = project.devshell(&["config", "again.toml"]);
    assert_eq!(
        again.code(0).out(),
        text,
        "what config prints is a config that means the same"
    );
    let json: serde_json::Value =
        serde_json::from_str(&project.devshell(&["config", "--format", "json"]).code(0).out()).unwrap();
    assert_eq!(json["tool"][0]["name"], "t");
}

#[test]
fn config_tells_where_a_value_came_from() {
    let project = Project::new(VALID);
    let mut command = project.command(["config", "--origins", "--set", "run.grace_period=3s"]);
    command.env("DEVSHELL_VM_EAGER", "on");
    let printed = finish(command).code(0).out();
    for text in ["devshell.toml:2:11", "DEVSHELL_VM_EAGER", "--set"] {
        assert!(printed.contains(text), "`{text}` is not in:\n{printed}");
    }
}

#[test]
fn plan_says_what_run_would_do_and_touches_nothing() {
    let project = Project::new(VALID);
    let before = (
        project.tree(),
        tree(&project.beside("cache")),
        tree(&project.beside("state")),
    );
    let text = project.devshell(&["plan"]).code(0).out();
    for part in ["host", "cargo test", "5m", "on_success"] {
        assert!(text.contains(part), "`{part}` is not in:\n{text}");
    }
    assert_eq!(
        (
            project.tree(),
            tree(&project.beside("cache")),
            tree(&project.beside("state"))
        ),
        before
    );
}

#[test]
fn results_are_listed_shown_and_dropped_and_at_most_three_stay() {
    let project = Project::new("");
    assert!(project.devshell(&["results"]).code(0).out().contains("no kept results"));
    project.devshell(&["results", "diff"]).code(64).says("no kept result");
    let mut ids = Vec::new();
    for index in 0..5 {
        let script = format!("echo {index} > file; exit 1");
        let ran = project.devshell(&["exec", "--", "sh", "-c", &script]);
        ids.push(ran.code(1).kept().to_owned());
    }
    let list = project.devshell(&["results", "list"]).code(0).out();
    assert_eq!(ids.iter().filter(|id| list.contains(*id)).count(), 3, "{list}");
    assert!(list.find(&ids[4]) < list.find(&ids[3]), "the newest first: {list}");
    assert!(
        project.devshell(&["results", "diff"]).code(0).out().contains("+4"),
        "the newest is meant"
    );
    assert!(
        project
            .devshell(&["results", "diff", &ids[4]])
            .code(0)
            .out()
            .contains("+4")
    );
    project
        .devshell(&["results", "drop", "nonsense"])
        .code(64)
        .says("nonsense");
    project.devshell(&["results", "drop", &ids[4]]).code(0);
    project.devshell(&["results", "drop", "--all"]).code(0);
    assert!(project.devshell(&["results"]).code(0).out().contains("no kept results"));
}

#[test]
fn clean_removes_what_is_left_and_never_a_kept_result() {
    let project = Project::new("[vm.host]\nstrategy = \"copy\"\n");
    let ran = project.devshell(&["exec", "--", "sh", "-c", "echo x > x; exit 1"]);
    let id = ran.code(1).kept().to_owned();
    let staged = || tree(&project.beside("cache")).0.len();
    assert!(staged() > 2);
    project.devshell(&["clean"]).code(0);
    assert!(
        staged() > 2,
        "the copy of a workspace that is there serves the next run"
    );
    project.devshell(&["clean", "--all"]).code(0);
    assert!(staged() <= 3, "{:?}", tree(&project.beside("cache")));
    project.devshell(&["results", "apply", &id]).code(0);
    assert!(project.exists("x"));
}

#[test]
fn clean_leaves_alone_what_a_run_is_using() {
    let project = Project::new("");
    let (pause, marker, go) = project.pause();
    let script = format!("{pause}; cat devshell.toml > copy");
    project.write(
        "devshell.toml",
        format!("[[tool]]\nname = \"t\"\nscript = '''{script}'''\n"),
    );
    let running = project.start_until(&["run"], &marker);
    project.devshell(&["clean", "--all"]).code(0);
    std::fs::write(&go, "").unwrap();
    running.end().code(0);
    assert!(project.exists("copy"));
}

#[test]
fn every_command_has_help_with_examples() {
    let project = Project::named("bare");
    for command in [
        "run",
        "exec",
        "check",
        "config",
        "plan",
        "results",
        "clean",
        "init",
        "schema",
        "completions",
        "man",
    ] {
        let text = project.devshell(&[command, "--help"]).code(0).out();
        assert!(text.contains("Examples:"), "{command}:\n{text}");
    }
    let text = project.devshell(&["--help"]).code(0).out();
    assert!(text.contains("Exit codes:"), "{text}");
}

#[test]
fn an_unknown_variable_of_ours_is_a_warning_and_a_malformed_one_an_error() {
    let project = Project::new("[[tool]]\nname = \"t\"\nrun = [\"true\"]\n");
    let mut command = project.command(["run"]);
    command.env("DEVSHELL_VM_BACKNED", "host");
    finish(command)
        .code(0)
        .says("DEVSHELL_VM_BACKNED")
        .says("DEVSHELL_VM_BACKEND");
    let mut command = project.command(["run"]);
    command.env("DEVSHELL_VM_EAGER", "perhaps");
    finish(command).code(78).says("DEVSHELL_VM_EAGER");
}

#[test]
fn check_needs_no_folder_of_devshells_own_and_says_that_a_run_would() {
    let project = Project::new("[[tool]]\nname = \"t\"\nrun = [\"true\"]\n");
    let without = |args: &[&str], home: Option<&str>| {
        let mut command = project.command(args);
        for name in ["HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME"] {
            command.env_remove(name);
        }
        command.envs(home.map(|home| ("HOME", home)));
        finish(command)
    };
    const NONE: &str = "so there is no cache folder and no state folder; set HOME";
    let checked = without(&["check"], None);
    assert!(checked.code(0).out().ends_with("devshell.toml: valid, 1 tool\n"));
    checked.says(&format!(
        "warning: a run would not begin here: HOME is not set, {NONE} or DEVSHELL_EXPORT_BASE"
    ));
    without(&["run"], None).code(78).says(&format!(
        "error: HOME is not set, {NONE} or DEVSHELL_EXPORT_BASE and XDG_STATE_HOME"
    ));
    without(&["run"], Some("me/x")).code(78).says(&format!(
        "error: HOME is `me/x`, which is not absolute, {NONE} to an absolute path or"
    ));
    project.write("devshell.toml", "[[tool]]\nname = \"t\"\n");
    without(&["check"], None).code(78);
}
