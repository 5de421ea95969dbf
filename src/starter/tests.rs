use std::fs;
use std::path::Path;

use super::*;
use crate::config::{Loaded, Request, load};

/// Files with their texts, `/` behind the name of a folder.
type Files = &'static [(&'static str, &'static str)];

const CARGO: &[Files] = &[
    &[],
    &[("Cargo.toml", "[package]\nname = \"a\"\n")],
    &[("Cargo.toml", "[workspace]\nmembers = []\n"), ("Cargo.lock", "")],
    &[("Cargo.toml", "[package\n")],
];
const NODE: &[Files] = &[
    &[],
    &[("package.json", "{}")],
    &[("package.json", "{")],
    &[
        (
            "package.json",
            r#"{"scripts": {"test": "jest", "build": "tsc", "lint": "eslint ."}, "devDependencies": {"jest": "1"}}"#,
        ),
        ("package-lock.json", "{}"),
    ],
    &[
        (
            "package.json",
            r#"{"scripts": {"test": "echo \"Error: no test specified\" && exit 1", "build": "devshell run"}}"#,
        ),
        ("yarn.lock", ""),
        (".pnp.cjs", ""),
        (".yarnrc.yml", ""),
    ],
    &[(
        "package.json",
        r#"{"packageManager": "pnpm@9.1.0", "dependencies": {"a": "1"}, "scripts": {"test": 3}}"#,
    )],
];
const PYTHON: &[Files] = &[
    &[],
    &[(
        "pyproject.toml",
        "[tool.ruff]\nline-length = 100\n[tool.pytest.ini_options]\n[tool.mypy]\n",
    )],
    &[
        ("pyproject.toml", "[project]\ndependencies = [\"pytest>=8\"]\n"),
        ("uv.lock", ""),
    ],
    &[("requirements.txt", "requests\nblacklist\n"), ("tests/", "")],
    &[("setup.py", "import setuptools\n"), ("poetry.lock", "")],
    &[("requirements.txt", ""), (".flake8", ""), ("pyproject.toml", "[")],
];
const MAKE: &[Files] = &[
    &[],
    &[("Makefile", "all: x\ncheck test: all\n\techo\n")],
    &[("GNUmakefile", "test:\n\tdevshell run\n")],
    &[("makefile", "install:\n")],
];

fn folder(files: &[Files]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files.iter().copied().flatten() {
        match name.strip_suffix('/') {
            Some(name) => fs::create_dir(dir.path().join(name)).unwrap(),
            None => fs::write(dir.path().join(name), text).unwrap(),
        }
    }
    dir
}

fn parsed(folder: &Path, text: &str) -> Loaded {
    fs::write(folder.join("devshell.toml"), text).unwrap();
    let request = Request {
        cwd: folder.to_owned(),
        required: true,
        ..Request::default()
    };
    load(&request).unwrap_or_else(|error| panic!("{text}\n{error}"))
}

/// What a folder with these files gets.
fn of(files: Files) -> Starter {
    starter(folder(&[files]).path(), None)
}

/// The commands of the tools, each in one line.
fn commands(files: Files) -> Vec<String> {
    let dir = folder(&[files]);
    let config = parsed(dir.path(), &starter(dir.path(), None).text).config;
    config
        .tool
        .into_iter()
        .map(|tool| tool.run.unwrap().join(" "))
        .collect()
}

#[test]
fn every_combination_is_valid_for_parser_and_schema() {
    let schema = jsonschema::draft202012::new(&crate::config::schema()).unwrap();
    let mut count = 0;
    for cargo in CARGO {
        for node in NODE {
            for python in PYTHON {
                for make in MAKE {
                    let dir = folder(&[cargo, node, python, make]);
                    let Starter { text, tools, .. } = starter(dir.path(), None);
                    let config = parsed(dir.path(), &text).config;
                    let names: Vec<_> = config.tool.into_iter().map(|tool| tool.name).collect();
                    assert_eq!(names, tools, "{text}");
                    assert!(!tools.is_empty(), "{text}");
                    let document = serde_json::to_value(text.parse::<toml::Table>().unwrap()).unwrap();
                    assert!(schema.is_valid(&document), "{text}");
                    count += 1;
                }
            }
        }
    }
    assert_eq!(count, CARGO.len() * NODE.len() * PYTHON.len() * MAKE.len());
}

#[test]
fn what_stands_in_comments_is_valid_too() {
    let dir = folder(&[]);
    let text = starter(dir.path(), None).text;
    let (head, example) = text.split_once("# [[tool]]").unwrap();
    let example = example.replace("\n# ", "\n");
    let config = parsed(dir.path(), &format!("{head}[[tool]]{example}")).config;
    assert_eq!(config.tool.len(), 2, "{text}");
}

#[test]
fn a_schema_is_named_in_the_first_line() {
    let dir = folder(&[]);
    let text = starter(dir.path(), Some("./x.json")).text;
    assert!(text.starts_with("#:schema ./x.json\n"), "{text}");
    assert!(!of(&[]).text.starts_with("#:schema"));
}

#[test]
fn a_rust_package_gets_its_tools_and_its_cache() {
    let starter = of(CARGO[1]);
    insta::assert_snapshot!(starter.text, @r#"
    # What `devshell run` does here: it runs these tools, in order, on a private view of this folder,
    # and brings the result back only if all of them succeed.
    #
    #   devshell plan     what a run would do
    #   devshell run      do it
    #   devshell config   every key that can be set, with its value
    #
    # Editors with taplo or tombi (Even Better TOML) complete and check this file once it begins with
    # the line `#:schema ./devshell.schema.json`, and `devshell schema > devshell.schema.json` has
    # written that.

    [workspace]
    # Used from run to run and not carried back and forth, and so outside of all-or-nothing: what a
    # failed run has put there stays, and need not be made again.
    cache_dirs = ["target/"]  # what cargo compiles

    [[tool]]
    name = "fmt"
    run = ["cargo", "fmt", "--check"]

    [[tool]]
    name = "clippy"
    run = ["cargo", "clippy", "--all-targets", "--", "-D", "warnings"]

    [[tool]]
    name = "test"
    run = ["cargo", "test"]

    # A script instead of a program, and what else a tool may have:
    #
    # [[tool]]
    # name = "generate"
    # script = "./generate.sh > generated.txt"
    # timeout = "10m"
    # when = { exists = "generate.sh" }
    "#);
    assert_eq!(starter.found, ["Cargo.toml"]);
    assert_eq!(
        commands(CARGO[2]),
        [
            "cargo fmt --all --check",
            "cargo clippy --locked --workspace --all-targets -- -D warnings",
            "cargo test --locked --workspace"
        ]
    );
    assert_eq!(of(CARGO[3]).notes.len(), 1);
}

#[test]
fn a_node_package_gets_its_manager_and_the_scripts_that_exist() {
    assert_eq!(
        commands(NODE[3]),
        ["npm ci", "npm run lint", "npm run build", "npm run test"]
    );
    assert!(
        of(NODE[3])
            .text
            .contains("cache_dirs = [\"node_modules/\"]  # what `npm ci` installs\n")
    );
    assert_eq!(commands(NODE[4]), ["yarn install --immutable"]);
    assert!(!of(NODE[4]).text.contains("node_modules"));
    assert!(of(NODE[4]).notes[0].contains("`build`"));
    assert_eq!(commands(NODE[5]), ["pnpm install"]);
    // Nothing to run in it: the example.
    assert_eq!(of(NODE[1]).tools, ["hello"]);
    assert!(of(NODE[2]).notes[0].contains("package.json is no JSON"));
}

#[test]
fn a_python_project_gets_the_checkers_that_it_configures() {
    assert_eq!(
        commands(PYTHON[1]),
        ["python3 -m ruff check .", "python3 -m mypy .", "python3 -m pytest"]
    );
    assert_eq!(commands(PYTHON[2]), ["uv run --frozen pytest"]);
    assert_eq!(commands(PYTHON[3]), ["python3 -m unittest discover -s tests"]);
    assert_eq!(commands(PYTHON[4]), ["poetry run python -m compileall -q -x /[.] ."]);
    assert_eq!(commands(PYTHON[5]), ["python3 -m flake8 ."]);
}

#[test]
fn a_makefile_gives_the_targets_that_it_has_and_none_that_would_start_devshell_again() {
    assert_eq!(commands(MAKE[1]), ["make all", "make check", "make test"]);
    assert_eq!(of(MAKE[2]).tools, ["hello"]);
    assert!(of(MAKE[2]).notes[0].contains("calls devshell"));
    assert!(of(MAKE[3]).notes[0].contains("none of the targets"));
}

#[test]
fn where_several_meet_their_names_tell_them_apart() {
    let dir = folder(&[CARGO[1], NODE[3], PYTHON[2], MAKE[1]]);
    let starter = starter(dir.path(), None);
    insta::assert_snapshot!(starter.text, @r#"
    # What `devshell run` does here: it runs these tools, in order, on a private view of this folder,
    # and brings the result back only if all of them succeed.
    #
    #   devshell plan     what a run would do
    #   devshell run      do it
    #   devshell config   every key that can be set, with its value
    #
    # Editors with taplo or tombi (Even Better TOML) complete and check this file once it begins with
    # the line `#:schema ./devshell.schema.json`, and `devshell schema > devshell.schema.json` has
    # written that.

    [workspace]
    # Used from run to run and not carried back and forth, and so outside of all-or-nothing: what a
    # failed run has put there stays, and need not be made again.
    cache_dirs = [
        "target/",           # what cargo compiles
        "node_modules/",     # what `npm ci` installs
        "__pycache__/",      # what Python compiles
        ".venv/",            # the environment that `uv run` makes
        ".pytest_cache/",    # what pytest remembers
    ]

    [[tool]]
    name = "cargo-fmt"
    run = ["cargo", "fmt", "--check"]

    [[tool]]
    name = "cargo-clippy"
    run = ["cargo", "clippy", "--all-targets", "--", "-D", "warnings"]

    [[tool]]
    name = "cargo-test"
    run = ["cargo", "test"]

    [[tool]]
    name = "npm-install"
    run = ["npm", "ci"]

    [[tool]]
    name = "npm-lint"
    run = ["npm", "run", "lint"]

    [[tool]]
    name = "npm-build"
    run = ["npm", "run", "build"]

    [[tool]]
    name = "npm-test"
    run = ["npm", "run", "test"]

    [[tool]]
    name = "python-pytest"
    run = ["uv", "run", "--frozen", "pytest"]

    [[tool]]
    name = "make-all"
    run = ["make", "all"]

    [[tool]]
    name = "make-check"
    run = ["make", "check"]

    [[tool]]
    name = "make-test"
    run = ["make", "test"]

    # A script instead of a program, and what else a tool may have:
    #
    # [[tool]]
    # name = "generate"
    # script = "./generate.sh > generated.txt"
    # timeout = "10m"
    # when = { exists = "generate.sh" }
    "#);
    assert_eq!(
        starter.found,
        ["Cargo.toml", "package.json", "pyproject.toml", "Makefile"]
    );
}

#[test]
fn a_fifo_is_not_waited_for() {
    let dir = folder(&[]);
    rustix::fs::mknodat(
        rustix::fs::CWD,
        dir.path().join("Cargo.toml"),
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .unwrap();
    assert_eq!(starter(dir.path(), None).tools, ["fmt", "clippy", "test"]);
}
