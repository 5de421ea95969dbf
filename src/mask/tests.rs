//! Facts about texts and streams.

use ::base64::Engine as _;
use ::base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn mask(values: &[&str]) -> Mask {
    Mask::new(values.iter().map(|value| value.as_bytes()))
}

/// Everything in one piece.
fn whole(mask: &Mask, bytes: &[u8]) -> Vec<u8> {
    pieces(mask, bytes, &[])
}

/// Everything, cut at these places.
fn pieces(mask: &Mask, bytes: &[u8], cuts: &[usize]) -> Vec<u8> {
    let mut stream = mask.stream();
    let mut out = Vec::new();
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    cuts.sort_unstable();
    let mut from = 0;
    for cut in cuts.into_iter().chain([bytes.len()]) {
        out.extend(stream.push(bytes[from..cut].to_vec()));
        from = cut;
    }
    out.extend(stream.finish());
    out
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[test]
fn a_value_is_stars_wherever_it_stands() {
    let mask = mask(&["hunter22"]);
    assert_eq!(
        mask.text("password=hunter22; again: hunter22!"),
        "password=***; again: ***!"
    );
    assert_eq!(mask.text("hunter22hunter22"), "***", "also not how often");
    assert_eq!(mask.text("hunter2, Hunter22"), "hunter2, Hunter22");
    assert!(matches!(mask.text("nothing of it"), Cow::Borrowed(_)));
}

#[test]
fn without_values_nothing_is_touched() {
    let mask = Mask::default();
    assert_eq!(mask.text("hunter22"), "hunter22");
    let mut stream = mask.stream();
    assert_eq!(stream.push(b"hunt".to_vec()), b"hunt");
    assert_eq!(stream.finish(), b"");
    assert!(Mask::new([&b""[..], b"abc", b"\n \n"]).patterns.is_none());
}

#[test]
fn values_that_overlap_are_hidden_to_the_last_byte() {
    let mask = mask(&["abcdef", "defghi", "defg"]);
    assert_eq!(mask.text("-abcdefghi-"), "-***-");
    assert_eq!(mask.text("-abcdefgh-"), "-***h-");
}

#[test]
fn no_more_is_held_back_than_may_be_the_beginning_of_a_value() {
    let mut stream = mask(&["hunter22"]).stream();
    assert_eq!(stream.push(b"Password (h): ".to_vec()), b"Password (h): ");
    assert_eq!(stream.push(b"see hun".to_vec()), b"see ");
    assert_eq!(stream.push(b"dred".to_vec()), b"hundred");
    assert_eq!(stream.push(b"hunter".to_vec()), b"");
    assert_eq!(stream.push(b"22\n".to_vec()), b"***\n");
    assert_eq!(stream.push(b"hunt".to_vec()), b"");
    assert_eq!(stream.finish(), b"hunt");
}

#[test]
fn a_value_that_goes_on_as_another_is_not_shown_before_that_is_known() {
    let mut stream = mask(&["abcd", "abcdefgh"]).stream();
    assert_eq!(stream.push(b"abcd".to_vec()), b"");
    assert_eq!(stream.push(b"efg".to_vec()), b"");
    assert_eq!(stream.push(b"x".to_vec()), b"***efgx");
    assert_eq!(stream.push(b"abcd".to_vec()), b"");
    assert_eq!(stream.finish(), b"***");
}

#[test]
fn each_line_of_a_value_is_hidden_and_the_whole_with_its_short_lines() {
    let key = "-----BEGIN KEY-----\nMIIEowIBAAKCAQEA\n}\nabcd+efgh/ijk=\n-----END KEY-----\n";
    let mask = mask(&[key]);
    assert_eq!(mask.text(key), "***");
    assert_eq!(mask.text(&key.replace('\n', "\r\n")), "***");
    assert_eq!(mask.text(&key.replace('\n', "\\n")), "***");
    assert_eq!(mask.text("1: abcd+efgh/ijk=\n2: }"), "1: ***\n2: }");
}

#[test]
fn base64_is_found_at_any_place_of_a_group_in_both_alphabets() {
    // Holds `+` and `/` in base64.
    for value in ["s3cr3t~~?>>?~~", "0123", "token-with-words"] {
        let mask = mask(&[value]);
        for before in ["", "u", "us", "user:"] {
            for after in ["", "\n", "xy", "xyz"] {
                let text = format!("{before}{value}{after}");
                for encoded in [
                    STANDARD.encode(&text),
                    STANDARD_NO_PAD.encode(&text),
                    URL_SAFE.encode(&text),
                    URL_SAFE_NO_PAD.encode(&text),
                ] {
                    let shown = mask.text(&encoded);
                    assert!(shown.contains(STARS), "{value} in {text:?}: {encoded}");
                    // What is left besides are the neighbours and the characters on the borders.
                    let left = shown.replace(STARS, "");
                    assert!(
                        left.len() <= (before.len() + after.len()) * 4 / 3 + 4,
                        "{encoded}: {shown}"
                    );
                }
            }
        }
        assert_eq!(mask.text(&STANDARD_NO_PAD.encode(value)), "***");
    }
}

#[test]
fn base64_of_a_long_value_is_found_over_the_ends_of_lines() {
    let token: String = ('!'..='~').filter(|char| *char != '*').collect::<String>().repeat(2);
    let mask = mask(&[&token]);
    for before in (0..80).step_by(7) {
        let text = format!("{}{token} and what comes behind it", "x".repeat(before));
        let encoded = STANDARD.encode(&text);
        for (width, end) in [(60, "\n"), (64, "\n"), (76, "\n"), (76, "\r\n")] {
            let lines: Vec<&str> = (0..encoded.len())
                .step_by(width)
                .map(|at| &encoded[at..encoded.len().min(at + width)])
                .collect();
            let wrapped = lines.join(end) + end;
            let shown = mask.text(&wrapped).replace(STARS, "").replace(['\r', '\n'], "");
            let tokens = token.len() * 4 / 3;
            assert!(
                shown.len() <= encoded.len() - tokens + 4,
                "{before} {width} {end:?}: {shown}"
            );
            for cut in (before..wrapped.len()).step_by(5) {
                let cut = pieces(&mask, wrapped.as_bytes(), &[cut, cut + 1]);
                assert_eq!(String::from_utf8(cut).unwrap(), mask.text(&wrapped));
            }
        }
    }
}

#[test]
fn short_lines_are_not_joined() {
    let mask = mask(&["abcdefghijkl"]);
    let text = format!(
        "{}\n{}",
        &STANDARD.encode("abcdefghijkl")[..8],
        &STANDARD.encode("abcdefghijkl")[8..]
    );
    assert_eq!(mask.text(&text), text);
}

#[test]
fn the_beginning_of_a_value_at_the_end_of_a_cut_text_is_hidden() {
    let mask = mask(&["hunter22"]);
    assert_eq!(mask.cut_text("curl -u hunter2"), "curl -u ***");
    assert_eq!(mask.cut_text("curl -u hunter22 hunt"), "curl -u *** ***");
    assert_eq!(mask.cut_text("curl -u hunter22hunt"), "curl -u ***");
    assert_eq!(mask.cut_text("curl the"), "curl the");
    let nested = Mask::new(["abcdefgh", "cdef"].map(str::as_bytes));
    assert_eq!(nested.cut_text("x abcdefg"), "x ***");
}

#[test]
fn a_value_that_is_no_text_is_found_where_it_is_shown_as_text() {
    let value = b"\xffsecret\xfe";
    let mask = Mask::new([&value[..]]);
    assert_eq!(whole(&mask, b"a\xffsecret\xfeb"), b"a***b");
    assert_eq!(mask.text(&String::from_utf8_lossy(b"a\xffsecret\xfeb")), "a***b");
    let inside_of_a_character = Mask::new([&b"\x82\xacabc"[..]]);
    assert_eq!(inside_of_a_character.text("€abc"), "\u{fffd}***");
}

#[test]
fn debug_shows_nothing() {
    assert_eq!(format!("{:?}", mask(&["hunter22"])), "Mask(\"***\")");
}

#[test]
fn a_long_value_is_searched_for_as_well() {
    let value: String = (0..2000).map(|n| format!("line number {n} of it\n")).collect();
    let mask = mask(&[&value]);
    assert_eq!(whole(&mask, format!("a{value}b").as_bytes()), b"a***b");
    let encoded = STANDARD_NO_PAD.encode(&value);
    assert_eq!(pieces(&mask, encoded.as_bytes(), &[1, 700, 9000]), b"***");
}

/// Values of few different characters, so that they overlap and half of them is often met; and
/// of all characters but the star, of which the stars would make new ones.
fn value() -> impl Strategy<Value = Vec<u8>> {
    let few = vec(prop_oneof![Just(b'a'), Just(b'b'), Just(b'/'), Just(b'\n')], 4..9);
    let text = "[^*\0]{4,24}".prop_map(String::into_bytes);
    let bytes = vec(
        any::<u8>().prop_filter("a star or a NUL", |byte| !b"*\0".contains(byte)),
        4..40,
    );
    let long = "[A-Za-z0-9_-]{60,200}".prop_map(String::into_bytes);
    prop_oneof![3 => few, 2 => text, 2 => bytes, 1 => long]
}

/// How a value is written into the output: a form of it, or not all of it, or other bytes.
fn wrapped(value: &[u8], choice: u8, before: &[u8]) -> Vec<u8> {
    let base64 = |engine: &::base64::engine::GeneralPurpose| engine.encode([before, value].concat()).into_bytes();
    let lines = |width: usize, end: &str| -> Vec<u8> {
        let encoded = base64(&STANDARD);
        let lines: Vec<&[u8]> = encoded.chunks(width).collect();
        lines.join(end.as_bytes())
    };
    let escapes = escapes::forms(value);
    match choice {
        0..=40 => value.to_vec(),
        41..=80 => escapes[usize::from(choice) % escapes.len()].clone(),
        81..=100 => base64(&STANDARD),
        101..=120 => base64(&URL_SAFE_NO_PAD),
        121..=135 => lines(76, "\n"),
        136..=145 => lines(64, "\r\n"),
        146..=200 => value[..usize::from(choice) % value.len()].to_vec(),
        201..=220 => value[usize::from(choice) % value.len()..].to_vec(),
        221..=230 => b"\n".to_vec(),
        _ => before.to_vec(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_form_of_a_value_is_left_and_cuts_change_nothing(
        values in vec(value(), 1..4),
        parts in vec((any::<u8>(), any::<u8>(), vec(any::<u8>(), 0..5)), 0..24),
        cuts in vec(any::<usize>(), 0..40),
    ) {
        let mask = Mask::new(values.iter().map(Vec::as_slice));
        let mut output = Vec::new();
        for (which, choice, before) in &parts {
            output.extend(wrapped(&values[usize::from(*which) % values.len()], *choice, before));
        }
        // Stars of the output's own would make what stands beside them look like a find.
        output.retain(|byte| *byte != b'*');
        let shown = whole(&mask, &output);
        prop_assert_eq!(&pieces(&mask, &output, &cuts), &shown);
        let each: Vec<usize> = (0..output.len()).collect();
        prop_assert_eq!(&pieces(&mask, &output, &each), &shown);
        let forms = forms::forms(values.iter().map(Vec::as_slice));
        for form in &forms {
            prop_assert!(!holds(&shown, form), "{:?} is left in {:?}", form, shown);
        }
        // And nothing else is taken away, but for base64 over the ends of lines.
        if !output.contains(&b'\n') {
            prop_assert_eq!(shown, by_hand(&forms, &output));
        }
    }

    #[test]
    fn a_text_is_shown_as_a_stream_of_its_bytes_is(values in vec("[^*\0]{4,12}", 1..3), text in "[ab\n]{0,9}", which in 0..3_usize) {
        let mask = Mask::new(values.iter().map(String::as_bytes));
        let text = format!("{text}{}{text}", values[which % values.len()]);
        prop_assert_eq!(whole(&mask, text.as_bytes()), mask.text(&text).as_bytes().to_vec());
    }
}

/// The same, byte by byte, with every form held against every place.
fn by_hand(forms: &[Vec<u8>], output: &[u8]) -> Vec<u8> {
    let mut hidden = vec![false; output.len()];
    for form in forms {
        for at in 0..output.len() {
            if output[at..].starts_with(form) {
                hidden[at..at + form.len()].fill(true);
            }
        }
    }
    let mut out = Vec::new();
    for (at, byte) in output.iter().enumerate() {
        if !hidden[at] {
            out.push(*byte);
        } else if at == 0 || !hidden[at - 1] {
            out.extend(STARS.as_bytes());
        }
    }
    out
}
