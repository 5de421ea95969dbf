//! `devshell.toml` as JSON Schema, for editors: written from the description that the parser
//! uses, with what the reference says about each key.
//!
//! The schema takes every file that the parser takes. What no schema can say is left to the
//! parser: names that repeat, patterns that no glob is, values that contradict each other, sums
//! of durations, `..` that leaves the workspace behind other folders, whole numbers written
//! with a fraction.

use serde_json::{Map, Value, json};

use super::reference::{Entry, entries};
use super::schema::{Key, Kind, LONGEST, MapRule, PROFILE, ROOT, Rule, SECRET, TOOL};
use super::secret_table::PLACES;
use super::text;

/// The JSON Schema (draft 2020-12) of `devshell.toml`.
#[must_use]
pub fn schema() -> Value {
    let writer = Writer { entries: entries() };
    let mut defs = Map::new();
    for key in PROFILE {
        if let Kind::Table(keys) = key.kind {
            defs.insert(key.name.into(), writer.table(keys, key.name).into());
        }
    }
    let mut tool = writer.table(TOOL, "tool");
    tool.insert("not".into(), reference("run_with_script_or_shell").into());
    defs.insert("tool_keys".into(), tool.into());
    defs.insert(
        "tool".into(),
        json!({
            "description": "One tool: `run` or `script`.",
            "allOf": [{ "$ref": "#/$defs/tool_keys" }],
            "anyOf": [{ "required": ["run"] }, { "required": ["script"] }],
        }),
    );
    defs.insert(
        "profile_tool".into(),
        json!({
            "description": "A tool of this name with other values, or one more tool.",
            "allOf": [{ "$ref": "#/$defs/tool_keys" }],
            "anyOf": [{ "required": ["name"] }, { "required": ["run"] }, { "required": ["script"] }],
        }),
    );
    let not_both = json!({ "required": PLACES });
    let mut secret = writer.table(SECRET, "secret");
    describe_secret(&mut secret);
    secret.insert("not".into(), not_both.clone());
    let mut of_profile = secret.clone();
    of_profile.insert("minProperties".into(), 1.into());
    let either = PLACES.map(|place| json!({ "required": [place] }));
    secret.insert("anyOf".into(), either.to_vec().into());
    defs.insert("secret".into(), secret.into());
    defs.insert("profile_secret".into(), of_profile.into());
    defs.insert("profile".into(), writer.top(PROFILE, "profile_tool").into());
    defs.insert("argv".into(), argv());
    defs.insert("duration".into(), duration());
    defs.insert("size".into(), size());
    defs.append(&mut refusals());

    let mut root = Map::new();
    root.insert("$schema".into(), "https://json-schema.org/draft/2020-12/schema".into());
    root.insert("title".into(), "devshell.toml".into());
    root.insert(
        "description".into(),
        "The tools that `devshell run` runs on a private view of the project, all or nothing.".into(),
    );
    root.append(&mut writer.top(ROOT, "tool"));
    root.insert("$defs".into(), defs.into());
    root.into()
}

struct Writer {
    entries: Vec<Entry>,
}

impl Writer {
    /// The tables of a file or of a profile, each a definition of its own.
    fn top(&self, keys: &'static [Key], tool: &str) -> Map<String, Value> {
        let mut properties = Map::new();
        for key in keys {
            let mut schema = match key.kind {
                Kind::Table(_) => reference(key.name),
                Kind::Tools => object(json!({ "type": "array", "items": reference(tool) })),
                Kind::Profiles => object(json!({ "type": "object", "additionalProperties": reference("profile") })),
                Kind::Secrets => object(json!({
                    "type": "object",
                    "propertyNames": string(Rule::SecretName),
                    "additionalProperties": reference(&tool.replace("tool", "secret")),
                })),
                kind => self.kind(kind, key.name),
            };
            self.describe(&mut schema, key.name);
            properties.insert(key.name.into(), schema.into());
        }
        object(json!({ "type": "object", "additionalProperties": false, "properties": properties }))
    }

    /// A table with these keys and no others.
    fn table(&self, keys: &'static [Key], path: &str) -> Map<String, Value> {
        let mut properties = Map::new();
        for key in keys {
            let path = format!("{path}.{}", key.name);
            let mut schema = self.kind(key.kind, &path);
            self.describe(&mut schema, &path);
            properties.insert(key.name.into(), schema.into());
        }
        object(json!({ "type": "object", "additionalProperties": false, "properties": properties }))
    }

    fn kind(&self, kind: Kind, path: &str) -> Map<String, Value> {
        let schema = match kind {
            Kind::Bool => json!({ "type": "boolean" }),
            Kind::Int(min, max) => json!({ "type": "integer", "minimum": min, "maximum": max }),
            Kind::Text(rule) => string(rule),
            Kind::Word(words) => json!({ "enum": words }),
            Kind::Duration => return reference("duration"),
            Kind::Size => return reference("size"),
            Kind::Texts(rule) => json!({ "type": "array", "items": string(rule) }),
            Kind::Argv => return reference("argv"),
            Kind::Ints(min, max) => {
                json!({ "type": "array", "items": { "type": "integer", "minimum": min, "maximum": max } })
            }
            Kind::Map(rule) => json!({
                "type": "object",
                "propertyNames": string(match rule {
                    MapRule::Variables => Rule::Variable,
                    MapRule::Properties => Rule::NonEmpty,
                }),
                "additionalProperties": string(Rule::Any),
            }),
            Kind::Table(keys) => return self.table(keys, path),
            Kind::Count(keys) => {
                let count = keys.iter().find(|key| key.name == "count");
                let number = count.map(|key| self.kind(key.kind, path));
                json!({ "anyOf": [number, self.table(keys, path)] })
            }
            // These stand in a file or a profile only.
            Kind::Tools | Kind::Profiles | Kind::Secrets | Kind::Secret => json!({ "not": {} }),
        };
        object(schema)
    }

    /// Adds what the reference says.
    fn describe(&self, schema: &mut Map<String, Value>, path: &str) {
        // Names of the user's own are shown by one example.
        let below = format!("{path}.");
        let entry = self.entries.iter().find(|entry| entry.path == path).or_else(|| {
            let mut below = self.entries.iter().filter(|entry| entry.path.starts_with(&below));
            below.next().filter(|entry| entry.value.is_none())
        });
        let Some(entry) = entry else { return };
        if let Some(comment) = &entry.comment {
            schema.insert("description".into(), comment.as_str().into());
        }
        match (&entry.value, entry.is_default) {
            (Some(value), true) => schema.insert("default".into(), value.clone()),
            (Some(value), false) => schema.insert("examples".into(), json!([value])),
            (None, _) => None,
        };
    }
}

/// The reference shows a secret in one line, and so says nothing about its keys.
fn describe_secret(secret: &mut Map<String, Value>) {
    let says = [
        ("env", "the caller's variable that holds the value; this or `file`"),
        (
            "file",
            "the file that holds the value, without one newline at its end; this or `env`",
        ),
        ("tools", "names of the tools that get it; default: all"),
    ];
    for (key, text) in says {
        secret["properties"][key]["description"] = text.into();
    }
}

fn reference(name: &str) -> Map<String, Value> {
    object(json!({ "$ref": format!("#/$defs/{name}") }))
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

const ANY: &str = "^[^\\u0000]*$";
const NON_EMPTY: &str = "^[^\\u0000]+$";
/// A string under a rule.
fn string(rule: Rule) -> Value {
    let plain = |pattern: &str| json!({ "type": "string", "pattern": pattern });
    let but_not = |pattern: &str, not: &str| json!({ "type": "string", "pattern": pattern, "not": reference(not) });
    match rule {
        Rule::Any => plain(ANY),
        Rule::NonEmpty | Rule::Path | Rule::Program | Rule::Agent | Rule::Template => plain(NON_EMPTY),
        Rule::Socket => plain(concat!(
            "^(stdio|tcp:[^\\u0000]+:\\+?0*([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}",
            "|655[0-2][0-9]|6553[0-5])|unix:[^\\u0000]+|[^:/\\u0000]+(/[^\\u0000]*)?|/[^\\u0000]*)$"
        )),
        Rule::Endpoint => plain("^grpcs?://[^\\u0000]+$"),
        Rule::FarPath => but_not("^/[^\\u0000]*$", "path_with_dot_dot"),
        Rule::Inside => but_not("^[^/\\u0000][^\\u0000]*$", "path_out_of_the_workspace"),
        Rule::Pattern => but_not("^[^#\\u0000][^\\u0000]*$", "pattern_that_matches_nothing"),
        Rule::InsidePattern => but_not("^[^#!\\u0000][^\\u0000]*$", "pattern_out_of_the_workspace"),
        Rule::ToolName => plain("^[A-Za-z0-9._-]+$"),
        Rule::SecretName => plain("^[A-Za-z_][A-Za-z0-9_]*$"),
        Rule::Variable | Rule::VariablePattern => plain("^[^=\\u0000]+$"),
    }
}

fn argv() -> Value {
    json!({
        "type": "array",
        "minItems": 1,
        "prefixItems": [string(Rule::NonEmpty)],
        "items": string(Rule::Any),
    })
}

/// The units of durations with their nanoseconds. The first takes no fraction.
const DURATIONS: [(&str, u128); 10] = [
    ("nanos|nsec|ns", 1),
    ("usec|us|µs", 1_000),
    ("millis|msec|ms", 1_000_000),
    ("seconds|second|secs|sec|s", 1_000_000_000),
    ("minutes|minute|mins|min|m", 60 * 1_000_000_000),
    ("hours|hour|hrs|hr|h", 3600 * 1_000_000_000),
    ("days|day|d", 86_400 * 1_000_000_000),
    ("weeks|week|wks|wk|w", 7 * 86_400 * 1_000_000_000),
    ("months|month|M", 2_630_016 * 1_000_000_000),
    ("years|year|yrs|yr|y", 31_557_600 * 1_000_000_000),
];

fn duration() -> Value {
    let number = "[0-9][0-9\\s]*";
    let fraction = "(\\.[0-9\\s]*[0-9][0-9\\s]*)?";
    let [(nanoseconds, _), rest @ ..] = DURATIONS;
    let rest = rest.map(|(units, _)| units).join("|");
    json!({
        "description": "Numbers with units, as in \"500ms\", \"90s\", \"10m\", \"1h 30m\", \"7d\"; at most 30 days.",
        "type": "string",
        "pattern": format!("^(0|\\s*({number}({nanoseconds})\\s*|{number}{fraction}({rest})\\s*)+)$"),
        "not": reference("longer_than_30_days"),
    })
}

/// What values must not be. Each has a name of its own, since that is what editors show.
fn refusals() -> Map<String, Value> {
    let pattern = |pattern: &str| json!({ "pattern": pattern });
    let too_long = DURATIONS.map(|(units, nanoseconds)| {
        let most = LONGEST.as_nanos() / nanoseconds;
        format!("0*({})(\\.[0-9]+)?\\s*({units})", more_than(most))
    });
    let too_long = format!("(^|[A-Za-zµ])\\s*({})([^A-Za-zµ]|$)", too_long.join("|"));
    let both = |a: &str, b: &str| json!({ "required": [a, b] });
    object(json!({
        "longer_than_30_days": pattern(&too_long),
        "path_with_dot_dot": pattern("(^|/)\\.\\.(/|$)"),
        "path_out_of_the_workspace": pattern("^(\\./+)*\\.\\.(/|$)"),
        "pattern_out_of_the_workspace": pattern("^\\s*$|(^|/)\\.\\.(/|$)"),
        "pattern_that_matches_nothing": pattern("^!*\\s*$|^!?~/|^!?/?([^/]+/)*\\.{1,2}(/|$)|//"),
        "run_with_script_or_shell": { "anyOf": [both("run", "script"), both("run", "shell")] },
    }))
}

fn size() -> Value {
    let number = text::UNITS.map(|(unit, factor)| {
        let most = i64::MAX.unsigned_abs() / factor;
        format!("[1-9][0-9]{{0,{}}}\\s*{unit}", most.ilog10())
    });
    json!({
        "description": "A whole number with a unit, as in \"512MiB\" or \"4GiB\".",
        "type": "string",
        "pattern": format!("^0*({})\\s*$", number.join("|")),
    })
}

/// Whole numbers beyond a limit, without leading zeros. Of long ones only the length is looked
/// at, which keeps the pattern short.
fn more_than(limit: u128) -> String {
    let digits = limit.to_string();
    let longer = format!("[1-9][0-9]{{{},}}", digits.len());
    if digits.len() > 7 {
        return longer;
    }
    let as_long = digits
        .char_indices()
        .filter(|(_, digit)| *digit != '9')
        .map(|(at, digit)| {
            let next = char::from_digit(digit.to_digit(10).unwrap_or(8) + 1, 10).unwrap_or('9');
            format!("{}[{next}-9]{}", &digits[..at], "[0-9]".repeat(digits.len() - at - 1))
        });
    as_long.chain([longer]).collect::<Vec<_>>().join("|")
}

#[cfg(test)]
mod tests;
