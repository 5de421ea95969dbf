//! Two trees and a wire between them, for tests.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::{Manifest, Mirror, MirrorError, Stream, Taken, Wire};
use crate::workspace::Rules;

/// One side: its tree in `tree`, what belongs to it beside that.
pub(super) struct Side {
    pub(super) folder: PathBuf,
    pub(super) mirror: Mirror,
}

impl Side {
    pub(super) fn new(folder: &Path) -> Self {
        Self::with_rules(folder, Rules::carry_all())
    }

    pub(super) fn with_rules(folder: &Path, rules: Rules) -> Self {
        let tree = folder.join("tree");
        fs::create_dir_all(&tree).unwrap();
        let mirror = Mirror {
            root: crate::sys::fs::open_dir(&tree).unwrap(),
            path: tree,
            index: folder.join("index"),
            store: folder.join("store"),
            rules,
        };
        Self {
            folder: folder.to_owned(),
            mirror,
        }
    }

    pub(super) fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.mirror.path.join(path)
    }

    pub(super) fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub(super) fn look(&self) -> Manifest {
        self.mirror.look(&|| false).unwrap()
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        // The temporary folder cannot remove what lies in closed folders.
        let _ =
            crate::sys::fs::open_dir(&self.folder).and_then(|dir| crate::sys::fs::remove_tree(dir, "tree".as_ref()));
    }
}

/// One end of a wire in memory.
pub(super) struct End {
    to: Option<SyncSender<Vec<u8>>>,
    from: Receiver<Vec<u8>>,
    /// How many bytes it still sends before it breaks.
    pub(super) left: usize,
    pub(super) sent: Vec<u8>,
}

pub(super) fn wire() -> (End, End) {
    let (left, right) = (sync_channel(2), sync_channel(2));
    let end = |to, from| End {
        to: Some(to),
        from,
        left: usize::MAX,
        sent: Vec::new(),
    };
    (end(left.0, right.1), end(right.0, left.1))
}

impl Wire for End {
    fn send(&mut self, frame: &[u8]) -> Result<(), MirrorError> {
        assert!(!frame.is_empty() && frame.len() <= crate::sidecar::MAX_FRAME);
        self.sent.extend_from_slice(frame);
        let taken = frame.len().min(self.left);
        self.left -= taken;
        let to = self.to.as_ref().ok_or(MirrorError::Cut)?;
        if taken > 0 {
            to.send(frame[..taken].to_vec()).map_err(|_| MirrorError::Cut)?;
        }
        if taken < frame.len() {
            self.to = None;
            return Err(MirrorError::Cut);
        }
        Ok(())
    }

    fn receive(&mut self) -> Result<Vec<u8>, MirrorError> {
        self.from.recv().map_err(|_| MirrorError::Cut)
    }
}

/// What came of a carriage.
pub(super) struct Carried {
    pub(super) taken: Result<Taken, MirrorError>,
    /// What the giver has said, in bytes.
    pub(super) said: Vec<u8>,
    /// What the taker has said.
    pub(super) answered: Vec<u8>,
    /// Files and links that either side had to read.
    pub(super) read: [u64; 2],
}

/// Makes `to` equal to `from`; the wire breaks when the giver has said `left` bytes.
pub(super) fn carry_until(from: &Side, to: &Side, left: usize) -> Carried {
    let (mut giver, mut taker) = wire();
    giver.left = left;
    let (own, theirs) = (from.look(), to.look());
    let read = [own.read, theirs.read];
    if own.digest == theirs.digest {
        to.mirror.close_again(&theirs).unwrap();
        from.mirror.close_again(&own).unwrap();
        return Carried {
            taken: Ok(Taken::default()),
            said: Vec::new(),
            answered: Vec::new(),
            read,
        };
    }
    let (given, said, taken, answered) = std::thread::scope(|scope| {
        let giving = scope.spawn(|| {
            let given = from
                .mirror
                .give(&own, &mut Stream::new(&mut giver), &|| false, &mut |_| ());
            let said = std::mem::take(&mut giver.sent);
            drop(giver);
            (given, said)
        });
        let taken = to
            .mirror
            .take(&theirs, &mut Stream::new(&mut taker), &|| false, &mut |_| ());
        let answered = std::mem::take(&mut taker.sent);
        drop(taker);
        let (given, said) = giving.join().unwrap();
        (given, said, taken, answered)
    });
    from.mirror.close_again(&own).unwrap();
    assert_eq!(given.is_ok(), taken.is_ok(), "{given:?} {taken:?}");
    Carried {
        taken,
        said,
        answered,
        read,
    }
}

pub(super) fn carry(from: &Side, to: &Side) -> Taken {
    carry_until(from, to, usize::MAX).taken.unwrap()
}

/// An entry with all that is to be the same on both sides.
pub(super) type Shown = (PathBuf, u32, i64, i64, Vec<u8>);

/// Everything in a folder; what is closed is opened for the look and closed again.
pub(super) fn shown(root: &Path) -> Vec<Shown> {
    let mut all = Vec::new();
    show(root, Path::new(""), &mut all);
    all
}

fn show(root: &Path, path: &Path, all: &mut Vec<Shown>) {
    let full = root.join(path);
    let meta = full.symlink_metadata().unwrap();
    let mode = if meta.is_symlink() { 0o120_000 } else { meta.mode() };
    let set = |mode: u32| fs::set_permissions(&full, fs::Permissions::from_mode(mode)).unwrap();
    let content = if meta.is_symlink() {
        fs::read_link(&full).unwrap().as_os_str().as_bytes().to_vec()
    } else if meta.is_file() {
        set(0o600);
        let content = fs::read(&full).unwrap();
        set(mode & 0o7777);
        content
    } else {
        Vec::new()
    };
    all.push((path.to_owned(), mode, meta.mtime(), meta.mtime_nsec(), content));
    if meta.is_dir() {
        set(0o700);
        let mut names: Vec<_> = fs::read_dir(&full)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        for name in names {
            show(root, &path.join(name), all);
        }
        set(mode & 0o7777);
    }
}
