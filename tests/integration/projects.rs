//! Real projects with real tools.

use std::path::Path;
use std::process::Command;

use crate::support::{Project, has, not_run};

fn copy_example(name: &str) -> Project {
    let project = Project::named(name);
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name);
    let copied = Command::new("cp")
        .arg("-a")
        .arg(format!("{}/.", from.display()))
        .arg(&project.root)
        .status()
        .unwrap();
    assert!(copied.success());
    let _ = std::fs::remove_dir_all(project.path("target"));
    project
}

fn cargo_works(test: &str) -> bool {
    let works = has("cargo");
    if !works {
        not_run(test, "cargo cannot be run here");
    }
    works
}

#[test]
fn the_quickstart_is_built_tested_and_committed_and_a_second_run_compiles_nothing() {
    if !cargo_works("the_quickstart") {
        return;
    }
    let project = copy_example("quickstart");
    project.run().code(0).says("Compiling");
    assert!(project.exists("GREETING.txt"));
    let committed = project.tree().without("target");
    let second = project.run();
    second.code(0);
    assert!(!second.stderr.contains("Compiling"), "{}", second.stderr);
    assert_eq!(
        project.tree().without("target").get("GREETING.txt").content,
        committed.get("GREETING.txt").content
    );
}

#[test]
fn an_edited_source_is_never_missed_and_a_failing_test_leaves_the_tree_identical() {
    if !cargo_works("an_edited_source") {
        return;
    }
    let project = copy_example("quickstart");
    project.run().code(0);
    let source = project.read("src/lib.rs");
    project.write(
        "src/lib.rs",
        source.replace("\"Hello, {name}!\"", "\"Goodbye, {name}!\""),
    );
    // What was compiled is kept, as its cache folder is outside of the transaction.
    let before = project.tree().without("target");
    project.run().code(101).says("tool=test");
    assert_eq!(project.tree().without("target"), before);
}

#[test]
fn what_cargo_built_in_a_carried_target_folder_is_fresh_outside_after_the_commit() {
    if !cargo_works("what_cargo_built") {
        return;
    }
    let project = copy_example("quickstart");
    project
        .devshell(&["run", "--set", "workspace.cache_dirs=[]", "--only", "build"])
        .code(0);
    let built = Command::new("cargo")
        .args(["build", "--locked", "--offline"])
        .current_dir(&project.root)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&built.stderr).into_owned();
    assert!(built.status.success() && !text.contains("Compiling"), "{text}");
}

#[test]
fn a_makefile_project_builds_what_make_would_build() {
    if !has("make") || !has("cc") {
        return not_run("a_makefile_project", "no make or no cc here");
    }
    let project = Project::new("[[tool]]\nname = \"make\"\nrun = [\"make\"]\n");
    project.write("Makefile", "app: app.o\n\tcc -o $@ $<\n%.o: %.c\n\tcc -c -o $@ $<\n");
    project.write("app.c", "int main(void) { return 0; }\n");
    project.run().code(0);
    assert!(Command::new(project.path("app")).status().unwrap().success());
    assert!(project.run().code(0).out().contains("up to date"));
}

#[test]
fn a_python_project_runs_its_own_interpreter_and_environment() {
    if !has("python3") {
        return not_run("a_python_project", "no python3 here");
    }
    let project = Project::new(
        "[workspace]\nignore = [\"__pycache__/\"]\n[[tool]]\nname = \"test\"\nrun = [\"python3\", \"-m\", \"unittest\", \"-q\"]\n[[tool]]\nname = \"gen\"\nrun = [\"python3\", \"gen.py\"]\n",
    );
    project.write("thing.py", "def double(x):\n    return 2 * x\n");
    project.write("test_thing.py", "import unittest, thing\nclass T(unittest.TestCase):\n    def test(self):\n        self.assertEqual(thing.double(2), 4)\n");
    project.write(
        "gen.py",
        "import json, thing\njson.dump([thing.double(n) for n in range(3)], open('out.json', 'w'))\n",
    );
    project.run().code(0);
    assert_eq!(project.read("out.json"), "[0, 2, 4]");
    assert!(!project.exists("__pycache__"));
}

#[test]
fn a_node_project_runs_its_scripts() {
    if !has("npm") {
        return not_run("a_node_project", "no npm here");
    }
    let project = Project::new(
        "[[tool]]\nname = \"test\"\nrun = [\"npm\", \"run\", \"--silent\", \"test\"]\n[[tool]]\nname = \"build\"\nrun = [\"npm\", \"run\", \"--silent\", \"build\"]\n",
    );
    project.write(
        "package.json",
        r#"{"name": "p", "version": "1.0.0", "scripts": {"test": "node --test", "build": "node -e \"require('fs').mkdirSync('dist'); require('fs').renameSync('draft.txt', 'dist/final.txt')\""}}"#,
    );
    project.write(
        "one.test.js",
        "require('node:test').test('adds', () => require('node:assert').equal(1 + 1, 2));\n",
    );
    project.write("draft.txt", "text");
    project.run().code(0);
    assert_eq!(project.read("dist/final.txt"), "text");
    assert!(!project.exists("draft.txt"));
}
