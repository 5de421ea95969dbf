//! Sample configs through the library's own entry: the valid ones load, and each invalid one has
//! its exact message beside it. `DEVSHELL_TEST_BLESS=1 cargo test --test integration configs`
//! writes the messages anew.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use devshell::config::{ConfigError, Loaded, Request, load};

use crate::support::Project;

fn folder(kind: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples").join(kind)
}

/// The names, without their ending, of the files of a folder that end so.
fn names(folder: &Path, ending: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .filter(|path| path.extension().is_some_and(|extension| extension == ending))
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect()
}

fn load_sample(folder: &Path, name: &str, profile: Option<&str>) -> Result<Loaded, ConfigError> {
    load(&Request {
        file: Some(format!("{name}.toml").into()),
        required: true,
        cwd: folder.to_owned(),
        // No user's file is there.
        env: vec![("HOME".into(), "/nonexistent".into())],
        profile: profile.map(str::to_owned),
        ..Request::default()
    })
}

#[test]
fn each_valid_sample_is_valid_with_each_of_its_profiles() {
    let folder = folder("valid");
    let mut told = String::new();
    for name in names(&folder, "toml") {
        let text = fs::read_to_string(folder.join(format!("{name}.toml"))).unwrap();
        let table: toml::Table = text.trim_start_matches('\u{feff}').parse().unwrap();
        let profiles = table.get("profile").and_then(toml::Value::as_table);
        let profiles = profiles.into_iter().flat_map(toml::Table::keys).map(String::as_str);
        for profile in std::iter::once(None).chain(profiles.map(Some)) {
            match load_sample(&folder, &name, profile) {
                Ok(loaded) => assert!(loaded.warnings.is_empty(), "{name}: {:?}", loaded.warnings),
                Err(error) => told.push_str(&format!("{name}, {profile:?}:\n{error}\n\n")),
            }
        }
    }
    assert!(told.is_empty(), "\n{told}");
}

#[test]
fn each_invalid_sample_has_exactly_the_message_beside_it() {
    let folder = folder("invalid");
    let bless = std::env::var_os("DEVSHELL_TEST_BLESS").is_some();
    let mut told = String::new();
    for name in names(&folder, "toml") {
        let shown = match load_sample(&folder, &name, None) {
            Err(error @ ConfigError::Invalid(_)) => format!("{error}\n"),
            Err(error) => panic!("{name}: {error}"),
            Ok(_) => panic!("{name} is valid"),
        };
        let beside = folder.join(format!("{name}.txt"));
        if bless {
            fs::write(&beside, &shown).unwrap();
        }
        let expected = fs::read_to_string(&beside).unwrap_or_default();
        if shown != expected {
            told.push_str(&format!("--- {name}: expected\n{expected}--- and got\n{shown}\n"));
        }
    }
    assert!(told.is_empty(), "\n{told}");
}

#[test]
fn there_are_many_samples_and_no_message_without_one() {
    let (valid, invalid) = (names(&folder("valid"), "toml"), names(&folder("invalid"), "toml"));
    assert!(
        valid.len() + invalid.len() >= 70,
        "{} and {}",
        valid.len(),
        invalid.len()
    );
    assert_eq!(names(&folder("invalid"), "txt"), invalid);
}

/// What every message has, whatever it is about.
#[test]
fn each_fault_of_a_sample_has_a_place_and_a_mark_below_what_is_meant() {
    let folder = folder("invalid");
    for name in names(&folder, "toml") {
        let Err(ConfigError::Invalid(faults)) = load_sample(&folder, &name, None) else {
            panic!("{name}");
        };
        for fault in faults {
            let place = fault.place.as_ref().unwrap_or_else(|| panic!("{name}: {fault}"));
            let (line, column) = place.line_and_column();
            let shown = fault.to_string();
            assert!(shown.contains(&format!("--> {name}.toml:{line}:{column}\n")), "{shown}");
            let source = place.source.text.lines().nth(line - 1).unwrap_or_default();
            assert!(column <= source.chars().count() + 1, "{name}: {shown}");
            assert_eq!(shown.matches('^').count().min(1), 1, "{shown}");
        }
    }
}

#[test]
fn the_program_says_the_same_as_the_library_and_ends_with_78() {
    let project = Project::named("bare");
    let mut command = project.command(["check", "several_at_once.toml"]);
    command.current_dir(folder("invalid"));
    let ran = crate::support::finish(command);
    let expected = fs::read_to_string(folder("invalid").join("several_at_once.txt")).unwrap();
    assert!(ran.code(78).stderr.starts_with(&expected), "{}", ran.stderr);
}

#[test]
fn faults_are_in_colour_only_where_it_is_asked_for() {
    let project = Project::new("[vm]\nbakend = 1\n");
    let coloured = |variables: &[(&str, &str)]| {
        let mut command = project.command(["check"]);
        command.envs(variables.iter().copied());
        crate::support::finish(command).code(78).stderr.contains('\u{1b}')
    };
    assert!(!coloured(&[]), "stderr is a pipe");
    assert!(coloured(&[("CLICOLOR_FORCE", "1")]));
    assert!(!coloured(&[("NO_COLOR", "1")]));
    let mut command = project.program("script");
    let devshell = crate::support::devshell();
    command.args(["-qec", &format!("{} check", devshell.display()), "/dev/null"]);
    command.env("TERM", "xterm");
    let on_a_terminal = |command| crate::support::finish(command).code(78).out().contains('\u{1b}');
    assert!(on_a_terminal(command), "stderr is a terminal");
}

#[test]
fn origins_are_printed_for_people_and_for_programs_and_secrets_never() {
    let project = Project::new("[env]\nAPI_TOKEN = \"s3cr3t\"\n[run]\ntimeout = \"1h\"\n");
    let user = project.beside("home").join(".config/devshell");
    fs::create_dir_all(&user).unwrap();
    fs::write(user.join("config.toml"), "[run]\ntimeout = \"2h\"\n").unwrap();
    let user = user.join("config.toml");
    let text = project.devshell(&["config", "--origins"]).code(0).out();
    let line = format!(
        "run.timeout = \"1h\"  # devshell.toml:4:11; shadows \"2h\" ({}:2:11), \"0s\" (default)\n",
        user.display()
    );
    assert!(text.contains(&line), "`{line}` is not in:\n{text}");
    let json = project
        .devshell(&["config", "--origins", "--format", "json"])
        .code(0)
        .out();
    let parsed: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(parsed["run.timeout"]["shadows"][0]["source"], user.to_str().unwrap());
    let plain = project.devshell(&["config"]).code(0).out();
    for text in [text, json, plain] {
        assert!(!text.contains("s3cr3t") && text.contains("API_TOKEN"), "{text}");
    }
}

/// As with `su` and in containers, where HOME stays another user's.
#[test]
fn a_users_file_out_of_reach_is_a_warning() {
    let project = Project::new("");
    let home = project.beside("home");
    let mode = |mode| std::os::unix::fs::PermissionsExt::from_mode(mode);
    fs::create_dir_all(home.join(".config/devshell")).unwrap();
    fs::write(home.join(".config/devshell/config.toml"), "nonsense").unwrap();
    fs::set_permissions(&home, mode(0o000)).unwrap();
    fs::set_permissions(project.root.parent().unwrap(), mode(0o755)).unwrap();
    // Root is let in everywhere.
    let root = fs::read_dir(&home).is_ok();
    let mut command = if root {
        let mut command = project.program("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
        command.arg(readable_by_all(&project)).arg("config");
        command
    } else {
        project.command(["config"])
    };
    command.env("XDG_CONFIG_HOME", "");
    let ran = crate::support::finish(command);
    fs::set_permissions(&home, mode(0o755)).unwrap();
    ran.code(0).says("config.toml is out of reach and left out");
    project
        .devshell(&["config"])
        .code(78)
        .says(".config/devshell/config.toml:1:9");
}

/// The program where an ordinary user can start it.
fn readable_by_all(project: &Project) -> PathBuf {
    let copy = project.beside("devshell");
    fs::copy(crate::support::devshell(), &copy).unwrap();
    copy
}

#[test]
fn what_stands_in_the_place_of_the_file_is_named_and_nothing_waits() {
    let project = Project::named("bare");
    for (name, make) in [("folder", "mkdir"), ("fifo", "mkfifo")] {
        let made = crate::support::finish({
            let mut command = project.program(make);
            command.arg(name);
            command
        });
        made.code(0);
        project.devshell(&["check", name]).code(66).says(name);
    }
}

/// A 1 MiB value is for the library's test: the kernel hands no program a string of more than 128 KiB.
#[test]
fn an_environment_full_of_odd_values_reaches_the_tools_as_it_is() {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt as _;
    let project = Project::new(
        "[env]\nOWN = \"own\"\n[[tool]]\nname = \"t\"\nscript = '''\n\
         printf '%s|' \"$NOT_UTF8\" \"$LINES_OF\" \"$BLANK\" \"${EMPTY-unset}\" \"$OWN\"; printf %s \"$LONG\" | wc -c\n'''\n",
    );
    let bad = || OsString::from_vec(b"a\xff\xfeb".to_vec());
    let odd = |command: &mut std::process::Command| {
        command
            .env("NOT_UTF8", bad())
            .env("LINES_OF", "one\ntwo\r\n")
            .env("BLANK", "  ")
            .env("EMPTY", "")
            .env("LONG", "x".repeat(100_000))
            .env(OsString::from_vec(b"ODD\xff".to_vec()), "x")
            .env("DEVSHELL_VM", "")
            .env("DEVSHELL_NOBODYS\nNAME", bad());
    };
    let mut run = project.command(["run"]);
    odd(&mut run);
    let ran = crate::support::finish(run);
    ran.code(0).says("unknown variable DEVSHELL_NOBODYS");
    assert_eq!(ran.stdout, b"a\xff\xfeb|one\ntwo\r\n|  ||own|100000\n");
    let warnings = ran.stderr.lines().filter(|line| line.contains("DEVSHELL_NOBODYS"));
    assert!(
        warnings.clone().count() == 1 && warnings.clone().all(|line| line.contains("NAME")),
        "{}",
        ran.stderr
    );

    for (name, value, code, told) in [
        ("DEVSHELL_VM_EAGER", OsString::from(" "), 78, "neither on nor off"),
        ("DEVSHELL_VM_BACKEND", "host\n".into(), 78, "did you mean `host`?"),
        ("DEVSHELL_VM_SOCKET", bad(), 78, "not UTF-8"),
        (
            "DEVSHELL__RUN__TIMEOUT",
            "x".repeat(100_000).into(),
            78,
            "is no duration",
        ),
        ("DEVSHELL__ENV__OWN", "\n".into(), 0, ""),
        ("DEVSHELL_UNKNOWN", bad(), 0, "unknown variable DEVSHELL_UNKNOWN"),
    ] {
        let mut check = project.command(["check"]);
        odd(&mut check);
        check.env(name, value);
        let ran = crate::support::finish(check);
        ran.code(code).says(told);
        assert!(ran.stderr.len() < 5000, "{name}: {} bytes", ran.stderr.len());
        if code == 78 {
            ran.says(&format!("--> {name}\n"));
        }
    }
}
