//! This side of the sidecar protocol: what every session does that speaks with a `devshell-vm`.

mod carriage;
mod connection;
pub(super) mod exec;
mod files;
mod greeting;
#[cfg(test)]
mod liars;
mod link;
mod listener;
mod mirror;
mod said;
mod shared;
mod transport;
mod tree;

pub(super) use connection::Connection;
pub(super) use files::RemoteFiles;
pub(super) use greeting::{AskedSession, Begun, Pace, Place, begin, failed};
pub use greeting::{Greeting, greet};
pub(super) use link::{Answer, Broken, CallError, Link};
pub(super) use mirror::{At, RemoteMirror};
pub(super) use shared::sync;
pub(super) use transport::in_words;
