//! The reference, `devshell.toml.example`, as data: of each key its default or an example, and
//! what is said about it.

use serde_json::Value;
use toml::Table;

use super::load::DEFAULTS;

/// One line of the reference.
#[derive(Debug)]
pub(super) struct Entry {
    /// Dotted; of a tool `tool.run`, of a table its own name.
    pub(super) path: String,
    /// What is said behind it.
    pub(super) comment: Option<String>,
    /// The value, if it is a key.
    pub(super) value: Option<Value>,
    /// Whether the value is the default, not an example.
    pub(super) is_default: bool,
}

/// All lines that show a table or a key, in order.
pub(super) fn entries() -> Vec<Entry> {
    let mut table = String::new();
    let mut entries = Vec::new();
    for line in DEFAULTS.lines() {
        let shown = line.strip_prefix("# ");
        let (code, comment) = split_comment(shown.unwrap_or(line));
        let Ok(parsed) = code.parse::<Table>() else { continue };
        let Some((name, value)) = parsed.into_iter().next() else {
            continue;
        };
        if code.starts_with('[') {
            code.trim_matches(['[', ']']).clone_into(&mut table);
            entries.push(Entry {
                path: table.clone(),
                comment,
                value: None,
                is_default: false,
            });
        } else if !table.is_empty() {
            entries.push(Entry {
                path: format!("{table}.{name}"),
                comment,
                value: serde_json::to_value(value).ok(),
                is_default: shown.is_none(),
            });
        }
    }
    entries
}

/// A line without its comment, and the comment. A `#` in a string starts none.
fn split_comment(line: &str) -> (&str, Option<String>) {
    line.match_indices('#')
        .map(|(at, _)| (line[..at].trim_end(), line[at + 1..].trim()))
        .find(|(code, _)| code.parse::<Table>().is_ok_and(|table| !table.is_empty()))
        .map_or((line.trim_end(), None), |(code, comment)| {
            (code, Some(comment.to_owned()))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_begins_behind_the_value() {
        assert_eq!(split_comment("a = \"x # y\" # z"), ("a = \"x # y\"", Some("z".into())));
        assert_eq!(split_comment("[a]  # z"), ("[a]", Some("z".into())));
        assert_eq!(split_comment("a = 1"), ("a = 1", None));
        assert_eq!(split_comment("words # z"), ("words # z", None));
    }

    #[test]
    fn defaults_and_examples_are_told_apart() {
        let entries = entries();
        let of = |path: &str| entries.iter().find(|entry| entry.path == path).unwrap();
        assert!(of("vm.backend").is_default && of("vm.backend").value == Some("auto".into()));
        assert!(!of("tool.timeout").is_default && of("tool.timeout").value == Some("15m".into()));
        assert_eq!(of("vm").comment.as_deref(), Some("where tools run"));
        assert!(of("tool").value.is_none() && of("profile.ci").comment.is_some());
    }
}
