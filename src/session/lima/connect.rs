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
use super::line::{AtOnce, Line, LineError, Patience, random};
use super::resident::Agent;
use super::settings::LimaSettings;
use super::shortcut::Shortcut;
use super::way::Way;

/// How long the first connection may take; the guest has answered limactl before.
const CONNECT: Duration = Duration::from_secs(120);
/// How long the shortest way may take before the long one is tried.
const SHORTCUT: Duration = Duration::from_secs(30);

/// An instance that runs and shows the workspace.
pub(super) struct Up {
    pub(super) way: Way,
    /// How its mounts are made.
    pub(super) mount_type: String,
    /// How the tree gets there.
    pub(super) road: Road,
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
                    Err(error) if error.is_cancelled() => return Err(error),
                    Err(error) => Some(in_words(&error)),
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
    ) -> Result<(Agent, Road), VmError> {
        let shows = self.unseen.is_none();
        let road = self.settings.road(&self.found.mount_type, shows);
        let there = match serves {
            Some(there) => there,
            None => {
                put_agent(program, &self.found.arch, guest, cancel)?;
                guest.serve(&program.digest, cancel)?
            }
        };
        let agent = begun(self.settings, self.limactl, guest.pipes()?, road, cancel)?;
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
/// there any more, nothing is said of it: the long way finds out why, and notes a new one.
pub(super) fn by_shortcut(
    settings: &LimaSettings,
    limactl: &Limactl,
    program: &AgentProgram,
    cancel: &Cancel,
) -> Result<Option<Up>, VmError> {
    let Some(shortcut) = Shortcut::read(&settings.leases, &limactl.instance, &program.digest) else {
        return Ok(None);
    };
    let limit = cancel.remaining().map_or(SHORTCUT, |left| left.min(SHORTCUT));
    let road = settings.road(&shortcut.mount_type, shortcut.shows);
    let root = &settings.lima.guest.guest_workspace;
    let line = Line::to_agent(limactl, &shortcut, root).map_err(LineError::Here);
    let answered = line.and_then(|mut line| {
        line.greeted(&Patience { limit, cancel })?;
        Ok(line.into_pipes())
    });
    let agent = match answered {
        Ok(pipes) => begun(settings, limactl, pipes, road, cancel),
        Err(LineError::Cancelled) => Err(VmError::Interrupted),
        Err(_) => Err(VmError::not_ready()),
    };
    match agent {
        Ok(agent) => Ok(Some(Up {
            way: Way::Agent(Box::new(agent)),
            mount_type: shortcut.mount_type,
            road,
            no_agent: None,
        })),
        Err(error) if error.is_cancelled() => Err(error),
        Err(_) => {
            Shortcut::forget(&settings.leases, &limactl.instance, &program.digest);
            Ok(None)
        }
    }
}

/// A session of the agent's, in a folder that will do.
fn begun(
    settings: &LimaSettings,
    limactl: &Limactl,
    pipes: (Peer, PeerPipes),
    road: Road,
    cancel: &Cancel,
) -> Result<Agent, VmError> {
    let agent = Agent::begin(limactl, pipes, settings, road, cancel)?;
    if road == Road::Mount {
        agent_proved(settings, limactl, &agent)?;
    }
    Ok(agent)
}

/// What the agent writes into the mount is seen here: then it is this very folder.
fn agent_proved(settings: &LimaSettings, limactl: &Limactl, agent: &Agent) -> Result<(), VmError> {
    let (name, word) = (format!(".proof-{}", random()), random());
    let at = settings.tree().join(&name);
    let written = agent.write(&name, &word);
    let seen = std::fs::read_to_string(&at);
    let _ = std::fs::remove_file(&at);
    written.map_err(|why| no_mount(settings, limactl, &why))?;
    is_word(&seen, &word).map_err(|why| no_mount(settings, limactl, why))
}

/// A file from here is seen there, and one from there is seen here.
fn shell_proved(settings: &LimaSettings, limactl: &Limactl, guest: &Guest, cancel: &Cancel) -> Result<(), VmError> {
    let (there, here, word) = (format!(".proof-{}", random()), format!(".proof-{}", random()), random());
    let (of_host, of_guest) = (settings.tree().join(&there), settings.tree().join(&here));
    std::fs::write(&of_host, &word)
        .map_err(|error| no_mount(settings, limactl, &format!("`{}`: {error}", of_host.display())))?;
    let at = quoted(&settings.mount(Road::Mount));
    let script = format!("cat {at}/{there} && printf %s {word} >{at}/{here} && chmod 666 {at}/{here}");
    let asked = guest.ask(&script, cancel);
    let seen = std::fs::read_to_string(&of_guest);
    let _ = std::fs::remove_file(&of_host);
    let _ = std::fs::remove_file(&of_guest);
    let (answer, said) = asked?;
    if answer.code != Some(0) {
        return Err(no_mount(settings, limactl, &answer.stderr));
    }
    is_word(&seen, &word)
        .and_then(|()| is_word(&Ok(said), &word))
        .map_err(|why| no_mount(settings, limactl, why))
}

fn is_word(seen: &std::io::Result<String>, word: &str) -> Result<(), &'static str> {
    match seen {
        Ok(seen) if seen == word => Ok(()),
        _ => Err("what one side writes, the other does not see"),
    }
}

fn no_mount(settings: &LimaSettings, limactl: &Limactl, why: &str) -> VmError {
    VmError::Lima(format!(
        "the mount of `{}` at `{}` in the Lima instance `{}` does not work: {why}. `{} shell {} mount` shows what is \
         mounted there",
        settings.parent.display(),
        settings.lima.guest.guest_workspace,
        limactl.instance,
        limactl.program.display(),
        limactl.instance
    ))
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
