//! Command lines in the README, the book and the examples are such that the program takes.

use std::path::{Path, PathBuf};

use clap::Parser as _;

use super::args::Cli;

/// Every text with examples.
fn texts() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = vec![root.join("README.md")];
    for folder in ["docs", "examples", "examples/ci"] {
        let entries = std::fs::read_dir(root.join(folder)).unwrap();
        paths.extend(entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()));
    }
    paths.retain(|path| {
        path.extension()
            .is_none_or(|end| ["md", "yml"].iter().any(|text| end == *text))
    });
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        (path, text)
    };
    paths.into_iter().map(read).collect()
}

/// The lines of a text that are commands: behind `$ ` in a console, and in Makefiles, pipelines and
/// scripts those that begin with the program.
fn commands(path: &Path, text: &str) -> Vec<String> {
    let is_page = path.extension().is_some_and(|end| end == "md");
    let mut language = if is_page { None } else { Some("sh") };
    let mut found = Vec::new();
    for line in text.lines() {
        if let Some(fence) = line.strip_prefix("```") {
            language = match (language, fence) {
                (None, word) => Some(word.split(' ').next().unwrap_or_default()),
                (Some(_), _) => None,
            };
            continue;
        }
        let command = match language {
            Some("console") => line.strip_prefix("$ "),
            Some("make" | "yaml" | "sh") => {
                let line = line.trim_start();
                let heads = ["- run: ", "- ", "run: ", "entry: ", "exec ", "\t"];
                Some(
                    heads
                        .iter()
                        .fold(line, |line, head| line.strip_prefix(head).unwrap_or(line)),
                )
            }
            _ => None,
        };
        found.extend(command.map(str::to_owned));
    }
    found
}

/// The words of a command as a shell reads them, up to what joins it with another; `None`
/// when it is not devshell's. `devshell: ` heads a job or what the program says.
fn words(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for letter in line.chars() {
        match (letter, quote) {
            (letter, Some(open)) if letter == open => quote = None,
            (letter, Some(_)) => word.get_or_insert_default().push(letter),
            ('\'' | '"', None) => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            ('|' | '>' | '<' | '&' | ';' | '#', None) if word.is_none() => break,
            (' ', None) => words.extend(word.take()),
            (letter, None) => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    let is_variable = |word: &&String| word.starts_with("DEVSHELL_");
    let variables = words.iter().take_while(is_variable).count();
    let words = words.split_off(variables);
    // The scripts hand their own arguments on.
    (words.first()? == "devshell" && words.last()? != "$@").then_some(words)
}

#[test]
fn every_command_line_is_one_that_the_program_takes() {
    let mut found = 0;
    for (path, text) in texts() {
        for line in commands(&path, &text) {
            let Some(words) = words(&line) else { continue };
            if let Err(error) = Cli::try_parse_from(&words) {
                let answers = [
                    clap::error::ErrorKind::DisplayHelp,
                    clap::error::ErrorKind::DisplayVersion,
                ];
                assert!(
                    answers.contains(&error.kind()),
                    "{}: `{line}`:\n{error}",
                    path.display()
                );
            }
            found += 1;
        }
    }
    assert!(found > 40, "{found}");
}

#[test]
fn commands_are_read_as_a_shell_reads_them() {
    let read = |line| words(line).map(|words| words.join("_"));
    assert_eq!(
        read("devshell run --set 'a=[\"b c\"]' | tail"),
        Some("devshell_run_--set_a=[\"b c\"]".into())
    );
    assert_eq!(
        read("DEVSHELL_VM=off devshell plan   # why"),
        Some("devshell_plan".into())
    );
    assert_eq!(read("cargo build"), None);
    assert_eq!(read("devshell: class=ok"), None);
}
