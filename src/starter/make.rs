//! make: the targets that check a project.

use super::folder::{Folder, calls_devshell};
use super::{Part, Tool};

/// In make's own order.
const FILES: [&str; 3] = ["GNUmakefile", "makefile", "Makefile"];
/// In the order in which they are made.
const TARGETS: [&str; 3] = ["all", "check", "test"];

pub(super) fn look(folder: &Folder) -> Option<Part> {
    let file = folder.first(&FILES)?;
    let text = folder.text(file);
    let mut part = Part {
        file,
        prefix: "make",
        caches: Vec::new(),
        tools: Vec::new(),
        notes: Vec::new(),
    };
    let there: Vec<&str> = TARGETS.into_iter().filter(|target| has_target(&text, target)).collect();
    if there.is_empty() {
        part.notes
            .push(format!("{file} has none of the targets {}", TARGETS.join(", ")));
    } else if calls_devshell(&text) {
        part.notes
            .push(format!("{file} calls devshell itself and was left out"));
    } else {
        part.tools = there
            .into_iter()
            .map(|target| Tool::new(target, ["make", target]))
            .collect();
    }
    Some(part)
}

/// Whether a rule makes this target. Assignments (`test := x`, `test ::= x`) are none.
fn has_target(text: &str, target: &str) -> bool {
    text.lines().any(|line| {
        let Some((targets, rest)) = line.split_once(':') else {
            return false;
        };
        !targets.starts_with(['\t', '#', '.'])
            && !targets.contains('=')
            && !rest.trim_start_matches(':').starts_with('=')
            && targets.split_whitespace().any(|name| name == target)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_told_from_assignments_recipes_and_comments() {
        for text in ["test:", "test: build", "all test ::", "build test: x\n\ty"] {
            assert!(has_target(text, "test"), "{text}");
        }
        for text in [
            "test := x",
            "test ::= x",
            "test = a:b",
            "\ttest: x",
            "# test: x",
            ".PHONY: test",
            "tests: x",
            "",
        ] {
            assert!(!has_target(text, "test"), "{text}");
        }
    }
}
