//! Any tree and any work of tools on a view of it: the workspace becomes what it would have become without a view.

use std::path::PathBuf;

use proptest::prelude::*;

use super::roundtrip::{Bench, snapshot};
use super::view_bench::{View, shell, shell_as_in_view};

fn path() -> impl Strategy<Value = String> {
    let name = prop_oneof![Just("a"), Just("a-b"), Just("b"), Just("c\n"), Just(" d")];
    prop::collection::vec(name, 1..4).prop_map(|parts| parts.join("/"))
}

/// A line for the shell. Whether it can be done depends on what was done before; both are fine.
fn deed() -> impl Strategy<Value = String> {
    let mode = prop_oneof![Just("644"), Just("755"), Just("400"), Just("4711")];
    let folder_mode = prop_oneof![Just("700"), Just("555"), Just("755")];
    prop_oneof![
        4 => (path(), 0..4u8, mode).prop_map(|(path, content, mode)| format!(
            "mkdir -p \"$(dirname '{path}')\" && head -c {} /dev/zero | tr '\\0' {content} >'{path}' && chmod {mode} '{path}'",
            u32::from(content) * 700
        )),
        1 => path().prop_map(|path| format!("[ -f '{path}' ] && echo more >>'{path}'")),
        1 => path().prop_map(|path| format!("mkdir -p '{path}'")),
        1 => (path(), 0..3usize).prop_map(|(path, target)| format!(
            "ln -s '{}' '{path}'", ["a", "/no/way", "../a-b"][target]
        )),
        1 => (path(), folder_mode).prop_map(|(path, mode)| format!("[ -d '{path}' ] && chmod {mode} '{path}'")),
        1 => path().prop_map(|path| format!("touch -h -c -d 2005-05-05 '{path}'")),
        2 => path().prop_map(|path| format!("rm -rf '{path}'")),
        // A folder of the workspace cannot be renamed in a view, and is copied; what fails halfway is another matter.
        2 => (path(), path()).prop_map(|(from, to)| format!("[ -e '{to}' ] || [ -L '{to}' ] || mv -T '{from}' '{to}'")),
        1 => (path(), path()).prop_map(|(from, to)| format!("[ -f '{from}' ] && second '{from}' '{to}'")),
    ]
}

/// An overlay breaks the hard links of what lies below it: between one layer and the next there are none.
fn script(deeds: &[String], links: bool) -> String {
    let second = if links { "ln" } else { "cp -pT --update=none" };
    let mut script = format!("exec 2>/dev/null\numask 022\nsecond() {{ {second} \"$@\"; }}\n");
    for deed in deeds {
        script.push_str(&format!("{{ {deed}; }} || true\n"));
    }
    script
}

fn shape(root: PathBuf) -> Vec<(PathBuf, String, String)> {
    snapshot(&root)
        .into_iter()
        .map(|(path, mode, _, content)| (path, mode, content))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_workspace_becomes_what_it_would_be_without_a_view(
        tree in prop::collection::vec(deed(), 0..20),
        tools in prop::collection::vec(deed(), 0..20),
        layers in 1..4usize,
    ) {
        let bench = Bench::new();
        let plain = bench.temp.path().join("expected");
        std::fs::create_dir(&plain).unwrap();
        for root in [&bench.real(""), &plain] {
            shell(root, &script(&tree, false));
        }
        let Some(mut view) = View::begin(&bench) else { return Ok(()) };
        for (number, deeds) in tools.chunks(tools.len().div_ceil(layers).max(1)).enumerate() {
            if number > 0 {
                view.layer();
            }
            view.run(&script(deeds, layers == 1));
        }
        shell_as_in_view(&plain, &script(&tools, layers == 1));
        let wanted = shape(plain.clone());
        let outcome = view.finish();
        prop_assert!(outcome.is_ok(), "{:?}", outcome);
        prop_assert_eq!(shape(bench.real("")), wanted);
        let temp = crate::sys::fs::open_dir(bench.temp.path()).unwrap();
        crate::sys::fs::remove_tree(&temp, "expected".as_ref()).unwrap();
    }
}
