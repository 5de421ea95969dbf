//! The server's log: lines of `name=value`, without contents and without tokens.

use std::fmt::{self, Display, Write as _};
use std::time::SystemTime;

/// How much is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing.
    Off,
    /// What ends the server.
    Error,
    /// What a client was refused, and what the server could not do.
    Warn,
    /// Connections, sessions and execs.
    Info,
    /// Every request.
    Debug,
}

impl Level {
    /// All, from nothing to everything.
    pub const ALL: [Self; 5] = [Self::Off, Self::Error, Self::Warn, Self::Info, Self::Debug];

    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }

    /// The level of this word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.word() == word)
    }
}

/// Where lines go, and which.
pub struct Log {
    level: Level,
    sink: Box<dyn Fn(&str) + Send + Sync>,
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log")
            .field("level", &self.level)
            .finish_non_exhaustive()
    }
}

impl Log {
    /// Lines up to `level` go to `sink`, each without its end.
    pub fn new(level: Level, sink: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self {
            level,
            sink: Box::new(sink),
        }
    }

    pub(super) fn warn(&self, event: &str, fields: &[(&str, &dyn Display)]) {
        self.line(Level::Warn, event, fields);
    }

    pub(super) fn info(&self, event: &str, fields: &[(&str, &dyn Display)]) {
        self.line(Level::Info, event, fields);
    }

    pub(super) fn debug(&self, event: &str, fields: &[(&str, &dyn Display)]) {
        self.line(Level::Debug, event, fields);
    }

    fn line(&self, level: Level, event: &str, fields: &[(&str, &dyn Display)]) {
        if level > self.level {
            return;
        }
        let now = humantime::format_rfc3339_millis(SystemTime::now());
        let mut line = format!("t={now} level={} event={event}", level.word());
        for (name, value) in fields {
            let _ = write!(line, " {name}=");
            push_value(&mut line, &value.to_string());
        }
        (self.sink)(&line);
    }
}

/// A value as one word: what a peer sent must not look like something else.
fn push_value(line: &mut String, value: &str) {
    const MOST: usize = 200;
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '=' | '\\');
    let short: String = value.chars().take(MOST).collect();
    let cut = if short.len() < value.len() { "…" } else { "" };
    if !short.is_empty() && cut.is_empty() && short.chars().all(plain) {
        line.push_str(&short);
    } else {
        let _ = write!(line, "{:?}", format!("{short}{cut}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[test]
    fn a_value_of_a_peer_stays_one_value() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&lines);
        let log = Log::new(Level::Info, move |line| kept.lock().unwrap().push(line.to_owned()));
        log.info("a", &[("x", &1), ("y", &"b\nlevel=error \u{1b}[0m"), ("z", &"")]);
        log.debug("b", &[]);
        let lines = lines.lock().unwrap();
        assert_eq!(lines.len(), 1);
        let (_, rest) = lines[0].split_once(" level=").unwrap();
        assert_eq!(rest, "info event=a x=1 y=\"b\\nlevel=error \\u{1b}[0m\" z=\"\"");
    }
}
