//! Sockets that clients come to.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrAny, SocketFlags, accept_with, sockopt};

use super::peer::{Peer, Transport};
use super::socket_file::{SocketFile, SocketFileError};

/// How many clients may wait to be taken in.
const BACKLOG: i32 = 128;

/// A socket that listens. Dropped, it is closed, and the file that it made is gone.
#[derive(Debug)]
pub struct Listener {
    socket: OwnedFd,
    transport: Transport,
    address: String,
    _file: Option<SocketFile>,
}

/// Why a socket cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The file of a Unix socket.
    #[error(transparent)]
    File(#[from] SocketFileError),
    /// The address is taken, or is none of this machine's.
    #[error("cannot listen on tcp:{address}")]
    Tcp {
        /// As it was given.
        address: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A descriptor that was handed over.
    #[error("descriptor {number}, which was handed over, {why}")]
    Inherited {
        /// Its number.
        number: i32,
        /// In words.
        why: String,
    },
}

impl Listener {
    /// A Unix socket at a path, for its owner. Where other users are let in as well, its mode lets
    /// everybody come, and `stranger` tells who stays.
    ///
    /// # Errors
    /// [`ListenError::File`].
    pub fn unix(path: &Path, allowed: &[u32]) -> Result<Self, ListenError> {
        let mode = if allowed.is_empty() { 0o600 } else { 0o666 };
        let (file, socket) = SocketFile::bind(path, BACKLOG, rustix::fs::Mode::from_raw_mode(mode))?;
        Ok(Self {
            socket,
            transport: Transport::Unix,
            address: format!("unix:{}", path.display()),
            _file: Some(file),
        })
    }

    /// The first of these addresses that can be had.
    ///
    /// # Errors
    /// [`ListenError::Tcp`].
    pub fn tcp(name: &str, addresses: &[SocketAddr]) -> Result<Self, ListenError> {
        let fault = |source| ListenError::Tcp {
            address: name.to_owned(),
            source,
        };
        let listener = TcpListener::bind(addresses).map_err(fault)?;
        listener.set_nonblocking(true).map_err(fault)?;
        let address = listener.local_addr().map_err(fault)?;
        Ok(Self {
            socket: listener.into(),
            transport: Transport::Tcp,
            address: format!("tcp:{address}"),
            _file: None,
        })
    }

    /// A socket that somebody else made and handed over; its file, if any, stays.
    ///
    /// # Errors
    /// [`ListenError::Inherited`] for what does not listen.
    pub fn inherited(socket: OwnedFd) -> Result<Self, ListenError> {
        use std::os::fd::AsRawFd as _;
        let number = socket.as_raw_fd();
        let fault = |why: &str| ListenError::Inherited {
            number,
            why: why.to_owned(),
        };
        let refused = |error: Errno| fault(&format!("cannot be used: {error}"));
        if !sockopt::socket_acceptconn(&socket).map_err(|_| fault("is no socket"))? {
            return Err(fault("does not listen"));
        }
        let address = rustix::net::getsockname(&socket).map_err(refused)?;
        let transport = match sockopt::socket_domain(&socket).map_err(refused)? {
            AddressFamily::UNIX => Transport::Unix,
            AddressFamily::INET | AddressFamily::INET6 => Transport::Tcp,
            _ => return Err(fault("is neither a Unix socket nor TCP")),
        };
        rustix::io::ioctl_fionbio(&socket, true).map_err(refused)?;
        Ok(Self {
            socket,
            transport,
            address: match SocketAddr::try_from(address) {
                Ok(address) => format!("tcp:{address}"),
                Err(_) => format!("descriptor {number}"),
            },
            _file: None,
        })
    }

    /// What it is.
    #[must_use]
    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// Where clients find it.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The port of TCP.
    #[must_use]
    pub fn local_address(&self) -> Option<SocketAddr> {
        let address = rustix::net::getsockname(&self.socket).ok()?;
        SocketAddr::try_from(address).ok()
    }

    /// The next client; none when it has gone meanwhile.
    pub(super) fn accept(&self) -> io::Result<Option<Peer>> {
        match accept_with(&self.socket, SocketFlags::CLOEXEC) {
            Ok(socket) => {
                let name = self.prepare(&socket);
                Ok(Some(Peer::socket(self.transport, name, socket)))
            }
            Err(
                Errno::AGAIN
                | Errno::INTR
                | Errno::CONNABORTED
                | Errno::PROTO
                | Errno::PERM
                | Errno::NETDOWN
                | Errno::HOSTDOWN
                | Errno::HOSTUNREACH
                | Errno::NETUNREACH,
            ) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// What a client's socket needs, and its name for the log.
    fn prepare(&self, socket: &OwnedFd) -> String {
        if self.transport == Transport::Unix {
            return match sockopt::socket_peercred(socket) {
                Ok(peer) => format!("pid:{}", peer.pid.as_raw_nonzero()),
                Err(_) => "unix".to_owned(),
            };
        }
        // Small messages, and machines that vanish. None of it is worth a refusal.
        let _ = sockopt::set_tcp_nodelay(socket, true);
        let _ = sockopt::set_socket_keepalive(socket, true);
        let _ = sockopt::set_tcp_keepidle(socket, Duration::from_secs(30));
        let _ = sockopt::set_tcp_keepintvl(socket, Duration::from_secs(10));
        let _ = sockopt::set_tcp_keepcnt(socket, 3);
        rustix::net::getpeername(socket)
            .ok()
            .flatten()
            .and_then(|address: SocketAddrAny| SocketAddr::try_from(address).ok())
            .map_or_else(|| "tcp".to_owned(), |address| address.to_string())
    }

    /// The user of a client on a Unix socket, if that may not connect: only the server's own, root
    /// and those that are named may.
    pub(super) fn stranger(&self, peer: &Peer, allowed: &[u32]) -> Option<String> {
        if self.transport != Transport::Unix {
            return None;
        }
        let own = rustix::process::geteuid().as_raw();
        match peer.uid() {
            Some(uid) if uid == own || uid == 0 || allowed.contains(&uid) => None,
            Some(uid) => Some(uid.to_string()),
            None => Some("unknown".to_owned()),
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
