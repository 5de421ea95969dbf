//! From an instance that runs to where tools can run in it.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use crate::process::{Cancel, Peer, PeerPipes};
use crate::session::{Context, VmError};

use super::agent::{AgentChoice, AgentProgram};
use super::carry::Road;
use super::guest::Guest;
use super::install::{build_essential, put_agent};
use super::instance::Instance;
use super::limactl::{Limactl, logs};
use super::line::{AtOnce, Line, LineError, Patience};
use super::proof::{Proof, no_mount, shell_proved};
use super::resident::{Agent, NotBegun};
use super::settings::LimaSettings;
use super::shortcut::Shortcut;
use super::tree::Tree;
use super::way::Way;

/// How long the first connection may take; the guest has answered limactl before.
const CONNECT: Duration = Duration::from_secs(120);
/// How long the shortest way may take before the long one is tried.
const SHORTCUT: Duration = Duration::from_secs(30);

/// Stages the tree for a road; none in guest mode.
pub(super) type StageFn<'a> = &'a mut dyn FnMut(Road, &mut Context) -> Result<Option<Tree>, VmError>;

/// An instance that runs and shows the workspace.
pub(super) struct Up {
    pub(super) way: Way,
    /// How its mounts are made.
    pub(super) mount_type: String,
    /// How the tree gets there.
    pub(super) road: Road,
    /// The tree, where there was time to stage it.
    pub(super) tree: Option<Tree>,
    /// Why there is no agent where one was wanted.
    pub(super) no_agent: Option<String>,
}

/// An instance that runs.
pub(super) struct Bringing<'a> {
    pub(super) settings: &'a LimaSettings,
    pub(super) limactl: &'a Limactl,
    pub(super) found: &'a Instance,
    /// Why the guest does not see the shared folder, where that is so.
    pub(super) unseen: Option<String>,
    pub(super) at_once: AtOnce,
}

impl Bringing<'_> {
    /// Connects, and proves that the mount works where the tree goes by it: by the agent where there
    /// can be one, else by a shell. `early` is a connection that was begun already.
    pub(super) fn connect(
        mut self,
        choice: &AgentChoice,
        early: Option<Line>,
        cx: &mut Context,
    ) -> Result<Up, VmError> {
        let cancel = cx.cancel.clone();
        let (guest, serves) = self.greeted(early, &cancel)?;
        if serves.is_none() {
            build_essential(self.settings, &guest, cx)?;
        }
        let no_agent = match choice {
            AgentChoice::Off => None,
            AgentChoice::Missing(why) => Some(why.clone()),
            AgentChoice::Auto(program) | AgentChoice::Named(program) => {
                match self.agent(program, &guest, serves, &cancel) {
                    Ok((agent, road)) => return Ok(self.up(Way::Agent(Box::new(agent)), road, None)),
                    Err(NotBegun::Occupied(error)) => return Err(error),
                    Err(NotBegun::Other(error)) if error.is_cancelled() => return Err(error),
                    Err(NotBegun::Other(error)) => Some(in_words(&error)),
                }
            }
        };
        if let (AgentChoice::Named(program), Some(why)) = (choice, &no_agent) {
            return Err(VmError::Lima(format!(
                "vm.lima.agent names `{}`, and it cannot serve in the Lima instance `{}`: {why}. `auto` does without \
                 it then, and `off` does in any case",
                program.path.display(),
                self.limactl.instance
            )));
        }
        self.is_shown(no_agent.as_deref().unwrap_or(choice.why_none()))?;
        let guest = if guest.is_open() {
            guest
        } else {
            // It went with the agent.
            self.at_once.agent = None;
            self.greeted(None, &cancel)?.0
        };
        shell_proved(self.settings, self.limactl, &guest, &cancel)?;
        Ok(self.up(Way::Shell(Arc::new(guest)), Road::Mount, no_agent))
    }

    /// That the tree can go by the mount, as without the agent it must; `why` there is none.
    fn is_shown(&self, why: &str) -> Result<(), VmError> {
        self.settings.does_without(why, &self.limactl.instance)?;
        match &self.unseen {
            Some(unseen) => Err(VmError::Lima(format!(
                "{unseen} (or let the agent carry the tree, which could not be had: {why})"
            ))),
            None => Ok(()),
        }
    }

    fn up(&self, way: Way, road: Road, no_agent: Option<String>) -> Up {
        Up {
            way,
            mount_type: self.found.mount_type.clone(),
            road,
            tree: None,
            no_agent,
        }
    }

    /// A guest that answers; gives where the agent lies, where it is that which does.
    fn greeted(&mut self, early: Option<Line>, cancel: &Cancel) -> Result<(Guest, Option<String>), VmError> {
        let limit = cancel.remaining().map_or(CONNECT, |left| left.min(CONNECT));
        let patience = Patience { limit, cancel };
        let mut first = early;
        let mut tries = 0;
        let answered = loop {
            let line = match first.take() {
                Some(line) => Ok(line),
                None => Line::start(self.limactl, &self.at_once).map_err(LineError::Here),
            };
            tries += 1;
            match line.and_then(|mut line| Ok((line.greeted(&patience)?, line))) {
                // It may have come before the instance was there, or have met an agent that is broken.
                Err(LineError::Lost(_)) if tries == 1 => self.at_once.agent = None,
                answered => break answered,
            }
        };
        let (serves, line) = answered.map_err(|error| self.unreachable(error))?;
        Ok((Guest::new(self.limactl, line), serves))
    }

    fn agent(
        &self,
        program: &AgentProgram,
        guest: &Guest,
        serves: Option<String>,
        cancel: &Cancel,
    ) -> Result<(Agent, Road), NotBegun> {
        let shows = self.unseen.is_none();
        let road = self.settings.road(&self.found.mount_type, shows);
        let there = match serves {
            Some(there) => there,
            None => {
                put_agent(program, &self.found.arch, guest, cancel)?;
                guest.serve(&program.digest, cancel)?
            }
        };
        let agent = begun(self.settings, self.limactl, guest.pipes()?, road, None, cancel)?;
        let shortcut = Shortcut {
            program: there,
            mount_type: self.found.mount_type.clone(),
            shows,
            dir: self.found.dir.clone(),
            ssh_config: self.found.ssh_config.clone(),
            shell: self.found.shell.clone(),
        };
        shortcut.note(&self.settings.leases, &self.limactl.instance, &program.digest);
        Ok((agent, road))
    }

    fn unreachable(&self, error: LineError) -> VmError {
        let why = match error {
            LineError::Cancelled => return VmError::Interrupted,
            LineError::Lost(why) => why,
            LineError::Late(limit) => format!("no answer within {} s", limit.as_secs()),
            LineError::Here(error) => error.to_string(),
        };
        let limactl = self.limactl;
        VmError::Lima(format!(
            "the Lima instance `{0}` runs and cannot be reached: {why}. Does its sshd live? `{1} shell {0}` shows the \
             same, `{1} stop --force {0}` and a new run start it anew; {2}",
            limactl.instance,
            limactl.program.display(),
            logs(&self.found.dir)
        ))
    }
}

/// The shortest way: to the agent that an earlier run has put there. Where it does not lead
/// there any more, nothing is said of it: the long way finds out why, and notes a new one. While
/// the connection is made, the tree is staged.
pub(super) fn by_shortcut(
    settings: &LimaSettings,
    limactl: &Limactl,
    program: &AgentProgram,
    stage: StageFn,
    cx: &mut Context,
) -> Result<Option<Up>, VmError> {
    let cancel = cx.cancel;
    let Some(shortcut) = Shortcut::read(&settings.leases, &limactl.instance, &program.digest) else {
        return Ok(None);
    };
    let limit = cancel.remaining().map_or(SHORTCUT, |left| left.min(SHORTCUT));
    let road = settings.road(&shortcut.mount_type, shortcut.shows);
    let root = &settings.lima.guest.guest_workspace;
    let line = Line::to_agent(limactl, &shortcut, root).map_err(LineError::Here);
    let mut tree = stage(road, cx)?;
    let answered = line.and_then(|mut line| {
        line.greeted(&Patience { limit, cancel })?;
        Ok(line.into_pipes())
    });
    let agent = match answered {
        Ok(pipes) => begun(settings, limactl, pipes, road, tree.as_mut(), cancel),
        Err(LineError::Cancelled) => Err(VmError::Interrupted.into()),
        Err(_) => Err(VmError::not_ready().into()),
    };
    match agent {
        Ok(agent) => Ok(Some(Up {
            way: Way::Agent(Box::new(agent)),
            mount_type: shortcut.mount_type,
            road,
            tree,
            no_agent: None,
        })),
        Err(NotBegun::Occupied(error)) => Err(error),
        Err(NotBegun::Other(error)) if error.is_cancelled() => Err(error),
        Err(NotBegun::Other(_)) => {
            Shortcut::forget(&settings.leases, &limactl.instance, &program.digest);
            Ok(None)
        }
    }
}

/// A session of the agent's, in a folder that will do. What is there of the tree is asked to be taken at once.
fn begun(
    settings: &LimaSettings,
    limactl: &Limactl,
    pipes: (Peer, PeerPipes),
    road: Road,
    tree: Option<&mut Tree>,
    cancel: &Cancel,
) -> Result<Agent, NotBegun> {
    let mut proof = None;
    let agent = Agent::begin(limactl, pipes, settings, road, cancel, |at| {
        if road == Road::Mount {
            proof = Some(Proof::begin(settings, at, cancel).map_err(|why| no_mount(settings, limactl, &why))?);
        }
        tree.map_or(Ok(()), |tree| tree.ask(at, cancel))
    })?;
    if let Some(proof) = proof {
        proof.is_seen().map_err(|why| no_mount(settings, limactl, &why))?;
    }
    Ok(agent)
}

/// An error with what caused it.
fn in_words(error: &VmError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}

/// As one word of a shell.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}
