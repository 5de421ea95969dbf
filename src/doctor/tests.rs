//! Whole reports.

use std::path::Path;

use super::*;
use crate::config::{Request, load};
use crate::plan::{Facts, Selection, resolve};

/// A workspace with places of its own in a temporary folder.
fn case(temp: &Path, toml: &str) -> Case {
    let root = temp.join("w");
    std::fs::create_dir_all(&root).unwrap();
    std::fs::write(root.join("devshell.toml"), toml).unwrap();
    let env: Vec<(OsString, OsString)> = [
        ("HOME", temp.join("home").into_os_string()),
        ("PATH", std::env::var_os("PATH").unwrap()),
    ]
    .map(|(name, value)| (name.into(), value))
    .to_vec();
    let request = Request {
        file: None,
        required: true,
        cwd: root.clone(),
        env: env.clone(),
        overrides: Vec::new(),
        profile: None,
    };
    let loaded = load(&request).unwrap();
    let facts = Facts::gather(&loaded, &root, &env).unwrap();
    let plan = resolve(&loaded, &facts, &Selection::default()).unwrap();
    Case {
        plan,
        config: loaded.config.clone(),
        env,
        cwd: root,
    }
}

#[test]
fn the_backends_are_in_the_order_of_their_names_and_the_report_fits_its_schema() {
    let temp = tempfile::tempdir().unwrap();
    let report = examine(case(temp.path(), "[[tool]]\nrun = [\"true\"]\n"));
    let names: Vec<&str> = report.backends.iter().map(|backend| backend.backend.as_str()).collect();
    assert_eq!(names, ["beta", "host", "lima", "remote"]);
    let schema = serde_json::to_value(schemars::schema_for!(Report)).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let json = serde_json::to_value(&report).unwrap();
    let faults: Vec<String> = validator.iter_errors(&json).map(|fault| fault.to_string()).collect();
    assert!(faults.is_empty(), "{faults:?}");
}

#[test]
fn nothing_is_left_behind() {
    let temp = tempfile::tempdir().unwrap();
    let case = case(temp.path(), "[[tool]]\nrun = [\"true\"]\n");
    let look = |path: &Path| path.metadata().map(|found| found.modified().unwrap()).ok();
    let watched = [
        temp.path().to_path_buf(),
        temp.path().join("w"),
        temp.path().join("home"),
    ];
    let before = watched.each_ref().map(|path| look(path));
    let _ = examine(case);
    assert_eq!(watched.each_ref().map(|path| look(path)), before);
    let names: Vec<_> = std::fs::read_dir(temp.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["w"]);
}

#[test]
fn a_problem_with_the_folders_makes_no_backend_usable() {
    let temp = tempfile::tempdir().unwrap();
    // A file stands where the home is to be.
    std::fs::write(temp.path().join("home"), "").unwrap();
    let report = examine(case(temp.path(), ""));
    assert!(!report.usable && report.exit_code == 69);
    assert!(report.backends.iter().all(|backend| !backend.usable));
    let state = report.folders.iter().find(|check| check.check == "state").unwrap();
    assert_eq!(state.state, State::Problem);
    assert!(state.remedy.is_some());
}
