//! `devshell completions`, and what the scripts that it prints ask for at each completion.
//!
//! The scripts are clap's. They start `devshell -- WORDS` with a variable that names the shell.
//! The answer never says anything on stderr, and nothing is run for it.

use std::env::{self, current_dir};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use clap::{Arg, Command, CommandFactory as _};
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use clap_complete::env::{EnvCompleter, Shells};

use crate::config::{self, Names};
use crate::exit::End;

use super::args::Cli;
use super::end::{CliError, answer};
use super::setup_args::{Completions, Shell};

/// Names the shell that asks. Not `COMPLETE`, which clap's own default is and others set, too.
const ASKING: &str = "DEVSHELL_COMPLETE";

/// Commands that run tools of a list, with the options that name some of them.
const CHOOSING: [&str; 2] = ["run", "plan"];
/// Commands that read a config.
const LAYERED: [&str; 6] = ["run", "exec", "shell", "check", "config", "plan"];

pub(super) fn completions(command: &Completions) -> Result<u8, CliError> {
    let shell = match command.shell {
        Shell::Bash => "bash",
        Shell::Elvish => "elvish",
        Shell::Fish => "fish",
        Shell::Powershell => "powershell",
        Shell::Zsh => "zsh",
    };
    let mut script = Vec::new();
    completer(OsStr::new(shell))
        .ok_or_else(|| io::Error::other(format!("no completions for {shell}")))
        .and_then(|shell| shell.write_registration(ASKING, "devshell", "devshell", &program(), &mut script))
        .map_err(|error| CliError::new(End::Internal, error))?;
    answer(&String::from_utf8_lossy(&script))
}

/// How the script calls this program: by its name where it was called so, else by its place.
fn program() -> String {
    let called = PathBuf::from(env::args_os().next().unwrap_or_else(|| "devshell".into()));
    let program = match current_dir() {
        Ok(cwd) if called.components().count() > 1 => cwd.join(called),
        _ => called,
    };
    program.to_string_lossy().into_owned()
}

fn completer(shell: &OsStr) -> Option<&'static dyn EnvCompleter> {
    const SHELLS: Shells<'static> = Shells::builtins();
    let name = shell.to_str()?;
    SHELLS.0.iter().copied().find(|completer| completer.is(name))
}

/// The answer for a shell that asks; none: this is an ordinary call.
pub(super) fn asked(args: &[OsString]) -> Option<u8> {
    // No ordinary command line begins with `--`, so that a variable which was left set does no harm.
    if args.get(1).is_none_or(|first| first != "--") {
        return None;
    }
    let shell = completer(&env::var_os(ASKING)?)?;
    let mut words = args[2..].to_vec();
    let index = (shell.name() == "bash").then(|| join_values(&mut words));
    let cwd = current_dir().ok();
    let mut command = command(&words, cwd.as_deref());
    let mut answers = Vec::new();
    let written = match index {
        Some(index) => for_bash(&mut command, words, index, cwd.as_deref(), &mut answers),
        None => shell.write_complete(&mut command, words, cwd.as_deref(), &mut answers),
    };
    // What cannot be completed has no candidates; there is nobody to tell why.
    if written.is_ok() {
        _ = answer(&String::from_utf8_lossy(&answers));
    }
    Some(0)
}

/// Bash makes the `=` a word of its own, of `--only=te` the words `--only`, `=` and `te`. Takes it
/// out before the word that is completed, and gives the index of that one.
fn join_values(words: &mut Vec<OsString>) -> usize {
    let index = env::var("_CLAP_COMPLETE_INDEX").ok();
    let mut index: usize = index.and_then(|index| index.parse().ok()).unwrap_or_default();
    for at in (1..index.min(words.len())).rev() {
        if words[at] == "=" && words[at - 1].as_encoded_bytes().starts_with(b"--") {
            words.remove(at);
            index -= 1;
        }
    }
    index
}

/// As clap's own answer for bash, at an index that is not the environment's.
fn for_bash(
    command: &mut Command,
    words: Vec<OsString>,
    index: usize,
    cwd: Option<&Path>,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let separator = env::var("_CLAP_IFS").unwrap_or_else(|_| "\n".to_owned());
    let found = clap_complete::engine::complete(command, words, index, cwd)?;
    let found: Vec<_> = found
        .iter()
        .map(|candidate| candidate.get_value().to_string_lossy())
        .collect();
    write!(out, "{}", found.join(&separator))
}

/// What can be typed, with names that come from the config that the words mean.
fn command(words: &[OsString], cwd: Option<&Path>) -> Command {
    let Names { tools, profiles } = cwd.map_or_else(Names::default, |cwd| names(words, cwd));
    let mut command = Cli::command();
    for name in CHOOSING {
        let (only, from) = (tools.clone(), tools.clone());
        command = command.mut_subcommand(name, |command| {
            command
                .mut_arg("only", |arg| from_list(arg, only))
                .mut_arg("from", |arg| from_list(arg, from))
        });
    }
    for name in LAYERED {
        let (profiles, tools) = (profiles.clone(), tools.clone());
        command = command.mut_subcommand(name, |command| {
            command
                .mut_arg("profile", |arg| from_list(arg, profiles))
                .mut_arg("set", |arg| {
                    arg.add(ArgValueCompleter::new(move |typed: &OsStr| keys(typed, &tools)))
                })
        });
    }
    command
}

fn from_list(arg: Arg, names: Vec<String>) -> Arg {
    arg.add(ArgValueCompleter::new(move |typed: &OsStr| candidates(typed, &names)))
}

fn candidates(typed: &OsStr, names: &[String]) -> Vec<CompletionCandidate> {
    let typed = typed.to_string_lossy();
    let fitting = names.iter().filter(|name| name.starts_with(&*typed));
    fitting.map(CompletionCandidate::new).collect()
}

/// Keys for `--set`, up to the `=`.
fn keys(typed: &OsStr, tools: &[String]) -> Vec<CompletionCandidate> {
    let keys: Vec<String> = config::keys(tools).into_iter().map(|key| key + "=").collect();
    candidates(typed, &keys)
}

/// The names in the config that a command line means, which may be unfinished.
fn names(words: &[OsString], cwd: &Path) -> Names {
    let matches = Cli::command().ignore_errors(true).try_get_matches_from(words).ok();
    let given = matches
        .as_ref()
        .and_then(|matches| matches.subcommand())
        .map(|(_, given)| given);
    let file = given.and_then(|given| given.try_get_one::<PathBuf>("file").ok().flatten());
    let profile = given.and_then(|given| given.try_get_one::<String>("profile").ok().flatten());
    config::names(file.map(PathBuf::as_path), profile.map(String::as_str), cwd)
}
