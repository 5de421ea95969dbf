//! The commands that set a project or a machine up: init, schema, completions, man.

use std::process::{Command, Stdio};

use crate::support::{Project, Ran, devshell, finish, has, not_run};

#[test]
fn init_in_a_fresh_cargo_project_runs_green() {
    let test = "init_in_a_fresh_cargo_project";
    let works = |args: &[&str]| {
        let mut cargo = Command::new("cargo");
        cargo.args(args).stdout(Stdio::null()).stderr(Stdio::null());
        cargo.status().is_ok_and(|status| status.success())
    };
    if !works(&["fmt", "--version"]) || !works(&["clippy", "--version"]) {
        return not_run(test, "cargo, rustfmt or clippy cannot be run here");
    }
    let project = Project::named("fresh");
    let mut cargo = project.program("cargo");
    cargo.args(["init", "--quiet", "--vcs", "none"]);
    finish(cargo).code(0);
    let init = project.devshell(&["init"]);
    let said = init.code(0).out();
    assert!(said.contains("wrote devshell.toml, fitted to Cargo.toml"), "{said}");
    assert!(said.contains("next: devshell plan"), "{said}");
    let toml = project.read("devshell.toml");
    assert!(toml.contains("cache_dirs = [\"target/\"]  # "), "{toml}");
    project.devshell(&["check"]).code(0);

    let mut run = project.command(["run"]);
    run.env("CARGO_NET_OFFLINE", "true");
    finish(run).code(0).says("test ok");
    assert!(project.exists("Cargo.lock"), "what cargo wrote came back");
}

#[test]
fn init_without_anything_to_recognise_writes_an_example_that_runs() {
    let project = Project::named("bare");
    let said = project.devshell(&["init"]).code(0).out();
    assert!(said.contains("an example"), "{said}");
    let ran = project.run();
    assert_eq!(ran.code(0).out(), "Hello from devshell\n");
}

#[test]
fn init_never_overwrites() {
    let project = Project::new("# mine\n");
    let before = project.tree();
    project
        .devshell(&["init"])
        .code(64)
        .says("devshell.toml is there already and is not overwritten");
    project.devshell(&["init", "--schema"]).code(64);
    assert_eq!(project.tree(), before);
    // A link is a file, too, wherever it leads.
    std::fs::remove_file(project.path("devshell.toml")).unwrap();
    std::os::unix::fs::symlink("elsewhere", project.path("devshell.toml")).unwrap();
    let before = project.tree();
    project.devshell(&["init"]).code(64);
    assert_eq!(project.tree(), before);
}

#[test]
fn of_two_inits_at_once_one_writes_and_one_says_so() {
    let project = Project::named("bare");
    let starts: Vec<_> = (0..4).map(|_| project.command(["init"]).spawn().unwrap()).collect();
    let mut codes: Vec<_> = starts
        .into_iter()
        .map(|child| child.wait_with_output().unwrap().status.code())
        .collect();
    codes.sort();
    assert_eq!(codes, [Some(0), Some(64), Some(64), Some(64)]);
    project.devshell(&["check"]).code(0);
    assert_eq!(
        std::fs::read_dir(&project.root).unwrap().count(),
        1,
        "nothing else is left"
    );
}

#[test]
fn the_guide_shows_what_init_writes_for_a_cargo_project() {
    let project = Project::named("bare");
    project.write("Cargo.toml", "[package]\nname = \"a\"\n");
    project.write("Cargo.lock", "");
    project.devshell(&["init"]).code(0);
    let guide = include_str!("../../docs/guide.md");
    let (_, rest) = guide
        .split_once("For a Cargo project it comes to this:\n\n```toml\n")
        .unwrap();
    let (shown, _) = rest.split_once("```").unwrap();
    assert_eq!(
        project.read("devshell.toml").parse::<toml::Table>().unwrap(),
        shown.parse::<toml::Table>().unwrap()
    );
}

#[test]
fn init_in_a_member_of_a_cargo_workspace_names_its_root() {
    let project = Project::named("bare");
    project.write("Cargo.toml", "[workspace]\nmembers = [\"crates/*\"]\n");
    project.write("crates/a/Cargo.toml", "[package]\nname = \"a\"\n");
    let root = project.root.display().to_string();
    project
        .devshell(&["init", "crates/a"])
        .code(0)
        .says(&format!("warning: this is a member of the Cargo workspace in {root},"))
        .says(&format!("(devshell init {root})"));
    let at_the_root = project.devshell(&["init"]);
    assert!(!at_the_root.code(0).stderr.contains("member"), "{}", at_the_root.stderr);
}

#[test]
fn init_writes_where_it_is_told_and_says_what_stands_in_the_way() {
    let project = Project::new("");
    project.write("crates/a b/Makefile", "test:\n\ttrue\n");
    let init = project.devshell(&["init", "crates/a b"]);
    init.code(0).says("no longer found without being named");
    let said = init.out();
    assert!(
        said.contains("next: devshell plan 'crates/a b/devshell.toml'"),
        "{said}"
    );
    assert!(
        project
            .read("crates/a b/devshell.toml")
            .contains("[\"make\", \"test\"]")
    );

    project
        .devshell(&["init", "absent"])
        .code(64)
        .says("`absent` is no folder");
    project
        .devshell(&["init", "devshell.toml"])
        .code(64)
        .says("is no folder");
    project
        .devshell(&["init", "/proc"])
        .code(74)
        .says("cannot write /proc/devshell.toml");
}

#[test]
fn init_with_the_schema_names_it_and_leaves_one_that_is_there() {
    let project = Project::named("bare");
    project.devshell(&["init", "--schema"]).code(0);
    assert_eq!(
        project.read("devshell.schema.json"),
        project.devshell(&["schema"]).code(0).out()
    );
    assert!(
        project
            .read("devshell.toml")
            .starts_with("#:schema ./devshell.schema.json\n")
    );
    project.devshell(&["check"]).code(0);

    std::fs::remove_file(project.path("devshell.toml")).unwrap();
    project.write("devshell.schema.json", "mine");
    let said = project.devshell(&["init", "--schema"]).code(0).out();
    assert!(said.contains("devshell.schema.json is there already"), "{said}");
    assert_eq!(project.read("devshell.schema.json"), "mine");
}

#[test]
fn the_schema_that_is_printed_is_the_published_one() {
    let printed = Project::named("bare").devshell(&["schema"]).code(0).out();
    assert_eq!(printed, include_str!("../../docs/devshell.schema.json"));
}

const NAMED: &str = "\
[[tool]]\nname = \"fmt\"\nrun = [\"touch\", \"ran\"]\n\
[[tool]]\nname = \"test\"\nrun = [\"touch\", \"ran\"]\n\
[profile.nightly.run]\nfail_fast = false\n\
[profile.ci]\n[[profile.ci.tool]]\nname = \"publish\"\nrun = [\"true\"]\n";

/// What a shell that has sourced the completions answers, a candidate a line.
fn asked(project: &Project, shell: &str, script: &str) -> Ran {
    let mut command = project.program(shell);
    match shell {
        "bash" => command.args(["--norc", "-c", script]),
        "zsh" => command.args(["-f", "-c", script]),
        _ => command.args(["--no-config", "-c", script]),
    };
    command.env("DEVSHELL", devshell());
    finish(command)
}

/// Completes the last of these words in bash, as it calls the function at a Tab.
fn in_bash(project: &Project, words: &[&str]) -> Vec<String> {
    const SCRIPT: &str = r#"
        source <("$DEVSHELL" completions bash)
        COMP_WORDS=(TYPED) COMP_TYPE=9
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
        complete -p devshell >&2
        _clap_complete_devshell devshell "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
        [ ${#COMPREPLY[@]} = 0 ] || printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let words: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
    let ran = asked(project, "bash", &SCRIPT.replace("TYPED", &words.join(" ")));
    assert_eq!(
        ran.code(0).stderr.lines().count(),
        1,
        "nothing is said but the registration: {}",
        ran.stderr
    );
    ran.out().lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_tools_and_profiles_from_the_config_and_runs_nothing() {
    let project = Project::new(NAMED);
    let before = project.tree();
    for (words, expected) in [
        (&["devshell", "run", "--only", ""][..], &["fmt", "test"][..]),
        (&["devshell", "run", "--only", "t"], &["test"]),
        (&["devshell", "run", "--only", "fmt,"], &["fmt,fmt", "fmt,test"]),
        (&["devshell", "run", "--only", "=", "t"], &["test"]),
        (&["devshell", "plan", "--from", "f"], &["fmt"]),
        (&["devshell", "run", "--profile", ""], &["nightly", "ci"]),
        (&["devshell", "check", "--profile", "n"], &["nightly"]),
        (&["devshell", "run", "--profile", "ci", "--only", "p"], &["publish"]),
        (&["devshell", "run", "--set", "tool.test.cw"], &["tool.test.cwd="]),
        (&["devshell", "run", "--set", "vm.host.s"], &["vm.host.strategy="]),
        (&["devshell", "run", "--backend", "h"], &["host"]),
        (&["devshell", "completions", "b"], &["bash"]),
        (&["devshell", "sch"], &["schema"]),
        (&["devshell", "run", "devs"], &["devshell.toml"]),
    ] {
        assert_eq!(in_bash(&project, words), expected, "{words:?}");
    }
    assert_eq!(project.tree(), before);
}

#[test]
fn the_config_that_is_completed_from_is_the_one_that_is_meant() {
    let project = Project::new(NAMED);
    project.write("other.toml", "[[tool]]\nname = \"only-here\"\nrun = [\"true\"]\n");
    let words = ["devshell", "run", "other.toml", "--only", ""];
    assert_eq!(in_bash(&project, &words), ["only-here"]);
    assert_eq!(
        in_bash(&project, &["devshell", "run", "absent.toml", "--only", ""]),
        Vec::<String>::new()
    );
    let mut below = project.command(["--", "devshell", "run", "--only", ""]);
    std::fs::create_dir(project.path("below")).unwrap();
    below
        .current_dir(project.path("below"))
        .env("DEVSHELL_COMPLETE", "fish");
    assert_eq!(finish(below).code(0).out(), "fmt\ntest\n");
}

#[test]
fn a_broken_config_completes_silently_to_what_can_be_made_out() {
    let project = Project::new("[[tool]]\nname = \"a\"\nrun = 3\nrnu = 4\n[run]\ntimeout = \"1\n");
    assert_eq!(in_bash(&project, &["devshell", "run", "--only", ""]), ["a"]);
    project.write("devshell.toml", b"\xff\xfe");
    assert_eq!(
        in_bash(&project, &["devshell", "run", "--only", ""]),
        Vec::<String>::new()
    );
    std::fs::remove_file(project.path("devshell.toml")).unwrap();
    std::fs::create_dir(project.path("devshell.toml")).unwrap();
    assert_eq!(
        in_bash(&project, &["devshell", "run", "--only", ""]),
        Vec::<String>::new()
    );
}

#[test]
fn a_variable_of_completions_that_was_left_set_changes_no_command() {
    let project = Project::new("[[tool]]\nrun = [\"true\"]\n");
    let mut check = project.command(["check"]);
    check.env("DEVSHELL_COMPLETE", "bash");
    assert!(finish(check).code(0).out().contains("valid"));
    let mut wrong = project.command(["--", "devshell", "run", ""]);
    wrong.env("DEVSHELL_COMPLETE", "nonsense");
    finish(wrong).code(64);
}

#[test]
fn zsh_completes_the_names_of_tools() {
    if !has("zsh") {
        return not_run("zsh_completes", "there is no zsh here");
    }
    let project = Project::new(NAMED);
    // What the line editor has: the words, and a function that is given the candidates.
    let script = r#"
        compdef() { print -u2 "$@" }
        _describe() { print -l -- "${(@P)argv[-1]}" }
        source <("$DEVSHELL" completions zsh)
        words=(devshell run --only '') CURRENT=4
        _clap_dynamic_completer_devshell
    "#;
    let ran = asked(&project, "zsh", script);
    assert_eq!(ran.code(0).out(), "fmt\ntest\n");
    ran.says("_clap_dynamic_completer_devshell devshell");
}

#[test]
fn fish_completes_the_names_of_tools() {
    if !has("fish") {
        return not_run("fish_completes", "there is no fish here");
    }
    let project = Project::new(NAMED);
    let script = "$DEVSHELL completions fish | source; complete -C 'devshell run --only '";
    let ran = asked(&project, "fish", script);
    assert_eq!(ran.code(0).out(), "fmt\ntest\n");
}

#[test]
fn each_says_how_it_can_end() {
    let project = Project::named("bare");
    for command in ["init", "schema", "completions", "man"] {
        let help = project.devshell(&[command, "--help"]).code(0).out();
        assert!(help.contains("Exit codes: 0 "), "{command}:\n{help}");
    }
}

#[test]
fn there_are_completions_for_each_shell_and_no_other() {
    let project = Project::named("bare");
    for (shell, word) in [
        ("bash", "complete "),
        ("zsh", "#compdef devshell"),
        ("fish", "complete "),
        ("powershell", "Register-ArgumentCompleter"),
        ("elvish", "edit:completion:arg-completer"),
    ] {
        let script = project.devshell(&["completions", shell]).code(0).out();
        assert!(
            script.contains(word) && script.contains("DEVSHELL_COMPLETE"),
            "{shell}:\n{script}"
        );
    }
    project.devshell(&["completions", "tcsh"]).code(64).says("tcsh");
}

#[test]
fn there_is_a_manual_page_for_each_command() {
    let project = Project::named("bare");
    let main = project.devshell(&["man"]).code(0).out();
    assert!(main.contains(".TH devshell 1"), "{main}");
    let said = project.devshell(&["man", "--dir", "made/man1"]).code(0).out();
    let pages: Vec<String> = std::fs::read_dir(project.path("made/man1"))
        .unwrap()
        .map(|page| page.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(said.contains(&format!("wrote {} pages", pages.len())), "{said}");
    assert_eq!(project.read("made/man1/devshell.1"), main);
    for command in main.lines().filter_map(|line| line.strip_suffix("(1)")) {
        let name = command.replace('\\', "") + ".1";
        assert!(pages.contains(&name), "{name} is not in {pages:?}");
    }
    for (page, part) in [
        ("devshell-run", ".SH EXAMPLES\n.nf\n"),
        ("devshell-init", ".SH \"EXIT STATUS\"\n"),
        ("devshell-results-apply", ".SH SYNOPSIS"),
    ] {
        let text = project.read(format!("made/man1/{page}.1"));
        assert!(text.contains(part), "{page}:\n{text}");
    }
    // Once more: the pages are replaced.
    project.devshell(&["man", "--dir", "made/man1"]).code(0);
    project.devshell(&["man", "--dir", "/proc/none"]).code(74);

    if !has("man") {
        return not_run("there_is_a_manual_page", "there is no man here to read the pages with");
    }
    for page in pages {
        let mut man = project.program("man");
        man.args(["--warnings", "-E", "UTF-8", "-l"])
            .arg(project.path("made/man1").join(&page));
        let read = finish(man);
        assert_eq!(read.code(0).stderr, "", "{page}");
        assert!(read.out().contains("SYNOPSIS"), "{page}");
    }
}

#[test]
fn a_reader_that_goes_away_has_read_enough() {
    let project = Project::named("bare");
    for args in [
        &["schema"][..],
        &["completions", "bash"],
        &["man"],
        &["init"],
        &["--help"],
    ] {
        let mut command = project.command(args);
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        command.stdout(writer);
        assert_eq!(finish(command).code(0).stderr, "", "{args:?}");
    }
    for args in [&["schema"][..], &["--version"], &["--help"], &["run", "--help"]] {
        let mut full = project.command(args);
        full.stdout(std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap());
        finish(full)
            .code(74)
            .says("devshell: error: cannot write to stdout: No space left");
    }
}
