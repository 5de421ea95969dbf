//! The rooms and who may use whom (docs/ARCHITECTURE.md), kept true.

use std::path::{Path, PathBuf};

/// Each room with the rooms that it may use. `exit` and `event` are rooms of one file.
const MAY_USE: &[(&str, &[&str])] = &[
    (
        "cli",
        &[
            "config",
            "plan",
            "event",
            "runner",
            "session",
            "guest_fs",
            "process",
            "vfs",
            "workspace",
            "report",
            "exit",
            "sys",
            "starter",
            "quote",
            "doctor",
            "sidecar",
            "server",
            "mask",
        ],
    ),
    (
        "doctor",
        &[
            "config",
            "plan",
            "event",
            "exit",
            "quote",
            "runner",
            "session",
            "process",
            "vfs",
            "workspace",
            "sys",
        ],
    ),
    ("config", &[]),
    ("mask", &[]),
    ("starter", &[]),
    ("plan", &["config", "exit", "quote"]),
    (
        "runner",
        &[
            "plan",
            "event",
            "exit",
            "session",
            "process",
            "vfs",
            "workspace",
            "mask",
        ],
    ),
    (
        "session",
        &[
            "plan",
            "event",
            "exit",
            "process",
            "sys",
            "vfs",
            "workspace",
            "guest_fs",
            "sidecar",
            "mirror",
        ],
    ),
    ("mirror", &["workspace", "sidecar", "sys"]),
    ("process", &["event", "sys", "vfs"]),
    ("workspace", &["vfs", "sys"]),
    ("vfs", &["sys"]),
    ("guest_fs", &["vfs"]),
    ("sidecar", &[]),
    ("server", &["sidecar", "process", "event", "sys", "mirror", "workspace"]),
    ("report", &["event", "exit", "quote", "sys"]),
    ("event", &["exit", "mask"]),
    ("exit", &[]),
    ("quote", &[]),
    ("sys", &[]),
];

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Every source file with the room it belongs to and its text without tests.
fn files() -> Vec<(PathBuf, String, String)> {
    let mut files = Vec::new();
    let mut tests = Vec::new();
    for entry in walkdir::WalkDir::new(source()).sort_by_file_name() {
        let entry = entry.unwrap();
        if entry.path().extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let path = entry.path().strip_prefix(source()).unwrap().to_path_buf();
        let room = path.components().next().unwrap().as_os_str().to_string_lossy();
        let room = room.trim_end_matches(".rs").to_owned();
        let text = std::fs::read_to_string(entry.path()).unwrap();
        let mut of_tests = false;
        for line in text.lines() {
            if let Some(name) = line.strip_prefix("mod ").and_then(|rest| rest.strip_suffix(';'))
                && of_tests
            {
                tests.push((room.clone(), name.to_owned()));
            }
            of_tests = line.starts_with("#[cfg(") && line.contains("test");
        }
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap().to_owned();
        files.push((path, room, code));
    }
    // Files that are tests as a whole, by the module that is declared so.
    files.retain(|(path, room, _)| {
        !tests.iter().any(|(of, name)| {
            of == room
                && path.components().any(|part| {
                    Path::new(part.as_os_str())
                        .file_stem()
                        .is_some_and(|stem| stem == name.as_str())
                })
        })
    });
    files
}

#[test]
fn rooms_use_only_the_rooms_that_they_may() {
    let mut faults = Vec::new();
    for (path, room, code) in files() {
        if ["lib", "main", "bin"].contains(&room.as_str()) {
            continue;
        }
        let (_, may) = MAY_USE
            .iter()
            .find(|(name, _)| *name == room)
            .unwrap_or_else(|| panic!("room `{room}` is not in the table"));
        for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
            for rest in line.split("crate::").skip(1) {
                let used: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                let is_room = MAY_USE.iter().any(|(name, _)| *name == used);
                if is_room && used != room && !may.contains(&used.as_str()) {
                    faults.push(format!("{}: {room} uses {used}: {}", path.display(), line.trim()));
                }
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn what_must_not_exist_does_not() {
    // Each: what, in which rooms it may stand all the same, why.
    let rules: &[(&str, &[&str], &str)] = &[
        ("unsafe ", &["sys"], "unsafe code lives in sys/"),
        ("Command::new", &["process"], "process/ starts processes"),
        ("process::exit", &[], "nothing ends the process but main's return"),
        (
            "println!",
            &[],
            "only the cli's own functions and the reporters write to a stream",
        ),
        ("indicatif", &["report"], "one module knows the progress crate"),
        ("anyhow", &["cli"], "anyhow stays at the outer edge"),
        ("todo!", &[], "no stubs"),
        ("unimplemented!", &[], "no stubs"),
        ("#[ignore", &[], "a test runs or says aloud that it did not"),
    ];
    let mut faults = Vec::new();
    for (path, room, code) in files() {
        for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
            for (what, rooms, why) in rules {
                if line.contains(what) && !rooms.contains(&room.as_str()) {
                    faults.push(format!("{}: {why}: {}", path.display(), line.trim()));
                }
            }
            // The environment is read by the cli, and by the one function that says so.
            let reads = line.contains("env::var") || line.contains("env::temp_dir");
            // `run_rust_tool` gives its tool what any child would inherit.
            let may = ["plan/vm_config.rs", "session/holder.rs"]
                .iter()
                .any(|file| path == Path::new(file));
            if reads && room != "cli" && !may {
                faults.push(format!(
                    "{}: the library does not read the environment: {}",
                    path.display(),
                    line.trim()
                ));
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn only_one_module_of_report_knows_the_progress_crate() {
    for (path, _, code) in files() {
        if path != Path::new("report/progress.rs") {
            assert!(!code.contains("indicatif::"), "{}", path.display());
        }
    }
}

#[test]
fn the_map_names_every_room_and_only_rooms_that_are_there() {
    let map = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/ARCHITECTURE.md")).unwrap();
    for (room, _) in MAY_USE {
        assert!(
            map.contains(&format!("`{room}")),
            "docs/ARCHITECTURE.md does not name `{room}`"
        );
        let there = source().join(room).is_dir() || source().join(format!("{room}.rs")).is_file();
        assert!(there, "`{room}` is in the table and not in src");
    }
}

#[test]
fn files_are_of_a_size_that_can_be_read() {
    for (path, _, code) in files() {
        let lines = code.lines().count();
        assert!(lines <= 450, "{} has {lines} lines without its tests", path.display());
    }
}
