//! What stands where a folder is to be made.

use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Something that is no folder where one is wanted; says so in words, with what helps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// A link to nothing: the system says of it that it exists when a folder is to be made there, and that it does
    /// not when one is to be opened.
    Dangling {
        /// The link.
        link: PathBuf,
        /// What it says.
        target: PathBuf,
    },
    /// A file or the like.
    NoFolder(PathBuf),
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dangling { link, target } => write!(
                f,
                "`{}` is a link to `{}`, where there is nothing: make that folder, remove the link",
                link.display(),
                target.display()
            ),
            Self::NoFolder(path) => write!(f, "`{}` is no folder: move it away", path.display()),
        }
    }
}

/// The nearest entry on the way to a path that is there.
pub(crate) fn existing(path: &Path) -> &Path {
    let mut ancestors = path.ancestors();
    ancestors
        .find(|at| at.symlink_metadata().is_ok())
        .unwrap_or(Path::new("/"))
}

/// What keeps a folder from being made, or from being one, by its place alone.
pub(crate) fn obstacle(folder: &Path) -> Option<Obstacle> {
    let at = existing(folder);
    match at.metadata() {
        Ok(found) if found.is_dir() => None,
        Ok(_) => Some(Obstacle::NoFolder(at.to_path_buf())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Some(Obstacle::Dangling {
            link: at.to_path_buf(),
            target: at.read_link().ok()?,
        }),
        Err(_) => None,
    }
}

/// Why a folder is closed to the caller, in words, by whose it is or whose the nearest one on the way is.
pub(crate) fn denial(folder: &Path) -> String {
    let at = existing(folder);
    let (caller, _) = super::caller();
    let name = at.display();
    match at.metadata().map(|found| found.uid()) {
        Ok(owner) if owner == caller => format!("`{name}` is closed to its own owner: `chmod u+rwx` it"),
        Ok(owner) => format!("`{name}` belongs to user {owner}, and the caller is user {caller}"),
        Err(_) => format!("`{name}` is closed to the caller, user {caller}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn only_what_is_no_folder_is_in_the_way() {
        let temp = tempfile::tempdir().unwrap();
        let at = |name: &str| temp.path().join(name);
        std::fs::create_dir(at("folder")).unwrap();
        std::fs::write(at("file"), "").unwrap();
        symlink("folder", at("link")).unwrap();
        symlink("nowhere", at("dangling")).unwrap();
        for fine in ["folder", "folder/new/below", "new", "link/new"] {
            assert_eq!(obstacle(&at(fine)), None, "{fine}");
        }
        assert_eq!(obstacle(&at("file")), Some(Obstacle::NoFolder(at("file"))));
        // Below it the system says that there is nothing.
        assert_eq!(obstacle(&at("file/new")), Some(Obstacle::NoFolder(at("file"))));
        let found = obstacle(&at("dangling/new")).unwrap();
        let said = format!(
            "`{}` is a link to `nowhere`, where there is nothing: make that folder, remove the link",
            at("dangling").display()
        );
        assert_eq!(found.to_string(), said);
    }
}
