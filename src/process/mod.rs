//! Tools as processes: what to run, how it ended, its output, and the staged stop.

#[cfg(target_os = "linux")]
mod capture;
#[cfg(target_os = "linux")]
mod client;
mod command;
mod exit;
#[cfg(target_os = "linux")]
mod keeper;
#[cfg(target_os = "linux")]
mod kept;
#[cfg(target_os = "linux")]
mod launch;
#[cfg(target_os = "linux")]
mod lookup;
mod message;
#[cfg(target_os = "linux")]
mod outside;
mod peer;
#[cfg(target_os = "linux")]
mod pump;
#[cfg(target_os = "linux")]
mod relay;
mod signals;
#[cfg(target_os = "linux")]
mod streams;
mod supervise;
#[cfg(all(test, target_os = "linux"))]
mod tests;
mod threads;

#[cfg(target_os = "linux")]
pub use capture::{CaptureError, CaptureLimits, Captured, capture};
#[cfg(target_os = "linux")]
pub use client::{Client, consult, replace};
pub use command::{Stdin, Terminal, ToolCommand};
pub use exit::{ToolEnd, ToolExit};
#[cfg(target_os = "linux")]
pub use keeper::{Isolation, Keeper, KeeperError, KeeperSpec, MountStep, Namespaces, SetupStage};
#[cfg(target_os = "linux")]
pub use kept::{Given, KeptTool, Signaller, SpawnRequest};
pub use message::{Cancel, Message, Running};
#[cfg(target_os = "linux")]
pub use outside::{PrivateFolders, ReadOnlyHost};
pub use peer::{OnStderr, Peer, PeerPipes};
pub use signals::{SignalThread, forward_to};
pub(crate) use supervise::LOST;
pub use supervise::{Limits, RunDeadline, Stage, supervise};
