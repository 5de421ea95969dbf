//! What can be done to a guest's files.

use std::io;

/// Access to the files of a guest. All paths are absolute guest paths under the session's mount.
pub trait GuestFsOps {
    /// The names in a folder, sorted.
    ///
    /// # Errors
    /// [`GuestFsError::NotFound`], [`GuestFsError::NotADirectory`] and failures of the guest.
    fn list_dir(&mut self, path: &str) -> Result<Vec<String>, GuestFsError>;

    /// The bytes of a file.
    ///
    /// # Errors
    /// [`GuestFsError::NotFound`], [`GuestFsError::IsADirectory`] and failures of the guest.
    fn read_file(&mut self, path: &str) -> Result<Vec<u8>, GuestFsError>;

    /// Writes a whole file; its folder must be there.
    ///
    /// # Errors
    /// [`GuestFsError::IsADirectory`] where a folder stands, whose content is kept;
    /// [`GuestFsError::NotFound`] and [`GuestFsError::NotADirectory`] for what should hold it.
    fn write_file(&mut self, path: &str, content: &[u8]) -> Result<(), GuestFsError>;

    /// Makes a folder with its parents. One that is there already is no error.
    ///
    /// # Errors
    /// [`GuestFsError::NotADirectory`] where a file stands, there or on the way.
    fn mkdir(&mut self, path: &str) -> Result<(), GuestFsError>;

    /// Removes an entry with everything below it.
    ///
    /// # Errors
    /// [`GuestFsError::NotFound`]; [`GuestFsError::InvalidPath`] for the mount itself.
    fn remove(&mut self, path: &str) -> Result<(), GuestFsError>;
}

/// Why a guest's file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum GuestFsError {
    /// The path is not an absolute, plain path under the mount.
    #[error("`{path}` is no path that can be used in the guest: {why}")]
    InvalidPath {
        /// As given.
        path: String,
        /// In words.
        why: &'static str,
    },
    /// Nothing there.
    #[error("`{0}` does not exist in the guest")]
    NotFound(String),
    /// Something that should be a folder is none.
    #[error("`{0}` is not a folder in the guest")]
    NotADirectory(String),
    /// A folder where a file was expected.
    #[error("`{0}` is a folder in the guest")]
    IsADirectory(String),
    /// A command that was run in the guest for this failed.
    #[error("`{command}` failed in the guest{}: {message}", code.map(|code| format!(" with code {code}")).unwrap_or_default())]
    GuestCommand {
        /// What was run.
        command: String,
        /// Its exit code, where it had one.
        code: Option<i32>,
        /// What it said.
        message: String,
    },
    /// The guest could not be reached.
    #[error("the guest could not be reached: {message}")]
    Vm {
        /// What was tried.
        message: String,
        /// What the system said.
        #[source]
        source: Option<io::Error>,
    },
    /// A bug of devshell or of what serves the guest's files.
    #[error("internal error: {0}")]
    Internal(String),
}

impl GuestFsError {
    /// The caller wished to stop.
    pub(crate) fn interrupted() -> Self {
        Self::Vm {
            message: "interrupted".to_owned(),
            source: Some(io::ErrorKind::Interrupted.into()),
        }
    }

    /// Whether it is that.
    pub(crate) fn is_interrupted(&self) -> bool {
        matches!(self, Self::Vm { source: Some(source), .. } if source.kind() == io::ErrorKind::Interrupted)
    }
}
