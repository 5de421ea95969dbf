//! The token of a server on TCP: read from a file, or made and written to one.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::exit::End;
use crate::server::{Listener, Token, Transport};
use crate::sys::fs::make_private_dirs;

use super::super::end::CliError;
use super::args::Cli;
use super::{runtime_folder, say, sockets, usage};

/// Bytes of a token that is made.
const RANDOM: usize = 32;
/// The most that a token file may hold.
const MOST: u64 = 4096;

/// A file that was made for a token and goes with the server.
#[derive(Debug)]
pub(super) struct TokenFile(PathBuf);

impl Drop for TokenFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The first socket whose clients have to know a token.
pub(super) fn first_in_need(listeners: &[Listener]) -> Option<&Listener> {
    listeners.iter().find(|listener| listener.transport() == Transport::Tcp)
}

/// Also those that were handed over.
pub(super) fn refuse_all_but_loopback(listeners: &[Listener]) -> Result<(), CliError> {
    for listener in listeners
        .iter()
        .filter(|listener| listener.transport() == Transport::Tcp)
    {
        if !listener
            .local_address()
            .is_some_and(|address| address.ip().is_loopback())
        {
            return Err(sockets::not_loopback(listener.address()));
        }
    }
    Ok(())
}

/// The token that was given, or a new one with its file.
pub(super) fn find(cli: &Cli, listener: &Listener) -> Result<(Token, Option<TokenFile>), CliError> {
    if let Some(path) = &cli.token_file {
        return read(path).map(|token| (token, None));
    }
    let fault = |error: io::Error| {
        CliError::new(
            End::Backend,
            anyhow::Error::new(error).context("no file can be made for the token; give one with --token-file"),
        )
    };
    let (token, file) = make(listener).map_err(fault)?;
    say(&format!("token written to {}", file.0.display()));
    Ok((token, Some(file)))
}

fn read(path: &Path) -> Result<Token, CliError> {
    let fault = |error: io::Error| {
        let context = format!("the token file `{}` cannot be read", path.display());
        CliError::new(End::Usage, anyhow::Error::new(error).context(context))
    };
    let file = File::open(path).map_err(fault)?;
    let mode = file.metadata().map_err(fault)?.permissions().mode();
    if mode & 0o077 != 0 {
        say(&format!(
            "warning: other users may read the token file `{}` (mode {:o}): chmod 600",
            path.display(),
            mode & 0o777
        ));
    }
    let mut bytes = Vec::new();
    file.take(MOST + 1).read_to_end(&mut bytes).map_err(fault)?;
    if bytes.len() as u64 > MOST {
        return Err(usage(format!(
            "the token file `{}` is longer than {MOST} bytes",
            path.display()
        )));
    }
    let token = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let token = token.strip_suffix(b"\r").unwrap_or(token);
    if token.is_empty() {
        return Err(usage(format!("the token file `{}` is empty", path.display())));
    }
    if std::str::from_utf8(token).is_err() {
        return Err(usage(format!("the token in `{}` is not UTF-8", path.display())));
    }
    Ok(Token::new(token))
}

fn make(listener: &Listener) -> io::Result<(Token, TokenFile)> {
    let mut random = [0_u8; RANDOM];
    File::open("/dev/urandom")?.read_exact(&mut random)?;
    let token: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let folder = runtime_folder();
    make_private_dirs(&folder)?;
    let port = listener.local_address().map_or(0, |address| address.port());
    let path = folder.join(format!("devshell-vm-{port}-{}.token", std::process::id()));
    let mut file = match open_new(&path) {
        // Of a process that has died and had the same number.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            std::fs::remove_file(&path)?;
            open_new(&path)?
        }
        file => file?,
    };
    let made = TokenFile(path);
    file.write_all(format!("{token}\n").as_bytes())?;
    Ok((Token::new(token.as_bytes()), made))
}

fn open_new(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}
