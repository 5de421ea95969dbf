//! Command lines for reading; nothing is ever run from them.

/// Arguments as one would type them in a shell.
pub(crate) fn command_line(arguments: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let quoted: Vec<String> = arguments.into_iter().map(|argument| quote(argument.as_ref())).collect();
    quoted.join(" ")
}

fn quote(argument: &str) -> String {
    let plain = |char: char| char.is_ascii_alphanumeric() || "_-./:=,+@%".contains(char);
    if !argument.is_empty() && argument.chars().all(plain) {
        argument.to_owned()
    } else if argument.chars().any(char::is_control) {
        // As bash and zsh read it; a plan with raw control characters is no pleasure.
        let escaped: String = argument.chars().map(escape).collect();
        format!("$'{escaped}'")
    } else {
        format!("'{}'", argument.replace('\'', "'\\''"))
    }
}

fn escape(char: char) -> String {
    match char {
        '\n' => "\\n".into(),
        '\t' => "\\t".into(),
        '\'' | '\\' => format!("\\{char}"),
        char if char.is_control() => format!("\\u{:04x}", u32::from(char)),
        char => char.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::quote;

    #[test]
    fn arguments_are_quoted_as_for_a_shell() {
        assert_eq!(quote("--locked"), "--locked");
        assert_eq!(quote(""), "''");
        assert_eq!(quote("a b"), "'a b'");
        assert_eq!(quote("it's"), "'it'\\''s'");
        assert_eq!(quote("a\n\"b\""), "$'a\\n\"b\"'");
        assert_eq!(quote("a\nit's"), "$'a\\nit\\'s'");
    }
}
