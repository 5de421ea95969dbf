//! The command lines that a report offers: the same run of one tool, and the kept result.

use std::path::Path;

use crate::config::Override;
use crate::runner::Commands;

use super::args::{Exec, Layers, Run};
use super::context::overrides;
use super::shell_args::Shell;

/// For `devshell run`: a choice of tools takes the place of the one that was made.
pub(super) fn commands_of_run(command: &Run) -> Commands {
    let file = command.file.as_deref().map(text);
    let mut run = vec![program(), "run".to_owned()];
    run.extend(file.clone());
    run.extend(layers(&command.layers));
    Commands {
        run,
        chooses: true,
        results: results(file, &command.layers),
    }
}

/// For `devshell exec`, which has one tool.
pub(super) fn commands_of_exec(command: &Exec) -> Commands {
    let file = command.file.as_deref().map(text);
    let mut run = vec![program(), "exec".to_owned()];
    run.extend(file.iter().flat_map(|file| ["--file".to_owned(), file.clone()]));
    run.extend(layers(&command.layers));
    run.push("--".to_owned());
    run.extend(command.argv.iter().map(|word| word.to_string_lossy().into_owned()));
    Commands {
        run,
        chooses: false,
        results: results(file, &command.layers),
    }
}

/// For `devshell shell`: what was done in one is not done again by another.
pub(super) fn commands_of_shell(command: &Shell) -> Commands {
    Commands {
        results: results(command.file.as_deref().map(text), &command.layers.layers()),
        ..Commands::default()
    }
}

/// What finds the results of the workspace that the run had.
fn results(file: Option<String>, layers: &Layers) -> Vec<String> {
    let mut results = vec![program(), "results".to_owned()];
    results.extend(file.into_iter().flat_map(|file| ["--file".to_owned(), file]));
    results.extend(profile(layers));
    let of_the_workspace = |set: &&Override| matches!(set.key.as_str(), "workspace" | "workspace.root");
    results.extend(layers.set.iter().filter(of_the_workspace).flat_map(Override::typed));
    results
}

fn profile(layers: &Layers) -> impl Iterator<Item = String> {
    let profile = layers.profile.iter();
    profile.flat_map(|name| ["--profile".to_owned(), name.clone()])
}

/// The flags that lay something over the config.
fn layers(layers: &Layers) -> Vec<String> {
    profile(layers)
        .chain(overrides(layers).iter().flat_map(Override::typed))
        .collect()
}

/// devshell as it was called.
fn program() -> String {
    let called = std::env::args_os().next();
    let called = called.filter(|called| Path::new(called).file_name().is_some_and(|name| name == "devshell"));
    called.map_or_else(|| "devshell".to_owned(), |called| called.to_string_lossy().into_owned())
}

/// A path that is no flag.
fn text(path: &Path) -> String {
    let text = path.to_string_lossy();
    if text.starts_with('-') {
        format!("./{text}")
    } else {
        text.into_owned()
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

    #[test]
    fn what_decides_how_a_tool_runs_is_repeated_and_the_rest_is_not() {
        let long = commands(
            "devshell run ci/devshell.toml --keep-going --from a --output plain --profile ci --backend host \
             --events e --set run.timeout=1h --set tool.t.cwd=x --write-back never --exit-code class"
                .replace("             ", "")
                .as_str(),
        );
        assert_eq!(
            long.run.join(" "),
            "devshell run ci/devshell.toml --profile ci --set run.timeout=1h --set tool.t.cwd=x --backend host \
             --write-back never --exit-code class"
        );
        assert!(long.chooses);
        assert_eq!(
            long.results.join(" "),
            "devshell results --file ci/devshell.toml --profile ci"
        );
        let other = commands("devshell run --set workspace.root=sub --set run.timeout=1h");
        assert_eq!(other.results.join(" "), "devshell results --set workspace.root=sub");
        assert_eq!(commands("devshell run").run.join(" "), "devshell run");
        let exec = commands("devshell exec --file f.toml --set vm.host.strategy=copy -- cargo test --only x");
        assert_eq!(
            exec.run.join(" "),
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
            let run = commands(&format!("devshell run --set {set}")).run.join(" ");
            assert!(run.ends_with("=...") && !run.contains("hunter2"), "{run}");
        }
    }

    #[test]
    fn a_repeated_line_means_the_same() {
        let line = "devshell run devshell.toml --profile ci --set run.timeout=1h --backend host --exit-code class";
        assert_eq!(commands(line).run, commands(&commands(line).run.join(" ")).run);
    }
}
