//! Python: the checkers that the project configures or depends on.

use toml::Table;

use super::folder::{Folder, words};
use super::{Cache, Part, Tool};

/// What makes a folder a Python project.
const FILES: [&str; 3] = ["pyproject.toml", "requirements.txt", "setup.py"];
/// Where packages and settings are named.
const MENTIONS: [&str; 6] = [
    "pyproject.toml",
    "requirements.txt",
    "requirements-dev.txt",
    "dev-requirements.txt",
    "setup.py",
    "setup.cfg",
];

/// Each checker: its name, its arguments, the files that are its own settings, its cache.
type Checker = (
    &'static str,
    &'static [&'static str],
    &'static [&'static str],
    Option<&'static str>,
);
const CHECKERS: [Checker; 5] = [
    (
        "ruff",
        &["check", "."],
        &["ruff.toml", ".ruff.toml"],
        Some(".ruff_cache/"),
    ),
    ("black", &["--check", "."], &[], None),
    ("flake8", &["."], &[".flake8"], None),
    ("mypy", &["."], &["mypy.ini", ".mypy.ini"], Some(".mypy_cache/")),
    (
        "pytest",
        &[],
        &["pytest.ini", "conftest.py", "tests/conftest.py"],
        Some(".pytest_cache/"),
    ),
];

/// Who keeps the environment: lock file, how a program is run in it, the environment's folder if
/// it is made in the project by that.
const KEEPERS: [(&str, &[&str], Option<&str>); 3] = [
    ("uv.lock", &["uv", "run", "--frozen"], Some(".venv/")),
    ("poetry.lock", &["poetry", "run"], None),
    ("pdm.lock", &["pdm", "run"], None),
];

pub(super) fn look(folder: &Folder) -> Option<Part> {
    let file = folder.first(&FILES)?;
    let mentions: String = MENTIONS.iter().map(|name| folder.text(name) + "\n").collect();
    let keeper = KEEPERS.iter().find(|(lock, ..)| folder.has(lock));
    let through = |args: &[&'static str]| -> Vec<&'static str> {
        match keeper {
            Some((_, run, _)) => [run, args].concat(),
            None => [&["python3", "-m"], args].concat(),
        }
    };

    let mut caches = vec![Cache {
        pattern: "__pycache__/",
        holds: "what Python compiles".into(),
    }];
    let mut tools = Vec::new();
    if let Some((_, run, Some(pattern))) = keeper {
        let holds = format!("the environment that `{} run` makes", run[0]);
        caches.push(Cache { pattern, holds });
    }
    for (name, args, settings, cache) in CHECKERS {
        if folder.first(settings).is_none() && !words(&mentions).any(|word| word == name) {
            continue;
        }
        tools.push(Tool::new(name, through(&[&[name], args].concat())));
        if let Some(pattern) = cache {
            let holds = format!("what {name} remembers");
            caches.push(Cache { pattern, holds });
        }
    }
    if tools.is_empty() {
        let python: &[&str] = if keeper.is_some() { &["python", "-m"] } else { &[] };
        let module = |args: &[&'static str]| through(&[python, args].concat());
        let is_test = |name: &str| name.starts_with("test") && name.ends_with(".py");
        tools.push(match folder.first(&["tests", "test"]) {
            Some(tests) => Tool::new("test", module(&["unittest", "discover", "-s", tests])),
            None if folder.any(is_test) => Tool::new("test", module(&["unittest"])),
            None => Tool::new("compile", module(&["compileall", "-q", "-x", "/[.]", "."]))
                .comment("No checker is configured: this finds what is no Python at all."),
        });
    }
    let broken = folder
        .has("pyproject.toml")
        .then(|| folder.text("pyproject.toml").parse::<Table>().err())
        .flatten();
    Some(Part {
        file,
        prefix: "python",
        caches,
        tools,
        notes: broken
            .map(|error| format!("pyproject.toml is no TOML: {}", error.message()))
            .into_iter()
            .collect(),
    })
}
