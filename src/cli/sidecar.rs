//! `devshell-vm`: so far it knows its version.

use std::ffi::OsString;

use clap::Parser;

/// The sidecar: serves devshell's protocol where the tools shall run. This version only says
/// which it is.
#[derive(Debug, Parser)]
#[command(name = "devshell-vm", version, about, arg_required_else_help = true)]
struct Cli {}

pub(super) fn run(args: impl Iterator<Item = OsString>) -> u8 {
    match Cli::try_parse_from(args) {
        Ok(Cli {}) => 0,
        Err(error) => super::not_parsed(&error),
    }
}
