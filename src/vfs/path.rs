//! Validated paths of the Vfs.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

/// An absolute, normalised path of a [`Vfs`](crate::Vfs): starts with `/`, has no empty, `.` or `..`
/// component, no NUL and no trailing `/`. Only such a path may be joined under a root
/// (after conserve's `Apath`). It may hold bytes that are not UTF-8.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct VfsPath(OsString);

/// What is wrong with a path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Not absolute.
    #[error("path {0:?} is not absolute: paths of the workspace start with `/`")]
    NotAbsolute(OsString),
    /// A `..` that would leave the root, or any `..` where none is allowed.
    #[error("path {0:?} leads out of the tree")]
    Escapes(OsString),
    /// A NUL byte.
    #[error("path {0:?} contains a NUL byte")]
    Nul(OsString),
    /// Not a single name.
    #[error("{0:?} is not a file name")]
    NotAName(OsString),
}

impl VfsPath {
    /// The root, `/`.
    #[must_use]
    pub fn root() -> Self {
        Self(OsString::from("/"))
    }

    /// Normalises lexically: empty and `.` components go, `..` takes one component away.
    ///
    /// # Errors
    /// [`PathError`] for a path that is relative, holds a NUL or leaves the root.
    pub fn parse(path: impl AsRef<OsStr>) -> Result<Self, PathError> {
        let path = path.as_ref();
        let bytes = path.as_bytes();
        if bytes.first() != Some(&b'/') {
            return Err(PathError::NotAbsolute(path.to_owned()));
        }
        Self::root().resolve(path)
    }

    /// The path that `relative` names when it is read from here; lexical, like [`Self::parse`].
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn resolve(&self, relative: impl AsRef<OsStr>) -> Result<Self, PathError> {
        let relative = relative.as_ref();
        if relative.as_bytes().contains(&0) {
            return Err(PathError::Nul(relative.to_owned()));
        }
        let mut parts: Vec<&[u8]> = self.components().map(OsStr::as_bytes).collect();
        for part in relative.as_bytes().split(|byte| *byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." => {
                    parts.pop().ok_or_else(|| PathError::Escapes(relative.to_owned()))?;
                }
                name => parts.push(name),
            }
        }
        let mut joined = Vec::new();
        for part in &parts {
            joined.push(b'/');
            joined.extend_from_slice(part);
        }
        if joined.is_empty() {
            joined.push(b'/');
        }
        Ok(Self(OsString::from_vec(joined)))
    }

    /// A direct child. The name is taken as it is, outer blanks and backslashes included.
    ///
    /// # Errors
    /// [`PathError::NotAName`] for an empty name, `.`, `..`, or one with `/` or NUL.
    pub fn child(&self, name: impl AsRef<OsStr>) -> Result<Self, PathError> {
        let name = name.as_ref();
        let bytes = name.as_bytes();
        if bytes.is_empty() || bytes == b"." || bytes == b".." || bytes.iter().any(|byte| matches!(byte, b'/' | 0)) {
            return Err(PathError::NotAName(name.to_owned()));
        }
        let mut joined = if self.is_root() {
            OsString::new()
        } else {
            self.0.clone()
        };
        joined.push("/");
        joined.push(name);
        Ok(Self(joined))
    }

    /// Whether this is `/`.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.len() == 1
    }

    /// The names from the root down.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &OsStr> {
        self.0
            .as_bytes()
            .split(|byte| *byte == b'/')
            .filter(|part| !part.is_empty())
            .map(OsStr::from_bytes)
    }

    /// The last name; `None` for the root.
    #[must_use]
    pub fn file_name(&self) -> Option<&OsStr> {
        self.components().next_back()
    }

    /// The folder that holds it; `None` for the root.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        let bytes = self.0.as_bytes();
        let cut = bytes.iter().rposition(|byte| *byte == b'/')?;
        Some(if cut == 0 {
            Self::root()
        } else {
            Self(OsStr::from_bytes(&bytes[..cut]).to_owned())
        })
    }

    /// Whether it is `ancestor` or lies below it.
    #[must_use]
    pub fn starts_with(&self, ancestor: &Self) -> bool {
        self.strip_prefix(ancestor).is_some()
    }

    /// The rest below `ancestor` without a leading `/`; empty when they are equal.
    #[must_use]
    pub fn strip_prefix(&self, ancestor: &Self) -> Option<&Path> {
        let bytes = self.0.as_bytes();
        if ancestor.is_root() {
            return Some(Path::new(OsStr::from_bytes(&bytes[1..])));
        }
        let rest = bytes.strip_prefix(ancestor.0.as_bytes())?;
        match rest.first() {
            None => Some(Path::new("")),
            Some(b'/') => Some(Path::new(OsStr::from_bytes(&rest[1..]))),
            Some(_) => None,
        }
    }

    /// Its place under a root folder: the whole path joined, never only its last name.
    #[must_use]
    pub fn under(&self, root: &Path) -> PathBuf {
        let mut path = root.to_path_buf();
        path.extend(self.components());
        path
    }

    /// Sorts behind everything below this path and before its next possible sibling. It is a bound
    /// for searches only: no entry can have this name.
    pub(super) fn behind_subtree(&self) -> Self {
        let mut bound = self.0.clone();
        bound.push("\0");
        Self(bound)
    }

    /// Its bytes.
    #[must_use]
    pub fn as_os_str(&self) -> &OsStr {
        &self.0
    }
}

impl AsRef<OsStr> for VfsPath {
    fn as_ref(&self) -> &OsStr {
        &self.0
    }
}

/// Component by component, so that a folder's content follows it directly.
impl Ord for VfsPath {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.components().cmp(other.components())
    }
}

impl PartialOrd for VfsPath {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for VfsPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for VfsPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Path::new(&self.0).display().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> VfsPath {
        VfsPath::parse(text).unwrap()
    }

    #[test]
    fn parse_normalises_and_refuses_what_leaves_the_root() {
        assert_eq!(path("/a//b/./c/").as_os_str(), "/a/b/c");
        assert_eq!(path("/a/../b").as_os_str(), "/b");
        assert_eq!(path("/").as_os_str(), "/");
        assert!(matches!(VfsPath::parse("/.."), Err(PathError::Escapes(_))));
        assert!(matches!(VfsPath::parse("a"), Err(PathError::NotAbsolute(_))));
        assert!(matches!(VfsPath::parse("/a\0b"), Err(PathError::Nul(_))));
    }

    #[test]
    fn names_with_blanks_backslashes_and_odd_bytes_stay_as_they_are() {
        let odd = OsStr::from_bytes(b" a\\b\n\xff ");
        let child = path("/w").child(odd).unwrap();
        assert_eq!(child.file_name(), Some(odd));
        assert_eq!(child.strip_prefix(&path("/w")), Some(Path::new(odd)));
        for bad in ["", ".", "..", "a/b", "a\0"] {
            assert!(path("/w").child(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn prefixes_end_at_component_borders() {
        assert!(path("/ab/c").starts_with(&path("/ab")));
        assert!(!path("/abc").starts_with(&path("/ab")));
        assert_eq!(path("/a").strip_prefix(&VfsPath::root()), Some(Path::new("a")));
        assert_eq!(path("/a/b").parent(), Some(path("/a")));
        assert_eq!(path("/a").parent(), Some(VfsPath::root()));
        assert_eq!(VfsPath::root().parent(), None);
    }

    #[test]
    fn the_whole_path_is_joined_under_a_root() {
        assert_eq!(path("/a/proj").under(Path::new("/mnt")), Path::new("/mnt/a/proj"));
        assert_ne!(
            path("/a/proj").under(Path::new("/mnt")),
            path("/b/proj").under(Path::new("/mnt"))
        );
    }

    #[test]
    fn a_folder_sorts_directly_before_its_content() {
        let mut paths = [path("/a-b"), path("/a/c"), path("/a")];
        paths.sort();
        assert_eq!(paths, [path("/a"), path("/a/c"), path("/a-b")]);
    }
}
