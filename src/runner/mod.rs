//! The run: `ensure_ready` → tools → `shutdown` → commit, one loop that owns the state.
//!
//! The runner knows the plan, the session as a trait and the workspace; it knows no concrete
//! backend and no reporter. Everything else (output pumps, signals, deadlines) only sends
//! messages into the loop that waits for the running tool (after nextest's runner loop).

mod commands;
mod finish;
mod outcome;
mod output;
mod retries;
mod run;
mod secrets;
mod told;
mod tools;
mod words;

pub use commands::Commands;
pub(crate) use outcome::chain;
pub use outcome::{Failure, Outcome};
pub(crate) use run::lock_end;
pub use run::{Runner, Setup};
pub use secrets::Secrets;
