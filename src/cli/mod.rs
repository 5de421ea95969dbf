//! The command line: what was typed, one file per command, one match, one place that turns a
//! result into an exit code. The only room that prints and that reads the environment.

mod args;
#[cfg(test)]
mod book;
mod check;
mod clean;
mod complete;
mod config;
mod context;
mod dialect;
mod doctor;
mod end;
mod init;
mod man;
mod nested;
mod never_began;
mod plan;
mod plan_json;
mod plan_tools;
mod recovery;
mod repeat;
mod reporters;
mod results;
mod run;
mod schema;
mod secrets;
mod setup_args;
mod shell;
mod shell_args;
mod sidecar;
mod terminal;

use std::ffi::OsString;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use clap::Parser as _;
use clap::error::ErrorKind;

use crate::exit::{Class, End, ExitCodePolicy};
use crate::report::last_line;

use args::{Cli, Command};

/// The name before everything that devshell says.
const PROGRAM: &str = "devshell";

/// Entry of the `devshell` program.
#[must_use]
pub fn main() -> ExitCode {
    caught(|| dispatch(std::env::args_os()))
}

/// Entry of the `devshell-vm` program.
#[must_use]
pub fn sidecar_main() -> ExitCode {
    caught(|| sidecar::run(std::env::args_os()))
}

/// A panic is a bug of devshell and must not look like a failed tool: Rust's own code for it,
/// 101, is also cargo's.
fn caught(body: impl FnOnce() -> u8) -> ExitCode {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(code) => ExitCode::from(code),
        Err(_) => {
            let code = End::Internal.code(ExitCodePolicy::Tool);
            end::say("this is a bug in devshell; the message above says where. The workspace was not written");
            end::say_line(&last_line(Class::Internal, None, code, None, None));
            ExitCode::from(code)
        }
    }
}

fn dispatch(args: impl Iterator<Item = OsString>) -> u8 {
    let args: Vec<OsString> = args.collect();
    if let Some(code) = complete::asked(&args) {
        return code;
    }
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => return not_parsed(&error, PROGRAM),
    };
    // Tests reach the boundary above by this; it is no command.
    if std::env::var_os("DEVSHELL_TEST_PANIC").is_some() {
        panic!("DEVSHELL_TEST_PANIC is set");
    }
    let done = match cli.command {
        Command::Run(command) => return run::run(&command),
        Command::Exec(command) => return run::exec(&command),
        Command::Shell(command) => return shell::shell(&command),
        Command::Check(command) => check::check(&command),
        Command::Config(command) => config::config(&command),
        Command::Plan(command) => plan::plan(&command),
        Command::Doctor(command) => doctor::doctor(&command),
        Command::Results(command) => results::results(&command),
        Command::Clean(command) => clean::clean(&command),
        Command::Init(command) => init::init(&command),
        Command::Schema(_) => schema::schema(),
        Command::Completions(command) => complete::completions(&command),
        Command::Man(command) => man::man(&command),
    };
    match done {
        Ok(code) => code,
        Err(error) => error.report(),
    }
}

/// Help and version are answers; anything else is a wrong command line. The last line is that of the program that was
/// called.
fn not_parsed(error: &clap::Error, program: &str) -> u8 {
    let printed = error.print();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            match end::answered(printed.and_then(|()| std::io::stdout().flush())) {
                Ok(code) => code,
                Err(error) => {
                    end::say_line(&format!("{program}: error: {}", error.text()));
                    error.code()
                }
            }
        }
        _ => {
            let code = End::Usage.code(ExitCodePolicy::Tool);
            let line = last_line(Class::Usage, None, code, None, None);
            end::say_line(&line.replacen(PROGRAM, program, 1));
            code
        }
    }
}
