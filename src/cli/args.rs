//! What can be typed.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::Override;
use crate::plan::Selection;

use super::doctor::Doctor;
use super::setup_args::{Completions, Init, Man, Schema};
use super::shell_args::Shell;

const AFTER_HELP: &str = "\
Examples:
  devshell init                       write a devshell.toml for a start
  devshell plan                       what a run would do and meet here
  devshell run                        run the tools of the nearest devshell.toml
  devshell run ci/devshell.toml --only test --output json
  devshell exec -- cargo test         one command, all or nothing, without a tool list
  devshell results list               what failed runs left to look at

Exit codes: 0 success and committed; a failed tool's own code (128+n for signal n);
64 usage, 66/78 config, 69 backend, 70 bug, 71 isolation, 73 conflict, 74 sync,
75 lost or locked, 76 protocol, 124 timeout, 126/127 not executable/not found,
129/130/143 interrupted. After anything but 0 the workspace is untouched, unless
`write_back = \"always\"` or `strategy = \"in_place\"` say otherwise.";

/// Runs tools on a private view of a project tree and brings the result back, all or nothing.
#[derive(Debug, Parser)]
#[command(name = "devshell", version, about, after_help = AFTER_HELP, max_term_width = 100, disable_help_subcommand = true)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the tool list, all or nothing
    Run(Run),
    /// Run one program as `run` would, without a tool list
    Exec(Exec),
    /// Open a shell on a private view of the workspace
    Shell(Shell),
    /// Say whether the config is valid, with all faults at once
    Check(Check),
    /// Print the effective configuration
    Config(Config),
    /// Print what `run` would do, touching nothing
    Plan(Plan),
    /// Say of every backend whether it is usable, why not, and what mends it
    Doctor(Doctor),
    /// Look at, apply or drop the kept results of failed runs
    Results(Results),
    /// Remove what dead runs left behind
    Clean(Clean),
    /// Write a devshell.toml for a start, fitted to what is there
    Init(Init),
    /// Print the JSON Schema of devshell.toml, for editors
    Schema(Schema),
    /// Print the completions for a shell
    Completions(Completions),
    /// Print or write the manual pages
    Man(Man),
}

/// Which config, and what is laid over it.
#[derive(Debug, Default, Args)]
pub(super) struct Layers {
    /// Lay `[profile.P]` of the config over it; by default the one that `DEVSHELL_PROFILE` names
    #[arg(long, value_name = "P")]
    pub(super) profile: Option<String>,
    /// Where the tools run
    #[arg(long, value_name = "B", value_parser = ["auto", "host", "lima", "beta", "remote"])]
    pub(super) backend: Option<String>,
    /// Which side is the truth: the host's tree (sync) or the backend's own (guest)
    #[arg(long, value_name = "M", value_parser = ["sync", "guest"])]
    pub(super) workspace_mode: Option<String>,
    /// Set a key of the config, as in `--set tool.test.timeout=10m`; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_value)]
    pub(super) set: Vec<Override>,
    /// When the result is applied to the workspace
    #[arg(long, value_name = "W", value_parser = ["on_success", "always", "never"])]
    pub(super) write_back: Option<String>,
    /// What the exit code of a failed tool tells: its own code, or always 1
    #[arg(long, value_name = "E", value_parser = ["tool", "class"])]
    pub(super) exit_code: Option<String>,
}

/// Which tools of the list.
#[derive(Debug, Args)]
pub(super) struct Choice {
    /// Only these tools, separated by commas; in the order of the config
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    only: Vec<String>,
    /// Only this tool and those behind it
    #[arg(long, value_name = "NAME")]
    from: Option<String>,
    /// Run the remaining tools after a failure; the first failure decides
    #[arg(long)]
    keep_going: bool,
}

impl Choice {
    pub(super) fn selection(&self) -> Selection {
        Selection {
            only: self.only.clone(),
            from: self.from.clone(),
            keep_going: self.keep_going,
        }
    }
}

/// How the run is reported.
#[derive(Debug, Args)]
pub(super) struct Reports {
    /// How the run is shown
    #[arg(long, value_name = "O", default_value = "auto")]
    pub(super) output: Output,
    /// Write the events of the run to this file, a JSON object a line
    #[arg(long, value_name = "FILE", value_parser = report_file)]
    pub(super) events: Option<PathBuf>,
    /// Write the run as JUnit XML to this file, a test case a tool
    #[arg(long, value_name = "FILE", value_parser = report_file)]
    pub(super) junit: Option<PathBuf>,
    /// Put the time (RFC 3339, UTC) into devshell's own lines; tools' output stays as it is
    #[arg(long)]
    pub(super) timestamps: bool,
    /// With the output `github`: let tools' output give workflow commands to the runner
    #[arg(long)]
    pub(super) allow_commands: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// `run` in a job of GitHub or GitLab: its dialect; else `terminal` where stderr is one, else `plain`
    Auto,
    /// With colours and a live view of the tools
    Terminal,
    /// Lines only
    Plain,
    /// For the log of a GitHub Actions step: groups, annotations, a summary; all on stdout
    Github,
    /// For the log of a GitLab job: sections; all on stdout
    Gitlab,
    /// Events on stdout, a JSON object a line; tools' output appears in them only
    Json,
}

const RUN_HELP: &str = "\
Examples:
  devshell run                               the devshell.toml here or in the nearest parent folder
  devshell run devshell.toml --only fmt,test
  devshell run --from test --keep-going
  devshell run --set tool.test.timeout=10m --set sandbox.require=view
  devshell run --output json --write-back never
  devshell run --junit junit.xml --events events.jsonl

Where stdout is a terminal, the tools' stdout is one, too, and so is their stderr where devshell's
is: both then come as one stream. In a pipe, and with any `--output` but `terminal` and `auto`, they get pipes.";

#[derive(Debug, Args)]
#[command(after_help = RUN_HELP)]
pub(super) struct Run {
    /// The config; by default devshell.toml here or in the nearest parent folder
    pub(super) file: Option<PathBuf>,
    #[command(flatten)]
    pub(super) layers: Layers,
    #[command(flatten)]
    pub(super) choice: Choice,
    #[command(flatten)]
    pub(super) reports: Reports,
}

const EXEC_HELP: &str = "\
The program runs in the current folder, reads devshell's stdin, and its changes are
committed if it succeeds. Without a config the current folder is the workspace.
At a terminal the program has it for itself: Ctrl-C and Ctrl-Z are the program's, and its stdout
and stderr come as one stream. To end one that hangs, send SIGTERM to devshell from elsewhere.
With a sidecar (`beta`) it has pipes, and Ctrl-C goes to devshell, which stops it.

Examples:
  devshell exec -- cargo fix --allow-dirty
  devshell exec --write-back never -- make dist    keep the result aside to look at
  git diff | devshell exec -- patch -p1";

#[derive(Debug, Args)]
#[command(after_help = EXEC_HELP)]
pub(super) struct Exec {
    /// The config, if one is to be used; by default devshell.toml here or in the nearest parent folder
    #[arg(long, value_name = "FILE")]
    pub(super) file: Option<PathBuf>,
    #[command(flatten)]
    pub(super) layers: Layers,
    #[command(flatten)]
    pub(super) reports: Reports,
    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "PROGRAM")]
    pub(super) argv: Vec<OsString>,
}

const CHECK_HELP: &str = "\
Examples:
  devshell check                    0: valid; 78: not, with every fault; 66: no such file
  devshell check ci/devshell.toml";

#[derive(Debug, Args)]
#[command(after_help = CHECK_HELP)]
pub(super) struct Check {
    /// The config; by default devshell.toml here or in the nearest parent folder
    pub(super) file: Option<PathBuf>,
    #[command(flatten)]
    pub(super) layers: Layers,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// As devshell.toml
    Toml,
    /// As one JSON object
    Json,
}

const CONFIG_HELP: &str = "\
Examples:
  devshell config                   defaults, file, environment and flags merged
  devshell config --origins         and where each value came from
  DEVSHELL_VM=off devshell config --format json";

#[derive(Debug, Args)]
#[command(after_help = CONFIG_HELP)]
pub(super) struct Config {
    /// The config; by default devshell.toml here or in the nearest parent folder
    pub(super) file: Option<PathBuf>,
    #[command(flatten)]
    pub(super) layers: Layers,
    /// How it is printed
    #[arg(long, default_value = "toml")]
    pub(super) format: Format,
    /// Where each value came from and what it shadows
    #[arg(long)]
    pub(super) origins: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum PlanFormat {
    /// For people
    Text,
    /// As one JSON object
    Json,
}

const PLAN_HELP: &str = "\
The view that a run would get is made and dropped, what would be carried is counted, and nothing is
left or changed. The form of --format json is docs/plan.schema.json.

Examples:
  devshell plan
  devshell plan --from test --backend host
  devshell plan --format json | jq .now.view";

#[derive(Debug, Args)]
#[command(after_help = PLAN_HELP)]
pub(super) struct Plan {
    /// The config; by default devshell.toml here or in the nearest parent folder
    pub(super) file: Option<PathBuf>,
    #[command(flatten)]
    pub(super) layers: Layers,
    #[command(flatten)]
    pub(super) choice: Choice,
    /// How it is printed
    #[arg(long, default_value = "text")]
    pub(super) format: PlanFormat,
}

const RESULTS_HELP: &str = "\
A run that failed, met a conflict, was interrupted or had `write_back = \"never\"` keeps its
result: at most 3 a workspace, 7 days, 2 GiB in all, the newest always.
ID may be shortened as long as it is unique; without it the newest is meant.

Examples:
  devshell results
  devshell results diff
  devshell results apply 20261123-2030
  devshell results drop --all";

#[derive(Debug, Args)]
#[command(after_help = RESULTS_HELP)]
pub(super) struct Results {
    /// The config whose workspace is meant
    #[arg(long, value_name = "FILE", global = true)]
    pub(super) file: Option<PathBuf>,
    /// Lay `[profile.P]` of the config over it, where that names another workspace
    #[arg(long, value_name = "P", global = true)]
    pub(super) profile: Option<String>,
    /// Set a key of the config, where it names another workspace: `--set workspace.root=DIR`
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_value, global = true)]
    pub(super) set: Vec<Override>,
    #[command(subcommand)]
    pub(super) what: Option<ResultsCommand>,
}

#[derive(Debug, Subcommand)]
pub(super) enum ResultsCommand {
    /// List the kept results of this workspace
    List,
    /// Show what a result would change
    Diff {
        /// Which; the newest by default
        id: Option<String>,
    },
    /// Apply a result to the workspace, all or nothing, and drop it
    Apply {
        /// Which; the newest by default
        id: Option<String>,
    },
    /// Drop a result
    Drop {
        /// Which
        #[arg(required_unless_present = "all")]
        id: Option<String>,
        /// All results of this workspace
        #[arg(long, conflicts_with = "id")]
        all: bool,
    },
}

const CLEAN_HELP: &str = "\
Kept results are never touched; `devshell results drop` does that.

Examples:
  devshell clean          leftovers of dead runs, and staged copies of workspaces that are gone
  devshell clean --all    also the staged copies (with their cache folders) of idle workspaces
  devshell clean --originals    also what recoveries of killed commits kept aside";

#[derive(Debug, Args)]
#[command(after_help = CLEAN_HELP)]
pub(super) struct Clean {
    /// Also remove the staged copies of workspaces that no run uses now
    #[arg(long)]
    pub(super) all: bool,
    /// Also remove originals that were kept aside when a killed commit was undone
    #[arg(long)]
    pub(super) originals: bool,
}

fn report_file(path: &str) -> Result<PathBuf, String> {
    match Path::new(path) {
        path if path.extension().is_some_and(|extension| extension == "toml") => {
            Err("it would be overwritten, and its name is that of a config".to_owned())
        }
        path => Ok(path.to_path_buf()),
    }
}

pub(super) fn key_value(text: &str) -> Result<Override, String> {
    Override::from_set(text).ok_or_else(|| "write it as KEY=VALUE, as in `tool.test.timeout=10m`".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
