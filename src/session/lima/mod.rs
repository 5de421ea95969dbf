//! The Lima backend (γ): tools run in a virtual machine that limactl keeps.

mod files;
mod guest;
mod hints;
pub mod instance;
mod lease;
mod limactl;
mod line;
mod ready;
mod session;
mod settings;
mod stream;
mod tool;

pub use session::GammaSession;
pub use settings::LimaSettings;
