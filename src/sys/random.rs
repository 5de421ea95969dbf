//! Numbers that nobody can guess.

use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};

/// 128 bits from the system's generator, as text of 32 hexadecimal digits.
pub(crate) fn token() -> String {
    let mut bytes = [0_u8; 16];
    let mut filled = 0;
    while filled < bytes.len() {
        match getrandom(&mut bytes[filled..], GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            Err(Errno::INTR) => {}
            // Only a kernel older than any that devshell runs on has no such call.
            Err(error) => panic!("no random numbers: {error}"),
        }
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::token;

    #[test]
    fn no_two_tokens_are_the_same() {
        let tokens: std::collections::BTreeSet<String> = (0..100).map(|_| token()).collect();
        assert_eq!(tokens.len(), 100);
        assert!(
            tokens
                .iter()
                .all(|token| token.len() == 32 && token.bytes().all(|byte| byte.is_ascii_hexdigit()))
        );
    }
}
