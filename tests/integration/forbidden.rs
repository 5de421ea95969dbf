//! Machines on which namespaces are forbidden: `auto` still works and says why it has less, and an
//! explicit overlay is refused with the remedy's name.

use std::process::Command;

use crate::support::{Arena, Places, Ran, finish, has, not_run, private_strategies, python};

/// A way to forbid namespaces: what is put before devshell, and a word that must be said of it.
struct Ban {
    wrapper: Vec<String>,
    word: &'static str,
}

/// `user.max_user_namespaces = 0` for everything in a user namespace of the test's own, whose root
/// has no capability left: nothing on this machine is changed for anybody else.
fn sysctl() -> Ban {
    let forbid = "echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --bounding-set=-all --inh-caps=-all \
                  --ambient-caps=-all -- \"$@\"";
    let wrapper = ["unshare", "--user", "--map-root-user", "sh", "-c", forbid, "sh"];
    Ban {
        wrapper: wrapper.map(str::to_owned).to_vec(),
        word: "max_user_namespaces",
    }
}

/// A seccomp filter that refuses new user and mount namespaces, as container engines set.
fn filter(arena: &Arena) -> Ban {
    let deny = arena.project.beside("deny.py");
    std::fs::write(&deny, include_str!("tools/deny.py")).unwrap();
    let wrapper = [
        python(),
        deny.to_str().unwrap(),
        "unshare:0:0x10020000=EPERM",
        "clone:0:0x10020000=EPERM",
        "clone3=ENOSYS",
        "--",
    ];
    Ban {
        wrapper: wrapper.map(str::to_owned).to_vec(),
        word: "seccomp",
    }
}

fn works(ban: &Ban) -> bool {
    let tried = Command::new(&ban.wrapper[0])
        .args(&ban.wrapper[1..])
        .arg("true")
        .output();
    tried.is_ok_and(|tried| tried.status.success())
}

fn exec(arena: &Arena, ban: &Ban, strategy: &str, script: &str) -> Ran {
    let wrapper: Vec<&str> = ban.wrapper.iter().map(String::as_str).collect();
    let set = format!("vm.host.strategy={strategy}");
    finish(arena.under(&wrapper, &["exec", "--set", &set, "--", "sh", "-c", script]))
}

fn forbidden(test: &str, ban: impl Fn(&Arena) -> Ban) {
    if !has("python3") || !has("unshare") || !has("setpriv") {
        return not_run(test, "no python3, unshare or setpriv here");
    }
    let has_overlay = private_strategies(test).contains(&"overlay");
    let arena = Arena::new("auto", Places::Same).unwrap();
    let ban = ban(&arena);
    if !works(&ban) {
        return not_run(test, "namespaces cannot be forbidden here");
    }
    arena.project.write("file", "origin\n");
    let before = arena.project.tree();
    let refused = exec(&arena, &ban, "overlay", "echo new > file");
    refused.code(71);
    arena.project.tree().same_as(&before).unwrap();
    for strategy in ["auto", "copy"] {
        arena.project.write("file", "origin\n");
        let ran = exec(&arena, &ban, strategy, "echo new > file; exit 1");
        assert_eq!(ran.code(1).out(), "");
        assert_eq!(arena.project.read("file"), "origin\n", "{strategy}: as private as ever");
        exec(&arena, &ban, strategy, "echo new > file").code(0);
        assert_eq!(arena.project.read("file"), "new\n", "{strategy}");
    }
    if has_overlay {
        let auto = exec(&arena, &ban, "auto", "true");
        for (what, ran) in [("overlay", &refused), ("auto", &auto)] {
            let said = ran.stderr.to_lowercase();
            assert!(
                said.contains(ban.word),
                "{what} does not say `{}`:\n{}",
                ban.word,
                ran.stderr
            );
        }
        let reasons: Vec<&str> = auto.stderr.lines().next().unwrap_or_default().split("; ").collect();
        let said_before = |reason: &&str| reasons.iter().filter(|other| other.contains(*reason)).count() > 1;
        assert!(!reasons.iter().any(said_before), "each reason once:\n{}", auto.stderr);
        // And with nothing forbidden the same machine has it.
        let free = arena.devshell("exec", &["--", "true"]);
        assert!(free.code(0).stderr.contains("overlay"), "{}", free.stderr);
    }
}

#[test]
fn where_user_namespaces_are_used_up_auto_copies_and_names_the_sysctl() {
    forbidden("where_user_namespaces_are_used_up", |_| sysctl());
}

#[test]
fn where_a_filter_refuses_namespaces_auto_copies_and_names_the_filter() {
    forbidden("where_a_filter_refuses_namespaces", filter);
}
