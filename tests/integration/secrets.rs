//! Secrets: tools get them, and nothing that devshell says or leaves tells them.

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

use crate::run::events;
use crate::support::{Killed, Project, Ran, finish, has, not_run, wait_for};

/// With a character for each notation to escape.
const SECRET: &str = "p4ss&w0rd/\"q'<\u{e9}> $x+~~??";
const KEY: &str = "-----BEGIN PRIVATE KEY-----\n\
                   MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj\n\
                   MzEfYyjiWA4R4/M2bS1GB4t7NXp98C3SC6dVMvDuictGeurT8jNbvJZHtCSuYEvu\n\
                   NMoSfm76oqFvAp8Gy0iz5sxjZmSnXyCdPEovGhLa0VzMaQ8s+CLOyS56YyCFGeJZ\n\
                   qgtzJ6GR3eqoYSW9b9UMvkBpZODSctWSNGj3P7jRFDO5\n\
                   -----END PRIVATE KEY-----\n";

/// Pieces that only something that tells a secret can hold, found by other means than devshell's.
fn traces() -> Vec<Vec<u8>> {
    let mut traces: Vec<String> = vec![
        "p4ss&w0rd".into(),
        "p4ss%26w0rd".into(),
        "p4ss\\u0026w0rd".into(),
        "p4ss\\&w0rd".into(),
        "p4ss&amp;w0rd".into(),
        "w0rd/".into(),
        "w0rd%2".into(),
        "PRIVATE KEY".into(),
    ];
    traces.extend(KEY.lines().map(|line| line[..20].to_owned()));
    for before in ["", "x", "xx"] {
        for value in [SECRET, KEY] {
            // All but what neighbours have a part in.
            let encoded = [STANDARD, URL_SAFE].map(|engine| engine.encode(format!("{before}{value}")));
            traces.extend(encoded.iter().map(|encoded| encoded[4..24].to_owned()));
            // Behind the end of a line, and in the middle.
            traces.extend(
                encoded
                    .iter()
                    .filter_map(|encoded| Some(encoded.get(80..110)?.to_owned())),
            );
        }
    }
    traces.into_iter().map(String::into_bytes).collect()
}

#[track_caller]
fn tells_nothing(what: &str, bytes: &[u8]) {
    for trace in traces() {
        assert!(
            !bytes.windows(trace.len()).any(|window| window == trace),
            "{what} tells `{}`:\n{}",
            String::from_utf8_lossy(&trace),
            String::from_utf8_lossy(bytes)
        );
    }
}

/// Everything below a folder, names included, but for what tools wrote themselves.
#[track_caller]
fn nothing_below(folder: &Path) {
    for entry in walkdir::WalkDir::new(folder) {
        let entry = entry.unwrap();
        let path = entry.path();
        tells_nothing("the name of a file", path.as_os_str().as_encoded_bytes());
        // The contents of a kept result are the tool's.
        let of_tool = path.components().any(|part| part.as_os_str() == "files");
        if entry.file_type().is_file() && !of_tool {
            tells_nothing(&path.display().to_string(), &std::fs::read(path).unwrap());
        }
    }
}

const SPILLS: &str = r#"
[secrets]
SECRET = { env = "CI_SECRET" }
KEY = { file = "../key" }

[[tool]]
name = "spill"
run = ["python3", "../spill.py"]
"#;

/// A project with these secrets at hand.
fn project(toml: &str) -> Project {
    let project = Project::new(toml);
    let key = project.beside("key");
    std::fs::write(&key, format!("{KEY}\n")).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(project.beside("spill.py"), include_str!("tools/spill.py")).unwrap();
    project
}

fn command(project: &Project, args: &[&str]) -> Command {
    let mut command = project.command(args);
    command.env("CI_SECRET", SECRET);
    command
}

fn devshell(project: &Project, args: &[&str]) -> Ran {
    finish(command(project, args))
}

#[test]
fn nothing_that_a_run_says_or_leaves_tells_a_secret() {
    if !has("python3") || !has("bash") {
        return not_run("nothing_that_a_run_says_or_leaves", "no python3 or bash here");
    }
    let project = project(SPILLS);
    let log = project.beside("events");
    let ran = devshell(&project, &["run", "--events", log.to_str().unwrap()]);
    ran.code(3)
        .says("processes running, ended by devshell")
        .says(": sh -c sleep 600; : ***\n");
    assert!(ran.stderr.contains(": sh -c sleep 600; : xxxxxx"), "{}", ran.stderr);
    assert!(ran.out().contains("here: *** :there\n"), "{}", ran.out());
    // Bytes that are no text stay what they are.
    assert!(ran.stdout.windows(8).any(|bytes| bytes == b"\xff\xfe***\0**"));
    tells_nothing("stdout", &ran.stdout);
    tells_nothing("stderr", ran.stderr.as_bytes());
    tells_nothing("the events", &std::fs::read(&log).unwrap());
    let written: Vec<u8> = events(&std::fs::read_to_string(&log).unwrap(), "tool_output")
        .iter()
        .filter(|event| event["stream"] == "stdout")
        .flat_map(|event| match event["text"].as_str() {
            Some(text) => text.as_bytes().to_vec(),
            None => STANDARD.decode(event["base64"].as_str().unwrap()).unwrap(),
        })
        .collect();
    assert!(written == ran.stdout, "the events hold what was shown");
    nothing_below(&project.beside("state"));
    nothing_below(&project.beside("cache"));

    let ran = devshell(&project, &["run", "--output", "json"]);
    tells_nothing("the events on stdout", &ran.code(3).stdout);
    tells_nothing("stderr", ran.stderr.as_bytes());
    for args in [
        &["plan"][..],
        &["config"],
        &["config", "--origins", "--format", "json"],
        &["results"],
    ] {
        let ran = devshell(&project, args);
        tells_nothing(args[0], &ran.code(0).stdout);
        tells_nothing(args[0], ran.stderr.as_bytes());
    }
    // Only the contents of what was kept are as the tool wrote them.
    assert!(devshell(&project, &["results", "diff"]).code(0).out().contains(SECRET));
}

#[test]
fn a_journal_in_the_middle_of_a_commit_tells_no_secret() {
    let toml = "[secrets]\nSECRET = { env = \"CI_SECRET\" }\n[[tool]]\nname = \"many\"\n\
                script = 'mkdir d; seq 3000 | (cd d; xargs touch); test -n \"$SECRET\"'\n";
    let mut seen = false;
    for _ in 0..10 {
        let project = project(toml);
        let state = project.beside("state");
        let mut child = Killed(command(&project, &["run"]).spawn().unwrap());
        let is_commit = |path: &Path| path.file_name().is_some_and(|name| name == "journal");
        let journals = || {
            let files = walkdir::WalkDir::new(&state).into_iter().flatten();
            files
                .map(walkdir::DirEntry::into_path)
                .filter(|path| is_commit(path))
                .collect::<Vec<_>>()
        };
        while child.0.try_wait().unwrap().is_none() && journals().is_empty() {}
        child.0.kill().unwrap();
        child.0.wait().unwrap();
        seen = !journals().is_empty();
        if seen {
            nothing_below(&state);
            break;
        }
    }
    assert!(seen, "no run was killed in the middle of its commit");
}

#[test]
fn tools_get_their_secrets_and_not_what_they_came_from() {
    let project = project(
        r#"
[secrets]
SECRET = { env = "CI_SECRET", tools = ["publish"] }
KEY = { file = "../key" }

[[tool]]
name = "test"
script = 'test -z "${SECRET+x}${CI_SECRET+x}"; printf "%s\\n" "$KEY" | cmp - ../key'
[[tool]]
name = "publish"
script = 'test -z "${CI_SECRET+x}"; printf %s "$SECRET" > got'
when = { env = "SECRET" }
[[tool]]
name = "other"
run = ["true"]
when = { env = "SECRET" }
"#,
    );
    let ran = devshell(&project, &["run"]);
    ran.code(0).says("other skipped: when.env: `SECRET` is not set");
    assert_eq!(project.read("got"), SECRET);
    // Nobody needs it then.
    let ran = finish(project.command(["run", "--only", "test"]));
    ran.code(0);
    // A variable that is named is passed, and hidden all the same.
    let passes = [
        "exec",
        "--set",
        "sandbox.pass_env=[\"PATH\", \"CI_SECRET\"]",
        "--",
        "printenv",
        "CI_SECRET",
    ];
    assert_eq!(devshell(&project, &passes).code(0).out(), "***\n");
}

#[test]
fn what_cannot_be_read_is_told_before_anything_runs() {
    let project = Project::new(
        r#"
[secrets]
UNSET = { env = "CI_UNSET" }
EMPTY = { env = "CI_EMPTY" }
SHORT = { env = "CI_SHORT" }
GONE = { file = "gone" }
FOLDER = { file = "." }
ZERO = { file = "/dev/zero" }
NUL = { file = "nul" }
LINE = { file = "line" }
GOOD = { env = "CI_SECRET" }

[[tool]]
name = "t"
script = "touch ran"
"#,
    );
    project.write("nul", "abc\0def");
    project.write("line", "\r\n");
    let log = project.beside("events");
    let mut command = command(&project, &["run", "--events", log.to_str().unwrap()]);
    command.env("CI_EMPTY", "").env("CI_SHORT", " abc ");
    let ran = finish(command);
    ran.code(78)
        .says("the secret `UNSET` (devshell.toml:3:17): the variable `CI_UNSET` is not set; ")
        .says("the variable `CI_EMPTY` is empty; ")
        .says("the variable `CI_SHORT` holds fewer than 4 bytes: ")
        .says("gone` cannot be read: No such file or directory")
        .says("cannot be read: Is a directory")
        .says("`/dev/zero` holds more than 32768 bytes, ")
        .says("nul` holds a NUL byte, ")
        .says("line` is empty; ")
        .says("nothing was run");
    assert!(!ran.stderr.contains("GOOD") && !project.exists("ran"), "{}", ran.stderr);
    let finished = events(&std::fs::read_to_string(&log).unwrap(), "run_finished");
    assert_eq!(finished[0]["exit_code"], 78);
    assert!(finished[0]["error"].as_str().unwrap().contains("CI_UNSET"));
    // Only a run needs them.
    for args in [["check"], ["plan"], ["config"]] {
        project.devshell(&args).code(0);
    }
}

#[test]
fn a_file_that_everybody_can_read_is_a_warning() {
    let project = Project::new("[secrets]\nA = { file = \"a\" }\n[[tool]]\nrun = [\"true\"]\n");
    project.write("a", "hunter22\n");
    let mode = |mode| std::fs::set_permissions(project.path("a"), std::fs::Permissions::from_mode(mode)).unwrap();
    let place = project.root.parent().unwrap();
    std::fs::set_permissions(place, std::fs::Permissions::from_mode(0o755)).unwrap();
    mode(0o644);
    let others_get_there = place
        .ancestors()
        .all(|folder| folder.metadata().unwrap().permissions().mode() & 1 != 0);
    let warned = |ran: &Ran| {
        ran.code(0)
            .stderr
            .contains("the file of the secret `A` can be read by every user")
    };
    assert_eq!(warned(&project.run()), others_get_there);
    mode(0o600);
    assert!(!warned(&project.run()));
    // Nor where nobody else gets to it.
    mode(0o644);
    std::fs::set_permissions(place, std::fs::Permissions::from_mode(0o700)).unwrap();
    assert!(!warned(&project.run()));
}

#[test]
fn output_is_live_and_only_the_beginning_of_a_secret_waits() {
    let project = project("");
    let (pause, marker, go) = project.pause();
    project.write(
        "devshell.toml",
        format!(
            "[secrets]\nSECRET = {{ env = \"CI_SECRET\" }}\n[[tool]]\nname = \"t\"\nscript = '''\n\
             printf 'Password: '; printf 'half: %.8s' \"$SECRET\"; {pause}; printf '%s' \"${{SECRET#????????}}\"; \
             printf '\\nhalf: %.8s' \"$SECRET\"\n'''\n"
        ),
    );
    let mut child = Killed(command(&project, &["run"]).spawn().unwrap());
    let mut out = child.0.stdout.take().unwrap();
    let mut first = [0; 16];
    out.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"Password: half: ");
    wait_for(|| marker.exists(), "the tool to wait");
    // Neither devshell nor what keeps its tools has it where others see it.
    let pid = child.0.id();
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let keepers: Vec<&str> = children.split_whitespace().collect();
    assert!(!keepers.is_empty() || !Path::new("/proc/self/task").join("children").exists());
    tells_nothing(
        "the command line",
        &std::fs::read(format!("/proc/{pid}/cmdline")).unwrap(),
    );
    for keeper in keepers {
        for name in ["environ", "cmdline", "maps"] {
            let bytes = std::fs::read(format!("/proc/{keeper}/{name}")).unwrap();
            tells_nothing(name, &bytes);
            assert!(
                !String::from_utf8_lossy(&bytes).contains("devshell-command"),
                "the memory of the command"
            );
        }
    }
    std::fs::write(&go, "").unwrap();
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert_eq!(
        rest,
        format!("***\nhalf: {}", &SECRET[..8]),
        "what is no secret after all is shown at the end"
    );
    assert!(child.0.wait().unwrap().success());
}

#[test]
fn what_devshell_says_of_tools_tells_no_secret() {
    let project = Project::new("");
    project.write(
        "devshell.toml",
        r#"
[secrets]
A = { env = "CI_A" }
[run]
fail_fast = false
[[tool]]
name = "hunter22"
run = ["no-hunter22-here", "--token=hunter22", "aHVudGVyMjI="]
[[tool]]
name = "exists"
run = ["true"]
when = { exists = "hunter22" }
[[tool]]
name = "folder"
run = ["true"]
cwd = "hunter22"
"#,
    );
    let log = project.beside("events");
    let mut command = project.command(["run", "--events", log.to_str().unwrap()]);
    command.env("CI_A", "hunter22");
    let ran = finish(command);
    ran.code(127)
        .says("[1/3] ***: 'no-***-here' '--token=***' '***='")
        .says("`no-***-here` was not found in PATH")
        .says("exists skipped: when.exists: `***` does not exist")
        .says("class=tool tool=*** code=127");
    for text in [&ran.stderr, &std::fs::read_to_string(&log).unwrap()] {
        assert!(!text.contains("hunter22") && !text.contains("aHVudGVyMjI"), "{text}");
    }
}

#[test]
fn the_config_of_the_docs_is_valid() {
    let docs = include_str!("../../docs/secrets.md");
    let toml = docs.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    Project::new(toml).devshell(&["check"]).code(0);
}
