//! What tools are given that serve somebody else: input, a guarded working folder, signals.

use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::mpsc::Receiver;

use super::*;

fn finish(tool: KeptTool, messages: &Receiver<Message>, cancel: &Cancel) -> (ToolExit, String) {
    let mut stdout = Vec::new();
    let mut on_output = |stream, bytes: Vec<u8>| {
        if stream == Stream::Stdout {
            stdout.extend(bytes);
        }
    };
    let end = supervise(
        Box::new(tool),
        messages,
        &NO_LIMITS,
        cancel,
        &mut on_output,
        &mut |_| (),
    );
    (end.exit, String::from_utf8(stdout).unwrap())
}

fn run_given(keeper: &mut Keeper, request: &SpawnRequest, given: Given) -> (ToolExit, String) {
    let (sender, messages) = sync_channel(16);
    let tool = keeper.spawn_given(request, given, sender).unwrap();
    finish(tool, &messages, &Cancel::new())
}

#[test]
fn a_tool_reads_what_it_is_given_to_its_end() {
    for mut keeper in [best(), plain()] {
        let (reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(b"b\na\n").unwrap();
        drop(writer);
        let given = Given {
            input: Some(reader.as_fd()),
            below: None,
        };
        let (exit, stdout) = run_given(&mut keeper, &request(&["sort"]), given);
        assert_eq!((exit, stdout.as_str()), (ToolExit::Success, "a\nb\n"));
    }
}

#[test]
fn a_working_folder_below_another_is_reached_by_links_that_stay_there_and_by_no_others() {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().canonicalize().unwrap().join("root");
    std::fs::create_dir_all(root.join("a/b")).unwrap();
    std::fs::create_dir(temp.path().join("outside")).unwrap();
    symlink("a/b", root.join("inner")).unwrap();
    symlink("../outside", root.join("out")).unwrap();
    symlink(root.join("a"), root.join("absolute")).unwrap();
    for mut keeper in [best(), plain()] {
        let mut pwd = |below: &str| {
            let mut request = request(&["pwd", "-P"]);
            request.cwd.clone_from(&root);
            let given = Given {
                input: None,
                below: Some(Path::new(below)),
            };
            run_given(&mut keeper, &request, given)
        };
        for (below, wanted) in [("", ""), ("a/b", "/a/b"), ("inner", "/a/b"), ("inner/..", "/a")] {
            let (exit, stdout) = pwd(below);
            assert_eq!(exit, ToolExit::Success, "{below}");
            assert_eq!(stdout.trim_end(), format!("{}{wanted}", root.display()), "{below}");
        }
        for below in ["out", "absolute", "..", "a/../..", "none", "/"] {
            let (exit, _) = pwd(below);
            assert!(matches!(exit, ToolExit::NotExecutable(_)), "{below}: {exit:?}");
        }
    }
}

#[test]
fn a_signal_reaches_the_process_group_of_the_tool() {
    let script = "trap 'echo usr1; exit 3' USR1; echo ready; while :; do sleep 0.05; done";
    for mut keeper in [best(), plain()] {
        let (sender, messages) = sync_channel(16);
        let tool = keeper.spawn(&sh(script), sender).unwrap();
        let signaller = tool.signaller();
        assert!(matches!(messages.recv().unwrap(), Message::Output(Stream::Stdout, bytes) if bytes == b"ready\n"));
        signaller.signal(rustix::process::Signal::USR1.as_raw());
        let (exit, stdout) = finish(tool, &messages, &Cancel::new());
        assert_eq!((exit, stdout.as_str()), (ToolExit::Code(3), "usr1\n"));
        // Too late, and not for the next one.
        signaller.signal(9);
        assert_eq!(run(&mut keeper, &request(&["true"])).exit, ToolExit::Success);
    }
}

#[test]
fn a_wish_to_stop_may_bring_a_grace_of_its_own() {
    let (sender, messages) = sync_channel(16);
    let cancel = Cancel::new();
    cancel.wake(Some(sender.clone()));
    let mut keeper = best();
    let tool = keeper
        .spawn(&sh("trap '' TERM; echo ready; while :; do sleep 0.05; done"), sender)
        .unwrap();
    assert!(matches!(messages.recv().unwrap(), Message::Output(..)));
    let start = std::time::Instant::now();
    cancel.stop_within(Duration::from_millis(100));
    assert_eq!(finish(tool, &messages, &cancel).0, ToolExit::Cancelled);
    assert!(start.elapsed() < NO_LIMITS.grace, "it was the limits' grace");
}
