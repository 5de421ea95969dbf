//! A folder that is made equal to one at the other end of a wire: what the sidecar and its client do with a tree
//! where they share none. Both sides use this code, each in either part: the **giver** has the tree, the **taker**
//! is to become equal to it.
//!
//! - [`Mirror::look`]: the tree's entries with the digests of their contents; what the index knows is not read;
//! - [`Mirror::give`]: the entries, then the contents that the taker lacks;
//! - [`Mirror::take`]: what is lacking is fetched into a store beside the tree, complete and checked, before the
//!   first entry of the tree is touched. What has come stays in the store when the wire breaks.
//!
//! The peer is not trusted: every name is checked, every path is opened beneath the tree's root without following a
//! link, and nothing is believed that was not counted.

#[cfg(test)]
mod bench;
#[cfg(test)]
mod cases;
mod entries;
#[cfg(test)]
mod fuzz;
mod give;
mod look;
mod place;
mod plan;
#[cfg(test)]
mod random_trees;
mod store;
mod stream;
mod take;
mod weight;

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use crate::workspace::{Rules, SyncError};

pub(crate) use look::Manifest;
pub(crate) use stream::{Stream, Wire};
pub(crate) use take::Taken;

/// A folder that is carried, with what belongs to it beside it.
#[derive(Debug)]
pub(crate) struct Mirror {
    /// The folder.
    pub(crate) root: OwnedFd,
    /// Its path, for messages.
    pub(crate) path: PathBuf,
    /// The file that remembers digests.
    pub(crate) index: PathBuf,
    /// The folder for contents that have come; on the file system of the tree.
    pub(crate) store: PathBuf,
    /// What is carried.
    pub(crate) rules: Rules,
}

/// Why a tree was not carried.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MirrorError {
    /// A file operation of this side failed, or the caller wished to stop.
    #[error(transparent)]
    Local(#[from] SyncError),
    /// The other side says what it must not.
    #[error("{0}")]
    Peer(String),
    /// The wire carries nothing more; it knows why.
    #[error("the other side ended the transfer")]
    Cut,
    /// The other side has more than is carried.
    #[error("{0}")]
    TooLarge(String),
    /// What the giver had announced is not so any more.
    #[error("the tree was changed while it was carried")]
    Changed,
}

fn nonsense<T>(what: impl Into<String>) -> Result<T, MirrorError> {
    Err(MirrorError::Peer(what.into()))
}
