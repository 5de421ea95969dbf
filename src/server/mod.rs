//! The sidecar's server: what `devshell-vm` does. It serves the protocol of [`crate::sidecar`] to
//! many clients at once, works on files beneath its roots only, and runs tools by the same
//! engine ([`crate::process`]) as the host backend.
//!
//! A connection is one thread that reads (`connection`), one that writes where the client is
//! slow (`outbox`), and one for each exec (`exec`) with the keeper that it runs in.

mod bell;
mod connection;
mod contents;
mod controls;
mod exec;
mod execs;
mod fields;
mod files;
mod listener;
mod log;
mod old_trees;
mod outbox;
mod output;
mod own_folder;
mod paths;
mod peer;
mod refusal;
mod registry;
mod requests;
mod serving;
mod session;
mod settings;
mod socket_file;
mod staging;
mod stdin;
mod token;
mod trees;

pub use listener::{ListenError, Listener};
pub use log::{Level, Log};
pub use peer::Transport;
pub use serving::{Clients, ServeError, serve};
pub use settings::Settings;
pub use socket_file::SocketFileError;
pub use token::Token;
