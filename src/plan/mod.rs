//! Config and facts in, plan out; pure.
//!
//! [`Facts::gather`] alone asks the disk, and [`VmConfig::from_env`] alone the environment.

mod environment;
mod error;
mod facts;
mod guests;
mod outside;
mod render;
mod resolve;
mod types;
mod vm_config;

#[cfg(test)]
mod tests;

pub use environment::{DEFAULT_PATH, guest_environment, tool_environment};
pub use error::PlanError;
pub use facts::{Facts, own_roots, workspace_key};
pub use resolve::{Selection, require_tools, resolve, resolve_exec};
pub use types::{
    AgentPlan, Backend, BetaPlan, Carry, GuestPlan, HostAccess, HostPlan, LimaPlan, Places, Plan, Require, Retries,
    SecretPlan, SecretSource, SidecarAddress, Strategy, ToolPlan, When, WorkspaceMode, WriteBack,
};
pub use vm_config::VmConfig;
