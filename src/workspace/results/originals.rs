//! What stood in the workspace where a kept result writes or deletes, by digest: who put a file back to what it was
//! has given it a new time, and that alone is no reason not to apply the result.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::sys::fs::{self, Kind, Stamp};
use crate::vfs::{Base, Vfs, VfsPath, open_parent};
use crate::workspace::index::{checked_body, read_limited, with_checksum};
use crate::workspace::overlay::vfs_path;
use crate::workspace::{CancelFn, IndexBaseline};

const HEAD: &[u8; 8] = b"DSORIGS\x01";
/// Its name in a result's folder, beside the manifest. A result without one is as good: its times decide.
pub(super) const ORIGINALS: &str = "originals";
/// Keeping a result must not come to take long. What is beyond is compared by its times.
const MOST_BYTES: u64 = 64 * 1024 * 1024;
const MOST_ENTRIES: usize = 10_000;

type Digest = [u8; 32];

/// Digests by path relative to the workspace: of a file's bytes, or of a link's target.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Originals(Vec<(Vec<u8>, Digest)>);

impl Originals {
    /// Reads what is still as it was when the run began, and no other entry.
    pub(super) fn read(vfs: &Vfs, baseline: &IndexBaseline, cancel: CancelFn) -> Self {
        let (mut found, mut bytes) = (Vec::new(), 0);
        let Some(base) = vfs.base_folder() else {
            return Self::default();
        };
        for (path, known) in &baseline.known {
            let (Some(known), Some(relative)) = (known, path.strip_prefix(&vfs.workspace())) else {
                continue;
            };
            if cancel() || found.len() == MOST_ENTRIES {
                break;
            }
            if bytes + known.size > MOST_BYTES {
                continue;
            }
            bytes += known.size;
            if is_now(base, path, known)
                && let Ok(Some(digest)) = digest(base, relative, known)
                && is_now(base, path, known)
            {
                found.push((relative.as_os_str().as_bytes().to_vec(), digest));
            }
        }
        Self(found)
    }

    pub(super) fn encode(&self) -> io::Result<Vec<u8>> {
        let body = postcard::to_stdvec(self).map_err(io::Error::other)?;
        Ok(with_checksum(HEAD, &body))
    }

    /// Those of a result; none where they cannot be read.
    pub(super) fn load(folder: &Path) -> Self {
        let load = || {
            let bytes = read_limited(&folder.join(ORIGINALS)).ok()?;
            postcard::from_bytes(checked_body(&bytes, HEAD)?).ok()
        };
        load().unwrap_or_default()
    }

    /// Lets `baseline` know the entries that are again what they were by their present stamps. What happens to them
    /// after that is a conflict as ever.
    pub(super) fn recognise(&self, vfs: &Vfs, baseline: &mut IndexBaseline) {
        let Some(base) = vfs.base_folder() else { return };
        for (relative, was) in &self.0 {
            let relative = Path::new(OsStr::from_bytes(relative));
            let Ok(path) = vfs_path(&vfs.workspace(), relative) else {
                continue;
            };
            if let Some(Some(known)) = baseline.known.get_mut(&path)
                && let Ok(Some(stat)) = base.stat(&path)
                && looks_like(known, &stat.stamp)
                && matches!(digest(base, relative, &stat.stamp), Ok(Some(now)) if now == *was)
                && is_now(base, &path, &stat.stamp)
            {
                *known = stat.stamp;
            }
        }
    }
}

/// Whether two stamps differ, and in nothing but times and inode.
fn looks_like(known: &Stamp, now: &Stamp) -> bool {
    let what = |stamp: &Stamp| (stamp.kind(), stamp.mode(), stamp.size, stamp.uid, stamp.gid);
    known != now && what(known) == what(now)
}

fn is_now(base: &Base, path: &VfsPath, stamp: &Stamp) -> bool {
    matches!(base.stat(path), Ok(Some(stat)) if stat.stamp == *stamp)
}

/// `None` for what has no content of its own.
fn digest(base: &Base, relative: &Path, stamp: &Stamp) -> io::Result<Option<Digest>> {
    if !matches!(stamp.kind(), Kind::File | Kind::Symlink) {
        return Ok(None);
    }
    let (folder, name) = open_parent(base.root(), relative)?;
    if stamp.kind() == Kind::Symlink {
        let target = fs::read_link_at(&folder, name)?;
        return Ok(Some(*blake3::hash(target.as_os_str().as_bytes()).as_bytes()));
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(std::fs::File::from(fs::open_file(&folder, name)?))?;
    Ok(Some(*hasher.finalize().as_bytes()))
}
