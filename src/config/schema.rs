//! The one description of `devshell.toml`: which keys there are and what each takes.

/// What a key takes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// `true` or `false`.
    Bool,
    /// A whole number within these limits.
    Int(i64, i64),
    /// A string.
    Text(Rule),
    /// One of these words.
    Word(&'static [&'static str]),
    /// A duration as a string.
    Duration,
    /// A size as a string.
    Size,
    /// A list of strings.
    Texts(Rule),
    /// A program and its arguments.
    Argv,
    /// A list of whole numbers within these limits.
    Ints(i64, i64),
    /// Names of the user's own choice, with strings.
    Map(MapRule),
    /// Names of variables, each with a [`Kind::Secret`].
    Secrets,
    /// The table of [`SECRET`].
    Secret,
    /// A table with these keys.
    Table(&'static [Key]),
    /// A number, or the table that it abbreviates: `n` stands for `{ count = n }`.
    Count(&'static [Key]),
    /// The list of tools.
    Tools,
    /// Tables that each hold the whole schema again.
    Profiles,
}

impl Kind {
    /// Whether text from the environment or a flag is taken as it stands.
    pub(super) fn is_text(self) -> bool {
        matches!(self, Self::Text(_) | Self::Word(_) | Self::Duration | Self::Size)
    }

    /// What the key takes, in words, with an example.
    pub(super) fn expected(self) -> String {
        match self {
            Self::Bool => "`true` or `false`".into(),
            Self::Int(min, max) => format!("a whole number from {min} to {max}"),
            Self::Text(_) => "a string".into(),
            Self::Word(words) => format!("one of {}", list(words.iter().copied())),
            Self::Duration => "a duration such as \"90s\" or \"10m\"".into(),
            Self::Size => "a size such as \"512MiB\" or \"4GiB\"".into(),
            Self::Texts(_) => "a list of strings".into(),
            Self::Argv => "a list of strings, the program first".into(),
            Self::Ints(min, max) => format!("a list of whole numbers from {min} to {max}"),
            Self::Map(_) => "a table of strings".into(),
            Self::Secrets => "a table of secrets".into(),
            Self::Secret => "a table with `env` or `file`".into(),
            Self::Table(_) | Self::Profiles => "a table".into(),
            Self::Count(_) => "a whole number, or a table".into(),
            Self::Tools => "a list of tables, each headed `[[tool]]`".into(),
        }
    }
}

/// What a string must be beyond being one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// Anything.
    Any,
    /// Anything but nothing.
    NonEmpty,
    /// A path of this host; relative ones belong to the folder of the file that wrote them.
    Path,
    /// A program's name, or its path when it has a `/`.
    Program,
    /// `auto`, `off` or a path.
    Agent,
    /// A Lima template: `scheme:...`, a URL or a path.
    Template,
    /// `stdio`, `tcp:HOST:PORT`, `unix:PATH` or a bare path.
    Socket,
    /// `grpc://...` or `grpcs://...`.
    Endpoint,
    /// An absolute path on the other side.
    FarPath,
    /// A path that stays inside the workspace.
    Inside,
    /// A gitignore-style pattern.
    Pattern,
    /// A gitignore-style pattern that stays inside the workspace and takes nothing back.
    InsidePattern,
    /// `[A-Za-z0-9._-]+`.
    ToolName,
    /// The name of a variable.
    Variable,
    /// The name of a variable that a shell can read.
    SecretName,
    /// The name of a variable, with `*` for any part of it.
    VariablePattern,
}

/// What the names of a map must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MapRule {
    /// Names of variables.
    Variables,
    /// Any but the empty name.
    Properties,
}

/// One key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    /// As it is written.
    pub(super) name: &'static str,
    /// What it takes.
    pub(super) kind: Kind,
}

const fn key(name: &'static str, kind: Kind) -> Key {
    Key { name, kind }
}

/// The longest duration that is taken; longer ones are slips (`10M` is ten months).
pub(super) const LONGEST: std::time::Duration = std::time::Duration::from_secs(30 * 24 * 3600);

pub(super) const BACKENDS: &[&str] = &["auto", "host", "lima", "beta", "remote"];
pub(super) const REQUIRE: &[&str] = &["none", "processes", "view", "full"];

/// As `std::env::consts::OS` names them.
const SYSTEMS: &[&str] = &[
    "linux",
    "macos",
    "windows",
    "freebsd",
    "netbsd",
    "openbsd",
    "dragonfly",
    "solaris",
    "illumos",
    "android",
    "ios",
];

/// Everything but profiles: what a profile may hold.
pub(super) static PROFILE: &[Key] = &[
    key("vm", Kind::Table(VM)),
    key("workspace", Kind::Table(WORKSPACE)),
    key("sandbox", Kind::Table(SANDBOX)),
    key("env", Kind::Map(MapRule::Variables)),
    key("secrets", Kind::Secrets),
    key("run", Kind::Table(RUN)),
    key("tool", Kind::Tools),
];

/// The file.
pub(super) static ROOT: &[Key] = &[
    key("vm", Kind::Table(VM)),
    key("workspace", Kind::Table(WORKSPACE)),
    key("sandbox", Kind::Table(SANDBOX)),
    key("env", Kind::Map(MapRule::Variables)),
    key("secrets", Kind::Secrets),
    key("run", Kind::Table(RUN)),
    key("tool", Kind::Tools),
    key("profile", Kind::Profiles),
];

/// The user's file: how this machine runs tools. What is run, and on what, is the project's.
pub(super) static USER: &[Key] = &[key("vm", Kind::Table(VM)), key("run", Kind::Table(RUN))];

const VM: &[Key] = &[
    key("enabled", Kind::Bool),
    key("backend", Kind::Word(BACKENDS)),
    key("workspace_mode", Kind::Word(&["sync", "guest"])),
    key("eager_start", Kind::Bool),
    key("guest_workspace", Kind::Text(Rule::FarPath)),
    key("workspace_parent", Kind::Text(Rule::Path)),
    key("exec_timeout", Kind::Duration),
    key("ready_timeout", Kind::Duration),
    key("host", Kind::Table(HOST)),
    key("lima", Kind::Table(LIMA)),
    key("beta", Kind::Table(BETA)),
    key("remote", Kind::Table(REMOTE)),
];

const HOST: &[Key] = &[key("strategy", Kind::Word(&["auto", "overlay", "copy", "in_place"]))];

const LIMA: &[Key] = &[
    key("instance", Kind::Text(Rule::NonEmpty)),
    key("limactl", Kind::Text(Rule::Program)),
    key("template", Kind::Text(Rule::Template)),
    key("cpus", Kind::Int(1, 1024)),
    key("memory", Kind::Size),
    key("disk", Kind::Size),
    key("stop_on_exit", Kind::Bool),
    key("auto_build_essential", Kind::Bool),
    key("hints", Kind::Bool),
    key("agent", Kind::Text(Rule::Agent)),
    key("carry", Kind::Word(&["auto", "mount", "transfer"])),
];

const BETA: &[Key] = &[
    key("socket", Kind::Text(Rule::Socket)),
    key("command", Kind::Argv),
    key("token_file", Kind::Text(Rule::Path)),
    key("session_staging", Kind::Text(Rule::FarPath)),
];

const REMOTE: &[Key] = &[
    key("endpoint", Kind::Text(Rule::Endpoint)),
    key("instance", Kind::Text(Rule::Any)),
    key("platform", Kind::Map(MapRule::Properties)),
    key("header_file", Kind::Text(Rule::Path)),
];

const WORKSPACE: &[Key] = &[
    key("root", Kind::Text(Rule::Path)),
    key("ignore", Kind::Texts(Rule::Pattern)),
    key("cache_dirs", Kind::Texts(Rule::Pattern)),
    key("inputs", Kind::Texts(Rule::InsidePattern)),
    key("outputs", Kind::Texts(Rule::InsidePattern)),
    key("write_back", Kind::Word(&["on_success", "always", "never"])),
];

const SANDBOX: &[Key] = &[
    key("network", Kind::Bool),
    key("host", Kind::Word(&["rw", "ro"])),
    key("writable", Kind::Texts(Rule::Path)),
    key("require", Kind::Word(REQUIRE)),
    key("pass_env", Kind::Texts(Rule::VariablePattern)),
];

const RUN: &[Key] = &[
    key("timeout", Kind::Duration),
    key("lock_timeout", Kind::Duration),
    key("grace_period", Kind::Duration),
    key("fail_fast", Kind::Bool),
    key("exit_code", Kind::Word(&["tool", "class"])),
];

/// One entry of the tool list. A static, since it is told from others by its address.
pub(super) static TOOL: &[Key] = &[
    key("name", Kind::Text(Rule::ToolName)),
    key("run", Kind::Argv),
    key("script", Kind::Text(Rule::NonEmpty)),
    key("shell", Kind::Argv),
    key("cwd", Kind::Text(Rule::Inside)),
    key("env", Kind::Map(MapRule::Variables)),
    key("timeout", Kind::Duration),
    key("no_output_timeout", Kind::Duration),
    key("grace_period", Kind::Duration),
    key("retries", Kind::Count(RETRIES)),
    key("continue_on_error", Kind::Bool),
    key("when", Kind::Table(WHEN)),
    key("outputs", Kind::Texts(Rule::InsidePattern)),
];

/// One of `[secrets]`.
pub(super) static SECRET: &[Key] = &[
    key("env", Kind::Text(Rule::Variable)),
    key("file", Kind::Text(Rule::Path)),
    key("tools", Kind::Texts(Rule::ToolName)),
];

const RETRIES: &[Key] = &[
    key("count", Kind::Int(0, 100)),
    key("delay", Kind::Duration),
    key("exit_codes", Kind::Ints(1, 255)),
];

const WHEN: &[Key] = &[
    key("os", Kind::Word(SYSTEMS)),
    key("env", Kind::Text(Rule::Variable)),
    key("exists", Kind::Text(Rule::Inside)),
];

/// The key of this name.
pub(super) fn find(keys: &'static [Key], name: &str) -> Option<&'static Key> {
    keys.iter().find(|key| key.name == name)
}

/// Each key that takes a value, with its dotted path; below a tool as `tool.NAME.key`, below a
/// secret as `secrets.NAME.key`.
pub(super) fn leaves() -> Vec<(String, Kind)> {
    fn walk(keys: &'static [Key], prefix: &str, out: &mut Vec<(String, Kind)>) {
        for key in keys {
            let path = format!("{prefix}{}", key.name);
            match key.kind {
                Kind::Table(inner) => walk(inner, &format!("{path}."), out),
                Kind::Tools => walk(TOOL, "tool.NAME.", out),
                Kind::Secrets => walk(SECRET, "secrets.NAME.", out),
                Kind::Profiles => {}
                kind => out.push((path, kind)),
            }
        }
    }
    let mut out = Vec::new();
    walk(ROOT, "", &mut out);
    out
}

/// Names as a sentence lists them: `a`, `b`, `c`.
pub(super) fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// Longer names are near to none.
const LONGEST_NAME: usize = 256;

/// The name that was probably meant, if one is near enough.
pub(crate) fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Nobody misspells a name so; comparing would take the product of both lengths.
    if wrong.len() > LONGEST_NAME {
        return None;
    }
    let folded = fold(wrong);
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&folded, &fold(name)), name))
        .filter(|(distance, name)| *distance <= (name.chars().count().max(folded.chars().count()) / 3).max(1))
        // A single letter is one edit away from any other.
        .filter(|(distance, name)| *distance < name.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Without regard to case and to how words are joined.
fn fold(name: &str) -> String {
    name.to_lowercase().replace(['-', '.', ' '], "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_offered_only_when_it_is_near() {
        assert_eq!(nearest("bakend", ["enabled", "backend"]), Some("backend"));
        assert_eq!(nearest("write-back", ["root", "write_back"]), Some("write_back"));
        assert_eq!(nearest("Timeout", ["timeout"]), Some("timeout"));
        assert_eq!(nearest("colour", ["timeout", "root", "run"]), None);
        assert_eq!(nearest("x", ["y"]), None);
    }

    #[test]
    fn no_table_names_a_key_twice() {
        fn check(keys: &'static [Key]) {
            for (index, key) in keys.iter().enumerate() {
                assert!(keys[..index].iter().all(|other| other.name != key.name), "{}", key.name);
                if let Kind::Table(inner) | Kind::Count(inner) = key.kind {
                    check(inner);
                }
            }
        }
        check(ROOT);
        check(TOOL);
        check(SECRET);
    }
}
