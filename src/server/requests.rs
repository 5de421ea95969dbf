//! What each request does.

use std::sync::Arc;
use std::time::Duration;

use crate::sidecar::{
    Addressed, Capabilities, Capability, DEFAULT_KEEPALIVE_MS, Direction, ErrorCode, Exec, Handshake, HandshakeOk,
    MAX_KEEPALIVE_MS, MAX_LINE, MIN_KEEPALIVE_MS, Reply, Request, SessionId, SessionOk, SessionShutdown, SessionStart,
    SyncRequest, VERSION,
};

use super::connection::{Connection, End};
use super::contents::Files;
use super::controls;
use super::peer::Transport;
use super::refusal::Refusal;
use super::session::Session;
use super::trees::Trees;

/// How long a session's end waits for its execs beyond their grace.
const STOPPED: Duration = Duration::from_secs(15);
/// The longest id of a session: every reply repeats it.
const SESSION_ID: usize = 1024;

/// What a connection has come to, and the one place where requests are told apart.
pub(super) struct Requests<'a> {
    connection: &'a Arc<Connection>,
    is_greeted: bool,
    keepalive: Option<Duration>,
    session: Option<Arc<Session>>,
    files: Files<'a>,
    trees: Trees<'a>,
}

/// What follows from a request.
enum Done {
    /// This is its reply.
    Reply(Box<Reply>),
    /// Its reply comes later, or there is none.
    Later,
    /// The connection ends.
    End(End),
}

impl From<Reply> for Done {
    fn from(reply: Reply) -> Self {
        Self::Reply(Box::new(reply))
    }
}

impl<'a> Requests<'a> {
    pub(super) fn new(connection: &'a Arc<Connection>) -> Self {
        Self {
            connection,
            is_greeted: false,
            keepalive: None,
            session: None,
            files: Files::new(connection),
            trees: Trees::new(connection),
        }
    }

    /// Whether the handshake was made.
    pub(super) fn is_greeted(&self) -> bool {
        self.is_greeted
    }

    /// How long the client may be silent.
    pub(super) fn keepalive(&self) -> Option<Duration> {
        self.keepalive
    }

    /// Does one request, whose raw bytes have come already. Gives why no further one is read.
    pub(super) fn handle(&mut self, request: Addressed<Request>, raw: Vec<u8>) -> Option<End> {
        let connection = self.connection;
        let id = request.id.filter(|_| connection.has(Capability::RequestId));
        let is_framed = matches!(
            request.body,
            Request::ExecStdin(_) | Request::FsData(_) | Request::TransferData(_)
        );
        let done = match self.check(&request) {
            Err(refusal) => Err(refusal),
            Ok(()) => self.dispatch(id, request.body, raw),
        };
        match done {
            Ok(Done::Reply(reply)) => (!connection.reply(id, *reply)).then_some(End::Gone),
            Ok(Done::Later) => None,
            Ok(Done::End(end)) => Some(end),
            Err(refusal) => {
                let number = connection.number();
                let fields: [(&str, &dyn std::fmt::Display); 3] =
                    [("conn", &number), ("code", &refusal.code), ("why", &refusal.message)];
                // Who can carry the tree asks all the same whether it need not.
                let is_usual = connection.has(Capability::Transfer)
                    && matches!(refusal.code, ErrorCode::Forbidden | ErrorCode::BadStaging);
                match is_usual {
                    true => connection.log().info("refused", &fields),
                    false => connection.log().warn("refused", &fields),
                }
                if !self.is_greeted
                    && connection.transport() == Transport::Tcp
                    && refusal.code == ErrorCode::HandshakeRequired
                {
                    // Whoever that is gets no answer.
                    return Some(End::Gone);
                }
                let is_refused = matches!(refusal.code, ErrorCode::Unauthorized | ErrorCode::TooMany);
                let is_last = is_framed || (is_refused && !self.is_greeted);
                match connection.reply(id, refusal) {
                    false => Some(End::Gone),
                    true => is_last.then_some(End::Refused),
                }
            }
        }
    }

    /// What holds for all requests.
    fn check(&self, request: &Addressed<Request>) -> Result<(), Refusal> {
        let connection = self.connection;
        let op = |wanted: Capability, op: &str| {
            if connection.has(wanted) {
                return Ok(());
            }
            Err(Refusal::new(
                ErrorCode::UnknownOp,
                format!("`{op}` needs the capability {}", wanted.name()),
            ))
        };
        match &request.body {
            Request::Handshake(_) => return Ok(()),
            _ if !self.is_greeted => {
                return Err(Refusal::new(
                    ErrorCode::HandshakeRequired,
                    "the first request has to be a handshake",
                ));
            }
            Request::ExecSignal(_) => return op(Capability::ExecControl, "exec_signal"),
            Request::ExecCancel(_) => return op(Capability::ExecControl, "exec_cancel"),
            Request::ExecStdin(_) => return op(Capability::ExecControl, "exec_stdin"),
            Request::FsData(_) => return op(Capability::FsRaw, "fs_data"),
            Request::TransferData(_) => return op(Capability::Transfer, "transfer_data"),
            Request::Transfer(_) => op(Capability::Transfer, "transfer")?,
            Request::SessionStart(start) if start.transfer.is_some() && !connection.has(Capability::Transfer) => {
                return Err(Refusal::bad_request(
                    "the field `transfer` needs the capability transfer",
                ));
            }
            Request::Ping => return op(Capability::Keepalive, "ping"),
            _ => {}
        }
        if !connection.has(Capability::RequestId) {
            return Ok(());
        }
        match request.id {
            None => Err(Refusal::bad_request(
                "the field `id` is missing (request_id was agreed on)",
            )),
            Some(id)
                if connection.execs().get(id).is_some()
                    || self.files.is_under_way(id)
                    || self.trees.is_under_way(id) =>
            {
                Err(Refusal::bad_request(format!(
                    "a request with the id {id} is under way already"
                )))
            }
            Some(_) => Ok(()),
        }
    }

    fn dispatch(&mut self, id: Option<u64>, request: Request, raw: Vec<u8>) -> Result<Done, Refusal> {
        match request {
            Request::Handshake(request) => self.handshake(request),
            Request::SessionStart(request) => self.session_start(&request),
            Request::SyncRequest(request) => self.sync(&request),
            Request::Exec(request) => self.exec(id, request),
            Request::GuestFs(request) => {
                let session = self.session(&request.session_id)?;
                Ok(self
                    .files
                    .handle(&session, id, request)?
                    .map_or(Done::Later, Done::from))
            }
            Request::SessionShutdown(request) => self.session_shutdown(&request),
            Request::Transfer(request) => {
                let session = self.session(&request.session_id);
                self.trees.begin(session, id.unwrap_or(0), request)?;
                Ok(Done::Later)
            }
            Request::TransferData(request) => {
                self.trees.data(&request, raw)?;
                Ok(Done::Later)
            }
            Request::ExecSignal(request) => controls::signal(self.connection, &request).map(|()| Done::Later),
            Request::ExecCancel(request) => {
                controls::cancel(self.connection, &request);
                Ok(Done::Later)
            }
            Request::ExecStdin(request) => controls::stdin(self.connection, &request, raw).map(|()| Done::Later),
            Request::FsData(request) => {
                self.files.data(&request, &raw)?;
                Ok(Done::Later)
            }
            Request::Ping => Ok(Done::Later),
        }
    }

    fn handshake(&mut self, request: Handshake) -> Result<Done, Refusal> {
        let connection = self.connection;
        if self.is_greeted {
            return Err(Refusal::bad_request("the handshake was made already"));
        }
        if connection.transport() == Transport::Tcp
            && let Some(token) = &connection.settings().token
            && !token.is(request.token.as_deref().unwrap_or_default().as_bytes())
        {
            return Err(Refusal::new(ErrorCode::Unauthorized, "the token is missing or wrong"));
        }
        if request.version != VERSION {
            return Err(Refusal::new(
                ErrorCode::VersionMismatch,
                format!("this server speaks version {VERSION}, not {}", request.version),
            ));
        }
        let shared = connection.shared();
        if !shared
            .registry
            .establish(connection.number(), connection.settings().max_connections)
        {
            return Err(Refusal::new(
                ErrorCode::TooMany,
                format!(
                    "{} clients are connected already (devshell-vm --max-connections)",
                    connection.settings().max_connections
                ),
            ));
        }
        let mut reply = HandshakeOk {
            version: VERSION,
            server: "devshell-vm".to_owned(),
            server_version: env!("CARGO_PKG_VERSION").to_owned(),
            ..HandshakeOk::default()
        };
        let asked = request.capabilities.as_deref().unwrap_or_default();
        let agreed = Capabilities::implemented().agreed(Capabilities::from_names(asked.iter().map(String::as_str)));
        if request.capabilities.is_some() {
            reply.capabilities = Some(agreed.names());
            let limit = if agreed.is_empty() {
                connection.settings().max_line
            } else {
                MAX_LINE
            };
            reply.max_line = Some(limit as u64);
        }
        if agreed.has(Capability::Keepalive) {
            let millis = request
                .keepalive_ms
                .unwrap_or(DEFAULT_KEEPALIVE_MS)
                .clamp(MIN_KEEPALIVE_MS, MAX_KEEPALIVE_MS);
            reply.keepalive_ms = Some(millis);
            self.keepalive = Some(Duration::from_millis(millis));
        }
        connection.log().info(
            "handshake",
            &[
                ("conn", &connection.number()),
                ("client", &request.client),
                ("client_version", &request.client_version),
                ("capabilities", &agreed.names().join(",")),
            ],
        );
        self.is_greeted = true;
        // The reply to the handshake has no id, and nothing comes before it.
        let said = connection.reply(None, Reply::HandshakeOk(reply));
        connection.agree(agreed);
        if let Some(keepalive) = self.keepalive {
            connection.outbox().ping_after(keepalive / 3);
        }
        Ok(if said { Done::Later } else { Done::End(End::Gone) })
    }

    fn session_start(&mut self, request: &SessionStart) -> Result<Done, Refusal> {
        let connection = self.connection;
        if let Some(session) = &self.session {
            return Err(Refusal::new(
                ErrorCode::SessionExists,
                format!("this connection has the session `{}` already", session.id()),
            ));
        }
        if request.session_id.len() > SESSION_ID {
            return Err(Refusal::bad_request(format!(
                "session_id is longer than {SESSION_ID} bytes"
            )));
        }
        let session = Session::start(request, &connection.shared().roots)?;
        let place = session.place();
        let why = (!place.why.is_empty()).then(|| place.why.join("; "));
        connection.log().info(
            "session_started",
            &[
                ("conn", &connection.number()),
                ("staging", &session.staging().path().display()),
                ("mounted", &place.mounted),
                ("contained", &place.contained),
                ("why", &why.as_deref().unwrap_or_default()),
            ],
        );
        let mut reply = SessionOk {
            session_id: request.session_id.clone(),
            ..SessionOk::default()
        };
        if let Some(own) = session.own_folder() {
            reply.staging_dir = Some(session.staging().path().to_string_lossy().into_owned());
            reply.state = Some(own.state().to_owned());
            // A server may run for years; the client's own tree is held and stays.
            connection.shared().forget_old_trees();
        }
        if !connection.capabilities().is_empty() {
            reply.mounted = Some(place.mounted);
            reply.contained = Some(place.contained);
            reply.why = why
                .filter(|_| !(place.mounted && place.contained))
                .map(super::refusal::short);
        }
        self.session = Some(Arc::new(session));
        Ok(Reply::SessionOk(reply).into())
    }

    /// The session that a request names.
    fn session(&self, session_id: &str) -> Result<Arc<Session>, Refusal> {
        match &self.session {
            Some(session) if session.id() == session_id => Ok(Arc::clone(session)),
            Some(_) => Err(Refusal::new(
                ErrorCode::NoSession,
                "the session of this connection has another id",
            )),
            None => Err(Refusal::new(
                ErrorCode::NoSession,
                "there is no session on this connection (session_start)",
            )),
        }
    }

    fn sync(&self, request: &SyncRequest) -> Result<Done, Refusal> {
        let session = self.session(&request.session_id)?;
        // The folder is shared: what there is to do is to see that it is still there, and that all of it can be
        // seen from the other side.
        let staging = session.staging();
        let done = staging.check().and_then(|()| match request.direction {
            Direction::PushToGuest => Ok(()),
            Direction::PullFromGuest => staging.flush(),
        });
        done.map_err(|error| {
            let why = if error.kind() == std::io::ErrorKind::NotFound {
                "was removed".to_owned()
            } else {
                format!("cannot be used: {error}")
            };
            Refusal::new(ErrorCode::StagingIo, format!("the staging folder {why}"))
        })?;
        Ok(Reply::SyncOk(SessionId {
            session_id: request.session_id.clone(),
        })
        .into())
    }

    fn exec(&mut self, id: Option<u64>, request: Exec) -> Result<Done, Refusal> {
        let connection = self.connection;
        let session = self.session(&request.session_id)?;
        if !connection.has(Capability::ExecControl) {
            for (field, is_there) in [
                ("stdin", request.stdin.is_some()),
                ("grace_ms", request.grace_ms.is_some()),
            ] {
                if is_there {
                    return Err(Refusal::bad_request(format!(
                        "the field `{field}` needs the capability exec_control"
                    )));
                }
            }
        }
        if connection.shared().is_ending() {
            return Err(Refusal::new(ErrorCode::ShuttingDown, "the server is about to end"));
        }
        let program = request.argv.first().cloned().unwrap_or_default();
        let arguments = request.argv.len();
        super::exec::start(connection, &session, id, request)?;
        connection.log().info(
            "exec_started",
            &[
                ("conn", &connection.number()),
                ("id", &id.unwrap_or(0)),
                ("program", &program.rsplit('/').next().unwrap_or_default()),
                ("argc", &arguments),
            ],
        );
        // Without ids, one request comes after the other.
        if id.is_none() && connection.wait_idle() {
            return Ok(Done::End(End::Gone));
        }
        Ok(Done::Later)
    }

    fn session_shutdown(&mut self, request: &SessionShutdown) -> Result<Done, Refusal> {
        let connection = self.connection;
        drop(self.session(&request.session_id)?);
        self.files.drop_all();
        self.trees = Trees::new(connection);
        connection.execs().stop_all();
        connection.outbox().nudge();
        if !connection.execs().wait(connection.settings().grace + STOPPED) {
            connection.execs().kill_all();
        }
        self.session = None;
        connection
            .log()
            .info("session_ended", &[("conn", &connection.number())]);
        Ok(Reply::ShutdownOk(SessionId {
            session_id: request.session_id.clone(),
        })
        .into())
    }
}
