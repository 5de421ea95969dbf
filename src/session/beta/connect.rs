//! From an address to a session that has begun.

use std::ffi::OsStr;
use std::io::Read as _;
use std::path::Path;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};

use crate::event::Stream;
use crate::guest_fs::GuestFsOps as _;
use crate::plan::WorkspaceMode;
use crate::process::{Cancel, Message, OnStderr, Peer};
use crate::session::{Context, VmError};
use crate::sidecar::{Capability, ErrorCode};
use crate::workspace::SyncError;

use super::files::RemoteFiles;
use super::greeting::{Begun, begin, candidates, failed, shake_hands};
use super::link::{CallError, Link};
use super::session::BetaSession;
use super::transport::{Transport, in_words};

/// What the file of the proof is called.
const PROOF: &str = ".devshell-proof-";

/// Where the stderr of a program that is spoken with goes while a tool runs there.
pub(super) type Spill = Arc<Mutex<Option<SyncSender<Message>>>>;

/// A connection with its session.
pub(super) struct Connected {
    // Before the program: it is to see the end of its stdin first.
    pub(super) link: Arc<Link>,
    pub(super) begun: Begun,
    pub(super) spill: Spill,
    pub(super) peer: Option<Peer>,
}

/// Why there is no session.
enum NotHad {
    /// The folder will not do; another may.
    Folder(VmError),
    /// There is no sidecar to speak with.
    Sidecar(VmError),
}

impl BetaSession {
    /// Connects, shakes hands and begins a session in the first folder that will do.
    pub(super) fn connect(&self, cx: &mut Context) -> Result<Connected, VmError> {
        let mut first = None;
        for staging in candidates(self.settings().session_staging.as_deref(), &self.settings().tree) {
            match self.connect_in(&staging, cx) {
                Ok(connected) => return Ok(connected),
                Err(NotHad::Folder(error)) => {
                    first.get_or_insert(error);
                }
                Err(NotHad::Sidecar(error)) => return Err(error),
            }
        }
        Err(first.unwrap_or_else(VmError::not_ready))
    }

    fn connect_in(&self, staging: &Path, cx: &mut Context) -> Result<Connected, NotHad> {
        let address = &self.settings().address;
        let spill = Spill::default();
        let transport = Transport::open(address, spilling(&spill)).map_err(NotHad::Sidecar)?;
        let mut peer = transport.peer;
        let link = Link::new(transport.reader, transport.writer).map_err(|source| {
            NotHad::Sidecar(VmError::Ipc {
                message: "cannot start a thread".to_owned(),
                source: Some(source),
            })
        })?;
        let answer = shake_hands(&link, address, self.settings().token_file.as_deref(), cx.cancel)
            .map_err(|error| NotHad::Sidecar(with_last_words(error, &mut peer)))?;
        if !link.has(Capability::ExecStream) && !self.is_anew() {
            cx.emitter.warn(format!(
                "{} ({} {}) speaks version 1 of the protocol only: output comes at the end of a tool or at the sidecar \
                 itself, a tool is stopped only by hanging up, and what it leaves running is not known",
                in_words(address),
                answer.server,
                answer.server_version
            ));
        }
        let guest = &self.settings().guest.guest_workspace;
        let staging_dir = staging.to_string_lossy();
        let begun = begin(&link, &staging_dir, guest, cx.cancel).map_err(|error| match error {
            CallError::Refused(refused) if matches!(refused.code, ErrorCode::BadStaging | ErrorCode::Forbidden) => {
                NotHad::Folder(self.no_folder(&format!("{}: {}", refused.code, refused.message), &staging_dir))
            }
            error => NotHad::Sidecar(with_last_words(failed(address, "session_start", error), &mut peer)),
        })?;
        let connected = Connected {
            link,
            begun,
            spill,
            peer,
        };
        if self.settings().mode == WorkspaceMode::Sync {
            self.prove(&connected, cx.cancel)?;
        }
        Ok(connected)
    }

    /// That both sides see the same folder: what is written here is read there.
    fn prove(&self, connected: &Connected, cancel: &Cancel) -> Result<(), NotHad> {
        let tree = &self.settings().tree;
        let io = |action: &'static str| {
            move |source| {
                NotHad::Sidecar(VmError::Sync(SyncError::Io {
                    action,
                    path: tree.clone(),
                    source,
                }))
            }
        };
        let marker = tempfile::Builder::new()
            .prefix(PROOF)
            .tempfile_in(tree)
            .map_err(io("write into"))?;
        let mut secret = [0; 32];
        std::fs::File::open("/dev/urandom")
            .and_then(|mut random| random.read_exact(&mut secret))
            .map_err(io("make a proof in"))?;
        std::io::Write::write_all(&mut marker.as_file(), &secret).map_err(io("write into"))?;
        // The server may be another user.
        crate::sys::fs::set_mode_fd(marker.as_file(), 0o644).map_err(io("write into"))?;
        let name = marker.path().file_name().and_then(OsStr::to_str).unwrap_or_default();
        let mount = &self.settings().guest.guest_workspace;
        let path = format!("{}/{name}", mount.trim_end_matches('/'));
        let mut files = RemoteFiles::new(Arc::clone(&connected.link), connected.begun.id.clone(), mount.clone());
        let seen = files.read_file(&path);
        if cancel.is_raised() {
            return Err(NotHad::Sidecar(VmError::Interrupted));
        }
        let unlike = |why: &str| NotHad::Folder(self.no_folder(why, &connected.begun.staging_dir));
        match seen {
            Ok(bytes) if bytes == secret => Ok(()),
            Ok(_) => Err(unlike("it holds something else there")),
            Err(error) => Err(unlike(&error.to_string())),
        }
    }

    /// That the staging is not shared, with both ways out.
    fn no_folder(&self, why: &str, tried: &str) -> VmError {
        let shared = self.settings().tree.parent().unwrap_or(&self.settings().tree);
        VmError::Ipc {
            message: format!(
                "{} does not see the staging folder `{}` as `{tried}` ({why}): share `{}` with it (for a container: \
                 `-v {}:/srv/ws`, and `--root /srv/ws` for the sidecar) and say in vm.beta.session_staging where it \
                 appears there, or let the sidecar's own tree be the truth (`--workspace-mode guest`)",
                in_words(&self.settings().address),
                self.settings().tree.display(),
                shared.display(),
                shared.display()
            ),
            source: None,
        }
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

/// What the program that is spoken with said before it ended explains more than a closed pipe.
pub(super) fn with_last_words(error: VmError, peer: &mut Option<Peer>) -> VmError {
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
