//! What can be typed for the commands that set a project or a machine up.

use std::path::PathBuf;

use clap::{Args, ValueEnum, ValueHint};

const INIT_HELP: &str = "\
It looks at Cargo.toml, package.json, pyproject.toml, requirements.txt, setup.py and Makefiles in
DIR, starts nothing, and never overwrites a file.

Examples:
  devshell init                  devshell.toml in the current folder
  devshell init crates/a
  devshell init --schema         and devshell.schema.json, by which editors complete and check it

Exit codes: 0 written; 64 there is a devshell.toml already, or DIR is no folder;
74 it cannot be written.";

#[derive(Debug, Args)]
#[command(after_help = INIT_HELP)]
pub(super) struct Init {
    /// Where the file is written
    #[arg(default_value = ".", value_hint = ValueHint::DirPath)]
    pub(super) dir: PathBuf,
    /// Also write devshell.schema.json, and name it in the file
    #[arg(long)]
    pub(super) schema: bool,
}

const SCHEMA_HELP: &str = "\
JSON Schema, draft 2020-12. A file names it for editors in its first line:
`#:schema ./devshell.schema.json`.

Examples:
  devshell schema > devshell.schema.json

Exit codes: 0 printed; 74 stdout cannot be written to.";

#[derive(Debug, Args)]
#[command(after_help = SCHEMA_HELP)]
pub(super) struct Schema {}

/// The shells that completions are written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Shell {
    Bash,
    Elvish,
    Fish,
    Powershell,
    Zsh,
}

const COMPLETIONS_HELP: &str = "\
The script asks `devshell` itself at each completion, so that the names of tools and profiles come
from the config that is meant; nothing is run for it, and a broken config completes to nothing.

Examples:
  echo 'source <(devshell completions bash)' >> ~/.bashrc
  echo 'source <(devshell completions zsh)' >> ~/.zshrc      after compinit
  devshell completions fish > ~/.config/fish/completions/devshell.fish
  devshell completions powershell >> $PROFILE
  devshell completions elvish >> ~/.config/elvish/rc.elv

Exit codes: 0 printed; 64 no such shell; 74 stdout cannot be written to.";

#[derive(Debug, Args)]
#[command(after_help = COMPLETIONS_HELP)]
pub(super) struct Completions {
    /// Which shell
    pub(super) shell: Shell,
}

const MAN_HELP: &str = "\
Examples:
  devshell man | man -l -                             the main page
  devshell man --dir ~/.local/share/man/man1          one page per command; then `man devshell-run`

Exit codes: 0 printed or written; 74 it cannot be written.";

#[derive(Debug, Args)]
#[command(after_help = MAN_HELP)]
pub(super) struct Man {
    /// Write all pages to this folder, which is made if it is not there; pages of devshell in it
    /// are replaced
    #[arg(long, value_hint = ValueHint::DirPath)]
    pub(super) dir: Option<PathBuf>,
}
