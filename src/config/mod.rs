//! The config: wire structs; finding, reading and decoding one file; layers and origins.
//!
//! The layers, weakest first: the built-in defaults (which are `devshell.toml.example` itself),
//! the user's file, `devshell.toml`, the chosen profile, the environment, the flags. Each is decoded alone
//! against the one description of the schema, so that all its faults are told at once, each
//! with its place; figment merges what is good.

mod cargo_root;
mod check;
mod decode;
mod env;
mod error;
mod fault;
mod file;
mod hints;
mod json_schema;
mod keypath;
mod layer;
mod load;
mod names;
mod paths;
mod print;
mod reference;
mod schema;
mod secret;
mod secret_table;
mod source;
mod syntax;
mod text;
mod tools;
mod user;
mod wire;
mod words;

#[cfg(test)]
mod tests;

pub use env::known_variables;
pub use error::{ConfigError, Missing};
pub use fault::Fault;
pub use file::FILE_NAME;
pub use json_schema::schema;
pub use load::{DEFAULTS, Loaded, Origins, Override, Request, load};
pub use names::{Names, keys, names};
pub use source::{Holder, Origin, Place, Rank, SourceText};
pub use wire::{
    Agent, Beta, Config, Host, Lima, Remote, Retries, Run, Sandbox, Secret, Size, Tool, Vm, When, Workspace,
};
pub use words::{BackendName, Carry, ExitCode, HostAccess, Require, Strategy, WorkspaceMode, WriteBack};

pub(crate) use cargo_root::cargo_workspace_above;
pub(crate) use env::is_of_vm;
pub(crate) use load::defaults_and_environment;
pub(crate) use schema::nearest;
pub(crate) use text::inside;
