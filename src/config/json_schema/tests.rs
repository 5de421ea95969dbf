use std::sync::Arc;

use jsonschema::Validator;

use super::*;
use crate::config::layer::of_file;
use crate::config::load::DEFAULTS;
use crate::config::schema::leaves;
use crate::config::source::{Holder, Rank, SourceText};

/// `DEVSHELL_TEST_BLESS=1 cargo test` writes the file anew.
#[test]
fn the_published_schema_is_the_parsers() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/devshell.schema.json");
    let schema = format!("{:#}\n", schema());
    if std::env::var_os("DEVSHELL_TEST_BLESS").is_some() {
        std::fs::write(file, &schema).unwrap();
    }
    let published = std::fs::read_to_string(file).unwrap_or_default();
    assert!(published == schema, "docs/devshell.schema.json has drifted");
}

fn validator() -> Validator {
    jsonschema::draft202012::meta::validate(&schema()).unwrap();
    jsonschema::draft202012::new(&schema()).unwrap()
}

/// Whether parser and schema take a text.
fn verdicts(validator: &Validator, text: &str) -> (bool, bool) {
    let source = Arc::new(SourceText::new(Holder::Flag("test".into()), text, "/w"));
    let parsed = of_file(&source, Rank::File, None, &mut Vec::new());
    let document: toml::Table = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
    let document = serde_json::to_value(document).unwrap();
    (parsed.faults.is_empty(), validator.is_valid(&document))
}

#[track_caller]
fn agree(validator: &Validator, text: &str, valid: bool) {
    assert_eq!(verdicts(validator, text), (valid, valid), "{text}");
}

#[test]
fn every_key_says_what_it_is_for_and_states_its_default() {
    let schema = schema();
    for (path, _) in leaves() {
        let mut parts: Vec<&str> = path.split('.').filter(|part| *part != "NAME").collect();
        // Below these, the reference shows the whole table in one line.
        let short = parts
            .iter()
            .position(|part| ["when", "retries", "secrets"].contains(part))
            .map_or(parts.len(), |at| at + 1);
        parts.truncate(short);
        let mut at = if parts[0] == "tool" {
            &schema["$defs"]["tool_keys"]
        } else if parts.len() == 1 {
            assert!(schema["properties"][parts[0]]["description"].is_string(), "{path}");
            continue;
        } else {
            &schema["$defs"][parts[0]]
        };
        for part in &parts[1..] {
            at = &at["properties"][*part];
        }
        assert!(
            at["default"] != Value::Null || at["examples"] != Value::Null,
            "{path}: {at}"
        );
    }
    assert_eq!(schema["$defs"]["vm"]["properties"]["backend"]["default"], "auto");
    assert_eq!(
        schema["$defs"]["run"]["properties"]["timeout"]["description"],
        "the whole run; 0 = none"
    );
}

#[test]
fn the_reference_is_valid() {
    agree(&validator(), DEFAULTS, true);
}

/// Values of every type, good and bad ones of every kind.
const VALUES: &[&str] = &[
    "true",
    "0",
    "1",
    "-1",
    "100",
    "101",
    "255",
    "256",
    "1024",
    "1025",
    "0x10",
    "9223372036854775807",
    "1.5",
    "\"\"",
    "\" \"",
    "\"a\"",
    "\"a b\"",
    "\"a\\u0000b\"",
    "\"a\\nb\"",
    "\"a=b\"",
    "\"ü\"",
    "\"auto\"",
    "\"host\"",
    "\"in_place\"",
    "\"in-place\"",
    "\"Auto\"",
    "\"linux\"",
    "\"tool\"",
    "\"/\"",
    "\"/a/b\"",
    "\"/a/../b\"",
    "\"/a/..b\"",
    "\"..\"",
    "\"../a\"",
    "\"./../a\"",
    "\".//./..\"",
    "\"..a\"",
    "\"a/..\"",
    "\"a/../b\"",
    "\".\"",
    "\"~/a\"",
    "\"#a\"",
    "\"\\\\#a\"",
    "\"!\"",
    "\"!!\"",
    "\"!a\"",
    "\"! \"",
    "\" !\"",
    "\"src/**\"",
    "\"stdio\"",
    "\"tcp:h:1\"",
    "\"tcp:h:0\"",
    "\"tcp:h:65535\"",
    "\"tcp:h:65536\"",
    "\"tcp:h:007\"",
    "\"tcp:h:+7\"",
    "\"tcp::7\"",
    "\"tcp:[::1]:7\"",
    "\"tcp:h\"",
    "\"unix:\"",
    "\"unix:/a\"",
    "\"vsock:1:2\"",
    "\"a/b:c\"",
    "\"a:b/c\"",
    "\":a\"",
    "\"grpc://\"",
    "\"grpc://h\"",
    "\"grpcs://h:1\"",
    "\"http://h\"",
    "\"0s\"",
    "\"0\"",
    "\"00\"",
    "\"90\"",
    "\"90s\"",
    "\" 90 s \"",
    "\"9 0s\"",
    "\"1h 30m\"",
    "\"1h30m\"",
    "\"1.5h\"",
    "\"1.h\"",
    "\".5h\"",
    "\"1.5ns\"",
    "\"5 parsecs\"",
    "\"5mm\"",
    "\"5ms\"",
    "\"5µs\"",
    "\"5 months\"",
    "\"-5s\"",
    "\"30d\"",
    "\"31d\"",
    "\"030d\"",
    "\"040d\"",
    "\"99d\"",
    "\"100d\"",
    "\"4w\"",
    "\"5w\"",
    "\"720h\"",
    "\"721h\"",
    "\"800h\"",
    "\"43200m\"",
    "\"43201min\"",
    "\"43201ms\"",
    "\"2592000s\"",
    "\"2592001s\"",
    "\"3000000 seconds\"",
    "\"1m 31d\"",
    "\"1M\"",
    "\"0M\"",
    "\"10M\"",
    "\"1y\"",
    "\"0y\"",
    "\"99999999999999999999s\"",
    "\"1d 1\"",
    "\"d\"",
    "\"4GiB\"",
    "\"4 GiB \"",
    "\" 4GiB\"",
    "\"4gib\"",
    "\"4G\"",
    "\"4\"",
    "\"0GiB\"",
    "\"00GiB\"",
    "\"04GiB\"",
    "\"1.5GiB\"",
    "\"-4GiB\"",
    "\"9223372036854775807B\"",
    "\"99999999999999999999B\"",
    "\"99999999TiB\"",
    "\"1TB\"",
    "[]",
    "[\"\"]",
    "[\"a\"]",
    "[\"a\", \"\"]",
    "[\"a\", 1]",
    "[1]",
    "[0]",
    "[255, 256]",
    "[\"src/**\", \"!a\"]",
    "[\"../a\"]",
    "[\"a/../b\"]",
    "[\"#\"]",
    "[\"a\\u0000\"]",
    "[\"A=b\"]",
    "[\"CARGO_*\"]",
    "[[\"a\"]]",
    "{}",
    "{ A = \"x\" }",
    "{ A = 1 }",
    "{ \"\" = \"x\" }",
    "{ \"A=B\" = \"x\" }",
    "{ count = 2 }",
    "{ count = 101 }",
    "{ count = 2, delay = \"1s\", exit_codes = [75] }",
    "{ count = 2, exit_codes = [0] }",
    "{ delai = \"1s\" }",
    "{ os = \"linux\", env = \"CI\", exists = \"a\" }",
    "{ os = \"darwin\" }",
    "{ exists = \"/a\" }",
];

/// A tool that a profile can change.
const BASE: &str = "[[tool]]\nname = \"a\"\nrun = [\"a\"]\n";

#[test]
fn of_every_key_and_value_parser_and_schema_say_the_same() {
    let validator = validator();
    let mut told_apart = Vec::new();
    let (mut good, mut bad) = (0, 0);
    for (path, _) in leaves() {
        for value in VALUES {
            let text = match path.strip_prefix("tool.NAME.") {
                Some("run") => format!("[[tool]]\nrun = {value}"),
                Some("script") => format!("[[tool]]\nscript = {value}"),
                Some(key) => format!("[[tool]]\nscript = \"a\"\n{key} = {value}"),
                None if path == "secrets.NAME.tools" => format!("secrets.NAME.env = \"X\"\n{path} = {value}"),
                None => format!("{path} = {value}"),
            };
            match verdicts(&validator, &text) {
                (true, true) => good += 1,
                (false, false) => bad += 1,
                verdicts => told_apart.push((text, verdicts)),
            }
            // And in a profile.
            let text = match path.strip_prefix("tool.NAME.") {
                Some(key) => format!("{BASE}[[profile.p.tool]]\nname = \"a\"\n{key} = {value}"),
                None => format!("[profile.p]\n{path} = {value}"),
            };
            // A second `name` is no TOML.
            if path == "tool.NAME.name" {
                continue;
            }
            match verdicts(&validator, &text) {
                (true, true) => good += 1,
                (false, false) => bad += 1,
                verdicts => told_apart.push((text, verdicts)),
            }
        }
    }
    assert!(told_apart.is_empty(), "(parser, schema):\n{told_apart:#?}");
    assert!(good > 1000 && bad > 5000, "{good} {bad}");
}

#[test]
fn what_keys_must_stand_together_is_the_same_for_both() {
    let validator = validator();
    for (text, valid) in [
        ("", true),
        ("tool = []", true),
        ("tool = {}", false),
        ("[tool]\nrun = [\"a\"]", false),
        ("[[tool]]\nrun = [\"a\"]", true),
        ("[[tool]]\nscript = \"a\"\nshell = [\"sh\"]", true),
        ("[[tool]]\nname = \"a\"", false),
        ("[[tool]]\nshell = [\"sh\"]", false),
        ("[[tool]]\nrun = [\"a\"]\nscript = \"b\"", false),
        ("[[tool]]\nrun = [\"a\"]\nshell = [\"sh\"]", false),
        ("[[tool]]\nrun = [\"a\"]\nneeds = [\"b\"]", false),
        ("[[profile.p.tool]]\nrun = [\"a\"]", true),
        ("[profile]", true),
        ("profile = 1", false),
        ("profile.p = 1", false),
        ("[profile.p.profile.q]", false),
        ("[profile.\"\"]", true),
        ("[vm.lime]", false),
        ("[vm]\nlima = true", false),
        ("vmm = 1", false),
        ("[secrets]", true),
        ("secrets = []", false),
        ("secrets.A = \"x\"", false),
        ("secrets.A = {}", false),
        ("secrets.A = { env = \"X\" }", true),
        ("secrets.A = { file = \"x\", tools = [] }", true),
        ("secrets.A = { env = \"X\", file = \"x\" }", false),
        ("secrets.A = { tools = [\"a\"] }", false),
        ("secrets.A = { env = \"X\", value = \"x\" }", false),
        ("secrets.a-b = { env = \"X\" }", false),
        ("secrets.1A = { env = \"X\" }", false),
        ("secrets._a1 = { env = \"X\" }", true),
        ("profile.p.secrets.A = { tools = [\"a\"] }", true),
        ("profile.p.secrets.A = {}", false),
        ("profile.p.secrets.A = { env = \"X\", file = \"x\" }", false),
    ] {
        agree(&validator, &format!("{text}\n"), valid);
    }
    for (text, valid) in [
        ("[[profile.p.tool]]\nname = \"a\"\ntimeout = \"1s\"", true),
        ("[[profile.p.tool]]\ntimeout = \"1s\"", false),
        ("[[profile.p.tool]]\nname = \"a\"\nrun = [\"a\"]\nscript = \"b\"", false),
        ("[[profile.p.tool]]\nname = \"a\"\nshell = [\"sh\"]", true),
        (
            "[[profile.p.tool]]\nname = \"a\"\nrun = [\"a\"]\nshell = [\"sh\"]",
            false,
        ),
    ] {
        agree(&validator, &format!("{BASE}{text}"), valid);
    }
}
