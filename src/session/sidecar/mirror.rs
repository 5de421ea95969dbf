//! The tree of a session whose sidecar shares no folder: it is carried over the connection.

use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};

use crate::mirror::{Manifest, Mirror, MirrorError, Stream, Taken, Wire};
use crate::plan::SidecarAddress;
use crate::process::Cancel;
use crate::session::VmError;
use crate::sidecar::{Direction, FsData, Reply, Request, Transfer, TransferOk};
use crate::workspace::{ProgressFn, SyncError};

use super::greeting::failed;
use super::link::{Answer, Broken, CallError, Link};
use super::said::of_reply;
use super::shared::of_call;

/// How often a tree is looked at anew that does not stand still.
const TRIES: usize = 3;

/// The staging of this side and the folder that it stands for.
pub(in crate::session) struct RemoteMirror {
    /// This side's.
    mirror: Mirror,
    /// The sidecar's, as a guest path.
    guest_path: PathBuf,
    /// What the staging holds, for the next push.
    looked: Option<Manifest>,
    /// A push that was asked for and not yet gone on with.
    asked: Option<Asked>,
    /// What the staging holds since the last push: nobody but devshell writes there.
    pushed: Option<Manifest>,
}

/// A push that was asked for.
struct Asked {
    own: Manifest,
    id: u64,
    answers: Receiver<Answer>,
}

/// A connection with its session.
pub(in crate::session) struct At<'a> {
    pub(in crate::session) link: &'a Arc<Link>,
    pub(in crate::session) session_id: &'a str,
    pub(in crate::session) address: &'a SidecarAddress,
}

/// Why a tree was not carried.
enum Failed {
    /// On this side.
    Here(MirrorError),
    /// With the sidecar.
    There(CallError),
}

impl RemoteMirror {
    pub(in crate::session) fn new(mirror: Mirror, guest_path: PathBuf) -> Self {
        Self {
            mirror,
            guest_path,
            looked: None,
            asked: None,
            pushed: None,
        }
    }

    /// Looks at what the staging holds, which may take long, before there is somebody who waits for it.
    pub(in crate::session) fn look(&mut self, cancel: &Cancel) -> Result<(), VmError> {
        self.looked = Some(self.mirror.look(&|| cancel.is_raised())?);
        Ok(())
    }

    /// Asks for a push, perhaps before it is known that there is a session: the next [`Self::push`] goes on with it.
    pub(in crate::session) fn ask(&mut self, at: &At, cancel: &Cancel) -> Result<(), VmError> {
        self.asked = Some(self.asked_for(at, cancel)?);
        Ok(())
    }

    fn asked_for(&mut self, at: &At, cancel: &Cancel) -> Result<Asked, VmError> {
        let own = match self.looked.take() {
            Some(own) => own,
            None => self.mirror.look(&|| cancel.is_raised())?,
        };
        let request = self.request(at, Direction::PushToGuest, own.digest_in_hex());
        let asked = at.link.ask(Request::Transfer(request));
        let (id, answers) = asked.map_err(|error| of_failed(at, Failed::There(error)))?;
        Ok(Asked { own, id, answers })
    }

    /// Makes the sidecar's folder equal to the staging; tells what was done there.
    pub(in crate::session) fn push(
        &mut self,
        at: &At,
        cancel: &Cancel,
        tell: ProgressFn,
    ) -> Result<TransferOk, VmError> {
        self.pushed = None;
        let stop = || cancel.is_raised();
        let asked = match self.asked.take() {
            Some(asked) => asked,
            None => self.asked_for(at, cancel)?,
        };
        let own = asked.own;
        let mut call = Call::new(at.link, asked.id, asked.answers, cancel);
        let given = call.exchange(|stream| {
            Mirror::is_asked_for_entries(stream)?;
            self.mirror.give(&own, stream, &stop, tell)
        });
        let carried = call.end(given).map(|(_, done)| done);
        let closed = self.mirror.close_again(&own).map_err(VmError::from);
        let done = carried.map_err(|error| of_failed(at, error))?;
        closed?;
        // The next one to look opens up what is closed.
        self.pushed = Some(own).filter(|own| !own.has_closed());
        Ok(done)
    }

    /// Makes the staging equal to the sidecar's folder.
    pub(in crate::session) fn pull(
        &mut self,
        at: &At,
        cancel: &Cancel,
        tell: ProgressFn,
    ) -> Result<(Taken, TransferOk), VmError> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.pull_once(at, cancel, tell) {
                Err(Failed::Here(MirrorError::Changed)) if tries < TRIES => {}
                other => return other.map_err(|error| of_failed(at, error)),
            }
        }
    }

    fn pull_once(&mut self, at: &At, cancel: &Cancel, tell: ProgressFn) -> Result<(Taken, TransferOk), Failed> {
        let stop = || cancel.is_raised();
        let own = match self.pushed.take() {
            Some(own) => own,
            None => self.mirror.look(&stop).map_err(|error| Failed::Here(error.into()))?,
        };
        let request = self.request(at, Direction::PullFromGuest, own.digest_in_hex());
        let (id, answers) = at.link.ask(Request::Transfer(request)).map_err(Failed::There)?;
        let mut call = Call::new(at.link, id, answers, cancel);
        // Where both are equal the reply comes in the place of the first entry.
        let taken = call.exchange(|stream| self.mirror.take(&own, stream, &stop, tell));
        let (taken, done) = call.end(taken)?;
        if taken.is_none() {
            let closed = self.mirror.close_again(&own);
            closed.map_err(|error| Failed::Here(error.into()))?;
        }
        Ok((taken.unwrap_or_default(), done))
    }

    fn request(&self, at: &At, direction: Direction, digest: String) -> Transfer {
        let path = self.guest_path.as_os_str().as_bytes();
        let (ignore, cache_dirs) = self.mirror.rules.lines();
        Transfer {
            ignore: ignore.to_vec(),
            cache_dirs: cache_dirs.to_vec(),
            ..Transfer::new(at.session_id, direction, path, digest)
        }
    }
}

impl Drop for RemoteMirror {
    fn drop(&mut self) {
        // In vain: what the look has opened up is closed again.
        let asked = self.asked.as_ref().map(|asked| &asked.own);
        if let Some(own) = asked.or(self.looked.as_ref()) {
            let _ = self.mirror.close_again(own);
        }
    }
}

/// A transfer under way.
struct Call<'a> {
    link: &'a Arc<Link>,
    id: u64,
    answers: Receiver<Answer>,
    cancel: &'a Cancel,
    /// Whether anything came before it.
    has_heard: bool,
    /// The reply, once it came, or why there is none.
    reply: Option<Result<Reply, CallError>>,
}

impl<'a> Call<'a> {
    fn new(link: &'a Arc<Link>, id: u64, answers: Receiver<Answer>, cancel: &'a Cancel) -> Self {
        Self {
            link,
            id,
            answers,
            cancel,
            has_heard: false,
            reply: None,
        }
    }

    /// Does this side's part.
    fn exchange<T>(&mut self, part: impl FnOnce(&mut Stream) -> Result<T, MirrorError>) -> Result<T, MirrorError> {
        part(&mut Stream::new(self))
    }

    /// Says the last frame and gives what came of both parts. No value: the trees were equal already.
    fn end<T>(mut self, part: Result<T, MirrorError>) -> Result<(Option<T>, TransferOk), Failed> {
        let part = match part {
            Ok(part) => Some(part),
            // The reply says why.
            Err(MirrorError::Cut) => None,
            Err(error) => {
                let _ = self.say_last();
                return Err(Failed::Here(error));
            }
        };
        let said = self.say_last();
        while self.reply.is_none() {
            match self.link.next(&self.answers, None, &|| !self.cancel.is_raised()) {
                Ok(Answer::Reply(reply)) => self.reply = Some(Ok(*reply)),
                Ok(Answer::Data(_)) => {}
                Err(error) => self.reply = Some(Err(error)),
            }
        }
        match self.reply {
            Some(Ok(Reply::TransferOk(_))) if part.is_none() && self.has_heard => {
                Err(Failed::There(CallError::Unexpected("an end before the end".to_owned())))
            }
            Some(Ok(Reply::TransferOk(done))) => Ok((part, done)),
            Some(Ok(Reply::Error(refusal))) => Err(Failed::There(CallError::Refused(refusal))),
            Some(Ok(other)) => Err(Failed::There(CallError::Unexpected(of_reply(&other)))),
            Some(Err(error)) => Err(Failed::There(error)),
            None => Err(Failed::There(said.err().map_or(CallError::Late, CallError::Broken))),
        }
    }

    fn say_last(&self) -> Result<(), Broken> {
        let last = FsData {
            id: self.id,
            len: 0,
            eof: true,
        };
        self.link.tell(Request::TransferData(last), &[])
    }

    fn ended(&mut self, reply: Result<Reply, CallError>) -> MirrorError {
        self.reply = Some(reply);
        MirrorError::Cut
    }
}

impl Wire for Call<'_> {
    fn send(&mut self, frame: &[u8]) -> Result<(), MirrorError> {
        if self.cancel.is_raised() {
            return Err(SyncError::Cancelled.into());
        }
        match self.answers.try_recv() {
            Err(TryRecvError::Empty) => {}
            Ok(Answer::Reply(reply)) => return Err(self.ended(Ok(*reply))),
            Ok(Answer::Data(_)) => return Err(MirrorError::Peer("it speaks while it has to listen".to_owned())),
            // Asked again, it is said why.
            Err(TryRecvError::Disconnected) => return self.receive().map(drop),
        }
        let data = FsData {
            id: self.id,
            len: u32::try_from(frame.len()).unwrap_or(u32::MAX),
            eof: false,
        };
        let sent = self.link.tell(Request::TransferData(data), frame);
        sent.map_err(|broken| self.ended(Err(CallError::Broken(broken))))
    }

    fn receive(&mut self) -> Result<Vec<u8>, MirrorError> {
        match self.link.next(&self.answers, None, &|| !self.cancel.is_raised()) {
            Ok(Answer::Data(frame)) => {
                self.has_heard = true;
                Ok(frame)
            }
            Ok(Answer::Reply(reply)) => Err(self.ended(Ok(*reply))),
            Err(CallError::Cancelled) => Err(SyncError::Cancelled.into()),
            Err(error) => Err(self.ended(Err(error))),
        }
    }
}

fn of_failed(at: &At, error: Failed) -> VmError {
    match error {
        Failed::Here(error) => of_here(at, error),
        Failed::There(error) => of_call(at, "transfer", error),
    }
}

fn of_here(at: &At, error: MirrorError) -> VmError {
    match error {
        MirrorError::Local(error) => VmError::Sync(error),
        MirrorError::Peer(what) => {
            // What else it may say is not worth hearing.
            at.link.hang_up();
            failed(at.address, "transfer", CallError::Broken(Broken::Protocol(what)))
        }
        error @ MirrorError::TooLarge(_) => VmError::Sync(SyncError::Afar {
            message: error.to_string(),
        }),
        MirrorError::Changed => VmError::Sync(SyncError::Afar {
            message: "the tree does not stand still: something at the sidecar still writes into it".to_owned(),
        }),
        MirrorError::Cut => VmError::Lost {
            message: "the sidecar was lost while the tree was carried".to_owned(),
            source: None,
        },
    }
}
