//! devshell with a terminal, made by Python's `pty`.

use crate::support::{Project, Ran, devshell, finish, has, not_run};

/// Runs its arguments on a new terminal of 33 lines and 111 columns, copies what comes to stdout,
/// types Ctrl-C once `MARKER` is there, and ends with the program's exit code.
const TERMINAL: &str = r#"
import fcntl, os, pty, struct, sys, termios, time
pid, terminal = pty.fork()
if pid == 0:
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 111, 0, 0))
    os.execv(sys.argv[1], sys.argv[1:])
marker = os.environ.get("MARKER")
if marker:
    while not os.path.exists(marker):
        time.sleep(0.01)
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
