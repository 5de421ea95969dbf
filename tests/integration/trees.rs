//! What goes in and comes back: every kind of entry, odd names, odd modes, odd sizes.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use crate::support::{Project, Tree, is_root, not_run, tree};

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn odd_name() -> &'static OsStr {
    OsStr::from_bytes(b" odd\n\\name\xff\xfe ")
}

/// A tree with one of everything that devshell promises to carry.
fn one_of_everything() -> Project {
    let project = Project::named(OsStr::from_bytes(b"a project \xc3\xa9"));
    project.write("devshell.toml", "");
    project.write(odd_name(), "odd");
    project.write("empty-file", "");
    project.write("script.sh", "#!/bin/sh\necho ran\n");
    chmod(&project.path("script.sh"), 0o755);
    project.write("read-only", "r");
    chmod(&project.path("read-only"), 0o444);
    std::fs::create_dir_all(project.path("empty/deep")).unwrap();
    symlink("nowhere/at/all", project.path("dangling")).unwrap();
    symlink("/etc/hostname", project.path("absolute")).unwrap();
    symlink("empty", project.path("to-folder")).unwrap();
    project.write("locked/inside", "inside");
    chmod(&project.path("locked"), 0o555);
    project.write("sticky/file", "");
    chmod(&project.path("sticky"), 0o1770);
    project
}

/// What the tools see, as devshell's own copy of it: everything but folder times, which a view
/// need not keep, and the folder's own name.
fn seen(view: &Tree) -> Tree {
    let mut seen = view.clone();
    for entry in seen.0.values_mut() {
        if entry.kind == 'd' {
            entry.mtime = 0;
        }
    }
    seen
}

#[test]
fn the_tools_see_the_whole_tree_as_it_is_and_a_run_that_changes_nothing_changes_nothing() {
    let project = one_of_everything();
    let copy = project.beside("copy");
    let before = project.tree();
    let script = format!("cp -a . '{}'; ./script.sh", copy.display());
    let ran = project.devshell(&["exec", "--", "sh", "-c", &script]);
    assert_eq!(ran.code(0).out(), "ran\n");
    assert_eq!(seen(&tree(&copy)), seen(&before));
    assert_eq!(project.tree(), before);
}

#[test]
fn every_kind_of_entry_comes_back_as_the_tool_made_it() {
    let project = one_of_everything();
    let script = r#"
        set -e
        printf 'odder' > "$(printf ' new\n\377')"
        mv script.sh moved.sh && chmod 700 moved.sh
        chmod u+w read-only && echo w >> read-only && chmod 400 read-only
        rm empty-file && mkdir empty-file && echo in > empty-file/in
        rm -r empty && echo file > empty
        ln -sfn dangling/elsewhere dangling
        rm to-folder && mkdir -p to-folder/real && rmdir to-folder/real
        ln -s ../.. up
        touch -d '2001-02-03 04:05:06.123456789 UTC' dated
        touch -h -d '2002-02-03 04:05:06.5 UTC' absolute && ln -sfn /etc/passwd absolute
        mkdir -p empty2/empty3
        cp -a . ../expected
    "#;
    std::fs::create_dir(project.beside("out")).unwrap();
    let script = script.replace("../expected", project.beside("expected").to_str().unwrap());
    project.devshell(&["exec", "--", "sh", "-c", &script]).code(0);
    assert_eq!(seen(&project.tree()), seen(&tree(&project.beside("expected"))));
    let dated = project.path("dated").metadata().unwrap();
    assert_eq!((dated.mtime(), dated.mtime_nsec()), (981_173_106, 123_456_789));
}

#[test]
fn a_touched_file_comes_back_with_its_new_time_so_that_make_converges() {
    let project = Project::new("");
    project.write(
        "Makefile",
        "stamp: src\n\ttouch stamp\ngen: src\n\tgrep -v '#' src > gen\nall: stamp gen\n",
    );
    project.write("src", "x\n");
    let make = || project.devshell(&["exec", "--", "make", "all"]).code(0).out();
    make();
    project.write("src", "x\n# no matter\n");
    assert!(make().contains("touch stamp"));
    assert!(make().contains("Nothing to be done"));
}

#[test]
fn fifos_are_named_and_not_carried_and_nothing_hangs() {
    let project = Project::new("");
    let mkfifo = |path: &Path| {
        assert!(
            std::process::Command::new("mkfifo")
                .arg(path)
                .status()
                .unwrap()
                .success()
        )
    };
    mkfifo(&project.path("pipe"));
    let script = "test ! -e pipe && mkfifo made && echo x > x";
    let ran = project.devshell(&["exec", "--set", "vm.host.strategy=copy", "--", "sh", "-c", script]);
    ran.code(0).says("pipe").says("made");
    assert!(project.exists("pipe") && !project.exists("made") && project.exists("x"));
}

#[test]
fn a_file_of_a_gibibyte_goes_through_without_being_held_in_memory() {
    let project = Project::new("");
    let giant = std::fs::File::create(project.path("giant")).unwrap();
    giant.set_len(1 << 30).unwrap();
    drop(giant);
    // 400 MB of address space would not hold it once.
    let mut command = project.program("sh");
    command
        .args(["-c", "ulimit -v 400000; exec \"$0\" \"$@\""])
        .arg(crate::support::devshell())
        .args(["exec", "--", "sh", "-c"])
        .arg("test $(stat -c %s giant) = 1073741824 && mv giant moved");
    crate::support::finish(command).code(0);
    assert_eq!(project.path("moved").metadata().unwrap().len(), 1 << 30);
    assert!(!project.exists("giant"));
}

#[test]
fn hard_links_are_parted_when_one_name_is_changed_and_kept_when_none_is() {
    let project = Project::new("");
    for name in ["a", "b", "c", "d"] {
        project.write(name, name);
        std::fs::hard_link(project.path(name), project.path(format!("{name}-link"))).unwrap();
    }
    let inode = |name: &str| project.path(name).metadata().unwrap().ino();
    let kept = inode("b");
    project
        .devshell(&["exec", "--", "sh", "-c", "echo changed > a; ln c e"])
        .code(0);
    assert_eq!(
        (project.read("a"), project.read("a-link")),
        ("changed\n".into(), "a".into())
    );
    assert_eq!((inode("b"), inode("b-link")), (kept, kept));
    assert_eq!(project.read("e"), "c");
}

#[test]
fn ignored_paths_are_neither_seen_nor_changed_nor_deleted() {
    let project = Project::new("[workspace]\nignore = [\"*.secret\", \"/private/\", \"!keep.secret\"]\n");
    for path in ["a.secret", "dir/b.secret", "dir/plain", "private/x", "keep.secret"] {
        project.write(path, path);
    }
    let script =
        "find . -type f ! -name list | sort > list; rm -rf dir; echo made > new.secret; mkdir private; touch private/y";
    // In an overlay they are seen: it shows the tree as it is.
    project
        .devshell(&["exec", "--set", "vm.host.strategy=copy", "--", "sh", "-c", script])
        .code(0);
    assert_eq!(project.read("list"), "./devshell.toml\n./dir/plain\n./keep.secret\n");
    assert!(project.exists("a.secret") && project.exists("dir/b.secret") && project.exists("private/x"));
    assert!(!project.exists("dir/plain") && !project.exists("new.secret") && !project.exists("private/y"));
}

#[test]
fn a_symlink_that_replaces_a_folder_leads_nothing_out_of_the_tree() {
    let project = Project::new("");
    let outside = project.beside("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("file"), "outside").unwrap();
    project.write("dir/file", "inside");
    let script = format!(
        "rm -r dir && ln -s '{}' dir && echo through > dir/new",
        outside.display()
    );
    project.devshell(&["exec", "--", "sh", "-c", &script]).code(0);
    // The tool itself wrote through its link, as the host allows; devshell must not.
    assert_eq!(std::fs::read_link(project.path("dir")).unwrap(), outside);
    assert_eq!(std::fs::read_to_string(outside.join("file")).unwrap(), "outside");
    // And back: what was a link is a folder again.
    project
        .devshell(&["exec", "--", "sh", "-c", "rm dir && mkdir dir && echo in > dir/file"])
        .code(0);
    assert_eq!(project.read("dir/file"), "in\n");
    assert_eq!(std::fs::read_to_string(outside.join("file")).unwrap(), "outside");
}

#[test]
fn a_read_only_workspace_can_be_read_and_a_commit_into_it_is_told() {
    let project = Project::new("");
    project.write("file", "x");
    if is_root() {
        return not_run("a_read_only_workspace", "root may write everywhere");
    }
    chmod(&project.root, 0o555);
    let before = project.tree();
    project.devshell(&["exec", "--", "cat", "file"]).code(0);
    assert_eq!(project.tree(), before);
}
