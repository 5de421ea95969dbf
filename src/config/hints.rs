//! What was probably meant by a key that is none, or by a value of the wrong type.

use toml::de::DeValue;

use super::schema::{Key, Kind, PROFILE, ROOT, TOOL, USER, find, nearest};
use super::secret;

/// What other tools call it, and what it is called here.
const CALLED: &[(&str, &str)] = &[
    ("allow_failure", "continue_on_error"),
    ("args", "run"),
    ("argv", "run"),
    ("cmd", "run"),
    ("cmds", "script"),
    ("command", "run"),
    ("commands", "script"),
    ("condition", "when"),
    ("dir", "cwd"),
    ("directory", "cwd"),
    ("environment", "env"),
    ("exclude", "ignore"),
    ("excludes", "ignore"),
    ("exec", "run"),
    ("if", "when"),
    ("ignore_errors", "continue_on_error"),
    ("keep_going", "fail_fast"),
    ("provider", "backend"),
    ("ram", "memory"),
    ("retry", "retries"),
    ("secret", "secrets"),
    ("step", "tool"),
    ("steps", "tool"),
    ("task", "tool"),
    ("tasks", "tool"),
    ("vars", "env"),
    ("working_dir", "cwd"),
    ("working_directory", "cwd"),
    ("workdir", "cwd"),
];

/// Help for a name that is no key of these, best first.
pub(super) fn for_unknown(keys: &'static [Key], wrong: &str) -> Vec<String> {
    let snake = wrong.replace('-', "_").to_lowercase();
    if snake != wrong && find(keys, &snake).is_some() {
        return vec![format!("keys are written in snake_case: `{snake}`")];
    }
    if std::ptr::eq(keys, USER) && find(ROOT, wrong).is_some() {
        return vec![
            "put it into the project's devshell.toml: what is run, and on what, is the same for all its users".into(),
        ];
    }
    if std::ptr::eq(keys, PROFILE) && wrong == "profile" {
        return vec!["a profile holds no profiles: head it `[profile.NAME]`, beside this one".into()];
    }
    let called = CALLED.iter().find(|(other, _)| *other == snake).map(|(_, name)| *name);
    let here = called.and_then(|name| find(keys, name));
    // At the top level, the table `run` is not what another runner's `cmd` is.
    if let Some(key) = here.filter(|key| !(std::ptr::eq(keys, ROOT) && key.name == "run")) {
        return vec![match key.kind {
            Kind::Tools => "did you mean `[[tool]]`?".into(),
            _ => format!("did you mean `{}`?", key.name),
        }];
    }
    let near = nearest(wrong, keys.iter().map(|key| key.name));
    let mut help: Vec<String> = near.into_iter().map(|near| format!("did you mean `{near}`?")).collect();
    let names = [Some(wrong), Some(snake.as_str()), called];
    help.extend(names.into_iter().flatten().find_map(|name| elsewhere(keys, name)));
    help
}

/// Help for a value of the wrong type.
pub(super) fn for_type(kind: Kind, value: &DeValue<'_>, path: &str) -> Option<String> {
    let of_tool = path.starts_with("tool");
    Some(match (kind, value) {
        (Kind::Duration, DeValue::Integer(number)) => format!("with its unit: \"{number}s\""),
        (Kind::Size, DeValue::Integer(number)) => format!("with its unit: \"{number}GiB\""),
        (Kind::Argv, DeValue::String(command)) => {
            let words: Vec<String> = command.split_whitespace().map(|word| format!("{word:?}")).collect();
            let list = format!("no shell reads it; as a list: [{}]", words.join(", "));
            if of_tool {
                format!("{list}, or `script = {command:?}`")
            } else {
                list
            }
        }
        (Kind::Texts(_), DeValue::String(item)) => format!("as a list: [{item:?}]"),
        (Kind::Text(_), DeValue::Array(lines)) if path.ends_with(".script") => {
            let lines: Option<Vec<&str>> = lines.iter().map(|line| line.get_ref().as_str()).collect();
            format!("as one string: {:?}", lines?.join("\n"))
        }
        (Kind::Text(_), _) if secret::hides(path, "") => return None,
        (Kind::Text(_), other) => return quoted(other),
        (Kind::Bool, DeValue::String(word)) => match word.to_ascii_lowercase().as_str() {
            "true" | "on" | "yes" | "1" => "without quotes: true".into(),
            "false" | "off" | "no" | "0" => "without quotes: false".into(),
            _ => return None,
        },
        (Kind::Bool, DeValue::Integer(number)) => match number.as_str() {
            "1" => "in a word: true".into(),
            "0" => "in a word: false".into(),
            _ => return None,
        },
        (Kind::Int(..) | Kind::Count(_), DeValue::String(number)) if number.parse::<i64>().is_ok() => {
            format!("without quotes: {number}")
        }
        (Kind::Tools, DeValue::Table(table)) => {
            let named = table.iter().find(|(_, value)| value.get_ref().is_table());
            match named.filter(|(name, _)| find(TOOL, name.get_ref()).is_none()) {
                Some((name, _)) => format!(
                    "with double brackets, and a name: `[[tool]]`, `name = {:?}`",
                    name.get_ref()
                ),
                None => "with double brackets: `[[tool]]`".into(),
            }
        }
        (Kind::Table(keys), DeValue::String(program)) if std::ptr::eq(keys, TOOL) => {
            format!("as a table: {{ run = [{program:?}] }}")
        }
        (Kind::Table(keys), _) if std::ptr::eq(keys, TOOL) => return None,
        (Kind::Table(_), DeValue::Array(_) | DeValue::String(_)) if path == "run" => {
            "a command is `run` of a [[tool]]".into()
        }
        (Kind::Table(_), DeValue::Array(items)) if items.iter().all(|item| item.get_ref().is_table()) => {
            format!("with single brackets: `[{path}]`")
        }
        (Kind::Profiles, DeValue::Array(_)) => "with its name, and single brackets: `[profile.NAME]`".into(),
        (Kind::Table(keys), DeValue::String(word)) => {
            // The one key of the table that takes such a word.
            let takes = |key: &&Key| matches!(key.kind, Kind::Word(words) if words.contains(&word.as_ref()));
            let key = keys.iter().find(takes)?;
            format!("as a table: {{ {} = {word:?} }}", key.name)
        }
        _ => return None,
    })
}

/// A number or a truth value that should have been a string.
pub(super) fn quoted(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::Integer(number) => Some(format!("in quotes: \"{number}\"")),
        DeValue::Float(number) => Some(format!("in quotes: \"{number}\"")),
        DeValue::Boolean(bool) => Some(format!("in quotes: \"{bool}\"")),
        DeValue::Datetime(time) => Some(format!("in quotes: \"{time}\"")),
        DeValue::String(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

/// In which other tables a key of this name is.
fn elsewhere(keys: &'static [Key], name: &str) -> Option<String> {
    let mut places = Vec::new();
    let root = if std::ptr::eq(keys, USER) { USER } else { ROOT };
    walk(root, "", name, keys, &mut places);
    let (last, others) = places.split_last()?;
    let list = match others {
        [] => last.clone(),
        others => format!("{} or {last}", others.join(", ")),
    };
    Some(match (others, find(root, name).map(|key| key.kind)) {
        ([], Some(Kind::Tools)) => "tools are headed `[[tool]]`, at the top level".into(),
        // A table is its own place.
        ([], _) if last.ends_with(&format!("{name}]")) => format!("there is a table {last}"),
        _ => format!("`{name}` belongs in {list}"),
    })
}

/// The places of keys of this name, but neither the table `not` itself nor its own keys.
fn walk(keys: &'static [Key], table: &str, name: &str, not: &'static [Key], places: &mut Vec<String>) {
    for key in keys {
        let below = |joint: &str| match table {
            "" => key.name.to_owned(),
            table => format!("{table}{joint}{}", key.name),
        };
        let inner: Option<&'static [Key]> = match key.kind {
            Kind::Table(inner) | Kind::Count(inner) => Some(inner),
            Kind::Tools => Some(TOOL),
            _ => None,
        };
        let near = std::ptr::eq(keys, not) || matches!(key.kind, Kind::Table(inner) if std::ptr::eq(inner, not));
        if key.name == name && !near {
            places.push(match (table, key.kind) {
                ("", Kind::Tools) => "[[tool]]".into(),
                ("", _) => format!("[{name}]"),
                ("tool", _) => "a [[tool]]".into(),
                (table, _) if table.starts_with("tool.") => {
                    format!("`{}` of a [[tool]]", table.trim_start_matches("tool."))
                }
                (table, Kind::Table(_)) => format!("[{table}.{name}]"),
                (table, _) => format!("[{table}]"),
            });
        }
        if let Some(inner) = inner {
            walk(inner, &below("."), name, not, places);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn help(keys: &'static [Key], wrong: &str) -> String {
        for_unknown(keys, wrong).join("; ")
    }

    #[test]
    fn a_key_is_sent_to_where_it_belongs() {
        for (wrong, expected) in [
            ("timeout", "`timeout` belongs in [run] or a [[tool]]"),
            ("strategy", "`strategy` belongs in [vm.host]"),
            ("lima", "there is a table [vm.lima]"),
            ("os", "`os` belongs in `when` of a [[tool]]"),
            ("tools", "did you mean `tool`?"),
            ("tasks", "did you mean `[[tool]]`?"),
            ("script", "`script` belongs in a [[tool]]"),
            ("command", "`command` belongs in [vm.beta]"),
            ("cmd", "`run` belongs in a [[tool]]"),
            ("colour", ""),
        ] {
            assert_eq!(help(ROOT, wrong), expected, "{wrong}");
        }
    }

    #[test]
    fn what_other_tools_call_it_is_known() {
        assert_eq!(help(TOOL, "cmd"), "did you mean `run`?");
        assert_eq!(help(TOOL, "if"), "did you mean `when`?");
        assert_eq!(help(TOOL, "steps"), "tools are headed `[[tool]]`, at the top level");
        assert_eq!(help(TOOL, "write-back"), "`write_back` belongs in [workspace]");
        assert_eq!(
            help(TOOL, "Continue-On-Error"),
            "keys are written in snake_case: `continue_on_error`"
        );
    }

    #[test]
    fn the_users_file_is_sent_to_the_projects() {
        assert!(help(USER, "workspace").starts_with("put it into the project's devshell.toml"));
        assert_eq!(help(USER, "timeout"), "`timeout` belongs in [run]");
    }

    #[test]
    fn every_name_that_is_offered_is_a_key() {
        for (_, name) in CALLED {
            let mut places = Vec::new();
            walk(ROOT, "", name, &[], &mut places);
            assert!(!places.is_empty(), "{name}");
        }
    }
}
