//! Why there is no plan.

use std::io;
use std::path::{Path, PathBuf};

use crate::exit::End;

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// There is nothing to run.
    #[error("the config has no [[tool]], so there is nothing to run; add one, or use `devshell exec -- PROGRAM`")]
    NoTools,
    /// `--only` or `--from` name a tool that is not there.
    #[error("{flag}: there is no tool `{name}`; {}", known_tools(.near.as_deref(), .known))]
    UnknownTool {
        /// The flag.
        flag: &'static str,
        /// What it names.
        name: String,
        /// What was probably meant.
        near: Option<String>,
        /// The tools that are there.
        known: Vec<String>,
    },
    /// The workspace is not there or cannot be entered.
    #[error("cannot use {} as the workspace: {source} (workspace.root: {origin})", path.display())]
    Workspace {
        /// `workspace.root`.
        path: PathBuf,
        /// Where it was set.
        origin: String,
        /// Why.
        source: io::Error,
    },
    /// The workspace is `/`, or a folder of the kernel's, as that of `/dev/stdin`.
    #[error(
        "the workspace is `{}` (workspace.root: {origin}): no private view of it can be made; choose a project's folder, or `vm.host.strategy = \"in_place\"`",
        path.display()
    )]
    RootWorkspace {
        /// Which.
        path: PathBuf,
        /// Where it was set.
        origin: String,
    },
    /// The workspace contains devshell's own places.
    #[error("the workspace {} contains devshell's own {what} folder {}; set {remedy} to a folder outside of it, {}choose a smaller workspace{}", workspace.display(), place.display(), if *.guest { "or " } else { "" }, if *.guest { "" } else { ", or a `vm.host.strategy` other than `copy`" })]
    ContainsPlaces {
        /// The workspace.
        workspace: PathBuf,
        /// Which of the places.
        what: &'static str,
        /// Where it is.
        place: PathBuf,
        /// What moves it elsewhere.
        remedy: &'static str,
        /// Whether the tools do not run on this host.
        guest: bool,
    },
    /// Nothing says where devshell may keep its own things.
    #[error("HOME {}, so there is no {}; set HOME{} or {}", state_of(.home.as_deref()),
        list(.missing, |(what, _)| format!("{what} folder"), " and no "),
        if .home.is_some() { " to an absolute path" } else { "" }, list(.missing, |(_, remedy)| (*remedy).to_owned(), " and "))]
    NoHome {
        /// HOME, where it is set and not absolute.
        home: Option<PathBuf>,
        /// Which of the places there are not, and what else says each.
        missing: Vec<(&'static str, &'static str)>,
    },
}

impl PlanError {
    /// How a run that meets it ends.
    #[must_use]
    pub fn end(&self) -> End {
        match self {
            Self::UnknownTool { .. } => End::Usage,
            Self::NoTools
            | Self::Workspace { .. }
            | Self::RootWorkspace { .. }
            | Self::ContainsPlaces { .. }
            | Self::NoHome { .. } => End::ConfigInvalid,
        }
    }
}

fn state_of(home: Option<&Path>) -> String {
    match home {
        None => "is not set".to_owned(),
        Some(home) => format!("is `{}`, which is not absolute", home.display()),
    }
}

fn list<T>(items: &[T], word: impl Fn(&T) -> String, between: &str) -> String {
    items.iter().map(word).collect::<Vec<_>>().join(between)
}

fn known_tools(near: Option<&str>, known: &[String]) -> String {
    match near {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => "the config has none".into(),
        None => format!("tools: {}", known.join(", ")),
    }
}
