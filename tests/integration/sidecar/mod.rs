//! `devshell-vm` as its clients see it.

mod access;
mod corpus;
mod crowd;
mod ends;
mod execs;
mod files;
mod fuzz;
mod peer;
mod streams;
mod swaps;
mod version1;
