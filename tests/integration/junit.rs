//! JUnit reports as others read them.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Project, not_run, python};

/// What two readers of other people make of a report; `None`, said aloud, where they are not
/// installed. `.ci/run` installs them, and names their Python in `DEVSHELL_TEST_JUNIT_PYTHON`.
fn read(test: &str, report: &Path) -> Option<[Value; 2]> {
    let python = std::env::var_os("DEVSHELL_TEST_JUNIT_PYTHON").unwrap_or_else(|| python().into());
    let imports = Command::new(&python)
        .args(["-c", "import junitparser, xunitparser"])
        .output();
    if !imports.is_ok_and(|imports| imports.status.success()) {
        not_run(test, "needs the Python packages junitparser and xunitparser");
        return None;
    }
    let read = Command::new(&python)
        .args(["-c", include_str!("tools/read_junit.py")])
        .arg(report)
        .output()
        .unwrap();
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    let read: Value = serde_json::from_slice(&read.stdout).unwrap();
    Some([read["junitparser"].clone(), read["xunitparser"].clone()])
}

const MIXED: &str = r#"
[[tool]]
name = "ok"
script = "printf 'one\\r\\ntwo \\033[32mgreen\\033[0m <&> ]]>\\001\\n'; echo warned >&2"
[[tool]]
name = "flaky"
script = "test -e BESIDE/once || { touch BESIDE/once; echo 'no luck' >&2; exit 3; }"
retries = 1
[[tool]]
name = "tolerated"
script = "exit 4"
continue_on_error = true
[[tool]]
name = "off"
run = ["true"]
when = { os = "windows" }
[[tool]]
name = "fails"
script = "echo 'assertion failed' >&2; exit 101"
retries = 1
[[tool]]
name = "slow"
run = ["sleep", "1000"]
timeout = "300ms"
[[tool]]
name = "absent"
run = ["no-such-program"]
"#;

#[test]
fn two_readers_agree_on_a_report_of_everything() {
    let project = Project::new("");
    let beside = project.beside("");
    let beside = beside.to_str().unwrap().trim_end_matches('/');
    project.write("devshell.toml", MIXED.replace("BESIDE", beside));
    let report = project.beside("junit.xml");
    project
        .devshell(&["run", "--keep-going", "--junit", report.to_str().unwrap()])
        .code(101);
    let Some(readers) = read("junit::two_readers_agree_on_a_report_of_everything", &report) else {
        return;
    };
    for reader in &readers {
        assert_eq!(reader["name"], "project");
        // Tests, failures, errors, skipped.
        assert_eq!(reader["sums"], json!([7, 2, 1, 2]), "{reader}");
        assert_eq!(
            reader["cases"],
            json!({
                "ok": "passed", "flaky": "passed", "tolerated": "skipped", "off": "skipped",
                "fails": "failure", "slow": "failure", "absent": "error",
            })
        );
        let types = &reader["types"];
        assert_eq!(
            (&types["fails"], &types["slow"], &types["absent"]),
            (&"exit-code".into(), &"timeout".into(), &"not-found".into())
        );
        assert_eq!(reader["messages"]["fails"], "failed with code 101");
        assert_eq!(
            reader["messages"]["slow"],
            "stopped at its timeout: timeout after 300ms"
        );
        let out = reader["out"]["ok"].as_str().unwrap();
        assert_eq!(out.trim_end(), "one\ntwo green <&> ]]>");
        assert_eq!(reader["err"]["ok"].as_str().unwrap().trim_end(), "warned");
        assert!(reader["times"]["slow"].as_f64().unwrap() >= 0.3);
        let properties = &reader["properties"];
        assert_eq!(properties["backend"], "host");
        assert_eq!(
            (&properties["class"], &properties["exit_code"], &properties["tool"]),
            (&"tool".into(), &"101".into(), &"fails".into())
        );
    }
    assert_eq!(
        readers[0]["reruns"],
        json!({"flaky": {"flakyFailure": 1}, "fails": {"rerunFailure": 1}})
    );
}

#[test]
fn two_readers_agree_on_a_run_that_never_began() {
    let project = Project::new("nonsense = true\n");
    let report = project.beside("junit.xml");
    project.devshell(&["run", "--junit", report.to_str().unwrap()]).code(78);
    let Some(readers) = read("junit::two_readers_agree_on_a_run_that_never_began", &report) else {
        return;
    };
    for reader in &readers {
        assert_eq!(reader["sums"], json!([1, 0, 1, 0]), "{reader}");
        assert_eq!(reader["cases"], json!({"devshell:run": "error"}));
        assert_eq!(reader["types"]["devshell:run"], "config");
        assert_eq!(
            reader["messages"]["devshell:run"],
            "unknown key `nonsense` in devshell.toml"
        );
    }
}

#[test]
fn two_readers_agree_on_a_lot_of_output() {
    let project = Project::new("[[tool]]\nname = \"t\"\nscript = \"seq 1 300000; exit 1\"\n");
    let report = project.beside("junit.xml");
    project.devshell(&["run", "--junit", report.to_str().unwrap()]).code(1);
    let size = report.metadata().unwrap().len();
    assert!(size < 20_000, "{size}");
    let Some(readers) = read("junit::two_readers_agree_on_a_lot_of_output", &report) else {
        return;
    };
    for reader in &readers {
        let out = reader["out"]["t"].as_str().unwrap();
        assert!(out.starts_with("[devshell: what came before is left out]\n"), "{out}");
        assert!(out.trim_end().ends_with("\n299999\n300000"), "{out}");
    }
}
