//! Guest paths as bytes: names are not always UTF-8.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// The guest's name of the staging folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    parts: Vec<Vec<u8>>,
}

/// A guest path relative to the mount: plain names, without `.`, `..` and links resolved. Empty for the mount itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Below(PathBuf);

impl Mount {
    /// # Errors
    /// Why it cannot be one, in words.
    pub(super) fn new(path: &[u8]) -> Result<Self, &'static str> {
        Ok(Self {
            parts: parts(path)?.into_iter().map(<[u8]>::to_vec).collect(),
        })
    }

    /// As an absolute path.
    pub(super) fn path(&self) -> PathBuf {
        let mut path = PathBuf::from("/");
        path.extend(self.parts.iter().map(|part| OsStr::from_bytes(part)));
        path
    }

    /// The guest path below the mount.
    ///
    /// # Errors
    /// Why it is none, in words.
    pub(super) fn below(&self, path: &[u8]) -> Result<Below, &'static str> {
        let parts = parts(path)?;
        let mut rest = parts.iter();
        for own in &self.parts {
            if rest.next() != Some(&own.as_slice()) {
                return Err("it does not lie under the session's mount");
            }
        }
        Ok(Below(rest.map(|part| OsStr::from_bytes(part)).collect()))
    }
}

impl Below {
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn is_mount(&self) -> bool {
        self.0.as_os_str().is_empty()
    }

    /// The folder that holds the entry, and its name there; none for the mount itself.
    pub(super) fn split(&self) -> Option<(&Path, &OsStr)> {
        Some((self.0.parent()?, self.0.file_name()?))
    }
}

fn parts(path: &[u8]) -> Result<Vec<&[u8]>, &'static str> {
    if path.first() != Some(&b'/') {
        return Err("it is not absolute");
    }
    if path.contains(&0) {
        return Err("it contains a NUL byte");
    }
    let parts: Vec<&[u8]> = path
        .split(|byte| *byte == b'/')
        .filter(|part| !matches!(*part, b"" | b"."))
        .collect();
    // Not resolved: behind a link `..` means another place than it seems.
    if parts.contains(&&b".."[..]) {
        return Err("it contains `..`");
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_paths_under_the_mount_lie_below_it() {
        let mount = Mount::new(b"/workspace/./k/").unwrap();
        assert_eq!(mount.path(), Path::new("/workspace/k"));
        let below = |path: &[u8]| mount.below(path).map(|below| below.0);
        assert_eq!(below(b"/workspace//k/a/./b/").unwrap(), Path::new("a/b"));
        assert_eq!(below(b"/workspace/k/\xff").unwrap().as_os_str().as_bytes(), b"\xff");
        assert!(mount.below(b"/workspace/k").unwrap().is_mount());
        for bad in [
            &b""[..],
            b"workspace/k",
            b"/workspace",
            b"/workspace/ka",
            b"/workspace/k/..",
            b"/workspace/k/a/../b",
            b"/workspace/k/\0",
            b"/",
        ] {
            assert!(below(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_mount_at_the_root_holds_everything() {
        let mount = Mount::new(b"/").unwrap();
        assert_eq!(mount.path(), Path::new("/"));
        assert_eq!(mount.below(b"/a").unwrap().path(), Path::new("a"));
        assert!(mount.below(b"/").unwrap().is_mount());
        assert!(Mount::new(b"w").is_err() && Mount::new(b"/a/..").is_err());
    }
}
