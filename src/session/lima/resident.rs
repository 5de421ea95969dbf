//! The agent at work in a guest.

use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::plan::SidecarAddress;
use crate::process::{Cancel, Message, Peer, PeerPipes, Running, ToolCommand, ToolEnd, ToolExit};
use crate::session::VmError;
use crate::session::sidecar::{
    AskedSession, At, Begun, Broken, CallError, Connection, Link, Pace, Place, RemoteFiles, exec, failed, sync,
};
use crate::sidecar::{Capability, Direction, ErrorCode, TransferFolder};

use super::carry::Road;
use super::hints;
use super::limactl::Limactl;
use super::settings::LimaSettings;

/// A guest that is emulated, on a machine that does other things, is slow.
const PACE: Pace = Pace {
    prompt: Duration::from_secs(60),
    silence: Duration::from_secs(60),
};

/// Why there is no session of the agent's.
pub(super) enum NotBegun {
    /// Another session has the tree: no other way to the guest would change that.
    Occupied(VmError),
    /// Anything else.
    Other(VmError),
}

impl From<VmError> for NotBegun {
    fn from(error: VmError) -> Self {
        Self::Other(error)
    }
}

/// A `devshell-vm` in the guest, spoken with over one connection.
pub(super) struct Agent {
    link: Arc<Link>,
    connection: Mutex<Connection>,
    begun: Begun,
    instance: String,
    mount: String,
    name: SidecarAddress,
}

impl Agent {
    /// Agrees with it on what both can do, and begins a session in the shared folder, or in one of its own that the
    /// tree can be carried to. `ahead` asks for what can be asked for before there is an answer.
    pub(super) fn begin(
        limactl: &Limactl,
        pipes: (Peer, PeerPipes),
        settings: &LimaSettings,
        road: Road,
        cancel: &Cancel,
        ahead: impl FnOnce(&At) -> Result<(), VmError>,
    ) -> Result<Self, NotBegun> {
        let program = limactl.program.to_string_lossy().into_owned();
        let words = [&program, "shell", &limactl.instance, "devshell-vm"];
        let name = SidecarAddress::Stdio(words.map(str::to_owned).to_vec());
        let mount = settings.mount(road);
        let place = match road {
            Road::Mount => Place::Shared(&mount),
            Road::Transfer => Place::Apart(TransferFolder {
                key: settings.key.clone(),
                state: None,
            }),
        };
        let not_begun = |error| failed(&name, "session_start", error);
        let greeted = Connection::with_own_peer(pipes, &name, &PACE, cancel, |link| {
            let asked = AskedSession::ask(link, place, &mount).map_err(not_begun)?;
            ahead(&At {
                link,
                session_id: &asked.id,
                address: &name,
            })?;
            Ok(asked)
        });
        let (mut connection, asked) = greeted?;
        let needed = [
            Capability::ExecStream,
            Capability::RequestId,
            Capability::ExecControl,
            Capability::FsRaw,
            Capability::Transfer,
        ];
        let version = env!("CARGO_PKG_VERSION");
        if connection.answer.server_version != version || needed.iter().any(|needed| !connection.link.has(*needed)) {
            return Err(NotBegun::Other(VmError::Lima(format!(
                "the agent in the Lima instance `{}` is {} {}, and this is devshell {version}",
                limactl.instance, connection.answer.server, connection.answer.server_version
            ))));
        }
        let begun = asked.begun(&connection.link, &PACE, cancel);
        let begun = begun.map_err(|error| match error {
            CallError::Refused(refused) if refused.code == ErrorCode::SessionExists => {
                NotBegun::Occupied(VmError::Lost {
                    message: format!("the Lima instance `{}`: {}", limactl.instance, refused.message),
                    source: None,
                })
            }
            error => NotBegun::Other(connection.with_last_words(not_begun(error))),
        });
        let begun = begun.inspect_err(|_| connection.link.hang_up())?;
        Ok(Self {
            link: Arc::clone(&connection.link),
            connection: Mutex::new(connection),
            begun,
            instance: limactl.instance.clone(),
            mount,
            name,
        })
    }

    /// The connection and its session, for what is carried over it.
    pub(super) fn at(&self) -> At<'_> {
        At {
            link: &self.link,
            session_id: &self.begun.id,
            address: &self.name,
        }
    }

    /// Where the session's folder really lies in the guest, whatever its tools see.
    pub(super) fn folder(&self) -> &str {
        &self.begun.staging_dir
    }

    /// Whether nothing that a tool starts can outlive it, and what is less than it could be.
    pub(super) fn contained(&self) -> (bool, Option<&str>) {
        let answer = &self.begun.answer;
        (answer.contained.unwrap_or(false), answer.why.as_deref())
    }

    /// The guest's files below the session's mount.
    pub(super) fn files(&self, cancel: &Cancel) -> RemoteFiles {
        RemoteFiles::new(
            Arc::clone(&self.link),
            self.begun.id.clone(),
            self.mount.clone(),
            cancel,
        )
    }

    /// Starts a tool in a folder of the guest.
    pub(super) fn start(
        &self,
        folder: &str,
        command: &ToolCommand,
        messages: SyncSender<Message>,
    ) -> Result<Box<dyn Running>, VmError> {
        let (instance, program) = (
            self.instance.clone(),
            command
                .argv
                .first()
                .map(|program| program.to_string_lossy().into_owned()),
        );
        let tell = Box::new(move |end: ToolEnd| ToolEnd {
            exit: in_the_guest(end.exit, &instance, program.as_deref().unwrap_or_default()),
            ..end
        });
        let link = &self.link;
        exec::start_telling(link, &self.begun.id, folder.to_owned(), command, messages, tell)
            .map(|tool| Box::new(tool) as Box<dyn Running>)
            .map_err(|broken| self.lost(&broken))
    }

    /// Has the guest write out what it holds back, so that this side sees it.
    pub(super) fn flush(&self, cancel: &Cancel) -> Result<(), VmError> {
        let flushed = sync(&self.at(), Direction::PullFromGuest, cancel);
        flushed.map_err(|error| self.link.broken().map_or(error, |broken| self.lost(&broken)))
    }

    /// Why it cannot be reached any more, once that was noticed.
    pub(super) fn broken(&self) -> Option<String> {
        self.link.broken().map(|broken| self.why(&broken))
    }

    fn why(&self, broken: &Broken) -> String {
        match broken {
            Broken::Lost(why) => {
                let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
                let why = connection.last_words().unwrap_or_else(|| why.clone());
                format!("the connection to its agent was lost ({why})")
            }
            Broken::Protocol(what) => format!("its agent does not speak the protocol: {what}"),
        }
    }

    fn lost(&self, broken: &Broken) -> VmError {
        VmError::Lost {
            message: format!("the Lima guest `{}` was lost: {}", self.instance, self.why(broken)),
            source: None,
        }
    }

    /// Lets it go: it ends with its stdin, and what still runs for it with it.
    pub(super) fn hang_up(self) {
        let connection = self.connection.into_inner();
        connection.unwrap_or_else(PoisonError::into_inner).part();
    }
}

/// A tool's end in the words of a guest.
fn in_the_guest(exit: ToolExit, instance: &str, program: &str) -> ToolExit {
    let guest = |text: String| text.replace("in PATH (", "in PATH of the guest (");
    match exit {
        ToolExit::NotFound(text) => {
            ToolExit::NotFound(format!("{}: {}", guest(text), hints::no_program(program, instance)))
        }
        ToolExit::NotExecutable(text) => ToolExit::NotExecutable(format!("in the guest: {text}")),
        ToolExit::Lost(text) => ToolExit::Lost(format!(
            "the Lima guest `{instance}`: the connection was lost while the tool ran ({text})"
        )),
        exit => exit,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_told_as_a_guests() {
        let found = in_the_guest(
            ToolExit::NotFound("`cargo` was not found in PATH (/bin)".to_owned()),
            "t",
            "cargo",
        );
        let ToolExit::NotFound(text) = found else {
            panic!("{found:?}")
        };
        assert!(text.starts_with("`cargo` was not found in PATH of the guest (/bin): the guest has no cargo"));
        let lost = in_the_guest(ToolExit::Lost("x".to_owned()), "t", "cargo");
        assert!(matches!(lost, ToolExit::Lost(text) if text.contains("was lost while the tool ran (x)")));
        assert_eq!(in_the_guest(ToolExit::Code(255), "t", "cargo"), ToolExit::Code(255));
    }
}
