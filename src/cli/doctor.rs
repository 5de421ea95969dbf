//! `devshell doctor`.

use std::fmt::Write as _;
use std::path::PathBuf;

use anstyle::{AnsiColor, Style};
use clap::Args;

use crate::doctor::{Check, Report, State, examine};

use super::args::Layers;
use super::context::Loading;
use super::end::{CliError, answer, answer_in_colour, say};

const HELP: &str = "\
Checks are tried, not guessed: a view of the workspace is made and dropped. Nothing is left behind,
no tool is run, and nothing takes longer than about 40 s.

Marks: ok; -- worth to know; !! a run works, but not as well as it could; XX a run cannot begin.

Examples:
  devshell doctor
  devshell doctor --backend lima
  devshell doctor --json | jq '.backends[] | select(.configured)'

Exit codes: 0 the configured backend is usable; 69 it is not; 66/78 the config is missing/invalid.
Without a config the defaults hold. The form of --json is docs/doctor.schema.json.";

/// What can be typed for it.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Doctor {
    /// The config; by default devshell.toml here or in the nearest parent folder
    file: Option<PathBuf>,
    #[command(flatten)]
    layers: Layers,
    /// As one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn doctor(command: &Doctor) -> Result<u8, CliError> {
    let loading = Loading::optional(command.file.as_deref(), &command.layers)?;
    for warning in &loading.loaded.warnings {
        say(&format!("warning: {warning}"));
    }
    let report = examine(loading.case()?);
    if command.json {
        let json = serde_json::to_value(&report).map_err(|error| CliError::new(crate::exit::End::Internal, error))?;
        answer(&format!("{json:#}\n"))?;
    } else {
        answer_in_colour(&text(&report))?;
    }
    Ok(report.exit_code)
}

/// The report for people, with colours.
fn text(report: &Report) -> String {
    let mut text = String::new();
    let bold = Style::new().bold();
    let mut head = |title: &str, said: &str| {
        let _ = writeln!(text, "{bold}{title}{bold:#}{said}");
    };
    let config = report.config.as_deref().unwrap_or("no config: the defaults hold");
    head("devshell ", &format!("{}, {config}", report.devshell));
    head("workspace ", &report.workspace);
    for backend in &report.backends {
        let usable = if backend.usable { "usable" } else { "not usable" };
        let configured = if backend.configured {
            format!(" (configured: {})", report.configured_by)
        } else {
            String::new()
        };
        let _ = writeln!(text, "\n{bold}{}{bold:#}: {usable}{configured}", backend.backend);
        list(&mut text, &backend.checks);
    }
    for (title, checks) in [
        ("workspace", &report.workspace_checks),
        ("folders", &report.folders),
        ("programs", &report.programs),
    ] {
        if !checks.is_empty() {
            let _ = writeln!(text, "\n{bold}{title}{bold:#}");
            list(&mut text, checks);
        }
    }
    let verdict = if report.usable { "is usable" } else { "is not usable" };
    let _ = writeln!(
        text,
        "\nthe configured backend, {bold}{}{bold:#}, {verdict}",
        report.configured
    );
    text
}

fn list(text: &mut String, checks: &[Check]) {
    let width = checks.iter().map(|check| check.check.len()).max().unwrap_or(0);
    for check in checks {
        let (mark, style) = mark(check.state);
        let name = check.check.replace('_', " ");
        let found = one_line(&check.found);
        let _ = writeln!(text, "  {style}{mark}{style:#} {name:width$}  {found}");
        if let Some(remedy) = &check.remedy {
            let dim = Style::new().fg_color(Some(AnsiColor::Cyan.into()));
            let _ = writeln!(text, "     {:width$}  {dim}fix: {}{dim:#}", "", one_line(remedy));
        }
    }
}

/// Marks that read well without their colours.
fn mark(state: State) -> (&'static str, Style) {
    let colour = |colour: AnsiColor| Style::new().fg_color(Some(colour.into()));
    match state {
        State::Ok => ("ok", colour(AnsiColor::Green)),
        State::Info => ("--", Style::new()),
        State::Warning => ("!!", colour(AnsiColor::Yellow)),
        State::Problem => ("XX", colour(AnsiColor::Red).bold()),
    }
}

/// Names of files may hold anything.
fn one_line(text: &str) -> String {
    text.chars()
        .map(|char| if char.is_control() { '\u{fffd}' } else { char })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_a_file_cannot_paint_the_terminal() {
        assert_eq!(one_line("a\u{1b}[31m\nb"), "a\u{fffd}[31m\u{fffd}b");
    }
}
