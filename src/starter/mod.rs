//! A `devshell.toml` for a start, fitted to what a folder holds: each ecosystem is one file, which
//! looks at the folder and says which tools and caches it would have.

mod cargo;
mod folder;
mod make;
mod node;
mod python;
mod render;

use std::path::Path;

use folder::Folder;

/// A starter file.
#[derive(Debug)]
pub(crate) struct Starter {
    /// The text, a valid `devshell.toml`.
    pub(crate) text: String,
    /// The files that it was fitted to; empty: nothing was recognised, and the text is an example.
    pub(crate) found: Vec<&'static str>,
    /// The names of its tools, in order.
    pub(crate) tools: Vec<String>,
    /// What the user should know about files that were looked at.
    pub(crate) notes: Vec<String>,
}

/// What one ecosystem would have in the file.
#[derive(Debug)]
struct Part {
    /// The file that it was recognised by.
    file: &'static str,
    /// Before the names of tools, where several ecosystems meet.
    prefix: &'static str,
    caches: Vec<Cache>,
    tools: Vec<Tool>,
    notes: Vec<String>,
}

/// A folder that is used and not carried.
#[derive(Debug)]
struct Cache {
    pattern: &'static str,
    /// What lies in it.
    holds: String,
}

#[derive(Debug)]
struct Tool {
    name: String,
    run: Vec<String>,
    /// What should be known about it.
    comment: Option<&'static str>,
}

impl Tool {
    fn new<'a>(name: &str, run: impl IntoIterator<Item = &'a str>) -> Self {
        Self {
            name: name.to_owned(),
            run: run.into_iter().map(str::to_owned).collect(),
            comment: None,
        }
    }

    fn comment(mut self, comment: &'static str) -> Self {
        self.comment = Some(comment);
        self
    }
}

/// Looks at a folder, and at nothing below or above it, and starts nothing. `schema` is where
/// the file shall say that its JSON Schema lies, if there is one.
#[must_use]
pub(crate) fn starter(folder: &Path, schema: Option<&str>) -> Starter {
    let folder = Folder::new(folder);
    let looks: [fn(&Folder) -> Option<Part>; 4] = [cargo::look, node::look, python::look, make::look];
    let mut parts: Vec<Part> = looks.iter().filter_map(|look| look(&folder)).collect();
    let notes = parts
        .iter_mut()
        .flat_map(|part| std::mem::take(&mut part.notes))
        .collect();
    parts.retain(|part| !part.tools.is_empty());
    if parts.len() > 1 {
        for part in &mut parts {
            for tool in &mut part.tools {
                tool.name = format!("{}-{}", part.prefix, tool.name);
            }
        }
    }
    Starter {
        text: render::render(&parts, schema),
        found: parts.iter().map(|part| part.file).collect(),
        tools: match parts.as_slice() {
            [] => vec![render::EXAMPLE.to_owned()],
            parts => parts
                .iter()
                .flat_map(|part| &part.tools)
                .map(|tool| tool.name.clone())
                .collect(),
        },
        notes,
    }
}

#[cfg(test)]
mod tests;
