//! `sandbox.host = "ro"`, `writable` and the level `full`.

use super::*;

const RO: &str = "sandbox.host=ro";

#[test]
fn nothing_outside_changes_and_the_result_comes_home() {
    const TEST: &str = "isolation::outside::nothing_outside_changes_and_the_result_comes_home";
    let Some(outside) = Outside::new(TEST) else { return };
    let file = outside.path.join("file");
    for strategy in strategies(TEST) {
        std::fs::write(&file, "old").unwrap();
        let arena = Arena::new(strategy, Places::Same).unwrap();
        arena.project.write("cache/one", "1");
        let own = format!("devshell-own-{}", std::process::id());
        let script = format!(
            "for way in 'echo new >{0}' 'touch {0}' 'chmod 600 {0}' 'rm {0}' 'mkdir {1}/d'; do \
             sh -c \"$way\" && exit 9; done; echo made >made; echo 2 >cache/two; echo x >/dev/null; echo t >/tmp/{2}; \
             echo t >/var/tmp/{2}; cat /tmp/{2}",
            file.display(),
            outside.path.display(),
            own
        );
        let ran = exec(&arena, &[RO, "workspace.cache_dirs=[\"cache/\"]"], &script);
        assert_eq!(ran.code(0).out(), "t\n", "{strategy}");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "old");
        assert_eq!(arena.project.read("made"), "made\n", "{strategy}");
        assert!(!std::path::Path::new("/tmp").join(&own).exists());
        if strategy != "copy" {
            assert_eq!(arena.project.read("cache/two"), "2\n", "{strategy}");
        }
        let level = if strategy == "in_place" { "processes" } else { "full" };
        ran.says(&format!("isolation {level}"));
    }
}

#[test]
fn a_denied_path_is_named_with_the_key_that_opens_it() {
    const TEST: &str = "isolation::outside::a_denied_path_is_named_with_the_key_that_opens_it";
    let Some(outside) = Outside::new(TEST) else { return };
    let place = outside.path.display().to_string();
    let arena = Arena::new("auto", Places::Same).unwrap();
    let script = format!("touch {place}/made");
    let ran = exec(&arena, &[RO], &script);
    ran.code(1)
        .says(&format!("`{place}/made` is outside the workspace and read-only"))
        .says("sandbox.writable");
    let open = format!("sandbox.writable=[\"{place}\"]");
    exec(&arena, &[RO, &open], &script).code(0);
    assert!(outside.path.join("made").exists());
    // What is not there is told of at once, and again when it was needed.
    let gone = format!("sandbox.writable=[\"{place}/gone\"]");
    let ran = exec(&arena, &[RO, &gone], "true");
    ran.code(0).says(&format!("mkdir -p {place}/gone"));
    let ran = exec(&arena, &[RO, &gone], &format!("mkdir {place}/gone"));
    let told = ran.code(1).stderr.matches("mkdir -p").count();
    assert_eq!(told, 2, "{}", ran.stderr);
    assert!(!outside.path.join("gone").exists());
}

#[test]
fn files_by_which_ci_hears_from_a_step_stay_writable() {
    const TEST: &str = "isolation::outside::files_by_which_ci_hears_from_a_step_stay_writable";
    let Some(outside) = Outside::new(TEST) else { return };
    for strategy in strategies(TEST) {
        let arena = Arena::new(strategy, Places::Same).unwrap();
        let (output, summary) = (outside.path.join("output"), arena.project.beside("summary"));
        for file in [&output, &summary] {
            std::fs::write(file, "").unwrap();
        }
        let script = "echo a=1 >>$GITHUB_OUTPUT; echo '# x' >>$GITHUB_STEP_SUMMARY; touch $(dirname $GITHUB_OUTPUT)/x";
        let mut command = exec_command(&arena, &[RO], script);
        command
            .env("GITHUB_OUTPUT", &output)
            .env("GITHUB_STEP_SUMMARY", &summary);
        finish(command).code(1);
        assert_eq!(std::fs::read_to_string(&output).unwrap(), "a=1\n", "{strategy}");
        assert_eq!(
            std::fs::read_to_string(&summary).unwrap(),
            "# x\n",
            "{strategy}: in a private /tmp"
        );
    }
}

#[test]
fn a_folder_for_temporary_files_elsewhere_is_the_tools_own_too() {
    const TEST: &str = "isolation::outside::a_folder_for_temporary_files_elsewhere_is_the_tools_own_too";
    let Some(outside) = Outside::new(TEST) else { return };
    let arena = Arena::new("auto", Places::Same).unwrap();
    let below = arena.project.beside("own-tmp");
    std::fs::create_dir(&below).unwrap();
    for folder in [&outside.path, &below] {
        let mut command = exec_command(&arena, &[RO], "echo x >$TMPDIR/made && mktemp && ls $TMPDIR | wc -l");
        command.env("TMPDIR", folder);
        let ran = finish(command);
        assert!(ran.code(0).out().ends_with("2\n"), "{}", ran.out());
        assert_eq!(std::fs::read_dir(folder).unwrap().count(), 0);
    }
}

#[test]
fn a_retried_tool_finds_the_network_shut_and_its_tmp_as_it_was() {
    const TEST: &str = "isolation::outside::a_retried_tool_finds_the_network_shut_and_its_tmp_as_it_was";
    let Some(outside) = Outside::new(TEST) else { return };
    for strategy in private_strategies(TEST) {
        let arena = Arena::new(strategy, Places::Same).unwrap();
        let place = outside.path.display();
        let script = format!(
            "echo attempt >>trace; echo x >>/tmp/count; touch {place}/x && exit 9; grep -qv -e lo: -e Inter -e face \
             /proc/net/dev && grep -q eth /proc/net/dev && exit 9; test $(wc -l </tmp/count) = 4"
        );
        arena.project.write(
            "devshell.toml",
            format!(
                "[sandbox]\nnetwork = false\nhost = \"ro\"\nrequire = \"full\"\n[[tool]]\nname = \"before\"\n\
                 script = 'echo from before >/tmp/count'\n[[tool]]\nname = \"t\"\nretries = 3\nscript = '''{script}'''\n\
                 [[tool]]\nname = \"after\"\nscript = 'wc -l </tmp/count'\n"
            ),
        );
        let ran = arena.devshell("run", &[]);
        assert_eq!(ran.code(0).out(), "4\n", "{strategy}: {}", ran.stderr);
        assert_eq!(arena.project.read("trace"), "attempt\n", "{strategy}");
        assert_eq!(std::fs::read_dir(&outside.path).unwrap().count(), 0);
    }
}

#[test]
fn a_devshell_inside_works_in_the_same_view_and_the_same_tmp() {
    const TEST: &str = "isolation::outside::a_devshell_inside";
    for strategy in strategies(TEST) {
        let arena = Arena::new(strategy, Places::Same).unwrap();
        let devshell = crate::support::devshell();
        // A program below /tmp would not be there.
        std::fs::copy(devshell, arena.project.path("inner")).unwrap();
        arena.project.write(
            "devshell.toml",
            "[sandbox]\nnetwork = false\nhost = \"ro\"\n[[tool]]\nname = \"outer\"\nscript = 'echo o >/tmp/outer; \
             ./inner run --only inner && cat /tmp/inner made'\n[[tool]]\nname = \"inner\"\nscript = 'cat /tmp/outer; \
             echo i >/tmp/inner; echo m >made; touch /etc/devshell-test 2>/dev/null && exit 9; exit 0'\n",
        );
        let ran = arena.devshell("run", &["--only", "outer"]);
        assert_eq!(ran.code(0).out(), "o\ni\nm\n", "{strategy}: {}", ran.stderr);
        assert_eq!(arena.project.read("made"), "m\n", "{strategy}");
        ran.says("host, in_place");
    }
}

#[test]
fn the_level_full_is_asked_for_reached_and_told() {
    const TEST: &str = "isolation::outside::the_level_full";
    for strategy in private_strategies(TEST) {
        let arena = Arena::new(strategy, Places::Same).unwrap();
        arena.project.write(
            "devshell.toml",
            "[sandbox]\nhost = \"ro\"\nrequire = \"full\"\n[[tool]]\nname = \"t\"\nrun = [\"true\"]\n",
        );
        let ran = arena.devshell("run", &["--output", "json"]);
        let ready = ran.code(0).out();
        let ready = ready.lines().find(|line| line.contains("session_ready")).unwrap();
        assert!(ready.contains("\"isolation\":\"full\""), "{ready}");
        let plan = arena.devshell("plan", &[]).out();
        assert!(
            plan.contains("required: full") && plan.contains("outside the workspace: read-only"),
            "{plan}"
        );
    }
}

#[test]
fn make_shares_its_job_slots_with_a_make_inside() {
    const TEST: &str = "isolation::outside::make_shares_its_job_slots";
    if !has("make") {
        return not_run(TEST, "no make here");
    }
    let arena = Arena::new("auto", Places::Same).unwrap();
    let inner = "all: a b\na b:\n\t@echo $@ >$@\n";
    arena.project.write("inner.mk", inner);
    let devshell = crate::support::devshell();
    arena.project.write(
        "Makefile",
        format!(
            "all:\n\t+@{} exec --set sandbox.host=ro --set sandbox.network=false -- $(MAKE) -f inner.mk\n",
            devshell.display()
        ),
    );
    let mut make = arena.project.program("make");
    make.arg("-j3");
    let ran = finish(make);
    ran.code(0);
    assert!(!ran.stderr.contains("jobserver"), "{}", ran.stderr);
    assert_eq!(arena.project.read("a"), "a\n");
}

#[test]
fn the_fifo_of_makes_job_slots_is_passed_through() {
    const TEST: &str = "isolation::outside::the_fifo_of_makes_job_slots";
    if !has("mkfifo") {
        return not_run(TEST, "no mkfifo here");
    }
    for strategy in strategies(TEST) {
        let arena = Arena::new(strategy, Places::Same).unwrap();
        let fifo = arena.project.beside("GMfifo");
        assert!(
            std::process::Command::new("mkfifo")
                .arg(&fifo)
                .status()
                .unwrap()
                .success()
        );
        let mut reader = std::fs::File::options().read(true).write(true).open(&fifo).unwrap();
        // As make does since 4.4, whose FIFO lies in /tmp.
        let script = "fifo=${MAKEFLAGS#*fifo:}; test -p $fifo && printf + >$fifo";
        let mut command = exec_command(&arena, &[RO], script);
        command.env("MAKEFLAGS", format!(" -j3 --jobserver-auth=fifo:{}", fifo.display()));
        finish(command).code(0);
        let mut token = [0_u8; 1];
        std::io::Read::read_exact(&mut reader, &mut token).unwrap();
        assert_eq!(&token, b"+", "{strategy}");
    }
}
