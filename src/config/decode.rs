//! From the spanned TOML tree to plain values: every fault is noted, every good value kept.

use std::fmt::Write as _;
use std::sync::Arc;

use figment::value::{Dict, Value};
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::fault::Fault;
use super::hints;
use super::schema::{Key, Kind, MapRule, ROOT, Rule, TOOL, USER, find, list};
use super::secret;
use super::source::{Place, SourceText};
use super::text::{self, Refusal};

/// The decoding of one text.
pub(super) struct Decoder {
    /// What is read.
    pub(super) source: Arc<SourceText>,
    /// What is wrong with it.
    pub(super) faults: Vec<Fault>,
    /// Where each good value stands: dotted key, place, value as TOML unless it is a secret.
    pub(super) origins: Vec<(String, Place, Option<String>)>,
    /// Whether the text is whole, so that what is missing in it is a fault.
    pub(super) whole: bool,
    /// The profile that is read, for naming its tables.
    pub(super) profile: Option<String>,
}

impl Decoder {
    pub(super) fn new(source: Arc<SourceText>) -> Self {
        Self {
            source,
            faults: Vec::new(),
            origins: Vec::new(),
            whole: true,
            profile: None,
        }
    }

    pub(super) fn place(&self, span: std::ops::Range<usize>) -> Place {
        Place {
            source: Arc::clone(&self.source),
            span,
        }
    }

    pub(super) fn fault(&mut self, message: impl Into<String>, span: std::ops::Range<usize>, key: &str) -> &mut Fault {
        let fault = Fault::new(message, self.place(span)).of(key);
        self.faults.push(fault);
        let last = self.faults.len() - 1;
        &mut self.faults[last]
    }

    fn refused(&mut self, refusal: Refusal, span: std::ops::Range<usize>, path: &str) {
        let fault = self.fault(format!("`{path}` {}", refusal.problem), span, path);
        fault.help.extend(refusal.help);
    }

    /// A table with known keys. `Tools` and `Profiles` in it are left to the caller.
    pub(super) fn table(&mut self, keys: &'static [Key], table: &DeTable<'_>, path: &str) -> Dict {
        let mut dict = Dict::new();
        for (name, value) in table {
            let Some(key) = find(keys, name.get_ref()) else {
                self.unknown(keys, name, path);
                continue;
            };
            if matches!(key.kind, Kind::Tools | Kind::Profiles) {
                continue;
            }
            if let Some(value) = self.value(key.kind, value, &join(path, key.name)) {
                dict.insert(key.name.to_owned(), value);
            }
        }
        dict
    }

    fn unknown(&mut self, keys: &'static [Key], name: &Spanned<std::borrow::Cow<'_, str>>, path: &str) {
        let known = || keys.iter().map(|key| key.name);
        let (wrong, table) = (name.get_ref(), self.table_name(keys, path));
        let key = join(path, wrong);
        let foreign = std::ptr::eq(keys, USER) && path.is_empty() && find(ROOT, wrong).is_some();
        let message = if foreign {
            format!("`{wrong}` does not belong in the user's file")
        } else {
            format!("unknown key `{wrong}` in {table}")
        };
        // So many faults are never shown.
        let told = self.faults.len() > 1000;
        let fault = self.fault(message, name.span(), &key);
        if told {
            return;
        }
        fault.help.extend(hints::for_unknown(keys, wrong));
        fault.help.push(format!("keys of {table}: {}", list(known())));
    }

    /// The value of a key, if it is good.
    pub(super) fn value(&mut self, kind: Kind, value: &Spanned<DeValue<'_>>, path: &str) -> Option<Value> {
        let span = value.span();
        let decoded = match (kind, value.get_ref()) {
            (Kind::Bool, DeValue::Boolean(bool)) => Value::from(*bool),
            (Kind::Int(min, max), DeValue::Integer(_)) => Value::from(self.integer(min, max, value, path)?),
            (Kind::Text(rule), DeValue::String(text)) => {
                self.accept(text::check(rule, text), span.clone(), path)?;
                Value::from(text.as_ref())
            }
            (Kind::Word(words), DeValue::String(text)) => {
                self.accept(text::word(words, text), span.clone(), path)?;
                Value::from(text.as_ref())
            }
            (Kind::Duration, DeValue::String(text)) => {
                let duration = self.accept(text::duration(text), span.clone(), path)?;
                Value::from(humantime::format_duration(duration).to_string())
            }
            (Kind::Size, DeValue::String(text)) => Value::from(self.accept(text::size(text), span.clone(), path)?),
            (Kind::Texts(rule), DeValue::Array(items)) => self.texts(rule, items, path)?,
            (Kind::Argv, DeValue::Array(items)) => {
                if items.is_empty() {
                    self.fault(format!("`{path}` is empty: it names no program"), span, path);
                    return None;
                }
                let argv = self.texts(Rule::Any, items, path)?;
                if items
                    .first()
                    .is_some_and(|program| program.get_ref().as_str() == Some(""))
                {
                    let at = items.first().map_or(span, Spanned::span);
                    self.fault(format!("`{path}` has an empty name for its program"), at, path);
                    return None;
                }
                argv
            }
            (Kind::Ints(min, max), DeValue::Array(items)) => {
                let numbers: Vec<_> = items.iter().map(|item| self.integer(min, max, item, path)).collect();
                Value::from(numbers.into_iter().collect::<Option<Vec<i64>>>()?)
            }
            (Kind::Secrets, DeValue::Table(table)) => return Some(Value::from(self.secrets(table, path))),
            (Kind::Secret, DeValue::Table(table)) => return Some(Value::from(self.secret(value, table, path))),
            (Kind::Secret | Kind::Secrets, _) => {
                self.wrong_secret(kind, span, path);
                return None;
            }
            (Kind::Map(rule), DeValue::Table(table)) => return Some(Value::from(self.map(rule, table, path))),
            (Kind::Table(keys) | Kind::Count(keys), DeValue::Table(table)) => {
                return Some(Value::from(self.table(keys, table, path)));
            }
            (Kind::Count(keys), DeValue::Integer(_)) => {
                let count = find(keys, "count")?;
                let decoded = self.value(count.kind, value, &join(path, count.name))?;
                return Some(Value::from(Dict::from([(count.name.to_owned(), decoded)])));
            }
            _ => {
                self.wrong_type(kind, value, path);
                return None;
            }
        };
        let shown = match value.get_ref() {
            DeValue::String(text) if secret::hides(path, text) => None,
            value => Some(show(value)),
        };
        let place = self.place(value.span());
        self.origins.push((path.to_owned(), place, shown));
        Some(decoded)
    }

    pub(super) fn accept<T>(
        &mut self,
        result: Result<T, Refusal>,
        span: std::ops::Range<usize>,
        path: &str,
    ) -> Option<T> {
        result.map_err(|refusal| self.refused(refusal, span, path)).ok()
    }

    fn integer(&mut self, min: i64, max: i64, value: &Spanned<DeValue<'_>>, path: &str) -> Option<i64> {
        let DeValue::Integer(integer) = value.get_ref() else {
            self.wrong_type(Kind::Int(min, max), value, path);
            return None;
        };
        match i64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(number) if (min..=max).contains(&number) => Some(number),
            _ => {
                let message = format!("`{path}` must be from {min} to {max}, not {integer}");
                self.fault(message, value.span(), path);
                None
            }
        }
    }

    fn texts(&mut self, rule: Rule, items: &DeArray<'_>, path: &str) -> Option<Value> {
        let mut texts = Some(Vec::new());
        for item in items {
            let text = if let DeValue::String(text) = item.get_ref() {
                self.accept(text::check(rule, text), item.span(), path)
                    .map(|()| text.as_ref())
            } else {
                let found = describe(item.get_ref());
                let fault = self.fault(
                    format!("`{path}` is a list of strings, found {found}"),
                    item.span(),
                    path,
                );
                fault.help.extend(hints::quoted(item.get_ref()));
                None
            };
            texts = texts.zip(text).map(|(mut texts, text)| {
                texts.push(text.to_owned());
                texts
            });
        }
        texts.map(Value::from)
    }

    fn map(&mut self, rule: MapRule, table: &DeTable<'_>, path: &str) -> Dict {
        let mut dict = Dict::new();
        for (name, value) in table {
            let key = join(path, name.get_ref());
            let named = match rule {
                MapRule::Variables => text::check(Rule::Variable, name.get_ref()),
                MapRule::Properties => text::check(Rule::NonEmpty, name.get_ref()),
            };
            let named = self.accept(named, name.span(), &key);
            let value = self.value(Kind::Text(Rule::Any), value, &key);
            if let (Some(()), Some(value)) = (named, value) {
                dict.insert(name.get_ref().to_string(), value);
            }
        }
        dict
    }

    fn wrong_type(&mut self, kind: Kind, value: &Spanned<DeValue<'_>>, path: &str) {
        let found = describe(value.get_ref());
        let what = match (kind, path) {
            (Kind::Table(keys), "tool") if std::ptr::eq(keys, TOOL) => "an entry of `tool`".into(),
            _ => format!("`{path}`"),
        };
        let message = format!("{what} must be {}, found {found}", kind.expected());
        let help = hints::for_type(kind, value.get_ref(), path);
        let fault = self.fault(message, value.span(), path);
        fault.help.extend(help);
    }

    /// A table as messages call it.
    fn table_name(&self, keys: &'static [Key], path: &str) -> String {
        let header = match (&self.profile, path) {
            (Some(profile), "") => join("profile", profile),
            (Some(profile), path) => format!("{}.{path}", join("profile", profile)),
            (None, path) => path.to_owned(),
        };
        if header.is_empty() {
            if std::ptr::eq(keys, USER) {
                "the user's file".into()
            } else {
                "devshell.toml".into()
            }
        } else if std::ptr::eq(keys, TOOL) {
            "[[tool]]".into()
        } else if path.starts_with("tool.") {
            format!("`{}` of a tool", path.rsplit('.').next().unwrap_or(path))
        } else {
            format!("[{header}]")
        }
    }

    /// Notes a value that is of the wrong type as a whole.
    pub(super) fn not_a(&mut self, kind: Kind, value: &Spanned<DeValue<'_>>, path: &str) {
        self.wrong_type(kind, value, path);
    }
}

/// What a value is, for "found ...".
pub(super) fn describe(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "a truth value",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// A string as TOML writes it in one line.
fn one_line(text: &str) -> String {
    let written = toml::Value::from(text).to_string();
    if written.lines().nth(1).is_none() {
        return written;
    }
    let mut out = String::from("\"");
    for char in text.chars() {
        match char {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '"' | '\\' => out.extend(['\\', char]),
            char if char.is_control() => _ = write!(out, "\\u{:04X}", u32::from(char)),
            char => out.push(char),
        }
    }
    out.push('"');
    out
}

/// A value as TOML writes it in one line.
pub(super) fn show(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => one_line(text),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(bool) => bool.to_string(),
        DeValue::Datetime(time) => time.to_string(),
        DeValue::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| show(item.get_ref())).collect();
            format!("[{}]", items.join(", "))
        }
        DeValue::Table(table) => {
            let entries: Vec<String> = table
                .iter()
                .map(|(name, value)| format!("{} = {}", quote(name.get_ref()), show(value.get_ref())))
                .collect();
            format!("{{ {} }}", entries.join(", "))
        }
    }
}

/// A dotted path with one more name.
pub(super) fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        quote(name)
    } else {
        format!("{path}.{}", quote(name))
    }
}

/// A name as TOML writes it in a dotted key.
fn quote(name: &str) -> String {
    let bare = !name.is_empty()
        && name
            .chars()
            .all(|char| char.is_ascii_alphanumeric() || "_-".contains(char));
    if bare {
        name.to_owned()
    } else {
        toml::Value::from(name).to_string()
    }
}
