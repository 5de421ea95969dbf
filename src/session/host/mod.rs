//! The host backend: tools run on this machine, in a private view of the tree.
//!
//! `session.rs` is the backend as the runner uses it. `tree.rs` says what a strategy is, and
//! `overlay.rs`, `copy.rs` and `in_place.rs` are the strategies. Of the overlay, `layout.rs` finds
//! out whether one is possible, `view_place.rs` where its layers may lie, `run_folder.rs` is the
//! folder of one run there and `layer.rs` makes a layer look like what it covers. `staging.rs`
//! holds the folder of the copy. `outside.rs` is what tools may write besides when the host is
//! read-only; `hints.rs` and `denials.rs` tell a failed tool which limit or which rule it met.

mod copy;
mod denials;
mod hints;
mod in_place;
mod layer;
mod layout;
mod leftovers;
mod outside;
mod overlay;
mod owner;
mod places;
mod run_folder;
mod session;
mod settings;
mod tree;
mod view_place;

pub use leftovers::{Leftover, LeftoverKind, is_view_in_use, leftovers};
pub use outside::Outside;
pub use session::HostSandboxSession;
pub use settings::{HostSettings, view_name};
pub use view_place::ViewPlace;
