//! What variables and flags say.

use super::*;

#[test]
fn variables_are_read_as_the_keys_type_wants() {
    let loaded = Project::new("[[tool]]\nname = \"unit-test\"\nrun = [\"a\"]\n")
        .env("DEVSHELL__ENV__Port", "8080")
        .env("DEVSHELL__ENV__QUOTED", "\"x\\ty\"")
        .env("DEVSHELL__ENV__HALF", "\"x")
        .env("DEVSHELL__WORKSPACE__IGNORE", "[\"a\", 'b']")
        .env("DEVSHELL__VM__LIMA__CPUS", "4")
        .env("DEVSHELL__VM__LIMA__MEMORY", "8GiB")
        .env("DEVSHELL__RUN__FAIL_FAST", "false")
        .env("DEVSHELL__TOOL__UNIT_TEST__TIMEOUT", "5m")
        .env("DEVSHELL__TOOL__UNIT_TEST__RETRIES", "{ count = 2, delay = \"1s\" }")
        .load();
    let config = loaded.config;
    assert_eq!(config.env["Port"], "8080");
    assert_eq!(config.env["QUOTED"], "x\ty");
    assert_eq!(config.env["HALF"], "\"x");
    assert_eq!(config.workspace.ignore, ["a", "b"]);
    assert_eq!((config.vm.lima.cpus, config.vm.lima.memory), (4, Size(8 << 30)));
    assert!(!config.run.fail_fast);
    assert_eq!(config.tool[0].timeout, Some(Duration::from_secs(300)));
    assert_eq!(config.tool[0].retries.as_ref().map(|retries| retries.count), Some(2));
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
}

#[test]
fn a_malformed_variable_is_a_fault_that_names_it() {
    insta::assert_snapshot!(
        Project::new("")
            .env("DEVSHELL_VM", "maybe")
            .env("DEVSHELL_VM_EXEC_TIMEOUT_MS", "1s")
            .env("DEVSHELL__VM__HOST__STRATEGY", "cpy")
            .env("DEVSHELL__WORKSPACE__IGNORE", "target")
            .faults(),
        @r#"
    error: neither on nor off: `maybe`
     --> DEVSHELL_VM
     |
     | maybe
     | ^^^^^
     = help: on: `on`, `1`, `true`, `yes`; off: `off`, `0`, `false`, `no`

    error: no number of milliseconds: `1s`
     --> DEVSHELL_VM_EXEC_TIMEOUT_MS
     |
     | 1s
     | ^^
     = help: write a whole number, as in `90000`; 0 is none

    error: `vm.host.strategy` must be one of `auto`, `overlay`, `copy`, `in_place`, not `cpy`
     --> DEVSHELL__VM__HOST__STRATEGY
     |
     | cpy
     | ^^^
     = help: did you mean `copy`?

    error: `workspace.ignore` must be a list of strings, found a string
     --> DEVSHELL__WORKSPACE__IGNORE
     |
     | target
     | ^^^^^^
     = help: as a list: ["target"]

    4 faults in DEVSHELL_VM, DEVSHELL_VM_EXEC_TIMEOUT_MS, DEVSHELL__VM__HOST__STRATEGY, DEVSHELL__WORKSPACE__IGNORE
    "#
    );
}

#[test]
fn a_value_that_is_not_utf8_is_a_fault_for_known_names_only() {
    use std::os::unix::ffi::OsStringExt;
    let mut project = Project::new("");
    let bad = OsString::from_vec(vec![b'a', 0xff]);
    for name in [
        "DEVSHELL_VM_BACKEND",
        "DEVSHELL__VM__BACKEND",
        "DEVSHELL_EXPORT_BASE",
        "DEVSHELL_X",
        "OTHER",
    ] {
        project.request.env.push((name.into(), bad.clone()));
    }
    let shown = project.faults();
    assert!(
        shown.ends_with("2 faults in DEVSHELL_VM_BACKEND, DEVSHELL__VM__BACKEND"),
        "{shown}"
    );
}

#[test]
fn unknown_variables_are_warnings_with_the_nearest_name() {
    let loaded = Project::new("")
        .env("DEVSHELL_VM_BAKEND", "lima")
        .env("DEVSHELL__VM__BAKEND", "lima")
        .env("DEVSHELL_SOMETHING_ELSE_ENTIRELY", "1")
        .env("DEVSHELL_UNSET", "")
        .env("DEVSHELL_TEST_LIMA", "1")
        .env("DEVSHELL_RUN_ID", "x")
        .env("DEVSHELL_VM_LOG", "x")
        .env("DEVSHELLS", "x")
        .load();
    assert_eq!(
        loaded.warnings,
        [
            "unknown variable DEVSHELL_SOMETHING_ELSE_ENTIRELY",
            "unknown variable DEVSHELL_VM_BAKEND; did you mean DEVSHELL_VM_BACKEND?",
            "unknown variable DEVSHELL__VM__BAKEND; did you mean DEVSHELL__VM__BACKEND?",
        ]
    );
    assert_eq!(loaded.config.vm.backend, BackendName::Auto);
}

/// An environment as a badly set-up machine hands it over: each odd value has its outcome.
#[test]
fn an_environment_full_of_odd_values_has_documented_outcomes() {
    use std::os::unix::ffi::OsStringExt;
    let long = "x".repeat(1 << 20);
    let odd_name = |tail: &[u8]| OsString::from_vec([b"DEVSHELL_", tail].concat());

    // Nobody else's variable matters, whatever it is.
    let mut project = Project::new("");
    project.request.env.extend([
        (OsString::from_vec(vec![0xff, 0xfe]), OsString::from_vec(vec![0xff])),
        ("OTHER".into(), long.clone().into()),
        (OsString::new(), "no name".into()),
        ("DEVSHELL".into(), "x".into()),
        // Ours: empty is unset, and what is read elsewhere is judged there.
        ("DEVSHELL_VM".into(), OsString::new()),
        ("DEVSHELL_EXPORT_BASE".into(), OsString::from_vec(vec![0xff])),
        // Names that nothing reads: a warning each, in one line and not at full length.
        (odd_name(b"\xff\x1b[31m"), "x".into()),
        (odd_name(b"A\nB"), "x".into()),
        (odd_name(long.as_bytes()), "x".into()),
        // Values of any kind for a variable of the tools.
        ("DEVSHELL__ENV__BLANK".into(), "  ".into()),
        ("DEVSHELL__ENV__LINES".into(), "a\nb\r\n".into()),
        ("DEVSHELL__ENV__LONG".into(), long.clone().into()),
        // A blank path is a path.
        ("DEVSHELL_VM_WORKSPACE_PARENT".into(), " ".into()),
    ]);
    let loaded = project.load();
    assert_eq!(loaded.warnings.len(), 3, "{:?}", loaded.warnings);
    for warning in &loaded.warnings {
        assert!(
            warning.starts_with("unknown variable DEVSHELL_") && warning.len() < 1000,
            "{warning}"
        );
        assert!(!warning.contains(char::is_control), "{warning:?}");
    }
    let env = &loaded.config.env;
    assert_eq!((env["BLANK"].as_str(), env["LINES"].as_str()), ("  ", "a\nb\r\n"));
    assert_eq!(env["LONG"].len(), long.len());
    assert_eq!(loaded.config.vm.workspace_parent, Some(project.path(" ")));
    assert!(
        loaded
            .origins_text()
            .contains("env.LINES = \"a\\nb\\r\\n\"  # DEVSHELL__ENV__LINES\n")
    );

    // Set but malformed is a fault that names the variable, and never a page long.
    let mut project = Project::new("");
    let malformed = [
        ("DEVSHELL_VM", " on".into()),
        ("DEVSHELL_VM_BACKEND", "lima\n".into()),
        ("DEVSHELL_VM_EAGER", " ".into()),
        ("DEVSHELL_VM_EXEC_TIMEOUT_MS", long.clone().into()),
        ("DEVSHELL_VM_SOCKET", OsString::from_vec(b"unix:\xff".to_vec())),
        ("DEVSHELL__RUN__FAIL_FAST", "\u{1b}[31m".into()),
        ("DEVSHELL__RUN__TIMEOUT", long.into()),
        ("DEVSHELL__WORKSPACE__IGNORE", "[\n\"a\",\n1]".into()),
    ];
    for (name, value) in &malformed {
        project.request.env.push(((*name).into(), value.clone()));
    }
    let shown = project.faults();
    assert!(shown.len() < 8000 && !shown.contains('\u{1b}'), "{}", shown.len());
    for (name, _) in malformed {
        assert_eq!(shown.matches(&format!("--> {name}\n")).count(), 1, "{name}:\n{shown}");
    }
    assert!(shown.contains("help: did you mean `lima`?"), "{shown}");
}

#[test]
fn an_empty_variable_counts_as_unset() {
    let loaded = Project::new("")
        .env("DEVSHELL_VM", "")
        .env("DEVSHELL__VM__BACKEND", "")
        .load();
    assert!(loaded.config.vm.enabled);
}

#[test]
fn the_mount_namespace_switch_raises_the_requirement_and_never_lowers_it() {
    let require = |text: &str, value: &str| {
        let project = Project::new(text).env("DEVSHELL_RUST_MOUNT_NAMESPACE", value);
        project.load().config.sandbox.require
    };
    assert_eq!(require("", "on"), Require::View);
    assert_eq!(require("", "off"), Require::None);
    assert_eq!(require("[sandbox]\nrequire = \"processes\"\n", "Yes"), Require::View);
    assert_eq!(
        require("[sandbox]\nhost = \"ro\"\nrequire = \"full\"\n", "1"),
        Require::Full
    );
}

#[test]
fn the_cargo_root_switch_moves_the_workspace_up() {
    let mut project = Project::empty().env("DEVSHELL_VM_WORKSPACE_USE_CARGO_ROOT", "on");
    fs::create_dir_all(project.path("crates/a")).unwrap();
    fs::write(project.path("Cargo.toml"), "[workspace]\n").unwrap();
    fs::write(project.path("crates/a/Cargo.toml"), "[package]\n").unwrap();
    fs::write(project.path("crates/a/devshell.toml"), "").unwrap();
    project.request.cwd = project.path("crates/a");
    let loaded = project.load();
    assert_eq!(loaded.config.workspace.root, project.dir.path());
    assert_eq!(
        loaded.origins.of("workspace.root").last().unwrap().place.to_string(),
        "DEVSHELL_VM_WORKSPACE_USE_CARGO_ROOT"
    );
}

#[test]
fn faults_of_flags_show_the_flag() {
    insta::assert_snapshot!(
        Project::new("[[tool]]\nname = \"test\"\nrun = [\"a\"]\n")
            .set("vm.bakend=lima")
            .set("tool.tset.timeout=5m")
            .set("vm.lima.cpus=many")
            .faults(),
        @r#"
    error: unknown key `bakend` in `vm`
     --> --set vm.bakend
     |
     | vm.bakend=lima
     | ^^^^^^^^^
     = help: did you mean `backend`?
     = help: keys: `enabled`, `backend`, `workspace_mode`, `eager_start`, `guest_workspace`, `workspace_parent`, `exec_timeout`, `ready_timeout`, `host`, `lima`, `beta`, `remote`

    error: there is no tool `tset` with a key to set
     --> --set tool.tset.timeout
     |
     | tool.tset.timeout=5m
     | ^^^^^^^^^^^^^^^^^
     = help: did you mean `test`?

    error: `vm.lima.cpus` must be a whole number from 1 to 1024: found `many`
     --> --set vm.lima.cpus
     |
     | many
     | ^^^^

    3 faults in --set vm.bakend, --set tool.tset.timeout, --set vm.lima.cpus
    "#
    );
}

#[test]
fn a_flag_sets_any_kind_of_key() {
    let config = Project::new("[[tool]]\nname = \"a.b\"\nscript = \"x\"\n")
        .set("tool.a.b.run=[\"cargo\", \"test\"]")
        .set("env.A=b=c")
        .set("env.EMPTY=")
        .set("vm.remote.platform.OSFamily=linux")
        .set("vm.beta={ socket = \"stdio\" }")
        .load()
        .config;
    assert_eq!(config.tool[0].run.as_ref().unwrap().len(), 2);
    assert_eq!(config.tool[0].script, None);
    assert_eq!((config.env["A"].as_str(), config.env["EMPTY"].as_str()), ("b=c", ""));
    assert_eq!(config.vm.remote.platform["OSFamily"], "linux");
    assert_eq!(config.vm.beta.socket.as_deref(), Some("stdio"));
    assert_eq!(Override::from_set("no-sign"), None);
    assert_eq!(Override::from_set("=x"), None);
}

#[test]
fn variables_named_as_keys_of_a_tool_do_not_confuse_env() {
    let config = Project::new("").set("env.run=x").set("env.script=y").load().config;
    assert_eq!(config.env.len(), 2);
}
