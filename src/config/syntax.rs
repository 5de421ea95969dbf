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
    let start = |error: &toml::de::Error| error.span().map_or(text.len(), |span| span.start);
    let first = errors.iter().map(start).min().unwrap_or(0);
    // A `[tool]` has its fault, of which each `[[tool]]` behind it is only a consequence.
    let of_tool = faults.iter().filter(|fault| fault.key.as_deref() == Some("tool"));
    let no_list = of_tool.filter_map(|fault| Some(fault.place.as_ref()?.span.start)).min();
    for error in errors {
        let span = error.span().unwrap_or(text.len()..text.len());
        // The end of the line that the last error is on.
        if span.start < told {
            continue;
        }
        told = text
            .as_bytes()
            .iter()
            .skip(span.start)
            .position(|byte| *byte == b'\n')
            .map_or(text.len(), |at| span.start + at + 1);
        let doubled = error.message() == "duplicate key" && text.get(span.clone()) == Some("tool");
        if doubled && no_list.is_some_and(|at| at < span.start) && heading(text, span.start).starts_with("[[") {
            continue;
        }
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
    let line = text.as_bytes()[..first]
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    faults.retain(|fault| fault.place.as_ref().is_some_and(|place| place.span.start < line));
    faults.append(&mut syntax);
}

/// The heading in the line of an offset, up to its closing brackets; empty: the line has none.
fn heading(text: &str, at: usize) -> &str {
    let start = text
        .get(..at)
        .and_then(|before| before.rfind('\n'))
        .map_or(0, |end| end + 1);
    let line = text
        .get(start..)
        .and_then(|rest| rest.lines().next())
        .unwrap_or_default();
    let line = line.trim_start();
    if !line.starts_with('[') {
        return "";
    }
    let name = line.find(']').unwrap_or(line.len());
    let brackets = line[name..].bytes().take_while(|byte| *byte == b']').count();
    &line[..name + brackets]
}

/// The parser's words, or plainer ones.
fn fault(message: &str, place: Place) -> Fault {
    let text = &place.source.text;
    let marked = text.get(place.span.clone()).unwrap_or_default().to_owned();
    let heading = heading(text, place.span.start).to_owned();
    let headed = heading.starts_with('[');
    match message {
        "duplicate key" if headed && marked == "tool" => {
            let list = format!("[[{}]]", heading.trim_matches(['[', ']']));
            let what = if heading.starts_with("[[") {
                format!("`{list}` cannot be added to the `tool` above")
            } else {
                format!("`{heading}` cannot stand beside the `{list}` above")
            };
            Fault::new(what, place).help(format!("head each tool with double brackets: `{list}`"))
        }
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
