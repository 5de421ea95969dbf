//! The programs that the tools name. A tool may make the program of a later one, so what is not
//! there now is no problem.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;

use crate::plan::{Backend, tool_environment};

use super::Case;
use super::report::Check;

pub(super) fn checks(case: &Case) -> Vec<Check> {
    // A guest has programs of its own.
    if !matches!(case.plan.backend, Backend::Host(_)) {
        return Vec::new();
    }
    let mut found: BTreeMap<OsString, Check> = BTreeMap::new();
    for tool in &case.plan.tools {
        let Some(program) = tool.argv.first() else { continue };
        let env = tool_environment(tool, &case.env);
        let path = env
            .iter()
            .find(|(name, _)| name == "PATH")
            .map(|(_, path)| path.as_os_str());
        let check = look(program, path, &case.plan.workspace.join(&tool.cwd), &tool.name);
        found.entry(program.clone()).or_insert(check);
    }
    found.into_values().collect()
}

fn look(program: &OsStr, path: Option<&OsStr>, cwd: &Path, tool: &str) -> Check {
    let name = "program";
    let shown = program.display();
    match which::which_in(program, path, cwd) {
        Ok(place) => Check::ok(name, format!("{shown}: {}", place.display())),
        Err(_) if Path::new(program).components().count() > 1 => Check::info(
            name,
            format!("{shown}: not there now, or not executable (tool `{tool}`); an earlier tool may make it"),
        ),
        Err(_) => Check::warning(
            name,
            format!("{shown}: not in PATH now (tool `{tool}`); a run ends with 127 unless an earlier tool installs it"),
        ),
    }
}
