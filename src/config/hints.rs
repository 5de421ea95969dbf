//! What was probably meant by a key that is none.

use super::schema::{Key, Kind, ROOT, TOOL, USER, find, nearest};

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
    ("job", "tool"),
    ("jobs", "tool"),
    ("keep_going", "fail_fast"),
    ("provider", "backend"),
    ("ram", "memory"),
    ("retry", "retries"),
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
    let called = CALLED.iter().find(|(other, _)| *other == snake).map(|(_, name)| *name);
    let near = nearest(wrong, keys.iter().map(|key| key.name));
    let mut help = Vec::new();
    if let Some(name) = called.filter(|name| find(keys, name).is_some()).or(near) {
        help.push(format!("did you mean `{name}`?"));
    }
    // The exact name in another table; under its name here only where this table has none of it.
    let other = [
        Some(wrong),
        Some(snake.as_str()),
        called.filter(|name| find(keys, name).is_none()),
    ];
    help.extend(other.into_iter().flatten().find_map(|name| elsewhere(keys, name)));
    help
}

/// In which other tables a key of this name is.
fn elsewhere(keys: &'static [Key], name: &str) -> Option<String> {
    let mut places = Vec::new();
    let root = if std::ptr::eq(keys, USER) { USER } else { ROOT };
    walk(root, "", name, &mut places);
    let (last, others) = places.split_last()?;
    let list = match others {
        [] => last.clone(),
        others => format!("{} or {last}", others.join(", ")),
    };
    // A table is its own place.
    Some(match (places.as_slice(), find(root, name).map(|key| key.kind)) {
        ([_], Some(Kind::Tools)) => "tools are headed `[[tool]]`, at the top level".into(),
        ([one], _) if one.ends_with(&format!("{name}]")) => format!("there is a table {one}"),
        _ => format!("`{name}` belongs in {list}"),
    })
}

fn walk(keys: &'static [Key], table: &str, name: &str, places: &mut Vec<String>) {
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
        if key.name == name {
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
            walk(inner, &below("."), name, places);
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
            ("script", "`script` belongs in a [[tool]]"),
            ("command", "did you mean `run`?; `command` belongs in [vm.beta]"),
            ("steps", "did you mean `tool`?"),
            ("colour", ""),
        ] {
            assert_eq!(help(ROOT, wrong), expected, "{wrong}");
        }
    }

    #[test]
    fn what_other_tools_call_it_is_known() {
        assert_eq!(help(TOOL, "cmd"), "did you mean `run`?");
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
            walk(ROOT, "", name, &mut places);
            assert!(!places.is_empty(), "{name}");
        }
    }
}
