//! `transfer` requests: the tree of a session is made equal to the client's, or gives what it holds. Each runs in a
//! thread of its own, so that the connection goes on being read.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::mirror::{Manifest, Mirror, MirrorError, Stream, Wire};
use crate::sidecar::{Addressed, Direction, ErrorCode, FsData, Reply, Transfer, TransferOk};
use crate::sys::fs::{open_beneath, own_dirs_beneath};
use crate::workspace::{Rules, SyncError};

use super::connection::Connection;
use super::paths::Below;
use super::refusal::Refusal;
use super::session::Session;

/// How many frames wait between the connection and the tree.
const WAITING: usize = 4;
/// How often a thread that waits for a frame looks whether the wait is still worth it.
const SLICE: Duration = Duration::from_millis(100);

/// The tree of a connection's session.
pub(super) struct Trees<'a> {
    connection: &'a Arc<Connection>,
    under_way: Option<UnderWay>,
}

/// A tree that is being carried.
struct UnderWay {
    id: u64,
    /// Where frames go; none once the client has said its last.
    frames: Option<SyncSender<Vec<u8>>>,
    give_up: Arc<AtomicBool>,
    /// None where the request was refused, and frames come all the same.
    thread: Option<JoinHandle<()>>,
}

impl<'a> Trees<'a> {
    pub(super) fn new(connection: &'a Arc<Connection>) -> Self {
        Self {
            connection,
            under_way: None,
        }
    }

    /// Whether a tree is under way for this id.
    pub(super) fn is_under_way(&self, id: u64) -> bool {
        self.under_way
            .as_ref()
            .is_some_and(|under_way| under_way.id == id && under_way.is_open())
    }

    /// Begins; the reply comes later. A client says its last frame also when this is refused.
    pub(super) fn begin(
        &mut self,
        session: Result<Arc<Session>, Refusal>,
        id: u64,
        request: Transfer,
    ) -> Result<(), Refusal> {
        if self.under_way.as_ref().is_some_and(UnderWay::is_open) {
            return Err(Refusal::bad_request(
                "another `transfer` is under way on this connection",
            ));
        }
        // Its last frame has come, so that it ends by itself.
        self.end_last();
        let (sender, frames) = sync_channel(WAITING);
        let give_up = Arc::new(AtomicBool::new(false));
        let mut under_way = UnderWay {
            id,
            frames: Some(sender),
            give_up: Arc::clone(&give_up),
            thread: None,
        };
        let started = self.start(session, id, request, frames, give_up);
        let refused = started.map(|thread| under_way.thread = Some(thread));
        self.under_way = Some(under_way);
        refused
    }

    fn start(
        &self,
        session: Result<Arc<Session>, Refusal>,
        id: u64,
        request: Transfer,
        frames: Receiver<Vec<u8>>,
        give_up: Arc<AtomicBool>,
    ) -> Result<JoinHandle<()>, Refusal> {
        let session = session?;
        if session.own_folder().is_none() {
            return Err(Refusal::bad_request(
                "a tree is carried only in a session that was begun with `transfer`",
            ));
        }
        let is_digest = |digest: &str| digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_digest(&request.digest) {
            return Err(Refusal::bad_request("`digest` is not 64 hexadecimal digits"));
        }
        let path = request
            .path_bytes()
            .ok_or_else(|| Refusal::bad_request("the field `guest_path` is missing, there twice, or no base64"))?;
        let below = session
            .below(&path)
            .map_err(|why| Refusal::bad_request(format!("guest_path cannot be used: {why}")))?;
        let rules = Rules::new(&request.ignore, &request.cache_dirs)
            .map_err(|error| Refusal::bad_request(error.to_string()))?;
        let job = Job {
            client: Client {
                connection: Arc::clone(self.connection),
                give_up,
            },
            session,
            id,
            request,
            below,
            rules,
            frames,
        };
        std::thread::Builder::new()
            .name("devshell-vm-tree".to_owned())
            .spawn(move || job.run())
            .map_err(|error| Refusal::new(ErrorCode::StagingIo, format!("no thread can be started: {error}")))
    }

    /// A frame of the tree that is under way.
    pub(super) fn data(&mut self, request: &FsData, raw: Vec<u8>) -> Result<(), Refusal> {
        let under_way = self.under_way.as_mut().filter(|under_way| under_way.id == request.id);
        let Some(frames) = under_way.and_then(|under_way| match request.eof {
            true => under_way.frames.take(),
            false => under_way.frames.clone(),
        }) else {
            return Err(Refusal::bad_request(format!(
                "no `transfer` is under way with the id {}",
                request.id
            )));
        };
        if !raw.is_empty() {
            // Where nobody listens any more the client has been told so, and what still comes is dropped.
            let _ = frames.send(raw);
        }
        Ok(())
    }

    fn end_last(&mut self) {
        if let Some(thread) = self.under_way.take().and_then(|mut under_way| under_way.thread.take()) {
            let _ = thread.join();
        }
    }
}

impl UnderWay {
    /// Whether the client's last frame is still to come.
    fn is_open(&self) -> bool {
        self.frames.is_some()
    }
}

impl Drop for Trees<'_> {
    fn drop(&mut self) {
        if let Some(under_way) = &mut self.under_way {
            under_way.give_up.store(true, Ordering::SeqCst);
            under_way.frames = None;
        }
        self.end_last();
    }
}

/// What the thread of a tree works on.
struct Job {
    session: Arc<Session>,
    id: u64,
    request: Transfer,
    below: Below,
    rules: Rules,
    frames: Receiver<Vec<u8>>,
    client: Client,
}

/// Who waits for a tree.
struct Client {
    connection: Arc<Connection>,
    give_up: Arc<AtomicBool>,
}

impl Client {
    /// Whether nobody waits for it any more.
    fn is_gone(&self) -> bool {
        self.give_up.load(Ordering::SeqCst) || self.connection.is_closing()
    }
}

impl Job {
    fn run(mut self) {
        let rules = std::mem::replace(&mut self.rules, Rules::carry_all());
        let result = self.carry(rules);
        let connection = &self.client.connection;
        let body = match result {
            Ok(done) => {
                connection.log().info(
                    "transferred",
                    &[
                        ("conn", &connection.number()),
                        ("direction", &format_args!("{:?}", self.request.direction)),
                        ("entries", &done.entries),
                        ("read", &done.read),
                        ("files", &done.files),
                        ("bytes", &done.bytes),
                        ("deleted", &done.deleted),
                    ],
                );
                Reply::TransferOk(done)
            }
            Err(refusal) => {
                connection.log().warn(
                    "not_transferred",
                    &[
                        ("conn", &connection.number()),
                        ("code", &refusal.code),
                        ("why", &refusal.message),
                    ],
                );
                refusal.into()
            }
        };
        let line = Addressed {
            id: Some(self.id),
            body,
        }
        .to_line();
        let _ = connection
            .outbox()
            .say_unless(line, Vec::new(), &|| self.client.is_gone());
    }

    fn carry(&self, rules: Rules) -> Result<TransferOk, Refusal> {
        let mirror = self.mirror(rules)?;
        let client = &self.client;
        let cancel = || client.is_gone();
        let own = mirror.look(&cancel).map_err(|error| refusal_of(error.into()))?;
        let mut done = TransferOk {
            session_id: self.session.id().to_owned(),
            entries: own.len(),
            read: own.read,
            ..TransferOk::default()
        };
        let carried = self.exchange(&mirror, own, &mut done);
        carried.map_err(refusal_of)?;
        Ok(done)
    }

    fn exchange(&self, mirror: &Mirror, own: Manifest, done: &mut TransferOk) -> Result<(), MirrorError> {
        let is_equal = own.digest_in_hex() == self.request.digest;
        let mut wire = Frames(self);
        let mut stream = Stream::new(&mut wire);
        let client = &self.client;
        let cancel = || client.is_gone();
        match self.request.direction {
            Direction::PushToGuest if is_equal => mirror.close_again(&own)?,
            Direction::PushToGuest => {
                Mirror::ask_for_entries(&mut stream)?;
                let taken = mirror.take(&own, &mut stream, &cancel, &mut |_| ())?;
                (done.entries, done.files, done.bytes, done.deleted) =
                    (taken.entries, taken.files, taken.bytes, taken.deleted);
            }
            Direction::PullFromGuest => {
                let given = match is_equal {
                    true => Ok(0),
                    false => mirror
                        .give(&own, &mut stream, &cancel, &mut |_| ())
                        .map(|given| given.bytes),
                };
                // Also after a breach: what was opened would be taken for the tools' doing the next time.
                let closed = mirror.close_again(&own);
                done.bytes = given?;
                closed?;
            }
        }
        Ok(())
    }

    fn mirror(&self, rules: Rules) -> Result<Mirror, Refusal> {
        let Some(own) = self.session.own_folder() else {
            return Err(Refusal::bad_request("the session has no folder of its own"));
        };
        let staging = self.session.staging();
        let path = staging.path().join(self.below.path());
        let root = match self.request.direction {
            Direction::PushToGuest => {
                open_beneath(staging, Path::new("")).and_then(|root| own_dirs_beneath(root, self.below.path()))
            }
            Direction::PullFromGuest => open_beneath(staging, self.below.path()),
        };
        let root = root.map_err(|error| {
            Refusal::new(
                ErrorCode::StagingIo,
                format!("the folder `{}` cannot be used: {error}", path.display()),
            )
        })?;
        Ok(Mirror {
            root,
            path,
            index: own.index(),
            store: own.store(),
            rules,
        })
    }
}

fn refusal_of(error: MirrorError) -> Refusal {
    let code = match &error {
        MirrorError::Local(SyncError::Cancelled) => ErrorCode::ShuttingDown,
        MirrorError::Local(_) | MirrorError::Changed | MirrorError::TooLarge(_) => ErrorCode::StagingIo,
        MirrorError::Peer(_) | MirrorError::Cut => ErrorCode::BadRequest,
    };
    let words = match &error {
        MirrorError::Local(SyncError::Io { source, .. } | SyncError::Unreadable { source, .. }) => {
            format!("{error}: {source}")
        }
        _ => error.to_string(),
    };
    Refusal::new(code, words)
}

/// The connection as the tree uses it.
struct Frames<'a>(&'a Job);

impl Wire for Frames<'_> {
    fn send(&mut self, frame: &[u8]) -> Result<(), MirrorError> {
        let job = self.0;
        let data = FsData {
            id: job.id,
            len: u32::try_from(frame.len()).unwrap_or(u32::MAX),
            eof: false,
        };
        let line = Reply::TransferData(data).to_line();
        let said = job
            .client
            .connection
            .outbox()
            .say_unless(line, frame.to_vec(), &|| job.client.is_gone());
        said.map_err(|_| MirrorError::Cut)
    }

    fn receive(&mut self) -> Result<Vec<u8>, MirrorError> {
        loop {
            match self.0.frames.recv_timeout(SLICE) {
                Ok(frame) => return Ok(frame),
                Err(RecvTimeoutError::Disconnected) => return Err(MirrorError::Cut),
                Err(RecvTimeoutError::Timeout) if self.0.client.is_gone() => return Err(SyncError::Cancelled.into()),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }
}
