//! One layer of values, as figment takes it.

use std::sync::Arc;

use figment::value::{Dict, Map, Value};
use figment::{Metadata, Profile, Provider};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::decode::Decoder;
use super::fault::Fault;
use super::keypath::Target;
use super::schema::{Kind, PROFILE, ROOT, USER};
use super::secret_table::PLACES;
use super::source::{Place, Rank, SourceText};
use super::syntax;
use super::tools::{COMMANDS, give_way};

/// Good values of one source.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) rank: Rank,
    /// As messages of figment would call it.
    pub(super) name: String,
    pub(super) values: Dict,
    /// Dotted key, place, value as TOML unless it is a secret.
    pub(super) origins: Vec<(String, Place, Option<String>)>,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Map::from([(Profile::Default, self.values.clone())]))
    }
}

/// What a file holds.
#[derive(Debug)]
pub(super) struct FileLayers {
    pub(super) base: Layer,
    /// The chosen profile, when it is there.
    pub(super) profile: Option<Layer>,
    /// The names of all profiles.
    pub(super) profiles: Vec<String>,
    pub(super) faults: Vec<Fault>,
    /// Whether the text is TOML at all.
    pub(super) whole: bool,
}

/// Reads a whole file. `tools` are the names of the tools of weaker layers, and become those
/// of all layers up to the chosen profile.
pub(super) fn of_file(
    source: &Arc<SourceText>,
    rank: Rank,
    chosen: Option<&str>,
    tools: &mut Vec<String>,
) -> FileLayers {
    let (document, errors) = DeTable::parse_recoverable(&source.text);
    let mut base = Decoder::new(Arc::clone(source));
    base.whole = errors.is_empty();
    let root = document.get_ref();
    let values = if rank == Rank::User {
        base.table(USER, root, "")
    } else {
        root_values(&mut base, ROOT, root, tools)
    };

    let mut profiles = Vec::new();
    let mut profile = None;
    let mut faults = std::mem::take(&mut base.faults);
    if let Some(value) = root.get("profile").filter(|_| rank != Rank::User) {
        if let DeValue::Table(table) = value.get_ref() {
            for (name, value) in table {
                let mut decoder = Decoder::new(Arc::clone(source));
                decoder.whole = base.whole;
                decoder.profile = Some(name.get_ref().to_string());
                let DeValue::Table(table) = value.get_ref() else {
                    decoder.not_a(Kind::Table(PROFILE), value, &format!("profile.{}", name.get_ref()));
                    faults.append(&mut decoder.faults);
                    continue;
                };
                profiles.push(name.get_ref().to_string());
                // Without tools of its own it needs none of the others.
                let mut known = match table.contains_key("tool") || chosen == Some(name.get_ref().as_ref()) {
                    true => tools.clone(),
                    false => Vec::new(),
                };
                let values = root_values(&mut decoder, PROFILE, table, &mut known);
                faults.append(&mut decoder.faults);
                if chosen == Some(name.get_ref().as_ref()) {
                    *tools = known;
                    profile = Some(Layer {
                        rank: Rank::Profile,
                        name: format!("profile {} of {}", name.get_ref(), source.holder),
                        values,
                        origins: decoder.origins,
                    });
                }
            }
        } else {
            base.not_a(Kind::Profiles, value, "profile");
            faults.append(&mut base.faults);
        }
    }

    let whole = errors.is_empty();
    if !whole {
        syntax::keep_before(&mut faults, &errors, source);
    }
    let start = |fault: &Fault| fault.place.as_ref().map_or(0, |place| place.span.start);
    faults.sort_by_key(start);
    FileLayers {
        base: Layer {
            rank,
            name: source.holder.to_string(),
            values,
            origins: base.origins,
        },
        profile,
        profiles,
        faults,
        whole,
    }
}

/// The tables of a file or of a profile, its tools by name.
fn root_values(
    decoder: &mut Decoder,
    keys: &'static [super::schema::Key],
    table: &DeTable<'_>,
    tools: &mut Vec<String>,
) -> Dict {
    let mut values = decoder.table(keys, table, "");
    if let Some(list) = table.get("tool") {
        let by_name = decoder.tools(list, tools);
        values.insert("tool".into(), Value::from(by_name));
    }
    values
}

/// How the text of one value is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// A string as it stands, anything else as TOML.
    AsKey,
    /// on/1/true/yes, off/0/false/no, in any case.
    Switch,
    /// A whole number of milliseconds.
    Milliseconds,
}

/// Reads the one value that a variable or a flag gives a key.
pub(super) fn of_text(source: SourceText, rank: Rank, target: &Target, reading: Reading) -> Result<Layer, Vec<Fault>> {
    let source = Arc::new(source);
    let mut decoder = Decoder::new(Arc::clone(&source));
    // Weaker layers may have the rest.
    decoder.whole = false;
    let path = target
        .path
        .iter()
        .fold(String::new(), |path, part| super::decode::join(&path, part));
    match read(&mut decoder, target.kind, &path, reading) {
        Some(value) if decoder.faults.is_empty() => Ok(Layer {
            rank,
            name: source.holder.to_string(),
            values: nest(&target.path, value),
            origins: decoder.origins,
        }),
        _ => Err(decoder.faults),
    }
}

fn read(decoder: &mut Decoder, kind: Kind, path: &str, reading: Reading) -> Option<Value> {
    let source = Arc::clone(&decoder.source);
    let text = source.text.as_str();
    let whole = 0..text.len();
    match reading {
        Reading::Switch => {
            let Some(on) = switch(text) else {
                let fault = decoder.fault(format!("neither on nor off: `{text}`"), whole, path);
                fault
                    .help
                    .push("on: `on`, `1`, `true`, `yes`; off: `off`, `0`, `false`, `no`".into());
                return None;
            };
            decoder.value(kind, &Spanned::new(whole, DeValue::Boolean(on)), path)
        }
        Reading::Milliseconds => {
            if text.parse::<u64>().is_err() {
                let fault = decoder.fault(format!("no number of milliseconds: `{text}`"), whole, path);
                fault.help.push("write a whole number, as in `90000`; 0 is none".into());
                return None;
            }
            decoder.value(
                kind,
                &Spanned::new(whole, DeValue::String(format!("{text}ms").into())),
                path,
            )
        }
        Reading::AsKey if kind.is_text() => {
            decoder.value(kind, &Spanned::new(whole, DeValue::String(unquote(text).into())), path)
        }
        Reading::AsKey => match DeValue::parse(text) {
            Ok(value) => decoder.value(kind, &value, path),
            Err(error) => {
                // A value that does not even start like TOML is a misunderstanding, not a slip.
                let meant = text.starts_with(['[', '{', '"', '\'']);
                if !meant && matches!(kind, Kind::Texts(_) | Kind::Argv) {
                    // As if it stood in quotes in a file, which says how it is written.
                    return decoder.value(kind, &Spanned::new(whole, DeValue::String(text.into())), path);
                }
                let (message, span) = if meant {
                    (error.message().to_owned(), error.span().unwrap_or(whole))
                } else if matches!(kind, Kind::Secret | Kind::Secrets) {
                    // Most likely the value itself, which is not repeated.
                    decoder.wrong_secret(kind, whole, path);
                    return None;
                } else {
                    (format!("found `{text}`"), whole)
                };
                decoder.fault(format!("`{path}` must be {}: {message}", kind.expected()), span, path);
                None
            }
        },
    }
}

/// Without the one pair of TOML quotes that may be around it.
fn unquote(text: &str) -> String {
    let quoted = text.len() >= 2
        && ['"', '\'']
            .iter()
            .any(|quote| text.starts_with(*quote) && text.ends_with(*quote));
    match DeValue::parse(text) {
        Ok(value) if quoted => value.get_ref().as_str().unwrap_or(text).to_owned(),
        _ => text.to_owned(),
    }
}

/// A switch of the original names.
pub(super) fn switch(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "on" | "1" | "true" | "yes" => Some(true),
        "off" | "0" | "false" | "no" => Some(false),
        _ => None,
    }
}

/// A value at its path.
fn nest(path: &[String], value: Value) -> Dict {
    let Some((last, tables)) = path.split_last() else {
        return Dict::new();
    };
    let mut dict = Dict::from([(last.clone(), value)]);
    if let [first, _] = tables {
        match first.as_str() {
            "tool" => give_way(&mut dict, COMMANDS),
            "secrets" => give_way(&mut dict, PLACES),
            _ => {}
        }
    }
    for table in tables.iter().rev() {
        dict = Dict::from([(table.clone(), Value::from(dict))]);
    }
    dict
}
