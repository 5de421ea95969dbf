//! Which machine this is.

use std::fs;

/// Where systemd keeps the number, and where D-Bus does where there is no systemd.
const FILES: [&str; 2] = ["/etc/machine-id", "/var/lib/dbus/machine-id"];

/// The number that this installation of a system was given, the same at every start. None where there is none, as in
/// most containers.
pub(crate) fn id() -> Option<u128> {
    FILES.iter().find_map(|file| parse(&fs::read_to_string(file).ok()?))
}

/// As machine-id(5) says: 32 hexadecimal digits. `uninitialized` and zero are none.
fn parse(text: &str) -> Option<u128> {
    let digits = text.trim_end();
    let is_number = digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    u128::from_str_radix(digits, 16).ok().filter(|id| is_number && *id != 0)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn only_a_number_is_one() {
        assert_eq!(
            parse("4c4c4544004a35108050b4c04f303732\n"),
            Some(0x4c4c_4544_004a_3510_8050_b4c0_4f30_3732)
        );
        let zero = "0".repeat(32);
        let signed = format!("+{}", "1".repeat(31));
        for none in ["", "\n", "uninitialized\n", "4c4c", zero.as_str(), signed.as_str()] {
            assert_eq!(parse(none), None, "{none:?}");
        }
    }
}
