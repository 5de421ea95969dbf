//! Where a path of the Vfs lies.

use std::path::{Path, PathBuf};

use crate::vfs::VfsPath;

/// Maps paths of the Vfs to paths of the host: the workspace to its own place, everything else
/// (trees that exist only in memory) below a folder with the whole path, never only its last name.
#[derive(Debug, Clone)]
pub(super) struct Places {
    workspace: Option<(VfsPath, PathBuf)>,
    rest: PathBuf,
}

impl Places {
    /// Everything below one folder.
    pub(super) fn below(folder: &Path) -> Self {
        Self {
            workspace: None,
            rest: folder.to_path_buf(),
        }
    }

    /// The workspace at a place of its own.
    pub(super) fn with_workspace(self, path: VfsPath, place: &Path) -> Self {
        Self {
            workspace: Some((path, place.to_path_buf())),
            ..self
        }
    }

    /// The place of a path.
    pub(super) fn of(&self, path: &VfsPath) -> PathBuf {
        match &self.workspace {
            Some((workspace, place)) if path.starts_with(workspace) => {
                let mut found = place.clone();
                // Component by component: a join with an empty rest would add a `/`.
                found.extend(path.strip_prefix(workspace).into_iter().flat_map(Path::components));
                found
            }
            _ => path.under(&self.rest),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workspace_has_its_own_place_and_the_rest_keeps_its_whole_path() {
        let path = |text: &str| VfsPath::parse(text).unwrap();
        let places = Places::below(Path::new("/staging")).with_workspace(path("/hello"), Path::new("/home/u/hello"));
        assert_eq!(places.of(&path("/hello")), Path::new("/home/u/hello"));
        assert_eq!(places.of(&path("/hello/a/b")), Path::new("/home/u/hello/a/b"));
        assert_eq!(places.of(&path("/hello2/a")), Path::new("/staging/hello2/a"));
    }
}
