//! From an address to a session that has begun.

use std::ffi::OsStr;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::guest_fs::GuestFsOps as _;
use crate::plan::WorkspaceMode;
use crate::process::Cancel;
use crate::session::sidecar::{Begun, CallError, Connection, RemoteFiles, begin, failed, in_words};
use crate::session::{Context, VmError};
use crate::sidecar::{Capability, ErrorCode};
use crate::workspace::SyncError;

use super::session::BetaSession;

/// What the file of the proof is called.
const PROOF: &str = ".devshell-proof-";

/// A connection with its session.
pub(super) struct Connected {
    pub(super) connection: Connection,
    pub(super) begun: Begun,
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
        let mut connection =
            Connection::open(address, self.settings().token_file.as_deref(), cx.cancel).map_err(NotHad::Sidecar)?;
        if !connection.link.has(Capability::ExecStream) && !self.is_anew() {
            cx.emitter.warn(format!(
                "{} ({} {}) speaks version 1 of the protocol only: output comes at the end of a tool or at the sidecar \
                 itself, a tool is stopped only by hanging up, and what it leaves running is not known",
                in_words(address),
                connection.answer.server,
                connection.answer.server_version
            ));
        }
        let guest = &self.settings().guest.guest_workspace;
        let staging_dir = staging.to_string_lossy();
        let begun = begin(&connection.link, &staging_dir, guest, cx.cancel).map_err(|error| match error {
            CallError::Refused(refused) if matches!(refused.code, ErrorCode::BadStaging | ErrorCode::Forbidden) => {
                NotHad::Folder(self.no_folder(&format!("{}: {}", refused.code, refused.message), &staging_dir))
            }
            error => NotHad::Sidecar(connection.with_last_words(failed(address, "session_start", error))),
        })?;
        let connected = Connected { connection, begun };
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
        let mut files = RemoteFiles::new(
            Arc::clone(&connected.connection.link),
            connected.begun.id.clone(),
            mount.clone(),
        );
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
