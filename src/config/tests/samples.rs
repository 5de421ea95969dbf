//! The files of `tests/samples/`, given to the parser and to the schema.

use jsonschema::Validator;

use super::*;

/// The first line of an invalid sample that no schema can tell from a valid one.
const PARSER_ONLY: &str = "# parser-only";

/// The samples of a folder: name and bytes.
fn samples(folder: &str) -> Vec<(String, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/samples")
        .join(folder);
    let mut samples: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .map(|path| (path.display().to_string(), fs::read(&path).unwrap()))
        .collect();
    samples.sort();
    samples
}

/// Whether the parser takes a file, as `devshell check` reads it.
fn parsed(bytes: &[u8]) -> Result<Loaded, ConfigError> {
    let project = Project::empty().env("HOME", "/home/somebody");
    fs::write(project.path("devshell.toml"), bytes).unwrap();
    load(&project.request)
}

/// Whether the schema takes a file; none: it is no TOML, which no schema gets to see.
fn takes(validator: &Validator, bytes: &[u8]) -> Option<bool> {
    let document: toml::Table = std::str::from_utf8(bytes).ok()?.parse().ok()?;
    Some(validator.is_valid(&serde_json::to_value(document).unwrap()))
}

#[test]
fn parser_and_schema_take_every_valid_sample() {
    let validator = jsonschema::draft202012::new(&schema()).unwrap();
    let samples = samples("valid");
    for (name, bytes) in &samples {
        if let Err(error) = parsed(bytes) {
            panic!("{name}: the parser refuses it:\n{error}");
        }
        assert_eq!(takes(&validator, bytes), Some(true), "{name}: the schema refuses it");
    }
    assert!(samples.len() > 5, "{}", samples.len());
}

#[test]
fn parser_and_schema_refuse_every_invalid_sample() {
    let validator = jsonschema::draft202012::new(&schema()).unwrap();
    let samples = samples("invalid");
    for (name, bytes) in &samples {
        assert!(parsed(bytes).is_err(), "{name}: the parser takes it");
        match (takes(&validator, bytes), bytes.starts_with(PARSER_ONLY.as_bytes())) {
            (Some(true), false) => {
                panic!("{name}: the schema takes it; if no schema can tell, let `{PARSER_ONLY}` be its first line")
            }
            (Some(false), true) => panic!("{name}: the schema refuses it, too: take `{PARSER_ONLY}` away"),
            _ => {}
        }
    }
    assert!(samples.len() > 5, "{}", samples.len());
}
