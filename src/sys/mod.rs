//! Thin wrappers of system calls: the only place with `unsafe`, each block with its reason.

pub(crate) mod descriptors;
#[cfg(target_os = "linux")]
pub(crate) mod explain;
pub(crate) mod fs;
#[cfg(target_os = "linux")]
pub(crate) mod keeper;
pub(crate) mod machine;
#[cfg(target_os = "linux")]
pub(crate) mod mounts;
pub(crate) mod output;
#[cfg(target_os = "linux")]
pub(crate) mod probe;
#[cfg(target_os = "linux")]
pub(crate) mod pty;
pub(crate) mod random;
pub(crate) mod room;
pub(crate) mod signals;
pub(crate) mod terminal;
