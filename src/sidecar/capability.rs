//! What version 1 is extended by, as agreed in the handshake.

/// One extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capability {
    /// Requests carry `id`, replies repeat it; several execs may run at once.
    RequestId,
    /// Output of an exec comes while it runs, and `exec_result` tells more. Needs `request_id`.
    ExecStream,
    /// `exec_signal`, `exec_cancel`, `exec_stdin`. Needs `request_id`.
    ExecControl,
    /// `ping` either way; a peer silent for longer than agreed is gone. Needs `request_id`, since a
    /// server without it does not read while an exec runs.
    Keepalive,
    /// Metadata of files.
    FsStat,
    /// Files as raw bytes, in ranges, with modes, links and names that are not UTF-8. Needs
    /// `request_id`.
    FsRaw,
    /// The tree itself over the wire, for peers that share no folder. Needs `request_id`.
    Transfer,
}

impl Capability {
    /// All, in the order in which a server lists them.
    pub const ALL: [Self; 7] = [
        Self::RequestId,
        Self::ExecStream,
        Self::ExecControl,
        Self::Keepalive,
        Self::FsStat,
        Self::FsRaw,
        Self::Transfer,
    ];

    /// Its name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::RequestId => "request_id",
            Self::ExecStream => "exec_stream",
            Self::ExecControl => "exec_control",
            Self::Keepalive => "keepalive",
            Self::FsStat => "fs_stat",
            Self::FsRaw => "fs_raw",
            Self::Transfer => "transfer",
        }
    }

    /// The capability of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|capability| capability.name() == name)
    }

    fn bit(self) -> u8 {
        1 << (self as u8)
    }

    fn needs_request_id(self) -> bool {
        matches!(
            self,
            Self::ExecStream | Self::ExecControl | Self::Keepalive | Self::FsRaw | Self::Transfer
        )
    }
}

/// A set of capabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Capabilities(u8);

impl Capabilities {
    /// What this version implements, on both sides.
    #[must_use]
    pub fn implemented() -> Self {
        Capability::ALL.into_iter().collect()
    }

    /// The ones whose names are known; others are nobody's business.
    pub fn from_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        names.into_iter().filter_map(Capability::from_name).collect()
    }

    /// Their names, in the order of [`Capability::ALL`].
    #[must_use]
    pub fn names(self) -> Vec<String> {
        Capability::ALL
            .into_iter()
            .filter(|capability| self.has(*capability))
            .map(|capability| capability.name().to_owned())
            .collect()
    }

    /// Whether it is one of them.
    #[must_use]
    pub fn has(self, capability: Capability) -> bool {
        self.0 & capability.bit() != 0
    }

    /// Whether there is none: then version 1 is spoken as it stands.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// What both have. What needs `request_id` falls away without it.
    #[must_use]
    pub fn agreed(self, other: Self) -> Self {
        let both = Self(self.0 & other.0);
        Capability::ALL
            .into_iter()
            .filter(|capability| both.has(*capability))
            .filter(|capability| both.has(Capability::RequestId) || !capability.needs_request_id())
            .collect()
    }

    /// Whether lines may be followed by raw bytes: then what follows a line that cannot be
    /// understood must not be taken for a line.
    #[must_use]
    pub fn has_frames(self) -> bool {
        [
            Capability::ExecStream,
            Capability::ExecControl,
            Capability::FsRaw,
            Capability::Transfer,
        ]
        .into_iter()
        .any(|capability| self.has(capability))
    }
}

impl FromIterator<Capability> for Capabilities {
    fn from_iter<I: IntoIterator<Item = Capability>>(capabilities: I) -> Self {
        Self(
            capabilities
                .into_iter()
                .fold(0, |bits, capability| bits | capability.bit()),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_ids_falls_away_without_them() {
        let server = Capabilities::implemented();
        let agreed = |names: &[&str]| server.agreed(Capabilities::from_names(names.iter().copied())).names();
        assert_eq!(agreed(&["exec_stream", "exec_control", "fs_raw"]), [""; 0]);
        assert_eq!(agreed(&["exec_stream", "request_id"]), ["request_id", "exec_stream"]);
        assert_eq!(agreed(&["keepalive", "fs_stat", "colour"]), ["fs_stat"]);
        assert_eq!(agreed(&["request_id", "transfer"]), ["request_id", "transfer"]);
        assert_eq!(agreed(&["transfer"]), [""; 0]);
    }

    #[test]
    fn every_name_is_its_own() {
        for capability in Capability::ALL {
            assert_eq!(Capability::from_name(capability.name()), Some(capability));
        }
    }
}
