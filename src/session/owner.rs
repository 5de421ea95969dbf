//! Which process something belongs to, told apart from a later one with the same number.

use std::fmt;
use std::str::FromStr;

/// A process: its number, when it was started (in ticks since boot), and in which boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owner {
    pid: u32,
    started: u64,
    boot: String,
}

impl Owner {
    pub(super) fn this_process() -> Self {
        let pid = std::process::id();
        Self {
            pid,
            started: started(pid).unwrap_or(0),
            boot: boot(),
        }
    }

    /// Whether that very process is alive.
    pub(super) fn is_alive(&self) -> bool {
        self.boot == boot() && started(self.pid) == Some(self.started)
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.pid, self.started, self.boot)
    }
}

/// The text says nothing of a process.
#[derive(Debug)]
pub(super) struct NoOwner;

impl FromStr for Owner {
    type Err = NoOwner;

    fn from_str(text: &str) -> Result<Self, NoOwner> {
        let mut words = text.split_whitespace();
        let mut next = || words.next().ok_or(NoOwner);
        Ok(Self {
            pid: next()?.parse().map_err(|_| NoOwner)?,
            started: next()?.parse().map_err(|_| NoOwner)?,
            boot: next()?.to_owned(),
        })
    }
}

fn started(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in the second field may hold blanks and parentheses; the start is field 22.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

fn boot() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let id = id.trim();
    if id.is_empty() { "unknown" } else { id }.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive_and_another_with_its_number_is_not_taken_for_it() {
        let me = Owner::this_process();
        assert!(me.to_string().parse::<Owner>().unwrap().is_alive());
        let other = Owner {
            started: me.started + 1,
            ..me.clone()
        };
        let earlier = Owner {
            boot: "x".to_owned(),
            ..me
        };
        assert!(!other.is_alive() && !earlier.is_alive());
        assert!("12 x".parse::<Owner>().is_err());
    }
}
