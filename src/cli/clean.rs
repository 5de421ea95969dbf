//! `devshell clean`: what dead runs left behind.
//!
//! Every workspace's cache folder is locked by the run that uses it, so what can be locked here
//! belongs to nobody. Kept results lie elsewhere and are never touched.

use std::path::Path;

use crate::exit::{End, ExitCodePolicy};
use crate::plan::own_roots;
use crate::session::host::{Leftover, leftovers};

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
        let Leftover { folder, workspace, .. } = &leftover;
        let gone = workspace.as_ref().is_none_or(|workspace| !workspace.is_dir());
        if !gone && !command.all {
            continue;
        }
        let whose = workspace
            .as_ref()
            .map_or("an unknown workspace".to_owned(), |path| path.display().to_string());
        match leftover.remove() {
            Ok(()) => {
                say(&format!("removed `{}`, the staged copy of {whose}", folder.display()));
                removed += 1;
            }
            Err(error) => {
                say(&format!(
                    "error: cannot remove `{}`, the staged copy of {whose}: {error}",
                    folder.display()
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
