//! The effective config, for people and programs. What looks like a secret is not printed.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::load::{Loaded, Origins};
use super::secret;
use super::secret_table::PLACES;
use super::source::{Holder, Origin, Rank};
use super::tools::COMMANDS;
use super::wire::Config;

impl Loaded {
    /// The effective config as TOML, which is a valid `devshell.toml` itself. Variables that
    /// look like secrets are left out, and a comment in the first line names them.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut config = self.config.clone();
        let mut hidden = Vec::new();
        each_env(&mut config, |key, value| {
            let hides = secret::hides(key, value);
            if hides {
                hidden.push(key.to_owned());
            }
            !hides
        });
        // Every map of the config has strings for its keys, which is all that can fail here.
        let text = toml::to_string_pretty(&config).unwrap_or_default();
        match hidden.as_slice() {
            [] => text,
            hidden => format!(
                "# Not printed, since they look like secrets: {}\n\n{text}",
                hidden.join(", ")
            ),
        }
    }

    /// The effective config as JSON. Variables that look like secrets are `null`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut json = serde_json::to_value(&self.config).unwrap_or_default();
        let hide = |env: Option<&mut Value>, table: &str| {
            for (name, value) in env.and_then(Value::as_object_mut).into_iter().flatten() {
                let key = super::decode::join(table, name);
                if secret::hides(&key, value.as_str().unwrap_or_default()) {
                    *value = Value::Null;
                }
            }
        };
        hide(json.get_mut("env"), "env");
        for tool in json.get_mut("tool").and_then(Value::as_array_mut).into_iter().flatten() {
            hide(tool.get_mut("env"), "tool.t.env");
        }
        json
    }

    /// One line for each value: key, value, where it came from, what it shadows, the strongest
    /// first.
    #[must_use]
    pub fn origins_text(&self) -> String {
        let mut out = String::new();
        for (key, origins) in self.origins.keys() {
            let Some((holds, shadowed)) = origins.split_last() else {
                continue;
            };
            if let Some(other) = gives_way(&self.origins, key, holds) {
                _ = writeln!(out, "# {key} gives way to {other}");
                continue;
            }
            _ = write!(out, "{key} = {}  # {}", shown(holds), holds.place);
            for (index, origin) in shadowed.iter().rev().enumerate() {
                let word = if index == 0 { "; shadows" } else { "," };
                _ = write!(out, "{word} {} ({})", shown(origin), origin.place);
            }
            out.push('\n');
        }
        out
    }

    /// An object with a member for each dotted key: `value` as TOML writes it (`null`: it looks
    /// like a secret), `layer`, `source`, for files `line` and `column` (from 1), and `shadows`,
    /// a list of the same, the strongest first. Of a tool's `run` and `script`, and of a secret's
    /// `env` and `file`, the one that gives way to a stronger layer has `gives_way_to`.
    #[must_use]
    pub fn origins_json(&self) -> Value {
        let mut out = Map::new();
        for (key, origins) in self.origins.keys() {
            let Some((holds, shadowed)) = origins.split_last() else {
                continue;
            };
            let mut entry = as_json(holds);
            if let Some(other) = gives_way(&self.origins, key, holds) {
                entry["gives_way_to"] = other.into();
            }
            entry["shadows"] = shadowed.iter().rev().map(as_json).collect();
            out.insert(key.to_owned(), entry);
        }
        Value::Object(out)
    }
}

fn shown(origin: &Origin) -> &str {
    origin.value.as_deref().unwrap_or("(hidden)")
}

fn as_json(origin: &Origin) -> Value {
    let mut json = json!({
        "value": origin.value,
        "layer": origin.rank.word(),
        "source": origin.place.source.holder.to_string(),
    });
    if let Holder::File { .. } = origin.place.source.holder {
        let (line, column) = origin.place.line_and_column();
        json["line"] = line.into();
        json["column"] = column.into();
    }
    json
}

/// Keeps of each table of variables those that are to be kept.
fn each_env(config: &mut Config, mut keep: impl FnMut(&str, &str) -> bool) {
    config
        .env
        .retain(|name, value| keep(&super::decode::join("env", name), value));
    for tool in &mut config.tool {
        let table = format!("{}.env", super::decode::join("tool", &tool.name));
        tool.env
            .retain(|name, value| keep(&super::decode::join(&table, name), value));
    }
}

/// Of `run` and `script` of a tool, and of `env` and `file` of a secret, the one that a stronger
/// layer gave takes the other away.
fn gives_way(origins: &Origins, key: &str, holds: &Origin) -> Option<String> {
    let pair = match key.split('.').next()? {
        "tool" => COMMANDS,
        "secrets" => PLACES,
        _ => return None,
    };
    let (table, last) = key.rsplit_once('.')?;
    let other = match pair {
        [one, other] | [other, one] if one == last => format!("{table}.{other}"),
        _ => return None,
    };
    let stronger = |origin: &Origin| origin.rank > holds.rank && holds.rank > Rank::Default;
    origins.of(&other).last().is_some_and(stronger).then_some(other)
}
