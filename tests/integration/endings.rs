//! What is said at the end of a run: the summary, the failure, and what to type next.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use crate::run::events;
use crate::support::{Project, Ran, finish, has, not_run};

const TWO: &str = r#"
[[tool]]
name = "first"
run = ["true"]
[[tool]]
name = "second"
cwd = "sub"
script = "echo changed > file; echo to stdout; for i in $(seq 30); do echo line $i >&2; done; exit 9"
[profile.p.env]
X = "1"
"#;

fn two() -> Project {
    let project = Project::new(TWO);
    project.write("sub/file", "original");
    project
}

/// What follows these words in a line of devshell's own.
fn after<'a>(ran: &'a Ran, words: &str) -> &'a str {
    let mut lines = ran.stderr.lines().filter_map(|line| line.strip_prefix("devshell: "));
    lines
        .find_map(|line| line.trim_start().strip_prefix(words))
        .unwrap_or_else(|| panic!("no `{words}` in\n{}", ran.stderr))
}

#[test]
fn a_failure_is_told_after_everything_else_with_all_that_is_needed_to_go_on() {
    let project = two();
    let ran = project.run();
    ran.code(9);
    let lines: Vec<&str> = ran.stderr.lines().collect();
    let headline = lines
        .iter()
        .position(|line| line.starts_with("devshell: error: `second` failed with code 9 after "))
        .unwrap_or_else(|| panic!("{}", ran.stderr));
    assert!(
        lines[headline..].iter().all(|line| line.starts_with("devshell: ")),
        "nothing of the tools comes after it:\n{}",
        ran.stderr
    );
    assert_eq!(after(&ran, "in: "), project.path("sub").to_str().unwrap());
    assert!(after(&ran, "command: ").starts_with("sh -e -c "));
    let shown: Vec<&str> = lines
        .iter()
        .filter_map(|line| line.strip_prefix("devshell:     | "))
        .collect();
    assert_eq!((shown.len(), shown[0], shown[19]), (20, "line 11", "line 30"));
    assert!(lines[lines.len() - 1].starts_with("devshell: class=tool tool=second code=9 elapsed="));
}

#[test]
fn the_commands_that_are_offered_do_what_they_say() {
    let project = two();
    let elsewhere = project.beside("home");
    let file = project.path("devshell.toml");
    let start = |args: &[&str]| {
        let mut command = project.command(args);
        command.current_dir(&elsewhere);
        command
    };
    let ran = finish(start(&[
        "run",
        file.to_str().unwrap(),
        "--profile",
        "p",
        "--set",
        "tool.second.env.GREETING=a b",
    ]));
    ran.code(9);
    let typed = |line: &str| {
        let mut shell = project.program("sh");
        shell.args(["-c", line]).current_dir(&elsewhere);
        finish(shell)
    };
    let repeated = typed(after(&ran, "only this tool again: "));
    repeated.code(9).says("[1/1] second");
    assert!(after(&repeated, "only this tool again: ").contains("'tool.second.env.GREETING=a b'"));
    assert!(!repeated.stderr.contains("summary"), "one tool needs none");
    let diff = typed(after(&ran, "to look at it: "));
    assert!(diff.code(0).out().contains("+changed"), "{}", diff.out());
    typed(after(&ran, "to apply it: ")).code(0);
    assert_eq!(project.read("sub/file"), "changed\n");
}

#[test]
fn the_result_of_a_workspace_that_the_command_line_named_is_found_as_the_report_says() {
    let tool = "[[tool]]\nname = \"t\"\nscript = \"echo x > made; exit 1\"\n";
    let project = Project::new(&format!("{tool}[profile.s.workspace]\nroot = \"sub\"\n"));
    project.write("sub/file", "");
    for layer in [["--set", "workspace.root=sub"], ["--profile", "s"]] {
        let ran = project.devshell(&[&["run"][..], &layer].concat());
        let mut shell = project.program("sh");
        shell.args(["-c", after(ran.code(1), "to look at it: ")]);
        assert!(finish(shell).code(0).out().contains("made"), "{layer:?}");
    }
}

#[test]
fn an_exec_is_repeated_as_it_was_typed() {
    let project = Project::new("");
    let ran = project.devshell(&[
        "exec",
        "--set",
        "vm.host.strategy=copy",
        "--",
        "sh",
        "-c",
        "exit $#",
        "x",
        "a b",
    ]);
    ran.code(1);
    let mut shell = project.program("sh");
    shell.args(["-c", after(&ran, "only this tool again: ")]);
    finish(shell).code(1).says("host, copy");
}

#[test]
fn a_path_that_is_not_utf_8_can_be_typed_again() {
    if !has("bash") {
        return not_run("a_path_that_is_not_utf_8_can_be_typed_again", "no bash here");
    }
    let project = Project::named("top");
    let folder = OsStr::from_bytes(b"caf\xe9it's");
    let file = Path::new(folder).join("devshell.toml");
    project.write(&file, "[[tool]]\nname = \"t\"\nscript = 'echo x > made; exit 5'\n");
    let mut command = project.command(["run"]);
    command.arg(&file).args(["--events", "events.jsonl"]);
    let ran = finish(command);
    ran.code(5);
    let quoted = r"$'caf\351it\'s/devshell.toml'";
    let line = after(&ran, "only this tool again: ");
    assert!(line.ends_with(&format!("run {quoted} --only t")), "{line}");
    let next = &events(&project.read("events.jsonl"), "run_finished")[0]["next"];
    assert_eq!(next["repeat"][2], quoted);
    assert_eq!(next["diff"][3], quoted);
    for (what, code) in [
        ("only this tool again: ", 5),
        ("to look at it: ", 0),
        ("to apply it: ", 0),
    ] {
        let mut shell = project.program("bash");
        shell.args(["-c", after(&ran, what)]);
        finish(shell).code(code);
    }
    assert_eq!(project.read(Path::new(folder).join("made")), "x\n");
}

#[test]
fn the_events_have_the_same_commands() {
    let project = two();
    let ran = project.devshell(&["run", "--output", "json", "--write-back", "never"]);
    ran.code(9);
    let next = &events(&ran.out(), "run_finished")[0]["next"];
    let words = |command: &str| -> Vec<String> { serde_json::from_value(next[command].clone()).unwrap() };
    assert_eq!(
        words("repeat")[1..],
        ["run", "--write-back", "never", "--only", "second"]
    );
    assert_eq!(words("diff")[1..], ["results", "diff", ran.kept()]);
    assert_eq!(words("apply")[1..], ["results", "apply", ran.kept()]);
    let ok = project.devshell(&["run", "--output", "json", "--only", "first"]);
    assert!(events(&ok.code(0).out(), "run_finished")[0].get("next").is_none());
}

#[test]
fn a_run_of_several_tools_is_summed_up_before_its_end() {
    let project = Project::new(
        "[[tool]]\nname = \"quick\"\nscript = \"echo x > made\"\n[[tool]]\nname = \"slow\"\nscript = \"sleep 0.3\"\n\
         [[tool]]\nname = \"elsewhere\"\nrun = [\"true\"]\nwhen = { os = \"windows\" }\n",
    );
    let ran = project.run();
    ran.code(0).says("devshell: summary: 3 tools, 2 ok, 1 skipped\n");
    let row = |name: &str| after(&ran, &format!("{name} ")).to_owned();
    assert!(
        row("slow").ends_with("slowest") && !row("quick").contains("slowest"),
        "{}",
        ran.stderr
    );
    assert!(row("elsewhere").contains("skipped: when.os"), "{}", ran.stderr);
    let lines: Vec<&str> = ran.stderr.lines().rev().take(2).collect();
    assert_eq!(lines[1], "devshell: committed: 1 written, 0 deleted");
    assert!(lines[0].starts_with("devshell: class=ok code=0"));
}

#[test]
fn a_secret_on_the_command_line_is_not_repeated() {
    let project = Project::new("[[tool]]\nname = \"t\"\nscript = \"test $API_TOKEN = hunter2 && exit 5\"\n");
    let ran = project.devshell(&["run", "--set", "env.API_TOKEN=hunter2", "--output", "plain"]);
    ran.code(5).says("--set env.API_TOKEN=... --only t");
    assert!(!after(&ran, "only this tool again: ").contains("hunter2"));
}
