//! The first exchanges with a sidecar: handshake and session.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use crate::plan::SidecarAddress;
use crate::process::Cancel;
use crate::session::VmError;
use crate::sidecar::{
    Capabilities, Capability, ErrorCode, ErrorReply, Handshake, HandshakeOk, MAX_KEEPALIVE_MS, MIN_KEEPALIVE_MS, Reply,
    Request, SessionOk, SessionStart, TransferFolder, VERSION,
};

use super::connection::Connection;
use super::link::{Agreed, Answer, Broken, CallError, Link};
use super::said::of_reply;
use super::transport::in_words;

/// How slow a sidecar may be.
#[derive(Debug, Clone)]
pub(in crate::session) struct Pace {
    /// How long an answer may take that costs it nothing.
    pub(in crate::session) prompt: Duration,
    /// After which silence this side holds it for gone.
    pub(in crate::session) silence: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            prompt: Duration::from_secs(20),
            silence: Duration::from_secs(30),
        }
    }
}

/// What the first request is called.
const HANDSHAKE: &str = "handshake";

/// What a sidecar says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Greeting {
    /// Its name and version.
    pub server: String,
    /// What it can do beyond version 1 of the protocol; empty for one that speaks nothing else.
    pub capabilities: Vec<String>,
}

/// Connects, shakes hands and hangs up: whether there is a sidecar that a run could use.
///
/// # Errors
/// [`VmError::Ipc`] and [`VmError::Protocol`] as a run would meet them.
pub fn greet(address: &SidecarAddress, token_file: Option<&Path>) -> Result<Greeting, VmError> {
    let connection = Connection::open(address, token_file, &Cancel::new())?;
    connection.link.hang_up();
    let answer = connection.answer;
    Ok(Greeting {
        server: format!("{} {}", answer.server, answer.server_version).trim().to_owned(),
        capabilities: answer.capabilities.unwrap_or_default(),
    })
}

/// Turns what went wrong with a request into an error of the session.
pub(in crate::session) fn failed(address: &SidecarAddress, asked: &str, error: CallError) -> VmError {
    let sidecar = in_words(address);
    let ipc = |message: String| VmError::Ipc { message, source: None };
    match error {
        CallError::Broken(Broken::Protocol(what)) => {
            VmError::Protocol(format!("{sidecar} does not speak the sidecar protocol: {what}"))
        }
        CallError::Unexpected(what) => VmError::Protocol(format!("{sidecar} answered `{asked}` with {what}")),
        CallError::Broken(Broken::Lost(why)) if asked == HANDSHAKE && matches!(address, SidecarAddress::Unix(_)) => {
            // Whom it does not know it says nothing to.
            let uid = crate::sys::fs::caller().0;
            ipc(format!(
                "{sidecar} was lost at `{asked}`: {why} (where another user has started it: with `--allow-uid {uid}`?)"
            ))
        }
        CallError::Broken(Broken::Lost(why)) => ipc(format!("{sidecar} was lost at `{asked}`: {why}")),
        CallError::Late => ipc(format!("{sidecar} did not answer `{asked}`")),
        CallError::Cancelled => VmError::Interrupted,
        CallError::Refused(ErrorReply { code, message }) => match code {
            ErrorCode::VersionMismatch => {
                VmError::Protocol(format!("{sidecar} speaks another version of the protocol: {message}"))
            }
            ErrorCode::Unauthorized => ipc(format!(
                "{sidecar} wants another token ({message}): vm.beta.token_file has to name the file that the sidecar \
                 was started with or has made"
            )),
            // What we send is well formed: somebody else is at the other end.
            ErrorCode::Parse | ErrorCode::Empty | ErrorCode::UnknownOp | ErrorCode::BadRequest => {
                VmError::Protocol(format!("{sidecar} does not understand `{asked}`: {message}"))
            }
            code => ipc(format!("{sidecar} refused `{asked}`: {code}: {message}")),
        },
    }
}

/// A handshake that was offered and has no answer yet.
pub(super) struct Offer(Receiver<Answer>);

/// Says what this side can do.
pub(super) fn offer(
    link: &Link,
    address: &SidecarAddress,
    token_file: Option<&Path>,
    pace: &Pace,
) -> Result<Offer, VmError> {
    let handshake = Handshake {
        version: VERSION,
        client: "devshell".to_owned(),
        client_version: env!("CARGO_PKG_VERSION").to_owned(),
        capabilities: Some(Capabilities::implemented().names()),
        token: token_file.map(read_token).transpose()?,
        keepalive_ms: u64::try_from(pace.silence.as_millis()).ok(),
    };
    let asked = link.ask(Request::Handshake(handshake));
    let (_, answers) = asked.map_err(|error| failed(address, HANDSHAKE, error))?;
    Ok(Offer(answers))
}

/// Takes it that the other side can do all that this side can, before it has said so.
pub(super) fn presume(link: &Link) {
    link.agree(Agreed {
        capabilities: Capabilities::implemented(),
        silence: None,
    });
}

/// Agrees on what both sides can do.
pub(super) fn agree(
    link: &Arc<Link>,
    Offer(answers): &Offer,
    address: &SidecarAddress,
    pace: &Pace,
    cancel: &Cancel,
) -> Result<HandshakeOk, VmError> {
    let reply = link
        .answer(answers, Some(pace.prompt), &|| !cancel.is_raised())
        .map_err(|error| failed(address, HANDSHAKE, error))?;
    let Reply::HandshakeOk(answer) = reply else {
        return Err(failed(address, HANDSHAKE, CallError::Unexpected(of_reply(&reply))));
    };
    if answer.version != VERSION {
        let why = format!("it answered version {}", answer.version);
        return Err(VmError::Protocol(format!("{}: {why}", in_words(address))));
    }
    let names = answer.capabilities.iter().flatten().map(String::as_str);
    let capabilities = Capabilities::implemented().agreed(Capabilities::from_names(names));
    let silence = answer.keepalive_ms.filter(|_| capabilities.has(Capability::Keepalive));
    if let Some(ms) = silence.filter(|ms| !(MIN_KEEPALIVE_MS..=MAX_KEEPALIVE_MS).contains(ms)) {
        let why = format!("it wants to count as gone after a silence of {ms} ms");
        return Err(VmError::Protocol(format!("{}: {why}", in_words(address))));
    }
    let silence = silence.map(Duration::from_millis);
    link.agree(Agreed { capabilities, silence });
    if let Some(silence) = silence {
        keep_alive(link, silence).map_err(|source| VmError::Ipc {
            message: "cannot start a thread".to_owned(),
            source: Some(source),
        })?;
    }
    Ok(answer)
}

fn read_token(path: &Path) -> Result<String, VmError> {
    let text = std::fs::read_to_string(path).map_err(|source| VmError::Ipc {
        message: format!("vm.beta.token_file `{}` cannot be read", path.display()),
        source: Some(source),
    })?;
    let token = text.strip_suffix('\n').unwrap_or(&text);
    Ok(token.strip_suffix('\r').unwrap_or(token).to_owned())
}

/// A sign of life three times in the agreed silence, as long as the link lives.
fn keep_alive(link: &Arc<Link>, silence: Duration) -> std::io::Result<()> {
    // Goes with the link, and wakes the thread then.
    let (lives, ended) = mpsc::channel();
    link.keep(lives);
    let link = Arc::downgrade(link);
    std::thread::Builder::new()
        .name("devshell-alive".to_owned())
        .spawn(move || {
            while ended.recv_timeout(silence / 3) == Err(RecvTimeoutError::Timeout) {
                let Some(link) = link.upgrade() else { return };
                if link.tell(Request::Ping, &[]).is_err() {
                    return;
                }
            }
        })?;
    Ok(())
}

/// A session that the sidecar has begun.
#[derive(Debug, Clone)]
pub(in crate::session) struct Begun {
    /// What every request repeats.
    pub(in crate::session) id: String,
    /// The folder that the sidecar works in, as it sees it.
    pub(in crate::session) staging_dir: String,
    /// What it says of it.
    pub(in crate::session) answer: SessionOk,
}

/// Where the tree of a session is to lie at the sidecar.
pub(in crate::session) enum Place<'a> {
    /// In this folder, which both sides share.
    Shared(&'a str),
    /// In one of the sidecar's own choice, which the tree is carried to.
    Apart(TransferFolder),
}

/// A session that was asked for and has no answer yet.
pub(in crate::session) struct AskedSession {
    /// What it is called, if it begins.
    pub(in crate::session) id: String,
    /// None where the sidecar has the choice.
    staging_dir: Option<String>,
    answers: Receiver<Answer>,
}

/// Begins a session.
pub(in crate::session) fn begin(
    link: &Link,
    place: Place,
    guest_workspace: &str,
    pace: &Pace,
    cancel: &Cancel,
) -> Result<Begun, CallError> {
    AskedSession::ask(link, place, guest_workspace)?.begun(link, pace, cancel)
}

impl AskedSession {
    /// Asks for a session.
    pub(in crate::session) fn ask(link: &Link, place: Place, guest_workspace: &str) -> Result<Self, CallError> {
        let id = format!("pid-{}", std::process::id());
        let (staging_dir, transfer) = match place {
            Place::Shared(folder) => (Some(folder.to_owned()), None),
            Place::Apart(folder) => (None, Some(folder)),
        };
        let start = SessionStart {
            session_id: id.clone(),
            staging_dir: staging_dir.clone().unwrap_or_default(),
            guest_workspace: guest_workspace.to_owned(),
            backend: Some("beta".to_owned()),
            backend_config: None,
            transfer,
        };
        let (_, answers) = link.ask(Request::SessionStart(start))?;
        Ok(Self {
            id,
            staging_dir,
            answers,
        })
    }

    /// Waits for it.
    pub(in crate::session) fn begun(self, link: &Link, pace: &Pace, cancel: &Cancel) -> Result<Begun, CallError> {
        let reply = link.answer(&self.answers, Some(pace.prompt), &|| !cancel.is_raised())?;
        let Reply::SessionOk(answer) = reply else {
            return Err(CallError::Unexpected(of_reply(&reply)));
        };
        let chosen = || answer.staging_dir.clone().filter(|_| answer.state.is_some());
        let Some(staging_dir) = self.staging_dir.or_else(chosen) else {
            return Err(CallError::Unexpected("session_ok that names no folder".to_owned()));
        };
        Ok(Begun {
            id: self.id,
            staging_dir,
            answer,
        })
    }
}
