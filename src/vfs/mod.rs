//! The workspace as devshell sees it: a lazy base plus changes.

mod path;

pub use path::{PathError, VfsPath};

/// The workspace as devshell sees it.
pub struct Vfs {}
