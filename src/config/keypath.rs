//! Keys as flags and variables name them.

use toml::de::{DeTable, DeValue};

use super::hints;
use super::schema::{Key, Kind, MapRule, ROOT, Rule, SECRET, TOOL, find, list, nearest};
use super::text;

/// A key that was found: its path, and what it takes.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) path: Vec<String>,
    pub(super) kind: Kind,
}

/// A key that was not found: why, and how to mend it.
#[derive(Debug)]
pub(super) struct Lost {
    pub(super) message: String,
    pub(super) help: Vec<String>,
}

fn lost<T>(message: String, help: Option<String>) -> Result<T, Lost> {
    Err(Lost {
        message,
        help: help.into_iter().collect(),
    })
}

/// How the parts of a key are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spelling {
    /// `vm.backend`, in any case that TOML would take.
    Dotted,
    /// `VM__BACKEND`, in any case.
    Variable,
}

impl Spelling {
    fn separator(self) -> &'static str {
        match self {
            Self::Dotted => ".",
            Self::Variable => "__",
        }
    }

    /// The key that a part means.
    fn key(self, part: &str) -> String {
        match self {
            Self::Dotted => part.to_owned(),
            Self::Variable => part.to_lowercase(),
        }
    }
}

/// Parts of a dotted key as TOML reads it, quoted ones too.
pub(super) fn split(key: &str) -> Option<Vec<String>> {
    let text = format!("{key} = 0");
    let document = DeTable::parse(&text).ok()?;
    let mut parts = Vec::new();
    let mut table = document.get_ref();
    loop {
        let mut entries = table.iter();
        let (name, value) = entries.next().filter(|_| entries.next().is_none())?;
        parts.push(name.get_ref().to_string());
        match value.get_ref() {
            DeValue::Table(inner) => table = inner,
            // What was appended, and nothing that the key itself brought along.
            DeValue::Integer(_) => return Some(parts).filter(|_| value.span().end == text.len()),
            _ => return None,
        }
    }
}

/// Finds a key by its parts; `tools` are the names of the tools there are.
pub(super) fn find_key(parts: &[String], spelling: Spelling, tools: &[String]) -> Result<Target, Lost> {
    let mut keys: &'static [Key] = ROOT;
    let mut path: Vec<String> = Vec::new();
    let mut rest = parts;
    loop {
        let Some((part, after)) = rest.split_first() else {
            return lost("no key is named".into(), None);
        };
        let name = spelling.key(part);
        let Some(key) = find(keys, &name).filter(|key| !(std::ptr::eq(keys, TOOL) && key.name == "name")) else {
            return Err(unknown(keys, &name, &path));
        };
        path.push(key.name.to_owned());
        rest = after;
        match key.kind {
            Kind::Profiles => return lost("profiles are written in a file".into(), None),
            Kind::Tools => {
                let Some((name, after)) = find_tool(rest, spelling, tools) else {
                    let name = rest.first().map_or("", String::as_str);
                    let near = nearest(name, tools.iter().map(String::as_str));
                    let message = match name {
                        "" => "a tool is addressed by its name: `tool.NAME.key`".to_owned(),
                        name if tools.iter().any(|tool| tool == name) => {
                            return lost(
                                format!("`tool.{name}` is a tool, not a key of one"),
                                Some(format!("keys: {}", list(TOOL.iter().map(|key| key.name)))),
                            );
                        }
                        name => format!("there is no tool `{name}` with a key to set"),
                    };
                    return lost(
                        message,
                        near.map(|near| format!("did you mean `{near}`?"))
                            .or_else(|| Some(format!("tools: {}", list(tools.iter().map(String::as_str))))),
                    );
                };
                path.push(name);
                rest = after;
                keys = TOOL;
            }
            Kind::Secrets if !rest.is_empty() => {
                // A name may hold the separator of variables; the last part is a key where it can be.
                let key = rest.split_last().filter(|(_, name)| !name.is_empty());
                let key = key.filter(|(key, _)| find(SECRET, &spelling.key(key)).is_some());
                let (name, after) = match key {
                    Some((_, name)) => (name, &rest[name.len()..]),
                    None => (rest, &rest[rest.len()..]),
                };
                let name = name.join(spelling.separator());
                if let Err(refusal) = text::check(Rule::SecretName, &name) {
                    return lost(format!("the name below `secrets` {}", refusal.problem), refusal.help);
                }
                path.push(name);
                if after.is_empty() {
                    let kind = Kind::Secret;
                    return Ok(Target { path, kind });
                }
                rest = after;
                keys = SECRET;
            }
            Kind::Map(rule) if !rest.is_empty() => {
                let name = rest.join(spelling.separator());
                let named = match rule {
                    MapRule::Variables => text::check(Rule::Variable, &name),
                    MapRule::Properties => text::check(Rule::NonEmpty, &name),
                };
                if let Err(refusal) = named {
                    return lost(
                        format!("the name below `{}` {}", path.join("."), refusal.problem),
                        refusal.help,
                    );
                }
                path.push(name);
                let kind = Kind::Text(Rule::Any);
                return Ok(Target { path, kind });
            }
            Kind::Table(inner) | Kind::Count(inner) if !rest.is_empty() => keys = inner,
            kind if rest.is_empty() => return Ok(Target { path, kind }),
            _ => return lost(format!("`{}` is no table", path.join(".")), None),
        }
    }
}

fn unknown(keys: &'static [Key], name: &str, path: &[String]) -> Lost {
    let known = || keys.iter().map(|key| key.name);
    let place = if path.is_empty() {
        String::new()
    } else {
        format!(" in `{}`", path.join("."))
    };
    let mut help = hints::for_unknown(keys, name);
    help.push(format!("keys: {}", list(known())));
    Lost {
        message: format!("unknown key `{name}`{place}"),
        help,
    }
}

/// The tool that the first parts name, and the parts that are left. Names may hold the
/// separator; the longest that fits wins, and at least one part is left.
fn find_tool<'a>(parts: &'a [String], spelling: Spelling, tools: &[String]) -> Option<(String, &'a [String])> {
    (1..parts.len()).rev().find_map(|count| {
        let (name, rest) = parts.split_at(count);
        let name = name.join(spelling.separator());
        let exact = tools.iter().find(|tool| **tool == name);
        let found = exact.or_else(|| {
            // Variables are mostly written in upper case and cannot hold `-` nor `.`.
            let fold = |name: &str| name.to_lowercase().replace(['-', '.'], "_");
            let mut alike = tools
                .iter()
                .filter(|tool| spelling == Spelling::Variable && fold(tool) == fold(&name));
            alike.next().filter(|_| alike.next().is_none())
        })?;
        Some((found.clone(), rest))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(key: &str) -> Vec<String> {
        split(key).unwrap()
    }

    fn dotted(key: &str) -> Result<Target, Lost> {
        find_key(
            &parts(key),
            Spelling::Dotted,
            &["test".into(), "a.b".into(), "unit-test".into()],
        )
    }

    fn variable(name: &str) -> Result<Target, Lost> {
        let parts: Vec<String> = name.split("__").map(str::to_owned).collect();
        find_key(
            &parts,
            Spelling::Variable,
            &["test".into(), "a.b".into(), "unit-test".into()],
        )
    }

    #[test]
    fn a_dotted_key_is_read_as_toml_reads_it() {
        assert_eq!(parts("vm.backend"), ["vm", "backend"]);
        assert_eq!(parts("tool.\"a.b\".timeout"), ["tool", "a.b", "timeout"]);
        for key in ["", ".", "a.", "a b", "a = 1\nb", "a = {b = 1}\n#"] {
            assert_eq!(split(key), None, "{key}");
        }
    }

    #[test]
    fn a_tool_is_addressed_by_its_name_dots_included() {
        assert_eq!(dotted("tool.test.timeout").unwrap().path, ["tool", "test", "timeout"]);
        assert_eq!(dotted("tool.a.b.when.os").unwrap().path, ["tool", "a.b", "when", "os"]);
        assert_eq!(dotted("tool.\"a.b\".run").unwrap().path, ["tool", "a.b", "run"]);
        assert_eq!(dotted("tool.tset.run").unwrap_err().help, ["did you mean `test`?"]);
        assert!(dotted("tool.test").is_err());
        assert!(dotted("tool.test.name").is_err());
    }

    #[test]
    fn a_variable_names_a_tool_in_upper_case() {
        assert_eq!(
            variable("TOOL__UNIT_TEST__TIMEOUT").unwrap().path,
            ["tool", "unit-test", "timeout"]
        );
        assert_eq!(
            variable("TOOL__test__ENV__Foo").unwrap().path,
            ["tool", "test", "env", "Foo"]
        );
    }

    #[test]
    fn below_env_the_case_of_a_name_is_kept() {
        assert_eq!(variable("ENV__Foo").unwrap().path, ["env", "Foo"]);
        assert_eq!(variable("ENV__A__B").unwrap().path, ["env", "A__B"]);
        assert_eq!(dotted("env.Foo").unwrap().path, ["env", "Foo"]);
    }

    #[test]
    fn a_secret_is_addressed_by_its_name() {
        assert_eq!(dotted("secrets.TOKEN.env").unwrap().path, ["secrets", "TOKEN", "env"]);
        assert_eq!(
            variable("SECRETS__MY__TOKEN__FILE").unwrap().path,
            ["secrets", "MY__TOKEN", "file"]
        );
        assert!(matches!(dotted("secrets.TOKEN").unwrap().kind, Kind::Secret));
        assert!(matches!(dotted("secrets").unwrap().kind, Kind::Secrets));
        assert!(
            dotted("secrets.\"a-b\".env")
                .unwrap_err()
                .message
                .contains("names a variable")
        );
        assert!(dotted("secrets.TOKEN.enf").is_err());
    }

    #[test]
    fn no_key_is_found_below_a_value_nor_in_profiles() {
        assert_eq!(dotted("vm.backend.x").unwrap_err().message, "`vm.backend` is no table");
        assert!(dotted("profile.ci.vm.backend").is_err());
        assert!(dotted("tool").is_err());
    }
}
