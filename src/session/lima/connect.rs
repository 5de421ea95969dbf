//! From an instance that runs to where tools can run in it.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use crate::process::Cancel;
use crate::session::{Context, VmError};

use super::agent::{AgentChoice, AgentProgram};
use super::guest::Guest;
use super::install::{build_essential, put_agent};
use super::instance::Instance;
use super::limactl::{Limactl, logs};
use super::line::{AtOnce, Line, LineError, Patience, random};
use super::resident::Agent;
use super::settings::LimaSettings;
use super::way::Way;

/// How long the first connection may take; the guest has answered limactl before.
const CONNECT: Duration = Duration::from_secs(120);

/// An instance that runs and shows the workspace.
pub(super) struct Up {
    pub(super) way: Way,
    /// How its mounts are made.
    pub(super) mount_type: String,
    /// Why there is no agent where one was wanted.
    pub(super) no_agent: Option<String>,
}

/// An instance that runs.
pub(super) struct Bringing<'a> {
    pub(super) settings: &'a LimaSettings,
    pub(super) limactl: &'a Limactl,
    pub(super) found: &'a Instance,
    pub(super) at_once: AtOnce,
}

impl Bringing<'_> {
    /// Connects and proves that the mount works: by the agent where there can be one, else by a
    /// shell. `early` is a connection that was begun already.
    pub(super) fn connect(
        mut self,
        choice: &AgentChoice,
        early: Option<Line>,
        cx: &mut Context,
    ) -> Result<Up, VmError> {
        let cancel = cx.cancel.clone();
        let (guest, serves) = self.greeted(early, &cancel)?;
        if !serves {
            build_essential(self.settings, &guest, cx)?;
        }
        let no_agent = match choice {
            AgentChoice::Off => None,
            AgentChoice::Missing(why) => Some(why.clone()),
            AgentChoice::Auto(program) | AgentChoice::Named(program) => {
                match self.agent(program, &guest, serves, &cancel) {
                    Ok(agent) => return Ok(self.up(Way::Agent(Box::new(agent)), None)),
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
        let guest = if guest.is_open() {
            guest
        } else {
            // It went with the agent.
            self.at_once.agent = None;
            self.greeted(None, &cancel)?.0
        };
        self.prove(|read, write, word| by_shell(&guest, &self.settings.mount(), [read, write, word], &cancel))?;
        Ok(self.up(Way::Shell(Arc::new(guest)), no_agent))
    }

    fn up(&self, way: Way, no_agent: Option<String>) -> Up {
        Up {
            way,
            mount_type: self.found.mount_type.clone(),
            no_agent,
        }
    }

    /// A guest that answers; says whether it is the agent that does.
    fn greeted(&self, early: Option<Line>, cancel: &Cancel) -> Result<(Guest, bool), VmError> {
        let limit = cancel.remaining().map_or(CONNECT, |left| left.min(CONNECT));
        let patience = Patience { limit, cancel };
        let mut answered = Err(LineError::Late(limit));
        let mut lines = early.into_iter();
        // One that was begun before the instance was known to run may have come too early.
        for _ in 0..2 {
            let was_early = lines.len() > 0;
            let line = match lines.next() {
                Some(line) => Ok(line),
                None => Line::start(self.limactl, &self.at_once).map_err(LineError::Here),
            };
            answered = line.and_then(|mut line| Ok((line.greeted(&patience)?, line)));
            if !was_early || !matches!(answered, Err(LineError::Lost(_))) {
                break;
            }
        }
        let (serves, line) = answered.map_err(|error| self.unreachable(error))?;
        Ok((Guest::new(self.limactl, line), serves))
    }

    fn agent(&self, program: &AgentProgram, guest: &Guest, serves: bool, cancel: &Cancel) -> Result<Agent, VmError> {
        let pipes = if serves {
            guest.serving()?
        } else {
            put_agent(program, &self.found.arch, guest, cancel)?;
            guest.serve(cancel)?
        };
        let agent = Agent::begin(self.limactl, pipes, &self.settings.mount(), cancel)?;
        self.prove(|read, write, word| Ok(agent.exchange(read, write, word)))?;
        Ok(agent)
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

    /// A file from here is seen there, and one from there is seen here. `exchange` reads the first
    /// and writes the second; gives whether what it read was the word, or why it could not.
    fn prove(
        &self,
        exchange: impl FnOnce(&str, &str, &str) -> Result<Result<bool, String>, VmError>,
    ) -> Result<(), VmError> {
        let (there, here, word) = (format!(".proof-{}", random()), format!(".proof-{}", random()), random());
        let (tree, limactl) = (self.settings.tree(), self.limactl);
        let failed = |why: String| {
            VmError::Lima(format!(
                "the mount of `{}` at `{}` in the Lima instance `{}` does not work: {why}. `{} shell {} mount` shows \
                 what is mounted there",
                self.settings.parent.display(),
                self.settings.lima.guest.guest_workspace,
                limactl.instance,
                limactl.program.display(),
                limactl.instance
            ))
        };
        let (of_host, of_guest) = (tree.join(&there), tree.join(&here));
        std::fs::write(&of_host, &word).map_err(|error| failed(format!("`{}`: {error}", of_host.display())))?;
        let exchanged = exchange(&there, &here, &word);
        let seen = std::fs::read_to_string(&of_guest);
        let _ = std::fs::remove_file(&of_host);
        let _ = std::fs::remove_file(&of_guest);
        if !exchanged?.map_err(failed)? || seen.as_ref().ok() != Some(&word) {
            return Err(failed("what one side writes, the other does not see".to_owned()));
        }
        Ok(())
    }
}

fn by_shell(
    guest: &Guest,
    mount: &str,
    [read, write, word]: [&str; 3],
    cancel: &Cancel,
) -> Result<Result<bool, String>, VmError> {
    let at = quoted(mount);
    let script = format!("cat {at}/{read} && printf %s {word} >{at}/{write} && chmod 666 {at}/{write}");
    let (answer, said) = guest.ask(&script, cancel)?;
    Ok(match answer.code {
        Some(0) => Ok(said == word),
        _ => Err(answer.stderr),
    })
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
