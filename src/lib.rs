//! devshell runs a list of tools on a private view of a project tree and brings the result
//! back, all or nothing.
//!
//! The way of the data: text → `Config` → [`plan::Plan`] → session → runner →
//! [`event::Event`] → reporter → exit code. Each arrow is one function, each noun one type.

#[cfg(not(unix))]
compile_error!("devshell needs a Unix system");

pub mod event;
pub mod exit;
pub mod plan;
pub mod process;
pub mod session;
pub mod vfs;
pub mod workspace;
