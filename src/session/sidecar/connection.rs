//! A connection that both sides have agreed on, and the program behind it where there is one.

use std::path::Path;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};

use crate::event::Stream;
use crate::plan::SidecarAddress;
use crate::process::{Cancel, Message, OnStderr, Peer, PeerPipes};
use crate::session::VmError;
use crate::sidecar::HandshakeOk;

use super::greeting::{Pace, agree, offer, presume};
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
        let patience = (&Pace::default(), cancel);
        Self::agreed(transport, spill, address, token_file, patience, |_| Ok(())).map(|(agreed, ())| agreed)
    }

    /// Shakes hands over the standard streams of a program that is known to be this very version; `name` is what it
    /// is called. What can be asked before it has answered is asked by `ahead`: each wait is a way there and back.
    pub(in crate::session) fn with_own_peer<T>(
        (peer, pipes): (Peer, PeerPipes),
        name: &SidecarAddress,
        pace: &Pace,
        cancel: &Cancel,
        ahead: impl FnOnce(&Arc<Link>) -> Result<T, VmError>,
    ) -> Result<(Self, T), VmError> {
        let transport = Transport::of_peer(peer, pipes);
        Self::agreed(transport, Spill::default(), name, None, (pace, cancel), |link| {
            presume(link);
            ahead(link)
        })
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
        let (spill, patience) = (Spill::default(), (&Pace::default(), cancel));
        Self::agreed(transport, spill, address, None, patience, |_| Ok(())).map(|(agreed, ())| agreed)
    }

    fn agreed<T>(
        transport: Transport,
        spill: Spill,
        address: &SidecarAddress,
        token_file: Option<&Path>,
        (pace, cancel): (&Pace, &Cancel),
        ahead: impl FnOnce(&Arc<Link>) -> Result<T, VmError>,
    ) -> Result<(Self, T), VmError> {
        let mut peer = transport.peer;
        let link = Link::new(transport.reader, transport.writer).map_err(|source| VmError::Ipc {
            message: "cannot start a thread".to_owned(),
            source: Some(source),
        })?;
        let greeted = offer(&link, address, token_file, pace).and_then(|offer| {
            let asked = ahead(&link)?;
            Ok((agree(&link, &offer, address, pace, cancel)?, asked))
        });
        let (answer, asked) = greeted.map_err(|error| {
            let error = with_last_words(error, &mut peer);
            // Whoever was to ask ahead may hold the link still, and the program waits for the end of its stdin.
            link.hang_up();
            error
        })?;
        let agreed = Self {
            link,
            answer,
            spill,
            peer,
        };
        Ok((agreed, asked))
    }

    /// Hands what the program behind it says on its stderr on as a tool's, or nowhere.
    pub(in crate::session) fn spill(&self, to: Option<SyncSender<Message>>) {
        *self.spill.lock().unwrap_or_else(PoisonError::into_inner) = to;
    }

    /// How the program that is spoken with ended, where it has.
    pub(in crate::session) fn last_words(&mut self) -> Option<String> {
        self.peer.as_mut().and_then(Peer::end_in_words)
    }

    /// Hangs up. Where nothing is under way, nothing depends on when the other side has ended, and what leads there
    /// does not wait for that.
    pub(in crate::session) fn part(self) {
        let is_idle = self.link.is_idle();
        self.link.hang_up();
        if let Some(peer) = self.peer.filter(|_| is_idle) {
            peer.dismiss();
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::sidecar::{AskedSession, Place};

    /// A peer that says what `script` has it say.
    fn scripted(script: &str) -> (Peer, PeerPipes) {
        let argv = ["sh", "-c", script].map(Into::into);
        Peer::start(&argv, Box::new(|_| {})).unwrap()
    }

    /// The folder that a session was begun in.
    fn begun(script: &str) -> Option<String> {
        let (name, pace, cancel) = (SidecarAddress::Stdio(Vec::new()), Pace::default(), Cancel::new());
        let greeted = Connection::with_own_peer(scripted(script), &name, &pace, &cancel, |link| {
            Ok(AskedSession::ask(link, Place::Shared("/srv/ws"), "/workspace").unwrap())
        });
        let (connection, asked) = greeted.ok()?;
        let begun = asked.begun(&connection.link, &pace, &cancel);
        begun.ok().map(|begun| begun.staging_dir)
    }

    const HELLO: &str = r#"{"op":"handshake_ok","version":1,"server":"s","capabilities":["request_id"]}"#;

    #[test]
    fn a_peer_that_is_known_need_not_have_answered_to_be_asked_more() {
        let session = r#"{"op":"session_ok","session_id":"x","id":2}"#;
        // It reads both requests before it says a word.
        let script = format!("read -r a; read -r b; echo '{HELLO}'; echo '{session}'; cat >/dev/null");
        assert_eq!(begun(&script).as_deref(), Some("/srv/ws"));
    }

    #[test]
    fn one_that_is_another_than_was_thought_is_found_out() {
        // It knows no ids, and answers in order.
        let hello = HELLO.replace(r#""request_id""#, "");
        let session = r#"{"op":"session_ok","session_id":"x"}"#;
        let script = format!("read -r a; read -r b; echo '{hello}'; echo '{session}'; cat >/dev/null");
        assert_eq!(begun(&script), None);
    }

    #[test]
    fn only_who_has_something_left_to_do_is_waited_for() {
        let place = tempfile::tempdir().unwrap();
        let end = place.path().join("end");
        let script = format!(
            "trap 'echo dismissed >{0}; exit' TERM; read -r a; echo '{HELLO}'; cat >/dev/null; sleep 0.3; echo of \
             itself >{0}",
            end.display()
        );
        for (is_asked, wanted) in [(false, "dismissed\n"), (true, "of itself\n")] {
            let (name, pace, cancel) = (SidecarAddress::Stdio(Vec::new()), Pace::default(), Cancel::new());
            let greeted = Connection::with_own_peer(scripted(&script), &name, &pace, &cancel, |_| Ok(()));
            let (connection, ()) = greeted.unwrap();
            let asked = is_asked.then(|| AskedSession::ask(&connection.link, Place::Shared("/srv/ws"), "/workspace"));
            connection.part();
            assert_eq!(std::fs::read_to_string(&end).unwrap(), wanted);
            drop(asked);
        }
    }
}
