//! `devshell-vm`: what can be typed, made into a server.

mod args;
mod sockets;
mod token;
mod tools;

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::{CommandFactory as _, Parser as _};

use crate::exit::End;
use crate::process::{Cancel, forward_to};
use crate::server::{Clients, Level, Log, ServeError, Settings, serve};
use crate::sys::descriptors::{keep_from_children, take_stdio};

use super::end::CliError;

use args::Cli;

/// The name before everything that the server says.
const NAME: &str = "devshell-vm";

/// The timeout of execs that have none of their own, in milliseconds.
const EXEC_TIMEOUT: &str = "DEVSHELL_VM_EXEC_TIMEOUT_MS";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How much is logged.
const LOG: &str = "DEVSHELL_VM_LOG";

pub(super) fn run(args: impl Iterator<Item = OsString>) -> u8 {
    // Before anything else is opened.
    let inherited = sockets::inherited();
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => return super::not_parsed(&error, NAME),
    };
    match serve_as_typed(&cli, inherited) {
        Ok(code) => code,
        Err(error) => {
            say(&format!("error: {}", error.text()));
            error.code()
        }
    }
}

fn serve_as_typed(cli: &Cli, inherited: Vec<std::os::fd::OwnedFd>) -> Result<u8, CliError> {
    if cli.man {
        let page = super::man::page(&Cli::command()).map_err(|error| CliError::new(End::Internal, error))?;
        return super::end::answer(&page);
    }
    if !cli.has_transport() && inherited.is_empty() {
        return Err(usage(
            "nowhere to serve: give --serve-socket PATH, --serve-tcp HOST:PORT or --serve-stdio (see --help)",
        ));
    }
    let system = |error: std::io::Error| CliError::new(End::Backend, error);
    keep_from_children().map_err(system)?;
    let mut settings = settings(cli)?;
    let log = Log::new(level(cli)?, say);
    let cancel = Cancel::new();
    let _signals = forward_to(cancel.clone()).map_err(system)?;
    let mut made_token = None;
    let clients = if cli.serve_stdio {
        let (input, output) = take_stdio().map_err(system)?;
        if let Some(greeting) = &cli.greeting {
            greet(&output, greeting).map_err(system)?;
        }
        Clients::Stdio { input, output }
    } else {
        let listeners = sockets::open(cli, inherited)?;
        if let Some(listener) = token::first_in_need(&listeners) {
            if cli.insecure_no_token {
                token::refuse_all_but_loopback(&listeners)?;
            } else {
                let (token, file) = token::find(cli, listener)?;
                settings.token = Some(token);
                made_token = file;
            }
        }
        for listener in &listeners {
            say(&format!("listening on {}", listener.address()));
        }
        Clients::Sockets(listeners)
    };
    let served = serve(clients, settings, &cancel, log);
    drop(made_token);
    served.map_err(|error| match error {
        error @ ServeError::Root { .. } => CliError::new(End::Usage, error),
        error @ ServeError::System(_) => CliError::new(End::Backend, error),
    })?;
    Ok(0)
}

fn settings(cli: &Cli) -> Result<Settings, CliError> {
    let here = || {
        std::env::current_dir().map_err(|error| {
            let context = "the current folder cannot be entered; was it deleted?";
            CliError::new(End::Usage, anyhow::Error::new(error).context(context))
        })
    };
    let mut roots = Vec::new();
    for root in &cli.root {
        roots.push(std::path::absolute(root).map_err(|error| CliError::new(End::Usage, error))?);
    }
    if roots.is_empty() {
        roots.push(here()?);
    }
    let nonzero = |duration: Duration| (!duration.is_zero()).then_some(duration);
    let exec_timeout = match (cli.exec_timeout, std::env::var_os(EXEC_TIMEOUT)) {
        (Some(timeout), _) => nonzero(timeout),
        (None, Some(text)) => match text.to_str().map(str::trim).map(str::parse) {
            Some(Ok(millis)) => nonzero(Duration::from_millis(millis)),
            _ => {
                return Err(usage(format!(
                    "{EXEC_TIMEOUT} is `{}`: it takes a number of milliseconds (0: no limit)",
                    text.display()
                )));
            }
        },
        (None, None) => None,
    };
    Ok(Settings {
        roots,
        allow_uids: cli.allow_uid.clone(),
        token: None,
        tool_env: tools::environment(std::env::vars_os(), &cli.pass_env),
        exec_timeout,
        grace: cli.grace,
        idle_exit: cli.idle_exit.and_then(nonzero),
        forget_trees_after: (cli.forget_trees_after > 0).then(|| DAY * cli.forget_trees_after),
        max_line: cli.max_line,
        max_connections: cli.max_connections,
        max_execs: cli.max_execs,
    })
}

/// The more -v, the more is logged; the variable holds where there is none.
fn level(cli: &Cli) -> Result<Level, CliError> {
    match cli.verbose {
        0 => match std::env::var_os(LOG) {
            None => Ok(Level::Warn),
            Some(word) => word.to_str().and_then(Level::from_word).ok_or_else(|| {
                let words = Level::ALL.map(Level::word).join(", ");
                usage(format!("{LOG} is `{}`: it takes one of {words}", word.display()))
            }),
        },
        1 => Ok(Level::Info),
        _ => Ok(Level::Debug),
    }
}

fn usage(text: impl Into<String>) -> CliError {
    CliError::new(End::Usage, anyhow::Error::msg(text.into()))
}

/// The first line on stdout.
fn greet(output: &std::os::fd::OwnedFd, greeting: &str) -> std::io::Result<()> {
    std::fs::File::from(output.try_clone()?).write_all(format!("{greeting}\n").as_bytes())
}

/// One line on stderr; a stderr that takes nothing more is nobody's concern.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{NAME}: {text}");
}

/// A folder of this user's for what only lives as long as the server.
fn runtime_folder() -> PathBuf {
    let set = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    set("XDG_RUNTIME_DIR")
        .or_else(|| set("XDG_STATE_HOME").map(|state| state.join("devshell")))
        .or_else(|| set("HOME").map(|home| home.join(".local/state/devshell")))
        .unwrap_or_else(std::env::temp_dir)
}
