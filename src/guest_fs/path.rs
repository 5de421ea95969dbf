//! Where a path of the Vfs lies in a guest.

use std::ffi::OsStr;

use super::GuestFsError;

/// The guest path of a Vfs path: the mount and the whole path, never only its last name.
/// `/hello/sub` under `/workspace` is `/workspace/hello/sub`.
///
/// # Errors
/// [`GuestFsError::InvalidPath`] for a path that is relative, holds `..` or a NUL byte, or is not
/// UTF-8, and for a mount that is not absolute.
pub fn logical_path_to_guest(mount: &str, path: impl AsRef<OsStr>) -> Result<String, GuestFsError> {
    let path = path.as_ref();
    let Some(text) = path.to_str() else {
        return Err(GuestFsError::InvalidPath {
            path: path.to_string_lossy().into_owned(),
            why: "it is not UTF-8",
        });
    };
    let mut guest = join(&parts(mount)?);
    for part in parts(text)? {
        guest.push('/');
        guest.push_str(part);
    }
    Ok(if guest.is_empty() { "/".to_owned() } else { guest })
}

/// A guest path in its plain form, if it lies under `mount` (or is it).
pub(crate) fn below_mount(mount: &str, path: &str) -> Result<String, GuestFsError> {
    let (mount, parts) = (parts(mount)?, parts(path)?);
    if !parts.starts_with(&mount) {
        return Err(invalid(path, "it lies outside the session's mount"));
    }
    Ok(join(&parts))
}

fn join(parts: &[&str]) -> String {
    parts.iter().flat_map(|part| ["/", part]).collect()
}

fn parts(path: &str) -> Result<Vec<&str>, GuestFsError> {
    if !path.starts_with('/') {
        return Err(invalid(path, "it is not absolute"));
    }
    if path.contains('\0') {
        return Err(invalid(path, "it contains a NUL byte"));
    }
    let parts: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    // Not resolved: behind a symbolic link `..` means another place in the guest than here.
    if parts.contains(&"..") {
        return Err(invalid(path, "it contains `..`"));
    }
    Ok(parts)
}

fn invalid(path: &str, why: &'static str) -> GuestFsError {
    GuestFsError::InvalidPath {
        path: path.to_owned(),
        why,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt as _;

    #[test]
    fn the_whole_path_is_joined_to_the_mount() {
        let guest = |mount, path: &str| logical_path_to_guest(mount, path).unwrap();
        assert_eq!(guest("/workspace", "/hello/sub"), "/workspace/hello/sub");
        assert_eq!(guest("/workspace/", "//hello/./sub/"), "/workspace/hello/sub");
        assert_eq!(guest("/workspace/key", "/"), "/workspace/key");
        assert_eq!(guest("/", "/a b"), "/a b");
        assert_eq!(guest("/", "/"), "/");
        assert_ne!(guest("/w", "/a/proj"), guest("/w", "/b/proj"));
    }

    #[test]
    fn paths_that_lead_out_or_cannot_be_written_down_are_refused() {
        for bad in ["/a/../b", "/..", "a", "", "/a\0"] {
            assert!(
                matches!(logical_path_to_guest("/w", bad), Err(GuestFsError::InvalidPath { .. })),
                "{bad:?}"
            );
        }
        assert!(logical_path_to_guest("w", "/a").is_err());
        assert!(logical_path_to_guest("/w", OsStr::from_bytes(b"/\xff")).is_err());
    }

    #[test]
    fn only_paths_under_the_mount_belong() {
        assert_eq!(below_mount("/w", "/w/a//b").unwrap(), "/w/a/b");
        assert_eq!(below_mount("/w", "/w").unwrap(), "/w");
        assert!(below_mount("/w", "/wa").is_err());
        assert!(below_mount("/w", "/w/../etc").is_err());
    }
}
