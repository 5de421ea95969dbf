//! Finding the file, merging the layers, owning the paths.

use super::*;

#[test]
fn tools_without_a_name_take_their_programs_name_numbered() {
    let config = config(
        "[[tool]]\nrun = [\"/usr/bin/cargo\", \"a\"]\n[[tool]]\nname = \"cargo-2\"\nrun = [\"b\"]\n[[tool]]\nrun = [\"cargo\"]\n[[tool]]\nscript = \"x\"\n[[tool]]\nrun = [\"g++\"]\n",
    );
    let names: Vec<&str> = config.tool.iter().map(|tool| tool.name.as_str()).collect();
    assert_eq!(names, ["cargo", "cargo-2", "cargo-3", "sh", "g__"]);
}

#[test]
fn layers_win_in_their_order_and_origins_tell() {
    let text = "[vm.host]\nstrategy = \"copy\"\n[profile.ci.vm.host]\nstrategy = \"in_place\"\n";
    let strategy = |project: Project| project.load().config.vm.host.strategy;
    assert_eq!(strategy(Project::new("")), Strategy::Auto);
    assert_eq!(strategy(Project::new(text)), Strategy::Copy);
    assert_eq!(strategy(Project::new(text).profile("ci")), Strategy::InPlace);
    let env = || {
        Project::new(text)
            .profile("ci")
            .env("DEVSHELL__VM__HOST__STRATEGY", "overlay")
    };
    assert_eq!(strategy(env()), Strategy::Overlay);
    let all = env().set("vm.host.strategy=auto").load();
    assert_eq!(all.config.vm.host.strategy, Strategy::Auto);

    let places: Vec<String> = all
        .origins
        .of("vm.host.strategy")
        .iter()
        .map(|origin| origin.place.to_string())
        .collect();
    assert_eq!(
        places[1..],
        [
            "devshell.toml:2:12",
            "devshell.toml:4:12",
            "DEVSHELL__VM__HOST__STRATEGY",
            "--set vm.host.strategy"
        ]
    );
    let line = all
        .origins_text()
        .lines()
        .find(|line| line.starts_with("vm.host.strategy "))
        .unwrap()
        .to_owned();
    assert_eq!(
        line,
        "vm.host.strategy = \"auto\"  # --set vm.host.strategy; shadows \"overlay\" (DEVSHELL__VM__HOST__STRATEGY), \"in_place\" (devshell.toml:4:12), \"copy\" (devshell.toml:2:12), \"auto\" (default)"
    );
}

#[test]
fn a_profile_merges_tools_by_name_and_appends_new_ones() {
    let text = r#"
[env]
A = "1"
[workspace]
ignore = ["a", "b"]
[[tool]]
name = "one"
run = ["one"]
env = { X = "1" }
[[tool]]
name = "two"
script = "two"
[profile.ci]
env = { B = "2" }
workspace.ignore = ["c"]
[[profile.ci.tool]]
name = "two"
run = ["zwei"]
[[profile.ci.tool]]
name = "three"
run = ["three"]
[[profile.ci.tool]]
name = "one"
timeout = "1m"
env = { Y = "2" }
"#;
    let config = Project::new(text).profile("ci").load().config;
    let names: Vec<&str> = config.tool.iter().map(|tool| tool.name.as_str()).collect();
    assert_eq!(names, ["one", "two", "three"]);
    assert_eq!(config.tool[0].timeout, Some(Duration::from_secs(60)));
    assert_eq!(config.tool[0].env.len(), 2);
    assert_eq!(config.tool[1].run.as_deref(), Some(&["zwei".to_owned()][..]));
    assert_eq!(config.tool[1].script, None);
    assert_eq!(config.env.len(), 2);
    assert_eq!(config.workspace.ignore, ["c"]);
    assert_eq!(Project::new(text).load().config.tool.len(), 2);
}

#[test]
fn tools_that_a_profile_brings_are_addressed_by_name_too() {
    let text = "[[profile.ci.tool]]\nname = \"unit-test\"\nrun = [\"a\"]\nretries = { count = 1, delay = \"1s\" }\n";
    let project = || Project::new(text).env("DEVSHELL_PROFILE", "ci");
    let tool = project()
        .env("DEVSHELL__TOOL__UNIT_TEST__CWD", "sub")
        .set("tool.unit-test.timeout=5m")
        .set("tool.unit-test.retries.count=3")
        .set("tool.unit-test.env.A=1")
        .set("tool.unit-test.when={ os = \"linux\" }")
        .load()
        .config
        .tool
        .remove(0);
    assert_eq!(tool.timeout, Some(Duration::from_secs(300)));
    let retries = tool.retries.unwrap();
    assert_eq!((retries.count, retries.delay.as_secs()), (3, 1));
    assert_eq!((tool.cwd.as_deref(), tool.env["A"].as_str()), (Some("sub"), "1"));
    assert_eq!(tool.when.unwrap().os.as_deref(), Some("linux"));
    // Without the profile there is no such tool.
    let shown = Project::new(text).set("tool.unit-test.timeout=5m").faults();
    assert!(shown.contains("there is no tool `unit-test`"), "{shown}");
    let shown = project().set("tool.unit-test=5m").faults();
    assert!(
        shown.contains("`tool.unit-test` is a tool, not a key of one"),
        "{shown}"
    );
}

#[test]
fn profiles_that_are_not_chosen_are_checked_too() {
    let shown = faults("[profile.ci.vm]\nbakend = \"lima\"\n[[profile.ci.tool]]\nname = \"x\"\n");
    assert!(shown.contains("unknown key `bakend` in [profile.ci.vm]"), "{shown}");
    assert!(shown.contains("the tool `x` has neither `run` nor `script`"), "{shown}");
}

#[test]
fn an_unknown_profile_is_a_fault_with_the_nearest_name() {
    let text = "[profile.release]\n[profile.ci]\n";
    insta::assert_snapshot!(Project::new(text).profile("relase").faults(), @r#"
    error: there is no profile `relase`
     --> --profile
     |
     | relase
     | ^^^^^^
     = help: did you mean `release`?
     = help: profiles: `release`, `ci`

    1 fault in --profile
    "#);
    let shown = Project::new("").env("DEVSHELL_PROFILE", "ci").faults();
    assert!(
        shown.contains("--> DEVSHELL_PROFILE") && shown.contains("the config has no profiles"),
        "{shown}"
    );
    Project::new("").env("DEVSHELL_PROFILE", "").load();
}

#[test]
fn the_file_is_found_in_the_nearest_parent_and_owns_its_paths() {
    let mut project = Project::new("[sandbox]\nwritable = [\"out\", \"~/.cargo\"]\n").env("HOME", "/home/me");
    fs::create_dir_all(project.path("a/b")).unwrap();
    project.request.cwd = project.path("a/b");
    let loaded = project.load();
    assert_eq!(loaded.file, Some(project.path("devshell.toml")));
    assert_eq!(loaded.config.workspace.root, project.dir.path());
    assert_eq!(
        loaded.config.sandbox.writable,
        [project.path("out"), "/home/me/.cargo".into()]
    );

    let project = project
        .set("workspace.root=../x")
        .env("DEVSHELL_VM_WORKSPACE_PARENT", "stage");
    let loaded = project.load();
    assert_eq!(loaded.config.workspace.root, project.path("a/b/../x"));
    assert_eq!(loaded.config.vm.workspace_parent, Some(project.path("a/b/stage")));
}

#[test]
fn a_tilde_without_a_home_is_a_fault() {
    let shown = faults("[sandbox]\nwritable = [\"~/.cargo\"]\n");
    assert!(shown.contains("starts with `~`, and HOME is not set"), "{shown}");
}

#[test]
fn a_missing_file_is_told_from_an_unreadable_and_from_an_invalid_one() {
    let mut project = Project::empty();
    project.request.required = false;
    assert_eq!(project.load().file, None);
    project.request.file = Some("other.toml".into());
    assert!(matches!(
        load(&project.request),
        Err(ConfigError::Missing(Missing::Named(_)))
    ));
    project.request.file = Some(".".into());
    let error = load(&project.request).unwrap_err();
    assert!(matches!(error, ConfigError::Unreadable { .. }), "{error}");
    assert!(error.to_string().contains("name the file, not its folder"), "{error}");
    std::os::unix::fs::symlink("nowhere", project.path("devshell.toml")).unwrap();
    project.request.file = None;
    assert!(project.faults().contains("symlink to nothing"));
}

#[test]
fn without_any_file_above_the_folder_is_named() {
    let mut project = Project::empty();
    // Nothing lies above the root, whatever lies above the temporary folder.
    project.request.cwd = "/".into();
    let error = load(&project.request).unwrap_err();
    assert!(matches!(error, ConfigError::Missing(Missing::Above(_))), "{error}");
}

#[test]
fn the_effective_config_is_a_valid_config_and_the_same() {
    let text = "[env]\nA = \"1\"\n[run]\ntimeout = \"90s\"\n[[tool]]\nname = \"x\"\nrun = [\"a\"]\nretries = 2\nwhen = { os = \"linux\" }\n[[tool]]\nscript = \"a\\nb\"\n";
    let first = Project::new(text).load();
    let again = Project::new(&first.to_toml()).load();
    assert_eq!(again.config, first.config);
    assert_eq!(first.to_json()["run"]["timeout"], "1m 30s");
    assert_eq!(first.to_json()["vm"]["lima"]["memory"], "4GiB");
}
