//! Files inside a guest, named by absolute guest paths.

mod mock;
mod ops;
mod path;

pub use mock::MockGuestFsOps;
pub use ops::{GuestFsError, GuestFsOps};
pub use path::logical_path_to_guest;

pub(crate) use path::below_mount;
