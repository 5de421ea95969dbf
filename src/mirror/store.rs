//! Contents that have come and have no place yet, each under its digest. A content that is not whole is the
//! beginning of one, and is gone on with.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::sidecar::Digest;
use crate::sys::fs::{self, CopyMemory};
use crate::workspace::{At as _, CancelFn, SyncError};

use super::look::hash_file;

/// The folder of such contents.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) dir: OwnedFd,
    path: PathBuf,
    /// What an earlier transfer has left, with its size.
    left: HashMap<OsString, u64>,
}

/// A content that is being written.
pub(super) struct Arriving {
    file: OwnedFd,
    hasher: blake3::Hasher,
    pub(super) length: u64,
}

/// The name of a content.
pub(super) fn name_of(digest: &Digest) -> OsString {
    blake3::Hash::from_bytes(*digest).to_hex().as_str().into()
}

impl Store {
    pub(super) fn open(path: &Path) -> Result<Self, SyncError> {
        let open = || {
            let (Some(place), Some(name)) = (path.parent(), path.file_name()) else {
                return Err(io::ErrorKind::InvalidInput.into());
            };
            fs::make_private_dirs(place)?;
            // Beside it tools may write that must not lead devshell elsewhere.
            let dir = fs::own_dirs_beneath(fs::open_dir(place)?, Path::new(name))?;
            let mut left = HashMap::new();
            for name in fs::names(&dir)? {
                let size = fs::stat_at(&dir, &name)?.stamp.size;
                left.insert(name, size);
            }
            Ok((dir, left))
        };
        let (dir, left) = open().at("open", path)?;
        Ok(Self {
            dir,
            path: path.to_owned(),
            left,
        })
    }

    /// Removes what nobody wants.
    pub(super) fn keep_only(&mut self, is_wanted: impl Fn(&Digest) -> bool) -> Result<(), SyncError> {
        let (dir, path) = (&self.dir, &self.path);
        let mut failed = Ok(());
        self.left.retain(|name, _| {
            let digest = blake3::Hash::from_hex(name.as_bytes());
            let stays = digest.is_ok_and(|digest| is_wanted(digest.as_bytes()));
            if !stays && failed.is_ok() {
                failed = fs::remove_tree(dir, name).at("remove", path.join(name));
            }
            stays
        });
        failed
    }

    /// Removes everything.
    pub(super) fn clear(&self) {
        for name in fs::names(&self.dir).unwrap_or_default() {
            let _ = fs::remove_tree(&self.dir, &name);
        }
    }

    /// How much of a content is there. What is there and wrong goes.
    pub(super) fn has(&self, digest: &Digest, size: u64, cancel: CancelFn) -> Result<u64, SyncError> {
        let name = name_of(digest);
        let Some(length) = self.left.get(&name) else {
            return Ok(0);
        };
        if *length < size {
            return Ok(*length);
        }
        let is_whole = || {
            let file = fs::open_file_forced(&self.dir, &name)?;
            let mut hasher = blake3::Hasher::new();
            hash_file(&file, u64::MAX, &mut hasher, cancel)?;
            Ok(hasher.finalize().as_bytes() == digest)
        };
        if *length == size && is_whole().at("read", self.path.join(&name))? {
            return Ok(size);
        }
        self.forget(digest)?;
        Ok(0)
    }

    /// Takes a content from a file of this side's own, if it really has it.
    pub(super) fn copy_own(
        &self,
        digest: &Digest,
        from: &OwnedFd,
        memory: &CopyMemory,
        cancel: CancelFn,
    ) -> Result<bool, SyncError> {
        let name = name_of(digest);
        let copy = || {
            drop(self.copy_to(&name, from, memory, cancel)?);
            let mut hasher = blake3::Hasher::new();
            let file = fs::open_file(&self.dir, &name)?;
            hash_file(&file, u64::MAX, &mut hasher, cancel)?;
            Ok(hasher.finalize().as_bytes() == digest)
        };
        let is_right = copy().at("write", self.path.join(&name))?;
        if !is_right {
            self.forget(digest)?;
        }
        Ok(is_right)
    }

    /// A copy of an open file, as a new file of the store.
    pub(super) fn copy_to(
        &self,
        name: &OsStr,
        from: &OwnedFd,
        memory: &CopyMemory,
        cancel: CancelFn,
    ) -> io::Result<OwnedFd> {
        let to = fs::create_file(&self.dir, name, 0o600)?;
        fs::copy_contents(from, &to, memory, cancel)?;
        Ok(to)
    }

    /// Goes on with a content of which `offset` bytes are there.
    pub(super) fn arrive(&self, digest: &Digest, offset: u64, cancel: CancelFn) -> Result<Arriving, SyncError> {
        let name = name_of(digest);
        let open = || {
            let mut hasher = blake3::Hasher::new();
            let file = if offset == 0 {
                fs::create_file(&self.dir, &name, 0o600)?
            } else {
                let file = fs::open_to_go_on(&self.dir, &name)?;
                if hash_file(&file, offset, &mut hasher, cancel)? != offset {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                file
            };
            Ok(Arriving {
                file,
                hasher,
                length: offset,
            })
        };
        open().at("write", self.path.join(&name))
    }

    /// Adds a piece.
    pub(super) fn add(&self, arriving: &mut Arriving, digest: &Digest, bytes: &[u8]) -> Result<(), SyncError> {
        fs::write_all_at(&arriving.file, bytes, arriving.length).at("write", self.path.join(name_of(digest)))?;
        arriving.hasher.update(bytes);
        arriving.length += bytes.len() as u64;
        Ok(())
    }

    /// Whether what has come is what was announced; else it goes.
    pub(super) fn complete(&self, arriving: Arriving, digest: &Digest) -> Result<bool, SyncError> {
        let is_right = arriving.hasher.finalize().as_bytes() == digest;
        if !is_right {
            self.forget(digest)?;
        }
        Ok(is_right)
    }

    pub(super) fn forget(&self, digest: &Digest) -> Result<(), SyncError> {
        let name = name_of(digest);
        fs::remove_tree(&self.dir, &name).at("remove", self.path.join(name))
    }
}

/// The digest of a link's target.
pub(super) fn digest_of_target(target: &OsStr) -> Digest {
    *blake3::hash(target.as_bytes()).as_bytes()
}
