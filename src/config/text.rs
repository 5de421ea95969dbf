//! What a string must be to be taken, beyond being a string.

use std::time::Duration;

use ignore::gitignore::GitignoreBuilder;

use super::schema::{LONGEST, Rule, list, nearest};

/// Why a string is refused: the end of a sentence that starts with the key, and how to mend it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) problem: String,
    pub(super) help: Option<String>,
}

fn refuse<T>(problem: impl Into<String>, help: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal {
        problem: problem.into(),
        help: Some(help.into()),
    })
}

fn refuse_plainly<T>(problem: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal {
        problem: problem.into(),
        help: None,
    })
}

/// Holds a string against its rule.
pub(super) fn check(rule: Rule, text: &str) -> Result<(), Refusal> {
    if text.contains('\0') {
        return refuse_plainly("holds a NUL byte, which no path, argument or variable can");
    }
    if rule == Rule::Any {
        return Ok(());
    }
    if text.is_empty() {
        return refuse_plainly("is empty");
    }
    match rule {
        Rule::Any | Rule::NonEmpty | Rule::Path | Rule::Program | Rule::Agent | Rule::Template => Ok(()),
        Rule::Socket => socket(text),
        Rule::Endpoint => {
            if ["grpc://", "grpcs://"]
                .iter()
                .any(|scheme| text.len() > scheme.len() && text.starts_with(scheme))
            {
                Ok(())
            } else {
                refuse(
                    format!("is no endpoint: `{text}`"),
                    "write `grpc://HOST:PORT` or `grpcs://HOST:PORT`",
                )
            }
        }
        Rule::FarPath => {
            if !text.starts_with('/') {
                refuse(
                    format!("must be an absolute path, not `{text}`"),
                    "it is a path on the other side, where this folder means nothing",
                )
            } else if text.split('/').any(|part| part == "..") {
                refuse_plainly(format!("must not have `..` in it: `{text}`"))
            } else {
                Ok(())
            }
        }
        Rule::Inside => match inside(text) {
            Some(_) => Ok(()),
            None => refuse(
                format!("leaves the workspace: `{text}`"),
                "write a path relative to the workspace, without leading `/` and without `..` out of it",
            ),
        },
        Rule::Pattern => pattern(text).and_then(|()| of_the_workspace(text)),
        Rule::InsidePattern => {
            if text.starts_with('!') {
                refuse_plainly(format!("takes no `!` patterns: `{text}`"))
            } else if text.split('/').any(|part| part == "..") {
                refuse_plainly(format!("leaves the workspace: `{text}`"))
            } else {
                pattern(text)
            }
        }
        Rule::ToolName => {
            if text
                .chars()
                .all(|char| char.is_ascii_alphanumeric() || "._-".contains(char))
            {
                Ok(())
            } else {
                refuse(
                    format!("may hold letters, digits, `.`, `_` and `-` only: `{text}`"),
                    format!("for example `{}`", tool_name(text)),
                )
            }
        }
        Rule::SecretName => {
            let good = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            if good && !text.starts_with(|char: char| char.is_ascii_digit()) {
                Ok(())
            } else {
                refuse(
                    format!(
                        "names a variable, which may hold letters, digits and `_` only and begins with no digit: `{text}`"
                    ),
                    format!("for example `{}`", variable_name(text)),
                )
            }
        }
        Rule::Variable | Rule::VariablePattern => {
            if text.contains('=') {
                refuse(
                    format!("takes a variable's name, not an assignment: `{text}`"),
                    "values are set in `[env]`",
                )
            } else {
                Ok(())
            }
        }
    }
}

/// A path below the workspace without `.`, `..` and doubled `/`; `None` when it leaves it.
pub(crate) fn inside(text: &str) -> Option<String> {
    if text.starts_with('/') {
        return None;
    }
    let mut parts = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

fn pattern(text: &str) -> Result<(), Refusal> {
    if text.starts_with('#') {
        return refuse(
            format!("has a comment where a pattern should be: `{text}`"),
            "a pattern that starts with `#` is written `\\#`",
        );
    }
    if text.trim_end().trim_start_matches('!').is_empty() {
        return refuse_plainly("has a pattern that matches nothing");
    }
    match GitignoreBuilder::new("/").add_line(None, text) {
        Ok(_) => Ok(()),
        Err(ignore::Error::Glob { err, .. }) => {
            refuse_plainly(format!("has a pattern that cannot be read, `{text}`: {err}"))
        }
        Err(error) => refuse_plainly(format!("has a pattern that cannot be read, `{text}`: {error}")),
    }
}

/// gitignore takes what is no name literally: such a pattern protects nothing, and says nothing of that.
fn of_the_workspace(text: &str) -> Result<(), Refusal> {
    let path = text.strip_prefix('!').unwrap_or(text);
    let mut parts = path
        .trim_end_matches('/')
        .split('/')
        .skip(usize::from(path.starts_with('/')));
    let odd = path.ends_with("//") || parts.any(|part| matches!(part, "" | "." | ".."));
    if path.starts_with("~/") {
        return refuse(
            format!("has a pattern that is taken literally, for a folder with the name `~`: `{text}`"),
            format!(
                "patterns are names and paths in the workspace, in the syntax of .gitignore; `/{path}` if it is meant"
            ),
        );
    }
    if !odd {
        return Ok(());
    }
    let what = format!("has a pattern that matches nothing: `{text}`");
    let not = if path.len() < text.len() { "!" } else { "" };
    let folder = if path.ends_with('/') { "/" } else { "" };
    match inside(path).filter(|plain| !plain.is_empty()) {
        Some(plain) => refuse(
            what,
            format!(
                "`{not}/{plain}{folder}` is the one at the top of the workspace, `{not}{plain}{folder}` one anywhere in it"
            ),
        ),
        None => refuse(
            what,
            "patterns are names and paths in the workspace, in the syntax of .gitignore",
        ),
    }
}

fn socket(text: &str) -> Result<(), Refusal> {
    const FORMS: &str = "write `unix:PATH` or a bare path, `tcp:HOST:PORT`, or `stdio`";
    if text == "stdio" {
        return Ok(());
    }
    if let Some(address) = text.strip_prefix("tcp:") {
        return match address.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0) => Ok(()),
            _ => refuse(format!("is no address: `{text}`"), "write `tcp:HOST:PORT`"),
        };
    }
    let path = text.strip_prefix("unix:").unwrap_or(text);
    if path.is_empty() {
        return refuse(format!("has no path: `{text}`"), FORMS);
    }
    // A bare path with a colon before its first slash is a scheme that we do not speak.
    if path.len() == text.len() && text.split('/').next().is_some_and(|head| head.contains(':')) {
        return refuse(format!("is of no known kind: `{text}`"), FORMS);
    }
    Ok(())
}

/// What is left of a name when every character that may not be in it is `_`.
pub(super) fn tool_name(text: &str) -> String {
    text.chars()
        .map(|char| {
            if char.is_ascii_alphanumeric() || "._-".contains(char) {
                char
            } else {
                '_'
            }
        })
        .collect()
}

/// The nearest name that a shell can read.
fn variable_name(text: &str) -> String {
    let name: String = text
        .chars()
        .map(|char| if char.is_ascii_alphanumeric() { char } else { '_' })
        .collect();
    if name.starts_with(|char: char| char.is_ascii_digit()) {
        format!("_{name}")
    } else {
        name
    }
}

/// One of a few words.
pub(super) fn word(words: &'static [&'static str], text: &str) -> Result<(), Refusal> {
    if words.contains(&text) {
        return Ok(());
    }
    let help = match nearest(text, words.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => match (text, words.contains(&"macos")) {
            ("darwin", true) => "did you mean `macos`?".into(),
            _ => return refuse_plainly(format!("must be one of {}, not `{text}`", list(words.iter().copied()))),
        },
    };
    refuse(
        format!("must be one of {}, not `{text}`", list(words.iter().copied())),
        help,
    )
}

/// A duration such as `90s` or `1h 30m`.
pub(super) fn duration(text: &str) -> Result<Duration, Refusal> {
    const FORMS: &str = "write numbers with units, as in \"500ms\", \"90s\", \"10m\", \"1h 30m\", \"7d\"";
    match humantime::parse_duration(text) {
        Ok(duration) if duration <= LONGEST => Ok(duration),
        Ok(_) if text.contains('M') => refuse(
            format!("is longer than 30 days: `{text}`"),
            format!("`M` stands for months; did you mean `{}`?", text.replace('M', "m")),
        ),
        Ok(_) => refuse(
            format!("is longer than 30 days: `{text}`"),
            "where it is a limit, \"0s\" is none",
        ),
        Err(_) if text.parse::<f64>().is_ok() => {
            refuse(format!("has no unit: `{text}`"), format!("did you mean \"{text}s\"?"))
        }
        Err(_) => refuse(format!("is no duration: `{text}`"), FORMS),
    }
}

/// The units of sizes.
pub(super) const UNITS: [(&str, u64); 9] = [
    ("B", 1),
    ("kB", 1000),
    ("KiB", 1 << 10),
    ("MB", 1000 * 1000),
    ("MiB", 1 << 20),
    ("GB", 1000 * 1000 * 1000),
    ("GiB", 1 << 30),
    ("TB", 1000 * 1000 * 1000 * 1000),
    ("TiB", 1 << 40),
];

/// A size such as `512MiB`, in bytes.
pub(super) fn size(text: &str) -> Result<u64, Refusal> {
    const FORMS: &str = "write a whole number with a unit, as in \"512MiB\" or \"4GiB\"";
    let digits = text.find(|char: char| !char.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = (&text[..digits], text[digits..].trim());
    if unit.starts_with(['.', ',']) {
        return refuse(format!("is no whole number: `{text}`"), FORMS);
    }
    let Ok(number) = number.parse::<u64>() else {
        return refuse(format!("is no size: `{text}`"), FORMS);
    };
    if unit.is_empty() {
        return refuse(format!("has no unit: `{text}`"), FORMS);
    }
    let Some((_, factor)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        let units = UNITS.iter().map(|(name, _)| *name);
        let near = UNITS
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(unit) || name.strip_suffix("iB") == Some(unit));
        return refuse(
            format!("has a unit that is none: `{text}`"),
            match near {
                Some((near, _)) => format!("did you mean \"{number}{near}\"?"),
                None => format!("units are {}", list(units)),
            },
        );
    };
    match number.checked_mul(*factor) {
        // What cannot be a file's length cannot be a disk's either.
        Some(bytes) if (1..=i64::MAX.unsigned_abs()).contains(&bytes) => Ok(bytes),
        Some(0) => refuse_plainly("must be more than nothing"),
        _ => refuse_plainly(format!("is more than any disk holds: `{text}`")),
    }
}

/// A size in the largest unit that leaves no rest.
pub(super) fn show_size(bytes: u64) -> String {
    UNITS
        .iter()
        .filter(|(name, _)| *name == "B" || name.ends_with("iB"))
        .rev()
        .find(|(_, factor)| bytes.is_multiple_of(*factor))
        .map_or_else(
            || format!("{bytes}B"),
            |(name, factor)| format!("{}{name}", bytes / factor),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem<T: std::fmt::Debug>(result: Result<T, Refusal>) -> String {
        let refusal = result.unwrap_err();
        match refusal.help {
            Some(help) => format!("{}; {help}", refusal.problem),
            None => refusal.problem,
        }
    }

    #[test]
    fn paths_are_kept_inside_the_workspace() {
        assert_eq!(inside("crates/a").as_deref(), Some("crates/a"));
        assert_eq!(inside("./a//b/../c/").as_deref(), Some("a/c"));
        assert_eq!(inside(".").as_deref(), Some(""));
        for out in ["/etc", "..", "a/../..", "a/../../b"] {
            assert_eq!(inside(out), None, "{out}");
            assert!(check(Rule::Inside, out).is_err(), "{out}");
        }
    }

    #[test]
    fn durations_need_a_unit_and_are_no_longer_than_30_days() {
        assert_eq!(duration("1h 30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        assert_eq!(duration("30d"), Ok(LONGEST));
        insta::assert_snapshot!(problem(duration("90")), @r#"has no unit: `90`; did you mean "90s"?"#);
        insta::assert_snapshot!(problem(duration("10M")), @"is longer than 30 days: `10M`; `M` stands for months; did you mean `10m`?");
        insta::assert_snapshot!(problem(duration("-5s")), @r#"is no duration: `-5s`; write numbers with units, as in "500ms", "90s", "10m", "1h 30m", "7d""#);
        for text in ["", "s", "5 parsecs", "99999999999999999999s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_need_a_unit_and_do_not_overflow() {
        assert_eq!(size("4GiB"), Ok(4 << 30));
        assert_eq!(size("20 GB"), Ok(20_000_000_000));
        assert_eq!(
            problem(size("4gib")),
            "has a unit that is none: `4gib`; did you mean \"4GiB\"?"
        );
        assert_eq!(
            problem(size("4G")),
            "has a unit that is none: `4G`; did you mean \"4GiB\"?"
        );
        for text in [
            "",
            "GiB",
            "4",
            "-1GiB",
            "0GiB",
            "99999999999TiB",
            "9223372036854775808B",
            "4 apples",
            "1.5GiB",
        ] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_shown_as_they_are_read() {
        for text in ["4GiB", "512MiB", "1B", "1023KiB", "1000B", "3TiB"] {
            assert_eq!(show_size(size(text).unwrap()), text);
        }
    }

    #[test]
    fn patterns_that_cannot_be_read_or_mean_nothing_are_refused() {
        for text in ["target/", "*.o", "!keep.o", "/dist", "a/**/b", "\\#x", "[ab]"] {
            assert_eq!(check(Rule::Pattern, text), Ok(()), "{text}");
        }
        for text in ["", "# comment", "!", "  ", "a{b", "{a,b"] {
            assert!(check(Rule::Pattern, text).is_err(), "{text}");
        }
        for text in [
            "./a/", "!./a", "a//", "a//b", "../a", "a/..", "a/./b", ".", "/./a", "~/a", "//a",
        ] {
            assert!(check(Rule::Pattern, text).is_err(), "{text}");
        }
        for text in [".a", "..a", "a.", "/.a/", "a/*.b", "~", "a~/b"] {
            assert_eq!(check(Rule::Pattern, text), Ok(()), "{text}");
        }
        assert_eq!(check(Rule::InsidePattern, "./a"), Ok(()));
        assert!(check(Rule::InsidePattern, "!a").is_err());
        assert!(check(Rule::InsidePattern, "../a").is_err());
    }

    #[test]
    fn sockets_are_of_the_known_kinds() {
        for text in [
            "stdio",
            "unix:/run/x.sock",
            "/run/x.sock",
            "x.sock",
            "tcp:localhost:7",
            "tcp:[::1]:7",
        ] {
            assert_eq!(check(Rule::Socket, text), Ok(()), "{text}");
        }
        for text in [
            "tcp:localhost",
            "tcp::7",
            "tcp:h:0",
            "tcp:h:70000",
            "unix:",
            "vsock:3:4",
            "http://x",
        ] {
            assert!(check(Rule::Socket, text).is_err(), "{text}");
        }
    }

    #[test]
    fn no_string_holds_a_nul_byte() {
        for rule in [Rule::Any, Rule::NonEmpty, Rule::Path, Rule::Pattern, Rule::ToolName] {
            assert!(check(rule, "a\0b").is_err(), "{rule:?}");
        }
    }
}
