//! Why there is no config.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::fault::{Fault, Paint, clean};

/// Why there is no config.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// There is no file (exit code 66).
    #[error("{0}")]
    Missing(Missing),
    /// The file is there and cannot be read (exit code 66).
    #[error("cannot read the config file {}: {source}; {remedy}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What to do about it.
        remedy: &'static str,
        /// Why.
        source: io::Error,
    },
    /// Something in it, in the environment or in a flag is wrong (exit code 78).
    #[error("{}", Listed(.0, Paint::PLAIN))]
    Invalid(Vec<Fault>),
    /// Values that were found good could not be put together: a bug of devshell.
    #[error("the layers of the config do not fit together (a bug of devshell): {0}")]
    Merge(#[source] Box<figment::Error>),
}

impl ConfigError {
    /// The text of `Display` with colours, as escape sequences of terminals.
    #[must_use]
    pub fn coloured(&self) -> String {
        match self {
            Self::Invalid(faults) => Listed(faults, Paint::COLOURED).to_string(),
            other => other.to_string(),
        }
    }
}

/// Which file is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    /// The one that was named.
    Named(PathBuf),
    /// None in this folder nor above it.
    Above(PathBuf),
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(path) => write!(f, "there is no config file {}", path.display()),
            Self::Above(folder) => write!(
                f,
                "there is no devshell.toml in {} or any folder above it; name one as argument, or write one",
                folder.display()
            ),
        }
    }
}

/// So many faults are shown; more of them are no config but some other file.
const MOST: usize = 100;

/// All faults, and a last line that counts them.
struct Listed<'a>(&'a [Fault], Paint);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut holders: Vec<String> = Vec::new();
        for (index, fault) in self.0.iter().enumerate() {
            if index < MOST {
                fault.write(f, self.1)?;
                f.write_str("\n\n")?;
            }
            if let Some(place) = &fault.place {
                let holder = place.source.holder.to_string();
                if !holders.contains(&holder) {
                    holders.push(holder);
                }
            }
        }
        match self.0.len() {
            1 => f.write_str("1 fault")?,
            count => write!(f, "{count} faults")?,
        }
        if !holders.is_empty() {
            write!(f, " in {}", clean(&holders.join(", ")))?;
        }
        if self.0.len() > MOST {
            write!(f, "; the first {MOST} are shown")?;
        }
        Ok(())
    }
}
