//! devshell runs a list of tools on a private view of a project tree and brings the result
//! back, all or nothing.
//!
//! The way of the data: text → `Config` → [`plan::Plan`] → session → runner →
//! [`event::Event`] → reporter → exit code. Each arrow is one function, each noun one type.

#[cfg(not(target_os = "linux"))]
compile_error!("this version of devshell is for Linux");

pub mod cli;
pub mod config;
pub mod event;
pub mod exit;
pub mod guest_fs;
pub mod plan;
pub mod process;
mod quote;
pub mod report;
pub mod runner;
pub mod session;
mod sys;
pub mod vfs;
pub mod workspace;

pub use guest_fs::{GuestFsError, GuestFsOps, MockGuestFsOps, logical_path_to_guest};
pub use plan::{VmConfig, WorkspaceMode};
pub use session::host::HostSandboxSession;
pub use session::{SessionHolder, VmError};
pub use vfs::Vfs;
