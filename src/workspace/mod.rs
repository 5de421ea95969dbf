//! Carrying trees: which files belong, push and pull, write-back.

mod error;

pub use error::SyncError;

/// What the workspace looked like when the view was made; the commit's conflict check needs it.
pub enum Baseline {}
