//! Config and facts in, plan out; pure.

mod types;

pub use types::{
    Backend, HostAccess, HostPlan, Places, Plan, Require, Strategy, ToolPlan, When, WorkspaceMode, WriteBack,
};
