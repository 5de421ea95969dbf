//! A connection that both sides have agreed on, and the program behind it where there is one.

use std::path::Path;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};

use crate::event::Stream;
use crate::plan::SidecarAddress;
use crate::process::{Cancel, Message, OnStderr, Peer, PeerPipes};
use crate::session::VmError;
use crate::sidecar::HandshakeOk;

use super::greeting::{Pace, shake_hands};
use super::link::Link;
use super::transport::Transport;

/// Where the stderr of a program that is spoken with goes while a tool runs there.
type Spill = Arc<Mutex<Option<SyncSender<Message>>>>;

/// A connection after its handshake.
pub(in crate::session) struct Connection {
    // Before the program: it is to see the end of its stdin first.
    pub(in crate::session) link: Arc<Link>,
    /// What the other side answered the handshake with.
    pub(in crate::session) answer: HandshakeOk,
    spill: Spill,
    peer: Option<Peer>,
}

impl Connection {
    /// Connects and shakes hands.
    pub(in crate::session) fn open(
        address: &SidecarAddress,
        token_file: Option<&Path>,
        cancel: &Cancel,
    ) -> Result<Self, VmError> {
        let spill = Spill::default();
        let transport = Transport::open(address, spilling(&spill))?;
        Self::agreed(transport, spill, address, token_file, &Pace::default(), cancel)
    }

    /// Shakes hands over the standard streams of a program; `name` is what it is called.
    pub(in crate::session) fn with_peer(
        peer: Peer,
        pipes: PeerPipes,
        name: &SidecarAddress,
        pace: &Pace,
        cancel: &Cancel,
    ) -> Result<Self, VmError> {
        let transport = Transport::of_peer(peer, pipes);
        Self::agreed(transport, Spill::default(), name, None, pace, cancel)
    }

    /// Over a socket that is connected already.
    #[cfg(test)]
    pub(super) fn over(
        socket: std::os::fd::OwnedFd,
        address: &SidecarAddress,
        cancel: &Cancel,
    ) -> Result<Self, VmError> {
        let transport = Transport::of_socket(socket).map_err(|source| VmError::Ipc {
            message: "cannot use the socket".to_owned(),
            source: Some(source),
        })?;
        Self::agreed(transport, Spill::default(), address, None, &Pace::default(), cancel)
    }

    fn agreed(
        transport: Transport,
        spill: Spill,
        address: &SidecarAddress,
        token_file: Option<&Path>,
        pace: &Pace,
        cancel: &Cancel,
    ) -> Result<Self, VmError> {
        let mut peer = transport.peer;
        let link = Link::new(transport.reader, transport.writer).map_err(|source| VmError::Ipc {
            message: "cannot start a thread".to_owned(),
            source: Some(source),
        })?;
        let answer = shake_hands(&link, address, token_file, pace, cancel);
        let answer = answer.map_err(|error| with_last_words(error, &mut peer))?;
        Ok(Self {
            link,
            answer,
            spill,
            peer,
        })
    }

    /// Hands what the program behind it says on its stderr on as a tool's, or nowhere.
    pub(in crate::session) fn spill(&self, to: Option<SyncSender<Message>>) {
        *self.spill.lock().unwrap_or_else(PoisonError::into_inner) = to;
    }

    /// How the program that is spoken with ended, where it has.
    pub(in crate::session) fn last_words(&mut self) -> Option<String> {
        self.peer.as_mut().and_then(Peer::end_in_words)
    }

    /// What the program that is spoken with said before it ended explains more than a closed pipe.
    pub(in crate::session) fn with_last_words(&mut self, error: VmError) -> VmError {
        with_last_words(error, &mut self.peer)
    }
}

fn spilling(spill: &Spill) -> OnStderr {
    let spill = Arc::clone(spill);
    Box::new(move |bytes| {
        let messages = spill.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(messages) = messages {
            let _ = messages.send(Message::Output(Stream::Stderr, bytes.to_vec()));
        }
    })
}

fn with_last_words(error: VmError, peer: &mut Option<Peer>) -> VmError {
    let Some(words) = peer.as_mut().and_then(Peer::end_in_words) else {
        return error;
    };
    match error {
        VmError::Ipc { message, source } => VmError::Ipc {
            message: format!("{message}; {words}"),
            source,
        },
        VmError::Protocol(message) => VmError::Protocol(format!("{message}; {words}")),
        other => other,
    }
}
