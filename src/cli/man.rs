//! `devshell man`: the manual pages, written from what can be typed.

use std::fs;
use std::io;
use std::path::Path;

use clap::builder::Resettable;
use clap::{Command, CommandFactory as _};
use clap_mangen::roff::{Roff, roman};

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

/// The page of one command. What its help says at the end gets sections of its own, since the
/// generator would fill the lines of examples.
pub(super) fn page(command: &Command) -> io::Result<String> {
    let mut bytes = Vec::new();
    let end = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    clap_mangen::Man::new(command.clone().after_help(Resettable::Reset))
        .source(concat!("devshell ", env!("CARGO_PKG_VERSION")))
        .manual("devshell")
        .render(&mut bytes)?;
    let mut roff = Roff::new();
    for paragraph in end.split("\n\n") {
        if let Some(lines) = paragraph.strip_prefix("Examples:\n") {
            roff.control("SH", ["EXAMPLES"]).control("nf", []);
            for line in lines.lines() {
                roff.text([roman(line.trim_start())]);
            }
            roff.control("fi", []);
        } else if let Some(codes) = paragraph.strip_prefix("Exit codes:") {
            roff.control("SH", ["EXIT STATUS"]).text([roman(codes.trim_start())]);
        } else if !paragraph.is_empty() {
            roff.control("SH", ["NOTES"]).text([roman(paragraph)]);
        }
    }
    roff.to_writer(&mut bytes)?;
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
