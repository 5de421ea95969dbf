//! `[secrets]`: where the values of secrets are, never the values themselves.

use figment::value::Dict;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::decode::{Decoder, join};
use super::schema::{Kind, Rule, SECRET};
use super::text;
use super::tools::give_way;

/// The two places a value can be; of one secret only one is meant.
pub(super) const PLACES: [&str; 2] = ["env", "file"];

/// Whether a dotted key lies in `[secrets]`, where somebody may have written a value itself.
pub(super) fn is_part(key: &str) -> bool {
    key == "secrets" || key.starts_with("secrets.")
}

impl Decoder {
    /// The secrets of one text by name.
    pub(super) fn secrets(&mut self, table: &DeTable<'_>, path: &str) -> Dict {
        let mut dict = Dict::new();
        for (name, value) in table {
            let key = join(path, name.get_ref());
            let named = text::check(Rule::SecretName, name.get_ref());
            let named = self.accept(named, name.span(), &key);
            let value = self.value(Kind::Secret, value, &key);
            if let (Some(()), Some(value)) = (named, value) {
                dict.insert(name.get_ref().to_string(), value);
            }
        }
        dict
    }

    /// One secret. Exactly one of `env` and `file`; in a profile the weaker layers may have it.
    pub(super) fn secret(&mut self, value: &Spanned<DeValue<'_>>, table: &DeTable<'_>, path: &str) -> Dict {
        let mut dict = self.table(SECRET, table, path);
        match PLACES.map(|place| table.get(place)) {
            [Some(env), Some(file)] => {
                let later = if env.span().start > file.span().start {
                    env
                } else {
                    file
                };
                let fault = self.fault(format!("`{path}` has both `env` and `file`"), later.span(), path);
                fault.help.push("leave one of them out".into());
            }
            [None, None] if self.whole && (self.profile.is_none() || table.is_empty()) => {
                let fault = self.fault(format!("`{path}` has neither `env` nor `file`"), value.span(), path);
                fault.help.push(EXAMPLE.into());
            }
            _ => {}
        }
        give_way(&mut dict, PLACES);
        dict
    }
}

impl Decoder {
    /// Something stands in the place of a secret that is no table: most likely its value.
    pub(super) fn wrong_secret(&mut self, kind: Kind, span: std::ops::Range<usize>, path: &str) {
        let fault = self.fault(format!("`{path}` must be {}", kind.expected()), span, path);
        fault
            .help
            .push(format!("{EXAMPLE}; the value itself has no place in a config"));
    }
}

/// How a secret is written.
pub(super) const EXAMPLE: &str =
    "say where the value is: `{ env = \"NAME\" }`, a variable of the caller, or `{ file = \"PATH\" }`";
