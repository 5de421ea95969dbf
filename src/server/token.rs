//! What clients over TCP have to know.

use std::fmt;

/// A token as the server keeps it: its hash, which is compared in constant time.
#[derive(Clone)]
pub struct Token(blake3::Hash);

impl Token {
    /// The token of these bytes.
    #[must_use]
    pub fn new(token: &[u8]) -> Self {
        Self(blake3::hash(token))
    }

    /// Whether `token` is it. How long this takes tells nothing about the token.
    #[must_use]
    pub fn is(&self, token: &[u8]) -> bool {
        // The comparison of two hashes of this crate takes the same time for all.
        self.0 == blake3::hash(token)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_very_token_is_it_and_it_is_not_shown() {
        let token = Token::new(b"secret");
        assert!(token.is(b"secret"));
        for other in [&b""[..], b"secre", b"secret\n", b"SECRET"] {
            assert!(!token.is(other));
        }
        assert!(!format!("{token:?}").contains("secret"));
    }
}
