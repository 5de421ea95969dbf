//! A file that is there as a whole or not at all.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::sys::random::token;

/// Where a report goes that is written whole. A regular file (or nothing yet) is replaced by a
/// rename, so that nobody ever reads half of it; anything else, a pipe or a device, is opened at
/// once and written when the report is final.
#[derive(Debug)]
pub(super) enum WholeFile {
    /// The file, behind all symlinks.
    Regular(PathBuf),
    /// Open.
    Other(File),
}

impl WholeFile {
    /// Finds out what is there.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn at(path: &Path) -> io::Result<Self> {
        match path.metadata() {
            Ok(meta) if meta.is_file() => Ok(Self::Regular(path.canonicalize()?)),
            Ok(_) => Ok(Self::Other(OpenOptions::new().write(true).open(path)?)),
            // A dangling symlink is written through, too, by whoever opens it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                OpenOptions::new().append(true).create(true).open(path)?;
                Ok(Self::Regular(path.canonicalize()?))
            }
            Err(error) => Err(error),
        }
    }

    /// Puts `content` in the place of what was there. `is_final`: whether nothing comes after
    /// it; what cannot be replaced is written only then.
    ///
    /// # Errors
    /// What the system says; the old content is there then.
    pub(super) fn write(&mut self, content: &[u8], is_final: bool) -> io::Result<()> {
        match self {
            Self::Regular(path) => match replace(path, content) {
                // A file may be writable where its folder is not, or be a mount of its own.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::PermissionDenied
                            | io::ErrorKind::ResourceBusy
                            | io::ErrorKind::ReadOnlyFilesystem
                    ) =>
                {
                    std::fs::write(path, content)
                }
                done => done,
            },
            Self::Other(file) if is_final => {
                file.write_all(content)?;
                file.flush()
            }
            Self::Other(..) => Ok(()),
        }
    }
}

fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let new = path.with_file_name(format!(".devshell-report-{}", token()));
    let written = File::create_new(&new)
        .and_then(|mut file| file.write_all(content))
        .and_then(|()| std::fs::rename(&new, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&new);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;
    use std::os::unix::fs::PermissionsExt as _;

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[test]
    fn a_file_is_replaced_whole_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.xml");
        let mut file = WholeFile::at(&path).unwrap();
        file.write(b"long text", false).unwrap();
        let mut old = File::open(&path).unwrap();
        file.write(b"short", true).unwrap();
        let mut text = String::new();
        old.read_to_string(&mut text).unwrap();
        assert_eq!(text, "long text", "whoever has it open keeps the old one");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "short");
        assert_eq!(names(folder.path()), ["report.xml"]);
        let created = folder.path().join("created");
        File::create(&created).unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode();
        assert_eq!(mode(&path), mode(&created), "as any new file's");
    }

    #[test]
    fn a_symlink_stays_one() {
        let folder = tempfile::tempdir().unwrap();
        let (link, target) = (folder.path().join("link"), folder.path().join("target"));
        std::os::unix::fs::symlink("target", &link).unwrap();
        for content in ["first", "second"] {
            WholeFile::at(&link).unwrap().write(content.as_bytes(), true).unwrap();
            assert!(link.is_symlink());
            assert_eq!(std::fs::read_to_string(&target).unwrap(), content);
        }
    }

    #[test]
    fn a_pipe_gets_the_final_content_alone() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&writer));
        let mut file = WholeFile::at(Path::new(&path)).unwrap();
        drop(writer);
        file.write(b"first", false).unwrap();
        file.write(b"last", true).unwrap();
        drop(file);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "last");
    }

    #[test]
    fn a_full_disk_is_an_error_and_a_folder_too() {
        let mut full = WholeFile::at(Path::new("/dev/full")).unwrap();
        assert_eq!(full.write(b"x", true).unwrap_err().kind(), io::ErrorKind::StorageFull);
        let gone = replace(Path::new("/no/such/folder/x"), b"").unwrap_err();
        assert_eq!(gone.kind(), io::ErrorKind::NotFound);
        assert!(WholeFile::at(Path::new("/tmp")).is_err());
        assert!(WholeFile::at(Path::new("/no/such/folder/x")).is_err());
    }
}
