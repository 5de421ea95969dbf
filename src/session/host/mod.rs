//! The host backend: tools run on this machine, in a private view of the tree.
//!
//! `session.rs` is the backend as the runner uses it; `places.rs` says where a Vfs path lies for
//! the tools and for devshell; `staging.rs` holds the folder of the `copy` strategy.

mod leftovers;
mod places;
mod session;
mod settings;
mod staging;

pub use leftovers::{Leftover, leftovers};
pub use session::HostSandboxSession;
pub use settings::{HostSettings, StagingPlace};
