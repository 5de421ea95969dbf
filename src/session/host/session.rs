//! The host backend as the runner uses it.

use std::io;
use std::os::fd::AsFd as _;
use std::sync::mpsc::SyncSender;

use crate::plan::{Require, Strategy};
use crate::process::{
    Isolation, Keeper, KeeperError, KeeperSpec, Message, Namespaces, Running, SpawnRequest, ToolCommand,
};
use crate::session::{Context, Readiness, Session, VmError};
use crate::vfs::{Vfs, VfsPath};
use crate::workspace::Baseline;

use super::copy::StagedCopy;
use super::hints;
use super::in_place::InPlace;
use super::leftovers::note_workspace;
use super::overlay::{NoOverlay, Overlay};
use super::places::Places;
use super::settings::HostSettings;
use super::tree::Tree;

/// A session on this host: a view of the tree, and the keeper that runs tools in it.
pub struct HostSandboxSession {
    settings: HostSettings,
    // Before the tree: nothing may run in it any more when it goes.
    place: Option<Place>,
    tree: Option<Box<dyn Tree>>,
    /// git would stop at the border of a mounted view; it may look above when the repository
    /// is not in the workspace itself.
    git_looks_above: bool,
}

/// Where the tools run.
struct Place {
    keeper: Keeper,
    /// Where the tools see a path.
    seen: Places,
    /// Where devshell finds the same thing.
    real: Places,
}

/// A tree with a keeper in which tools can be started, and why it is not the best there is.
struct Begun {
    tree: Box<dyn Tree>,
    place: Place,
    less: Vec<String>,
}

impl HostSandboxSession {
    /// A session that nothing was done for yet.
    #[must_use]
    pub fn new(settings: HostSettings) -> Self {
        Self {
            settings,
            place: None,
            tree: None,
            git_looks_above: false,
        }
    }

    /// Its settings.
    #[must_use]
    pub fn settings(&self) -> &HostSettings {
        &self.settings
    }

    fn begin_as_asked(&self, vfs: &Vfs, cx: &mut Context) -> Result<Begun, VmError> {
        match self.settings.strategy {
            Strategy::InPlace => begin(Box::new(InPlace::new(vfs)?), cx),
            Strategy::Copy => begin(Box::new(StagedCopy::new(&self.settings, vfs, cx)?), cx),
            Strategy::Overlay => self.overlay(vfs, cx).map_err(|refused| match refused {
                NoOverlay::Failed(error) => error,
                NoOverlay::Unfit(why) => VmError::Sandbox {
                    message: format!(
                        "vm.host.strategy is `overlay`, and there can be none: {why}. `auto` takes a copy then"
                    ),
                    source: None,
                },
            }),
            Strategy::Auto => match self.overlay(vfs, cx) {
                Ok(begun) => Ok(begun),
                Err(NoOverlay::Failed(error)) => Err(error),
                Err(NoOverlay::Unfit(why)) => {
                    let copy = StagedCopy::new(&self.settings, vfs, cx).map_err(|error| match error {
                        VmError::Config(text) => VmError::Config(format!("{text}; and no overlay: {why}")),
                        error => error,
                    })?;
                    let mut begun = begin(Box::new(copy), cx)?;
                    begun.less.insert(0, format!("no overlay: {why}"));
                    Ok(begun)
                }
            },
        }
    }

    fn overlay(&self, vfs: &Vfs, cx: &mut Context) -> Result<Begun, NoOverlay> {
        let tree = Box::new(Overlay::new(&self.settings, vfs, cx)?);
        let (place, less) = start(tree.as_ref(), cx).map_err(|error| NoOverlay::Unfit(error.in_full()))?;
        Ok(Begun { tree, place, less })
    }

    /// Refuses less isolation than was asked for.
    fn check_level(&self, reached: Require, why: Option<&str>) -> Result<(), VmError> {
        if reached >= self.settings.require {
            return Ok(());
        }
        let why = why.map(|why| format!(": {why}")).unwrap_or_default();
        Err(VmError::Sandbox {
            message: format!(
                "sandbox.require is `{}` and the isolation reached is `{}`{why}",
                self.settings.require.word(),
                reached.word()
            ),
            source: None,
        })
    }

    /// Lets the keeper go, has something done to the tree, and starts another keeper for it.
    fn between_keepers<T>(
        &mut self,
        cx: &mut Context,
        act: impl FnOnce(&mut dyn Tree, &mut Context) -> Result<T, VmError>,
    ) -> Result<T, VmError> {
        let (Some(place), Some(tree)) = (self.place.take(), &mut self.tree) else {
            return Err(not_ready());
        };
        let before = level(place.keeper.isolation(), tree.as_ref());
        drop(place);
        let done = act(tree.as_mut(), cx)?;
        let (place, less) = start(tree.as_ref(), cx).map_err(no_keeper)?;
        let now = level(place.keeper.isolation(), tree.as_ref());
        self.place = Some(place);
        if now < before {
            self.check_level(now, Some(&less.join("; ")))?;
        }
        Ok(done)
    }
}

/// Starts a keeper for a tree that can do without mounts.
fn begin(tree: Box<dyn Tree>, cx: &Context) -> Result<Begun, VmError> {
    let (place, less) = start(tree.as_ref(), cx).map_err(no_keeper)?;
    Ok(Begun { tree, place, less })
}

fn start(tree: &dyn Tree, cx: &Context) -> Result<(Place, Vec<String>), KeeperError> {
    let mounts = tree.mounts();
    let held = || -> io::Result<_> {
        // Until the last tool has ended, nobody else may have the workspace or the tree.
        let mut keep = Vec::new();
        if let Some(lock) = cx.lock {
            keep.push(lock.as_fd().try_clone_to_owned()?);
        }
        keep.extend(tree.lock()?);
        Ok(keep)
    };
    let spec = KeeperSpec {
        namespaces: Namespaces {
            mount: !mounts.is_empty(),
            pid: true,
        },
        needs_mounts: tree.needs_mounts(),
        mounts,
        keep: held().map_err(KeeperError::Resources)?,
    };
    let (keeper, less) = Keeper::start_best(&spec)?;
    let (seen, real) = tree.places(&keeper);
    Ok((Place { keeper, seen, real }, less))
}

/// The level of isolation that holds.
fn level(isolation: Isolation, tree: &dyn Tree) -> Require {
    match (isolation.processes, isolation.mount && tree.is_private()) {
        (true, true) => Require::View,
        (true, false) => Require::Processes,
        (false, _) => Require::None,
    }
}

impl Session for HostSandboxSession {
    fn ensure_ready(&mut self, vfs: &Vfs, _: &VfsPath, cx: &mut Context) -> Result<Readiness, VmError> {
        if self.settings.require == Require::Full {
            return Err(VmError::not_yet("sandbox.require = \"full\""));
        }
        let Begun { tree, place, less } = self.begin_as_asked(vfs, cx)?;
        let isolation = place.keeper.isolation();
        let level = level(isolation, tree.as_ref());
        let why = (!less.is_empty()).then(|| less.join("; "));
        self.check_level(level, why.as_deref())?;
        self.git_looks_above = isolation.mount
            && tree.is_private()
            && vfs.base().is_some_and(|(workspace, _)| {
                let repository = workspace.child(".git");
                !vfs.exists(repository.unwrap_or_else(|_| workspace.clone()))
            });
        if let (Some(cache), Some((_, folder)), true) = (&self.settings.cache, vfs.base(), tree.is_private()) {
            // Only `clean` needs it.
            let _ = note_workspace(cache, folder);
        }
        let strategy = Some(tree.strategy());
        self.place = Some(place);
        self.tree = Some(tree);
        Ok(Readiness {
            strategy,
            isolation: level,
            why,
        })
    }

    fn start_tool(
        &mut self,
        _: &mut Vfs,
        command: &ToolCommand,
        messages: SyncSender<Message>,
    ) -> Result<Box<dyn Running>, VmError> {
        let Some(Place { keeper, seen, .. }) = &mut self.place else {
            return Err(not_ready());
        };
        let cwd = seen.of(&command.cwd);
        let mut env = command.env.clone();
        if let Some((_, value)) = env.iter_mut().find(|(name, _)| name == "PWD") {
            cwd.as_os_str().clone_into(value);
        }
        let git = "GIT_DISCOVERY_ACROSS_FILESYSTEM";
        if self.git_looks_above && !env.iter().any(|(name, _)| name == git) {
            env.push((git.into(), "1".into()));
        }
        let request = SpawnRequest {
            argv: command.argv.clone(),
            env,
            cwd,
            stdin: command.stdin,
            terminal: command.terminal,
        };
        let tool = keeper.spawn(&request, messages).map_err(|source| VmError::Lost {
            message: "the process that keeps the tools does not answer".to_owned(),
            source: Some(source),
        })?;
        Ok(Box::new(tool))
    }

    fn exists(&self, path: &VfsPath) -> bool {
        self.place
            .as_ref()
            .is_some_and(|place| place.real.of(path).symlink_metadata().is_ok())
    }

    fn explain(&self, stderr: &[u8]) -> Option<String> {
        let (place, tree) = (self.place.as_ref()?, self.tree.as_ref()?);
        let overlay = tree.strategy() == "overlay";
        overlay.then(|| hints::explain(stderr, place.keeper.isolation().user))?
    }

    fn checkpoint(&mut self, cx: &mut Context) -> Result<bool, VmError> {
        self.between_keepers(cx, |tree, cx| tree.checkpoint(cx))
    }

    fn roll_back(&mut self, cx: &mut Context) -> Result<(), VmError> {
        self.between_keepers(cx, |tree, cx| tree.roll_back(cx))
    }

    fn collect(&mut self, vfs: &mut Vfs, cx: &mut Context) -> Result<Baseline, VmError> {
        // The view must not change while it is read: nothing of the tools may be left.
        self.place = None;
        match &mut self.tree {
            Some(tree) => tree.collect(vfs, cx),
            None => Err(not_ready()),
        }
    }

    fn release(&mut self, _: &mut Context) -> Result<(), VmError> {
        self.place = None;
        self.tree = None;
        Ok(())
    }
}

fn not_ready() -> VmError {
    VmError::Lost {
        message: "the session is not ready".to_owned(),
        source: None,
    }
}

fn no_keeper(error: KeeperError) -> VmError {
    VmError::Sandbox {
        message: "the process that keeps the tools could not be started".to_owned(),
        source: Some(io::Error::other(error)),
    }
}
