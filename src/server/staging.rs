//! The folder that a session works in: found beneath one of the server's roots and held open.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::sidecar::ErrorCode;
use crate::sys::fs::{anchor_inside, folder_inside, open_dir, stat_fd, sync_file_system};
use crate::sys::mounts::is_of_another_machine;

use super::refusal::Refusal;

/// The folders that a server may work beneath.
#[derive(Debug)]
pub(super) struct Roots(Vec<Root>);

#[derive(Debug)]
struct Root {
    /// As it was given.
    path: PathBuf,
    /// Without links.
    real: PathBuf,
    fd: OwnedFd,
}

/// A session's own folder. Everything is done relative to the descriptor.
#[derive(Debug)]
pub(super) struct Staging {
    fd: OwnedFd,
    path: PathBuf,
}

impl Roots {
    /// # Errors
    /// The first that cannot be opened.
    pub(super) fn open(paths: &[PathBuf]) -> Result<Self, (PathBuf, io::Error)> {
        let open = |path: &PathBuf| {
            let root = || {
                Ok(Root {
                    path: path.clone(),
                    real: path.canonicalize()?,
                    fd: open_dir(path)?,
                })
            };
            root().map_err(|error| (path.clone(), error))
        };
        paths.iter().map(open).collect::<Result<_, _>>().map(Self)
    }

    /// The one beneath which the server makes folders of its own choice, with its path.
    pub(super) fn first(&self) -> Option<(&OwnedFd, &Path)> {
        self.0.first().map(|root| (&root.fd, root.real.as_path()))
    }

    /// Opens the folder that a client names.
    ///
    /// # Errors
    /// `bad_staging` or `forbidden`. Of what lies outside of the roots nothing is told.
    pub(super) fn staging(&self, dir: &str) -> Result<Staging, Refusal> {
        if !dir.starts_with('/') || dir.contains('\0') {
            return Err(Refusal::new(
                ErrorCode::BadStaging,
                format!("staging_dir `{dir}` is no absolute path"),
            ));
        }
        let mut refused = None;
        // By another name of the place, say through a link above the root, only when it is none by its own.
        for path in [Some(PathBuf::from(dir)), Path::new(dir).canonicalize().ok()]
            .into_iter()
            .flatten()
        {
            for root in &self.0 {
                let below = path.strip_prefix(&root.path).or_else(|_| path.strip_prefix(&root.real));
                let Ok(below) = below else { continue };
                match anchor_inside(&root.fd, below) {
                    Ok(fd) => return Ok(Staging::new(fd, root.real.join(below))),
                    Err(error) => {
                        let refusal = explain(dir, &error);
                        // Who is right beneath one root may be told why.
                        if refused
                            .as_ref()
                            .is_none_or(|other: &Refusal| other.code == ErrorCode::Forbidden)
                        {
                            refused = Some(refusal);
                        }
                    }
                }
            }
        }
        Err(refused.unwrap_or_else(|| outside(dir)))
    }
}

fn outside(dir: &str) -> Refusal {
    Refusal::new(
        ErrorCode::Forbidden,
        format!("staging_dir `{dir}` does not lie beneath a root of this server (devshell-vm --root DIR)"),
    )
}

fn explain(dir: &str, error: &io::Error) -> Refusal {
    let is = |errno: Errno| error.raw_os_error() == Some(errno.raw_os_error());
    if is(Errno::XDEV) || is(Errno::LOOP) {
        return outside(dir);
    }
    let why = match error.kind() {
        io::ErrorKind::NotFound => "does not exist where this server runs".to_owned(),
        io::ErrorKind::NotADirectory => "is no folder".to_owned(),
        _ => format!("cannot be used: {error}"),
    };
    Refusal::new(ErrorCode::BadStaging, format!("staging_dir `{dir}` {why}"))
}

impl Staging {
    pub(super) fn new(fd: OwnedFd, path: PathBuf) -> Self {
        // Where it really is, whatever links led there.
        let real = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()));
        Self {
            path: real.unwrap_or(path),
            fd,
        }
    }

    /// Where tools find it.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether a path names this very folder.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        let own = stat_fd(&self.fd).map(|stat| stat.id());
        let other = open_dir(path).and_then(stat_fd).map(|stat| stat.id());
        own.is_ok() && own.ok() == other.ok()
    }

    /// Whether it is still a folder that has a name.
    pub(super) fn check(&self) -> io::Result<()> {
        match stat_fd(&self.fd)?.nlink {
            0 => Err(io::ErrorKind::NotFound.into()),
            _ => Ok(()),
        }
    }
}

impl Staging {
    /// Has what tools wrote carried to where the other side sees it, where the folder is another
    /// machine's: there the kernel here holds back what a local file system shows at once.
    pub(super) fn flush(&self) -> io::Result<()> {
        let folder = folder_inside(&self.fd, Path::new("."))?;
        if is_of_another_machine(&folder)? {
            sync_file_system(&folder)?;
        }
        Ok(())
    }
}

impl AsFd for Staging {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn only_folders_beneath_a_root_are_opened() {
        let temp = tempfile::tempdir().unwrap();
        let base = temp.path().canonicalize().unwrap();
        fs::create_dir_all(base.join("root/a/b")).unwrap();
        fs::create_dir_all(base.join("outside/x")).unwrap();
        fs::write(base.join("root/file"), "").unwrap();
        symlink("a", base.join("root/inner")).unwrap();
        symlink("../outside", base.join("root/out")).unwrap();
        symlink("root", base.join("alias")).unwrap();
        let roots = Roots::open(&[base.join("root")]).unwrap();
        let at = |path: &str| format!("{}/{path}", base.display());
        for (path, real) in [
            ("root", "root"),
            ("root/a/b/", "root/a/b"),
            ("root//./a", "root/a"),
            ("root/inner/b", "root/a/b"),
            ("root/a/../a", "root/a"),
            // A link above the root is the host's own.
            ("alias/a", "root/a"),
        ] {
            let staging = roots
                .staging(&at(path))
                .unwrap_or_else(|refusal| panic!("{path}: {refusal:?}"));
            assert_eq!(staging.path(), base.join(real), "{path}");
            assert!(staging.is_at(&base.join(real)) && staging.check().is_ok());
        }
        for (path, code) in [
            (at("outside"), ErrorCode::Forbidden),
            (at("outside/none"), ErrorCode::Forbidden),
            (at("root/out"), ErrorCode::Forbidden),
            (at("root/out/x"), ErrorCode::Forbidden),
            (at("root/.."), ErrorCode::Forbidden),
            (at("root/../root2"), ErrorCode::Forbidden),
            (at("rootless"), ErrorCode::Forbidden),
            ("/".to_owned(), ErrorCode::Forbidden),
            (at("root/none"), ErrorCode::BadStaging),
            (at("root/file"), ErrorCode::BadStaging),
            (at("root/file/x"), ErrorCode::BadStaging),
            ("root/a".to_owned(), ErrorCode::BadStaging),
            (String::new(), ErrorCode::BadStaging),
            ("/\0".to_owned(), ErrorCode::BadStaging),
        ] {
            assert_eq!(roots.staging(&path).unwrap_err().code, code, "{path:?}");
        }
    }

    #[test]
    fn a_folder_that_was_removed_is_found_out() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().canonicalize().unwrap().join("a");
        fs::create_dir(&folder).unwrap();
        let staging = Roots::open(&[temp.path().to_owned()])
            .unwrap()
            .staging(folder.to_str().unwrap())
            .unwrap();
        fs::remove_dir(&folder).unwrap();
        assert!(staging.check().is_err());
        fs::create_dir(&folder).unwrap();
        assert!(!staging.is_at(&folder));
    }

    #[test]
    fn a_root_that_is_none_is_named() {
        let (path, _) = Roots::open(&["/none".into()]).unwrap_err();
        assert_eq!(path, Path::new("/none"));
    }
}
