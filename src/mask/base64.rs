//! A value inside of something that was encoded in base64.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// The characters that the value alone decides, for each of the three places in a group of three
/// bytes at which it can begin, in both alphabets; and the same with the last character as it is
/// when nothing follows. A first or last character that also holds bits of a neighbour stays: it
/// tells four bits of the value at most. So does the padding.
pub(super) fn forms(value: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = Vec::new();
    for before in 0..3 {
        let mut bytes = vec![0; before];
        bytes.extend_from_slice(value);
        let encoded = STANDARD_NO_PAD.encode(&bytes).into_bytes();
        // Of one byte before the value two characters hold bits, of two bytes three.
        let first = [0, 2, 3][before];
        let whole = bytes.len() * 8 / 6;
        for form in [&encoded[first..whole], &encoded[first..]] {
            forms.push(form.to_vec());
            forms.push(form.iter().map(|byte| url_safe(*byte)).collect());
        }
    }
    forms
}

fn url_safe(byte: u8) -> u8 {
    match byte {
        b'+' => b'-',
        b'/' => b'_',
        byte => byte,
    }
}

/// Whether a byte is a digit of base64, in either alphabet.
pub(super) fn is_digit(byte: u8) -> bool {
    const DIGITS: [bool; 256] = {
        let mut digits = [false; 256];
        let mut byte = 0_u8;
        while byte < 128 {
            digits[byte as usize] = byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_');
            byte += 1;
        }
        digits
    };
    DIGITS[usize::from(byte)]
}
