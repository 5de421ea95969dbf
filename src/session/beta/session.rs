//! The sidecar backend as the runner uses it.

use std::ffi::OsStr;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::event::Stream;
use crate::guest_fs::{GuestFsOps, logical_path_to_guest};
use crate::plan::{Require, WorkspaceMode};
use crate::process::{Cancel, Message, OnStderr, Peer, Running, ToolCommand};
use crate::session::guest_tree::{Outputs, put_inputs};
use crate::session::staged_tree::StagedTree;
use crate::session::{Context, Readiness, Session, VmError};
use crate::sidecar::{Capability, Direction, ErrorCode, Reply, Request, SessionShutdown, SyncRequest};
use crate::vfs::{Vfs, VfsPath};
use crate::workspace::{Baseline, SyncError};

use super::exec;
use super::files::RemoteFiles;
use super::greeting::{Begun, begin, candidates, failed, shake_hands};
use super::link::{Broken, CallError, Link};
use super::settings::BetaSettings;
use super::transport::{Transport, in_words};

/// How long the sidecar may take to bring a tree in order that it shares.
const SYNC: Duration = Duration::from_secs(300);
/// How long the farewell may take.
const FAREWELL: Duration = Duration::from_secs(5);
/// What the file of the proof is called.
const PROOF: &str = ".devshell-proof-";

/// Where the stderr of a program that is spoken with goes while a tool runs there.
type Spill = Arc<Mutex<Option<SyncSender<Message>>>>;

/// A session at a sidecar.
pub struct BetaSession {
    settings: BetaSettings,
    connected: Option<Connected>,
    staged: Option<StagedTree>,
    /// In guest mode.
    outputs: Option<Outputs>,
    /// Whether a lost connection was made anew already.
    reconnected: bool,
    /// Why the connection was lost, once that was noticed.
    loss: Option<Broken>,
}

/// A connection with its session.
struct Connected {
    // Before the program: it is to see the end of its stdin first.
    link: Arc<Link>,
    begun: Begun,
    spill: Spill,
    peer: Option<Peer>,
}

impl BetaSession {
    /// A session that nothing was done for yet.
    #[must_use]
    pub fn new(settings: BetaSettings) -> Self {
        Self {
            settings,
            connected: None,
            staged: None,
            outputs: None,
            reconnected: false,
            loss: None,
        }
    }

    /// Its settings.
    #[must_use]
    pub fn settings(&self) -> &BetaSettings {
        &self.settings
    }

    /// Access to the guest's files, with the session's mount; `None` before `ensure_ready`, and
    /// where the Vfs is the truth.
    pub fn guest_files(&mut self) -> Option<(Box<dyn GuestFsOps + '_>, String)> {
        if self.settings.mode != WorkspaceMode::Guest {
            return None;
        }
        let mount = self.settings.guest.guest_workspace.clone();
        let files = self.files()?;
        Some((Box::new(files), mount))
    }

    fn files(&self) -> Option<RemoteFiles> {
        let connected = self.connected.as_ref()?;
        Some(RemoteFiles::new(
            Arc::clone(&connected.link),
            connected.begun.id.clone(),
            self.settings.guest.guest_workspace.clone(),
        ))
    }

    /// Connects, shakes hands and begins a session in the first folder that will do.
    fn connect(&self, cx: &mut Context) -> Result<Connected, VmError> {
        let mut first = None;
        for staging in candidates(self.settings.session_staging.as_deref(), &self.settings.tree) {
            match self.connect_in(&staging, cx) {
                Ok(connected) => return Ok(connected),
                Err(NotHad::Folder(error)) => {
                    first.get_or_insert(error);
                }
                Err(NotHad::Sidecar(error)) => return Err(error),
            }
        }
        Err(first.unwrap_or_else(not_ready))
    }

    fn connect_in(&self, staging: &Path, cx: &mut Context) -> Result<Connected, NotHad> {
        let address = &self.settings.address;
        let spill = Spill::default();
        let transport = Transport::open(address, spilling(&spill)).map_err(NotHad::Sidecar)?;
        let mut peer = transport.peer;
        let link = Link::new(transport.reader, transport.writer).map_err(|source| {
            NotHad::Sidecar(VmError::Ipc {
                message: "cannot start a thread".to_owned(),
                source: Some(source),
            })
        })?;
        let answer = shake_hands(&link, address, self.settings.token_file.as_deref(), cx.cancel)
            .map_err(|error| NotHad::Sidecar(with_last_words(error, &mut peer)))?;
        if !link.has(Capability::ExecStream) && !self.reconnected {
            cx.emitter.warn(format!(
                "{} ({} {}) speaks version 1 of the protocol only: output comes at the end of a tool or at the sidecar \
                 itself, a tool is stopped only by hanging up, and what it leaves running is not known",
                in_words(address),
                answer.server,
                answer.server_version
            ));
        }
        let guest = &self.settings.guest.guest_workspace;
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
        if self.settings.mode == WorkspaceMode::Sync {
            self.prove(&connected, cx.cancel)?;
        }
        Ok(connected)
    }

    /// That both sides see the same folder: what is written here is read there.
    fn prove(&self, connected: &Connected, cancel: &Cancel) -> Result<(), NotHad> {
        let tree = &self.settings.tree;
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
        let mount = &self.settings.guest.guest_workspace;
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
        let shared = self.settings.tree.parent().unwrap_or(&self.settings.tree);
        VmError::Ipc {
            message: format!(
                "{} does not see the staging folder `{}` as `{tried}` ({why}): share `{}` with it (for a container: \
                 `-v {}:/srv/ws`, and `--root /srv/ws` for the sidecar) and say in vm.beta.session_staging where it \
                 appears there, or let the sidecar's own tree be the truth (`--workspace-mode guest`)",
                in_words(&self.settings.address),
                self.settings.tree.display(),
                shared.display(),
                shared.display()
            ),
            source: None,
        }
    }

    /// Says to the sidecar which way the tree goes.
    fn sync(&self, direction: Direction, cancel: &Cancel) -> Result<(), VmError> {
        let Some(connected) = &self.connected else {
            return Err(not_ready());
        };
        let request = SyncRequest {
            session_id: connected.begun.id.clone(),
            direction,
            vfs_cwd_leaf: String::new(),
            manifest: None,
        };
        let address = &self.settings.address;
        match connected
            .link
            .call(Request::SyncRequest(request), Some(SYNC), &|| !cancel.is_raised())
        {
            Ok(Reply::SyncOk(_)) => Ok(()),
            Ok(other) => Err(failed(
                address,
                "sync_request",
                CallError::Unexpected(super::link::of_reply(&other)),
            )),
            Err(error) => Err(failed(address, "sync_request", error)),
        }
    }

    /// The connection, made anew once where nothing was running when it broke.
    fn usable(&mut self) -> Result<&Connected, VmError> {
        let broken = self.connected.as_ref().and_then(|connected| connected.link.broken());
        if let Some(broken) = broken {
            if self.reconnected || matches!(broken, Broken::Protocol(_)) {
                self.loss = Some(broken.clone());
                return Err(lost(&broken));
            }
            self.reconnected = true;
            // Dropped first: a program that is spoken with is started anew.
            self.connected = None;
            let mut nobody = Silent;
            let mut emitter = crate::event::Emitter::new(&mut nobody);
            let cancel = Cancel::new();
            let mut cx = Context {
                emitter: &mut emitter,
                cancel: &cancel,
                lock: None,
            };
            match self.connect(&mut cx) {
                Ok(connected) => self.connected = Some(connected),
                Err(error) => {
                    self.loss = Some(broken.clone());
                    let (Broken::Lost(why) | Broken::Protocol(why)) = broken;
                    return Err(VmError::Lost {
                        message: format!("the sidecar was lost ({why}) and cannot be had again"),
                        source: Some(std::io::Error::other(error)),
                    });
                }
            }
        }
        self.connected.as_ref().ok_or_else(not_ready)
    }
}

/// Why there is no session.
enum NotHad {
    /// The folder will not do; another may.
    Folder(VmError),
    /// There is no sidecar to speak with.
    Sidecar(VmError),
}

/// Nobody wants to hear it.
struct Silent;

impl crate::event::EventSink for Silent {
    fn emit(&mut self, _: &crate::event::Event) -> std::io::Result<()> {
        Ok(())
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

fn not_ready() -> VmError {
    VmError::Lost {
        message: "the session is not ready".to_owned(),
        source: None,
    }
}

fn lost(broken: &Broken) -> VmError {
    match broken {
        Broken::Lost(why) => VmError::Lost {
            message: format!("the sidecar was lost: {why}"),
            source: None,
        },
        Broken::Protocol(what) => VmError::Protocol(format!("the sidecar does not speak the protocol: {what}")),
    }
}

impl Session for BetaSession {
    fn ensure_ready(&mut self, vfs: &Vfs, _: &VfsPath, cx: &mut Context) -> Result<Readiness, VmError> {
        let tree = self.settings.tree.clone();
        if self.settings.mode == WorkspaceMode::Sync {
            crate::sys::fs::make_private_dirs(&tree).map_err(|source| {
                VmError::Sync(SyncError::Io {
                    action: "make",
                    path: tree.clone(),
                    source,
                })
            })?;
        }
        let connected = self.connect(cx)?;
        let answer = connected.begun.answer.clone();
        self.connected = Some(connected);
        let isolation = if answer.contained.unwrap_or(false) {
            Require::Processes
        } else {
            Require::None
        };
        if isolation < self.settings.guest.require {
            return Err(VmError::Sandbox {
                message: format!(
                    "sandbox.require is `{}`, and of {} it is known that it reaches `{}`{}",
                    self.settings.guest.require.word(),
                    in_words(&self.settings.address),
                    isolation.word(),
                    answer.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default()
                ),
                source: None,
            });
        }
        match self.settings.mode {
            WorkspaceMode::Sync => {
                self.staged = Some(StagedTree::new(
                    &self.settings.staging(),
                    self.settings.rules()?,
                    vfs,
                    cx,
                )?);
                self.sync(Direction::PushToGuest, cx.cancel)?;
            }
            WorkspaceMode::Guest => self.put_in(vfs, cx)?,
        }
        Ok(Readiness {
            strategy: None,
            isolation,
            why: answer.why,
        })
    }

    fn start_tool(
        &mut self,
        _: &mut Vfs,
        command: &ToolCommand,
        messages: SyncSender<Message>,
    ) -> Result<Box<dyn Running>, VmError> {
        let cwd = logical_path_to_guest(&self.settings.guest.guest_workspace, command.cwd.as_os_str())
            .map_err(|error| VmError::Config(error.to_string()))?;
        let connected = self.usable()?;
        let spills = !connected.link.has(Capability::ExecStream);
        *connected.spill.lock().unwrap_or_else(PoisonError::into_inner) = spills.then(|| messages.clone());
        let tool = exec::start(&connected.link, &connected.begun.id, cwd, command, messages);
        match tool {
            Ok(tool) => Ok(Box::new(tool)),
            Err(broken) => {
                let error = lost(&broken);
                self.loss = Some(broken);
                Err(error)
            }
        }
    }

    fn exists(&self, path: &VfsPath) -> bool {
        match (&self.staged, self.settings.mode) {
            (Some(staged), WorkspaceMode::Sync) => path.under(staged.tree()).symlink_metadata().is_ok(),
            _ => self.exists_in_guest(path),
        }
    }

    fn loss(&self) -> Option<VmError> {
        let broken = self.loss.clone();
        let broken = broken.or_else(|| self.connected.as_ref().and_then(|connected| connected.link.broken()))?;
        Some(lost(&broken))
    }

    fn checkpoint(&mut self, cx: &mut Context) -> Result<bool, VmError> {
        match &mut self.staged {
            Some(staged) => staged.checkpoint(cx).map(|()| true),
            None => Ok(false),
        }
    }

    fn roll_back(&mut self, cx: &mut Context) -> Result<(), VmError> {
        match &mut self.staged {
            Some(staged) => staged.roll_back(cx),
            None => Ok(()),
        }
    }

    fn collect(&mut self, vfs: &mut Vfs, cx: &mut Context) -> Result<Baseline, VmError> {
        if self.settings.mode == WorkspaceMode::Guest {
            return self.take_out(vfs, cx);
        }
        // Where the sidecar was lost the folder is there all the same, and what it holds is worth keeping.
        if self.loss().is_none() {
            self.sync(Direction::PullFromGuest, cx.cancel)?;
        }
        match &mut self.staged {
            Some(staged) => staged.collect(vfs, cx),
            None => Err(not_ready()),
        }
    }

    fn release(&mut self, _: &mut Context) -> Result<(), VmError> {
        self.staged = None;
        self.outputs = None;
        let Some(connected) = self.connected.take() else {
            return Ok(());
        };
        if connected.link.broken().is_some() {
            return Ok(());
        }
        let request = SessionShutdown {
            session_id: connected.begun.id.clone(),
            stop_vm: false,
        };
        let farewell = connected
            .link
            .call(Request::SessionShutdown(request), Some(FAREWELL), &|| true);
        connected.link.hang_up();
        drop(connected.peer);
        match farewell {
            Ok(_) => Ok(()),
            Err(error) => Err(failed(&self.settings.address, "session_shutdown", error)),
        }
    }
}

impl BetaSession {
    fn exists_in_guest(&self, path: &VfsPath) -> bool {
        let mount = &self.settings.guest.guest_workspace;
        let (Some(mut files), Ok(guest)) = (self.files(), logical_path_to_guest(mount, path.as_os_str())) else {
            return false;
        };
        // Version 1 has no question for this: the folder's names tell.
        let (Some(parent), Some(name)) = (Path::new(&guest).parent(), Path::new(&guest).file_name()) else {
            return true;
        };
        files
            .list_dir(&parent.to_string_lossy())
            .is_ok_and(|names| names.iter().any(|other| other.as_bytes() == name.as_bytes()))
    }

    /// The tools' folder in the guest's own tree.
    fn guest_folder(&self, workspace: &VfsPath) -> Result<PathBuf, VmError> {
        let mount = &self.settings.guest.guest_workspace;
        let path = logical_path_to_guest(mount, workspace.as_os_str());
        path.map(PathBuf::from)
            .map_err(|error| VmError::Config(error.to_string()))
    }

    fn put_in(&mut self, vfs: &Vfs, cx: &mut Context) -> Result<(), VmError> {
        let folder = self.guest_folder(&vfs.workspace())?;
        let (guest, here) = (&self.settings.guest, &self.settings.folder);
        self.outputs = Some(Outputs::note(&guest.outputs, here, vfs, cx)?);
        let mut files = self.files().ok_or_else(not_ready)?;
        put_inputs(&guest.inputs, here, &mut files, &folder, vfs, cx)
    }

    fn take_out(&mut self, vfs: &mut Vfs, cx: &mut Context) -> Result<Baseline, VmError> {
        let folder = self.guest_folder(&vfs.workspace())?;
        let (Some(mut files), Some(outputs)) = (self.files(), self.outputs.as_mut()) else {
            return Err(not_ready());
        };
        outputs.collect(&mut files, &folder, vfs, cx)
    }
}
