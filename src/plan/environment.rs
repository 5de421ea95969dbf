//! The environment that a tool gets.

use std::ffi::{OsStr, OsString};

use super::types::ToolPlan;

/// What `PATH` is when the caller's is not passed and the config sets none.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The environment of a tool on the host but for its secrets: the caller's variables whose names
/// match one of `pass_env`, in the caller's order, then the tool's own over them. A variable that is
/// withheld must be named in full. Without any `PATH` it gets
/// [`DEFAULT_PATH`], so that programs are found at all.
#[must_use]
pub fn tool_environment(tool: &ToolPlan, caller: &[(OsString, OsString)]) -> Vec<(OsString, OsString)> {
    let mut env: Vec<(OsString, OsString)> = Vec::new();
    for (name, value) in caller {
        // Of a name that is there twice, the first counts, as for getenv.
        let known = env.iter().any(|(other, _)| other == name);
        let withheld = tool.withheld.iter().any(|other| *name == **other);
        if !known
            && if withheld {
                names(&tool.pass_env, name)
            } else {
                passes(&tool.pass_env, name)
            }
        {
            env.push((name.clone(), value.clone()));
        }
    }
    env.retain(|(name, _)| name.to_str().is_none_or(|name| !tool.env.contains_key(name)));
    env.extend(tool.env.iter().map(|(name, value)| (name.into(), value.into())));
    if !env.iter().any(|(name, _)| name == "PATH") {
        env.push(("PATH".into(), DEFAULT_PATH.into()));
    }
    env
}

/// What a tool in a guest gets over the guest's own environment: the caller's variables that
/// `pass_env` names letter by letter (a pattern would carry this host's paths and secrets along),
/// then the tool's own over them.
#[must_use]
pub fn guest_environment(tool: &ToolPlan, caller: &[(OsString, OsString)]) -> Vec<(OsString, OsString)> {
    let named = tool.pass_env.iter().filter(|name| !name.contains('*'));
    let passed = named.filter_map(|name| caller.iter().find(|(other, _)| other == name.as_str()));
    let mut env: Vec<(OsString, OsString)> = Vec::new();
    for (name, value) in passed {
        let known = env.iter().any(|(other, _)| other == name);
        if !known && name.to_str().is_some_and(|name| !tool.env.contains_key(name)) {
            env.push((name.clone(), value.clone()));
        }
    }
    env.extend(tool.env.iter().map(|(name, value)| (name.into(), value.into())));
    env
}

/// Whether a variable of the caller reaches tools.
pub(super) fn passes(patterns: &[String], name: &OsStr) -> bool {
    patterns
        .iter()
        .any(|pattern| matches(pattern.as_bytes(), name.as_encoded_bytes()))
}

/// Whether one of the names is written in full.
fn names(patterns: &[String], name: &OsStr) -> bool {
    patterns.iter().any(|pattern| name == pattern.as_str())
}

/// `*` stands for any bytes, none too.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let Some(star) = pattern.iter().position(|byte| *byte == b'*') else {
        return pattern == name;
    };
    let (head, tail) = (&pattern[..star], &pattern[star + 1..]);
    let Some(rest) = name.strip_prefix(head) else {
        return false;
    };
    (0..=rest.len()).any(|skipped| matches(tail, &rest[skipped..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_part_of_a_name() {
        for (pattern, name) in [
            ("*", ""),
            ("*", "A"),
            ("CARGO_*", "CARGO_HOME"),
            ("*_PROXY", "HTTP_PROXY"),
            ("A*B*C", "AxBxBC"),
        ] {
            assert!(matches(pattern.as_bytes(), name.as_bytes()), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("PATH", "MANPATH"),
            ("PATH", "path"),
            ("CARGO_*", "CARGO"),
            ("A*B", "AxBx"),
            ("", "A"),
        ] {
            assert!(!matches(pattern.as_bytes(), name.as_bytes()), "{pattern} {name}");
        }
    }
}
