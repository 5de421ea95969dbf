//! The sockets that were asked for or handed over.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::os::fd::OwnedFd;

use crate::exit::End;
use crate::server::{ListenError, Listener};
use crate::sys::descriptors::take_inherited;

use super::super::end::CliError;
use super::args::Cli;
use super::usage;

/// What a service manager has handed over to this very process (sd_listen_fds(3)).
pub(super) fn inherited() -> Vec<OwnedFd> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
    if number("LISTEN_PID") != Some(std::process::id()) {
        return Vec::new();
    }
    let count = number("LISTEN_FDS").and_then(|count| i32::try_from(count).ok());
    take_inherited(count.unwrap_or(0).min(1024))
}

/// All sockets, listening.
pub(super) fn open(cli: &Cli, inherited: Vec<OwnedFd>) -> Result<Vec<Listener>, CliError> {
    let mut listeners = Vec::new();
    for socket in inherited {
        listeners.push(Listener::inherited(socket).map_err(refused)?);
    }
    for name in &cli.serve_tcp {
        let addresses = addresses(name)?;
        if cli.insecure_no_token && !addresses.iter().all(|address| address.ip().is_loopback()) {
            return Err(not_loopback(name));
        }
        listeners.push(Listener::tcp(name, &addresses).map_err(refused)?);
    }
    for path in &cli.serve_socket {
        listeners.push(Listener::unix(path, &cli.allow_uid).map_err(refused)?);
    }
    Ok(listeners)
}

/// That a server without a token is for this machine only.
pub(super) fn not_loopback(name: &str) -> CliError {
    usage(format!(
        "`{name}` can be reached from other machines: --insecure-no-token is for loopback only (127.0.0.1, ::1)"
    ))
}

fn addresses(name: &str) -> Result<Vec<SocketAddr>, CliError> {
    let is_whole = name
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    if !is_whole {
        return Err(usage(format!(
            "`{name}` is no address: write HOST:PORT, as in 127.0.0.1:7070 or [::1]:7070"
        )));
    }
    let addresses: Vec<_> = name
        .to_socket_addrs()
        .map_err(|error| {
            let context = format!("there is no address for `{name}`");
            CliError::new(End::Backend, anyhow::Error::new(error).context(context))
        })?
        .collect();
    Ok(addresses)
}

fn refused(error: ListenError) -> CliError {
    let end = match error {
        ListenError::Inherited { .. } => End::Usage,
        ListenError::File(_) | ListenError::Tcp { .. } => End::Backend,
    };
    CliError::new(end, error)
}
