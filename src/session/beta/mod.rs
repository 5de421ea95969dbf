//! The sidecar backend (β): tools run wherever a `devshell-vm` runs.

mod connect;
mod exec;
mod files;
mod greeting;
mod link;
mod said;
mod session;
mod settings;
mod transport;
mod tree;

pub use greeting::{Greeting, greet};
pub use session::BetaSession;
pub use settings::BetaSettings;
