//! The names in a config, for completing what is being typed.

use std::path::Path;
use std::sync::Arc;

use super::file;
use super::layer::of_file;
use super::schema::leaves;
use super::source::Rank;

/// The names in a config.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// Of tools, in order.
    pub tools: Vec<String>,
    /// Of profiles, in order.
    pub profiles: Vec<String>,
}

/// The names in the file that is named or found from `cwd` (absolute). Of a file with faults
/// those that can be made out; none of a file that is not there or cannot be read.
#[must_use]
pub fn names(file: Option<&Path>, profile: Option<&str>, cwd: &Path) -> Names {
    let found = file::find(file, cwd, false).ok().flatten();
    let Some(text) = found.and_then(|path| file::read(&path, cwd).ok()) else {
        return Names::default();
    };
    let mut tools = Vec::new();
    let profiles = of_file(&Arc::new(text), Rank::File, profile, &mut tools).profiles;
    Names { tools, profiles }
}

/// All keys that can be set one by one, dotted, with those of these tools.
#[must_use]
pub fn keys(tools: &[String]) -> Vec<String> {
    let mut keys = Vec::new();
    for (path, _) in leaves().into_iter().filter(|(path, _)| !path.starts_with("secrets.")) {
        match path.strip_prefix("tool.NAME.") {
            None => keys.push(path),
            // A tool is told by its name, which stays.
            Some("name") => {}
            Some(key) => keys.extend(tools.iter().map(|tool| format!("tool.{tool}.{key}"))),
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_out_in_a_broken_file_too() {
        let dir = tempfile::tempdir().unwrap();
        let of = |text: &str| {
            std::fs::write(dir.path().join("devshell.toml"), text).unwrap();
            names(None, None, dir.path())
        };
        let text =
            "[[tool]]\nname = \"a\"\nrun = 3\n[[tool]]\nrun = [\"b\"]\n[profile.ci]\nx = 1\n[profile.\"two words\"]\n";
        let found = of(text);
        assert_eq!(found.tools, ["a", "b"]);
        assert_eq!(found.profiles, ["ci", "two words"]);
        assert_eq!(of("[[tool]]\nname = \"a\"\n[[tool\nname =").tools, ["a"]);
        assert_eq!(of("\0"), Names::default());
        std::fs::write(dir.path().join("devshell.toml"), b"\xff").unwrap();
        assert_eq!(names(None, None, dir.path()), Names::default());
        assert_eq!(
            names(Some(Path::new("absent.toml")), None, dir.path()),
            Names::default()
        );
    }

    #[test]
    fn tools_that_a_profile_brings_are_there_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let text = "[[tool]]\nname = \"a\"\nrun = [\"a\"]\n[[profile.ci.tool]]\nname = \"b\"\nrun = [\"b\"]\n";
        std::fs::write(dir.path().join("x.toml"), text).unwrap();
        let of = |profile| names(Some(Path::new("x.toml")), profile, dir.path()).tools;
        assert_eq!(of(None), ["a"]);
        assert_eq!(of(Some("ci")), ["a", "b"]);
    }

    #[test]
    fn keys_are_those_that_set_takes() {
        let keys = keys(&["a.b".to_owned()]);
        assert!(keys.contains(&"vm.host.strategy".to_owned()) && keys.contains(&"tool.a.b.timeout".to_owned()));
        assert!(keys.iter().all(|key| !key.ends_with(".name")));
    }
}
