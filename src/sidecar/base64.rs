//! Bytes in a line of JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Standard alphabet, padded.
#[must_use]
pub fn to_base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// The bytes, if it is base64 of the standard alphabet with its padding and nothing else.
#[must_use]
pub fn from_base64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_and_what_is_no_base64_is_none() {
        assert_eq!(from_base64(&to_base64(b"\x00\xff\n")).unwrap(), b"\x00\xff\n");
        for bad in ["a", "YQ", "YQ==\n", "Y Q==", "_-8=", "YR==", "é"] {
            assert_eq!(from_base64(bad), None, "{bad:?}");
        }
    }
}
