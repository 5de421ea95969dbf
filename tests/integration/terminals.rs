//! devshell with a terminal, made by Python's `pty`.

use crate::support::{Project, Ran, devshell, finish, has, not_run};

/// Runs its arguments on a new terminal of 33 lines and 111 columns, or of the size `SIZE`, copies
/// what comes to stdout, types Ctrl-C (or with `CLOSE` hangs up) once `MARKER` is there, and ends with
/// the program's exit code.
const TERMINAL: &str = r#"
import fcntl, os, pty, struct, sys, termios, time
pid, terminal = pty.fork()
if pid == 0:
    lines, columns = map(int, os.environ.pop("SIZE", "33 111").split())
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    os.execv(sys.argv[1], sys.argv[1:])
marker = os.environ.get("MARKER")
if marker:
    while not os.path.exists(marker):
        time.sleep(0.01)
    if os.environ.get("CLOSE"):
        os.close(terminal)
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) % 256)
    os.write(terminal, b"\x03")
while True:
    try:
        data = os.read(terminal, 65536)
    except OSError:
        break
    if not data:
        break
    os.write(1, data)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) % 256)
"#;

fn on_a_terminal(project: &Project, args: &[&str], marker: Option<&std::path::Path>) -> Ran {
    let mut command = project.program("python3");
    command.args(["-c", TERMINAL]).arg(devshell()).args(args);
    if let Some(marker) = marker {
        command.env("MARKER", marker);
    }
    finish(command)
}

#[test]
fn a_program_sees_the_size_of_the_callers_terminal() {
    if !has("python3") {
        return not_run("terminals::size", "needs python3");
    }
    let project = Project::new("");
    let ran = on_a_terminal(&project, &["exec", "--", "stty", "size"], None);
    assert!(ran.out().contains("33 111"), "{}", ran.out());
    ran.code(0);
}

#[test]
fn ctrl_c_reaches_devshell_alone_which_asks_the_tool_once() {
    if !has("python3") {
        return not_run("terminals::ctrl_c", "needs python3");
    }
    for strategy in ["overlay", "copy", "in_place"] {
        let project = Project::new("");
        let (log, marker) = (project.beside("log"), project.beside("started"));
        let script = format!(
            "trap 'echo INT >>{0}' INT; trap 'echo TERM >>{0}; exit 0' TERM; touch {1}; while :; do sleep 0.05; done",
            log.display(),
            marker.display()
        );
        project.write(
            "devshell.toml",
            format!("[vm.host]\nstrategy = \"{strategy}\"\n[[tool]]\nname = \"t\"\nscript = '''{script}'''\n"),
        );
        let ran = on_a_terminal(&project, &["run"], Some(&marker));
        ran.code(130);
        assert_eq!(std::fs::read_to_string(&log).unwrap(), "TERM\n", "{strategy}");
    }
}

#[test]
fn a_prompt_on_the_terminal_fails_and_does_not_hang() {
    if !has("python3") {
        return not_run("terminals::prompt", "needs python3");
    }
    let project = Project::new("[[tool]]\nname = \"t\"\nscript = \"read answer </dev/tty || exit 9\"\n");
    let ran = on_a_terminal(&project, &["run"], None);
    assert!(matches!(ran.status.code(), Some(1 | 2 | 9)), "{}", ran.out());
}

/// A run whose tools are quiet for a while, so that there is something to show.
const SLOW: &str = r#"
[[tool]]
name = "quick"
run = ["true"]
[[tool]]
name = "slow"
script = "echo from the tool; sleep 1.5; printf '\\033[31mred\\033[0m unfinished'; sleep 0.7; echo; echo err >&2"
[[tool]]
name = "fails"
script = "sleep 0.5; exit 7"
"#;

fn shown(project: &Project, args: &[&str], size: (u16, u16), env: &[(&str, &str)]) -> (Ran, String) {
    let ran = of_size(project, args, size, env);
    let [columns, lines] = [size.0, 500].map(|number| std::num::NonZeroU16::new(number).unwrap());
    let mut screen = vt100::Parser::new(lines, columns, 0);
    screen.process(&ran.stdout);
    let shown = screen.screen().contents();
    (ran, shown)
}

fn of_size(project: &Project, args: &[&str], size: (u16, u16), env: &[(&str, &str)]) -> Ran {
    let mut command = project.program("python3");
    command.args(["-c", TERMINAL]).arg(devshell()).args(args);
    command
        .env("SIZE", format!("{} {}", size.1, size.0))
        .env("TERM", "xterm");
    command.envs(env.iter().copied());
    finish(command)
}

#[test]
fn the_live_view_comes_and_leaves_nothing_behind() {
    if !has("python3") {
        return not_run("terminals::view", "needs python3");
    }
    for columns in [20, 40, 80, 200] {
        let project = Project::new(SLOW);
        let (ran, shown) = shown(&project, &["run"], (columns, 24), &[("NO_COLOR", "1")]);
        ran.code(7);
        let bytes = ran.out();
        let mark = if columns < 60 { "> slow" } else { "running" };
        assert!(
            bytes.contains(mark) && bytes.contains("1/3  "),
            "{columns}: it was there: {bytes:?}"
        );
        let text = shown.replace('\n', "");
        assert!(
            !text.contains("waiting fails") && !text.contains("1/3  "),
            "{columns}: it is gone:\n{shown}"
        );
        let in_order = [
            "from the tool",
            "red unfinished",
            "errdevshell: [2/3] slow ok",
            "error: `fails` failed",
            "class=tool",
        ];
        let places: Vec<usize> = in_order
            .iter()
            .map(|part| text.find(part).unwrap_or_else(|| panic!("{part}: {shown}")))
            .collect();
        assert!(places.is_sorted(), "{columns}:\n{shown}");
    }
}

#[test]
fn what_cannot_be_moved_or_coloured_is_not() {
    if !has("python3") {
        return not_run("terminals::plain", "needs python3");
    }
    let project = Project::new("[[tool]]\nname = \"t\"\nscript = \"sleep 0.5\"\n");
    let sequences = |env: &[(&str, &str)], args: &[&str]| {
        let args: Vec<&str> = ["run"].iter().chain(args).copied().collect();
        let (ran, _) = shown(&project, &args, (80, 24), env);
        let out = ran.code(0).out();
        (out.contains("\x1b[J"), out.contains("\x1b[32m"))
    };
    assert_eq!(sequences(&[], &[]), (true, true), "a view and colours");
    assert_eq!(sequences(&[("NO_COLOR", "1")], &[]), (true, false));
    assert_eq!(
        sequences(&[("TERM", "dumb")], &["--output", "terminal"]),
        (false, false)
    );
    assert_eq!(sequences(&[], &["--output", "plain"]), (false, false));
    // Never on a pipe; colours there only by force.
    let piped = |env: &[(&str, &str)], output: &str| {
        let mut command = project.command(["run", "--output", output]);
        command.env("TERM", "xterm").envs(env.iter().copied());
        let stderr = finish(command).code(0).stderr.clone();
        (stderr.contains("\x1b[J"), stderr.contains("\x1b[32m"))
    };
    assert_eq!(piped(&[], "terminal"), (false, false));
    assert_eq!(piped(&[("CLICOLOR_FORCE", "1")], "auto"), (false, true));
    assert!(!piped(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], "auto").0);
}

#[test]
fn a_tool_that_reads_the_terminal_is_not_disturbed_by_a_view() {
    if !has("python3") {
        return not_run("terminals::exec", "needs python3");
    }
    let project = Project::new("");
    let (ran, _) = shown(&project, &["exec", "--", "sh", "-c", "sleep 0.5"], (80, 24), &[]);
    assert!(!ran.code(0).out().contains("\x1b[J"), "{:?}", ran.out());
}

#[test]
fn a_terminal_that_goes_away_ends_the_run_as_a_hangup() {
    if !has("python3") {
        return not_run("terminals::hangup", "needs python3");
    }
    let project = Project::new("");
    let marker = project.beside("started");
    let toml = |then: &str| {
        format!(
            "[[tool]]\nname = \"t\"\nscript = \"echo x >made; touch {}; {then}\"\n",
            marker.display()
        )
    };
    let run = |program: &[&str]| {
        let mut command = project.program("python3");
        command.args(["-c", TERMINAL]).args(program);
        command.env("TERM", "xterm").env("MARKER", &marker).env("CLOSE", "1");
        let ran = finish(command);
        std::fs::remove_file(&marker).unwrap();
        ran
    };
    let (shell, devshell) = ("/bin/sh", devshell());
    let devshell = devshell.to_str().unwrap();
    // Loud or silent, it is the hangup that ends it.
    for then in ["sleep 300", "while :; do echo x; sleep 0.01; done"] {
        project.write("devshell.toml", toml(then));
        let before = project.tree();
        run(&[devshell, "run"]).code(129);
        assert_eq!(project.tree(), before);
    }
    // Who has hangups ignored wants the run to go on without its terminal.
    project.write("devshell.toml", toml("sleep 1; echo more; sleep 1"));
    run(&[shell, "-c", "trap '' HUP; exec \"$0\" run", devshell]).code(0);
    assert!(project.exists("made"));
}

#[test]
fn ctrl_c_under_a_view_is_answered_above_it() {
    if !has("python3") {
        return not_run("terminals::view_ctrl_c", "needs python3");
    }
    let project = Project::new("");
    let marker = project.beside("started");
    let script = format!(
        "trap 'sleep 0.5; exit 0' TERM; sleep 0.5; touch {}; while :; do sleep 0.05; done",
        marker.display()
    );
    project.write(
        "devshell.toml",
        format!("[[tool]]\nname = \"t\"\nscript = \"\"\"{script}\"\"\"\n[[tool]]\nname = \"u\"\nrun = [\"true\"]\n"),
    );
    let mut command = project.program("python3");
    command.args(["-c", TERMINAL]).arg(devshell()).arg("run");
    command.env("TERM", "xterm").env("NO_COLOR", "1").env("MARKER", &marker);
    let ran = finish(command);
    ran.code(130);
    let mut screen = vt100::Parser::new(33.try_into().unwrap(), 111.try_into().unwrap(), 0);
    screen.process(&ran.stdout);
    let shown = screen.screen().contents();
    let text = shown.replace('\n', "");
    assert!(ran.out().contains("running t"), "the view was there: {shown}");
    assert!(
        text.contains("interrupted by SIGINT: `t` and what it started were asked to end"),
        "{shown}"
    );
    assert!(text.contains("a second Ctrl-C kills them at once"), "{shown}");
    assert!(!text.contains("waiting u"), "the view is gone: {shown}");
}

/// Writes letters of its own to each stream, in pieces of any size, with pauses.
const LOUD: &str = r#"
import os, random, sys, time
tool = int(sys.argv[1])
dice = random.Random(tool)
for piece in range(60):
    for stream, letters in (1, "αβγδεζηθικ"), (2, "абвгдежзий"):
        text = "".join(letters[int(digit)] for digit in "%04d%04d" % (tool, piece))
        text *= dice.choice((1, 1, 10, 300))
        os.write(stream, (text + dice.choice(("\n", "\n", "\n", ""))).encode())
    if piece in (20, 40):
        time.sleep(0.25)
os.write(1, b"\n")
os.write(2, b"\n")
"#;

#[test]
fn many_loud_tools_lose_and_mix_nothing_under_a_live_view() {
    if !has("python3") {
        return not_run("terminals::loud", "needs python3");
    }
    let project = Project::new("");
    let script = project.beside("loud.py");
    std::fs::write(&script, LOUD).unwrap();
    let mut toml = String::new();
    let mut expected = [String::new(), String::new()];
    let letters = |text: &str, first: char, last: char| -> String {
        text.chars().filter(|char| (first..=last).contains(char)).collect()
    };
    let streams = [('α', 'κ'), ('а', 'й')];
    for tool in 0..12 {
        let (script, number) = (script.to_str().unwrap(), tool.to_string());
        toml += &format!("[[tool]]\nname = \"t{tool}\"\nrun = [\"python3\", \"{script}\", \"{number}\"]\n");
        let alone = std::process::Command::new("python3")
            .args([script, &number])
            .output()
            .unwrap();
        for (expected, (bytes, (first, last))) in expected
            .iter_mut()
            .zip([alone.stdout, alone.stderr].iter().zip(streams))
        {
            expected.push_str(&letters(std::str::from_utf8(bytes).unwrap(), first, last));
        }
    }
    project.write("devshell.toml", toml);
    let ran = of_size(&project, &["run"], (100, 24), &[("NO_COLOR", "1")]);
    let out = ran.code(0).out();
    // The view shows some of the letters again: from where it begins to where it is erased.
    let mut told = String::new();
    let mut rest = out.as_str();
    let begins = |text: &str| {
        let is_view = |at: &usize| !text[at + 1..].trim_start_matches('\r').starts_with('\n');
        text.match_indices('\r').map(|(at, _)| at).find(is_view)
    };
    let mut views = 0;
    while let Some(at) = begins(rest) {
        told.push_str(&rest[..at]);
        let end = rest[at..].find("\x1b[J").unwrap_or_else(|| panic!("{:?}", &rest[at..]));
        rest = &rest[at + end + "\x1b[J".len()..];
        views += 1;
    }
    told.push_str(rest);
    assert!(views > 1, "there was a view to disturb it");
    for (expected, (first, last)) in expected.iter().zip(streams) {
        assert!(
            letters(&told, first, last) == *expected,
            "{first}: {} letters",
            expected.len()
        );
    }
    let piped = project.run();
    for (expected, (text, (first, last))) in expected
        .iter()
        .zip([piped.out(), piped.stderr.clone()].iter().zip(streams))
    {
        assert!(
            letters(text, first, last) == *expected,
            "{first}: {} letters",
            expected.len()
        );
    }
}
