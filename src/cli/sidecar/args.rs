//! What can be typed.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use crate::sidecar::{DEFAULT_MAX_LINE, MAX_LINE};

const AFTER_HELP: &str = "\
Examples:
  devshell-vm --serve-socket /run/user/1000/devshell.sock --root /srv/ws
  devshell-vm --serve-stdio --root /work                      # below podman run -i, or ssh
  devshell-vm --serve-tcp 127.0.0.1:7070 --token-file token   # for a TLS tunnel or port forwarding
  ssh build devshell-vm --serve-stdio --root /srv/ws          # another machine: vm.beta.command

Sockets handed over by a service manager (LISTEN_FDS) are served, too. Tools get PATH, HOME, USER, LANG and TERM of the
server, what --pass-env names, and what the client sends; nothing that they start outlives them. SIGTERM lets what runs
end within --grace and stops it then; a second one kills.

Exit codes: 0 ended in good order; 64 usage; 69 the address is in use or not to be had; 70 a bug.";

/// The sidecar: serves devshell's protocol where the tools shall run.
#[derive(Debug, Parser)]
#[command(name = "devshell-vm", version, about, after_help = AFTER_HELP, max_term_width = 100)]
pub(in crate::cli) struct Cli {
    /// Serve on a Unix socket, which is made for its owner alone in a folder of the owner's; may be repeated
    #[arg(long, value_name = "PATH", conflicts_with = "serve_stdio")]
    pub(super) serve_socket: Vec<PathBuf>,
    /// Serve on TCP, for clients that know the token; port 0 is one that is free; may be repeated
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "serve_stdio")]
    pub(super) serve_tcp: Vec<String>,
    /// Serve one client on standard input and output
    #[arg(long)]
    pub(super) serve_stdio: bool,
    /// Say this on standard output before anything else: tells a client what is the server's, and what a login shell's
    #[arg(long, value_name = "LINE", requires = "serve_stdio")]
    pub(super) greeting: Option<String>,
    /// Folder that staging folders must lie beneath; may be repeated; the current folder where none is given
    #[arg(long, value_name = "DIR")]
    pub(super) root: Vec<PathBuf>,
    /// Let this user connect to the Unix socket, too, besides the server's own and root; may be repeated
    #[arg(long, value_name = "UID")]
    pub(super) allow_uid: Vec<u32>,
    /// File with the token that clients on TCP have to send; without it one is made and its file named
    #[arg(long, value_name = "FILE", conflicts_with = "insecure_no_token")]
    pub(super) token_file: Option<PathBuf>,
    /// Let every local user, and every web page that a browser here opens, run commands over TCP; loopback only
    #[arg(long)]
    pub(super) insecure_no_token: bool,
    /// Give tools this variable of the server's, too, or with `*` all of them; may be repeated
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(super) pass_env: Vec<String>,
    /// Timeout of an exec whose client gives none [default: DEVSHELL_VM_EXEC_TIMEOUT_MS, else none]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(super) exec_timeout: Option<Duration>,
    /// Between SIGTERM and SIGKILL of a tool, and what running tools are left at the server's end
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "10s")]
    pub(super) grace: Duration,
    /// End when no client has been there for so long
    #[arg(long, value_name = "DURATION", value_parser = duration, conflicts_with = "serve_stdio")]
    pub(super) idle_exit: Option<Duration>,
    /// Remove what clients that share no folder have carried here when no run has used it for so many days; 0: never
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(..=36_500), default_value_t = 30)]
    pub(super) forget_trees_after: u32,
    /// Longest line of a version 1 client, which sends whole files in one
    #[arg(long, value_name = "SIZE", value_parser = line_size, default_value_t = DEFAULT_MAX_LINE, hide_default_value = true)]
    pub(super) max_line: usize,
    /// How many clients are served at once
    #[arg(long, value_name = "N", value_parser = count, default_value_t = 64)]
    pub(super) max_connections: usize,
    /// How many programs of one client run at once
    #[arg(long, value_name = "N", value_parser = count, default_value_t = 32)]
    pub(super) max_execs: usize,
    /// Log connections, sessions and execs on stderr; twice: every request [default: DEVSHELL_VM_LOG, else warnings]
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub(super) verbose: u8,
    /// Print the manual page
    #[arg(long)]
    pub(super) man: bool,
}

impl Cli {
    pub(super) fn has_transport(&self) -> bool {
        self.serve_stdio || !self.serve_socket.is_empty() || !self.serve_tcp.is_empty()
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| match text.parse::<u64>() {
        Ok(number) => format!("it has no unit; did you mean `{number}s`?"),
        Err(_) => "write a number with a unit, as in 500ms, 90s or 10m".to_owned(),
    })
}

fn line_size(text: &str) -> Result<usize, String> {
    let digits = text.find(|char: char| !char.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err("units are B, KiB, MiB and GiB, as in 32MiB".to_owned()),
    };
    let size: Option<usize> = number.parse().ok().and_then(|number: usize| number.checked_mul(factor));
    match size {
        Some(size) if (MAX_LINE..=1 << 30).contains(&size) => Ok(size),
        Some(_) => Err("it must be between 1MiB and 1GiB".to_owned()),
        None => Err("write a whole number with a unit, as in 32MiB".to_owned()),
    }
}

fn count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..=4096) => Ok(number),
        _ => Err("it must be a number between 1 and 4096".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn values_are_what_they_say_or_refused() {
        assert_eq!(line_size("32MiB"), Ok(32 << 20));
        assert_eq!(line_size("1048576"), Ok(1 << 20));
        for bad in ["", "1", "64KiB", "2GiB", "1M", "x", "-1", "99999999999999999999GiB"] {
            assert!(line_size(bad).is_err(), "{bad}");
        }
        assert_eq!(duration("10m"), Ok(Duration::from_secs(600)));
        assert!(duration("5").unwrap_err().contains("`5s`"));
        assert!(count("0").is_err() && count("64") == Ok(64));
    }
}
