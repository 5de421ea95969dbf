//! devshell runs a list of tools on a private view of a project tree and brings the result
//! back, all or nothing.
//!
//! The way of the data: text → `Config` → [`plan::Plan`] → session → runner →
//! [`event::Event`] → reporter → exit code. Each arrow is one function, each noun one type.
//!
//! The names of the system that it re-implements are at the root. A tool over a tree that is only
//! in memory:
//!
//! ```
//! use devshell::{SessionHolder, Vfs};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut vfs = Vfs::new();
//! vfs.mkdir("/hello")?;
//! vfs.write_file("/hello/in.txt", b"b\na\n", 0o644)?;
//!
//! let mut session = SessionHolder::new_host();
//! session.ensure_ready(&vfs, "/hello")?;
//! let args = ["-o", "out.txt", "in.txt"].map(str::to_owned);
//! let status = session.run_rust_tool(&mut vfs, "/hello", "sort", &args)?;
//! session.shutdown(&mut vfs, "/hello")?;
//!
//! assert!(status.success());
//! assert_eq!(vfs.read_file("/hello/out.txt")?, b"a\nb\n");
//! # Ok(())
//! # }
//! ```

#[cfg(not(target_os = "linux"))]
compile_error!("this version of devshell is for Linux");

pub mod cli;
pub mod config;
pub mod doctor;
pub mod event;
pub mod exit;
pub mod guest_fs;
pub mod mask;
mod mirror;
pub mod plan;
pub mod process;
mod quote;
pub mod report;
pub mod runner;
pub mod server;
pub mod session;
pub mod sidecar;
mod starter;
mod sys;
pub mod vfs;
pub mod workspace;

pub use guest_fs::{GuestFsError, GuestFsOps, MockGuestFsOps, logical_path_to_guest};
pub use plan::{VmConfig, WorkspaceMode};
pub use session::beta::BetaSession;
pub use session::host::HostSandboxSession;
pub use session::lima::GammaSession;
pub use session::{SessionHolder, VmError};
pub use vfs::Vfs;
