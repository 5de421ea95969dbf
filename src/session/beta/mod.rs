//! The sidecar backend (β): tools run wherever a `devshell-vm` runs.

mod carry;
mod connect;
mod guest;
mod session;
mod settings;

pub use session::BetaSession;
pub use settings::BetaSettings;
