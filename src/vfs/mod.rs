//! The workspace as devshell sees it: a lazy base plus changes.

mod base;
mod edit;
mod error;
mod node;
mod path;
mod tree;

pub use crate::sys::fs::{Kind, Time};
pub use error::VfsError;
pub use node::{Content, FileNode, Lease, Node};
pub use path::{PathError, VfsPath};
pub use tree::{Metadata, Vfs};

pub(crate) use base::{Base, is_absent, open_parent};
pub(crate) use node::open_content;
