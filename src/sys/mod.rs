//! Thin wrappers of system calls: the only place with `unsafe`, each block with its reason.

pub(crate) mod descriptors;
#[cfg(target_os = "linux")]
pub(crate) mod explain;
pub(crate) mod fs;
#[cfg(target_os = "linux")]
pub(crate) mod keeper;
#[cfg(target_os = "linux")]
pub(crate) mod mounts;
pub(crate) mod output;
pub(crate) mod signals;
