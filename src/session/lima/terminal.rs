//! A tool that is typed to: on a terminal in the guest, which ssh carries.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, SyncSender};

use crate::process::{Keeper, KeeperSpec, KeptTool, Message, Running, SpawnRequest, ToolCommand, ToolEnd, ToolExit};
use crate::session::VmError;

use super::guest::swept;
use super::limactl::Limactl;
use super::tool::{MARK, NeverStarted};

/// Enters the folder, then becomes the program: `sh -c THIS sh FOLDER NAME=VALUE... PROGRAM...`.
const SCRIPT: &str = "cd -- \"$1\" || exit 126; shift; exec env \"$@\"";
/// How many messages may wait between the client and what reads them here.
const WAITING: usize = 16;
/// What ssh says where it has lost the other side, and any program may say, too.
const OF_SSH: i32 = 255;

/// A client on a terminal of this host, and the program behind it. Dropped, it is ended; what the
/// program left in the guest ends with it.
struct OnTerminal {
    client: KeptTool,
    _keeper: Keeper,
    limactl: Limactl,
    mark: String,
}

/// Starts a program on a terminal in a folder of the guest. `caller` is this process's own
/// environment, which limactl needs.
pub(super) fn start(
    limactl: &Limactl,
    caller: &[(OsString, OsString)],
    mark: &str,
    folder: &str,
    command: &ToolCommand,
    messages: SyncSender<Message>,
) -> Result<Box<dyn Running>, VmError> {
    let mut argv = limactl.shell(&["sh", "-c", SCRIPT, "sh", folder]);
    let variables = command.env.iter().filter(|(name, _)| name != MARK);
    let assigned = |name: &OsStr, value: &OsStr| OsString::from_vec([name.as_bytes(), b"=", value.as_bytes()].concat());
    argv.extend(variables.map(|(name, value)| assigned(name, value)));
    argv.push(format!("{MARK}={mark}").into());
    argv.extend(command.argv.iter().cloned());
    if argv.iter().any(|word| word.to_str().is_none()) {
        let why = "an argument or a variable is not UTF-8, which is not carried to the guest".to_owned();
        return Ok(Box::new(NeverStarted::of(ToolExit::NotExecutable(why), &messages)));
    }
    let gone = |message: String| VmError::Lost { message, source: None };
    let mut keeper = Keeper::start(&KeeperSpec::default())
        .map_err(|error| gone(format!("there is no process for limactl: {}", error.in_full())))?;
    let request = SpawnRequest {
        argv,
        env: caller.to_vec(),
        cwd: PathBuf::from("/"),
        stdin: command.stdin,
        terminal: command.terminal,
    };
    let (sender, inner) = mpsc::sync_channel(WAITING);
    let client = keeper
        .spawn(&request, sender)
        .map_err(|error| gone(format!("limactl cannot be started any more: {error}")))?;
    let ending = Ending {
        limactl: limactl.clone(),
        mark: mark.to_owned(),
        messages,
    };
    std::thread::Builder::new()
        .name("devshell-relay".to_owned())
        .spawn(move || ending.relay(&inner))
        .map_err(|error| gone(format!("there is no thread left: {error}")))?;
    Ok(Box::new(OnTerminal {
        client,
        _keeper: keeper,
        limactl: limactl.clone(),
        mark: mark.to_owned(),
    }))
}

impl Running for OnTerminal {
    fn terminate(&mut self) {
        // The program first: without its client the end of it would not be known.
        self.sweep("TERM");
        self.sweep("HUP");
    }

    fn kill(&mut self) {
        self.client.kill();
    }
}

impl OnTerminal {
    /// The waiting loop must not wait for the guest.
    fn sweep(&self, signal: &'static str) {
        let (limactl, mark) = (self.limactl.clone(), self.mark.clone());
        let _ = std::thread::Builder::new()
            .name("devshell-sweep".to_owned())
            .spawn(move || swept(&limactl, signal, &mark));
    }
}

/// Hands everything on, and sees to it that nothing is left in the guest.
struct Ending {
    limactl: Limactl,
    mark: String,
    messages: SyncSender<Message>,
}

impl Ending {
    fn relay(self, inner: &Receiver<Message>) {
        for message in inner {
            let message = match message {
                Message::Ended(end) => Message::Ended(self.end(end)),
                other => other,
            };
            let is_last = matches!(message, Message::Ended(_));
            if self.messages.send(message).is_err() {
                // Nobody waits any more; it must not go on there.
                let _ = swept(&self.limactl, "KILL", &self.mark);
                return;
            }
            if is_last {
                return;
            }
        }
    }

    fn end(&self, end: ToolEnd) -> ToolEnd {
        let left = swept(&self.limactl, "KILL", &self.mark);
        let exit = match (end.exit, &left) {
            (ToolExit::Code(OF_SSH), None) => ToolExit::Lost(format!(
                "the Lima guest `{}`: limactl shell ended with code {OF_SSH}, and the guest does not answer",
                self.limactl.instance
            )),
            (ToolExit::NotFound(why) | ToolExit::NotExecutable(why), _) => ToolExit::Lost(why),
            (exit, _) => exit,
        };
        ToolEnd {
            exit,
            survivors: left.unwrap_or_default().into_iter().chain(end.survivors).collect(),
            leaked: end.leaked,
        }
    }
}
