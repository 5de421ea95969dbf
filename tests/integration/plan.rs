//! `devshell plan`: what a run would meet now.

use serde_json::Value;

use crate::support::{Project, private_strategies, tree};

fn json(project: &Project, args: &[&str]) -> Value {
    let all: Vec<&str> = ["plan", "--format", "json"].iter().chain(args).copied().collect();
    serde_json::from_str(&project.devshell(&all).code(0).out()).unwrap()
}

const TOOLS: &str = r#"
[[tool]]
name = "always"
run = ["true"]

[[tool]]
name = "elsewhere"
run = ["true"]
when = { os = "windows" }

[[tool]]
name = "unset"
run = ["true"]
when = { env = "NO_SUCH_NAME" }
env = { TOKEN = "hunter2" }

[[tool]]
name = "made"
run = ["true"]
when = { exists = "Makefile" }
"#;

#[test]
fn when_is_judged_as_far_as_it_can_be() {
    let project = Project::new(TOOLS);
    let plan = json(&project, &["--only", "elsewhere,unset,made"]);
    let verdict = |index: usize| plan["tools"][index]["verdict"].as_str().unwrap();
    assert_eq!([0, 1, 2, 3].map(verdict), ["left_out", "skipped", "skipped", "depends"]);
    let text = project.devshell(&["plan"]).code(0).out();
    for part in [
        "elsewhere   would be skipped: when.os is `windows`",
        "unset       would be skipped: when.env: `NO_SUCH_NAME` is not set",
        "made        depends: when.exists: `Makefile` does not exist now",
    ] {
        assert!(text.contains(part), "`{part}` is not in:\n{text}");
    }
    assert!(!plan.to_string().contains("hunter2") && !text.contains("hunter2"));
    assert_eq!(
        plan["tools"][2]["sets"],
        serde_json::json!(["GIT_OPTIONAL_LOCKS", "TOKEN"])
    );
}

#[test]
fn what_a_copy_would_carry_is_counted_and_nothing_is_left() {
    let project = Project::new("[vm.host]\nstrategy = \"copy\"\n[[tool]]\nname = \"t\"\nrun = [\"true\"]\n");
    project.write("a/one", "12345");
    project.write("two", "67");
    let config = project.read("devshell.toml").len() as u64;
    let places = || {
        [
            project.tree(),
            tree(&project.beside("cache")),
            tree(&project.beside("state")),
        ]
    };
    let before = places();
    let push = |plan: &Value| ["files", "bytes", "deleted"].map(|what| plan["now"]["push"][what].as_u64().unwrap());
    assert_eq!(push(&json(&project, &[])), [3, config + 7, 0]);
    assert!(places() == before, "a plan leaves no trace");
    project.run().code(0);
    assert_eq!(push(&json(&project, &[])), [0, 0, 0]);
    project.write("two", "678");
    std::fs::remove_dir_all(project.path("a")).unwrap();
    assert_eq!(push(&json(&project, &[])), [1, 3, 1]);
}

#[test]
fn the_view_is_the_one_that_a_run_gets_and_too_little_isolation_is_told() {
    for strategy in private_strategies("the_view_is_the_one_that_a_run_gets") {
        let project = Project::new("[[tool]]\nname = \"t\"\nrun = [\"true\"]\n");
        let set = format!("vm.host.strategy={strategy}");
        let plan = json(&project, &["--set", &set]);
        let ran = project.devshell(&["run", "--set", &set, "--output", "json"]);
        let ready = ran
            .code(0)
            .out()
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .find(|event| event["type"] == "session_ready")
            .unwrap();
        for key in ["strategy", "isolation"] {
            assert_eq!(plan["now"]["view"][key], ready[key], "{strategy}");
        }
        assert_eq!(plan["now"]["view"]["sufficient"], true);
        let full = [
            "--set",
            &set,
            "--set",
            "sandbox.require=full",
            "--set",
            "sandbox.host=ro",
        ];
        let full = &json(&project, &full)["now"]["view"];
        assert_eq!(
            (&full["sufficient"], &full["isolation"]),
            (&true.into(), &"full".into())
        );
        let more = ["--set", "vm.host.strategy=in_place", "--set", "sandbox.require=view"];
        assert_eq!(json(&project, &more)["now"]["view"]["sufficient"], false);
        let text = project
            .devshell(&["plan", more[0], more[1], more[2], more[3]])
            .code(0)
            .out();
        assert!(text.contains("a run ends with 71 before any tool"), "{text}");
    }
}

#[test]
fn a_workspace_that_another_run_holds_is_told_and_not_waited_for() {
    let project = Project::new("");
    let (script, marker, go) = project.pause();
    let first = project.start_until(&["exec", "--", "sh", "-c", &script], &marker);
    let plan = json(&project, &[]);
    assert_eq!(plan["now"]["locked"], true);
    assert_eq!(plan["now"]["locked_by_pid"], first.child.id());
    std::fs::write(go, "").unwrap();
    first.end().code(0);
    assert_eq!(json(&project, &[])["now"]["locked"], false);
}

#[test]
fn the_json_form_fits_the_published_schema() {
    let project = Project::new(TOOLS);
    let schema: Value = serde_json::from_str(include_str!("../../docs/plan.schema.json")).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for args in [&[][..], &["--set", "vm.host.strategy=copy"], &["--from", "made"]] {
        let plan = json(&project, args);
        let faults: Vec<_> = validator.iter_errors(&plan).map(|fault| fault.to_string()).collect();
        assert!(faults.is_empty(), "{faults:?}");
    }
    assert!(!validator.is_valid(&serde_json::json!({"v": 1})));
}
