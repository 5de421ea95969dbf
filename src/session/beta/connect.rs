//! From an address to a session that has begun.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::guest_fs::GuestFsOps as _;
use crate::plan::WorkspaceMode;
use crate::process::Cancel;
use crate::session::sidecar::{Begun, CallError, Connection, Pace, Place, RemoteFiles, begin, failed, in_words};
use crate::session::{Context, VmError};
use crate::sidecar::{Capability, ErrorCode, Request, SessionShutdown, TransferFolder};
use crate::workspace::SyncError;

use super::session::{BetaSession, FAREWELL};

/// What the file of the proof is called.
const PROOF: &str = ".devshell-proof-";

/// A connection with its session.
pub(super) struct Connected {
    pub(super) connection: Connection,
    pub(super) begun: Begun,
}

/// Why a folder is not the one that both sides share.
enum NotHad {
    /// This one will not do; another may.
    Folder(Box<Connection>, VmError),
    /// There is no sidecar to speak with.
    Sidecar(VmError),
}

impl BetaSession {
    /// Connects, shakes hands and begins a session: in the first folder that both sides share, else, where the tree
    /// can be carried over the connection, in one of the sidecar's own.
    pub(super) fn connect(&self, cx: &mut Context) -> Result<Connected, VmError> {
        if let Some(state) = self.state() {
            // What was carried once lies there, and nowhere else.
            let connection = self.open(cx)?;
            return self.begin_apart(connection, Some(state.to_owned()), cx.cancel);
        }
        let mut first = None;
        for staging in candidates(self.settings().session_staging.as_deref(), &self.settings().tree) {
            match self.connect_in(&staging, cx) {
                Ok(connected) => return Ok(connected),
                Err(NotHad::Folder(connection, error)) => {
                    let error = first.map_or(error, |(_, error)| error);
                    first = Some((connection, error));
                }
                Err(NotHad::Sidecar(error)) => return Err(error),
            }
        }
        let (connection, error) = first.ok_or_else(VmError::not_ready)?;
        let may_carry = self.settings().mode == WorkspaceMode::Sync && !self.is_anew();
        if may_carry && connection.link.has(Capability::Transfer) {
            return self.begin_apart(*connection, None, cx.cancel);
        }
        Err(error)
    }

    /// A session in a folder of the sidecar's own, which is that of this workspace.
    fn begin_apart(
        &self,
        mut connection: Connection,
        state: Option<String>,
        cancel: &Cancel,
    ) -> Result<Connected, VmError> {
        let address = &self.settings().address;
        let folder = TransferFolder {
            key: self.settings().key_afar(),
            state: state.clone(),
        };
        let guest = &self.settings().guest.guest_workspace;
        match begin(&connection.link, Place::Apart(folder), guest, &Pace::default(), cancel) {
            Ok(begun) if state.is_some() && begun.answer.state != state => Err(VmError::Lost {
                message: format!(
                    "{} does not have the tree any more that was carried there",
                    in_words(address)
                ),
                source: None,
            }),
            Ok(begun) => Ok(Connected { connection, begun }),
            Err(CallError::Refused(refused)) if refused.code == ErrorCode::SessionExists => Err(VmError::Lost {
                message: format!("{}: {}", in_words(address), refused.message),
                source: None,
            }),
            Err(error) => Err(connection.with_last_words(failed(address, "session_start", error))),
        }
    }

    fn open(&self, cx: &mut Context) -> Result<Connection, VmError> {
        let address = &self.settings().address;
        let connection = Connection::open(address, self.settings().token_file.as_deref(), cx.cancel)?;
        if !connection.link.has(Capability::ExecStream) && !self.is_anew() {
            cx.emitter.warn(format!(
                "{} ({} {}) speaks version 1 of the protocol only: output comes at the end of a tool or at the sidecar \
                 itself, a tool is stopped only by hanging up, and what it leaves running is not known",
                in_words(address),
                connection.answer.server,
                connection.answer.server_version
            ));
        }
        Ok(connection)
    }

    fn connect_in(&self, staging: &Path, cx: &mut Context) -> Result<Connected, NotHad> {
        let address = &self.settings().address;
        let mut connection = self.open(cx).map_err(NotHad::Sidecar)?;
        let guest = &self.settings().guest.guest_workspace;
        let staging_dir = staging.to_string_lossy();
        let place = Place::Shared(&staging_dir);
        let begun = match begin(&connection.link, place, guest, &Pace::default(), cx.cancel) {
            Ok(begun) => begun,
            Err(CallError::Refused(refused))
                if matches!(refused.code, ErrorCode::BadStaging | ErrorCode::Forbidden) =>
            {
                let error = self.no_folder(&format!("{}: {}", refused.code, refused.message), &staging_dir);
                return Err(NotHad::Folder(Box::new(connection), error));
            }
            Err(error) => {
                let error = failed(address, "session_start", error);
                return Err(NotHad::Sidecar(connection.with_last_words(error)));
            }
        };
        let connected = Connected { connection, begun };
        if self.settings().mode == WorkspaceMode::Sync
            && let Err(unlike) = self.prove(&connected, cx.cancel)?
        {
            let request = SessionShutdown {
                session_id: connected.begun.id.clone(),
                stop_vm: false,
            };
            let connection = connected.connection;
            // One that does not even answer that is met again by what comes next.
            let _ = connection
                .link
                .call(Request::SessionShutdown(request), Some(FAREWELL), &|| {
                    !cx.cancel.is_raised()
                });
            return Err(NotHad::Folder(Box::new(connection), unlike));
        }
        Ok(connected)
    }

    /// That both sides see the same folder: what is written here is read there. The inner error says why it is none.
    fn prove(&self, connected: &Connected, cancel: &Cancel) -> Result<Result<(), VmError>, NotHad> {
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
        let secret = crate::sys::random::token().into_bytes();
        std::io::Write::write_all(&mut marker.as_file(), &secret).map_err(io("write into"))?;
        // The server may be another user.
        crate::sys::fs::set_mode_fd(marker.as_file(), 0o644).map_err(io("write into"))?;
        let name = marker.path().file_name().and_then(OsStr::to_str).unwrap_or_default();
        let mount = &self.settings().guest.guest_workspace;
        let path = format!("{}/{name}", mount.trim_end_matches('/'));
        let mut files = RemoteFiles::new(
            Arc::clone(&connected.connection.link),
            connected.begun.id.clone(),
            mount.clone(),
            cancel,
        );
        let seen = files.read_file(&path);
        if cancel.is_raised() {
            return Err(NotHad::Sidecar(VmError::Interrupted));
        }
        let unlike = |why: &str| Err(self.no_folder(why, &connected.begun.staging_dir));
        Ok(match seen {
            Ok(bytes) if bytes == secret => Ok(()),
            Ok(_) => unlike("it holds something else there"),
            Err(error) => unlike(&error.to_string()),
        })
    }

    /// That the staging is not shared, with the ways out.
    fn no_folder(&self, why: &str, tried: &str) -> VmError {
        let shared = self.settings().tree.parent().unwrap_or(&self.settings().tree);
        if self.settings().mode == WorkspaceMode::Guest {
            return VmError::Ipc {
                message: format!(
                    "{} has no folder `{tried}` that a session may have ({why}): make it there, or say in \
                     vm.beta.session_staging where the folder of its own tree lies that the tools are to work in",
                    in_words(&self.settings().address)
                ),
                source: None,
            };
        }
        VmError::Ipc {
            message: format!(
                "{} does not see the staging folder `{}` as `{tried}` ({why}): share `{}` with it (for a container: \
                 `-v {}:/srv/ws`, and `--root /srv/ws` for the sidecar) and say in vm.beta.session_staging where it \
                 appears there, or let the sidecar's own tree be the truth (`--workspace-mode guest`), or use a sidecar \
                 that the tree can be carried to (this devshell's own `devshell-vm` offers `transfer`)",
                in_words(&self.settings().address),
                self.settings().tree.display(),
                shared.display(),
                shared.display()
            ),
            source: None,
        }
    }
}

/// Where the staging folder of a workspace may lie for the sidecar, in the order of trial:
/// `session_staging` names what `vm.workspace_parent` is there, or that very folder.
fn candidates(session_staging: Option<&str>, staging: &Path) -> Vec<PathBuf> {
    match session_staging {
        None => vec![staging.to_path_buf()],
        Some(there) => {
            let key = staging.file_name().unwrap_or_default();
            vec![Path::new(there).join(key), PathBuf::from(there)]
        }
    }
}
