//! The host backend as the runner uses it.

use std::io;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::mpsc::SyncSender;

use crate::plan::{Require, Strategy};
use crate::process::{
    Cancel, Isolation, Keeper, KeeperError, KeeperSpec, Message, Namespaces, PrivateFolders, Running, SpawnRequest,
    ToolCommand,
};
use crate::session::notes::note_workspace;
use crate::session::{Collected, Context, Readiness, Session, VmError};
use crate::sys::fs;
use crate::vfs::{Vfs, VfsPath};

use super::copy::StagedCopy;
use super::denials::{self, Shut};
use super::hints;
use super::in_place::InPlace;
use super::overlay::{NoOverlay, Overlay};
use super::places::Places;
use super::settings::HostSettings;
use super::tree::Tree;

/// A session on this host: a view of the tree, and the keeper that runs tools in it.
pub struct HostSandboxSession {
    settings: HostSettings,
    // Before the tree: nothing may run in it any more when it goes.
    place: Option<Place>,
    /// One in which nothing runs any more and that the kernel is taking down.
    ending: Option<Place>,
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

/// What a keeper is to take over from the one before it.
struct Before {
    /// The tools' folders for temporary files.
    private: PrivateFolders,
    /// Whether a PID namespace is to be tried: what could not be had once is not tried again.
    pid: bool,
}

impl Default for Before {
    fn default() -> Self {
        Self {
            private: PrivateFolders::default(),
            pid: true,
        }
    }
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
            ending: None,
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
            Strategy::InPlace => self.begin(Box::new(InPlace::new(vfs)?), cx),
            Strategy::Copy => self.copy(vfs, cx),
            Strategy::Overlay => self.overlay(vfs, cx).map_err(|refused| match refused {
                NoOverlay::Failed(error) => error,
                NoOverlay::Unfit(why) => VmError::NoOverlay { why },
            }),
            Strategy::Auto => match self.overlay(vfs, cx) {
                Ok(begun) => Ok(begun),
                Err(NoOverlay::Failed(error)) => Err(error),
                Err(NoOverlay::Unfit(why)) => {
                    let mut begun = self.copy(vfs, cx).map_err(|error| match error {
                        VmError::Config(text) => VmError::Config(format!("{text}; and no overlay: {why}")),
                        error => error,
                    })?;
                    // What keeps an overlay away often keeps away more.
                    begun.less.retain(|less| *less != why);
                    begun.less.insert(0, format!("no overlay: {why}"));
                    Ok(begun)
                }
            },
        }
    }

    fn overlay(&self, vfs: &Vfs, cx: &mut Context) -> Result<Begun, NoOverlay> {
        let tree = Box::new(Overlay::new(&self.settings, vfs, cx)?);
        let started = self.start(tree.as_ref(), cx, Before::default());
        let (place, less) = started.map_err(|error| NoOverlay::Unfit(error.in_full()))?;
        Ok(Begun { tree, place, less })
    }

    fn copy(&self, vfs: &Vfs, cx: &mut Context) -> Result<Begun, VmError> {
        if self.settings.shuts_off().is_some() {
            // A copy may take long: what cannot be shut off is to be known before it is made.
            let spec = self.spec(Vec::new(), Before::default());
            Keeper::start_best(&spec).map_err(|error| self.no_keeper(error))?;
        }
        self.begin(Box::new(StagedCopy::new(&self.settings, vfs, cx)?), cx)
    }

    /// Starts a keeper for a tree that can do without mounts.
    fn begin(&self, tree: Box<dyn Tree>, cx: &Context) -> Result<Begun, VmError> {
        let started = self.start(tree.as_ref(), cx, Before::default());
        let (place, less) = started.map_err(|error| self.no_keeper(error))?;
        Ok(Begun { tree, place, less })
    }

    fn start(&self, tree: &dyn Tree, cx: &Context, before: Before) -> Result<(Place, Vec<String>), KeeperError> {
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
        let mut spec = self.spec(tree.writable(), before);
        spec.namespaces.mount = !mounts.is_empty();
        spec.needs_mounts = tree.needs_mounts();
        spec.mounts = mounts;
        spec.keep = held().map_err(KeeperError::Resources)?;
        let (keeper, less) = Keeper::start_best(&spec)?;
        let (seen, real) = tree.places(&keeper);
        Ok((Place { keeper, seen, real }, less))
    }

    /// What every keeper of this session is to be; `tree` is where the tools write.
    fn spec(&self, tree: Vec<PathBuf>, before: Before) -> KeeperSpec {
        KeeperSpec {
            namespaces: Namespaces {
                mount: false,
                pid: before.pid,
            },
            loopback_only: !self.settings.network,
            read_only: self
                .settings
                .outside
                .as_ref()
                .map(|outside| outside.spec(tree, before.private)),
            ..KeeperSpec::default()
        }
    }

    /// The level of isolation that holds.
    fn level(&self, isolation: Isolation, tree: &dyn Tree) -> Require {
        match (isolation.processes, isolation.mount && tree.is_private()) {
            // A tool that can trace the caller's other processes writes by their hands.
            (true, true) if self.settings.outside.is_some() && isolation.pid => Require::Full,
            (true, true) => Require::View,
            (true, false) => Require::Processes,
            (false, _) => Require::None,
        }
    }

    fn no_keeper(&self, error: KeeperError) -> VmError {
        let message = match self.settings.shuts_off() {
            Some(asked) if matches!(error, KeeperError::Setup { .. }) => {
                format!("{asked} cannot be had here, so nothing was run")
            }
            _ => "the process that keeps the tools could not be started".to_owned(),
        };
        VmError::Sandbox {
            message,
            source: Some(io::Error::other(error)),
        }
    }

    /// Refuses what cannot be reached, however the run goes on.
    fn check_full(&self) -> Result<(), VmError> {
        if self.settings.require < Require::Full {
            return Ok(());
        }
        Err(VmError::Sandbox {
            message:
                "sandbox.require is `full`, and sandbox.host is `rw`, so that tools may write outside the workspace: \
                      set sandbox.host = \"ro\""
                    .to_owned(),
            source: None,
        })
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
        let (Some(mut place), Some(tree)) = (self.place.take(), &mut self.tree) else {
            return Err(VmError::not_ready());
        };
        let reached = place.keeper.isolation();
        // The tools after this one find what those before it left in their /tmp.
        let before = Before {
            private: place.keeper.take_private(),
            pid: reached.pid,
        };
        drop(place);
        let done = act(tree.as_mut(), cx)?;
        let Some(tree) = self.tree.as_deref() else {
            return Err(VmError::not_ready());
        };
        let (place, less) = self.start(tree, cx, before).map_err(|error| self.no_keeper(error))?;
        let now = self.level(place.keeper.isolation(), tree);
        let less_than_before = now < self.level(reached, tree);
        self.place = Some(place);
        if less_than_before {
            self.check_level(now, Some(&less.join("; ")))?;
        }
        Ok(done)
    }
}

impl Session for HostSandboxSession {
    fn ensure_ready(&mut self, vfs: &Vfs, _: &VfsPath, cx: &mut Context) -> Result<Readiness, VmError> {
        match &self.settings.outside {
            Some(outside) => outside.warn_of_missing(cx.emitter),
            None => self.check_full()?,
        }
        let Begun { tree, place, less } = self.begin_as_asked(vfs, cx)?;
        let isolation = place.keeper.isolation();
        let level = self.level(isolation, tree.as_ref());
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
        _: &Cancel,
    ) -> Result<Box<dyn Running>, VmError> {
        let Some(Place { keeper, seen, .. }) = &mut self.place else {
            return Err(VmError::not_ready());
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
            message: "the process that keeps the tools cannot be given this one".to_owned(),
            source: Some(source),
        })?;
        Ok(Box::new(tool))
    }

    fn exists(&mut self, path: &VfsPath, _: &Cancel) -> Result<bool, VmError> {
        let place = self.place.as_ref().ok_or_else(VmError::not_ready)?;
        Ok(place.real.of(path).symlink_metadata().is_ok())
    }

    fn explain(&self, stderr: &[u8]) -> Option<String> {
        let (place, tree) = (self.place.as_ref()?, self.tree.as_ref()?);
        let user = place.keeper.isolation().user;
        let shut = Shut {
            network: !self.settings.network,
            outside: self.settings.outside.as_ref(),
            tree: &tree.writable(),
            root: fs::caller().0 == 0,
            user,
        };
        let denied = denials::explain(stderr, &shut);
        let limit = (tree.strategy() == "overlay")
            .then(|| hints::explain(stderr, user))
            .flatten();
        match (denied, limit) {
            (Some(denied), Some(limit)) => Some(format!("{denied}; {limit}")),
            (denied, limit) => denied.or(limit),
        }
    }

    fn checkpoint(&mut self, cx: &mut Context) -> Result<bool, VmError> {
        self.between_keepers(cx, |tree, cx| tree.checkpoint(cx))
    }

    fn roll_back(&mut self, cx: &mut Context) -> Result<(), VmError> {
        self.between_keepers(cx, |tree, cx| tree.roll_back(cx))
    }

    fn collect(&mut self, vfs: &mut Vfs, cx: &mut Context) -> Result<Collected, VmError> {
        // The view must not change while it is read: nothing of the tools may be left.
        match self.place.take() {
            Some(place) if place.keeper.let_go() => self.ending = Some(place),
            other => drop(other),
        }
        match &mut self.tree {
            Some(tree) => tree.collect(vfs, cx).map(Collected::from),
            None => Err(VmError::not_ready()),
        }
    }

    fn release(&mut self, _: &mut Context) -> Result<(), VmError> {
        self.place = None;
        self.tree = None;
        // Last: the kernel has worked on it meanwhile.
        self.ending = None;
        Ok(())
    }
}
