//! What a plan needs to know of the machine; the only part of the room that asks the disk.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::error::PlanError;
use crate::config::Loaded;

/// What a plan needs to know of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The caller's folder, canonical where it can be.
    pub cwd: PathBuf,
    /// The caller's environment.
    pub env: Vec<(OsString, OsString)>,
    /// The workspace's canonical path.
    pub workspace: PathBuf,
    /// Views, staging and indexes of all workspaces: `DEVSHELL_EXPORT_BASE`, else
    /// `$XDG_CACHE_HOME/devshell`, else `$HOME/.cache/devshell`.
    pub cache_root: PathBuf,
    /// Journals and kept results of all workspaces: `$XDG_STATE_HOME/devshell`, else
    /// `$HOME/.local/state/devshell`.
    pub state_root: PathBuf,
}

impl Facts {
    /// Gathers the facts: asks the disk for the real path of the workspace and of the folders
    /// that devshell's own places will lie in, and makes nothing.
    ///
    /// # Errors
    /// [`PlanError::Workspace`] when the workspace is no folder that can be entered,
    /// [`PlanError::NoHome`] when no variable says where devshell may keep its own things.
    pub fn gather(loaded: &Loaded, cwd: &Path, env: &[(OsString, OsString)]) -> Result<Self, PlanError> {
        Self::of_roots(loaded, cwd, env, own_roots(cwd, env)?)
    }

    /// The same for a plan that is only looked at: that nothing says where devshell may keep its own things comes
    /// beside it, and those places are then none.
    ///
    /// # Errors
    /// [`PlanError::Workspace`] when the workspace is no folder that can be entered.
    pub fn gather_to_look(
        loaded: &Loaded,
        cwd: &Path,
        env: &[(OsString, OsString)],
    ) -> Result<(Self, Option<PlanError>), PlanError> {
        let (roots, missing) = match own_roots(cwd, env) {
            Ok(roots) => (roots, None),
            // What is in no workspace.
            Err(error) => ((PathBuf::from("/"), PathBuf::from("/")), Some(error)),
        };
        Ok((Self::of_roots(loaded, cwd, env, roots)?, missing))
    }

    fn of_roots(
        loaded: &Loaded,
        cwd: &Path,
        env: &[(OsString, OsString)],
        (cache_root, state_root): (PathBuf, PathBuf),
    ) -> Result<Self, PlanError> {
        let root = &loaded.config.workspace.root;
        let workspace = real_folder(root).map_err(|source| PlanError::Workspace {
            path: root.clone(),
            origin: origin_of_root(loaded),
            source,
        })?;
        Ok(Self {
            cwd: cwd.canonicalize().unwrap_or_else(|_| cwd.to_owned()),
            env: env.to_vec(),
            workspace,
            cache_root,
            state_root,
        })
    }

    /// A variable of the caller that is set and not empty.
    pub(super) fn variable(&self, name: &str) -> Option<&OsStr> {
        variable(&self.env, name)
    }
}

/// Where `workspace.root` was set, in words.
pub(super) fn origin_of_root(loaded: &Loaded) -> String {
    let origin = loaded.origins.of("workspace.root").last();
    origin.map_or_else(|| "default".into(), |origin| origin.place.to_string())
}

/// The short hash that stands for a workspace: 16 hexadecimal digits of its canonical path.
#[must_use]
pub fn workspace_key(canonical: &Path) -> String {
    let hash = blake3::hash(canonical.as_os_str().as_bytes());
    hash.to_hex().as_str().chars().take(16).collect()
}

/// The folders of devshell's own things for all workspaces: cache and state, as in [`Facts`].
/// Parts that exist are made real, so that a link does not hide where they are.
///
/// # Errors
/// [`PlanError::NoHome`] when no variable says where they are.
pub fn own_roots(cwd: &Path, env: &[(OsString, OsString)]) -> Result<(PathBuf, PathBuf), PlanError> {
    let named = variable(env, "HOME").map(Path::new);
    let home = named.filter(|home| home.is_absolute());
    // The XDG specification has relative paths ignored.
    let xdg = |name| variable(env, name).map(Path::new).filter(|path| path.is_absolute());
    let cache = match variable(env, "DEVSHELL_EXPORT_BASE") {
        Some(base) => Some(cwd.join(base)),
        None => xdg("XDG_CACHE_HOME")
            .map(|cache| cache.join("devshell"))
            .or_else(|| home.map(|home| home.join(".cache/devshell"))),
    };
    let state = xdg("XDG_STATE_HOME")
        .map(|state| state.join("devshell"))
        .or_else(|| home.map(|home| home.join(".local/state/devshell")));
    if let (Some(cache), Some(state)) = (&cache, &state) {
        return Ok((real_as_far_as_it_goes(cache), real_as_far_as_it_goes(state)));
    }
    let missing = [
        cache.is_none().then_some(("cache", "DEVSHELL_EXPORT_BASE")),
        state.is_none().then_some(("state", "XDG_STATE_HOME")),
    ];
    Err(PlanError::NoHome {
        home: named.map(Path::to_owned),
        missing: missing.into_iter().flatten().collect(),
    })
}

fn variable<'a>(env: &'a [(OsString, OsString)], name: &str) -> Option<&'a OsStr> {
    let found = env.iter().find(|(key, _)| key == name);
    found
        .map(|(_, value)| value.as_os_str())
        .filter(|value| !value.is_empty())
}

/// The canonical path of a folder.
fn real_folder(path: &Path) -> io::Result<PathBuf> {
    let real = path.canonicalize()?;
    if real.metadata()?.is_dir() {
        Ok(real)
    } else {
        Err(io::Error::from(io::ErrorKind::NotADirectory))
    }
}

/// The canonical path of the nearest ancestor that exists, and the rest as it is.
pub(super) fn real_as_far_as_it_goes(path: &Path) -> PathBuf {
    for ancestor in path.ancestors() {
        if let (Ok(real), Ok(rest)) = (ancestor.canonicalize(), path.strip_prefix(ancestor)) {
            // `join` of an empty rest would add a trailing `/`.
            return if rest.as_os_str().is_empty() {
                real
            } else {
                real.join(rest)
            };
        }
    }
    path.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        pairs.iter().map(|(name, value)| (name.into(), value.into())).collect()
    }

    fn roots(pairs: &[(&str, &str)]) -> (String, String) {
        let (cache, state) = own_roots(Path::new("/cwd-of-none"), &env(pairs)).unwrap();
        (cache.display().to_string(), state.display().to_string())
    }

    #[test]
    fn the_key_is_16_hexadecimal_digits_of_the_path() {
        let key = workspace_key(Path::new("/home/me/project"));
        assert_eq!(key.len(), 16);
        assert!(key.chars().all(|char| char.is_ascii_hexdigit()));
        assert_ne!(key, workspace_key(Path::new("/home/you/project")));
    }

    #[test]
    fn own_places_follow_xdg_and_the_export_base() {
        assert_eq!(
            roots(&[("HOME", "/no-home")]),
            (
                "/no-home/.cache/devshell".into(),
                "/no-home/.local/state/devshell".into()
            )
        );
        assert_eq!(
            roots(&[
                ("HOME", "/no-home"),
                ("XDG_CACHE_HOME", "/no-c"),
                ("XDG_STATE_HOME", "/no-s")
            ]),
            ("/no-c/devshell".into(), "/no-s/devshell".into())
        );
        assert_eq!(
            roots(&[
                ("HOME", "/no-home"),
                ("DEVSHELL_EXPORT_BASE", "/no-b"),
                ("XDG_CACHE_HOME", "/no-c")
            ])
            .0,
            "/no-b"
        );
        assert_eq!(
            roots(&[("HOME", "/no-home"), ("DEVSHELL_EXPORT_BASE", "rel")]).0,
            "/cwd-of-none/rel"
        );
        assert_eq!(
            roots(&[("HOME", "/no-home"), ("XDG_CACHE_HOME", "rel")]).0,
            "/no-home/.cache/devshell"
        );
    }

    #[test]
    fn without_a_home_the_variable_that_helps_is_named() {
        let error = own_roots(Path::new("/"), &env(&[("XDG_CACHE_HOME", "/c")])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "HOME is not set, so there is no state folder; set HOME or XDG_STATE_HOME"
        );
        let error = own_roots(Path::new("/"), &env(&[])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "HOME is not set, so there is no cache folder and no state folder; set HOME or DEVSHELL_EXPORT_BASE and \
             XDG_STATE_HOME"
        );
        let error = own_roots(Path::new("/"), &env(&[("HOME", "me/x"), ("XDG_STATE_HOME", "/s")])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "HOME is `me/x`, which is not absolute, so there is no cache folder; set HOME to an absolute path or \
             DEVSHELL_EXPORT_BASE"
        );
    }
}
