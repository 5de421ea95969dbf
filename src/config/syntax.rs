//! What is no TOML at all.

use std::sync::Arc;

use super::fault::Fault;
use super::source::{Place, SourceText};

/// Behind a syntax error the parser guesses, and faults found there may be none: one fault for
/// each line with a syntax error, and the others only up to the first of these.
pub(super) fn keep_before(faults: &mut Vec<Fault>, errors: &[toml::de::Error], source: &Arc<SourceText>) {
    let text = source.text.as_str();
    let mut syntax: Vec<Fault> = Vec::new();
    let mut told = 0;
    for error in errors {
        let span = error.span().unwrap_or(text.len()..text.len());
        // The end of the line that the last told error is on.
        if !syntax.is_empty() && span.start < told {
            continue;
        }
        told = text
            .as_bytes()
            .iter()
            .skip(span.start)
            .position(|byte| *byte == b'\n')
            .map_or(text.len(), |at| span.start + at + 1);
        let place = Place {
            source: Arc::clone(source),
            span,
        };
        syntax.push(fault(error.message(), place));
    }
    if let (Some(language), Some(first)) = (other_language(text), syntax.first_mut()) {
        first.help.push(format!(
            "the file looks like {language}; devshell.toml is TOML: https://toml.io"
        ));
    }
    let first = syntax
        .iter()
        .filter_map(|fault| fault.place.as_ref())
        .map(|place| place.span.start)
        .min()
        .unwrap_or(0);
    let line = text.as_bytes()[..first]
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    faults.retain(|fault| fault.place.as_ref().is_some_and(|place| place.span.start < line));
    faults.append(&mut syntax);
}

/// The parser's words, or plainer ones.
fn fault(message: &str, place: Place) -> Fault {
    let text = &place.source.text;
    let marked = text.get(place.span.clone()).unwrap_or_default().to_owned();
    let line_before = text.get(..place.span.start).unwrap_or_default();
    let headed = line_before
        .rsplit('\n')
        .next()
        .is_some_and(|line| line.trim_start().starts_with('['));
    match message {
        "duplicate key" if headed => Fault::new(format!("the table `{marked}` is there already"), place)
            .help("put its keys below its first heading"),
        "duplicate key" => {
            Fault::new(format!("the key `{marked}` is there already"), place).help("leave one of them out")
        }
        "string values must be quoted, expected literal string" if marked.trim().is_empty() => {
            Fault::new("there is no value", place)
        }
        "string values must be quoted, expected literal string" => {
            Fault::new("a string is written in quotes", place).help(format!("in quotes: {marked:?}"))
        }
        "key with no value, expected `=`" => Fault::new("there is a key and no `=` with a value", place),
        "invalid basic string, expected `\"`" => Fault::new("the string has no end on its line, expected `\"`", place),
        message if message.starts_with("missing escaped value") => {
            Fault::new(message, place).help("a backslash is written `\\\\`, or in a string with single quotes `\\`")
        }
        message => Fault::new(message, place),
    }
}

/// Another language that the file is probably written in.
fn other_language(text: &str) -> Option<&'static str> {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    if text.lines().any(|line| line.starts_with("#!/")) {
        return Some("a script");
    }
    let first = lines.find(|line| !line.starts_with('#'))?;
    if first.starts_with('{') {
        return Some("JSON");
    }
    let name = first.split(':').next().unwrap_or_default();
    let is_name = !name.is_empty() && name.chars().all(|char| char.is_alphanumeric() || "_-".contains(char));
    let rest = first.strip_prefix(name)?.strip_prefix(':')?;
    (first == "---" || (is_name && (rest.is_empty() || rest.starts_with(' ')))).then_some("YAML")
}
