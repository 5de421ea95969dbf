//! What can be typed for `devshell shell`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::config::Override;
use crate::plan::WriteBack;

use super::args::{Layers, Reports, key_value};

const SHELL_HELP: &str = "\
The shell is $SHELL, else `sh`, and starts in the current folder where that is in the workspace,
else in the workspace. It sees what the tools of `run` see, and has the terminal for itself. What
it exits with is devshell's exit code, and decides nothing about its changes: `--on-exit` does.
With `--on-exit commit` they are applied as those of a run are: not after a signal to devshell, and
not over what has changed on the host meanwhile; then they are kept. Without a terminal it reads
its commands from stdin, and so it does with a sidecar (`beta`), which has none to give: Ctrl-C is
devshell's then, and stops it. No timeout of the config holds.

Examples:
  devshell shell                                look around and try things; what changes is kept aside
  devshell shell --on-exit commit               work in it, and have it all when it ends
  devshell shell --on-exit drop -- bash -norc   another program, and nothing stays
  echo 'make dist' | devshell shell --on-exit commit

To end one that hangs, send SIGTERM to devshell from another terminal.";

#[derive(Debug, Args)]
#[command(after_help = SHELL_HELP)]
pub(super) struct Shell {
    /// The config; by default devshell.toml here or in the nearest parent folder, if there is one
    pub(super) file: Option<PathBuf>,
    /// What becomes of its changes when the shell ends, whatever it exits with; `keep` by default
    #[arg(long, value_name = "W")]
    pub(super) on_exit: Option<OnExit>,
    #[command(flatten)]
    pub(super) layers: ShellLayers,
    #[command(flatten)]
    pub(super) reports: Reports,
    /// A program with its arguments in place of the shell
    #[arg(last = true, value_name = "PROGRAM")]
    pub(super) argv: Vec<OsString>,
}

/// [`Layers`] without a say in the write-back.
#[derive(Debug, Args)]
pub(super) struct ShellLayers {
    /// Lay this profile of the config over it
    #[arg(long, value_name = "P")]
    profile: Option<String>,
    /// Where the shell runs
    #[arg(long, value_name = "B", value_parser = ["auto", "host", "lima", "beta", "remote"])]
    backend: Option<String>,
    /// Set a key of the config, as in `--set vm.host.strategy=copy`; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_value)]
    set: Vec<Override>,
    /// What the exit code of a failed shell tells: its own code, or always 1
    #[arg(long, value_name = "E", value_parser = ["tool", "class"])]
    exit_code: Option<String>,
}

impl ShellLayers {
    pub(super) fn layers(&self) -> Layers {
        Layers {
            profile: self.profile.clone(),
            backend: self.backend.clone(),
            set: self.set.clone(),
            exit_code: self.exit_code.clone(),
            ..Layers::default()
        }
    }
}

/// What becomes of a shell's changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum OnExit {
    /// Kept aside, to look at, to apply or to drop with `devshell results`
    Keep,
    /// Applied to the workspace, all or nothing
    Commit,
    /// Gone
    Drop,
}

impl OnExit {
    pub(super) fn write_back(self) -> WriteBack {
        match self {
            Self::Keep => WriteBack::Never,
            Self::Commit => WriteBack::Always,
            Self::Drop => WriteBack::Drop,
        }
    }
}
