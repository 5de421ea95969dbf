//! Reaching a sidecar: a Unix socket, TCP, or the standard streams of a program.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::plan::SidecarAddress;
use crate::process::{OnStderr, Peer, PeerPipes};
use crate::session::VmError;
use crate::sys::output::write_some;

/// How long one attempt to connect over TCP may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How long the other side may take no bytes at all before it counts as gone.
const STUCK: Duration = Duration::from_secs(60);

/// Both directions to a sidecar, and the program behind them where there is one.
pub(in crate::session) struct Transport {
    pub(in crate::session) reader: Incoming,
    pub(in crate::session) writer: Outgoing,
    pub(in crate::session) peer: Option<Peer>,
}

/// What comes from the sidecar.
pub(in crate::session) struct Incoming {
    stream: OwnedFd,
    /// How long a read may wait; `None`: for ever.
    patience: Option<Duration>,
}

/// What goes to the sidecar.
pub(in crate::session) struct Outgoing {
    /// None once it was hung up.
    stream: Option<OwnedFd>,
    is_socket: bool,
}

impl Transport {
    /// Connects. `on_stderr` gets what a program that is spoken with says on its stderr.
    pub(in crate::session) fn open(address: &SidecarAddress, on_stderr: OnStderr) -> Result<Self, VmError> {
        match address {
            SidecarAddress::Unix(path) => {
                let stream = UnixStream::connect(path).map_err(|source| VmError::Ipc {
                    message: format!("{}: {}", in_words(address), why_no_socket(path, &source)),
                    source: Some(source),
                })?;
                Self::of_socket(stream.into()).map_err(|source| unreachable(address, source))
            }
            SidecarAddress::Tcp(at) => {
                let stream = connect(at).map_err(|source| unreachable(address, source))?;
                // Requests are small and each waits for its reply.
                let _ = stream.set_nodelay(true);
                Self::of_socket(stream.into()).map_err(|source| unreachable(address, source))
            }
            SidecarAddress::Stdio(command) => {
                let argv: Vec<OsString> = command.iter().map(OsString::from).collect();
                let (peer, pipes) = Peer::start(&argv, on_stderr).map_err(|source| unreachable(address, source))?;
                Ok(Self::of_peer(peer, pipes))
            }
        }
    }

    /// Of a program that has become a sidecar, or leads to one.
    pub(in crate::session) fn of_peer(peer: Peer, pipes: PeerPipes) -> Self {
        Self {
            reader: Incoming::new(pipes.from),
            writer: Outgoing {
                stream: Some(pipes.to),
                is_socket: false,
            },
            peer: Some(peer),
        }
    }

    pub(super) fn of_socket(socket: OwnedFd) -> io::Result<Self> {
        Ok(Self {
            reader: Incoming::new(socket.try_clone()?),
            writer: Outgoing {
                stream: Some(socket),
                is_socket: true,
            },
            peer: None,
        })
    }
}

impl Incoming {
    fn new(stream: OwnedFd) -> Self {
        Self { stream, patience: None }
    }

    /// How long a read may wait from now on.
    pub(in crate::session) fn set_patience(&mut self, patience: Option<Duration>) {
        self.patience = patience;
    }
}

impl Read for Incoming {
    /// `TimedOut` when nothing came in time.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(patience) = self.patience {
            let limit = Timespec::try_from(patience).unwrap_or_default();
            let mut watched = [PollFd::new(&self.stream, PollFlags::IN)];
            if rustix::io::retry_on_intr(|| poll(&mut watched, Some(&limit)))? == 0 {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
        Ok(rustix::io::retry_on_intr(|| {
            rustix::io::read(&self.stream, &mut *buffer)
        })?)
    }
}

impl Write for Outgoing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let stream = self.stream.as_ref().ok_or(io::ErrorKind::BrokenPipe)?;
        let until = Instant::now() + STUCK;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match write_some(stream, bytes, left)? {
                0 if bytes.is_empty() || !left.is_zero() => {}
                0 => {
                    let why = format!("it took no bytes for {} s", STUCK.as_secs());
                    return Err(io::Error::new(io::ErrorKind::TimedOut, why));
                }
                written => return Ok(written),
            }
            if bytes.is_empty() {
                return Ok(0);
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Outgoing {
    /// Ends the connection: the other side sees it, and so does whoever reads here.
    pub(in crate::session) fn hang_up(&mut self) {
        if let Some(stream) = self.stream.take()
            && self.is_socket
        {
            let _ = rustix::net::shutdown(stream.as_fd(), rustix::net::Shutdown::Both);
        }
    }
}

/// The address as people read it.
pub(in crate::session) fn in_words(address: &SidecarAddress) -> String {
    match address {
        SidecarAddress::Unix(path) => format!("the sidecar at `{}`", path.display()),
        SidecarAddress::Tcp(at) => format!("the sidecar at `tcp:{at}`"),
        SidecarAddress::Stdio(command) => format!("the sidecar `{}`", command.join(" ")),
    }
}

fn unreachable(address: &SidecarAddress, source: io::Error) -> VmError {
    VmError::Ipc {
        message: format!("{} cannot be reached", in_words(address)),
        source: Some(source),
    }
}

fn why_no_socket(path: &std::path::Path, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => format!(
            "there is no socket; start one there: `devshell-vm --serve-socket {}`",
            path.display()
        ),
        io::ErrorKind::ConnectionRefused => "nobody listens on it (its sidecar has ended?)".to_owned(),
        io::ErrorKind::PermissionDenied => format!(
            "it belongs to another user, who can let you in: `devshell-vm --serve-socket {} --allow-uid {}`, in a folder \
             that you can enter",
            path.display(),
            crate::sys::fs::caller().0
        ),
        _ => "it cannot be reached".to_owned(),
    }
}

/// All addresses of a name in turn, together bounded.
fn connect(at: &str) -> io::Result<TcpStream> {
    let until = Instant::now() + CONNECT;
    let mut last = io::Error::new(io::ErrorKind::NotFound, format!("`{at}` has no address"));
    for address in at.to_socket_addrs()? {
        let left = until
            .saturating_duration_since(Instant::now())
            .max(Duration::from_millis(1));
        match TcpStream::connect_timeout(&address, left) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}
