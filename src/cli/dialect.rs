//! What `--output auto` is here.

use std::io::{self, IsTerminal as _};

use crate::process::Stdin;
use crate::sys::output::is_file;

use super::args::Output;
use super::nested::RUN_ID;

/// What is around a run, as far as it decides how the run is shown.
#[derive(Debug, Clone, Copy, Default)]
struct Surroundings {
    /// Whether this is a job of GitHub Actions (or of what takes after it).
    github: bool,
    /// Whether this is a job of GitLab.
    gitlab: bool,
    /// Whether a tool of another run started this one.
    nested: bool,
    /// Whether the one that is run reads devshell's stdin: it is `exec`'s program.
    is_program: bool,
    /// Whether stdout can be the log of a job: no terminal, and no file that somebody wants to
    /// have the output in.
    log: bool,
}

/// The output that was asked for, `auto` resolved as far as the CI system goes: it stays `auto`
/// where there is none.
pub(super) fn output(asked: Output, stdin: Stdin) -> Output {
    let is_set_true = |name: &str| std::env::var_os(name).is_some_and(|value| value == "true");
    let around = Surroundings {
        github: is_set_true("GITHUB_ACTIONS"),
        gitlab: is_set_true("GITLAB_CI"),
        nested: std::env::var_os(RUN_ID).is_some_and(|id| !id.is_empty()),
        is_program: stdin == Stdin::Inherit,
        log: !io::stdout().is_terminal() && !is_file(io::stdout()),
    };
    choose(asked, around)
}

fn choose(asked: Output, around: Surroundings) -> Output {
    let dialect = match around {
        Surroundings { github: true, .. } => Output::Github,
        Surroundings { gitlab: true, .. } => Output::Gitlab,
        _ => Output::Auto,
    };
    match asked {
        // A dialect puts everything on stdout. What `exec` writes there is its program's alone:
        // `version=$(devshell exec -- ...)` has to mean the same in a job and at a desk. And the
        // markers of a devshell inside another one would be taken for that one's.
        Output::Auto if around.log && !around.nested && !around.is_program => dialect,
        asked => asked,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOB: Surroundings = Surroundings {
        github: true,
        gitlab: false,
        nested: false,
        is_program: false,
        log: true,
    };

    #[test]
    fn auto_is_the_dialect_of_the_job_that_it_is_in() {
        let gitlab = Surroundings {
            github: false,
            gitlab: true,
            ..JOB
        };
        assert_eq!(choose(Output::Auto, JOB), Output::Github);
        assert_eq!(choose(Output::Auto, gitlab), Output::Gitlab);
        assert_eq!(choose(Output::Auto, Surroundings::default()), Output::Auto);
    }

    #[test]
    fn auto_is_no_dialect_where_stdout_is_somebody_elses() {
        for around in [
            Surroundings { nested: true, ..JOB },
            Surroundings {
                is_program: true,
                ..JOB
            },
            Surroundings { log: false, ..JOB },
        ] {
            assert_eq!(choose(Output::Auto, around), Output::Auto, "{around:?}");
        }
    }

    #[test]
    fn what_is_asked_for_is_given_anywhere() {
        let nested = Surroundings { nested: true, ..JOB };
        for asked in [Output::Plain, Output::Json, Output::Gitlab, Output::Terminal] {
            assert_eq!(choose(asked, JOB), asked);
            assert_eq!(choose(asked, nested), asked);
        }
    }
}
