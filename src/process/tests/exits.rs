//! How tools start and end.

use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::*;

fn script(path: &Path, text: &str, mode: u32) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn not_executable(ran: &Ran) -> &str {
    match &ran.exit {
        ToolExit::NotExecutable(why) => why,
        exit => panic!("{exit:?}"),
    }
}

fn not_found(ran: &Ran) -> &str {
    match &ran.exit {
        ToolExit::NotFound(why) => why,
        exit => panic!("{exit:?}"),
    }
}

#[test]
fn exit_codes_and_signals_come_out_as_they_are() {
    for mut keeper in [best(), plain()] {
        for code in [0, 1, 2, 77, 125, 126, 127, 128, 130, 254, 255] {
            let expected = if code == 0 {
                ToolExit::Success
            } else {
                ToolExit::Code(code)
            };
            assert_eq!(run(&mut keeper, &sh(&format!("exit {code}"))).exit, expected);
        }
        for signal in [1, 2, 3, 6, 9, 11, 13, 15, 34, 64] {
            let ran = run(&mut keeper, &sh(&format!("ulimit -c 0; kill -{signal} $$")));
            assert_eq!(ran.exit, ToolExit::Signal(signal));
        }
    }
}

/// Runs `check` with a keeper in namespaces, where they can be had, and with one without.
fn in_each(check: impl Fn(&mut Keeper)) {
    check(&mut best());
    check(&mut plain());
}

#[test]
fn a_missing_program_is_told_with_what_was_searched() {
    in_each(|keeper| {
        let mut nowhere = request(&["no-such-tool", "x"]);
        nowhere.env = vec![("PATH".into(), "/nowhere:/usr/bin".into())];
        let ran = run(keeper, &nowhere);
        assert_eq!(
            not_found(&ran),
            "`no-such-tool` was not found in PATH (/nowhere:/usr/bin)"
        );
        assert!(ran.stdout.is_empty() && !ran.end.leaked);
        assert_eq!(
            not_found(&run(keeper, &request(&["/no/such/tool"]))),
            "`/no/such/tool` does not exist"
        );
        let relative = run(keeper, &request(&["bin/nothing"]));
        assert_eq!(not_found(&relative), "`bin/nothing` does not exist (looked for in `/`)");
        assert_eq!(
            not_found(&run(keeper, &request(&[""]))),
            "the name of the program is empty"
        );
        let below_file = run(keeper, &request(&["/etc/passwd/x"]));
        assert_eq!(not_found(&below_file), "`/etc/passwd/x` does not exist");
    });
}

#[test]
fn a_working_folder_that_cannot_be_entered_is_named() {
    let place = tempfile::tempdir().unwrap();
    in_each(|keeper| {
        let mut gone = sh("true");
        gone.cwd = place.path().join("gone");
        let words = format!("working folder `{}` does not exist", gone.cwd.display());
        assert_eq!(not_executable(&run(keeper, &gone)), words);
        gone.cwd = PathBuf::from("/etc/passwd");
        assert_eq!(
            not_executable(&run(keeper, &gone)),
            "working folder `/etc/passwd` is not a folder"
        );
    });
    let (sender, _receiver) = sync_channel(1);
    let relative = SpawnRequest {
        cwd: "x".into(),
        ..sh("true")
    };
    assert_eq!(
        plain().spawn(&relative, sender).unwrap_err().kind(),
        std::io::ErrorKind::InvalidInput
    );
}

#[test]
fn what_exists_and_cannot_be_executed_is_not_called_missing() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    script(&at("plain"), "echo no", 0o644);
    script(&at("lost"), "#!/no/such/interpreter -x\n", 0o755);
    script(&at("dos"), "#!/bin/sh\r\necho\r\n", 0o755);
    script(&at("binary"), "\x7fELF\x02\0\0\0garbage", 0o755);
    fs::create_dir(at("folder")).unwrap();
    in_each(|keeper| {
        for (name, words) in [
            ("plain", "is not executable (chmod +x)"),
            (
                "lost",
                "needs the interpreter `/no/such/interpreter`, which does not exist",
            ),
            (
                "dos",
                "needs the interpreter `/bin/sh\\r`, which does not exist: its lines end with CR LF",
            ),
            (
                "binary",
                "is in no format that this system can execute (built for another kind of machine?)",
            ),
            ("folder", "is a folder"),
        ] {
            let expected = format!("`{}` {words}", at(name).display());
            let direct = at(name).into_os_string().into_string().unwrap();
            assert_eq!(not_executable(&run(keeper, &request(&[&direct]))), expected);
            let mut searched = request(&[name]);
            searched.env = vec![("PATH".into(), place.path().into())];
            assert_eq!(not_executable(&run(keeper, &searched)), expected, "through PATH");
        }
    });
}

#[test]
fn the_search_goes_on_behind_what_cannot_be_executed() {
    let place = tempfile::tempdir().unwrap();
    let (first, second) = (place.path().join("1"), place.path().join("2"));
    fs::create_dir_all(first.join("tool")).unwrap();
    fs::create_dir_all(&second).unwrap();
    script(&second.join("tool"), "#!/bin/sh\necho second", 0o755);
    script(&place.path().join("here"), "#!/bin/sh\necho here", 0o755);
    in_each(|keeper| {
        let mut searched = request(&["tool"]);
        searched.env = vec![("PATH".into(), std::env::join_paths([&first, &second]).unwrap())];
        assert_eq!(run(keeper, &searched).stdout, b"second\n");
        for (program, path) in [("here", "/nowhere:"), ("./here", "/nowhere"), ("here", ".")] {
            let mut relative = request(&[program]);
            relative.cwd = place.path().to_owned();
            relative.env = vec![("PATH".into(), path.into())];
            assert_eq!(run(keeper, &relative).stdout, b"here\n", "{program} in {path}");
        }
    });
}

#[test]
fn a_script_without_a_first_line_is_for_the_shell() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("-plain script");
    script(&file, "echo \"$#:$1:$0\"", 0o755);
    in_each(|keeper| {
        let mut asked = request(&[file.to_str().unwrap(), "a b"]);
        asked.argv.push("".into());
        let ran = run(keeper, &asked);
        assert_eq!(
            String::from_utf8(ran.stdout).unwrap(),
            format!("2:a b:{}\n", file.display())
        );
    });
}

#[test]
fn bytes_of_arguments_and_variables_arrive_as_they_are() {
    let odd = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
    in_each(|keeper| {
        let mut asked = sh(r#"printf '%s|' "$@"; printf %s "$VALUE""#);
        asked
            .argv
            .extend([odd(b"0"), odd(b"\xff\xfe\n"), odd(b""), odd(b"-n x")]);
        asked.env.push(("VALUE".into(), odd(b"\x80=\xc3")));
        assert_eq!(run(keeper, &asked).stdout, b"\xff\xfe\n||-n x|\x80=\xc3");
    });
}

#[test]
fn the_environment_is_exactly_what_was_asked_for() {
    in_each(|keeper| {
        let mut asked = request(&["/usr/bin/env"]);
        asked.env = vec![("B".into(), "2".into()), ("A".into(), "".into())];
        assert_eq!(run(keeper, &asked).stdout, b"B=2\nA=\n");
    });
}

#[test]
fn arguments_of_a_megabyte_arrive_and_too_many_are_explained() {
    in_each(|keeper| {
        let mut long = sh(r#"printf %s "$*" | wc -c"#);
        long.argv
            .extend(std::iter::repeat_n(OsString::from("x".repeat(64 * 1024 - 1)), 17));
        let ran = run(keeper, &long);
        assert_eq!(
            String::from_utf8(ran.stdout).unwrap().trim(),
            (16 * 64 * 1024 - 1).to_string()
        );
        long.argv
            .extend(std::iter::repeat_n(OsString::from("x".repeat(64 * 1024)), 200));
        let ran = run(keeper, &long);
        assert!(not_executable(&ran).contains("getconf ARG_MAX"), "{:?}", ran.exit);
    });
}

#[test]
fn a_nul_byte_is_refused_and_the_keeper_goes_on() {
    let mut keeper = plain();
    let mut asked = request(&["echo", "a\0b"]);
    assert_eq!(not_executable(&run(&mut keeper, &asked)), "argument 1 holds a NUL byte");
    asked.argv[1] = "ab".into();
    asked.env.push(("X".into(), "\0".into()));
    assert_eq!(
        not_executable(&run(&mut keeper, &asked)),
        "variable `X` holds a NUL byte"
    );
    assert_eq!(run(&mut keeper, &request(&["echo", "ab"])).stdout, b"ab\n");
}

#[test]
fn tools_start_with_a_clean_slate() {
    in_each(|keeper| {
        let script = "grep -E '^Sig(Blk|Ign)' /proc/self/status; readlink /proc/self/fd/0; ps -o sid= -p $$; echo $$";
        let text = String::from_utf8(run(keeper, &sh(script)).stdout).unwrap();
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        assert_eq!(lines[0], "SigBlk:\t0000000000000000");
        let ignored = u64::from_str_radix(lines[1].strip_prefix("SigIgn:\t").unwrap(), 16).unwrap();
        assert_eq!(ignored & (1 << (libc::SIGPIPE - 1)), 0, "a broken pipe ends a tool");
        assert_eq!(lines[2], "/dev/null");
        assert_eq!(lines[3], lines[4], "a session of its own");
    });
}
