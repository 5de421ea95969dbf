//! What devshell and its keeper say to each other: records on a SOCK_SEQPACKET pair, one a
//! message, in native byte order. Both ends are the same program image.

use super::processes::{SURVIVOR_TEXT, SURVIVORS};

/// Bytes of the longest record: an end with all its survivors.
pub(crate) const RECORD: usize = 64 + SURVIVORS * (8 + SURVIVOR_TEXT);

/// Bytes of every request.
pub(super) const REQUEST: usize = 16;

/// What devshell asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request {
    /// The id maps are written: go on with the set-up.
    Go,
    /// Start a tool. Comes with four descriptors: the memory with the command, stdin, stdout, stderr.
    Spawn {
        /// Names the tool in what follows.
        id: u32,
        /// Bytes of the command.
        length: u64,
    },
    /// SIGTERM to all that the tool started.
    Terminate(u32),
    /// SIGKILL to all that the tool started.
    Kill(u32),
    /// A signal to the tool's own process group, as a terminal sends it.
    Signal {
        /// Of the tool.
        id: u32,
        /// 1 to 64.
        signal: i32,
    },
    /// As `Spawn`; what the tool reads becomes its controlling terminal.
    SpawnOnTerminal {
        /// Names the tool in what follows.
        id: u32,
        /// Bytes of the command.
        length: u64,
    },
}

impl Request {
    pub(crate) fn encode(self) -> [u8; REQUEST] {
        let (kind, id, length) = match self {
            Self::Go => (1_u32, 0, 0),
            Self::Spawn { id, length } => (2, id, length),
            Self::Terminate(id) => (3, id, 0),
            Self::Kill(id) => (4, id, 0),
            Self::Signal { id, signal } => (5, id, u64::from(signal.unsigned_abs())),
            Self::SpawnOnTerminal { id, length } => (6, id, length),
        };
        let mut bytes = [0; REQUEST];
        let (first, rest) = bytes.split_at_mut(4);
        first.copy_from_slice(&kind.to_ne_bytes());
        let (second, third) = rest.split_at_mut(4);
        second.copy_from_slice(&id.to_ne_bytes());
        third.copy_from_slice(&length.to_ne_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        let kind = reader.number()?;
        let id = reader.number()?;
        let length = u64::from_ne_bytes(*reader.0.first_chunk()?);
        Some(match kind {
            1 => Self::Go,
            2 => Self::Spawn { id, length },
            3 => Self::Terminate(id),
            4 => Self::Kill(id),
            5 => Self::Signal {
                id,
                signal: i32::try_from(length).ok()?,
            },
            6 => Self::SpawnOnTerminal { id, length },
            _ => return None,
        })
    }
}

/// Where the set-up of a keeper failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetupStage {
    /// Making the process with its namespaces.
    Clone,
    /// Mapping the caller's ids into the user namespace.
    Maps,
    /// Parting the mounts from the host's.
    Private,
    /// One of the mounts.
    Mount,
    /// The overlay over the workspace.
    Overlay,
    /// The /proc of the PID namespace.
    Proc,
    /// What the keeper itself needs.
    Keeper,
    /// Making everything outside the workspace read-only.
    ReadOnly,
    /// Keeping a place outside the workspace writable.
    Writable,
    /// A folder for temporary files of the tools' own.
    Temporary,
    /// Terminals of the tools' own.
    Terminals,
    /// A network with nothing but the loopback.
    Network,
    /// Taking the rights that would undo a read-only host.
    Rights,
}

impl SetupStage {
    const ALL: [Self; 13] = [
        Self::Clone,
        Self::Maps,
        Self::Private,
        Self::Mount,
        Self::Overlay,
        Self::Proc,
        Self::Keeper,
        Self::ReadOnly,
        Self::Writable,
        Self::Temporary,
        Self::Terminals,
        Self::Network,
        Self::Rights,
    ];

    pub(super) fn number(self) -> u32 {
        self as u32
    }

    fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.number() == number)
    }
}

/// Where the start of a tool failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LaunchStage {
    /// In the keeper, before there was a process.
    Prepare,
    /// Entering the working folder.
    Chdir,
    /// Executing the program.
    Exec,
}

impl LaunchStage {
    const ALL: [Self; 3] = [Self::Prepare, Self::Chdir, Self::Exec];

    pub(super) fn number(self) -> u32 {
        self as u32
    }

    fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.number() == number)
    }
}

/// Why a tool could not be started, and what its file is like as the tool would have seen it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LaunchFailure {
    pub(crate) stage: LaunchStage,
    pub(crate) errno: i32,
    /// Which candidate; none when no candidate exists.
    pub(crate) candidate: Option<usize>,
    /// `st_mode`; 0 when the file could not be looked at.
    pub(crate) mode: u32,
    /// Whether its mount forbids to execute.
    pub(crate) noexec: bool,
    /// Its first bytes.
    pub(crate) head: Vec<u8>,
}

/// What the keeper reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    /// Set up. Says whether it can find all that its tools start.
    Ready {
        tracks: bool,
    },
    SetupFailed {
        stage: SetupStage,
        errno: i32,
        /// Which mount.
        index: usize,
    },
    SpawnFailed {
        id: u32,
        failure: LaunchFailure,
    },
    /// The tool and all that it started has ended.
    Ended {
        id: u32,
        /// As wait(2) gives it; none when the tool itself could not be ended.
        status: Option<i32>,
        /// Something did not end on SIGKILL.
        stuck: bool,
        /// Pid and raw command line.
        survivors: Vec<(u32, Vec<u8>)>,
    },
}

impl Reply {
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        Some(match reader.number()? {
            READY => Self::Ready {
                tracks: reader.number()? != 0,
            },
            SETUP_FAILED => Self::SetupFailed {
                stage: SetupStage::from_number(reader.number()?)?,
                errno: reader.number()?.cast_signed(),
                index: usize::try_from(reader.number()?).ok()?,
            },
            SPAWN_FAILED => Self::SpawnFailed {
                id: reader.number()?,
                failure: LaunchFailure {
                    stage: LaunchStage::from_number(reader.number()?)?,
                    errno: reader.number()?.cast_signed(),
                    candidate: Some(reader.number()?).filter(|&n| n != NONE).map(|n| n as usize),
                    mode: reader.number()?,
                    noexec: reader.number()? != 0,
                    head: reader.bytes()?.to_vec(),
                },
            },
            ENDED => {
                let id = reader.number()?;
                let known = reader.number()? != 0;
                let status = reader.number()?.cast_signed();
                let stuck = reader.number()? != 0;
                let mut survivors = Vec::new();
                while !reader.0.is_empty() {
                    survivors.push((reader.number()?, reader.bytes()?.to_vec()));
                }
                Self::Ended {
                    id,
                    status: known.then_some(status),
                    stuck,
                    survivors,
                }
            }
            _ => return None,
        })
    }
}

pub(super) const READY: u32 = 1;
pub(super) const SETUP_FAILED: u32 = 2;
pub(super) const SPAWN_FAILED: u32 = 3;
pub(super) const ENDED: u32 = 4;
/// Stands for "no candidate".
pub(super) const NONE: u32 = u32::MAX;

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn number(&mut self) -> Option<u32> {
        let (number, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_ne_bytes(*number))
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }
}

/// A record that the keeper writes: fixed memory, and what does not fit is left out.
pub(super) struct Record {
    bytes: [u8; RECORD],
    length: usize,
}

impl Record {
    pub(super) fn new() -> Self {
        Self {
            bytes: [0; RECORD],
            length: 0,
        }
    }

    pub(super) fn start(&mut self, kind: u32) {
        self.length = 0;
        self.number(kind);
    }

    pub(super) fn number(&mut self, number: u32) {
        self.raw(&number.to_ne_bytes());
    }

    pub(super) fn text(&mut self, bytes: &[u8]) {
        self.number(u32::try_from(bytes.len()).unwrap_or(0));
        self.raw(bytes);
    }

    /// Appends what another record holds.
    pub(super) fn raw(&mut self, bytes: &[u8]) {
        let end = self.length.saturating_add(bytes.len());
        if let Some(room) = self.bytes.get_mut(self.length..end) {
            room.copy_from_slice(bytes);
            self.length = end;
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or(&[])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_survive_the_wire() {
        for request in [
            Request::Go,
            Request::Spawn { id: 7, length: 1 << 40 },
            Request::Terminate(u32::MAX),
            Request::Kill(3),
            Request::Signal { id: 3, signal: 64 },
            Request::SpawnOnTerminal { id: 8, length: 9 },
        ] {
            assert_eq!(Request::decode(&request.encode()), Some(request));
        }
        assert_eq!(Request::decode(&[0; REQUEST]), None);
        assert_eq!(Request::decode(&[1, 0]), None);
    }

    #[test]
    fn an_end_carries_its_survivors_and_a_cut_record_is_refused() {
        let mut record = Record::new();
        record.start(ENDED);
        for number in [9, 1, 256, 0] {
            record.number(number);
        }
        record.number(41);
        record.text(b"sleep\x009\xff");
        record.number(42);
        record.text(b"");
        let survivors = vec![(41, b"sleep\x009\xff".to_vec()), (42, Vec::new())];
        assert_eq!(
            Reply::decode(record.bytes()),
            Some(Reply::Ended {
                id: 9,
                status: Some(256),
                stuck: false,
                survivors
            })
        );
        assert_eq!(Reply::decode(&record.bytes()[..record.bytes().len() - 2]), None);
    }

    #[test]
    fn a_full_record_keeps_what_it_has() {
        let mut record = Record::new();
        record.start(READY);
        record.raw(&[1; RECORD]);
        record.number(1);
        assert_eq!(Reply::decode(record.bytes()), Some(Reply::Ready { tracks: true }));
    }
}
