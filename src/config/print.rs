//! The effective config, for people and programs.

use std::fmt::Write;

use super::load::{Loaded, Origins};
use super::source::{Origin, Rank};

impl Loaded {
    /// The effective config as TOML, which is a valid `devshell.toml` itself.
    #[must_use]
    pub fn to_toml(&self) -> String {
        // Every map of the config has strings for its keys, which is all that can fail here.
        toml::to_string_pretty(&self.config).unwrap_or_default()
    }

    /// The effective config as JSON.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(&self.config).unwrap_or_default()
    }

    /// One line for each value: key, value, where it came from, what it shadows.
    #[must_use]
    pub fn origins_text(&self) -> String {
        let mut out = String::new();
        for (key, origins) in self.origins.keys() {
            let Some((holds, shadowed)) = origins.split_last() else {
                continue;
            };
            if let Some(other) = shadowed_command(&self.origins, key, holds) {
                _ = writeln!(out, "# {key} gives way to {other}");
                continue;
            }
            _ = write!(out, "{key} = {}  # {}", holds.value, holds.place);
            for (index, origin) in shadowed.iter().rev().enumerate() {
                let word = if index == 0 { "; shadows" } else { "," };
                _ = write!(out, "{word} {} ({})", origin.value, origin.place);
            }
            out.push('\n');
        }
        out
    }
}

/// Of `run` and `script` the one that a stronger layer gave takes the other away.
fn shadowed_command(origins: &Origins, key: &str, holds: &Origin) -> Option<String> {
    let tool = key.strip_suffix(".run").map(|tool| format!("{tool}.script"));
    let other = tool.or_else(|| key.strip_suffix(".script").map(|tool| format!("{tool}.run")))?;
    let stronger = |origin: &Origin| origin.rank > holds.rank && holds.rank > Rank::Default;
    (key.starts_with("tool.") && origins.of(&other).last().is_some_and(stronger)).then_some(other)
}
