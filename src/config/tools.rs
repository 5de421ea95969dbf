//! The list of tools in one text: names, duplicates, `run` or `script`.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use figment::value::{Dict, Empty, Tag, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::decode::{Decoder, join};
use super::schema::{Kind, Rule, TOOL};
use super::text;

/// The two ways to say what a tool is.
pub(super) const COMMANDS: [&str; 2] = ["run", "script"];
/// Set by the layer that brings a tool in; keeps the order, which a map of tools forgets.
const POSITION: &str = "position";

impl Decoder {
    /// The tools of one text as a map by name, so that layers merge by name. `known` are those
    /// of the weaker layers in order; new ones are appended.
    pub(super) fn tools(&mut self, value: &Spanned<DeValue<'_>>, known: &mut Vec<String>) -> Dict {
        let DeValue::Array(items) = value.get_ref() else {
            self.not_a(Kind::Tools, value, "tool");
            return Dict::new();
        };
        let mut entries: Vec<(&Spanned<DeValue<'_>>, &DeTable<'_>)> = Vec::new();
        for item in items {
            match item.get_ref() {
                DeValue::Table(table) => entries.push((item, table)),
                _ => self.not_a(Kind::Table(TOOL), item, "tool"),
            }
        }

        let mut names = Names::default();
        let written = entries.iter().filter_map(|(_, table)| written_name(table));
        names.taken.extend(written.map(str::to_owned));
        names.taken.extend(known.iter().cloned());

        let below: HashSet<String> = known.iter().cloned().collect();
        let mut seen: HashMap<String, usize> = HashMap::new();
        let mut dict = Dict::new();
        for (item, table) in entries {
            let bad_name = table.contains_key("name") && written_name(table).is_none();
            let name = match (written_name(table), raw_name(table)) {
                (Some(name), _) => name.to_owned(),
                (None, Some(raw)) => text::tool_name(raw),
                (None, None) => names.free(table),
            };
            let path = join("tool", &name);
            let mut tool = self.table(TOOL, table, &path);
            self.command(item, table, &name, below.contains(&name), &mut tool);
            if bad_name {
                // The walk has said so; the rest of the entry was only looked at.
                continue;
            }
            let span = table.get("name").map_or_else(|| item.span(), Spanned::span);
            if let Some(first) = seen.get(&name) {
                let first = self.place(*first..*first);
                let fault = self.fault(format!("two tools are named `{name}`"), span, &join(&path, "name"));
                fault.help.push(format!("the first is at {first}"));
                continue;
            }
            seen.insert(name.clone(), span.start);
            tool.insert("name".into(), Value::from(name.as_str()));
            if !below.contains(&name) {
                tool.insert(POSITION.into(), Value::from(known.len()));
                known.push(name.clone());
            }
            dict.insert(name, Value::from(tool));
        }
        dict
    }

    /// Exactly one of `run` and `script`, except where a weaker layer has given it.
    fn command(&mut self, item: &Spanned<DeValue<'_>>, table: &DeTable<'_>, name: &str, known: bool, tool: &mut Dict) {
        let path = join("tool", name);
        match (table.get("run"), table.get("script")) {
            (Some(run), Some(script)) => {
                let later = if run.span().start > script.span().start {
                    run
                } else {
                    script
                };
                let fault = self.fault(
                    format!("the tool `{name}` has both `run` and `script`"),
                    later.span(),
                    &join(&path, "run"),
                );
                fault.help.push("leave one of them out".into());
            }
            (None, None) if !known && self.whole => {
                let span = table.get("name").map_or_else(|| item.span(), Spanned::span);
                let fault = self.fault(
                    format!("the tool `{name}` has neither `run` nor `script`"),
                    span,
                    &join(&path, "run"),
                );
                fault.help.push("for example `run = [\"cargo\", \"test\"]`".into());
            }
            _ => {}
        }
        if let (Some(shell), Some(_), None) = (table.get("shell"), table.get("run"), table.get("script")) {
            let fault = self.fault(
                format!("the tool `{name}` has a `shell` and no `script` for it"),
                shell.span(),
                &join(&path, "shell"),
            );
            fault
                .help
                .push("`run` needs no shell: leave it out, or write `script`".into());
        }
        give_way(tool, COMMANDS);
    }
}

/// Of two keys that say the same thing, the one that a layer sets takes the other of weaker layers
/// away.
pub(super) fn give_way(table: &mut Dict, [a, b]: [&str; 2]) {
    for (one, other) in [(a, b), (b, a)] {
        if table.contains_key(one) && !table.contains_key(other) {
            table.insert(other.into(), Value::Empty(Tag::Default, Empty::None));
            return;
        }
    }
}

/// A name that is written and good.
fn written_name<'a>(table: &'a DeTable<'_>) -> Option<&'a str> {
    raw_name(table).filter(|name| text::check(Rule::ToolName, name).is_ok())
}

/// A name that is written.
fn raw_name<'a>(table: &'a DeTable<'_>) -> Option<&'a str> {
    table.get("name")?.get_ref().as_str()
}

/// The names that are given, so that the others can be made.
#[derive(Default)]
struct Names {
    taken: HashSet<String>,
    /// The last number that a program's name was given.
    numbers: HashMap<String, usize>,
}

impl Names {
    /// The program's file name, numbered when it is taken.
    fn free(&mut self, table: &DeTable<'_>) -> String {
        let program = |key| match table.get(key).map(Spanned::get_ref) {
            Some(DeValue::Array(argv)) => argv.first().and_then(|program| program.get_ref().as_str()),
            _ => None,
        };
        let program = match table.get("script") {
            Some(_) => program("shell").unwrap_or("sh"),
            None => program("run").unwrap_or("tool"),
        };
        let file = Path::new(program).file_name().and_then(|name| name.to_str());
        let base = text::tool_name(file.filter(|name| !name.is_empty()).unwrap_or("tool"));
        let number = self.numbers.entry(base.clone()).or_insert(1);
        let mut name = base.clone();
        while !self.taken.insert(name.clone()) {
            *number += 1;
            name = format!("{base}-{number}");
        }
        name
    }
}
