//! What is wrong in a file, and how it is told.

use super::*;

#[test]
fn all_faults_are_told_at_once_each_with_its_place() {
    insta::assert_snapshot!(faults(
        r#"[vm]
bakend = "lima"
exec_timeout = 90

[vm.host]
strategy = "cpy"

[workspace]
write-back = "always"
ignore = ["ok", "a{b"]

[[tool]]
name = "a b"
run = "cargo test"
"#
    ), @r#"
    error: unknown key `bakend` in [vm]
      --> devshell.toml:2:1
      |
    2 | bakend = "lima"
      | ^^^^^^
      = help: did you mean `backend`?
      = help: keys of [vm]: `enabled`, `backend`, `workspace_mode`, `eager_start`, `guest_workspace`, `workspace_parent`, `exec_timeout`, `ready_timeout`, `host`, `lima`, `beta`, `remote`

    error: `vm.exec_timeout` must be a duration such as "90s" or "10m", found a whole number
      --> devshell.toml:3:16
      |
    3 | exec_timeout = 90
      |                ^^
      = help: with its unit: "90s"

    error: `vm.host.strategy` must be one of `auto`, `overlay`, `copy`, `in_place`, not `cpy`
      --> devshell.toml:6:12
      |
    6 | strategy = "cpy"
      |            ^^^^^
      = help: did you mean `copy`?

    error: unknown key `write-back` in [workspace]
      --> devshell.toml:9:1
      |
    9 | write-back = "always"
      | ^^^^^^^^^^
      = help: keys are written in snake_case: `write_back`
      = help: keys of [workspace]: `root`, `ignore`, `cache_dirs`, `inputs`, `outputs`, `write_back`

    error: `workspace.ignore` has a pattern that cannot be read, `a{b`: unclosed alternate group; missing '}' (maybe escape '{' with '[{]'?)
       --> devshell.toml:10:17
       |
    10 | ignore = ["ok", "a{b"]
       |                 ^^^^^

    error: `tool.a_b.name` may hold letters, digits, `.`, `_` and `-` only: `a b`
       --> devshell.toml:13:8
       |
    13 | name = "a b"
       |        ^^^^^
       = help: for example `a_b`

    error: `tool.a_b.run` must be a list of strings, the program first, found a string
       --> devshell.toml:14:7
       |
    14 | run = "cargo test"
       |       ^^^^^^^^^^^^
       = help: no shell reads it; as a list: ["cargo", "test"], or `script = "cargo test"`

    7 faults in devshell.toml
    "#);
}

#[test]
fn keys_of_later_issues_are_refused_as_any_other() {
    for text in [
        "[run]\njobs = 2\n",
        "[[tool]]\nrun = [\"a\"]\nneeds = [\"b\"]\n",
        "[[tool]]\nrun = [\"a\"]\ninputs = [\"b\"]\n",
        "[[tool]]\nrun = [\"a\"]\ncache = true\n",
    ] {
        assert!(faults(text).starts_with("error: unknown key `"), "{text}");
    }
}

#[test]
fn a_key_in_the_wrong_table_is_pointed_to_its_place() {
    let text = faults("[vm]\nstrategy = \"copy\"\n");
    assert!(text.contains("help: `strategy` belongs in [vm.host]\n"), "{text}");
}

#[test]
fn a_file_that_is_no_text_does_not_hide_faults_elsewhere() {
    let project = Project::new("").env("DEVSHELL_VM", "maybe").set("tool.test.timeout=5m");
    fs::write(project.path("devshell.toml"), b"\xff\xfea\0").unwrap();
    let shown = project.faults();
    assert!(shown.contains("error: the file is UTF-16\n"), "{shown}");
    assert!(shown.ends_with("2 faults in devshell.toml, DEVSHELL_VM"), "{shown}");
}

#[test]
fn a_secret_is_not_shown_by_the_fault_beside_it() {
    for text in [
        "[env]\nAPI_TOKEN = 1234567\n",
        "[[tool]]\nrun = [\"a\"]\nenv = { API_TOKEN = \"1234567\", PORT = 1 }\n",
        "[env]\nAPI_TOKEN = \"1234567\nA = 1\n",
    ] {
        let shown = faults(text);
        assert!(!shown.contains("1234567") && shown.contains("*****"), "{shown}");
    }
    let shown = Project::new("").set("evn.API_TOKEN=1234567").faults();
    assert!(!shown.contains("1234567"), "{shown}");
    let shown = Project::new("").env("DEVSHELL__ENV", "API_TOKEN=1234567").faults();
    assert!(!shown.contains("1234567"), "{shown}");
}

#[test]
fn colours_change_nothing_but_the_colours() {
    let error = load(&Project::new("[vm]\nbakend = 1\n").request).unwrap_err();
    let coloured = error.coloured();
    assert!(coloured.contains("\u{1b}[1m\u{1b}[91m^^^^^^\u{1b}[0m"), "{coloured:?}");
    assert_eq!(anstream::adapter::strip_str(&coloured).to_string(), error.to_string());
}

#[test]
fn a_mebibyte_of_anything_is_told_in_good_time() {
    let fill = |part: &str| part.repeat((1 << 20) / part.len());
    let numbered = |part: fn(usize) -> String| -> String {
        let mut text = String::new();
        for number in 0.. {
            let next = part(number);
            if text.len() + next.len() > (1 << 20) - 100 {
                break;
            }
            text.push_str(&next);
        }
        text
    };
    // Each of these once took the square of its length, or more.
    let tools = Project::new(&fill("[[tool]]\nrun = [\"a\"]\n")).load();
    assert_eq!(tools.config.tool.last().unwrap().name, "a-49932");
    assert!(tools.origins_text().lines().count() > 49_932);
    let variables = Project::new(&format!("[env]\n{}", numbered(|number| format!("V{number} = \"x\"\n")))).load();
    assert!(
        variables
            .origins_text()
            .contains("env.V60000 = \"x\"  # devshell.toml:60002:10")
    );
    assert!(faults(&numbered(|number| format!("k{number} = 1\n"))).contains("the first 100 are shown"));
    assert!(faults(&fill("a")).contains("1 fault"));
    assert!(faults(&format!("[{}]", fill("a."))).contains("fault"));
    assert!(faults(&fill("[")).contains("fault"));
    assert!(faults(&format!("a = {}", fill("{a="))).contains("fault"));
    let shown = faults(&format!("[vm]\nbackend = \"{}\"\n", &fill("x")[100..]));
    assert!(shown.len() < 2000, "{}", shown.len());
}

#[test]
fn faults_in_tools_name_the_tool() {
    insta::assert_snapshot!(faults(
        "[[tool]]\nrun = []\n\n[[tool]]\nname = \"x\"\nrun = [\"a\"]\nscript = \"b\"\n\n[[tool]]\nname = \"x\"\nrun = [\"a\", 1]\n\n[[tool]]\ncwd = \"../out\"\n"
    ), @r#"
    error: `tool.tool.run` is empty: it names no program
      --> devshell.toml:2:7
      |
    2 | run = []
      |       ^^

    error: the tool `x` has both `run` and `script`
      --> devshell.toml:7:10
      |
    7 | script = "b"
      |          ^^^
      = help: leave one of them out

    error: two tools are named `x`
       --> devshell.toml:10:8
       |
    10 | name = "x"
       |        ^^^
       = help: the first is at devshell.toml:5:8

    error: `tool.x.run` is a list of strings, found a whole number
       --> devshell.toml:11:13
       |
    11 | run = ["a", 1]
       |             ^
       = help: in quotes: "1"

    error: the tool `tool-2` has neither `run` nor `script`
       --> devshell.toml:13:1
       |
    13 | [[tool]]
       | ^^^^^^^^
       = help: for example `run = ["cargo", "test"]`

    error: `tool.tool-2.cwd` leaves the workspace: `../out`
       --> devshell.toml:14:7
       |
    14 | cwd = "../out"
       |       ^^^^^^^^
       = help: write a path relative to the workspace, without leading `/` and without `..` out of it

    6 faults in devshell.toml
    "#);
}

#[test]
fn a_shell_without_a_script_is_a_fault() {
    let text = faults("[[tool]]\nrun = [\"a\"]\nshell = [\"bash\", \"-c\"]\n");
    assert!(
        text.starts_with("error: the tool `a` has a `shell` and no `script` for it"),
        "{text}"
    );
}

#[test]
fn values_of_the_wrong_type_say_how_they_are_written() {
    for (text, help) in [
        ("[run]\ntimeout = 90\n", "with its unit: \"90s\""),
        ("[vm.lima]\nmemory = 4\n", "with its unit: \"4GiB\""),
        ("[env]\nPORT = 8080\n", "in quotes: \"8080\""),
        ("[vm]\nenabled = \"true\"\n", "without quotes: true"),
        ("[vm.lima]\ncpus = \"2\"\n", "without quotes: 2"),
        ("[workspace]\nignore = \"target\"\n", "as a list: [\"target\"]"),
        ("[tool]\nrun = [\"a\"]\n", "with double brackets: `[[tool]]`"),
        (
            "[[tool]]\nrun = \"cargo test\"\n",
            "no shell reads it; as a list: [\"cargo\", \"test\"], or `script = \"cargo test\"`",
        ),
        (
            "[run]\ntimeout = \"10M\"\n",
            "`M` stands for months; did you mean `10m`?",
        ),
    ] {
        let shown = faults(text);
        assert!(shown.contains(&format!("= help: {help}\n")), "{shown}");
    }
}

#[test]
fn numbers_outside_of_their_range_are_faults() {
    for text in [
        "[vm.lima]\ncpus = 0\n",
        "[vm.lima]\ncpus = 99999999999999999999\n",
        "[[tool]]\nrun = [\"a\"]\nretries = -1\n",
        "[[tool]]\nrun = [\"a\"]\nretries = { count = 1, exit_codes = [0] }\n",
        "[[tool]]\nrun = [\"a\"]\nretries = { count = 1, exit_codes = [256] }\n",
    ] {
        assert!(faults(text).contains("must be from"), "{text}");
    }
}

#[test]
fn paths_that_leave_the_workspace_and_nul_bytes_are_faults() {
    for line in [
        "cwd = \"/etc\"",
        "cwd = \"a/../..\"",
        "when = { exists = \"../x\" }",
        "outputs = [\"../x\"]",
        "env = { A = \"x\\u0000y\" }",
        "env = { \"A=B\" = \"x\" }",
        "script = \"\\u0000\"",
    ] {
        let command = if line.starts_with("script") {
            ""
        } else {
            "run = [\"a\"]\n"
        };
        assert!(
            faults(&format!("[[tool]]\n{command}{line}\n")).ends_with("1 fault in devshell.toml"),
            "{line}"
        );
    }
}

#[test]
fn syntax_errors_are_faults_with_a_place_and_hide_nothing_before_them() {
    insta::assert_snapshot!(faults("[vm]\nbakend = 1\n\n[run\ntimeout = \"1s\"\nfoo = 2\nx = = 3\n"), @r#"
    error: unknown key `bakend` in [vm]
      --> devshell.toml:2:1
      |
    2 | bakend = 1
      | ^^^^^^
      = help: did you mean `backend`?
      = help: keys of [vm]: `enabled`, `backend`, `workspace_mode`, `eager_start`, `guest_workspace`, `workspace_parent`, `exec_timeout`, `ready_timeout`, `host`, `lima`, `beta`, `remote`

    error: unclosed table, expected `]`
      --> devshell.toml:4:5
      |
    4 | [run
      |     ^

    error: extra `=`, expected nothing
      --> devshell.toml:7:5
      |
    7 | x = = 3
      |     ^

    3 faults in devshell.toml
    "#);
}

#[test]
fn a_duplicate_key_is_a_fault() {
    let text = faults("[vm]\nenabled = true\nenabled = false\n");
    assert!(
        text.contains("--> devshell.toml:3:1") && text.contains("the key `enabled` is there already"),
        "{text}"
    );
}

#[test]
fn a_byte_order_mark_and_crlf_are_no_faults() {
    assert!(!config("\u{feff}[vm]\r\nenabled = false\r\n").vm.enabled);
}

#[test]
fn a_file_that_is_not_utf8_is_a_fault_with_its_place() {
    let project = Project::empty();
    fs::write(project.path("devshell.toml"), b"[env]\nA = \"\xff\"\n").unwrap();
    insta::assert_snapshot!(project.faults(), @r#"
    error: the file is not UTF-8: byte 0xff at offset 11
      --> devshell.toml:2:6
      |
    2 | A = "�"
      |      ^
      = help: save it as UTF-8

    1 fault in devshell.toml
    "#);
}

#[test]
fn guest_mode_without_a_guest_names_both_ways_out() {
    insta::assert_snapshot!(faults("[vm]\nworkspace_mode = \"guest\"\n"), @r#"
    error: `vm.workspace_mode = "guest"` needs a backend with a guest, and `vm.backend = "auto"` has none
      --> devshell.toml:2:18
      |
    2 | workspace_mode = "guest"
      |                  ^^^^^^^
      = help: a guest: `DEVSHELL_VM=on DEVSHELL_VM_BACKEND=lima` (or `beta`)
      = help: the tree carried there and back: `--workspace-mode sync`

    1 fault in devshell.toml
    "#);
    let off = "[vm]\nenabled = false\nbackend = \"lima\"\nworkspace_mode = \"guest\"\n";
    assert!(
        faults(off).contains("needs a backend with a guest, and `vm.enabled` is false"),
        "{}",
        faults(off)
    );
    assert!(
        faults("[vm]\nbackend = \"remote\"\nworkspace_mode = \"guest\"\n")
            .contains("`vm.backend = \"remote\"` has none")
    );
    config("[vm]\nbackend = \"lima\"\nworkspace_mode = \"guest\"\n[workspace]\ninputs = [\"src/**\"]\n");
}

#[test]
fn contradictions_point_to_the_value_that_was_given() {
    let shown = faults("[workspace]\ninputs = [\"src/**\"]\n");
    assert!(shown.contains("--> devshell.toml:2:10"), "{shown}");
    let in_place = "[vm.host]\nstrategy = \"in_place\"\n";
    let shown = faults(&format!(
        "{in_place}[workspace]\nwrite_back = \"never\"\n[[tool]]\nrun = [\"a\"]\nretries = 2\n"
    ));
    assert!(
        shown.contains("devshell.toml:4:14") && shown.contains("devshell.toml:7:11"),
        "{shown}"
    );
    config(&format!("{in_place}[[tool]]\nrun = [\"a\"]\nretries = 0\n"));
    let shown = Project::new(in_place).set("workspace.write_back=never").faults();
    assert!(shown.contains("--> --set workspace.write_back\n"), "{shown}");
}

#[test]
fn nothing_is_concluded_from_a_value_that_is_at_fault() {
    let shown = faults("[vm]\nworkspace_mode = \"gest\"\n[workspace]\ninputs = [\"a\"]\n");
    assert!(shown.ends_with("1 fault in devshell.toml"), "{shown}");
}

#[test]
fn a_file_that_is_no_config_at_all_is_told_in_good_time() {
    let shown = faults(&"= 1\n".repeat(50_000));
    assert!(
        shown.ends_with("faults in devshell.toml; the first 100 are shown"),
        "{}",
        &shown[shown.len() - 200..]
    );
    assert!(faults(&"x".repeat(2 << 20)).contains("longer than 1 MiB"));
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(300))]

    /// Whatever stands in a file, reading it ends with a config or with faults that can be shown.
    #[test]
    fn no_text_is_too_odd(parts in proptest::collection::vec(proptest::sample::select(vec![
        "[vm]", "[[tool]]", "[tool]", "[profile.ci]", "[[profile.ci.tool]]", "[env]", "[", "]", "{", "}", "\n", "\n", "\n", "\r\n",
        "\t", " = ", "=", ",", ".", "\"", "'''", "#", "name", "run", "script", "retries", "when", "vm", "backend", "cwd", "tool",
        "\"x\"", "[\"a\"]", "1", "-1", "0x1F", "1e400", "true", "{ count = 2 }", "\"ü日\"", "\\u0000", "\u{1b}", "\u{feff}", "é",
    ]), 0..40)) {
        let text = parts.concat();
        let project = Project::new(&text).profile("ci");
        if let Err(error) = load(&project.request) {
            let shown = error.to_string();
            proptest::prop_assert!(!shown.contains('\u{1b}') && shown.contains(" fault"), "{shown}");
        }
    }
}
