//! That a mount is the folder that it is said to be: what one side writes, the other sees.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use crate::process::Cancel;
use crate::session::VmError;
use crate::session::sidecar::{Answer, At, RemoteFiles};
use crate::sys::random::token;

use super::carry::Road;
use super::connect::quoted;
use super::guest::Guest;
use super::limactl::Limactl;
use super::settings::LimaSettings;

/// A file that the agent was told to write into the mount.
pub(super) struct Proof {
    files: RemoteFiles,
    answers: Receiver<Answer>,
    /// Where the agent writes it.
    there: String,
    /// Where it has to be seen.
    here: PathBuf,
    word: String,
}

impl Proof {
    /// Tells the agent.
    pub(super) fn begin(settings: &LimaSettings, at: &At, cancel: &Cancel) -> Result<Self, String> {
        let (name, word) = (format!(".proof-{}", token()), token());
        let mount = settings.mount(Road::Mount);
        let files = RemoteFiles::new(Arc::clone(at.link), at.session_id.to_owned(), mount.clone(), cancel);
        let there = format!("{mount}/{name}");
        let answers = files.begin_write(&there, word.as_bytes());
        Ok(Self {
            answers: answers.map_err(|error| error.to_string())?,
            files,
            there,
            here: settings.tree().join(&name),
            word,
        })
    }

    /// What the agent wrote is seen here: then it is this very folder.
    pub(super) fn is_seen(&self) -> Result<(), String> {
        let written = self.files.written(&self.there, &self.answers);
        let seen = std::fs::read_to_string(&self.here);
        written.map_err(|error| error.to_string())?;
        is_word(&seen, &self.word).map_err(str::to_owned)
    }
}

impl Drop for Proof {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.here);
    }
}

/// A file from here is seen there, and one from there is seen here.
pub(super) fn shell_proved(
    settings: &LimaSettings,
    limactl: &Limactl,
    guest: &Guest,
    cancel: &Cancel,
) -> Result<(), VmError> {
    let (there, here, word) = (format!(".proof-{}", token()), format!(".proof-{}", token()), token());
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

fn is_word(seen: &io::Result<String>, word: &str) -> Result<(), &'static str> {
    match seen {
        Ok(seen) if seen == word => Ok(()),
        _ => Err("what one side writes, the other does not see"),
    }
}

pub(super) fn no_mount(settings: &LimaSettings, limactl: &Limactl, why: &str) -> VmError {
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
