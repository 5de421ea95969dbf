//! Failures in the middle of the commit: the disk is full, a call is refused, the disk becomes
//! read-only. Whatever it is, the tree is as it was, or wholly new.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{
    Arena, Disk, Places, Ran, Running, Tree, finish, has, is_root, not_run, own_mounts, private_strategies, python,
    sure, tree, wait_for,
};

/// What the tools do: edit, delete, make, replace; folders too.
const CHANGES: &str = r#"
set -e
for i in $(seq 20); do
    echo new > edited/$i
    rm gone/$i
    mkdir made$i
    echo made > made$i/file
done
rm -r whole
echo file > whole
rm kind
mkdir kind
echo in > kind/in
ln -s edited link
chmod 600 edited/1
"#;

/// The tree before it.
fn fill(root: &Path) {
    for folder in ["edited", "gone", "whole/deep"] {
        std::fs::create_dir_all(root.join(folder)).unwrap();
        for i in 1..=20 {
            std::fs::write(root.join(folder).join(i.to_string()), format!("{folder} {i}\n")).unwrap();
        }
    }
    std::fs::write(root.join("kind"), "a file\n").unwrap();
}

/// A tree but for its times.
fn timeless(root: &Path) -> Tree {
    let mut tree = tree(root);
    for entry in tree.0.values_mut() {
        entry.mtime = 0;
    }
    tree
}

/// The trees before and after [`CHANGES`]; the arena holds the former.
struct Two {
    before: Tree,
    after: Tree,
}

impl Two {
    fn make(arena: &Arena) -> Self {
        let copy = arena.project.beside("expected");
        fill(&arena.project.root);
        sure(
            Path::new("/"),
            "cp",
            &["-a", arena.project.root.to_str().unwrap(), copy.to_str().unwrap()],
        );
        sure(&copy, "sh", &["-c", CHANGES]);
        Self {
            before: tree(&arena.project.root),
            after: timeless(&copy),
        }
    }

    /// A success left the new tree, and any failure the old one, in everything.
    #[track_caller]
    fn check(&self, arena: &Arena, ran: &Ran, codes: &[i32], what: &str) {
        let code = ran.status.code();
        assert!(
            codes.iter().any(|&known| code == Some(known)),
            "{what}: {code:?}\n{}",
            ran.stderr
        );
        let same = if code == Some(0) {
            timeless(&arena.project.root).same_as(&self.after)
        } else {
            tree(&arena.project.root).same_as(&self.before)
        };
        same.unwrap_or_else(|difference| panic!("{what}: {code:?}\n{difference}\n{}", ran.stderr));
    }

    /// Once the cause is gone a kept result can be applied, and a run goes through.
    #[track_caller]
    fn check_next(&self, arena: &Arena, ran: &Ran, what: &str) {
        if ran.last_line().contains("kept=") {
            arena.results(&["apply", ran.kept()]).code(0);
        } else if ran.status.code() != Some(0) {
            arena.devshell("exec", &["--", "sh", "-c", CHANGES]).code(0);
        }
        let same = timeless(&arena.project.root).same_as(&self.after);
        same.unwrap_or_else(|difference| panic!("{what}, afterwards: {difference}"));
    }
}

/// Each strategy with its places on the workspace's file system and on another.
fn variants(test: &str) -> Vec<(&'static str, Places, String)> {
    let strategies = private_strategies(test);
    let both = strategies
        .into_iter()
        .flat_map(|strategy| [(strategy, Places::Same), (strategy, Places::Other)]);
    both.map(|(strategy, places)| (strategy, places, format!("{strategy}, places {places:?}")))
        .collect()
}

#[test]
fn a_disk_that_is_full_when_the_commit_begins_leaves_all_or_nothing() {
    let test = "failures::a_disk_that_is_full_when_the_commit_begins_leaves_all_or_nothing";
    if !own_mounts(test) {
        return;
    }
    // Folders made anew need blocks; with some room the commit fails later than with none.
    for (strategy, places, what) in variants(test) {
        for room in [0, 48] {
            let Some((arena, disk)) = Arena::on_disk(strategy, places, |at| Disk::ext4(at, 24)) else {
                return not_run(test, "no ext4 can be mounted here");
            };
            let two = Two::make(&arena);
            let script = format!("{CHANGES}\n{}", disk.fill_script(room));
            let ran = arena.devshell("exec", &["--", "sh", "-c", &script]);
            two.check(&arena, &ran, &[0, 74], &format!("{what}, {room} KiB left"));
            std::fs::remove_file(disk.0.join("filler")).unwrap();
            two.check_next(&arena, &ran, &what);
        }
    }
}

#[test]
fn a_call_that_fails_in_the_middle_of_the_commit_is_undone() {
    let test = "a_call_that_fails_in_the_middle_of_the_commit";
    if !has("python3") {
        return not_run(test, "no python3 here");
    }
    let rules: &[&[&str]] = &[
        // Exchanges come after deletions and new folders; without them another way is taken, or none.
        &["renameat2:4:2=EIO"],
        &["renameat2:4:2=ENOSPC"],
        &["renameat2:4:1=EIO"],
        &["syncfs=EIO", "fsync=EIO", "fdatasync=EIO"],
        &["syncfs=ENOSPC"],
    ];
    for (strategy, places, what) in variants(test) {
        for rule in rules {
            let Some(arena) = Arena::new(strategy, places) else {
                not_run(
                    &format!("{test} ({what})"),
                    "no second file system that can be written here",
                );
                break;
            };
            let deny = arena.project.beside("deny.py");
            std::fs::write(&deny, include_str!("tools/deny.py")).unwrap();
            let two = Two::make(&arena);
            let mut wrapper = vec![python(), deny.to_str().unwrap()];
            wrapper.extend(*rule);
            wrapper.push("--");
            let set = format!("vm.host.strategy={strategy}");
            let ran = finish(arena.under(&wrapper, &["exec", "--set", &set, "--", "sh", "-c", CHANGES]));
            if ran.status.code() == Some(77) {
                return not_run(test, "no seccomp filter can be set here");
            }
            let what = format!("{what}, {rule:?}");
            two.check(&arena, &ran, &[74], &what);
            two.check_next(&arena, &ran, &what);
        }
    }
}

/// How a run may end whose tool changes what may not be changed.
fn refusals(strategy: &str, path: &str) -> &'static [i32] {
    match (strategy, path) {
        // A folder above it can be moved away as a whole.
        (_, "whole/deep") => &[0, 1, 2, 74],
        // Overlay shows what is denied, so that the tool itself is refused.
        ("overlay", _) => &[1, 2, 74],
        _ => &[74],
    }
}

/// Whatever was refused, the next run is not: also not by what the first could not remove.
#[track_caller]
fn check_later(arena: &Arena, two: &Two, ran: &Ran, what: &str) {
    let script = if ran.status.code() == Some(0) {
        "echo again > edited/2"
    } else {
        CHANGES
    };
    let later = arena.devshell("exec", &["--", "sh", "-c", script]);
    assert_eq!(later.status.code(), Some(0), "{what}, the next run:\n{}", later.stderr);
    if script == CHANGES {
        let same = timeless(&arena.project.root).same_as(&two.after);
        same.unwrap_or_else(|difference| panic!("{what}, the next run: {difference}"));
    }
}

/// Takes the attribute away again, or nobody could remove the folder.
struct Immutable<'a>(&'a Arena, std::path::PathBuf);

impl Drop for Immutable<'_> {
    fn drop(&mut self) {
        let _ = Command::new("chattr")
            .arg("-i")
            .arg(&self.1)
            .stderr(Stdio::null())
            .status();
        // It may have been moved away.
        let _ = Command::new("chattr")
            .args(["-R", "-i"])
            .arg(self.0.place("state"))
            .stderr(Stdio::null())
            .status();
    }
}

#[test]
fn what_may_not_be_changed_refuses_the_whole_commit() {
    let test = "what_may_not_be_changed_refuses_the_whole_commit";
    if !is_root() {
        return not_run(test, "only root can make a file immutable");
    }
    for (strategy, places, what) in variants(test) {
        for path in ["edited/13", "gone/13", "edited", "whole/deep", "."] {
            let Some(arena) = Arena::new(strategy, places) else {
                not_run(
                    &format!("{test} ({what})"),
                    "no second file system that can be written here",
                );
                break;
            };
            let two = Two::make(&arena);
            let immutable = Immutable(&arena, arena.project.path(path));
            let set = Command::new("chattr")
                .arg("+i")
                .arg(&immutable.1)
                .stderr(Stdio::null())
                .status();
            if !set.is_ok_and(|status| status.success()) {
                return not_run(test, "this file system knows no immutable files");
            }
            let what = format!("{what}, {path}");
            let ran = arena.devshell("exec", &["--", "sh", "-c", CHANGES]);
            two.check(&arena, &ran, refusals(strategy, path), &what);
            if ran.status.code() == Some(0) {
                // Still immutable, in the trash.
                check_later(&arena, &two, &ran, &what);
                continue;
            }
            drop(immutable);
            check_later(&arena, &two, &ran, &what);
        }
    }
}

#[test]
fn a_folder_of_another_user_refuses_the_whole_commit() {
    let test = "a_folder_of_another_user_refuses_the_whole_commit";
    if !is_root() || !has("setpriv") {
        return not_run(test, "only root can give a folder to another user");
    }
    for (strategy, places, what) in variants(test) {
        for path in ["edited", "gone", "whole/deep"] {
            let Some(mut arena) = Arena::new(strategy, places) else {
                not_run(
                    &format!("{test} ({what})"),
                    "no second file system that can be written here",
                );
                break;
            };
            fill(&arena.project.root);
            arena.for_user();
            std::fs::remove_dir_all(arena.project.path("")).unwrap();
            std::fs::create_dir(arena.project.path("")).unwrap();
            let two = Two::make(&arena);
            sure(&arena.project.root, "chown", &["-R", "65534:65534", "."]);
            sure(&arena.project.root, "chown", &["0:0", path]);
            let ran = arena.devshell("exec", &["--", "sh", "-c", CHANGES]);
            let what = format!("{what}, {path}");
            two.check(&arena, &ran, refusals(strategy, path), &what);
            if ran.status.code() != Some(0) {
                sure(&arena.project.root, "chown", &["65534:65534", path]);
            }
            check_later(&arena, &two, &ran, &what);
        }
    }
}

#[test]
fn a_disk_that_becomes_read_only_before_the_commit_leaves_the_tree_as_it_was() {
    let test = "failures::a_disk_that_becomes_read_only_before_the_commit_leaves_the_tree_as_it_was";
    if !own_mounts(test) {
        return;
    }
    for (strategy, places, what) in variants(test) {
        let Some((arena, disk)) = Arena::on_disk(strategy, places, |at| Disk::ext4(at, 24)) else {
            return not_run(test, "no ext4 can be mounted here");
        };
        let two = Two::make(&arena);
        let (pause, marker, go) = arena.project.pause();
        let script = format!("{CHANGES}\n{pause}");
        let child = arena.command("exec", &["--", "sh", "-c", &script]).spawn().unwrap();
        let running = Running { child };
        wait_for(|| marker.exists(), "the tool");
        let read_only = disk.remount("ro");
        std::fs::write(&go, "").unwrap();
        let ran = running.end();
        if !read_only {
            // Something is open for writing on it, which is no defect.
            not_run(&format!("{test} ({what})"), "the disk was busy");
            continue;
        }
        two.check(&arena, &ran, &[74], &what);
        assert!(disk.remount("rw"), "{what}");
        two.check_next(&arena, &ran, &what);
    }
}

#[test]
fn a_disk_that_becomes_read_only_during_the_commit_leaves_all_or_nothing() {
    let test = "failures::a_disk_that_becomes_read_only_during_the_commit_leaves_all_or_nothing";
    if !own_mounts(test) {
        return;
    }
    for (strategy, places, what) in variants(test) {
        let Some((arena, disk)) = Arena::on_disk(strategy, places, |at| Disk::ext4(at, 24)) else {
            return not_run(test, "no ext4 can be mounted here");
        };
        let two = Two::make(&arena);
        let mut child = arena.command("exec", &["--", "sh", "-c", CHANGES]).spawn().unwrap();
        // Not before the commit, whose work folder lies in one of two places.
        let began = || {
            let folders = walkdir::WalkDir::new(arena.place("state"))
                .max_depth(4)
                .into_iter()
                .flatten();
            let in_state = folders
                .filter(|entry| entry.file_name().to_string_lossy().starts_with("commit-"))
                .count();
            in_state > 0 || arena.project.exists(".devshell-commit")
        };
        while !began() && child.try_wait().unwrap().is_none() {
            std::thread::sleep(std::time::Duration::from_micros(100));
        }
        // Refused while a file is open for writing; then again.
        while !disk.remount("ro") && child.try_wait().unwrap().is_none() {}
        let ran = Running { child }.end();
        assert!(disk.remount("rw"), "{what}");
        let code = ran.status.code();
        assert!(matches!(code, Some(0 | 74)), "{what}: {code:?}\n{}", ran.stderr);
        // What could not be undone on a read-only disk is finished or undone now.
        arena.results(&["list"]).code(0);
        let old = tree(&arena.project.root).same_as(&two.before);
        let new = timeless(&arena.project.root).same_as(&two.after);
        if let (Err(old), Err(new)) = (&old, &new) {
            panic!(
                "{what}: {code:?}, not the old tree:\n{old}\nnor the new one:\n{new}\n{}",
                ran.stderr
            );
        }
        arena.devshell("exec", &["--", "true"]).code(0);
    }
}
