//! `devshell clean`: what dead runs left behind.
//!
//! A staged copy and the folder of a view are locked by the run that uses them, so what can be
//! locked here belongs to nobody. Kept results lie elsewhere and are never touched.

use std::path::Path;

use crate::exit::{End, ExitCodePolicy};
use crate::plan::own_roots;
use crate::session::host::{Leftover, LeftoverKind, leftovers};

use super::args::Clean;
use super::context::plan_error;
use super::end::{CliError, answer, say};

pub(super) fn clean(command: &Clean) -> Result<u8, CliError> {
    let cwd = std::env::current_dir().unwrap_or_else(|_| Path::new("/").to_path_buf());
    let env: Vec<_> = std::env::vars_os().collect();
    let (cache, _) = own_roots(&cwd, &env).map_err(plan_error)?;
    let found = leftovers(&cache).map_err(|error| CliError::new(End::Sync, error))?;
    let mut removed = 0;
    let mut left = 0;
    for leftover in found {
        let Leftover {
            path, workspace, kind, ..
        } = &leftover;
        let gone = workspace.as_ref().is_none_or(|workspace| !workspace.is_dir());
        let what = match kind {
            LeftoverKind::Copy if !gone && !command.all => continue,
            LeftoverKind::Copy => "the staged copy",
            LeftoverKind::Run => "a view that a killed run left",
        };
        let whose = workspace
            .as_ref()
            .map_or("an unknown workspace".to_owned(), |path| path.display().to_string());
        match leftover.remove() {
            Ok(()) => {
                say(&format!("removed `{}`, {what} of {whose}", path.display()));
                removed += 1;
            }
            Err(error) => {
                say(&format!(
                    "error: cannot remove `{}`, {what} of {whose}: {error}",
                    path.display()
                ));
                left += 1;
            }
        }
    }
    answer(&format!("removed {removed}\n"))?;
    Ok(if left == 0 {
        0
    } else {
        End::Sync.code(ExitCodePolicy::Tool)
    })
}
