//! `guest_fs` requests, with the contents that come and go in raw bytes.

use std::sync::Arc;

use crate::sidecar::{
    Addressed, Capability, FsData, FsErrorCode, FsOperation, GuestFs, GuestFsOk, MAX_FRAME, Reply, from_base64,
    to_base64,
};

use super::connection::Connection;
use super::fields::check;
use super::files::{
    FsRefusal, NewFile, Opened, Page, Target, list_dir, mkdir, read_whole, remove, set_stat, symlink, time_of,
};
use super::refusal::Refusal;
use super::session::Session;

/// What a line of `read_file` holds besides the content and the session's id.
const ENVELOPE: usize = 4096;

/// How much base64 is decoded at once; whole groups of four.
const BASE64_PIECE: usize = 64 * 1024;

/// The files of a connection's session.
pub(super) struct Files<'a> {
    connection: &'a Arc<Connection>,
    upload: Option<Upload>,
}

/// A file whose content is under way.
struct Upload {
    id: u64,
    session: Arc<Session>,
    /// None: it has failed, the client knows, and what still comes is dropped.
    file: Option<NewFile>,
}

impl<'a> Files<'a> {
    pub(super) fn new(connection: &'a Arc<Connection>) -> Self {
        Self {
            connection,
            upload: None,
        }
    }

    /// Whether a content is under way for this id.
    pub(super) fn is_under_way(&self, id: u64) -> bool {
        self.upload.as_ref().is_some_and(|upload| upload.id == id)
    }

    /// Drops a content that is not whole and says so.
    pub(super) fn drop_all(&mut self) {
        if let Some(upload) = &mut self.upload
            && upload.file.take().is_some()
        {
            let refusal = FsRefusal::new(
                FsErrorCode::IoError,
                "the session was ended before the end of the content",
            );
            self.connection
                .reply(Some(upload.id), refusal.into_reply(upload.session.id()));
        }
    }

    /// Does a request; none where the reply comes later.
    pub(super) fn handle(
        &mut self,
        session: &Arc<Session>,
        id: Option<u64>,
        request: GuestFs,
    ) -> Result<Option<Reply>, Refusal> {
        let Some(operation) = FsOperation::from_name(&request.operation) else {
            let unknown = format!(
                "there is no operation `{}`",
                request.operation.chars().take(40).collect::<String>()
            );
            return Ok(Some(
                FsRefusal::new(FsErrorCode::Unknown, unknown).into_reply(session.id()),
            ));
        };
        check(self.connection.capabilities(), operation, &request)?;
        self.connection.log().debug(
            "guest_fs",
            &[("conn", &self.connection.number()), ("operation", &operation.name())],
        );
        let done = match operation {
            FsOperation::Stat | FsOperation::Symlink | FsOperation::SetStat if !self.offers(operation) => {
                Err(FsRefusal::new(
                    FsErrorCode::Unknown,
                    format!(
                        "`{}` needs the capability {}",
                        operation.name(),
                        needed(operation).name()
                    ),
                ))
            }
            FsOperation::WriteFile if request.raw == Some(true) => {
                return self.begin_upload(session, id.unwrap_or(0), &request);
            }
            _ => Target::new(session, &request).and_then(|target| self.operate(&target, operation, &request, id)),
        };
        Ok(match done {
            Ok(done) => done,
            Err(refusal) => Some(refusal.into_reply(session.id())),
        })
    }

    fn offers(&self, operation: FsOperation) -> bool {
        self.connection.has(needed(operation))
    }

    fn operate(
        &self,
        target: &Target,
        operation: FsOperation,
        request: &GuestFs,
        id: Option<u64>,
    ) -> Result<Option<Reply>, FsRefusal> {
        let base64 = |what: &str| FsRefusal::new(FsErrorCode::InvalidBase64, format!("{what} is no base64"));
        let done = match operation {
            FsOperation::ListDir => {
                let page = Page {
                    after: match (&request.after, &request.after_base64) {
                        (None, None) => None,
                        _ => Some(request.after_bytes().ok_or_else(|| base64("after_base64"))?),
                    },
                    with_stat: request.stat == Some(true),
                    raw_names: self.connection.has(Capability::FsRaw),
                    whole_within: (!self.connection.has(Capability::FsStat)).then(|| self.line_limit()),
                };
                list_dir(target, &page)?
            }
            FsOperation::ReadFile if request.raw == Some(true) => return self.send(target, request, id.unwrap_or(0)),
            FsOperation::ReadFile => return self.send_whole(target, id),
            FsOperation::WriteFile => {
                let mut file = NewFile::create(target, request.mode, time_of(request))?;
                let text = request.content_base64.as_deref().unwrap_or_default();
                // Piece by piece: the text is large enough.
                let mut pieces = text.as_bytes().chunks(BASE64_PIECE).peekable();
                while let Some(piece) = pieces.next() {
                    let decoded = std::str::from_utf8(piece).ok().and_then(from_base64);
                    let is_padded = piece.last() == Some(&b'=');
                    match decoded {
                        Some(bytes) if pieces.peek().is_none() || !is_padded => file.write(&bytes)?,
                        _ => return Err(base64("content_base64")),
                    }
                }
                file.commit()?;
                target.done()
            }
            FsOperation::Mkdir => mkdir(target, request.mode)?,
            FsOperation::Remove => remove(target)?,
            FsOperation::Stat => target.stat()?,
            FsOperation::Symlink => {
                let holds = request.target_bytes().ok_or_else(|| base64("target_base64"))?;
                symlink(target, &holds, time_of(request))?
            }
            FsOperation::SetStat => set_stat(target, request.mode, time_of(request))?,
        };
        Ok(Some(Reply::GuestFsOk(done)))
    }

    /// What a line to this client may hold.
    fn line_limit(&self) -> usize {
        if self.connection.capabilities().is_empty() {
            self.connection.settings().max_line
        } else {
            crate::sidecar::MAX_LINE
        }
    }

    /// A whole file in one line, as version 1 has it.
    fn send_whole(&self, target: &Target, id: Option<u64>) -> Result<Option<Reply>, FsRefusal> {
        let room = self.line_limit().saturating_sub(ENVELOPE) / 4 * 3;
        let content = read_whole(target, room)?;
        let body = Reply::GuestFsOk(GuestFsOk {
            content_base64: Some(String::new()),
            ..target.done()
        });
        let _ = self
            .connection
            .outbox()
            .say(with_content(&Addressed { id, body }.to_line(), content), Vec::new());
        Ok(None)
    }

    /// A file, or a part of it, in raw bytes.
    fn send(&self, target: &Target, request: &GuestFs, id: u64) -> Result<Option<Reply>, FsRefusal> {
        let opened = Opened::new(target)?;
        let mut offset = request.offset.unwrap_or(0);
        let mut left = request.length.unwrap_or(u64::MAX);
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(MAX_FRAME).min(MAX_FRAME);
            let bytes = opened
                .read(offset, most)
                .map_err(|error| FsRefusal::of(&target.shown, &error))?;
            let Ok(len) = u32::try_from(bytes.len()) else { break };
            if len == 0 {
                break;
            }
            offset += u64::from(len);
            left -= u64::from(len);
            let line = Reply::FsData(FsData { id, len, eof: false }).to_line();
            if self.connection.outbox().say(line, bytes).is_err() {
                // Nobody hears the reply either.
                return Ok(None);
            }
        }
        Ok(Some(Reply::GuestFsOk(GuestFsOk {
            stat: Some(opened.stat()),
            ..target.done()
        })))
    }

    fn begin_upload(&mut self, session: &Arc<Session>, id: u64, request: &GuestFs) -> Result<Option<Reply>, Refusal> {
        if self.upload.is_some() {
            return Err(Refusal::bad_request(
                "another `write_file` with `raw` is under way on this connection",
            ));
        }
        let created =
            Target::new(session, request).and_then(|target| NewFile::create(&target, request.mode, time_of(request)));
        let (file, reply) = match created {
            Ok(file) => (Some(file), None),
            Err(refusal) => (None, Some(refusal.into_reply(session.id()))),
        };
        // The content comes in any case.
        self.upload = Some(Upload {
            id,
            session: Arc::clone(session),
            file,
        });
        Ok(reply)
    }

    /// A piece of the content that is under way.
    pub(super) fn data(&mut self, request: &FsData, raw: &[u8]) -> Result<(), Refusal> {
        let Some(upload) = self.upload.as_mut().filter(|upload| upload.id == request.id) else {
            return Err(Refusal::bad_request(format!(
                "no `write_file` with `raw` is under way with the id {}",
                request.id
            )));
        };
        let mut result = None;
        if let Some(mut file) = upload.file.take() {
            match file.write(raw) {
                Err(refusal) => result = Some(Err(refusal)),
                Ok(()) if request.eof => result = Some(file.commit()),
                Ok(()) => upload.file = Some(file),
            }
        }
        let session_id = upload.session.id().to_owned();
        let id = Some(upload.id);
        if request.eof {
            self.upload = None;
        }
        if let Some(result) = result {
            let body = match result {
                Ok(()) => Reply::GuestFsOk(GuestFsOk {
                    session_id,
                    ..GuestFsOk::default()
                }),
                Err(refusal) => refusal.into_reply(&session_id),
            };
            let _ = self
                .connection
                .outbox()
                .say(Addressed { id, body }.to_line(), Vec::new());
        }
        Ok(())
    }
}

/// The line of an empty content with this one in it: such a line is large, and is made once.
fn with_content(line: &[u8], content: Vec<u8>) -> Vec<u8> {
    const EMPTY: &[u8] = b"\"content_base64\":\"\"";
    // A string cannot hold that: its quotes would be escaped.
    let at = line.windows(EMPTY.len()).position(|part| part == EMPTY);
    let (before, after) = line.split_at(at.map_or(0, |at| at + EMPTY.len() - 1));
    let text = to_base64(&content);
    drop(content);
    [before, text.as_bytes(), after].concat()
}

fn needed(operation: FsOperation) -> Capability {
    match operation {
        FsOperation::Stat => Capability::FsStat,
        _ => Capability::FsRaw,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sidecar::{Addressed, decode_reply};

    #[test]
    fn a_content_goes_into_its_place_whatever_the_session_is_called() {
        let body = GuestFsOk {
            session_id: "\"content_base64\":\"\"".to_owned(),
            content_base64: Some(String::new()),
            ..GuestFsOk::default()
        };
        let line = Addressed {
            id: Some(3),
            body: Reply::GuestFsOk(body.clone()),
        }
        .to_line();
        let whole = with_content(&line, b"abc".to_vec());
        let wanted = GuestFsOk {
            content_base64: Some(to_base64(b"abc")),
            ..body
        };
        let decoded = decode_reply(whole.trim_ascii_end()).unwrap();
        assert_eq!((decoded.id, decoded.body), (Some(3), Reply::GuestFsOk(wanted)));
    }
}
