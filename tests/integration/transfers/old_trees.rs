//! Trees at a sidecar that nobody has used for long.

use std::fs::{self, File};
use std::time::{Duration, SystemTime};

use super::{Apart, synced};
use crate::support::wait_for;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl Apart {
    /// The keys that the sidecar has trees of.
    fn keys(&self) -> Vec<String> {
        let trees = fs::read_dir(self.project.beside("root/.devshell-trees")).unwrap();
        let mut keys: Vec<String> = trees
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        keys.sort();
        keys
    }

    /// Has the tree of a key be one that was last used so many days ago.
    fn age(&self, key: &str, days: u32) {
        let folder = File::open(self.project.beside("root/.devshell-trees").join(key)).unwrap();
        folder.set_modified(SystemTime::now() - DAY * days).unwrap();
    }

    /// A tree of another client's, last used so many days ago.
    fn left_behind(&self, key: &str, days: u32) {
        let tree = self.project.beside("root/.devshell-trees").join(key).join("tree/src");
        fs::create_dir_all(&tree).unwrap();
        fs::write(tree.join("file"), "of another client\n").unwrap();
        self.age(key, days);
    }

    fn has_logged(&self, words: &[&str]) -> bool {
        let log = fs::read_to_string(self.log()).unwrap();
        log.lines().any(|line| words.iter().all(|word| line.contains(word)))
    }

    fn serve_with(&mut self, args: &[&str]) {
        let socket = self.project.beside("s.sock");
        let mut all = vec!["--serve-socket", socket.to_str().unwrap()];
        all.extend(args);
        let child = self.server(&all).spawn().unwrap();
        self.server = Some(crate::support::Killed(child));
        wait_for(
            || std::os::unix::net::UnixStream::connect(&socket).is_ok(),
            "the sidecar listens",
        );
    }
}

#[test]
fn a_server_that_starts_forgets_old_trees_and_a_client_comes_back_to_an_empty_one() {
    let mut apart = Apart::served("[workspace]\ncache_dirs = [\"cache/\"]\n");
    apart.project.write("source", "the source\n");
    apart
        .exec(&[], "mkdir cache; echo built >cache/it; echo one >made")
        .code(0);
    let [key] = <[String; 1]>::try_from(apart.keys()).unwrap();
    apart.kill_server();
    apart.left_behind("young", 29);
    apart.left_behind("old", 31);
    apart.age(&key, 31);
    apart.serve();
    wait_for(|| apart.keys() == ["young"], "both old trees are gone");
    for name in [key.as_str(), "old"] {
        let path = format!("/.devshell-trees/{name}");
        wait_for(
            || apart.has_logged(&["tree_forgotten", &path, "unused_days=31"]),
            "it is told of",
        );
    }

    // All comes anew, and what the tools had cached is theirs to build again.
    let ran = apart.exec(
        &["--output", "json"],
        "test ! -e cache; cat source made; echo two >made",
    );
    ran.code(0);
    assert!(synced(&super::events(&ran), "push")[0][0] >= 2, "{}", ran.out());
    assert_eq!(apart.project.read("made"), "two\n");
    assert_eq!(apart.keys().len(), 2);
}

#[test]
fn what_is_used_stays_and_a_server_that_is_not_to_forget_does_not() {
    let mut apart = Apart::new("");
    // What is old when a server without a wish to forget looks, stays.
    apart.serve_with(&["--forget-trees-after", "0"]);
    apart.left_behind("old", 400);
    apart.exec(&[], "true").code(0);
    assert_eq!(apart.keys().len(), 2);
    assert!(!apart.has_logged(&["tree_forgotten"]));
    apart.kill_server();

    // With one day the client's own tree is in use, or was just now, and stays.
    apart.serve_with(&["--forget-trees-after", "1"]);
    wait_for(|| apart.keys().len() == 1, "the old one is gone");
    let own = apart.keys();
    assert_ne!(own, ["old"]);
    apart.age(&own[0], 2);
    apart.exec(&[], "echo one >made").code(0);
    apart.kill_server();
    apart.serve_with(&["--forget-trees-after", "1"]);
    let ran = apart.exec(&["--output", "json"], "cat made");
    ran.code(0);
    assert_eq!(apart.keys(), own);
    assert_eq!(
        synced(&super::events(&ran), "push"),
        [[0, 0, 0]],
        "nothing had to come anew"
    );
}
