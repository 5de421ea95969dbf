//! How a value looks inside of other notations. Where one leaves the value as it is, so does its
//! form here.

use std::fmt::Write as _;

/// A notation: what it writes for a value.
type Notation = fn(&[u8]) -> Vec<u8>;

/// The value in each notation.
pub(super) fn forms(value: &[u8]) -> Vec<Vec<u8>> {
    let plain: [Notation; 8] = [
        // A terminal writes the end of a line so, and so do text files of Windows.
        |value| replaced(value, |byte| (byte == b'\n').then_some("\r\n")),
        // In single quotes of a shell, and as Python's shlex quotes.
        |value| replaced(value, |byte| (byte == b'\'').then_some("'\\''")),
        |value| replaced(value, |byte| (byte == b'\'').then_some("'\"'\"'")),
        // In double quotes of a shell, as `declare -p` and `export -p` print.
        |value| backslashed(value, b"\\\"$`"),
        // Without quotes, as `printf %q` prints; of some shells a few more.
        |value| backslashed(value, b" \t'\"\\|&;()<>!{}*[]?^$`,"),
        |value| backslashed(value, b" \t'\"\\|&;()<>!{}*[]?^$`,~#=:%@+"),
        ansi_c,
        // As JSON shows bytes that are no text, and devshell command lines.
        |value| String::from_utf8_lossy(value).into_owned().into_bytes(),
    ];
    let mut forms: Vec<Vec<u8>> = plain.iter().map(|notation| notation(value)).collect();
    forms.extend(json(value));
    forms.extend(url(value));
    forms.extend(markup(value));
    forms
}

fn replaced(value: &[u8], with: impl Fn(u8) -> Option<&'static str>) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len());
    for byte in value {
        match with(*byte) {
            Some(text) => out.extend_from_slice(text.as_bytes()),
            None => out.push(*byte),
        }
    }
    out
}

fn backslashed(value: &[u8], special: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len());
    for byte in value {
        if special.contains(byte) {
            out.push(b'\\');
        }
        out.push(*byte);
    }
    out
}

/// In `$'...'` of bash and zsh.
fn ansi_c(value: &[u8]) -> Vec<u8> {
    let mut out = String::new();
    for byte in value {
        _ = match byte {
            b'\n' => write!(out, "\\n"),
            b'\r' => write!(out, "\\r"),
            b'\t' => write!(out, "\\t"),
            b'\'' | b'\\' => write!(out, "\\{}", char::from(*byte)),
            0x1b => write!(out, "\\E"),
            b' '..=b'~' => write!(out, "{}", char::from(*byte)),
            byte => write!(out, "\\{byte:03o}"),
        };
    }
    out.into_bytes()
}

/// In XML and HTML. What must be written otherwise is; of the rest every program has its own mind.
fn markup(value: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = Vec::new();
    for greater in [">", "&gt;"] {
        for double in ["\"", "&quot;", "&#34;"] {
            for single in ["'", "&apos;", "&#39;", "&#x27;"] {
                forms.push(replaced(value, |byte| match byte {
                    b'&' => Some("&amp;"),
                    b'<' => Some("&lt;"),
                    b'>' => Some(greater),
                    b'"' => Some(double),
                    b'\'' => Some(single),
                    _ => None,
                }));
            }
        }
    }
    forms
}

/// In a string of JSON: with no more escapes than must be, as Python writes it (ASCII only), as Go
/// does (safe inside of HTML), and as PHP does (slashes, too).
fn json(value: &[u8]) -> Vec<Vec<u8>> {
    let quoted = serde_json::Value::from(String::from_utf8_lossy(value)).to_string();
    let inner = &quoted[1..quoted.len() - 1];
    let with = |escapes: fn(char) -> bool| -> Vec<u8> {
        let mut out = String::new();
        for char in inner.chars() {
            if escapes(char) {
                for unit in char.encode_utf16(&mut [0; 2]) {
                    _ = write!(out, "\\u{unit:04x}");
                }
            } else {
                out.push(char);
            }
        }
        out.into_bytes()
    };
    vec![
        inner.as_bytes().to_vec(),
        with(|char| !char.is_ascii()),
        with(|char| matches!(char, '&' | '<' | '>')),
        inner.replace('/', "\\/").into_bytes(),
    ]
}

/// In a URL. Which bytes are written as they are, differs; so does the case of the digits.
fn url(value: &[u8]) -> Vec<Vec<u8>> {
    const KEPT: [(&[u8], bool); 7] = [
        // RFC 3986 with nothing but its unreserved characters, and the same in a form.
        (b"-._~", false),
        (b"-._~", true),
        // As URL's own parser and Java write a form.
        (b"-._*", true),
        // encodeURIComponent of JavaScript.
        (b"-._~!*'()", false),
        // Python's quote: made for paths.
        (b"-._~/", false),
        // The user's part of an address: with all that may stand there.
        (b"-._~!$&'()*+,;=", false),
        // encodeURI of JavaScript.
        (b"-._~!*'();/?:@&=+$,#", false),
    ];
    let mut forms = Vec::new();
    for (kept, blank_is_plus) in KEPT {
        for upper in [true, false] {
            let mut out = String::new();
            for byte in value {
                _ = match byte {
                    b' ' if blank_is_plus => write!(out, "+"),
                    byte if byte.is_ascii_alphanumeric() || kept.contains(byte) => {
                        write!(out, "{}", char::from(*byte))
                    }
                    byte if upper => write!(out, "%{byte:02X}"),
                    byte => write!(out, "%{byte:02x}"),
                };
            }
            forms.push(out.into_bytes());
        }
    }
    forms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn has(value: &str, form: &str) {
        let forms = forms(value.as_bytes());
        let shown: Vec<_> = forms.iter().map(|form| String::from_utf8_lossy(form)).collect();
        assert!(shown.iter().any(|other| other == form), "{form} is not in {shown:#?}");
    }

    #[test]
    fn notations_write_what_their_programs_write() {
        has("a'b", "a'\\''b");
        has("a'b", "a'\"'\"'b");
        has("a\"$b", "a\\\"\\$b");
        has("a b,c", "a\\ b\\,c");
        has("a\tb\n\u{1b}\u{1}é", "a\\tb\\n\\E\\001\\303\\251");
        has("a\nb", "a\r\nb");
        has("<a&'b\">", "&lt;a&amp;&#39;b&#34;&gt;");
        has("<a&'b\">", "&lt;a&amp;'b\"&gt;");
        has("<a&'b\">", "&lt;a&amp;&#x27;b&quot;&gt;");
        has("a\"b\\c\n", "a\\\"b\\\\c\\n");
        has("é𝄞", "\\u00e9\\ud834\\udd1e");
        has("a&b/c", "a\\u0026b/c");
        has("a&b/c", "a&b\\/c");
        has("a b/c~é", "a%20b%2Fc~%C3%A9");
        has("a b/c~é", "a%20b%2fc~%c3%a9");
        has("a b/c~*", "a+b%2Fc%7E*");
        has("a b/c(d)", "a%20b%2Fc(d)");
        has("a b/c(d)", "a%20b/c%28d%29");
        has("a+b:c@d", "a+b%3Ac%40d");
    }

    #[test]
    fn a_plain_token_is_the_same_in_every_notation() {
        let token = b"ghp_0123456789abcdefABCDEF";
        assert!(forms(token).iter().all(|form| form == token));
    }
}
