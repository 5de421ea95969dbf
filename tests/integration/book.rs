//! The book in docs/: what is generated in it is the program's, and its links lead somewhere.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use devshell::event::Event;
use serde_json::{Map, Value};

use crate::support::{Project, finish, has, not_run};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The README and the pages of the book.
pub fn pages() -> Vec<(PathBuf, String)> {
    let docs = std::fs::read_dir(root().join("docs")).unwrap();
    let mut paths: Vec<PathBuf> = docs
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect();
    paths.push(root().join("README.md"));
    paths.sort();
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        (path, text)
    };
    paths.into_iter().map(read).collect()
}

/// Compares the part of a page that is generated. `DEVSHELL_TEST_BLESS=1 cargo test` writes it anew.
#[track_caller]
fn is_generated(page: &str, part: &str, text: &str) {
    // Two parts of one page may be written anew at the same time.
    static WRITING: Mutex<()> = Mutex::new(());
    let _writing = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
    let path = root().join("docs").join(page);
    let found = std::fs::read_to_string(&path).unwrap();
    let start = format!("<!-- generated from the program: {part} -->\n");
    let (before, rest) = found
        .split_once(&start)
        .unwrap_or_else(|| panic!("{page}: no `{start}`"));
    let (_, after) = rest.split_once("<!-- end -->").unwrap();
    let whole = format!("{before}{start}\n{}\n\n<!-- end -->{after}", text.trim());
    if std::env::var_os("DEVSHELL_TEST_BLESS").is_some() {
        std::fs::write(&path, &whole).unwrap();
    }
    assert!(
        std::fs::read_to_string(&path).unwrap() == whole,
        "docs/{page} has drifted: DEVSHELL_TEST_BLESS=1 cargo test --test integration book:: writes it anew"
    );
}

/// Text in a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

fn text<'a>(schema: &'a Value, key: &str) -> &'a str {
    schema[key].as_str().unwrap_or_default()
}

/// The name of a definition that a schema refers to.
fn referred(schema: &Value) -> Option<&str> {
    schema["$ref"].as_str()?.rsplit('/').next()
}

/// A value as TOML writes it.
fn toml(value: &Value) -> String {
    let list = |values: &[Value]| values.iter().map(toml).collect::<Vec<_>>().join(", ");
    match value {
        Value::Array(values) => format!("[{}]", list(values)),
        Value::Object(pairs) => {
            let pairs: Vec<String> = pairs
                .iter()
                .map(|(key, value)| format!("{key} = {}", toml(value)))
                .collect();
            format!("{{ {} }}", pairs.join(", "))
        }
        other => other.to_string(),
    }
}

/// What a key of the config takes, in words.
fn takes(schema: &Value) -> String {
    if let Some(words) = schema["enum"].as_array() {
        let words: Vec<String> = words
            .iter()
            .map(|word| format!("`{}`", word.as_str().unwrap()))
            .collect();
        return words.join(", ");
    }
    match referred(schema) {
        Some("argv") => return "program and arguments".into(),
        Some(name) => return name.into(),
        None => {}
    }
    if schema["anyOf"].is_array() {
        return "number, or table".into();
    }
    match text(schema, "type") {
        "boolean" => "`true`, `false`".into(),
        "integer" => format!("{} to {}", schema["minimum"], schema["maximum"]),
        "array" if schema["items"]["type"] == "integer" => "list of numbers".into(),
        "array" => "list of strings".into(),
        "object" => "table of strings".into(),
        _ => "string".into(),
    }
}

/// A table of the config with the tables in it, each under a heading of its own.
fn section(out: &mut String, heading: &str, about: &str, properties: &Map<String, Value>) {
    writeln!(out, "### {heading}\n").unwrap();
    if !about.is_empty() {
        writeln!(out, "{}.\n", capital(about)).unwrap();
    }
    out.push_str("| key | takes | default | meaning |\n|---|---|---|---|\n");
    for (name, schema) in properties.iter().filter(|(_, schema)| schema["properties"].is_null()) {
        let default = match (schema.get("default"), schema["examples"].get(0)) {
            (Some(value), _) => format!("`{}`", cell(&toml(value))),
            (None, Some(value)) => format!("none; e.g. `{}`", cell(&toml(value))),
            (None, None) => "none".into(),
        };
        let meaning = cell(text(schema, "description"));
        writeln!(out, "| `{name}` | {} | {default} | {meaning} |", takes(schema)).unwrap();
    }
    out.push('\n');
    let plain = heading.trim_matches('`').trim_matches(['[', ']']);
    for (name, schema) in properties.iter().filter(|(_, schema)| schema["properties"].is_object()) {
        // `when` of a tool is one value, shown with its keys.
        let heading = if heading.contains("[[") {
            format!("`{name}` of a tool")
        } else {
            format!("`[{plain}.{name}]`")
        };
        let inner = schema["properties"].as_object().unwrap();
        section(out, &heading, text(schema, "description"), inner);
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[test]
fn the_keys_in_the_book_are_the_programs() {
    let schema = devshell::config::schema();
    let mut out = String::new();
    for (name, property) in schema["properties"].as_object().unwrap() {
        let about = text(property, "description");
        let definition = match name.as_str() {
            "tool" => &schema["$defs"]["tool_keys"],
            name => &schema["$defs"][name],
        };
        let heading = match name.as_str() {
            "tool" => "`[[tool]]`".to_owned(),
            "profile" => "`[profile.NAME]`".to_owned(),
            name => format!("`[{name}]`"),
        };
        match definition["properties"].as_object() {
            Some(properties) if name != "profile" => section(&mut out, &heading, about, properties),
            _ => writeln!(out, "### {heading}\n\n{}.\n", capital(about)).unwrap(),
        }
    }
    is_generated("config.md", "keys", &out);
}

#[test]
fn the_variables_in_the_book_are_the_programs() {
    let mut out = String::from("| variable | key |\n|---|---|\n");
    for (name, key) in devshell::config::known_variables() {
        let meaning = match name {
            "DEVSHELL_VM_EXEC_TIMEOUT_MS" => format!("`{key}`, in milliseconds"),
            "DEVSHELL_RUST_MOUNT_NAMESPACE" => format!("`{key}`: on means at least `view`"),
            "DEVSHELL_VM_WORKSPACE_USE_CARGO_ROOT" => {
                format!("`{key}`: on means the Cargo workspace root above the config's folder")
            }
            "DEVSHELL_PROFILE" => "the profile, as `--profile`".to_owned(),
            _ => format!("`{key}`"),
        };
        writeln!(out, "| `{name}` | {meaning} |").unwrap();
    }
    is_generated("config.md", "variables", &out);
}

/// What a field of an event is, in words.
fn field_type(schema: &Value) -> String {
    if let Some(name) = referred(schema) {
        return format!("[{name}](#{})", name.to_lowercase());
    }
    let name = |word: &str| match word {
        "integer" => "number".to_owned(),
        word => word.to_owned(),
    };
    match &schema["type"] {
        Value::String(word) if word == "array" => format!("list of {}", field_type(&schema["items"])),
        Value::String(word) => name(word),
        Value::Array(words) => name(words[0].as_str().unwrap_or_default()),
        _ => schema["anyOf"].get(0).map_or_else(|| "value".to_owned(), field_type),
    }
}

fn fields(out: &mut String, schema: &Value) {
    let required: BTreeSet<&str> = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let own = schema["properties"].as_object().into_iter().flatten();
    let own = own.map(|(name, field)| (name, field, required.contains(name.as_str())));
    let either = schema["oneOf"].as_array().into_iter().flatten();
    let either = either.flat_map(|variant| variant["properties"].as_object().into_iter().flatten());
    let either = either.map(|(name, field)| (name, field, false));
    let all: Vec<_> = own.chain(either).filter(|(name, ..)| *name != "type").collect();
    if all.is_empty() {
        return;
    }
    out.push_str("| field | type | meaning |\n|---|---|---|\n");
    for (name, field, required) in all {
        let optional = if required { "" } else { ", may be missing" };
        let meaning = cell(text(field, "description"));
        writeln!(out, "| `{name}` | {}{optional} | {meaning} |", field_type(field)).unwrap();
    }
    out.push('\n');
}

#[test]
fn the_events_in_the_book_are_the_programs() {
    let schema = serde_json::to_value(schemars::schema_for!(Event)).unwrap();
    let mut out = String::new();
    for event in schema["oneOf"].as_array().unwrap() {
        let name = text(&event["properties"]["type"], "const");
        writeln!(out, "### {name}\n\n{}\n", text(event, "description")).unwrap();
        fields(&mut out, event);
    }
    out.push_str("## Values\n\n");
    for (name, definition) in schema["$defs"].as_object().unwrap() {
        writeln!(out, "### {name}\n\n{}\n", text(definition, "description")).unwrap();
        let words = definition["oneOf"].as_array().into_iter().flatten();
        let words: Vec<&Value> = words.filter(|word| word["const"].is_string()).collect();
        if words.is_empty() {
            fields(&mut out, definition);
            continue;
        }
        out.push_str("| value | meaning |\n|---|---|\n");
        for word in words {
            writeln!(
                out,
                "| `{}` | {} |",
                text(word, "const"),
                cell(text(word, "description"))
            )
            .unwrap();
        }
        out.push('\n');
    }
    is_generated("events.md", "events", &out);
}

#[test]
fn the_contents_name_every_page() {
    let contents = std::fs::read_to_string(root().join("docs/README.md")).unwrap();
    for entry in std::fs::read_dir(root().join("docs")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(
            name == "README.md" || contents.contains(&format!("]({name})")),
            "docs/README.md does not name {name}"
        );
    }
}

/// The anchors that a viewer makes of headings.
fn anchors(page: &str) -> BTreeSet<String> {
    let anchor = |heading: &str| -> String {
        let letters = heading.to_lowercase();
        let kept = letters
            .chars()
            .filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter));
        kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect()
    };
    let headings = page.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| anchor(line.trim_start_matches('#').trim()))
        .collect()
}

#[test]
fn links_lead_to_what_is_there() {
    let mut found = 0;
    for (path, page) in pages() {
        for link in page.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") || link.contains([' ', '`']) {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => path.clone(),
                file => path.parent().unwrap().join(file),
            };
            assert!(target.exists(), "{}: `{link}` leads nowhere", path.display());
            if !anchor.is_empty() {
                let text = std::fs::read_to_string(&target).unwrap();
                assert!(
                    anchors(&text).contains(anchor),
                    "{}: no heading for `{link}`",
                    path.display()
                );
            }
            found += 1;
        }
    }
    assert!(found > 30, "{found}");
}

/// The blocks of a page with this word behind the fence.
pub fn blocks<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("\n```{language}\n");
    let blocks = page.split(&*fence).skip(1);
    blocks.filter_map(|rest| rest.split("\n```").next()).collect()
}

const RECIPES: &str = include_str!("../../docs/recipes.md");

/// A folder in which `devshell` is the program under test.
fn bin(project: &Project) -> PathBuf {
    let bin = project.beside("bin");
    std::fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink(crate::support::devshell(), bin.join("devshell")).unwrap();
    bin
}

/// A program in a project's environment that finds `devshell`.
fn with_devshell(project: &Project, program: &str, bin: &Path) -> std::process::Command {
    let mut command = project.program(program);
    let path = std::env::var_os("PATH").unwrap();
    let folders = std::iter::once(bin.to_path_buf()).chain(std::env::split_paths(&path));
    command.env("PATH", std::env::join_paths(folders).unwrap());
    command
}

fn script(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
}

/// The block that holds this text.
fn block(language: &str, part: &str) -> String {
    let blocks = blocks(RECIPES, language);
    let found = blocks.iter().find(|block| block.contains(part));
    format!(
        "{}\n",
        found.unwrap_or_else(|| panic!("no `{part}` in a block of {language}"))
    )
}

#[test]
fn the_makefile_of_the_recipes_runs_the_tools() {
    if !has("make") {
        return not_run("book::the_makefile_of_the_recipes", "no make here");
    }
    let project = Project::new("[[tool]]\nname = \"t\"\nscript = \"echo made > made\"\n");
    project.write("Makefile", block("make", "devshell run"));
    let bin = bin(&project);
    let mut command = with_devshell(&project, "make", &bin);
    command.arg("test");
    finish(command).code(0);
    assert_eq!(project.read("made"), "made\n");
}

#[test]
fn the_git_hook_of_the_recipes_lets_through_what_passes_and_changes_nothing() {
    if !has("git") {
        return not_run("book::the_git_hook_of_the_recipes", "no git here");
    }
    let project = Project::new("[[tool]]\nname = \"fmt\"\nscript = \"touch seen; test ! -e ugly\"\n");
    let bin = bin(&project);
    let git = |arguments: &[&str]| {
        let mut command = with_devshell(&project, "git", &bin);
        command
            .args(["-c", "user.name=a", "-c", "user.email=a@b"])
            .args(arguments);
        finish(command)
    };
    git(&["init", "-q"]).code(0);
    std::fs::create_dir_all(project.path(".git/hooks")).unwrap();
    script(
        &project.path(".git/hooks/pre-commit"),
        &block("sh", "--write-back never"),
    );
    git(&["add", "-A"]).code(0);
    git(&["commit", "-qm", "one"]).code(0);
    assert!(!project.exists("seen"), "what the hook's tools make is dropped");
    project.write("ugly", "");
    git(&["add", "-A"]).code(0);
    git(&["commit", "-qm", "two"]).code(1);
}

#[test]
fn the_cargo_alias_of_the_recipes_runs_the_tools() {
    if !has("cargo") {
        return not_run("book::the_cargo_alias_of_the_recipes", "no cargo here");
    }
    let project = Project::new("[[tool]]\nname = \"t\"\nscript = \"echo made > made\"\n[profile.ci.env]\nX = \"1\"\n");
    project.write(".cargo/config.toml", block("toml cargo", "[alias]"));
    let bin = bin(&project);
    script(&bin.join("cargo-devshell"), &block("sh", "shift"));
    let mut command = with_devshell(&project, "cargo", &bin);
    command.arg("ci");
    finish(command).code(0);
    assert_eq!(project.read("made"), "made\n");
}
