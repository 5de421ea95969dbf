//! What a killed run leaves, and who clears it away.

use std::path::PathBuf;

use crate::support::{Project, Running, own_mounts, processes_with, sure, wait_for};

fn paused(strategy: &str) -> (Project, PathBuf, PathBuf) {
    let project = Project::new("");
    let (pause, marker, go) = project.pause();
    project.write(
        "devshell.toml",
        format!(
            "[vm.host]\nstrategy = \"{strategy}\"\n[[tool]]\nname = \"t\"\nscript = '''mkdir -m 0 closed; {pause}; rmdir closed'''\n"
        ),
    );
    (project, marker, go)
}

fn views(project: &Project) -> Vec<PathBuf> {
    let found = walkdir::WalkDir::new(project.beside("cache")).into_iter().flatten();
    let runs = found.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"run-"));
    runs.map(walkdir::DirEntry::into_path).collect()
}

fn kill(project: &Project, running: Running) {
    running.signal("KILL");
    running.end();
    let mark = project.beside("started");
    wait_for(|| processes_with(mark.to_str().unwrap()).is_empty(), "the tools to die");
}

#[test]
fn the_view_of_a_killed_run_goes_with_the_next_run() {
    let (project, marker, go) = paused("overlay");
    let before = project.tree();
    let running = project.start_until(&["run"], &marker);
    kill(&project, running);
    assert_eq!(views(&project).len(), 1);
    assert_eq!(project.tree(), before);
    std::fs::write(go, "").unwrap();
    project.run().code(0);
    assert_eq!(views(&project), Vec::<PathBuf>::new());
}

#[test]
fn clean_takes_the_views_of_dead_runs_and_spares_a_live_one() {
    let (project, marker, go) = paused("overlay");
    let running = project.start_until(&["run"], &marker);
    kill(&project, running);
    std::fs::remove_file(&marker).unwrap();
    let live = project.start_until(&["run"], &marker);
    let used = views(&project);
    assert_eq!(used.len(), 1, "the dead one's went with the start of this one");
    let dead = used[0].with_file_name("run-dead");
    std::fs::create_dir_all(dead.join("up0")).unwrap();
    project
        .devshell(&["clean"])
        .code(0)
        .says("a view that a killed run left")
        .says(project.root.to_str().unwrap());
    assert_eq!(views(&project), used);
    std::fs::write(go, "").unwrap();
    live.end().code(0);
    assert_eq!(views(&project), Vec::<PathBuf>::new());
}

#[test]
fn clean_finds_a_dead_view_beside_and_in_the_workspace() {
    let (project, marker, go) = paused("overlay");
    std::fs::write(&go, "").unwrap();
    project.run().code(0);
    drop(marker);
    let key = std::fs::read_dir(project.beside("cache/devshell"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .file_name();
    let beside = project.beside(&format!(".devshell-{}", key.to_str().unwrap()));
    let inside = project.path(".devshell");
    for place in [&beside, &inside] {
        std::fs::create_dir_all(place.join("run-x/up0/deep")).unwrap();
    }
    std::fs::write(inside.join(".gitignore"), "# Made by devshell while it runs.\n*\n").unwrap();
    let ran = project.devshell(&["clean"]);
    assert_eq!(ran.code(0).out(), "removed 2\n");
    assert!(!beside.exists() && !inside.exists());
}

#[test]
fn a_commit_that_a_read_only_mount_refuses_leaves_nothing_to_clear_up() {
    let test = "leftovers::a_commit_that_a_read_only_mount_refuses_leaves_nothing_to_clear_up";
    if !own_mounts(test) {
        return;
    }
    let project = Project::new("[[tool]]\nname = \"t\"\nscript = 'echo hi > new'\n");
    let before = project.tree();
    let root = project.root.to_str().unwrap();
    sure(&project.root, "mount", &["--bind", root, root]);
    sure(&project.root, "mount", &["-o", "remount,bind,ro", root]);
    project.run().code(74).says("mounted read-only").says("kept as");
    let later: [(&[&str], u8); 5] = [
        (&["results"], 0),
        (&["results", "diff"], 0),
        (&["clean"], 0),
        (&["exec", "--", "true"], 0),
        (&["run"], 74),
    ];
    for (args, code) in later {
        let ran = project.devshell(args);
        assert!(!ran.stderr.contains("clear up"), "{args:?}: {}", ran.stderr);
        ran.code(code.into());
    }
    sure("/".as_ref(), "umount", &[root]);
    assert_eq!(project.tree(), before);
    project.devshell(&["results", "apply"]).code(0);
    assert_eq!(project.read("new"), "hi\n");
}

#[test]
fn what_is_kept_is_shown_also_where_a_killed_commit_cannot_be_undone() {
    let project = Project::new("[[tool]]\nname = \"t\"\nscript = 'echo hi > new; false'\n");
    project.run().code(1);
    // A work folder whose journal is damaged.
    let marker = "A work folder of devshell's: the next devshell command here clears it up.\n";
    project.write(".devshell-commit/devshell", marker);
    project.write(".devshell-commit/journal", "no journal");
    for (args, shown) in [(["results", "list"], "class=tool"), (["results", "diff"], "A new")] {
        let ran = project.devshell(&args);
        ran.code(0)
            .says("warning: a run was killed in the middle of its commit");
        assert!(ran.out().contains(shown), "{}", ran.out());
    }
    project.run().code(74).says("that is not undone");
}
