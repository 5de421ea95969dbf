//! Random trees and random tools: what a private view brings back is what the tool does to the
//! tree itself.
//!
//! `DEVSHELL_TEST_TREES` says how many trees each strategy takes and `DEVSHELL_TEST_SEED` the first.

use std::path::{Path, PathBuf};

use crate::support::{Arena, Places, Random, Tree, has, not_run, number, private_strategies, python, say, sure, tree};

/// Trees of a strategy unless the environment says otherwise.
const TREES: u64 = 4;
/// Rounds of edits on one tree; the later ones start from what was committed.
const ROUNDS: u64 = 2;
/// The time of what nobody gave a time.
const NOW: i128 = 9_999_999_999;

#[test]
fn after_any_tool_the_workspace_is_what_the_tool_alone_would_have_made_of_it() {
    equal_to_in_place("after_any_tool_the_workspace_is", Places::Same);
}

#[test]
fn after_any_tool_the_workspace_is_the_same_with_the_cache_on_another_file_system() {
    equal_to_in_place("after_any_tool_the_workspace_is_the_same", Places::Other);
}

fn equal_to_in_place(test: &str, places: Places) {
    if !has("python3") {
        return not_run(test, "no python3 here");
    }
    let first = number("DEVSHELL_TEST_SEED", 1);
    let trees = number("DEVSHELL_TEST_TREES", TREES);
    for strategy in private_strategies(test) {
        let (mut faults, mut operations) = (Vec::new(), 0);
        for seed in first..first + trees {
            match one_tree(strategy, places, seed) {
                None => return not_run(test, "no second file system that can be written here"),
                Some(Ok(count)) => operations += count,
                Some(Err(fault)) => faults.push(format!("seed {seed}: {fault}")),
            }
        }
        say(&format!(
            "views: strategy {strategy}, places {places:?}, seeds {first}..{}, operations {operations}, wrong {}",
            first + trees,
            faults.len()
        ));
        assert!(faults.is_empty(), "{strategy}:\n{}", faults.join("\n"));
    }
}

/// The same edits in a private view and in place, on the same tree.
fn one_tree(strategy: &'static str, places: Places, seed: u64) -> Option<Result<u64, String>> {
    let view = Arena::new(strategy, places)?;
    let in_place = Arena::new("in_place", Places::Same)?;
    let mut random = Random(seed);
    let mut operations = 0;
    for arena in [&view, &in_place] {
        arena.project.write("devshell.toml", "");
        std::fs::write(arena.project.beside("edits.py"), include_str!("tools/edits.py")).unwrap();
        alone(arena, &["make", &seed.to_string()]);
    }
    let began = tree(&view.project.root);
    assert!(began.0.len() > 20 && settled(&began).same_as(&settled(&tree(&in_place.project.root))).is_ok());
    for round in 0..ROUNDS {
        let count = 50 + random.below(250);
        let before = settled(&tree(&view.project.root));
        let (edits, count_text) = (random.below(1 << 40).to_string(), count.to_string());
        let mut outputs = Vec::new();
        for arena in [&view, &in_place] {
            let script = arena.project.beside("edits.py");
            let ran = arena.devshell(
                "exec",
                &["--", python(), script.to_str().unwrap(), "edit", &edits, &count_text],
            );
            if ran.status.code() != Some(0) {
                return Some(Err(format!("round {round}: {}", ran.stderr)));
            }
            outputs.push(ran.out());
        }
        // First what the tool saw, which says where the ways part.
        let parted = outputs[0].lines().zip(outputs[1].lines()).find(|(a, b)| a != b);
        if let Some((view, in_place)) = parted {
            return Some(Err(format!(
                "round {round}: the tool saw `{view}`, in place `{in_place}`"
            )));
        }
        let is = settled(&tree(&view.project.root));
        let mut should = settled(&tree(&in_place.project.root));
        forgive_times(&before, &is, &mut should);
        if let Err(difference) = is.same_as(&should) {
            return Some(Err(format!("round {round}: {difference}")));
        }
        operations += count;
        // A link of the original tree is parted when one name is changed: not as in place.
        for arena in [&view, &in_place] {
            alone(arena, &["part"]);
        }
    }
    Some(Ok(operations))
}

/// The time of a folder that holds the same names as before is not promised: neither one that the
/// tool gave it, nor the trace of what was made and removed in it meanwhile.
fn forgive_times(before: &Tree, is: &Tree, should: &mut Tree) {
    let names = |tree: &Tree, folder: &Path| -> Vec<PathBuf> {
        tree.0
            .keys()
            .filter(|path| path.parent() == Some(folder))
            .cloned()
            .collect()
    };
    for path in before.0.keys() {
        if let (Some(is), Some(wanted)) = (is.0.get(path), should.0.get(path))
            && (is.kind, wanted.kind) == ('d', 'd')
            && names(before, path) == names(should, path)
        {
            should.0.get_mut(path).unwrap().mtime = is.mtime;
        }
    }
}

/// The script without devshell.
fn alone(arena: &Arena, args: &[&str]) {
    let script = arena.project.beside("edits.py");
    let mut all = vec![script.to_str().unwrap()];
    all.extend(args);
    sure(&arena.project.root, python(), &all);
}

/// A tree in which all times that nobody set are one: the script sets none after 2020.
fn settled(tree: &Tree) -> Tree {
    let mut tree = tree.clone();
    for entry in tree.0.values_mut() {
        if entry.mtime > 1_577_836_800_000_000_000 {
            entry.mtime = NOW;
        }
    }
    // It is made by the test, at two moments.
    if let Some(config) = tree.0.get_mut(Path::new("devshell.toml")) {
        config.mtime = 0;
    }
    tree
}
