//! `devshell config`.

use super::args::{Config, Format};
use super::context::Loading;
use super::end::{CliError, answer, say};

pub(super) fn config(command: &Config) -> Result<u8, CliError> {
    // The defaults are worth a look where there is no file, too; a named one must be there.
    let loading = Loading::optional(command.file.as_deref(), &command.layers)?;
    for warning in &loading.loaded.warnings {
        say(&format!("warning: {warning}"));
    }
    match (command.origins, command.format) {
        (true, Format::Toml) => answer(&loading.loaded.origins_text()),
        (true, Format::Json) => answer(&format!("{:#}\n", loading.loaded.origins_json())),
        (false, Format::Toml) => answer(&loading.loaded.to_toml()),
        (false, Format::Json) => answer(&format!("{:#}\n", loading.loaded.to_json())),
    }
}
