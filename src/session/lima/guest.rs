//! The guest as everything that needs it reaches it.

use std::io::{Read, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::event::Survivor;
use crate::process::{Cancel, CaptureLimits, Peer, PeerPipes, ToolExit, consult};
use crate::session::VmError;

use super::limactl::Limactl;
use super::line::{Answer, Line, LineError, Patience, SWEEP};

/// How long a question may take that costs the guest next to nothing; an emulated one is slow.
const PROMPT: Duration = Duration::from_secs(60);
/// How long the end of a tool's processes may take before it is tried another way.
const SWEEP_PATIENCE: Duration = Duration::from_secs(8);

/// The resident shell, and limactl beside it.
#[derive(Debug)]
pub(super) struct Guest {
    pub(super) limactl: Limactl,
    line: Mutex<Option<Line>>,
    /// Why there is no line any more.
    broken: Mutex<Option<String>>,
}

impl Guest {
    /// Reached by a line that has been greeted.
    pub(super) fn new(limactl: &Limactl, line: Line) -> Self {
        Self {
            limactl: limactl.clone(),
            line: Mutex::new(Some(line)),
            broken: Mutex::new(None),
        }
    }

    /// Has the resident shell become the agent of this digest; gives where that lies.
    pub(super) fn serve(&self, digest: &str, cancel: &Cancel) -> Result<String, VmError> {
        self.with_line(|line| line.serve(digest, &Patience { limit: PROMPT, cancel }))
    }

    /// The connection, for whoever speaks with the agent that is at its other end.
    pub(super) fn pipes(&self) -> Result<(Peer, PeerPipes), VmError> {
        let line = self.line().take().ok_or_else(|| self.lost())?;
        Ok(line.into_pipes())
    }

    /// Whether the resident shell is still there.
    pub(super) fn is_open(&self) -> bool {
        self.line().is_some()
    }

    fn line(&self) -> MutexGuard<'_, Option<Line>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the guest cannot be reached any more, once that was noticed.
    pub(super) fn broken(&self) -> Option<String> {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes that the guest was lost; the first reason stays.
    pub(super) fn is_lost(&self, why: &str) {
        let mut broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner);
        broken.get_or_insert_with(|| why.to_owned());
    }

    fn with_line<T>(&self, ask: impl FnOnce(&mut Line) -> Result<T, LineError>) -> Result<T, VmError> {
        let mut line = self.line();
        let Some(open) = line.as_mut() else {
            return Err(self.lost());
        };
        let failed = match ask(open) {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        // Whatever failed, question and answer may not fit together any more.
        *line = None;
        match failed {
            LineError::Cancelled => return Err(VmError::Interrupted),
            LineError::Lost(why) => self.is_lost(&why),
            LineError::Late(limit) => self.is_lost(&format!("it did not answer within {} s", limit.as_secs())),
            LineError::Here(error) => self.is_lost(&format!("the connection cannot be used: {error}")),
        }
        Err(self.lost())
    }

    fn lost(&self) -> VmError {
        let why = self
            .broken()
            .unwrap_or_else(|| "the connection was given up".to_owned());
        VmError::Lost {
            message: format!("the Lima guest `{}` was lost: {why}", self.limactl.instance),
            source: None,
        }
    }

    /// Runs a script of one line.
    pub(super) fn run(
        &self,
        script: &str,
        input: Option<&mut dyn Read>,
        output: &mut dyn Write,
        limit: Duration,
        cancel: &Cancel,
    ) -> Result<Answer, VmError> {
        self.with_line(|line| line.run(script, input, output, &Patience { limit, cancel }))
    }

    /// As [`Self::run`], for a short question.
    pub(super) fn ask(&self, script: &str, cancel: &Cancel) -> Result<(Answer, String), VmError> {
        let mut output = Vec::new();
        let answer = self.run(script, None, &mut output, PROMPT, cancel)?;
        Ok((answer, String::from_utf8_lossy(&output).into_owned()))
    }

    /// What bears this mark ends when the connection does, however devshell ends.
    pub(super) fn mark(&self, mark: &str) -> Result<(), VmError> {
        let cancel = Cancel::new();
        self.with_line(|line| {
            line.mark(
                mark,
                &Patience {
                    limit: PROMPT,
                    cancel: &cancel,
                },
            )
        })
    }

    /// Signals everything that bears a mark; over a connection of its own where the line is gone.
    pub(super) fn sweep(&self, signal: &str, mark: &str) {
        let cancel = Cancel::new();
        let script = format!("sh -c \"$sweep\" sh {signal} {mark}");
        let by_line = self.with_line(|line| {
            line.run(
                &script,
                None,
                &mut std::io::sink(),
                &Patience {
                    limit: SWEEP_PATIENCE,
                    cancel: &cancel,
                },
            )
        });
        if by_line.is_err() {
            // Where this fails, too, the guest is gone or will be told when the connection ends.
            let _ = swept(&self.limactl, signal, mark);
        }
    }

    /// Lets the guest go: what still bears the mark ends there.
    pub(super) fn hang_up(&self) {
        *self.line() = None;
    }
}

/// Signals everything that bears a mark, over a connection of its own, and gives what KILL has
/// met; none where the guest does not answer.
pub(super) fn swept(limactl: &Limactl, signal: &str, mark: &str) -> Option<Vec<Survivor>> {
    let argv = limactl.shell(&["sh", "-c", SWEEP, "sh", signal, mark]);
    let limits = CaptureLimits {
        timeout: SWEEP_PATIENCE,
        bytes: 64 * 1024,
    };
    let said = consult(&argv, limits, &Cancel::new(), &mut |_| {}).ok()?;
    (said.exit == ToolExit::Success).then(|| {
        let text = String::from_utf8_lossy(&said.stdout).into_owned();
        text.lines().filter_map(survivor).collect()
    })
}

/// What a sweep says of one process.
pub(super) fn survivor(line: &str) -> Option<Survivor> {
    let (pid, argv) = line.strip_prefix("survivor ")?.split_once(' ')?;
    Some(Survivor {
        pid: pid.parse().ok()?,
        argv: argv.trim_end().to_owned(),
    })
}
