//! The command lines that a report offers: the same run of one tool, and the kept result.

use std::ffi::OsString;
use std::path::Path;

use crate::config::Override;
use crate::event::Word;
use crate::runner::Commands;

use super::args::{Exec, Layers, Run};
use super::context::overrides;
use super::shell_args::Shell;

/// For `devshell run`: a choice of tools takes the place of the one that was made.
pub(super) fn commands_of_run(command: &Run) -> Commands {
    let file = command.file.as_deref().map(text);
    let mut run = vec![program(), "run".into()];
    run.extend(file.clone());
    run.extend(layers(&command.layers));
    Commands {
        run: words(&run),
        chooses: true,
        results: results_command(command.file.as_deref(), &command.layers),
    }
}

/// For `devshell exec`, which has one tool.
pub(super) fn commands_of_exec(command: &Exec) -> Commands {
    let file = command.file.as_deref().map(text);
    let mut run = vec![program(), "exec".into()];
    run.extend(file.iter().flat_map(|file| ["--file".into(), file.clone()]));
    run.extend(layers(&command.layers));
    run.push("--".into());
    run.extend(command.argv.iter().cloned());
    Commands {
        run: words(&run),
        chooses: false,
        results: results_command(command.file.as_deref(), &command.layers),
    }
}

/// For `devshell shell`: what was done in one is not done again by another.
pub(super) fn commands_of_shell(command: &Shell) -> Commands {
    Commands {
        results: results_command(command.file.as_deref(), &command.layers.layers()),
        ..Commands::default()
    }
}

/// `devshell results` for the workspace that the run had.
pub(super) fn results_command(file: Option<&Path>, layers: &Layers) -> Vec<Word> {
    let mut results = vec![program(), "results".into()];
    results.extend(file.into_iter().flat_map(|file| ["--file".into(), text(file)]));
    results.extend(profile(layers));
    let of_the_workspace = |set: &&Override| matches!(set.key.as_str(), "workspace" | "workspace.root");
    let set = layers.set.iter().filter(of_the_workspace);
    results.extend(set.flat_map(Override::typed).map(OsString::from));
    words(&results)
}

fn words(command: &[OsString]) -> Vec<Word> {
    command.iter().map(|word| Word::from(word.as_os_str())).collect()
}

fn profile(layers: &Layers) -> impl Iterator<Item = OsString> {
    let profile = layers.profile.iter();
    profile.flat_map(|name| ["--profile".into(), name.into()])
}

/// The flags that lay something over the config.
fn layers(layers: &Layers) -> Vec<OsString> {
    let set = overrides(layers);
    let set = set.iter().flat_map(Override::typed).map(OsString::from);
    profile(layers).chain(set).collect()
}

/// devshell as it was called.
fn program() -> OsString {
    let called = std::env::args_os().next();
    let called = called.filter(|called| Path::new(called).file_name().is_some_and(|name| name == "devshell"));
    called.unwrap_or_else(|| "devshell".into())
}

/// A path that is no flag.
fn text(path: &Path) -> OsString {
    if path.as_os_str().as_encoded_bytes().starts_with(b"-") {
        Path::new(".").join(path).into()
    } else {
        path.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::{Cli, Command};
    use clap::Parser as _;

    fn commands(line: &str) -> Commands {
        match Cli::try_parse_from(line.split(' ')).unwrap().command {
            Command::Run(run) => commands_of_run(&run),
            Command::Exec(exec) => commands_of_exec(&exec),
            _ => panic!("{line}"),
        }
    }

    fn typed(words: &[Word]) -> String {
        words.iter().map(Word::text).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_decides_how_a_tool_runs_is_repeated_and_the_rest_is_not() {
        let long = commands(
            "devshell run ci/devshell.toml --keep-going --from a --output plain --profile ci --backend host \
             --events e --set run.timeout=1h --set tool.t.cwd=x --write-back never --exit-code class"
                .replace("             ", "")
                .as_str(),
        );
        assert_eq!(
            typed(&long.run),
            "devshell run ci/devshell.toml --profile ci --set run.timeout=1h --set tool.t.cwd=x --backend host \
             --write-back never --exit-code class"
        );
        assert!(long.chooses);
        assert_eq!(
            typed(&long.results),
            "devshell results --file ci/devshell.toml --profile ci"
        );
        let other = commands("devshell run --set workspace.root=sub --set run.timeout=1h");
        assert_eq!(typed(&other.results), "devshell results --set workspace.root=sub");
        assert_eq!(typed(&commands("devshell run").run), "devshell run");
        let exec = commands("devshell exec --file f.toml --set vm.host.strategy=copy -- cargo test --only x");
        assert_eq!(
            typed(&exec.run),
            "devshell exec --file f.toml --set vm.host.strategy=copy -- cargo test --only x"
        );
        assert!(!exec.chooses);
    }

    #[test]
    fn values_that_look_like_secrets_are_left_out() {
        for set in [
            "env.API_TOKEN=hunter2",
            "tool.t.env.DB_PASSWORD=hunter2",
            "env={TOKEN='hunter2'}",
        ] {
            let run = typed(&commands(&format!("devshell run --set {set}")).run);
            assert!(run.ends_with("=...") && !run.contains("hunter2"), "{run}");
        }
    }

    #[test]
    fn a_repeated_line_means_the_same() {
        let line = "devshell run devshell.toml --profile ci --set run.timeout=1h --backend host --exit-code class";
        assert_eq!(commands(line).run, commands(&typed(&commands(line).run)).run);
    }
}
