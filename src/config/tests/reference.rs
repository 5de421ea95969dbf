//! `devshell.toml.example`: the reference, and the defaults.

use super::*;

#[test]
fn the_reference_states_every_default_that_there_is() {
    let defaults = Project::new("").load();
    let project = Project::empty();
    fs::write(project.path("devshell.toml"), DEFAULTS).unwrap();
    let mut written = project.load();
    written.config.workspace.root = defaults.config.workspace.root.clone();
    assert_eq!(written.config, defaults.config);

    let config = defaults.config;
    assert!(config.vm.enabled && config.sandbox.network && config.run.fail_fast && config.vm.lima.hints);
    assert_eq!(config.vm.ready_timeout, Duration::from_secs(600));
    assert_eq!(config.run.grace_period, Duration::from_secs(10));
    assert_eq!(config.run.timeout, Duration::ZERO);
    assert_eq!(config.sandbox.pass_env, ["*"]);
    assert_eq!(config.workspace.write_back, WriteBack::OnSuccess);
    assert_eq!(config.tool, []);
    assert!(config.env.is_empty());
}

/// Lines `# key = value`, each with the table that it stands in.
fn examples() -> Vec<(String, String, String)> {
    let mut table = String::new();
    let mut out = Vec::new();
    for line in DEFAULTS.lines() {
        let line = line.strip_prefix("# ").unwrap_or(line);
        if line.starts_with('[') {
            table = line[..=line.rfind(']').unwrap()]
                .split_whitespace()
                .next()
                .unwrap()
                .to_owned();
        } else if let Some((key, _)) = line.split_once(" = ")
            && key.chars().all(|char| char.is_ascii_alphanumeric() || char == '_')
        {
            out.push((table.clone(), key.to_owned(), line.to_owned()));
        }
    }
    out
}

#[test]
fn the_reference_shows_every_key_of_the_schema_and_no_other() {
    let shown: BTreeSet<String> = examples()
        .into_iter()
        .map(|(table, key, _)| match table.as_str() {
            "[[tool]]" => format!("tool.NAME.{key}"),
            table => format!("{}.{key}", &table[1..table.len() - 1]),
        })
        .map(|key| match key.split('.').next() {
            Some(table @ ("env" | "secrets")) => table.to_owned(),
            _ => key,
        })
        .collect();
    // `when` is shown as one value, all of its keys in it.
    let known: BTreeSet<String> = leaves()
        .into_iter()
        .map(|(path, _)| {
            if path.starts_with("tool.NAME.when.") {
                "tool.NAME.when".into()
            } else if path.starts_with("secrets.") {
                "secrets".into()
            } else {
                path
            }
        })
        .collect();
    assert!(SECRET.iter().all(|key| DEFAULTS.contains(&format!(" {} = ", key.name))));
    let when = TOOL.iter().find(|key| key.name == "when").unwrap();
    assert!(
        matches!(when.kind, Kind::Table(keys) if keys.iter().all(|key| DEFAULTS.contains(&format!("{} = ", key.name))))
    );
    assert_eq!(shown, known);
}

#[test]
fn every_example_of_the_reference_is_valid() {
    let mut count = 0;
    for (table, key, line) in examples() {
        let guest = if matches!(key.as_str(), "inputs" | "outputs") && table == "[workspace]" {
            "[vm]\nworkspace_mode = \"guest\"\nbackend = \"lima\"\n"
        } else {
            ""
        };
        let run = if table == "[[tool]]" && !matches!(key.as_str(), "run" | "script" | "shell") {
            "run = [\"a\"]\n"
        } else if key == "shell" || key == "name" {
            "script = \"a\"\n"
        } else {
            ""
        };
        let tool = if table == "[secrets]" {
            "[[tool]]\nname = \"test\"\nrun = [\"a\"]\n"
        } else {
            ""
        };
        Project::new(&format!("{guest}{table}\n{run}{line}\n{tool}"))
            .env("HOME", "/home/me")
            .load();
        count += 1;
    }
    assert!(count > 50, "{count}");
}

#[test]
fn the_commented_examples_of_the_reference_go_together() {
    let text: String = DEFAULTS
        .lines()
        .filter(|line| !line.starts_with("# script") && !line.starts_with("# shell"))
        .skip_while(|line| !line.starts_with('['))
        .map(|line| format!("{}\n", line.strip_prefix("# ").unwrap_or(line)))
        .collect();
    let text = text
        .replace("workspace_mode = \"sync\"", "workspace_mode = \"guest\"")
        .replace("backend = \"auto\"", "backend = \"beta\"");
    let config = Project::new(&text).env("HOME", "/home/me").profile("ci").load().config;
    assert_eq!(config.tool.len(), 1);
    assert_eq!(config.secrets.len(), 2);
    assert_eq!(config.env["RUST_BACKTRACE"], "1");
}
