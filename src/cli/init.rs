//! `devshell init`: a starter file, fitted to what is there.

use std::fs::Permissions;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::anyhow;

use crate::config::{self, FILE_NAME};
use crate::event::Word;
use crate::exit::End;
use crate::report::typed;
use crate::starter::{Starter, starter};

use super::end::{CliError, answer, say};
use super::setup_args::Init;

const SCHEMA_NAME: &str = "devshell.schema.json";

pub(super) fn init(command: &Init) -> Result<u8, CliError> {
    let dir = &command.dir;
    let meta = dir.metadata().map_err(|error| {
        CliError::new(
            End::Usage,
            anyhow!("`{}` is no folder to write to: {error}", dir.display()),
        )
    })?;
    if !meta.is_dir() {
        return Err(CliError::new(End::Usage, anyhow!("`{}` is no folder", dir.display())));
    }
    let file = dir.join(FILE_NAME);
    // Before anything is written; whoever comes in between is found by the writing itself.
    if file.symlink_metadata().is_ok() {
        return Err(there_already(&file));
    }
    let mut said = String::new();
    let schema = dir.join(SCHEMA_NAME);
    if command.schema {
        let text = format!("{:#}\n", config::schema());
        match write_new(&schema, &text) {
            Ok(()) => said.push_str(&format!("wrote {}\n", shown(&schema))),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                said.push_str(&format!("{} is there already and was left as it is\n", shown(&schema)));
            }
            Err(error) => return Err(unwritable(&schema, error)),
        }
    }
    let named = schema.exists().then(|| format!("./{SCHEMA_NAME}"));
    let Starter {
        text,
        found,
        tools,
        notes,
    } = starter(dir, named.as_deref());
    write_new(&file, &text).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => there_already(&file),
        _ => unwritable(&file, error),
    })?;
    for note in notes {
        say(&format!("warning: {note}"));
    }
    let root = dir
        .canonicalize()
        .ok()
        .and_then(|dir| config::cargo_workspace_above(&dir));
    if let Some(root) = root {
        say(&format!(
            "warning: this is a member of the Cargo workspace in {root}, and cargo compiles into its target/, which \
             is outside of this folder: nothing of that is in the transaction, and with sandbox.host = \"ro\" it cannot \
             be written; better have the devshell.toml there (devshell init {root})",
            root = shown(&root)
        ));
    }
    if let Some(above) = config_above(dir) {
        say(&format!(
            "warning: in this folder {} is no longer found without being named",
            above.display()
        ));
    }
    let fitted = match found.as_slice() {
        [] => "an example, since nothing was recognised".to_owned(),
        found => format!("fitted to {}", found.join(", ")),
    };
    said.push_str(&format!(
        "wrote {}, {fitted}; tools: {}\n",
        shown(&file),
        tools.join(", ")
    ));
    let argument = if dir == Path::new(".") {
        String::new()
    } else {
        format!(" {}", shown(&file))
    };
    answer(&format!(
        "{said}next: devshell plan{argument}, then devshell run{argument}\n"
    ))
}

/// Writes a file whole or not at all, and never over another one.
fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut file = tempfile::Builder::new()
        .prefix(".devshell-init-")
        // As any new file: what the umask leaves of it.
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(folder.unwrap_or(Path::new(".")))?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path).map_err(|error| error.error)?;
    Ok(())
}

fn there_already(file: &Path) -> CliError {
    let why = anyhow!(
        "{} is there already and is not overwritten; `devshell check` says whether it is valid, and a fresh one is \
         written once it is moved away",
        shown(file)
    );
    CliError::new(End::Usage, why)
}

fn unwritable(file: &Path, error: io::Error) -> CliError {
    CliError::new(
        End::Sync,
        anyhow::Error::new(error).context(format!("cannot write {}", shown(file))),
    )
}

/// A path without the `./` before it, quoted where a shell needs it.
fn shown(path: &Path) -> String {
    let path = path.strip_prefix(".").unwrap_or(path);
    typed(&[Word::from(path.as_os_str())])
}

/// The config that commands in the folder have used so far.
fn config_above(dir: &Path) -> Option<std::path::PathBuf> {
    let dir = dir.canonicalize().ok()?;
    let above = dir.ancestors().skip(1).map(|folder| folder.join(FILE_NAME));
    above.into_iter().find(|file| file.exists())
}
