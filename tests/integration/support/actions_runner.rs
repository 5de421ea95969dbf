//! What the runner of GitHub Actions makes of the output of a step, as far as commands go.
//!
//! A line is a command where it begins, behind blanks, with `::` and a name that the runner knows,
//! or where it holds `##[` and such a name. `stop-commands` names a token, and until that comes as
//! a command no other one is obeyed.

use std::collections::BTreeMap;

const KNOWN: [&str; 15] = [
    "add-mask",
    "add-matcher",
    "add-path",
    "debug",
    "echo",
    "endgroup",
    "error",
    "group",
    "notice",
    "remove-matcher",
    "save-state",
    "set-env",
    "set-output",
    "stop-commands",
    "warning",
];

/// An `error`, `warning` or `notice`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Annotation {
    pub kind: String,
    pub properties: BTreeMap<String, String>,
    pub message: String,
}

impl Annotation {
    pub fn property(&self, name: &str) -> &str {
        self.properties.get(name).map_or("", String::as_str)
    }
}

/// What came of a step.
#[derive(Debug, Default)]
pub struct ActionsRunner {
    pub annotations: Vec<Annotation>,
    /// Titles of the groups that were closed, in order.
    pub folded: Vec<String>,
    /// The group that was left open.
    pub open: Option<String>,
    /// Commands that were obeyed besides those.
    pub others: Vec<String>,
    /// Lines that are shown as they are, each with the group that it is in.
    pub shown: Vec<(Option<String>, String)>,
    token: Option<String>,
}

impl ActionsRunner {
    /// Reads the whole output of a step.
    pub fn read(output: &str) -> Self {
        let mut runner = Self::default();
        for line in output.replace("\r\n", "\n").split(['\n', '\r']) {
            if !runner.obeys(line) {
                runner.shown.push((runner.open.clone(), line.to_owned()));
            }
        }
        assert!(runner.token.is_none(), "the runner is still deaf at the end");
        runner
    }

    /// The lines outside of folded groups.
    pub fn seen_unfolded(&self) -> Vec<&str> {
        let is_folded = |group: &Option<String>| group.as_ref().is_some_and(|group| self.folded.contains(group));
        let unfolded = self.shown.iter().filter(|(group, _)| !is_folded(group));
        unfolded.map(|(_, line)| line.as_str()).collect()
    }

    fn obeys(&mut self, line: &str) -> bool {
        let Some((name, properties, data)) = self.command(line) else {
            return false;
        };
        if let Some(token) = &self.token {
            let resumes = *token == name;
            if resumes {
                self.token = None;
            }
            return resumes;
        }
        match name.as_str() {
            "stop-commands" => self.token = Some(data),
            // Groups do not nest: a new one ends the one before it.
            "group" => {
                self.folded.extend(self.open.take());
                self.open = Some(data);
            }
            "endgroup" => self.folded.extend(self.open.take()),
            "error" | "warning" | "notice" => self.annotations.push(Annotation {
                kind: name,
                properties,
                message: data,
            }),
            _ => self.others.push(line.to_owned()),
        }
        true
    }

    /// Name, properties and data of a command.
    fn command(&self, line: &str) -> Option<(String, BTreeMap<String, String>, String)> {
        let known = |name: &str| {
            let name = name.to_ascii_lowercase();
            (KNOWN.contains(&name.as_str()) || self.token.as_ref() == Some(&name)).then_some(name)
        };
        let split = |head: &str| {
            let (name, rest) = head.split_once(' ').unwrap_or((head, ""));
            Some((known(name)?, rest.to_owned()))
        };
        let new_form = || {
            let (head, data) = line.trim_start().strip_prefix("::")?.split_once("::")?;
            let (name, rest) = split(head)?;
            let properties = rest.split(',').filter_map(|pair| pair.split_once('='));
            let properties = properties.map(|(key, value)| (key.trim().to_owned(), unescaped(value)));
            Some((name, properties.collect(), unescaped(data)))
        };
        let old_form = || {
            let (head, data) = line.split_once("##[")?.1.split_once(']')?;
            let (name, _) = split(head)?;
            Some((name, BTreeMap::new(), data.to_owned()))
        };
        new_form().or_else(old_form)
    }
}

fn unescaped(text: &str) -> String {
    let mut text = text.to_owned();
    for (code, char) in [("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")] {
        text = text.replace(code, char);
    }
    text
}

#[test]
fn the_model_of_the_runner_obeys_and_stops() {
    let runner = ActionsRunner::read(
        "::group::a%25\nx\n::endgroup::\n  ::error title=b%2C,line=3::c%0Ad\ny ##[add-mask]z\n\
         ::stop-commands::t0\n::error::no\n##[endgroup]\n::t0::\n::group::open\nlast",
    );
    assert_eq!(
        (&runner.folded[..], &runner.open),
        (&["a%".to_owned()][..], &Some("open".to_owned()))
    );
    assert_eq!(runner.annotations.len(), 1);
    assert_eq!(runner.annotations[0].message, "c\nd");
    assert_eq!(runner.annotations[0].property("title"), "b,");
    assert_eq!(runner.others, ["y ##[add-mask]z"]);
    assert_eq!(runner.seen_unfolded(), ["::error::no", "##[endgroup]", "last"]);
}
