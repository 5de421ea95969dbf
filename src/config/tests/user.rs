//! The user's file.

use super::*;

fn with_user(text: &str, user: &str) -> Project {
    let project = Project::new(text);
    fs::create_dir_all(project.path("home/.config/devshell")).unwrap();
    fs::write(project.path("home/.config/devshell/config.toml"), user).unwrap();
    let home = project.path("home").to_str().unwrap().to_owned();
    project.env("HOME", &home)
}

#[test]
fn it_lies_between_the_defaults_and_the_projects_file() {
    let user = "[vm]\nbackend = \"lima\"\nlima.cpus = 8\nworkspace_parent = \"stage\"\n[run]\ngrace_period = \"1s\"\ntimeout = \"1h\"\n";
    let loaded = with_user("[run]\ngrace_period = \"2s\"\n", user).load();
    assert_eq!(loaded.config.vm.backend, BackendName::Lima);
    assert_eq!(
        (loaded.config.vm.lima.cpus, loaded.config.run.timeout.as_secs()),
        (8, 3600)
    );
    assert_eq!(loaded.config.run.grace_period.as_secs(), 2);
    let file = loaded.user_file.unwrap();
    assert_eq!(loaded.config.vm.workspace_parent, Some(file.with_file_name("stage")));
    let origins = loaded.origins.of("run.grace_period");
    let ranks: Vec<Rank> = origins.iter().map(|origin| origin.rank).collect();
    assert_eq!(ranks, [Rank::Default, Rank::User, Rank::File]);
    assert_eq!(origins[1].place.to_string(), "home/.config/devshell/config.toml:6:16");
}

#[test]
fn xdg_config_home_is_asked_first_and_must_be_absolute() {
    let project = with_user("", "[vm.lima]\ncpus = 3\n");
    fs::create_dir_all(project.path("xdg/devshell")).unwrap();
    fs::write(project.path("xdg/devshell/config.toml"), "[vm.lima]\ncpus = 4\n").unwrap();
    let xdg = project.path("xdg").to_str().unwrap().to_owned();
    let elsewhere = project.path("nowhere").to_str().unwrap().to_owned();
    let cpus = |value: &str| {
        let mut request = project.request.clone();
        request.env.push(("XDG_CONFIG_HOME".into(), value.into()));
        load(&request).unwrap().config.vm.lima.cpus
    };
    assert_eq!((cpus(&xdg), cpus(&elsewhere), cpus("xdg"), cpus("")), (4, 2, 3, 3));
    assert_eq!(Project::new("").load().user_file, None);
}

#[test]
fn what_is_run_is_not_the_users_to_say_and_all_faults_of_both_files_are_told() {
    let user =
        "[vm]\nbakend = \"lima\"\n[workspace]\nroot = \"/\"\n[[tool]]\nrun = \"x\"\n[profile.ci]\n[env]\nA = 1\n";
    insta::assert_snapshot!(with_user("[run]\ntimeout = 1\n", user).env("DEVSHELL_VM", "x").faults(), @r#"
    error: unknown key `bakend` in [vm]
      --> home/.config/devshell/config.toml:2:1
      |
    2 | bakend = "lima"
      | ^^^^^^
      = help: did you mean `backend`?
      = help: keys of [vm]: `enabled`, `backend`, `workspace_mode`, `eager_start`, `guest_workspace`, `workspace_parent`, `exec_timeout`, `ready_timeout`, `host`, `lima`, `beta`, `remote`

    error: `workspace` does not belong in the user's file
      --> home/.config/devshell/config.toml:3:2
      |
    3 | [workspace]
      |  ^^^^^^^^^
      = help: put it into the project's devshell.toml: what is run, and on what, is the same for all its users
      = help: keys of the user's file: `vm`, `run`

    error: `tool` does not belong in the user's file
      --> home/.config/devshell/config.toml:5:3
      |
    5 | [[tool]]
      |   ^^^^
      = help: put it into the project's devshell.toml: what is run, and on what, is the same for all its users
      = help: keys of the user's file: `vm`, `run`

    error: `profile` does not belong in the user's file
      --> home/.config/devshell/config.toml:7:2
      |
    7 | [profile.ci]
      |  ^^^^^^^
      = help: put it into the project's devshell.toml: what is run, and on what, is the same for all its users
      = help: keys of the user's file: `vm`, `run`

    error: `env` does not belong in the user's file
      --> home/.config/devshell/config.toml:8:2
      |
    8 | [env]
      |  ^^^
      = help: put it into the project's devshell.toml: what is run, and on what, is the same for all its users
      = help: keys of the user's file: `vm`, `run`

    error: `run.timeout` must be a duration such as "90s" or "10m", found a whole number
      --> devshell.toml:2:11
      |
    2 | timeout = 1
      |           ^
      = help: with its unit: "1s"

    error: neither on nor off: `x`
     --> DEVSHELL_VM
     |
     | x
     | ^
     = help: on: `on`, `1`, `true`, `yes`; off: `off`, `0`, `false`, `no`

    7 faults in home/.config/devshell/config.toml, devshell.toml, DEVSHELL_VM
    "#);
}

#[test]
fn one_that_is_there_and_cannot_be_read_is_a_fault_beside_the_others() {
    let project = Project::new("[run]\nx = 1\n");
    fs::create_dir_all(project.path("home/.config/devshell/config.toml")).unwrap();
    let home = project.path("home").to_str().unwrap().to_owned();
    let shown = project.env("HOME", &home).faults();
    assert!(
        shown.starts_with(
            "error: cannot read the user's file: Is a directory (os error 21)\n --> home/.config/devshell/config.toml\n = help: a file is looked for there: move the folder away\n\nerror: unknown key `x` in [run]\n"
        ),
        "{shown}"
    );
}

#[test]
fn a_home_that_is_no_folder_has_none() {
    let project = Project::new("");
    let home = project.path("devshell.toml").to_str().unwrap().to_owned();
    let loaded = project.env("HOME", &home).load();
    assert_eq!((loaded.user_file, loaded.warnings.len()), (None, 0));
}
