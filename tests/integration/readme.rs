//! What the README says is true.

use devshell::exit::{Class, End, ExitCodePolicy};

use crate::book::{blocks, pages};
use crate::support::Project;

const README: &str = include_str!("../../README.md");
const EXIT_CODES: &str = include_str!("../../docs/exit-codes.md");

/// Every end with a code of its own.
const ENDS: [End; 17] = [
    End::Ok,
    End::Usage,
    End::ConfigMissing,
    End::ConfigInvalid,
    End::Backend,
    End::Internal,
    End::Isolation,
    End::Conflict,
    End::Sync,
    End::Lost,
    End::Protocol,
    End::Timeout,
    End::ToolNotExecutable,
    End::ToolNotFound,
    End::Interrupted(1),
    End::Interrupted(2),
    End::Interrupted(15),
];

#[test]
fn the_table_of_exit_codes_is_the_programs() {
    for page in [README, EXIT_CODES] {
        check_codes(page);
    }
}

#[track_caller]
fn check_codes(page: &str) {
    let ends = ENDS;
    let rows: Vec<Vec<&str>> = page
        .lines()
        .skip_while(|line| !line.starts_with("| code | class |"))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let numbers = |cell: &str| -> Vec<u8> { cell.split(" / ").filter_map(|number| number.parse().ok()).collect() };
    for end in ends {
        let code = end.code(ExitCodePolicy::Tool);
        let row = rows
            .iter()
            .find(|row| numbers(row[0]).contains(&code))
            .unwrap_or_else(|| panic!("{code} is not in the table"));
        assert_eq!(row[1], end.class().word(), "{code}");
    }
    for class in Class::ALL {
        assert!(rows.iter().any(|row| row[1] == class.word()), "{class:?}");
    }
    let told: usize = rows.iter().map(|row| numbers(row[0]).len()).sum();
    assert_eq!(told, ends.len(), "the table names a code that no end has");
}

#[test]
fn the_configs_of_the_readme_and_the_book_are_valid() {
    let mut found = 0;
    for (path, page) in pages() {
        for toml in blocks(&page, "toml") {
            let project = Project::new(toml);
            let ran = project.devshell(&["check"]);
            assert_eq!(
                ran.status.code(),
                Some(0),
                "{}:\n{toml}\n{}",
                path.display(),
                ran.stderr
            );
            found += 1;
        }
    }
    assert!(found > 5, "{found}");
}

#[test]
fn the_commands_of_the_readme_are_commands() {
    let project = Project::named("bare");
    let block = README.split("## Commands").nth(1).unwrap().split("```").nth(1).unwrap();
    for line in block.lines().filter_map(|line| line.strip_prefix("devshell ")) {
        let command = line.split_whitespace().next().unwrap();
        project.devshell(&[command, "--help"]).code(0);
    }
}

#[test]
fn the_test_command_of_the_readme_is_the_one_that_ci_runs() {
    let ci = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/.ci/run")).unwrap();
    assert!(README.contains("cargo test --locked"), "the README names it");
    assert!(ci.contains("cargo test --locked"), ".ci/run runs it");
}

#[test]
fn the_tests_that_keep_the_lessons_are_there() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = String::new();
    for folder in ["src", "tests"] {
        for entry in walkdir::WalkDir::new(root.join(folder)) {
            let entry = entry.unwrap();
            if entry.path().extension().is_some_and(|extension| extension == "rs") {
                sources.push_str(&std::fs::read_to_string(entry.path()).unwrap());
            }
        }
    }
    let lessons = std::fs::read_to_string(root.join("docs/LESSONS.md")).unwrap();
    let mut found = 0;
    for name in lessons
        .split('`')
        .skip(1)
        .step_by(2)
        .filter_map(|path| path.rsplit_once("::"))
        .map(|(_, name)| name)
    {
        // An ellipsis shortens a long name; a star or a module stands for several.
        let start = name.trim_end_matches('…').trim_end_matches('*');
        if start.len() > 12 {
            assert!(
                sources.contains(&format!("fn {start}")),
                "docs/LESSONS.md: there is no test `{name}`"
            );
            found += 1;
        }
    }
    assert!(found > 15, "{found}");
}
