//! limactl, asked and told.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::process::{Cancel, CaptureLimits, Captured, ToolExit, consult};
use crate::session::{Context, VmError};

use super::connect::quoted;
use super::hints;
use super::instance::{self, Instance};

/// limactl answers in a fraction of a second, or hangs on an instance that is broken.
const ANSWER: Duration = Duration::from_secs(60);
/// As long as anything may take that has no limit of its own.
const LONG: Duration = Duration::from_secs(24 * 3600);
/// How long a stop may take: the guest shuts down in good order.
const STOP: Duration = Duration::from_secs(180);
/// What is kept of what it says.
const BYTES: usize = 4 << 20;
/// The log of the process that keeps an instance, in its folder.
const HOST_AGENT: &str = "ha.stderr.log";
/// How much of it is read for a cause, from its end, in bytes.
const LOG_END: u64 = 64 << 10;

/// limactl and the instance that it is about.
#[derive(Debug, Clone)]
pub(super) struct Limactl {
    pub(super) program: PathBuf,
    pub(super) instance: String,
}

impl Limactl {
    /// The arguments of one of its commands.
    fn argv(&self, arguments: &[&str]) -> Vec<OsString> {
        let arguments = arguments.iter().map(OsString::from);
        [self.program.clone().into_os_string()]
            .into_iter()
            .chain(arguments)
            .collect()
    }

    /// A program in the guest, started in its root; its first word must not look like `A=b`.
    pub(super) fn shell(&self, arguments: &[&str]) -> Vec<OsString> {
        self.argv(&[&["shell", "--workdir", "/", &self.instance], arguments].concat())
    }

    /// As [`Self::shell`], by ssh alone, with the config that limactl writes for that; `commands` is for the login
    /// shell there.
    pub(super) fn ssh(&self, config: &str, shell: &str, commands: &str) -> Vec<OsString> {
        let shell = match shell {
            "" => "\"$SHELL\"".to_owned(),
            shell => quoted(shell),
        };
        // What limactl has it do.
        let script = format!("cd / || exit 1; exec {shell} -l -c {}", quoted(commands));
        let host = format!("lima-{}", self.instance);
        let ssh = ["ssh", "-F", config, "-T", "-o", "LogLevel=ERROR", &host, "--", &script];
        ssh.map(OsString::from).to_vec()
    }

    fn consult(
        &self,
        arguments: &[&str],
        timeout: Duration,
        cancel: &Cancel,
        on_stderr: &mut dyn FnMut(&[u8]),
    ) -> Result<Captured, VmError> {
        let limits = CaptureLimits { timeout, bytes: BYTES };
        consult(&self.argv(arguments), limits, cancel, on_stderr).map_err(|error| self.missing(&error))
    }

    /// That there is no limactl, or one that cannot be run.
    fn missing(&self, error: &std::io::Error) -> VmError {
        VmError::Lima(format!(
            "`{}` cannot be run: {error}. The Lima backend needs limactl (https://lima-vm.io/docs/installation/); \
             vm.lima.limactl says where it is",
            self.program.display()
        ))
    }

    /// Whether there is a limactl at all.
    pub(super) fn check(&self) -> Result<(), VmError> {
        self.consult(&["--version"], ANSWER, &Cancel::new(), &mut |_| {})
            .map(|_| ())
    }

    /// The instance; none where there is none of this name.
    pub(super) fn find(&self, cancel: &Cancel) -> Result<Option<Instance>, VmError> {
        let said = self.consult(
            &["list", "--format", "json", &self.instance],
            ANSWER,
            cancel,
            &mut |_| {},
        )?;
        if let Some(found) = instance::find(&said.stdout, &self.instance) {
            return Ok(Some(found));
        }
        match said.exit {
            ToolExit::Success => Ok(None),
            ToolExit::Cancelled => Err(VmError::Interrupted),
            // The code for a name that it does not know; anything else says something else.
            ToolExit::Code(_) if text(&said.stderr).contains("No instance matching") => Ok(None),
            _ => Err(self.refused("list", &said, cancel)),
        }
    }

    /// Makes the instance from a template.
    pub(super) fn create(&self, template: &str, flags: &[String], cx: &mut Context) -> Result<(), VmError> {
        let name = format!("--name={}", self.instance);
        let mut arguments = vec!["--log-format=json", "create", "--tty=false", &name];
        arguments.extend(flags.iter().map(String::as_str));
        arguments.push(template);
        self.told("create", &arguments, LONG, cx)
    }

    /// Starts it.
    pub(super) fn start(&self, cx: &mut Context) -> Result<(), VmError> {
        // Its own limit is 10 minutes; ours decides.
        let limit = cx.cancel.remaining().unwrap_or(LONG).max(Duration::from_secs(1));
        let timeout = format!("--timeout={}s", limit.as_secs());
        let arguments = ["--log-format=json", "start", "--tty=false", &timeout, &self.instance];
        self.told("start", &arguments, limit, cx)
    }

    /// Stops it in good order, or at once.
    pub(super) fn stop(&self, force: bool, cancel: &Cancel) -> Result<(), VmError> {
        let mut arguments = vec!["--log-format=json", "stop"];
        arguments.extend(force.then_some("--force"));
        arguments.push(&self.instance);
        let said = self.consult(&arguments, STOP, cancel, &mut |_| {})?;
        match said.exit {
            ToolExit::Success => Ok(()),
            _ => Err(self.refused("stop", &said, cancel)),
        }
    }

    /// Has it do something that takes long, and says how it goes on.
    fn told(&self, what: &str, arguments: &[&str], timeout: Duration, cx: &mut Context) -> Result<(), VmError> {
        let mut lines = Vec::new();
        let emitter = &mut *cx.emitter;
        let mut progress = |bytes: &[u8]| {
            lines.extend_from_slice(bytes);
            while let Some(end) = lines.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = lines.drain(..=end).collect();
                if let Some(message) = progress_of(&line) {
                    emitter.warn(format!("limactl {what}: {message}"));
                }
            }
        };
        let said = self.consult(arguments, timeout, cx.cancel, &mut progress)?;
        match said.exit {
            ToolExit::Success => Ok(()),
            _ => Err(self.refused(what, &said, cx.cancel)),
        }
    }

    /// What it answered where it did not do as it was told.
    fn refused(&self, what: &str, said: &Captured, cancel: &Cancel) -> VmError {
        if cancel.is_raised() {
            return VmError::Interrupted;
        }
        let causes = causes(&said.stderr);
        let how = match &said.exit {
            ToolExit::TimedOut(why) | ToolExit::Lost(why) | ToolExit::NotFound(why) | ToolExit::NotExecutable(why) => {
                why.clone()
            }
            ToolExit::Code(code) => format!("code {code}"),
            ToolExit::Signal(signal) => format!("signal {signal}"),
            ToolExit::Success | ToolExit::Cancelled => "no answer".to_owned(),
        };
        let cause = if causes.is_empty() {
            how
        } else {
            format!("{causes} ({how})")
        };
        let remedy = self.remedy(&causes);
        VmError::Lima(format!(
            "`limactl {what}` of `{}` failed: {cause}{remedy}",
            self.instance
        ))
    }

    /// What helps against a cause, as the next sentence; empty where that is not known.
    fn remedy(&self, cause: &str) -> String {
        hints::of_limactl(cause, &self.program)
            .map(|remedy| format!(". {remedy}"))
            .unwrap_or_default()
    }

    /// Why an instance did not come up, by what the process that kept it wrote last, with what
    /// helps, and where there is more. limactl itself often knows only that it ended.
    pub(super) fn why_not_up(&self, dir: &Path) -> String {
        let logs = logs(dir);
        let Some(cause) = grave(&text(&end_of(&dir.join(HOST_AGENT)))) else {
            return logs;
        };
        let remedy = self.remedy(&cause);
        format!("its host agent ended with: {cause}{remedy}; {logs}")
    }
}

/// The last of a log, as much as a cause may take; nothing where it cannot be read.
fn end_of(log: &Path) -> Vec<u8> {
    use std::io::{Read as _, Seek as _, SeekFrom};
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = std::fs::File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LOG_END)))?;
        let mut end = Vec::new();
        file.take(LOG_END).read_to_end(&mut end)?;
        Ok(end)
    };
    read().unwrap_or_default()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Level and message of a line of its log, as JSON or as it writes it for people.
fn log_line(line: &str) -> Option<(String, String)> {
    if let Ok(object) = serde_json::from_str::<Value>(line) {
        return Some((object["level"].as_str()?.to_owned(), object["msg"].as_str()?.to_owned()));
    }
    let level = line.split("level=").nth(1)?.split_whitespace().next()?;
    let message = line.split("msg=").nth(1)?.trim().trim_matches('"');
    Some((level.to_owned(), message.replace("\\\"", "\"")))
}

/// What of its log is worth being told while it works.
fn progress_of(line: &[u8]) -> Option<String> {
    let (level, message) = log_line(text(line).trim())?;
    (matches!(level.as_str(), "info" | "error") && !message.is_empty()).then_some(message)
}

/// Why it failed: the last of its errors, or the last that it said at all.
fn causes(stderr: &[u8]) -> String {
    let text = text(stderr);
    grave(&text).unwrap_or_else(|| {
        let last = text
            .lines()
            .map(str::trim)
            .rfind(|line| !line.is_empty())
            .unwrap_or_default();
        log_line(last).map_or_else(|| last.to_owned(), |(_, message)| message)
    })
}

/// The last two messages of a log that are graver than a warning.
fn grave(log: &str) -> Option<String> {
    let grave: Vec<String> = log
        .lines()
        .filter_map(|line| log_line(line.trim()))
        .filter(|(level, _)| matches!(level.as_str(), "error" | "fatal" | "panic"))
        .map(|(_, message)| message)
        .collect();
    let last = grave.get(grave.len().saturating_sub(2)..)?;
    (!last.is_empty()).then(|| last.join("; "))
}

/// The two logs that tell more.
pub(super) fn logs(dir: &Path) -> String {
    format!(
        "its logs: `{}`, `{}`",
        dir.join(HOST_AGENT).display(),
        dir.join("serial.log").display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::lima::line::greet_and_become;

    #[test]
    fn the_cause_is_what_limactl_calls_an_error() {
        let json = b"{\"level\":\"info\",\"msg\":\"Starting\"}\n{\"level\":\"fatal\",\"msg\":\"exiting, status=1\"}\n";
        assert_eq!(causes(json), "exiting, status=1");
        let plain = br#"time="x" level=info msg="a"
time="x" level=fatal msg="must not run as the root user"
"#;
        assert_eq!(causes(plain), "must not run as the root user");
        assert_eq!(causes(b"sh: limactl: not found\n"), "sh: limactl: not found");
        assert_eq!(causes(b""), "");
    }

    #[test]
    fn words_reach_the_guest_through_both_of_its_shells() {
        let limactl = Limactl {
            program: "limactl".into(),
            instance: "t".to_owned(),
        };
        let program = ["printf", "<%s>", "it's", "$HOME *", "two\nlines"];
        let argv = limactl.ssh("/l/t/ssh.config", "", &greet_and_become("a word", &program));
        assert_eq!(argv[6..8], ["lima-t", "--"]);
        let said = std::process::Command::new("sh")
            .arg("-c")
            .arg(&argv[8])
            .env("SHELL", "/bin/sh")
            .output()
            .unwrap();
        assert_eq!(
            String::from_utf8_lossy(&said.stdout),
            "a word\n<it's><$HOME *><two\nlines>"
        );
    }

    #[test]
    fn progress_is_what_it_says_to_people() {
        assert_eq!(
            progress_of(b"{\"level\":\"info\",\"msg\":\"READY\"}\n").as_deref(),
            Some("READY")
        );
        assert_eq!(progress_of(b"{\"level\":\"debug\",\"msg\":\"x\"}\n"), None);
        assert_eq!(progress_of(b"what\n"), None);
    }
}
