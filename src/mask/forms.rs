//! All that is searched for.

use std::collections::BTreeSet;

use super::{SHORTEST, base64, escapes};

/// Every form of the values, each once, in order.
pub(super) fn forms<'v>(values: impl IntoIterator<Item = &'v [u8]>) -> Vec<Vec<u8>> {
    let mut forms = BTreeSet::new();
    for value in values {
        for piece in pieces(value) {
            forms.insert(piece.to_vec());
            forms.extend(escapes::forms(piece));
            forms.extend(base64::forms(piece));
        }
    }
    forms.retain(|form| form.len() >= SHORTEST);
    forms.into_iter().collect()
}

/// The value, and each of its lines without the blanks around it: a private key is often printed
/// a line at a time, and other programs indent.
fn pieces(value: &[u8]) -> BTreeSet<&[u8]> {
    let lines = value.split(|byte| matches!(byte, b'\n' | b'\r'));
    let pieces = lines.chain([value]).map(<[u8]>::trim_ascii).chain([value]);
    pieces.filter(|piece| piece.trim_ascii().len() >= SHORTEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_values_of_their_own_unless_they_are_too_short() {
        let pieces = pieces(b"  first line\r\n}\n\nsecond\n");
        let expected: [&[u8]; 4] = [
            b"  first line\r\n}\n\nsecond\n",
            b"first line",
            b"first line\r\n}\n\nsecond",
            b"second",
        ];
        assert_eq!(pieces.into_iter().collect::<Vec<_>>(), expected);
        assert!(forms([&b" abc\n"[..], b""]).is_empty());
    }
}
