//! Thin wrappers of system calls: the only place with `unsafe`, each block with its reason.

pub(crate) mod fs;
