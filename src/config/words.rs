//! The words that keys take.

use serde::{Deserialize, Serialize};

/// Words of an enum as the config writes them.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $word)] $variant,)+
        }

        impl $name {
            /// The word as the config writes it.
            #[must_use]
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }
    };
}

words! {
    /// `vm.backend`.
    BackendName {
        /// The host.
        Auto = "auto",
        /// A sandbox on this host.
        Host = "host",
        /// A Lima virtual machine.
        Lima = "lima",
        /// A sidecar process.
        Beta = "beta",
        /// A remote-execution cluster.
        Remote = "remote",
    }
}

words! {
    /// `vm.workspace_mode`.
    WorkspaceMode {
        /// Mode S: push, run, pull.
        Sync = "sync",
        /// Mode P: the backend's own tree.
        Guest = "guest",
    }
}

words! {
    /// `vm.host.strategy`.
    Strategy {
        /// The best that is to be had.
        Auto = "auto",
        /// A file-system overlay.
        Overlay = "overlay",
        /// A staged copy.
        Copy = "copy",
        /// The real tree.
        InPlace = "in_place",
    }
}

words! {
    /// `vm.lima.carry`.
    Carry {
        /// Over the agent's connection where that is truer or faster, else by the mount.
        Auto = "auto",
        /// By the folder that the instance mounts.
        Mount = "mount",
        /// Over the agent's connection.
        Transfer = "transfer",
    }
}

words! {
    /// `workspace.write_back`.
    WriteBack {
        /// When every required tool succeeded.
        OnSuccess = "on_success",
        /// Also after tool failures and timeouts.
        Always = "always",
        /// Keep the result aside.
        Never = "never",
    }
}

words! {
    /// `sandbox.host`.
    HostAccess {
        /// As the caller.
        ReadWrite = "rw",
        /// Nothing outside the workspace.
        ReadOnly = "ro",
    }
}

words! {
    /// `sandbox.require`, weakest first.
    Require {
        /// Nothing.
        None = "none",
        /// Nothing survives the run.
        Processes = "processes",
        /// And the workspace's own path shows the private tree.
        View = "view",
        /// And nothing outside is writable.
        Full = "full",
    }
}

words! {
    /// `run.exit_code`.
    ExitCode {
        /// The tool's own code.
        Tool = "tool",
        /// Always 1.
        Class = "class",
    }
}
