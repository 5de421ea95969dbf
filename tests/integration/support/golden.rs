//! Files that hold what devshell wrote, without what is different each time.

use std::path::Path;

use regex::Regex;

use super::Project;

/// A folder of golden files, and what is filtered out of what is compared with them.
pub struct Golden {
    folder: &'static str,
    filters: Vec<(Regex, &'static str)>,
}

impl Golden {
    /// The files of `tests/golden/NAME` for what a run of this project wrote.
    pub fn new(folder: &'static str, project: &Project) -> Self {
        let beside = regex::escape(project.beside("").to_str().unwrap().trim_end_matches('/'));
        let filter = |pattern: &str, by| (Regex::new(pattern).unwrap(), by);
        Self {
            folder,
            filters: vec![
                filter(&beside, "[dir]"),
                filter(r"\x1b", r"\e"),
                filter(r"\r", r"\r"),
                filter(r"\d{8}-\d{6}-[0-9a-f]{4}", "[id]"),
                filter(r"\b[0-9a-f]{32}\b", "[token]"),
                filter(r"section_(start|end):\d+:", "section_$1:[unix time]:"),
                filter(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z", "[time]"),
                filter(r"\b(\d+ ms|\d+\.\d+s)\b", "[elapsed]"),
                filter(r#"( time)="[\d.]+""#, "$1=\"[elapsed]\""),
                // What the machine has decides how the view is made.
                filter(r"(?m)host, .*ready in .*$", "host, [how]"),
                filter(
                    r#"(name="(strategy|isolation|devshell)" value)="[^"]*""#,
                    "$1=\"[any]\"",
                ),
                filter(
                    r"\S*/(devshell|devshell-under-test) (run|results|exec)\b",
                    "devshell $2",
                ),
            ],
        }
    }

    /// Compares a text with the golden file; `DEVSHELL_TEST_BLESS=1` writes the file anew.
    #[track_caller]
    pub fn holds(&self, name: &str, text: &str) {
        let mut shown = text.to_owned();
        for (pattern, by) in &self.filters {
            shown = pattern.replace_all(&shown, *by).into_owned();
        }
        shown = shown.lines().map(|line| squeezed(line) + "\n").collect();
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/golden")
            .join(self.folder)
            .join(name);
        if std::env::var_os("DEVSHELL_TEST_BLESS").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &shown).unwrap();
        }
        let golden = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        if shown != golden {
            let difference = similar::TextDiff::from_lines(&golden, &shown);
            panic!(
                "{name} has changed:\n{}",
                difference.unified_diff().header("golden", "now")
            );
        }
    }
}

/// A row of a table without the blanks that line it up: times are not as long each time.
fn squeezed(line: &str) -> String {
    let Some((start, rest)) = line.split_once("[elapsed]") else {
        return line.trim_end().to_owned();
    };
    let blanks = start.len() - start.trim_end().len();
    let start = match blanks {
        0 | 1 => start.to_owned(),
        _ => format!("{}  ", start.trim_end()),
    };
    format!("{start}[elapsed]{rest}").trim_end().to_owned()
}
