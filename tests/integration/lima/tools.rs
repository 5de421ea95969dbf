//! Tools in the guest of a scripted limactl, by the resident shell and by the agent.

use std::os::unix::fs::PermissionsExt;

use crate::support::{alive, processes_with, wait_for};

use super::scripted::{Lima, in_each_way, is_carried, script, set_agent};

in_each_way!(
    the_tree_goes_there_and_what_a_tool_changed_comes_back,
    arguments_environment_and_folder_arrive_as_they_are,
    a_tools_own_end_is_told_from_every_other,
    output_is_whole_and_apart_however_much_there_is,
    nothing_that_a_tool_left_survives_it_and_it_is_named,
    a_timeout_ends_everything_in_the_guest_also_what_does_not_listen,
    an_interrupt_ends_the_tool_in_the_guest,
    a_devshell_that_is_killed_leaves_nothing_running_in_the_guest,
    a_connection_that_is_lost_is_75_and_the_tree_is_as_it_was_and_the_result_kept,
    in_guest_mode_inputs_go_in_and_outputs_come_out_byte_by_byte,
    a_guest_that_lacks_a_compiler_is_told_of_it_unless_hints_are_off,
);

fn the_tree_goes_there_and_what_a_tool_changed_comes_back() {
    let lima = Lima::running(&script(
        "test -x keep; rm gone; echo new > made; mkdir -p a/b; ln -s nowhere a/link; chmod 640 mode; rm was; mkdir was",
    ));
    for name in ["keep", "gone", "mode", "was"] {
        lima.project.write(name, name);
    }
    let keep = lima.project.path("keep");
    std::fs::set_permissions(&keep, PermissionsExt::from_mode(0o755)).unwrap();
    lima.run().code(0).says("committed");
    let at = |name: &str| lima.project.path(name);
    assert!(!lima.project.exists("gone") && at("was").is_dir() && at("a/b").is_dir());
    assert_eq!(lima.project.read("made"), "new\n");
    assert_eq!(std::fs::read_link(at("a/link")).unwrap().to_str(), Some("nowhere"));
    assert_eq!(at("mode").metadata().unwrap().permissions().mode() & 0o777, 0o640);
}

fn arguments_environment_and_folder_arrive_as_they_are() {
    let lima = Lima::running(
        "[[tool]]\nname = \"t\"\ncwd = \"sub\"\nrun = [\"sh\", \"-c\", 'printf \"<%s>\" \"$0\" \"$@\" \"$X\"; pwd', \
         \"A=b\", \"it's\", \"two\\nlines\", \"ä\", \"\", \"$HOME\"]\nenv = { X = \"q'\\\"\\n$(id)\" }\n",
    )
    .wrong("motd");
    lima.project.write("sub/f", "");
    let ran = lima.run();
    let out = ran.code(0).out();
    let expected = "<A=b><it's><two\nlines><ä><><$HOME><q'\"\n$(id)>";
    assert!(out.starts_with(expected), "{out}");
    assert!(out.ends_with("/project/sub\n"), "{out}");
    // What a login shell says is not the tool's.
    assert!(
        !out.contains("Welcome") && !ran.stderr.contains("to the guest"),
        "{out}{}",
        ran.stderr
    );
}

fn a_tools_own_end_is_told_from_every_other() {
    for (text, code, says) in [
        ("exit 255", 255, "class=tool"),
        ("exit 137", 137, "class=tool"),
        ("kill -9 $$", 137, "SIGKILL"),
        ("exec nonesuch-program", 127, "class=tool"),
        ("exec >&- 2>&-; exit 3", 3, "class=tool"),
    ] {
        Lima::running(&script(text)).run().code(code).says(says);
    }
    let run = |argv: &str| Lima::running(&format!("[[tool]]\nname = \"t\"\nrun = [{argv}]\n")).run();
    run("\"nonesuch-program\"")
        .code(127)
        .says("was not found in PATH of the guest");
    run("\"/etc/passwd\"").code(126).says("in the guest");
}

fn output_is_whole_and_apart_however_much_there_is() {
    let lima = Lima::running(&script("head -c 3000000 /dev/zero | tr '\\000' x; echo done >&2"));
    let ran = lima.run();
    ran.code(0).says("done");
    assert_eq!(ran.stdout.len(), 3_000_000);
    assert!(ran.stdout.iter().all(|byte| *byte == b'x'));
}

fn nothing_that_a_tool_left_survives_it_and_it_is_named() {
    let mark = format!("98{}", std::process::id());
    let lima = Lima::running(&script(&format!(
        "sleep {mark}1 & env -i setsid sleep {mark}2 & exit 0"
    )));
    let ran = lima.run();
    ran.code(0)
        .says("left 2 processes running")
        .says(&format!("sleep {mark}1"));
    assert!(processes_with(&format!("sleep {mark}")).is_empty());
}

fn a_timeout_ends_everything_in_the_guest_also_what_does_not_listen() {
    let mark = format!("97{}", std::process::id());
    let lima = Lima::running(&format!(
        "[[tool]]\nname = \"t\"\ntimeout = \"3s\"\ngrace_period = \"1s\"\nscript = \"trap '' TERM; setsid sleep {mark} & \
         while :; do sleep {mark}; done\"\n"
    ));
    lima.run().code(124).says("class=timeout");
    wait_for(
        || processes_with(&format!("sleep {mark}")).is_empty(),
        "the tool's processes to end",
    );
}

fn an_interrupt_ends_the_tool_in_the_guest() {
    let mark = format!("96{}", std::process::id());
    let lima = Lima::running("");
    let started = lima.project.beside("started");
    let text = std::fs::read_to_string(lima.project.path("devshell.toml")).unwrap();
    let tool = script(&format!("touch {}; sleep {mark}", started.display()));
    lima.project.write("devshell.toml", text + &tool);
    let running = lima.project.start_until(&["run"], &started);
    running.signal("INT");
    running.end().code(130).says("class=interrupted");
    wait_for(
        || processes_with(&format!("sleep {mark}")).is_empty(),
        "the tool's processes to end",
    );
}

#[test]
fn a_stop_finds_the_tool_also_where_the_sessions_own_connection_is_gone() {
    set_agent("off");
    let mark = format!("93{}", std::process::id());
    let lima = Lima::running("");
    let started = lima.project.beside("started");
    let text = std::fs::read_to_string(lima.project.path("devshell.toml")).unwrap();
    let tool = script(&format!("touch {}; sleep {mark}", started.display()));
    lima.project.write("devshell.toml", text + &tool);
    let running = lima.project.start_until(&["run"], &started);
    // The guest's end of it, stopped and not ended: nothing there notices anything.
    let line: Vec<u32> = processes_with("The resident shell of a session")
        .into_iter()
        .filter(|pid| parent(*pid) == Some(running.child.id()))
        .collect();
    assert_eq!(line.len(), 1);
    let send = |signal: &str| {
        let sent = std::process::Command::new("kill")
            .args(["-s", signal, &line[0].to_string()])
            .status();
        assert!(sent.unwrap().success());
    };
    send("STOP");
    running.signal("TERM");
    let ran = running.end();
    assert!(matches!(ran.status.code(), Some(143 | 75)), "{}", ran.stderr);
    wait_for(
        || processes_with(&format!("sleep {mark}")).is_empty(),
        "the tool's processes to end",
    );
}

fn parent(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()
}

fn a_devshell_that_is_killed_leaves_nothing_running_in_the_guest() {
    let mark = format!("95{}", std::process::id());
    let lima = Lima::running("");
    let started = lima.project.beside("started");
    let text = std::fs::read_to_string(lima.project.path("devshell.toml")).unwrap();
    let tool = script(&format!(
        "touch {}; setsid sleep {mark} & sleep {mark}",
        started.display()
    ));
    lima.project.write("devshell.toml", text + &tool);
    let running = lima.project.start_until(&["run"], &started);
    running.signal("KILL");
    running.end();
    wait_for(
        || processes_with(&format!("sleep {mark}")).is_empty(),
        "the tool's processes to end",
    );
}

fn a_connection_that_is_lost_is_75_and_the_tree_is_as_it_was_and_the_result_kept() {
    let mark = format!("94{}", std::process::id());
    let lima = Lima::running("").wrong("dies");
    let started = lima.project.beside("started");
    let text = std::fs::read_to_string(lima.project.path("devshell.toml")).unwrap();
    let tool = script(&format!("echo new > made; touch {}; sleep {mark}", started.display()));
    lima.project.write("devshell.toml", text + &tool);
    let before = lima.project.tree();
    let running = lima.project.start_until(&["run"], &started);
    let client: u32 = lima.get("client").parse().unwrap();
    assert!(alive(client));
    std::process::Command::new("kill")
        .args(["-KILL", &client.to_string()])
        .status()
        .unwrap();
    let ran = running.end();
    ran.code(75).says("was lost").says("signal");
    // What was carried there is out of reach.
    assert!(is_carried() || !ran.kept().is_empty());
    assert_eq!(lima.project.tree(), before);
    wait_for(
        || processes_with(&format!("sleep {mark}")).is_empty(),
        "the tool's processes to end",
    );
}

fn in_guest_mode_inputs_go_in_and_outputs_come_out_byte_by_byte() {
    let lima = Lima::running(&format!(
        "[workspace]\ninputs = [\"src/**\"]\noutputs = [\"out/\", \"app\"]\n{}",
        script(
            "test ! -e other; mkdir -p out; cat src/* > out/all; printf x > app; chmod 750 app; ln -s nowhere out/link"
        )
    ));
    let bytes: Vec<u8> = (0..=255).cycle().take(150_000).collect();
    lima.project.write("src/a b", &bytes);
    lima.project.write("src/it's\nodd", "odd");
    lima.project.write("other", "");
    let run = || lima.project.devshell(&["run", "--workspace-mode", "guest"]);
    run().code(0);
    let all = std::fs::read(lima.project.path("out/all")).unwrap();
    assert_eq!(all, [bytes.as_slice(), b"odd"].concat());
    assert_eq!(
        lima.project.path("app").metadata().unwrap().permissions().mode() & 0o777,
        0o750
    );
    assert_eq!(
        std::fs::read_link(lima.project.path("out/link")).unwrap().to_str(),
        Some("nowhere")
    );
    // An output that no tool makes, in a guest that still has that of before.
    let set = "workspace.outputs=[\"nonesuch\"]";
    let ran = lima
        .project
        .devshell(&["run", "--workspace-mode", "guest", "--set", set]);
    ran.code(74).says("nonesuch");
}

fn a_guest_that_lacks_a_compiler_is_told_of_it_unless_hints_are_off() {
    let tool = script("echo 'error: linker `cc` not found' >&2; exit 1");
    Lima::running(&tool).run().code(1).says("build-essential");
    let ran = Lima::running(&format!("hints = false\n{tool}")).run();
    assert!(!ran.code(1).stderr.contains("build-essential"), "{}", ran.stderr);
}
