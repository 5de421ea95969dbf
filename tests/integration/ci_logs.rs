//! The logs that CI systems get.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::support::{ActionsRunner, Golden, Project, Ran, finish, wait_for};

/// `devshell run` as a step of GitHub Actions runs it, with a summary file.
fn step(project: &Project, args: &[&str]) -> Command {
    let mut command = project.command(["run"]);
    command.args(args).env("GITHUB_ACTIONS", "true");
    command.env("GITHUB_STEP_SUMMARY", summary(project));
    command
}

fn summary(project: &Project) -> PathBuf {
    project.beside("summary.md")
}

/// What the runner makes of the step.
fn read(ran: &Ran) -> ActionsRunner {
    ActionsRunner::read(&ran.out())
}

const SUCCESS: &str = r#"
[[tool]]
name = "build"
script = "echo building; sleep 0.3; echo made > made"
[[tool]]
name = "test"
script = "echo 'all tests passed' >&2"
"#;

const FAILURE: &str = r#"
[[tool]]
name = "build"
script = "echo building; sleep 0.3; echo made > made"
[[tool]]
name = "lint"
script = "printf 'one lint'; exit 3"
continue_on_error = true
[[tool]]
name = "test"
script = "echo 'assertion failed: 100% of `x`' >&2; exit 101"
[[tool]]
name = "publish"
run = ["true"]
"#;

/// Succeeds at its second attempt.
const FLAKY: &str = r#"
[[tool]]
name = "flaky"
script = "test -e BESIDE/once || { touch BESIDE/once; echo 'no luck' >&2; exit 7; }; sleep 0.3; echo luck"
retries = 2
"#;

/// Runs until it is stopped.
const INTERRUPTED: &str = r#"
[[tool]]
name = "quick"
run = ["true"]
[[tool]]
name = "endless"
script = "exec 2>/dev/null; trap 'echo stopping; exit 1' TERM; echo running; sleep 0.3; touch BESIDE/started; while :; do sleep 0.05; done"
[[tool]]
name = "later"
run = ["true"]
"#;

/// The log of a run with everything on one stream, as a job has it. It ends with this code.
fn log(toml: &str, args: &[&str], env: &[(&str, &str)], code: i32) -> (Project, String) {
    let project = Project::new("");
    let beside = project.beside("");
    project.write(
        "devshell.toml",
        toml.replace("BESIDE", beside.to_str().unwrap().trim_end_matches('/')),
    );
    let mut shell = project.program("sh");
    shell.args(["-c", "exec \"$@\" 2>&1", "sh"]);
    shell.arg(crate::support::devshell()).arg("run").args(args);
    shell.args(["--junit", project.beside("junit.xml").to_str().unwrap()]);
    shell.envs(env.iter().copied());
    shell.env("GITHUB_STEP_SUMMARY", summary(&project));
    let ran = if toml == INTERRUPTED {
        let child = shell.spawn().unwrap();
        wait_for(|| project.beside("started").exists(), "the tool to run");
        let running = crate::support::Running { child };
        running.signal("TERM");
        running.end()
    } else {
        finish(shell)
    };
    let text = ran.code(code).out();
    (project, text)
}

#[test]
fn golden_logs_of_each_dialect_hold() {
    for (name, toml, code) in [
        ("success", SUCCESS, 0),
        ("failure", FAILURE, 101),
        ("flaky", FLAKY, 0),
        ("interrupted", INTERRUPTED, 143),
    ] {
        for (dialect, args, variable) in [
            ("github", &[][..], "GITHUB_ACTIONS"),
            ("gitlab", &[][..], "GITLAB_CI"),
            ("plain", &["--timestamps"][..], "NO_CI"),
        ] {
            let (project, log) = log(toml, args, &[(variable, "true")], code);
            let golden = Golden::new("ci", &project);
            golden.holds(&format!("{name}.{dialect}.log"), &log);
            if dialect == "github" {
                let summary = std::fs::read_to_string(summary(&project)).unwrap();
                golden.holds(&format!("{name}.summary.md"), &summary);
            } else {
                assert!(!summary(&project).exists(), "only GitHub gets one");
            }
            let junit = std::fs::read_to_string(project.beside("junit.xml")).unwrap();
            golden.holds(&format!("{name}.junit.xml"), &junit);
        }
    }
}

#[test]
fn golden_log_of_a_wrong_config_marks_each_fault() {
    let toml = "[vm]\nbackend = \"moon\"\n\n[run]\nfial_fast = true\n";
    let (project, log) = log(toml, &[], &[("GITHUB_ACTIONS", "true")], 78);
    let golden = Golden::new("ci", &project);
    golden.holds("config.github.log", &log);
    golden.holds(
        "config.summary.md",
        &std::fs::read_to_string(summary(&project)).unwrap(),
    );
    golden.holds(
        "config.junit.xml",
        &std::fs::read_to_string(project.beside("junit.xml")).unwrap(),
    );
    let runner = ActionsRunner::read(&log);
    let places: Vec<_> = runner
        .annotations
        .iter()
        .map(|annotation| {
            (
                annotation.property("file"),
                annotation.property("line"),
                annotation.property("col"),
            )
        })
        .collect();
    let file = project.path("devshell.toml").display().to_string();
    assert_eq!(places, [(file.as_str(), "2", "11"), (&file, "5", "1")]);
}

#[test]
fn what_succeeded_is_folded_and_what_failed_is_not() {
    let project = Project::new(FAILURE);
    let ran = finish(step(&project, &[]));
    ran.code(101);
    let runner = read(&ran);
    assert_eq!(runner.folded.len(), 2, "{runner:?}");
    assert!(runner.open.as_ref().unwrap().starts_with("[3/4] test: "), "{runner:?}");
    let unfolded = runner.seen_unfolded();
    assert!(
        unfolded.contains(&"assertion failed: 100% of `x`") && !unfolded.contains(&"building"),
        "{unfolded:?}"
    );
    let told: Vec<_> = runner
        .annotations
        .iter()
        .map(|annotation| (annotation.kind.as_str(), annotation.property("title")))
        .collect();
    assert_eq!(told, [("warning", "devshell: lint"), ("error", "devshell: test")]);
    assert!(
        runner.annotations[1]
            .message
            .starts_with("`test` failed with code 101 after ")
    );
    assert_eq!(
        ran.last_line(),
        ran.stderr.trim_end(),
        "stderr has the last line and nothing else"
    );
    assert!(ran.last_line().starts_with("devshell: class=tool tool=test code=101 "));
}

#[test]
fn a_failure_is_folded_once_another_tool_follows() {
    let project = Project::new(FAILURE);
    let ran = finish(step(&project, &["--keep-going"]));
    let runner = read(ran.code(101));
    assert_eq!((runner.folded.len(), &runner.open), (4, &None));
    // The closing block says it again, where nothing is folded.
    assert!(
        runner
            .seen_unfolded()
            .contains(&"devshell:     | assertion failed: 100% of `x`"),
        "{runner:?}"
    );
}

#[test]
fn no_output_of_a_tool_is_a_command() {
    let project = Project::new("");
    // In both forms, on both streams, behind blanks, behind a carriage return and without an end.
    let hostile = "::error::forged\\n  ::warning::forged\\n##[error]forged\\nx ##[add-mask]forged\\n\
                   1%%\\r::add-path::/forged\\n::stop-commands::forged\\n::forged::\\n::endgroup::\\n::set-env name=x::y";
    project.write(
        "devshell.toml",
        format!("[[tool]]\nname = \"t\"\nscript = '''printf '{hostile}'; printf '{hostile}' >&2; exit 5'''\n"),
    );
    let ran = finish(step(&project, &[]));
    let runner = read(ran.code(5));
    assert_eq!(runner.others, Vec::<String>::new());
    assert_eq!(runner.annotations.len(), 1, "{:?}", runner.annotations);
    assert_eq!(runner.annotations[0].property("title"), "devshell: t");
    assert_eq!(runner.folded, Vec::<String>::new());
    // The bytes are the tool's all the same.
    let text = hostile.replace("\\n", "\n").replace("\\r", "\r").replace("%%", "%");
    let (lines, last) = text.rsplit_once('\n').unwrap();
    assert_eq!(ran.out().matches(lines).count(), 2, "{}", ran.out());
    assert_eq!(
        ran.out().lines().filter(|line| *line == last).count(),
        2,
        "{}",
        ran.out()
    );
}

#[test]
fn no_name_in_devshells_own_lines_is_a_command() {
    let project = Project::new("");
    let name = "a\n::error::forged\r::add-path::x ##[add-mask]y";
    project.write(name, "old");
    let (pause, marker, go) = project.pause();
    let script = format!("{pause}\nfor file in a*; do echo new >\"$file\"; done");
    project.write(
        "devshell.toml",
        format!("[[tool]]\nname = \"t\"\nscript = '''{script}'''\n"),
    );
    let child = step(&project, &[]).spawn().unwrap();
    wait_for(|| marker.exists(), "the tool to run");
    project.write(name, "changed");
    std::fs::write(&go, "").unwrap();
    let ran = crate::support::Running { child }.end();
    let runner = read(ran.code(73));
    assert_eq!(runner.others, Vec::<String>::new());
    let kinds: Vec<_> = runner
        .annotations
        .iter()
        .map(|annotation| annotation.property("title"))
        .collect();
    assert_eq!(kinds, ["devshell: conflict"], "{:?}", runner.annotations);
}

#[test]
fn tools_may_give_commands_when_they_are_allowed_to() {
    let project = Project::new("[[tool]]\nname = \"t\"\nscript = \"echo ::notice::hello\"\n");
    let ran = finish(step(&project, &["--allow-commands"]));
    let runner = read(ran.code(0));
    assert_eq!(runner.annotations.len(), 1);
    assert_eq!(runner.annotations[0].message, "hello");
    assert!(!ran.out().contains("stop-commands"));
}

#[test]
fn both_streams_of_a_tool_stand_in_its_group_whole_line_by_whole_line() {
    let project = Project::new("");
    project.write(
        "devshell.toml",
        "[[tool]]\nname = \"t\"\nscript = '''\n\
         for n in 1 2 3 4 5 6 7 8 9; do printf \"out $n\"; printf \"err $n\\n\" >&2; printf ' end\\n'; done; printf last\n'''\n",
    );
    for (variable, args) in [("GITHUB_ACTIONS", []), ("GITLAB_CI", [])] as [(&str, [&str; 0]); 2] {
        let mut command = project.command(["run"]);
        let ran = finish({
            command.args(args).env(variable, "true");
            command
        });
        let out = ran.code(0).out();
        let lines: Vec<&str> = out.lines().collect();
        let of = |start: &str| {
            let lines = lines.iter().filter(|line| line.starts_with(start));
            lines.map(|line| (*line).to_owned()).collect::<Vec<_>>()
        };
        let expected = |start: &str, end: &str| (1..10).map(|n| format!("{start} {n}{end}")).collect::<Vec<_>>();
        assert_eq!(of("out"), expected("out", " end"), "{out}");
        assert_eq!(of("err"), expected("err", ""), "{out}");
        assert!(lines.contains(&"last"), "{out}");
    }
}

#[test]
fn sections_of_gitlab_are_balanced_and_have_names_of_their_own() {
    let project = Project::new(
        "[[tool]]\nname = \"a.b\"\nrun = [\"true\"]\n[[tool]]\nname = \"A-b\"\nrun = [\"true\"]\n\
         [[tool]]\nname = \"fails\"\nscript = \"echo why >&2; exit 9\"\nretries = 1\n",
    );
    let section = regex::Regex::new(
        r"(?m)^\x1b\[0Ksection_(start|end):(\d+):([A-Za-z0-9_.-]+)(\[collapsed=true\])?\r\x1b\[0K(.*)$",
    )
    .unwrap();
    let mut names = Vec::new();
    for _ in 0..2 {
        let mut command = project.command(["run"]);
        command.env("GITLAB_CI", "true");
        let out = finish(command).code(9).out();
        let mut open = None;
        for found in section.captures_iter(&out) {
            let then: u64 = found[2].parse().unwrap();
            assert!(then > 1_700_000_000 && then < 10_000_000_000, "{then}");
            match &found[1] {
                "start" => {
                    assert!(open.is_none() && found.get(4).is_some(), "{out}");
                    open = Some(found[3].to_owned());
                }
                _ => assert_eq!(open.take().as_deref(), Some(&found[3]), "{out}"),
            }
            if &found[1] == "start" {
                // As GitLab compares them.
                let name = found[3].to_lowercase();
                names.push(name.replace(|char: char| !char.is_ascii_alphanumeric(), "-"));
            }
        }
        assert!(open.is_none(), "{out}");
        let (_, behind) = out.rsplit_once("section_end").unwrap();
        assert!(
            behind.contains("| why"),
            "what failed is told outside of the sections: {out}"
        );
    }
    assert_eq!(names.len(), 8);
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 8, "{names:?}");
}

#[test]
fn auto_is_a_dialect_only_where_stdout_is_the_log() {
    let project = Project::new("[[tool]]\nname = \"t\"\nrun = [\"echo\", \"hello\"]\n");
    let is_dialect = |command: &mut Command| {
        command.env("GITHUB_ACTIONS", "true");
        finish(std::mem::replace(command, Command::new("true")))
            .code(0)
            .out()
            .contains("::group::")
    };
    assert!(is_dialect(&mut project.command(["run"])));
    assert!(!is_dialect(&mut project.command(["exec", "--", "echo", "hello"])));
    assert!(!is_dialect(
        project.command(["run"]).env("DEVSHELL_RUN_ID", "other/run")
    ));
    assert!(!is_dialect(&mut project.command(["run", "--output", "plain"])));
    assert!(is_dialect(
        &mut project.command(["exec", "--output", "github", "--", "echo", "hello"])
    ));
    let file = project.beside("out");
    let mut to_file = project.command(["run"]);
    to_file.env("GITHUB_ACTIONS", "true");
    to_file.stdout(std::fs::File::create(&file).unwrap());
    finish(to_file).code(0);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "hello\n");
    let mut elsewhere = project.command(["run"]);
    elsewhere.env("GITHUB_ACTIONS", "false").env("GITLAB_CI", "");
    assert_eq!(finish(elsewhere).code(0).out(), "hello\n");
}

#[test]
fn a_devshell_inside_a_tool_opens_no_groups() {
    let project = Project::new("");
    let inner = project.path("inner");
    project.write(
        "inner/devshell.toml",
        "[[tool]]\nname = \"inner\"\nrun = [\"echo\", \"from inside\"]\n",
    );
    let program = crate::support::devshell();
    project.write(
        "devshell.toml",
        format!(
            "[[tool]]\nname = \"outer\"\nscript = '''cd {} && {} run'''\n",
            inner.display(),
            program.display()
        ),
    );
    for (variable, marker) in [("GITHUB_ACTIONS", "::group::"), ("GITLAB_CI", "section_start")] {
        let mut command = project.command(["run"]);
        command.env(variable, "true");
        let ran = finish(command);
        let out = ran.code(0).out();
        assert!(out.contains("from inside") && out.contains("[1/1] inner"), "{out}");
        assert_eq!(out.matches(marker).count(), 1, "{out}");
    }
}

#[test]
fn the_summary_is_appended_and_keeps_to_githubs_limit() {
    let project = Project::new("");
    let mut toml = String::new();
    for n in 0..200 {
        toml.push_str(&format!(
            "[[tool]]\nname = \"t{n}\"\nscript = '''for i in 1 2 3 4 5 6 7 8 9 10; do printf '%0390d\\n' $i; done >&2; \
             echo '```' >&2; exit 1'''\n"
        ));
    }
    project.write("devshell.toml", toml);
    // What others wrote before counts.
    std::fs::write(summary(&project), "x".repeat(600_000) + "\n").unwrap();
    finish(step(&project, &["--keep-going"])).code(1);
    let text = std::fs::read_to_string(summary(&project)).unwrap();
    assert!(text.starts_with("xxx") && text.len() <= 1 << 20, "{}", text.len());
    assert!(text.contains("\n| t199 | **failed with code 1** |"));
    assert!(
        text.contains("\n````text\n"),
        "the fence is longer than what is in the block"
    );
    std::fs::write(summary(&project), "x".repeat(1_048_000)).unwrap();
    finish(step(&project, &["--keep-going"])).code(1);
    let text = std::fs::read_to_string(summary(&project)).unwrap();
    assert!(text.len() <= 1 << 20 && text.contains("left out"), "{}", text.len());
}

#[test]
fn a_summary_that_cannot_be_written_is_a_warning() {
    let project = Project::new(SUCCESS);
    let mut command = step(&project, &[]);
    command.env("GITHUB_STEP_SUMMARY", project.beside("no/such/folder"));
    let ran = finish(command);
    let runner = read(ran.code(0));
    assert_eq!(runner.annotations.len(), 1);
    assert!(
        runner.annotations[0].message.contains("cannot be written"),
        "{runner:?}"
    );
}

#[test]
fn timestamps_stand_in_devshells_own_lines_alone() {
    let project = Project::new("[[tool]]\nname = \"t\"\nscript = \"echo out; echo err >&2\"\n");
    let ran = project.devshell(&["run", "--timestamps"]);
    ran.code(0);
    assert_eq!(ran.out(), "out\n");
    let stamped = regex::Regex::new(r"^devshell: \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z ").unwrap();
    for line in ran.stderr.lines() {
        let of_its_own = line.starts_with("devshell: ") && !line.starts_with("devshell: class=");
        assert_eq!(stamped.is_match(line), of_its_own, "{line}");
    }
    assert!(ran.stderr.contains("\nerr\n") && ran.last_line().starts_with("devshell: class=ok "));
}

#[test]
fn a_job_that_is_not_read_does_not_hang() {
    let project = Project::new("[[tool]]\nname = \"t\"\nscript = \"yes | head -c 3000000\"\n");
    let mut command = step(&project, &[]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    let ran = crate::support::Running { child }.end();
    ran.code(0).says("class=ok");
}
