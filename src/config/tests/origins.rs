//! Where values came from, and what of them is printed.

use super::*;

const TEXT: &str = r#"
[env]
API_TOKEN = "s3cr3t"
DATABASE = "postgres://me:s3cr3t@db/x"
EDITOR = "vi"
[[tool]]
name = "deploy"
script = """
one
two"""
env = { "db password" = "s3cr3t", A = "1" }
[profile.ci.env]
API_TOKEN = "s3cr3t-ci"
[[profile.ci.tool]]
name = "deploy"
run = ["deploy"]
"#;

#[test]
fn what_looks_like_a_secret_is_never_printed() {
    let loaded = Project::new(TEXT)
        .profile("ci")
        .env("DEVSHELL__TOOL__DEPLOY__ENV__GITHUB_TOKEN", "s3cr3t")
        .set("env.NPM_AUTH=s3cr3t")
        .load();
    assert_eq!(loaded.config.env["API_TOKEN"], "s3cr3t-ci");
    let printed = [
        loaded.to_toml(),
        loaded.to_json().to_string(),
        loaded.origins_text(),
        loaded.origins_json().to_string(),
    ];
    for text in &printed {
        assert!(!text.contains("s3cr3t"), "{text}");
        for name in ["API_TOKEN", "DATABASE", "db password", "GITHUB_TOKEN", "NPM_AUTH"] {
            assert!(text.contains(name), "{name} is not in:\n{text}");
        }
        assert!(text.contains("vi"), "{text}");
    }
    assert!(
        printed[2].contains("env.API_TOKEN = (hidden)  # devshell.toml:13:13; shadows (hidden) (devshell.toml:3:13)\n")
    );
    // What is printed is a config all the same, without them.
    let again = Project::new(&printed[0]).load().config;
    assert_eq!(again.env.into_keys().collect::<Vec<_>>(), ["EDITOR"]);
}

#[test]
fn each_value_is_one_line_with_its_place_and_all_that_it_shadows() {
    let text = Project::new(TEXT).load().origins_text();
    assert!(
        text.contains("tool.deploy.script = \"one\\ntwo\"  # devshell.toml:8:10\n"),
        "{text}"
    );
    let text = Project::new(TEXT).profile("ci").load().origins_text();
    assert!(
        text.contains("# tool.deploy.script gives way to tool.deploy.run\n"),
        "{text}"
    );
}

#[test]
fn a_program_reads_the_same_as_json() {
    let json = Project::new("[run]\ntimeout = \"1h\"\n[profile.ci.run]\ntimeout = \"2h\"\n")
        .profile("ci")
        .env("DEVSHELL__RUN__TIMEOUT", "3h")
        .set("run.timeout=4h")
        .load()
        .origins_json();
    assert_eq!(
        json["run.timeout"],
        serde_json::json!({
            "value": "\"4h\"", "layer": "command_line", "source": "--set run.timeout",
            "shadows": [
                { "value": "\"3h\"", "layer": "environment", "source": "DEVSHELL__RUN__TIMEOUT" },
                { "value": "\"2h\"", "layer": "profile", "source": "devshell.toml", "line": 4, "column": 11 },
                { "value": "\"1h\"", "layer": "file", "source": "devshell.toml", "line": 2, "column": 11 },
                { "value": "\"0s\"", "layer": "default", "source": "default" },
            ],
        })
    );
    let json = Project::new(TEXT).profile("ci").load().origins_json();
    assert_eq!(json["tool.deploy.script"]["gives_way_to"], "tool.deploy.run");
    assert_eq!(json["env.API_TOKEN"]["value"], serde_json::Value::Null);
}
