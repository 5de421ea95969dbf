//! Why a request was refused, as a word that programs can compare.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $code:ident = $word:literal,)* }) => {
        $(#[$about])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(from = "String", into = "String")]
        pub enum $name {
            $($(#[$doc])* $code,)*
            /// One that this version does not know; never sent by it.
            Other(String),
        }

        impl $name {
            /// All that are known.
            pub const KNOWN: &[Self] = &[$(Self::$code),*];

            /// As it stands on the wire.
            #[must_use]
            pub fn word(&self) -> &str {
                match self {
                    $(Self::$code => $word,)*
                    Self::Other(word) => word,
                }
            }
        }

        impl From<String> for $name {
            fn from(word: String) -> Self {
                match word.as_str() {
                    $($word => Self::$code,)*
                    _ => Self::Other(word),
                }
            }
        }

        impl From<$name> for String {
            fn from(code: $name) -> Self {
                code.word().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.word())
            }
        }
    };
}

codes! {
    /// The `code` of an `error`.
    ErrorCode {
        /// The line is no JSON object, or no UTF-8.
        Parse = "parse",
        /// The line is blank.
        Empty = "empty",
        /// There is no such `op`, or it was not agreed on.
        UnknownOp = "unknown_op",
        /// A field is missing, of another type, or not allowed here.
        BadRequest = "bad_request",
        /// The line is longer than the limit.
        LineTooLong = "line_too_long",
        /// Something else came before the handshake.
        HandshakeRequired = "handshake_required",
        /// The client speaks another version.
        VersionMismatch = "version_mismatch",
        /// The token is missing or wrong. The connection is closed.
        Unauthorized = "unauthorized",
        /// There are as many connections, or execs, as the server takes.
        TooMany = "too_many",
        /// The server is about to end and starts nothing more.
        ShuttingDown = "shutting_down",
        /// `staging_dir` is no absolute path of a folder.
        BadStaging = "bad_staging",
        /// `staging_dir` lies beneath none of the server's roots.
        Forbidden = "forbidden",
        /// The staging folder cannot be used any more.
        StagingIo = "staging_io",
        /// There is no session, or it has another id.
        NoSession = "no_session",
        /// There is a session already.
        SessionExists = "session_exists",
        /// `guest_cwd` is no folder under the mount.
        BadGuestCwd = "bad_guest_cwd",
        /// `argv` is empty, or cannot be handed to a program.
        Exec = "exec",
        /// The program was not found or cannot be executed.
        ExecSpawn = "exec_spawn",
        /// The program was stopped at its timeout.
        ExecTimeout = "exec_timeout",
        /// How the program ended cannot be known.
        ExecWait = "exec_wait",
    }
}

codes! {
    /// The `code` of a `guest_fs_error`.
    FsErrorCode {
        /// The path is not under the mount, is the mount itself where that cannot be, or a link
        /// leads out.
        InvalidPath = "invalid_path",
        /// There is nothing.
        NotFound = "not_found",
        /// A file where a folder is needed.
        NotADirectory = "not_a_directory",
        /// A folder where a file is needed.
        IsADirectory = "is_a_directory",
        /// The system refused.
        IoError = "io_error",
        /// `content_base64` is no base64.
        InvalidBase64 = "invalid_base64",
        /// There is no such `operation`, or it was not agreed on.
        Unknown = "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_back_as_their_codes_and_others_are_kept() {
        for code in ErrorCode::KNOWN {
            assert_eq!(&ErrorCode::from(code.word().to_owned()), code);
        }
        for code in FsErrorCode::KNOWN {
            assert_eq!(&FsErrorCode::from(code.word().to_owned()), code);
        }
        let other: ErrorCode = serde_json::from_str("\"no_luck\"").unwrap();
        assert_eq!(other, ErrorCode::Other("no_luck".to_owned()));
        assert_eq!(serde_json::to_string(&other).unwrap(), "\"no_luck\"");
    }
}
