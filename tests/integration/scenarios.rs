//! What people do with a workspace while devshell works in it, for every strategy with a private view.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{
    Arena, Killed, Places, Running, devshell, has, not_run, private_strategies, python, sure, tree, wait_for,
};

fn arena(strategy: &'static str) -> Arena {
    Arena::new(strategy, Places::Same).unwrap()
}

#[test]
fn an_editor_that_saves_what_a_tool_writes_is_a_conflict_however_it_saves() {
    let ways = [
        ("in place", "echo edited > file"),
        ("by a rename over", "echo edited > .file.swp; mv .file.swp file"),
        ("anew", "rm file; echo edited > file"),
        ("with a backup", "mv file file~; echo edited > file"),
        (
            "with the old time",
            "touch -r file stamp; echo EDITED > file; touch -r stamp file",
        ),
        ("as a link", "ln -sf elsewhere file"),
    ];
    let tools = [
        "echo tool > file",
        "rm file; echo tool > file",
        "rm file",
        "chmod 700 file",
    ];
    for strategy in private_strategies("an_editor_that_saves_what_a_tool_writes") {
        for (number, (way, save)) in ways.iter().enumerate() {
            let tool = tools[number % tools.len()];
            let arena = arena(strategy);
            arena.project.write("file", "origin\n");
            let (pause, marker, go) = arena.project.pause();
            let script = format!("{tool}; echo made > made; {pause}");
            let child = arena.command("exec", &["--", "sh", "-c", &script]).spawn().unwrap();
            let running = Running { child };
            wait_for(|| marker.exists(), "the tool");
            sure(&arena.project.root, "sh", &["-c", save]);
            let edited = arena.project.tree();
            std::fs::write(&go, "").unwrap();
            let ran = running.end();
            ran.code(73).says("conflict: file");
            let difference = arena.project.tree().same_as(&edited);
            difference.unwrap_or_else(|difference| panic!("{strategy}, {way}, {tool}: {difference}"));
            assert!(arena.results(&["diff", ran.kept()]).code(0).out().contains("A made"));
        }
    }
}

#[test]
fn an_editor_that_saves_other_files_is_no_matter_however_it_saves() {
    let ways = [
        ("in place", "echo edited > dir/yours"),
        ("by a rename over", "echo edited > dir/.swp; mv dir/.swp dir/yours"),
        ("anew", "rm dir/yours; echo edited > dir/yours"),
        (
            "beside",
            "mkdir other; echo edited > other/new; echo edited > dir/yours",
        ),
    ];
    for strategy in private_strategies("an_editor_that_saves_other_files") {
        for (way, save) in ways {
            let arena = arena(strategy);
            for path in ["dir/mine", "dir/yours", "dir/sub/read"] {
                arena.project.write(path, "origin\n");
            }
            let (pause, marker, go) = arena.project.pause();
            let script = format!("cat dir/sub/read dir/yours; echo tool > dir/mine; echo tool > dir/sub/new; {pause}");
            let child = arena.command("exec", &["--", "sh", "-c", &script]).spawn().unwrap();
            let running = Running { child };
            wait_for(|| marker.exists(), "the tool");
            sure(&arena.project.root, "sh", &["-c", save]);
            std::fs::write(&go, "").unwrap();
            let ran = running.end();
            assert_eq!(ran.status.code(), Some(0), "{strategy}, {way}:\n{}", ran.stderr);
            assert_eq!(arena.project.read("dir/yours"), "edited\n", "{strategy}, {way}");
            assert_eq!(arena.project.read("dir/mine"), "tool\n", "{strategy}, {way}");
            assert_eq!(arena.project.read("dir/sub/new"), "tool\n", "{strategy}, {way}");
        }
    }
}

#[test]
fn runs_started_together_each_see_what_the_one_before_committed() {
    for strategy in private_strategies("runs_started_together") {
        let arena = arena(strategy);
        arena.project.write("count", "0\n");
        let add = "n=$(cat count); sleep 0.1; echo $((n + 1)) > count; touch made$n";
        let runs: Vec<Running> = (0..5)
            .map(|_| Running {
                child: arena.command("exec", &["--", "sh", "-c", add]).spawn().unwrap(),
            })
            .collect();
        for run in runs {
            run.end().code(0);
        }
        assert_eq!(arena.project.read("count"), "5\n", "{strategy}");
        assert!((0..5).all(|n| arena.project.exists(format!("made{n}"))), "{strategy}");
    }
}

#[test]
fn a_devshell_in_a_view_works_there_or_in_a_workspace_of_its_own() {
    for strategy in private_strategies("a_devshell_in_a_view") {
        for inner in ["copy", "in_place", "auto"] {
            let arena = arena(strategy);
            arena.project.write("file", "origin\n");
            let program = devshell();
            let script = format!(
                "'{}' exec --set vm.host.strategy={inner} -- sh -c 'echo inner >> file' && test \"$(tail -n 1 file)\" = \
                 inner && test ! -e fail",
                program.display()
            );
            arena.project.write("fail", "");
            arena.devshell("exec", &["--", "sh", "-c", &script]).code(1);
            assert_eq!(arena.project.read("file"), "origin\n", "{strategy} around {inner}");
            std::fs::remove_file(arena.project.path("fail")).unwrap();
            arena.devshell("exec", &["--", "sh", "-c", &script]).code(0);
            assert_eq!(
                arena.project.read("file"),
                "origin\ninner\n",
                "{strategy} around {inner}"
            );
        }
        // Another workspace is none of the outer run's: its commit is there at once, and stays.
        let arena = arena(strategy);
        let other = arena.project.beside("other");
        std::fs::create_dir(&other).unwrap();
        let script = format!(
            "cd '{}' && '{}' exec -- sh -c 'echo inner > made; pwd' && test -e made; exit 3",
            other.display(),
            devshell().display()
        );
        let ran = arena.devshell("exec", &["--", "sh", "-c", &script]);
        assert_eq!(ran.code(3).out().trim_end(), other.to_str().unwrap(), "{strategy}");
        assert_eq!(
            std::fs::read_to_string(other.join("made")).unwrap(),
            "inner\n",
            "{strategy}"
        );
    }
}

#[test]
fn a_folder_that_became_a_link_comes_back_as_the_link_and_nothing_is_read_through_it() {
    for strategy in private_strategies("a_folder_that_became_a_link") {
        for target in ["/etc", "..", ".", "../outside", "dir"] {
            let arena = arena(strategy);
            let outside = arena.project.beside("outside");
            std::fs::create_dir_all(outside.join("dir")).unwrap();
            // The names that the workspace has, so that a step through the link would find something.
            for path in ["passwd", "file", "dir/file"] {
                arena.project.write(format!("dir/{path}"), "inside\n");
                std::fs::write(outside.join(path), "outside\n").unwrap();
            }
            let before = tree(&outside);
            let replace = format!("echo new > dir/file; rm -r dir; ln -s '{target}' dir");
            // A result that is kept does not hold what the link shows either.
            let ran = arena.devshell("exec", &["--write-back", "never", "--", "sh", "-c", &replace]);
            let kept = arena.results(&["diff", ran.code(0).kept()]);
            let content = |line: &str| line.strip_prefix(['+', '-', ' ']).is_some_and(|line| line == "outside");
            assert!(!kept.code(0).out().lines().any(content), "{}", kept.out());
            arena.devshell("exec", &["--", "sh", "-c", &replace]).code(0);
            assert_eq!(
                std::fs::read_link(arena.project.path("dir")).unwrap(),
                Path::new(target)
            );
            tree(&outside).same_as(&before).unwrap();
            // And back, with the link still there while the tool works.
            let back = "rm dir; mkdir dir; echo back > dir/file; echo back > dir/passwd";
            arena.devshell("exec", &["--", "sh", "-c", back]).code(0);
            assert_eq!(arena.project.read("dir/file"), "back\n", "{strategy} {target}");
            tree(&outside).same_as(&before).unwrap();
        }
    }
}

/// Exchanges a folder and a link, as fast as it can.
const SWAPPER: &str = r#"
import ctypes, sys
libc = ctypes.CDLL(None)
while True:
    libc.renameat2(-100, b"dir", -100, b"link", 2)
"#;

#[test]
fn a_folder_exchanged_for_a_link_all_the_time_leads_no_commit_and_no_copy_outside() {
    let test = "a_folder_exchanged_for_a_link";
    if !has("python3") {
        return not_run(test, "no python3 here");
    }
    for strategy in private_strategies(test) {
        let arena = arena(strategy);
        let outside = arena.project.beside("outside");
        std::fs::create_dir_all(outside.join("sub")).unwrap();
        arena.project.write("dir/sub/f0", "inside\n");
        for i in 0..20 {
            std::fs::write(outside.join(format!("f{i}")), "the canary\n").unwrap();
            std::fs::write(outside.join(format!("sub/f{i}")), "the canary\n").unwrap();
            arena.project.write(format!("dir/f{i}"), "inside\n");
        }
        std::os::unix::fs::symlink(&outside, arena.project.path("link")).unwrap();
        let before = tree(&outside);
        let swapper = Command::new(python())
            .args(["-c", SWAPPER])
            .current_dir(&arena.project.root)
            .stderr(Stdio::null())
            .spawn();
        let swapper = Killed(swapper.unwrap());
        let mut codes = Vec::new();
        // Only what lies behind a real folder is written: the tool itself must not go through the link.
        let tool = "for d in dir link; do [ -L $d ] || for i in 1 2 3 4 5; do echo tool > $d/f$i; rm -f $d/f1$i; \
                    echo tool > $d/sub/n$i; done; done; exit 0";
        // The tools of an overlay see each exchange as it happens, and would follow the link themselves.
        if strategy == "overlay" {
            continue;
        }
        for round in 0..12 {
            let keep = if round % 4 == 3 { "never" } else { "on_success" };
            let ran = arena.devshell("exec", &["--write-back", keep, "--", "sh", "-c", tool]);
            codes.push(ran.status.code());
            let same = tree(&outside).same_as(&before);
            same.unwrap_or_else(|difference| panic!("{strategy}: {difference}\n{}", ran.stderr));
            arena.results(&["list"]);
        }
        drop(swapper);
        assert!(
            codes.iter().all(|code| matches!(code, Some(0 | 73 | 74))),
            "{strategy}: {codes:?}"
        );
        // Nothing of it was copied into the workspace or a place of devshell's.
        for place in [arena.project.path(""), arena.place("cache"), arena.place("state")] {
            let found = Command::new("grep")
                .args(["-rl", "the canary"])
                .arg(&place)
                .output()
                .unwrap();
            assert!(
                found.stdout.is_empty(),
                "{strategy}: {}",
                String::from_utf8_lossy(&found.stdout)
            );
        }
        assert!(arena.project.path("dir").symlink_metadata().is_ok() && arena.project.exists("link"));
    }
}

#[test]
fn a_cargo_project_is_built_once_and_its_debug_info_names_the_workspace() {
    let test = "a_cargo_project_is_built_once";
    if !has("cargo") {
        return not_run(test, "no cargo here");
    }
    for strategy in private_strategies(test) {
        for cache in ["[\"target/\"]", "[]"] {
            let arena = arena(strategy);
            arena.project.write(
                "Cargo.toml",
                "[package]\nname = \"app\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[workspace]\n",
            );
            arena
                .project
                .write("src/main.rs", "fn main() { println!(\"{}\", app::word()); }\n");
            arena
                .project
                .write("src/lib.rs", "pub fn word() -> &'static str { \"one\" }\n");
            let dirs = format!("workspace.cache_dirs={cache}");
            let what = format!("{strategy}, cache folders {cache}");
            let cargo = |words: &[&str]| {
                let mut all = vec!["--set", dirs.as_str(), "--", "cargo"];
                all.extend(words);
                arena.devshell("exec", &all)
            };
            cargo(&["build", "--offline"]).code(0).says("Compiling");
            let again = cargo(&["build", "--offline"]);
            assert!(!again.code(0).stderr.contains("Compiling"), "{what}:\n{}", again.stderr);
            arena
                .project
                .write("src/lib.rs", "pub fn word() -> &'static str { \"two\" }\n");
            let edited = cargo(&["run", "--offline"]);
            assert_eq!(edited.code(0).out(), "two\n", "{what}");
            // What lies in the workspace is as good outside: fresh, and with the workspace's own paths.
            let program = arena.project.path("target/debug/app");
            if cache == "[]" || program.exists() {
                let built = arena
                    .project
                    .program("cargo")
                    .args(["build", "--offline"])
                    .output()
                    .unwrap();
                let text = String::from_utf8_lossy(&built.stderr).into_owned();
                assert!(built.status.success() && !text.contains("Compiling"), "{what}:\n{text}");
                let bytes = std::fs::read(&program).unwrap();
                let holds = |path: &Path| {
                    let path = path.to_str().unwrap().as_bytes();
                    bytes.windows(path.len()).any(|window| window == path)
                };
                assert!(
                    holds(&arena.project.root),
                    "{what}: the debug info does not name the workspace"
                );
                assert!(
                    !holds(&arena.place("cache")),
                    "{what}: the debug info names the cache folder"
                );
            }
        }
    }
}

#[test]
fn a_git_repository_can_be_worked_in_and_stays_sound() {
    let test = "a_git_repository_can_be_worked_in";
    if !has("git") {
        return not_run(test, "no git here");
    }
    for strategy in private_strategies(test) {
        let arena = arena(strategy);
        let root = arena.project.root.clone();
        let git = |args: &[&str]| {
            let mut all = vec!["-c", "user.name=n", "-c", "user.email=e"];
            all.extend(args);
            sure(&root, "git", &all)
        };
        for i in 0..300 {
            arena.project.write(format!("d{}/f{i}", i % 10), format!("{i}\n"));
        }
        git(&["init", "-q", "-b", "main"]);
        git(&["add", "-A"]);
        git(&["commit", "-qm", "one"]);
        git(&["checkout", "-qb", "side"]);
        arena.project.write("d1/f1", "side\n");
        git(&["commit", "-qam", "side"]);
        git(&["checkout", "-q", "main"]);
        // Status is right in the view, and leaves the index as it is, to the byte and the time.
        arena.project.write("d2/f2", "edited\n");
        let index = arena.project.tree().get(".git/index").clone();
        let status = arena.devshell("exec", &["--", "git", "status", "--porcelain"]);
        assert_eq!(status.code(0).out(), " M d2/f2\n", "{strategy}");
        assert_eq!(arena.project.tree().get(".git/index"), &index, "{strategy}");
        // A day's work in the view.
        let script = "set -e; export GIT_AUTHOR_NAME=n GIT_AUTHOR_EMAIL=e GIT_COMMITTER_NAME=n GIT_COMMITTER_EMAIL=e\n\
                      git commit -qam edited; git merge -q -m merged side; echo stashed > d3/f3; git stash -q; \
                      git checkout -q side; git checkout -q main; git stash pop -q; git rm -q d4/f4; \
                      git commit -qam two; git gc -q; git rebase -q side";
        arena.devshell("exec", &["--", "sh", "-c", script]).code(0);
        assert_eq!(git(&["status", "--porcelain"]), "", "{strategy}");
        assert!(git(&["log", "--format=%s"]).starts_with("two\n"), "{strategy}");
        assert_eq!(arena.project.read("d3/f3"), "stashed\n");
        git(&["fsck", "--strict", "--full"]);
        // A workspace below the repository's root finds the repository.
        let below = arena.project.path("d5");
        let mut command = arena.command("exec", &["--", "git", "status", "--porcelain"]);
        std::fs::write(below.join("f5"), "below\n").unwrap();
        command.current_dir(&below);
        let ran = crate::support::finish(command);
        assert_eq!(ran.code(0).out(), " M d5/f5\n", "{strategy}");
    }
}
