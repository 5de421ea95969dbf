//! Which files belong.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use ignore::gitignore::{Gitignore, GitignoreBuilder};

/// The folder of devshell's own at the root of the workspace, there during a commit only. Names
/// that begin so, followed by `-`, are devshell's own wherever they stand.
pub const COMMIT_DIR: &str = ".devshell-commit";

/// What is done with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// It goes in and comes back.
    Carry,
    /// It is left alone on both sides.
    Ignored,
    /// It is used where it is, and not carried.
    Cache,
}

/// Compiled `ignore` and `cache_dirs`. In both the last match wins, `!` takes back, and below an
/// ignored folder all is ignored, as in `.gitignore`.
#[derive(Debug, Clone)]
pub struct Rules {
    ignore: Gitignore,
    cache: Gitignore,
    ignore_lines: Vec<String>,
    cache_lines: Vec<String>,
    only: Option<Only>,
}

/// The part of a tree that patterns name: all else is ignored.
#[derive(Debug, Clone)]
struct Only {
    /// What they match, with everything below it.
    named: GlobSet,
    /// Folders in which something may lie that they match.
    on_the_way: GlobSet,
}

/// A pattern that is none.
#[derive(Debug, thiserror::Error)]
#[error("`{pattern}` is no valid pattern")]
pub struct RulesError {
    /// As written.
    pub pattern: String,
    /// What is wrong with it.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

impl Rules {
    /// Compiles the patterns.
    ///
    /// # Errors
    /// [`RulesError`] with the first pattern that is none.
    pub fn new(ignore: &[String], cache_dirs: &[String]) -> Result<Self, RulesError> {
        Ok(Self {
            ignore: compile(ignore)?,
            cache: compile(cache_dirs)?,
            ignore_lines: ignore.to_vec(),
            cache_lines: cache_dirs.to_vec(),
            only: None,
        })
    }

    /// Rules under which only that is carried which matches one of the patterns, globs relative
    /// to the workspace (`*` stays within a name, `**` does not), with everything below it.
    ///
    /// # Errors
    /// [`RulesError`] with the first pattern that is none.
    pub fn only(patterns: &[String]) -> Result<Self, RulesError> {
        let (mut named, mut on_the_way) = (GlobSetBuilder::new(), GlobSetBuilder::new());
        for pattern in patterns {
            let error = |source: globset::Error| RulesError {
                pattern: pattern.clone(),
                source: source.into(),
            };
            let glob = |text: &str| GlobBuilder::new(text).literal_separator(true).build();
            let parts: Vec<&str> = pattern.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
            named.add(glob(&parts.join("/")).map_err(error)?);
            for length in 1..parts.len() {
                let way = parts[..length].join("/");
                on_the_way.add(glob(&way).map_err(error)?);
            }
        }
        let both = named.build().and_then(|named| Ok((named, on_the_way.build()?)));
        let (named, on_the_way) = both.map_err(|source| RulesError {
            pattern: patterns.join(", "),
            source: source.into(),
        })?;
        Ok(Self {
            only: Some(Only { named, on_the_way }),
            ..Self::carry_all()
        })
    }

    /// Rules under which everything is carried.
    #[must_use]
    pub fn carry_all() -> Self {
        Self {
            ignore: Gitignore::empty(),
            cache: Gitignore::empty(),
            ignore_lines: Vec::new(),
            cache_lines: Vec::new(),
            only: None,
        }
    }

    /// The patterns as they were given: `ignore`, `cache_dirs`.
    #[must_use]
    pub fn lines(&self) -> (&[String], &[String]) {
        (&self.ignore_lines, &self.cache_lines)
    }

    /// What is done with `relative`, a path below the workspace, whatever its parents are.
    #[must_use]
    pub fn classify(&self, relative: &Path, is_dir: bool) -> Class {
        let mut ancestors: Vec<&Path> = relative.ancestors().filter(|at| !at.as_os_str().is_empty()).collect();
        ancestors.reverse();
        for (position, at) in ancestors.iter().enumerate() {
            let class = self.classify_entry(at, is_dir || position + 1 < ancestors.len());
            if class != Class::Carry {
                return class;
            }
        }
        Class::Carry
    }

    /// Whether [`Rules::only`] was told of this path or of a folder that holds it.
    #[must_use]
    pub fn names(&self, relative: &Path) -> bool {
        self.only.as_ref().is_some_and(|only| only.is_named(relative))
    }

    /// As [`Self::classify`], for an entry whose parent is known to be carried.
    pub(crate) fn classify_entry(&self, relative: &Path, is_dir: bool) -> Class {
        if relative.as_os_str() == OsStr::new(COMMIT_DIR) || relative.file_name().is_some_and(is_beside) {
            return Class::Ignored;
        }
        if let Some(only) = &self.only
            && !only.is_named(relative)
            && !(is_dir && only.on_the_way.is_match(relative))
        {
            return Class::Ignored;
        }
        if is_dir && !self.cache.is_empty() && self.cache.matched(relative, true).is_ignore() {
            return Class::Cache;
        }
        if !self.ignore.is_empty() && self.ignore.matched(relative, is_dir).is_ignore() {
            return Class::Ignored;
        }
        Class::Carry
    }
}

impl Only {
    fn is_named(&self, relative: &Path) -> bool {
        relative.ancestors().any(|at| self.named.is_match(at))
    }
}

/// Whether a name is one that commits use beside the entries of folders on other file systems.
fn is_beside(name: &OsStr) -> bool {
    let rest = name.as_bytes().strip_prefix(COMMIT_DIR.as_bytes());
    rest.is_some_and(|rest| rest.starts_with(b"-"))
}

fn compile(lines: &[String]) -> Result<Gitignore, RulesError> {
    let mut builder = GitignoreBuilder::new("");
    let error = |pattern: &str, source: ignore::Error| RulesError {
        pattern: pattern.to_owned(),
        source: source.into(),
    };
    for line in lines {
        builder.add_line(None, line).map_err(|source| error(line, source))?;
    }
    builder.build().map_err(|source| error(&lines.join(", "), source))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(ignore: &[&str], cache: &[&str]) -> Rules {
        let owned = |lines: &[&str]| lines.iter().map(ToString::to_string).collect::<Vec<_>>();
        Rules::new(&owned(ignore), &owned(cache)).unwrap()
    }

    #[test]
    fn the_last_match_wins_and_an_ignored_parent_decides() {
        let rules = rules(&["*.log", "!keep.log", "/out/", "!out/kept"], &[]);
        assert_eq!(rules.classify(Path::new("a/b.log"), false), Class::Ignored);
        assert_eq!(rules.classify(Path::new("a/keep.log"), false), Class::Carry);
        assert_eq!(rules.classify(Path::new("out/kept"), false), Class::Ignored);
        assert_eq!(rules.classify(Path::new("sub/out/x"), false), Class::Carry);
        assert_eq!(rules.classify(Path::new("out"), false), Class::Carry);
    }

    #[test]
    fn cache_folders_are_folders_at_any_depth_unless_anchored() {
        let rules = rules(&[], &["target/", "/.cache"]);
        assert_eq!(rules.classify(Path::new("crates/a/target"), true), Class::Cache);
        assert_eq!(rules.classify(Path::new("target/debug/x"), false), Class::Cache);
        assert_eq!(rules.classify(Path::new("target"), false), Class::Carry);
        assert_eq!(rules.classify(Path::new("a/.cache"), true), Class::Carry);
    }

    #[test]
    fn names_that_are_not_utf_8_are_matched_and_devshells_own_folder_is_never_carried() {
        let rules = rules(&["*.o"], &[]);
        let odd = Path::new(OsStr::from_bytes(b"d/\xff\n.o"));
        assert_eq!(rules.classify(odd, false), Class::Ignored);
        assert_eq!(rules.classify(Path::new(".devshell-commit/x"), false), Class::Ignored);
        assert_eq!(rules.classify(Path::new("sub/.devshell-commit"), true), Class::Carry);
        assert_eq!(
            rules.classify(Path::new("sub/.devshell-commit-1-2-old-0"), true),
            Class::Ignored
        );
        assert_eq!(rules.classify(Path::new(".devshell-commits"), true), Class::Carry);
    }

    #[test]
    fn only_what_patterns_name_is_carried_with_the_folders_on_the_way() {
        let lines = ["target/app", "dist/", "src/**/*.rs", "./a"].map(str::to_owned);
        let rules = Rules::only(&lines).unwrap();
        let class = |path: &str, is_dir| rules.classify(Path::new(path), is_dir);
        for (path, is_dir) in [
            ("target", true),
            ("target/app", false),
            ("target/app/inside", false),
            ("dist", true),
            ("dist/a/b", false),
            ("src", true),
            ("src/x/y", true),
            ("src/x/y/z.rs", false),
            ("src/z.rs", false),
            ("a", false),
        ] {
            assert_eq!(class(path, is_dir), Class::Carry, "{path}");
        }
        for (path, is_dir) in [
            ("target", false),
            ("target/debug", true),
            ("other", false),
            ("src/z.txt", false),
            ("x/dist", true),
            ("dist2", true),
        ] {
            assert_eq!(class(path, is_dir), Class::Ignored, "{path}");
        }
        assert!(Rules::only(&["a[".to_owned()]).is_err());
    }

    #[test]
    fn a_pattern_that_is_none_is_named() {
        let error = Rules::new(&["ok".to_owned(), "a{b".to_owned()], &[]).unwrap_err();
        assert_eq!(error.pattern, "a{b");
    }
}
