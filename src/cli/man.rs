//! `devshell man`: the manual pages, written from what can be typed.

use std::fs;
use std::io;
use std::path::Path;

use clap::{Command, CommandFactory as _};

use crate::exit::End;

use super::args::Cli;
use super::end::{CliError, answer};
use super::setup_args::Man;

pub(super) fn man(command: &Man) -> Result<u8, CliError> {
    let mut program = Cli::command();
    // Fills in the names of subcommands.
    program.build();
    let Some(dir) = &command.dir else {
        let page = page(&program).map_err(|error| CliError::new(End::Internal, error))?;
        return answer(&page);
    };
    let written = write_all(&program, dir).map_err(|error| {
        let context = format!("cannot write the pages to {}", dir.display());
        CliError::new(End::Sync, anyhow::Error::new(error).context(context))
    })?;
    answer(&format!("wrote {written} pages to {}\n", dir.display()))
}

/// The page of one command.
fn page(command: &Command) -> io::Result<String> {
    let mut bytes = Vec::new();
    clap_mangen::Man::new(command.clone())
        .source(concat!("devshell ", env!("CARGO_PKG_VERSION")))
        .manual("devshell")
        .render(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Writes the page of a command and those of all below it.
fn write_all(command: &Command, dir: &Path) -> io::Result<usize> {
    fs::create_dir_all(dir)?;
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    fs::write(dir.join(format!("{name}.1")), page(command)?)?;
    let below = command.get_subcommands().filter(|below| !below.is_hide_set());
    below
        .map(|below| write_all(below, dir))
        .sum::<io::Result<usize>>()
        .map(|below| below + 1)
}
