//! The guest's files over the wire.

use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use crate::guest_fs::{GuestFsError, GuestFsOps};
use crate::process::Cancel;
use crate::sidecar::{
    Capability, FsData, FsErrorCode, FsOperation, GuestFs, GuestFsOk, MAX_FRAME, Reply, Request, from_base64, to_base64,
};

use super::link::{Answer, Broken, CallError, Link};
use super::said::of_reply;

/// How long a piece of an answer may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Files below the mount of a session.
pub(in crate::session) struct RemoteFiles {
    link: Arc<Link>,
    session_id: String,
    mount: String,
    cancel: Cancel,
}

impl RemoteFiles {
    /// Those of a session; each request is given up when the caller wishes to stop.
    pub(in crate::session) fn new(link: Arc<Link>, session_id: String, mount: String, cancel: &Cancel) -> Self {
        Self {
            link,
            session_id,
            mount,
            cancel: cancel.clone(),
        }
    }

    pub(in crate::session) fn request(&self, operation: FsOperation, path: &[u8]) -> GuestFs {
        GuestFs::new(&self.session_id, operation, path)
    }

    fn plain(&self, path: &str) -> Result<String, GuestFsError> {
        crate::guest_fs::below_mount(&self.mount, path)
    }

    /// One request with its answer.
    pub(in crate::session) fn ask(&self, path: &str, request: GuestFs) -> Result<GuestFsOk, GuestFsError> {
        let reply = self
            .link
            .call(Request::GuestFs(request), Some(PATIENCE), &|| !self.cancel.is_raised());
        answered(path, reply)
    }

    /// The bytes of a file in pieces, then what is known of it.
    pub(in crate::session) fn read_raw(
        &self,
        path: &str,
        mut request: GuestFs,
        each: &mut dyn FnMut(&[u8]) -> std::io::Result<()>,
    ) -> Result<GuestFsOk, GuestFsError> {
        request.raw = Some(true);
        let (_, answers) = self
            .link
            .ask(Request::GuestFs(request))
            .map_err(|error| unreachable(&error))?;
        let mut failed = None;
        loop {
            // Where pieces come without a pause nothing else would ask.
            if self.cancel.is_raised() {
                return Err(GuestFsError::interrupted());
            }
            let until = Instant::now().checked_add(PATIENCE);
            match self.link.next(&answers, until, &|| !self.cancel.is_raised()) {
                // What comes is taken to its end, so that the connection stays of use.
                Ok(Answer::Data(bytes)) if failed.is_none() => failed = each(&bytes).err(),
                Ok(Answer::Data(_)) => {}
                Ok(Answer::Reply(reply)) => {
                    let done = answered(path, Ok(*reply))?;
                    return match failed {
                        None => Ok(done),
                        Some(error) => Err(GuestFsError::Internal(format!("cannot keep `{path}`: {error}"))),
                    };
                }
                Err(error) => return Err(unreachable(&error)),
            }
        }
    }

    /// Begins to write a small file; [`Self::written`] waits until it is.
    pub(in crate::session) fn begin_write(
        &self,
        path: &str,
        mut content: &[u8],
    ) -> Result<Receiver<Answer>, GuestFsError> {
        let request = self.request(FsOperation::WriteFile, self.plain(path)?.as_bytes());
        self.say_raw(request, &mut |buffer| std::io::Read::read(&mut content, buffer))
            .map(|(answers, _)| answers)
    }

    /// Waits for the end of a write.
    pub(in crate::session) fn written(&self, path: &str, answers: &Receiver<Answer>) -> Result<(), GuestFsError> {
        let reply = self.link.answer(answers, Some(PATIENCE), &|| !self.cancel.is_raised());
        answered(path, reply).map(|_| ())
    }

    /// Writes a file in pieces; `next` gives none at the end.
    pub(in crate::session) fn write_raw(
        &self,
        path: &str,
        request: GuestFs,
        next: &mut dyn FnMut(&mut [u8]) -> std::io::Result<usize>,
    ) -> Result<(), GuestFsError> {
        let (answers, failed) = self.say_raw(request, next)?;
        self.written(path, &answers)?;
        match failed {
            None => Ok(()),
            Some(error) => Err(GuestFsError::Internal(format!(
                "cannot read what `{path}` is to hold: {error}"
            ))),
        }
    }

    /// Asks for a file to be written and says what it is to hold; gives why that ended too early, where it did.
    fn say_raw(
        &self,
        mut request: GuestFs,
        next: &mut dyn FnMut(&mut [u8]) -> std::io::Result<usize>,
    ) -> Result<(Receiver<Answer>, Option<std::io::Error>), GuestFsError> {
        request.raw = Some(true);
        let (id, answers) = self
            .link
            .ask(Request::GuestFs(request))
            .map_err(|error| unreachable(&error))?;
        let mut buffer = vec![0; MAX_FRAME];
        let mut failed = None;
        loop {
            if self.cancel.is_raised() {
                return Err(GuestFsError::interrupted());
            }
            let length = next(&mut buffer).unwrap_or_else(|error| {
                failed = Some(error);
                0
            });
            let piece = buffer.get(..length).unwrap_or_default();
            let data = FsData {
                id,
                len: u32::try_from(length).unwrap_or(0),
                eof: length == 0,
            };
            if let Err(broken) = self.link.tell(Request::FsData(data), piece) {
                return Err(unreachable(&CallError::Broken(broken)));
            }
            if length == 0 {
                return Ok((answers, failed));
            }
        }
    }

    /// Whether contents may go in pieces, with their metadata.
    pub(in crate::session) fn is_raw(&self) -> bool {
        self.link.has(Capability::FsRaw) && self.link.has(Capability::FsStat)
    }
}

impl GuestFsOps for RemoteFiles {
    fn list_dir(&mut self, path: &str) -> Result<Vec<String>, GuestFsError> {
        let plain = self.plain(path)?;
        let mut names: Vec<String> = Vec::new();
        loop {
            let mut request = self.request(FsOperation::ListDir, plain.as_bytes());
            if let Some(last) = names.last() {
                request = request.after(last.as_bytes());
            }
            let page = self.ask(path, request)?;
            let more = page.more.unwrap_or(false);
            let found = page.names.unwrap_or_default();
            if page.names_base64.is_some_and(|odd| !odd.is_empty()) {
                return Err(GuestFsError::Internal(format!(
                    "`{path}` holds names that are not UTF-8"
                )));
            }
            let stuck = found.is_empty();
            names.extend(found);
            if !more || stuck {
                return Ok(names);
            }
        }
    }

    fn read_file(&mut self, path: &str) -> Result<Vec<u8>, GuestFsError> {
        let plain = self.plain(path)?;
        let request = self.request(FsOperation::ReadFile, plain.as_bytes());
        if self.is_raw() {
            let mut content = Vec::new();
            self.read_raw(path, request, &mut |bytes| {
                content.extend_from_slice(bytes);
                Ok(())
            })?;
            return Ok(content);
        }
        let done = self.ask(path, request)?;
        done.content_base64
            .as_deref()
            .and_then(from_base64)
            .ok_or_else(|| GuestFsError::Internal(format!("the sidecar gave no content of `{path}`")))
    }

    fn write_file(&mut self, path: &str, content: &[u8]) -> Result<(), GuestFsError> {
        let plain = self.plain(path)?;
        let mut request = self.request(FsOperation::WriteFile, plain.as_bytes());
        if self.is_raw() {
            let mut rest = content;
            return self.write_raw(path, request, &mut |buffer| std::io::Read::read(&mut rest, buffer));
        }
        request.content_base64 = Some(to_base64(content));
        self.ask(path, request).map(|_| ())
    }

    fn mkdir(&mut self, path: &str) -> Result<(), GuestFsError> {
        let plain = self.plain(path)?;
        self.ask(path, self.request(FsOperation::Mkdir, plain.as_bytes()))
            .map(|_| ())
    }

    fn remove(&mut self, path: &str) -> Result<(), GuestFsError> {
        let plain = self.plain(path)?;
        self.ask(path, self.request(FsOperation::Remove, plain.as_bytes()))
            .map(|_| ())
    }
}

fn unreachable(error: &CallError) -> GuestFsError {
    let message = match error {
        CallError::Broken(Broken::Lost(why)) => why.clone(),
        CallError::Broken(Broken::Protocol(what)) | CallError::Unexpected(what) => {
            format!("it said something that is not the protocol: {what}")
        }
        CallError::Refused(refused) => format!("{}: {}", refused.code, refused.message),
        CallError::Late => "it does not answer".to_owned(),
        CallError::Cancelled => return GuestFsError::interrupted(),
    };
    GuestFsError::Vm { message, source: None }
}

fn answered(path: &str, reply: Result<Reply, CallError>) -> Result<GuestFsOk, GuestFsError> {
    let failure = match reply {
        Ok(Reply::GuestFsOk(done)) => return Ok(done),
        Ok(Reply::GuestFsError(failure)) => failure,
        Ok(Reply::Error(refused)) => return Err(unreachable(&CallError::Refused(refused))),
        Ok(other) => return Err(unreachable(&CallError::Unexpected(of_reply(&other)))),
        Err(error) => return Err(unreachable(&error)),
    };
    let path = path.to_owned();
    Err(match failure.code {
        FsErrorCode::InvalidPath => GuestFsError::InvalidPath {
            path,
            why: "the sidecar refuses it",
        },
        FsErrorCode::NotFound => GuestFsError::NotFound(path),
        FsErrorCode::NotADirectory => GuestFsError::NotADirectory(path),
        FsErrorCode::IsADirectory => GuestFsError::IsADirectory(path),
        FsErrorCode::IoError | FsErrorCode::InvalidBase64 | FsErrorCode::Unknown | FsErrorCode::Other(_) => {
            GuestFsError::GuestCommand {
                command: format!("guest_fs on `{path}`"),
                code: None,
                message: format!("{}: {}", failure.code, failure.message),
            }
        }
    })
}
