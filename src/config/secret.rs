//! What is not printed: variables whose names or values look like secrets.
//!
//! What devshell prints ends in CI logs and bug reports. A value of `env` is hidden when its
//! name ends in a word such as `TOKEN` or `PASSWORD`, or when it is itself of a known shape.
//! Other values of `env` are shown: somebody who looks for a wrong `PATH` needs to see it.

use super::schema::SECRET;

/// Words that end the name of a secret, alone or joined to another (`APITOKEN`).
const ENDS: &[&str] = &[
    "token",
    "secret",
    "password",
    "passwd",
    "passphrase",
    "credential",
    "apikey",
];
/// Words that end the name of a secret when they stand alone (`API_KEY`, and not `MONKEY`).
const WORDS: &[&str] = &["key", "auth", "bearer", "cookie", "pat", "pass", "authorization"];
/// How tokens of well-known services start.
const STARTS: &[&str] = &[
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "xoxp-",
    "sk_live_",
];

/// Whether the value that a dotted key is given must not be printed.
pub(super) fn hides(key: &str, value: &str) -> bool {
    let name = match key.strip_prefix("env.") {
        Some(name) => Some(name),
        None => key
            .strip_prefix("tool.")
            .and_then(|tool| tool.rsplit_once(".env."))
            .map(|(_, name)| name),
    };
    name.is_some_and(|name| name_hides(name) || value_hides(value))
}

/// Whether a variable of this name holds a secret. The last word tells what it is: an
/// `API_TOKEN` is one, a `TOKEN_FILE` only says where one is.
pub(super) fn name_hides(name: &str) -> bool {
    let mut words = words(name);
    let Some(last) = words.pop() else {
        return false;
    };
    let last = last.strip_suffix('s').filter(|word| word.len() > 3).unwrap_or(&last);
    ENDS.iter().any(|end| last.ends_with(end))
        || WORDS.contains(&last)
        // `PWD` is a folder, `DB_PWD` is none.
        || (last == "pwd" && !words.is_empty())
}

/// Whether a value is a secret whatever its name is.
pub(super) fn value_hides(value: &str) -> bool {
    STARTS
        .iter()
        .any(|start| value.len() > start.len() + 8 && value.starts_with(start))
        || (value.contains("-----BEGIN") && value.contains("PRIVATE KEY"))
        || value.split("://").skip(1).any(|rest| {
            let authority = rest.split(['/', '?', '#', ' ', '\n']).next().unwrap_or(rest);
            let user = authority.rsplit_once('@').map(|(user, _)| user);
            user.and_then(|user| user.split_once(':'))
                .is_some_and(|(_, password)| !password.is_empty())
        })
}

/// The words of a name in lower case, however they are joined: `apiKey`, `API_KEY`, `api-key`.
fn words(name: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut inside = false;
    let mut lower = false;
    for char in name.chars() {
        if !char.is_alphanumeric() {
            inside = false;
            continue;
        }
        match words.last_mut() {
            Some(word) if inside && !(lower && char.is_uppercase()) => word.extend(char.to_lowercase()),
            _ => words.push(char.to_lowercase().collect()),
        }
        inside = true;
        lower = char.is_lowercase();
    }
    words
}

/// A text of somebody else with every value that follows the name of a secret and a `=` blotted
/// out, byte for byte, so that places in it stay. Looks at the letters only: the text may be
/// anything but TOML, which is why it is shown.
pub(super) fn blot(text: &str) -> String {
    blot_values(text, |name, _| name_hides(name))
}

/// As [`blot`], of a line of `[secrets]`: only what says where a value is stays, since somebody may
/// have written the value itself.
pub(super) fn blot_secrets(text: &str) -> String {
    let says_where = |name: &str| SECRET.iter().any(|key| key.name == name);
    blot_values(text, |name, value| !says_where(name) && !value.starts_with(['{', '[']))
}

fn blot_values(text: &str, hides: impl Fn(&str, &str) -> bool) -> String {
    let mut out = text.to_owned();
    let mut from = 0;
    while let Some(at) = out[from..].find('=').map(|at| from + at) {
        from = at + 1;
        let before = out[..at].trim_end().trim_end_matches(['"', '\'']);
        let start = before
            .rfind(|char: char| !(char.is_alphanumeric() || "_-".contains(char)))
            .map_or(0, |at| at + before[at..].chars().next().map_or(1, char::len_utf8));
        let blank = out[from..].len() - out[from..].trim_start_matches([' ', '\t']).len();
        let value = from + blank;
        let hidden = match &before[start..] {
            "" => continue,
            name if hides(name, &out[value..]) => value..end_of_value(&out, value),
            _ => continue,
        };
        from = hidden.end;
        let stars = "*".repeat(hidden.len());
        out.replace_range(hidden, &stars);
    }
    out
}

/// Where the value that starts at `start` ends: at its closing quote, else before a comma, a
/// closing bracket or a comment.
fn end_of_value(text: &str, start: usize) -> usize {
    let rest = &text[start..];
    let line = rest.find('\n').unwrap_or(rest.len());
    let rest = &rest[..line];
    let Some(quote) = rest.chars().next().filter(|char| "\"'".contains(*char)) else {
        let end = rest.find([',', '}', ']', '#', '`']).unwrap_or(rest.len());
        return start + rest[..end].trim_end().len();
    };
    if rest[1..].starts_with([quote]) && rest[2..].starts_with([quote]) {
        return start + line;
    }
    let mut escaped = false;
    for (at, char) in rest.char_indices().skip(1) {
        if char == quote && !escaped {
            return start + at + 1;
        }
        escaped = char == '\\' && quote == '"' && !escaped;
    }
    start + line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_secrets_are_told_from_names_that_only_sound_alike() {
        for name in [
            "TOKEN",
            "CARGO_REGISTRY_TOKEN",
            "githubToken",
            "APITOKEN",
            "DB_PASSWORD",
            "PGPASSWORD",
            "AWS_SECRET_ACCESS_KEY",
            "api-key",
            "apiKey",
            "DB_PWD",
            "NPM_AUTH",
            "AWS_CREDENTIALS",
            "SECRETS",
        ] {
            assert!(name_hides(name), "{name}");
        }
        for name in [
            "PATH",
            "PWD",
            "OLDPWD",
            "MONKEY",
            "TOKENIZERS_PARALLELISM",
            "TOKEN_FILE",
            "AWS_ACCESS_KEY_ID",
            "SSH_AUTH_SOCK",
            "GIT_ASKPASS",
            "KEYBOARD",
            "",
            "_",
        ] {
            assert!(!name_hides(name), "{name}");
        }
    }

    #[test]
    fn values_of_known_shapes_are_secrets_under_any_name() {
        assert!(value_hides("postgres://me:pw@db/x"));
        assert!(value_hides("ghp_0123456789abcdef"));
        assert!(value_hides("-----BEGIN RSA PRIVATE KEY-----\nx"));
        for value in ["https://example.org/a@b:c", "ssh://git@host/x", "a:b@c", "ghp_", ""] {
            assert!(!value_hides(value), "{value}");
        }
        assert!(hides("tool.a.env.X", "postgres://me:pw@db/x"));
        assert!(hides("tool.\"a.b\".env.TOKEN", "x"));
        assert!(!hides("tool.token.run", "x") && !hides("vm.lima.template", "https://a:b@c"));
    }

    #[test]
    fn what_follows_the_name_of_a_secret_is_blotted_out_in_its_place() {
        for (text, blotted) in [
            ("API_TOKEN = \"abc\" # x", "API_TOKEN = ***** # x"),
            ("env = { TOKEN = 'a,b', A = 1 }", "env = { TOKEN = *****, A = 1 }"),
            ("\"my token\" = 12, B = 2", "\"my token\" = **, B = 2"),
            ("TOKEN = \"a\\\"b\" }", "TOKEN = ****** }"),
            ("TOKEN = \"unclosed", "TOKEN = *********"),
            ("env.TOKEN=ü", "env.TOKEN=**"),
            ("timeout = \"5m\"", "timeout = \"5m\""),
            ("= = 3", "= = 3"),
            ("TOKEN=", "TOKEN="),
        ] {
            assert_eq!(blot(text), blotted);
            assert_eq!(blot(text).len(), text.len());
        }
    }

    #[test]
    fn of_a_line_of_secrets_only_the_places_are_shown() {
        for (text, blotted) in [
            ("NPM = \"abc\" # x", "NPM = ***** # x"),
            (
                "NPM = { env = \"X\", value = \"abc\" }",
                "NPM = { env = \"X\", value = ***** }",
            ),
            (
                "secrets = { A = 'abc', B = { file = \"f\" } }",
                "secrets = { A = *****, B = { file = \"f\" } }",
            ),
            ("tools = [\"a\"]", "tools = [\"a\"]"),
        ] {
            assert_eq!(blot_secrets(text), blotted);
        }
    }
}
