//! One word of a command line that is offered for typing.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt as _;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Serialize, Serializer};

/// An argument as it is. One that is not UTF-8 can stand neither in JSON nor on every terminal: it is kept as bash and
/// zsh read it, `$'caf\351'`, which is what `ls` shows of such a name as well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    text: String,
    quoted: bool,
}

impl Word {
    /// The argument, or the quoted form of it.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether the text is for a shell already.
    #[must_use]
    pub fn is_quoted(&self) -> bool {
        self.quoted
    }

    pub(super) fn text_mut(&mut self) -> &mut String {
        &mut self.text
    }
}

impl From<&OsStr> for Word {
    fn from(argument: &OsStr) -> Self {
        match argument.to_str() {
            Some(text) => Self {
                text: text.to_owned(),
                quoted: false,
            },
            None => Self {
                text: quoted(argument.as_bytes()),
                quoted: true,
            },
        }
    }
}

impl From<&str> for Word {
    fn from(argument: &str) -> Self {
        Self::from(OsStr::new(argument))
    }
}

/// Three octal digits end by themselves, where `\x` would take a letter behind it for one more digit.
fn quoted(bytes: &[u8]) -> String {
    let mut text = "$'".to_owned();
    for chunk in bytes.utf8_chunks() {
        for char in chunk.valid().chars() {
            match char {
                '\'' | '\\' => text.extend(['\\', char]),
                char if char.is_ascii_control() => {
                    let _ = write!(text, "\\{:03o}", u32::from(char));
                }
                char => text.push(char),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(text, "\\{byte:03o}");
        }
    }
    text.push('\'');
    text
}

impl Serialize for Word {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl JsonSchema for Word {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        String::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        String::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_not_utf_8_is_kept_as_a_shell_reads_it() {
        let word = Word::from(OsStr::from_bytes(b"it's/\xe9\\1\n\xc3\xa9"));
        assert_eq!(word.text(), "$'it\\'s/\\351\\\\1\\012\u{e9}'");
        assert!(word.is_quoted());
        assert_eq!(serde_json::to_string(&Word::from("a b")).unwrap(), "\"a b\"");
        assert!(!Word::from("$'a'").is_quoted());
    }
}
