//! The Lima backend (γ): tools run in a virtual machine that limactl keeps.

pub mod agent;
mod carry;
mod connect;
mod files;
mod guest;
mod hints;
mod install;
pub mod instance;
mod lease;
mod limactl;
mod line;
mod proof;
mod ready;
mod resident;
mod session;
mod settings;
mod shortcut;
mod stream;
mod terminal;
mod tool;
mod tree;
mod way;

pub use session::GammaSession;
pub use settings::LimaSettings;
