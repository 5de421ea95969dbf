//! The kill campaign: SIGKILL at random moments of runs that commit thousands of files, most of
//! them inside the commit. Whatever the moment, after the next command the tree is exactly the
//! old or exactly the new one.
//!
//! `DEVSHELL_TEST_KILLS` says how many rounds each variant takes, `DEVSHELL_TEST_SEED` which,
//! `DEVSHELL_TEST_FOLDERS` how many hundreds of files the tree has, and `DEVSHELL_TEST_STRATEGY`
//! with which strategy alone. A long campaign by hand:
//! `DEVSHELL_TEST_KILLS=300 DEVSHELL_TEST_FOLDERS=30 cargo test --test integration kills`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::support::{
    Arena, Places, Random, Tree, finish, has, not_run, number, private_strategies, processes_with, python, say, sure,
    tree, wait_for,
};

/// Folders of the tree, with about a hundred files each, unless the environment says otherwise.
const FOLDERS: u64 = 12;
/// Rounds of a variant unless the environment says otherwise.
const KILLS: u64 = 2;

#[test]
fn a_run_that_is_killed_leaves_the_old_tree_or_the_new_one() {
    campaign("a_run_that_is_killed", Places::Same);
}

#[test]
fn a_run_that_is_killed_with_its_state_on_another_file_system_leaves_the_old_tree_or_the_new_one() {
    campaign(
        "a_run_that_is_killed_with_its_state_on_another_file_system",
        Places::Other,
    );
}

fn campaign(test: &str, places: Places) {
    if !has("python3") {
        return not_run(test, "no python3 here");
    }
    let seed = number("DEVSHELL_TEST_SEED", 1);
    let only = std::env::var("DEVSHELL_TEST_STRATEGY").ok();
    let wanted = |strategy: &&str| only.as_deref().is_none_or(|only| only == *strategy);
    for strategy in private_strategies(test).into_iter().filter(wanted) {
        let Some(range) = Range::new(strategy, places) else {
            return not_run(test, "no second file system that can be written here");
        };
        let mut random = Random(seed);
        let mut faults = Vec::new();
        let (mut old, mut new, mut cut) = (0, 0, 0);
        let rounds = number("DEVSHELL_TEST_KILLS", KILLS);
        for round in 0..rounds {
            match range.round(&mut random) {
                Ok(end) => {
                    old += u64::from(!end.new);
                    new += u64::from(end.new);
                    cut += u64::from(end.cut);
                }
                Err(fault) => {
                    faults.push(format!("round {round}: {fault}"));
                    // What is left of this one must not decide the next.
                    range.forget();
                }
            }
        }
        say(&format!(
            "kills: strategy {strategy}, places {places:?}, seed {seed}, rounds {rounds}, old {old}, new {new}, of \
             them recovered {cut}, wrong {}; a commit takes {:.0?} and {:.0?}",
            faults.len(),
            range.bring,
            range.apply
        ));
        assert!(faults.is_empty(), "{strategy}, seed {seed}:\n{}", faults.join("\n"));
    }
}

/// How a round ended.
struct End {
    new: bool,
    /// The kill left a commit's work folder behind: there was something to recover.
    cut: bool,
}

/// A project to shoot at.
struct Range {
    arena: Arena,
    old: Tree,
    new: Tree,
    /// What lies in devshell's folders and beside the project after a run that nobody killed.
    left: BTreeSet<String>,
    /// How long a run that nobody kills takes to its commit, from there to the first change in the
    /// workspace, and from there to its end.
    lead: Duration,
    bring: Duration,
    apply: Duration,
}

impl Range {
    fn new(strategy: &'static str, places: Places) -> Option<Self> {
        let arena = Arena::new(strategy, places)?;
        std::fs::write(arena.project.beside("churn.py"), include_str!("tools/churn.py")).unwrap();
        let mut range = Self {
            arena,
            old: Tree::default(),
            new: Tree::default(),
            left: BTreeSet::new(),
            lead: Duration::ZERO,
            bring: Duration::ZERO,
            apply: Duration::ZERO,
        };
        // What the new tree is, by the tool alone.
        range.make_old();
        range.old = range.tree();
        range.churn("change");
        range.new = range.tree();
        // And how long an uninterrupted run takes to get there.
        range.make_old();
        let mut child = range.start();
        let start = Instant::now();
        let began = wait_until(&mut child, || !range.commits().is_empty());
        range.lead = start.elapsed();
        let changed = wait_until(&mut child, || range.is_changed());
        range.bring = start.elapsed() - range.lead;
        assert!(began && changed, "no commit was seen: the campaign would not hit one");
        assert!(child.wait().unwrap().success());
        range.apply = start.elapsed() - range.lead - range.bring;
        range.same(&range.new).unwrap();
        range.left = range.listing();
        Some(range)
    }

    fn round(&self, random: &mut Random) -> Result<End, String> {
        self.make_old();
        let mut child = self.start();
        let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap();
        // Half of them while the workspace is written, the others before, and about the end.
        let (after, delay) = match random.below(10) {
            0 => ("start", random.below(micros(self.lead))),
            1..=3 => ("commit began", random.below(micros(self.bring))),
            4 => (
                "first change",
                micros(self.apply) + random.below(micros(self.apply) / 2),
            ),
            _ => ("first change", random.below(micros(self.apply))),
        };
        if after != "start" {
            wait_until(&mut child, || !self.commits().is_empty());
        }
        if after == "first change" {
            wait_until(&mut child, || self.is_changed());
        }
        let moment = format!("killed {delay} us after the {after}");
        std::thread::sleep(Duration::from_micros(delay));
        let _ = child.kill();
        child.wait().unwrap();
        let place = self.arena.project.beside("");
        wait_for(
            || processes_with(place.to_str().unwrap()).is_empty(),
            "the run's processes to end",
        );
        let cut = !self.commits().is_empty();
        // One of the two commands that recover.
        let (command, recovery) = if random.below(2) == 0 {
            ("results list", self.arena.results(&["list"]))
        } else {
            ("exec", self.arena.devshell("exec", &["--", "true"]))
        };
        let told = |what: String| format!("{moment}, then `{command}`: {what}\n{}", recovery.stderr);
        if recovery.status.code() != Some(0) {
            return Err(told(format!("{}", recovery.status)));
        }
        let new = match (self.same(&self.old), self.same(&self.new)) {
            (Ok(()), _) => false,
            (_, Ok(())) => true,
            (Err(old), Err(new)) => {
                return Err(told(format!("neither the old tree:\n{old}\nnor the new one:\n{new}")));
            }
        };
        let commits = self.commits();
        if !commits.is_empty() {
            return Err(told(format!("left behind: {commits:?}")));
        }
        // And the next run is like any other.
        let next = finish(self.run());
        if next.status.code() != Some(0) {
            return Err(told(format!("the next run: {}\n{}", next.status, next.stderr)));
        }
        self.same(&self.new)
            .map_err(|difference| told(format!("after the next run:\n{difference}")))?;
        let left = self.listing();
        if left != self.left {
            let more: Vec<_> = left.difference(&self.left).collect();
            let less: Vec<_> = self.left.difference(&left).collect();
            return Err(told(format!("after the next run there is {more:?} and not {less:?}")));
        }
        Ok(End { new, cut })
    }

    /// Throws away all that devshell remembers.
    fn forget(&self) {
        for name in ["cache", "state"] {
            let _ = std::fs::remove_dir_all(self.arena.place(name));
        }
    }

    fn run(&self) -> std::process::Command {
        // With a path, so that its processes can be told from others.
        let config = self.arena.project.path("devshell.toml");
        self.arena.command("run", &[config.to_str().unwrap()])
    }

    fn start(&self) -> Child {
        self.run().stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Whether the commit has changed anything yet: a file each that it edits, deletes, makes a
    /// folder, puts into a new folder, makes a link.
    fn is_changed(&self) -> bool {
        let kind = |path: &str| {
            let meta = self.arena.project.path(path).symlink_metadata().ok()?;
            Some((meta.is_file(), meta.len() > 10))
        };
        kind("d00/f002") != Some((true, true))
            || kind("d01/f003") != Some((true, true))
            || kind("d02/f004") != Some((true, true))
            || kind("d03/n0").is_some()
            || kind("d04/f005") != Some((true, true))
    }

    /// The work folders of commits that are there.
    fn commits(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for workspace in children(&self.arena.place("state").join("devshell")) {
            found.extend(children(&workspace.join("commit")));
        }
        found.extend(children(&self.arena.project.root).into_iter().filter(|path| {
            let name = path.file_name().unwrap_or_default();
            name.to_string_lossy().starts_with(".devshell-commit")
        }));
        found
    }

    fn make_old(&self) {
        for path in children(&self.arena.project.root) {
            let meta = path.symlink_metadata().unwrap();
            if meta.is_dir() {
                std::fs::remove_dir_all(&path).unwrap();
            } else {
                std::fs::remove_file(&path).unwrap();
            }
        }
        let program = self.arena.project.beside("churn.py");
        self.arena.project.write(
            "devshell.toml",
            format!(
                "[[tool]]\nname = \"churn\"\nrun = [\"{}\", \"{}\", \"change\", \"{}\"]\n",
                python(),
                program.display(),
                folders()
            ),
        );
        let old = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let config = std::fs::File::options()
            .write(true)
            .open(self.arena.project.path("devshell.toml"));
        config.unwrap().set_modified(old).unwrap();
        self.churn("make");
    }

    fn churn(&self, what: &str) {
        let program = self.arena.project.beside("churn.py");
        sure(
            &self.arena.project.root,
            python(),
            &[program.to_str().unwrap(), what, &folders()],
        );
    }

    fn tree(&self) -> Tree {
        tree(&self.arena.project.root)
    }

    fn same(&self, wanted: &Tree) -> Result<(), String> {
        self.tree().same_as(wanted)
    }

    /// Names in devshell's folders down to the parts of a staged copy, and beside the project,
    /// with numbers taken out.
    fn listing(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        let mut list = |root: &Path, depth| {
            for entry in walkdir::WalkDir::new(root).max_depth(depth).min_depth(1) {
                // What vanishes while it is listed is not left.
                let Ok(entry) = entry else { continue };
                let path = entry.path().strip_prefix(root).unwrap().to_string_lossy().into_owned();
                names.insert(path.replace(|c: char| c.is_ascii_digit(), "#"));
            }
        };
        list(&self.arena.project.beside(""), 1);
        list(&self.arena.place("cache"), 4);
        list(&self.arena.place("state"), 4);
        names
    }
}

/// Waits until something holds, or the process has ended; looks often.
fn wait_until(child: &mut Child, holds: impl Fn() -> bool) -> bool {
    while !holds() {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        std::thread::sleep(Duration::from_micros(100));
    }
    true
}

fn folders() -> String {
    number("DEVSHELL_TEST_FOLDERS", FOLDERS).to_string()
}

fn children(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}
