//! What the tools' environment names outside the workspace and counts on to be able to write.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::environment::tool_environment;
use super::facts::Facts;
use super::types::ToolPlan;

/// Files by which a step of GitHub's CI is heard.
const FILES: [&str; 4] = ["GITHUB_OUTPUT", "GITHUB_ENV", "GITHUB_PATH", "GITHUB_STEP_SUMMARY"];
/// Folders for temporary files.
const FOLDERS: [&str; 3] = ["TMPDIR", "TMP", "TEMP"];
/// Where make tells of its jobserver.
const MAKE: [&str; 2] = ["MAKEFLAGS", "CARGO_MAKEFLAGS"];

/// Files and FIFOs by which tools speak to who started devshell, and folders for temporary files.
/// A folder that holds the caller's home is none.
pub(super) fn named(tools: &[ToolPlan], facts: &Facts) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let (mut passed, mut temporary) = (Vec::new(), Vec::new());
    let home = facts.variable("HOME").map(Path::new);
    for tool in tools {
        for (name, value) in tool_environment(tool, &facts.env) {
            let is = |names: &[&str]| names.iter().any(|known| name == *known);
            let path = Path::new(&value);
            if is(&FILES) {
                add(&mut passed, path);
            } else if is(&FOLDERS) && !home.is_some_and(|home| home.starts_with(path)) {
                add(&mut temporary, path);
            } else if is(&MAKE)
                && let Some(fifo) = jobserver(&value)
            {
                add(&mut passed, Path::new(&fifo));
            }
        }
    }
    (passed, temporary)
}

fn add(paths: &mut Vec<PathBuf>, path: &Path) {
    if path.is_absolute() && !paths.iter().any(|known| known == path) {
        paths.push(path.to_owned());
    }
}

/// The FIFO of make's jobserver; the last one counts, as for make.
fn jobserver(flags: &OsStr) -> Option<OsString> {
    let words = flags.as_bytes().split(|byte| byte.is_ascii_whitespace());
    let mut fifos = words.filter_map(|word| word.strip_prefix(b"--jobserver-auth=fifo:"));
    fifos.next_back().map(|path| OsStr::from_bytes(path).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fifo_of_the_jobserver_is_found() {
        let found = |flags: &str| jobserver(OsStr::new(flags));
        assert_eq!(
            found(" -j4 --jobserver-auth=fifo:/tmp/GMfifo1 --jobserver-auth=fifo:/tmp/GMfifo2 -- A=1"),
            Some("/tmp/GMfifo2".into())
        );
        assert_eq!(found("-j --jobserver-auth=3,4"), None);
        assert_eq!(found(""), None);
    }
}
