//! What tools get of the server's own environment.

use std::ffi::OsString;

use crate::plan::DEFAULT_PATH;

/// What every program may expect.
const CLEAN: [&str; 5] = ["PATH", "HOME", "USER", "LANG", "TERM"];

/// Passes every variable on.
const EVERY: &str = "*";

/// The clean environment: a few names and those that are passed on. There is always a `PATH`.
pub(super) fn environment(
    vars: impl Iterator<Item = (OsString, OsString)>,
    pass: &[String],
) -> Vec<(OsString, OsString)> {
    let mut env: Vec<(OsString, OsString)> = vars
        .filter(|(name, _)| {
            CLEAN.iter().any(|clean| name == clean)
                || pass.iter().any(|passed| passed == EVERY || name == passed.as_str())
        })
        .collect();
    if !env.iter().any(|(name, _)| name == "PATH") {
        env.push(("PATH".into(), DEFAULT_PATH.into()));
    }
    env
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_clean_and_passed_names_reach_tools() {
        let vars = [("HOME", "/h"), ("SECRET", "s"), ("CI", "1"), ("PATHS", "x")];
        let vars = vars.map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let env = environment(vars.into_iter(), &["CI".to_owned()]);
        let names: Vec<_> = env.iter().map(|(name, _)| name.to_str().unwrap()).collect();
        assert_eq!(names, ["HOME", "CI", "PATH"]);
    }

    #[test]
    fn a_star_passes_everything() {
        let vars = [("PATH", "/p"), ("OTHER", "1")].map(|(name, value)| (OsString::from(name), OsString::from(value)));
        assert_eq!(environment(vars.clone().into_iter(), &["*".to_owned()]), vars);
    }
}
