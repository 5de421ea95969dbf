//! The host backend as the runner uses it.

use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::SyncSender;
use std::time::Instant;

use crate::event::{Direction, EventBody, millis};
use crate::plan::{Require, Strategy};
use crate::process::{Keeper, KeeperSpec, Message, MountStep, Namespaces, Running, SpawnRequest, ToolCommand};
use crate::session::{Context, Readiness, Session, VmError};
use crate::vfs::{Vfs, VfsPath};
use crate::workspace::{self, Baseline, Pushed, Rules, SyncError};

use super::places::Places;
use super::settings::HostSettings;
use super::staging::Staging;

/// A session on this host: a view of the tree, and the keeper that runs tools in it.
pub struct HostSandboxSession {
    settings: HostSettings,
    view: Option<View>,
    keeper: Option<Keeper>,
}

/// The tree as the tools and as devshell find it.
struct View {
    /// Where the tools see a path.
    seen: Places,
    /// Where devshell finds the same thing.
    real: Places,
    /// The copy and what it was made equal to; none for `in_place`.
    copy: Option<Copy>,
    /// git would stop at the border of a mounted view; it may look above when the repository
    /// is not in the workspace itself.
    git_looks_above: bool,
}

struct Copy {
    staging: Staging,
    pushed: Pushed,
    rules: Rules,
}

impl HostSandboxSession {
    /// A session that nothing was done for yet.
    #[must_use]
    pub fn new(settings: HostSettings) -> Self {
        Self {
            settings,
            view: None,
            keeper: None,
        }
    }

    /// Its settings.
    #[must_use]
    pub fn settings(&self) -> &HostSettings {
        &self.settings
    }

    /// The real tree as the view.
    fn in_place(vfs: &Vfs) -> Result<(View, Vec<MountStep>), VmError> {
        let Some((workspace, folder)) = vfs.base() else {
            return Err(VmError::Config(
                "`in_place` needs a tree on the disk, and this one is only in memory; choose `copy`".to_owned(),
            ));
        };
        if vfs.changes().next().is_some() {
            return Err(VmError::Config(
                "`in_place` shows the tree on the disk, and this one has changes in memory; choose `copy`".to_owned(),
            ));
        }
        let places = Places::below(folder).with_workspace(workspace.clone(), folder);
        let view = View {
            seen: places.clone(),
            real: places,
            copy: None,
            git_looks_above: false,
        };
        Ok((view, Vec::new()))
    }

    /// A staged copy as the view.
    fn copy(&self, vfs: &Vfs, cx: &mut Context) -> Result<(View, Vec<MountStep>), VmError> {
        let staging = Staging::open(&self.settings.staging).map_err(|source| staging_error(&self.settings, source))?;
        let rules = Rules::new(&self.settings.ignore, &self.settings.cache_dirs)
            .map_err(|error| VmError::Config(error.to_string()))?;
        let start = Instant::now();
        let cancel = cx.cancel;
        let tree = vfs.workspace().under(&staging.tree());
        let pushed = workspace::push(vfs, &tree, &staging.index(), &rules, &|| cancel.is_raised())?;
        let report = &pushed.report;
        warn_of_specials(cx, &report.specials, "are not carried: the tools do not see them");
        synced(cx, Direction::Push, [report.files, report.bytes, report.deleted], start);
        if let Some((_, folder)) = vfs.base() {
            staging
                .belongs_to(folder)
                .map_err(|source| staging_error(&self.settings, source))?;
        }
        let real = Places::below(&staging.tree());
        let mut view = View {
            seen: real.clone(),
            real,
            copy: Some(Copy { staging, pushed, rules }),
            git_looks_above: false,
        };
        let mut mounts = Vec::new();
        if let Some((workspace, folder)) = vfs.base() {
            mounts.push(MountStep::Bind {
                from: view.real.of(workspace),
                onto: folder.to_path_buf(),
            });
            view.git_looks_above = !vfs.exists(workspace.child(".git").unwrap_or_else(|_| workspace.clone()));
        }
        Ok((view, mounts))
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
}

impl Session for HostSandboxSession {
    fn ensure_ready(&mut self, vfs: &Vfs, _: &VfsPath, cx: &mut Context) -> Result<Readiness, VmError> {
        let in_place = match self.settings.strategy {
            Strategy::InPlace => true,
            // The best that this version has.
            Strategy::Auto | Strategy::Copy => false,
            Strategy::Overlay => return Err(no_overlay()),
        };
        if self.settings.require == Require::Full {
            return Err(VmError::not_yet("sandbox.require = \"full\""));
        }
        let (mut view, mounts) = if in_place {
            Self::in_place(vfs)?
        } else {
            self.copy(vfs, cx)?
        };
        let namespaces = Namespaces {
            mount: !mounts.is_empty(),
            pid: true,
        };
        // Until the last tool has ended, nobody else may have the tree or the copy.
        let mut keep = Vec::new();
        if let Some(lock) = cx.lock {
            keep.push(lock.as_fd().try_clone_to_owned().map_err(no_keeper)?);
        }
        if let Some(copy) = &view.copy {
            keep.extend(copy.staging.lock().map_err(no_keeper)?);
        }
        let spec = KeeperSpec {
            mounts,
            namespaces,
            keep,
        };
        let (keeper, less) = Keeper::start_best(&spec).map_err(|error| no_keeper(std::io::Error::other(error)))?;
        let isolation = keeper.isolation();
        if isolation.mount
            && let Some((workspace, folder)) = vfs.base()
        {
            view.seen = view.seen.with_workspace(workspace.clone(), folder);
        } else {
            view.git_looks_above = false;
        }
        let level = match (isolation.processes, isolation.mount && !in_place) {
            (true, true) => Require::View,
            (true, false) => Require::Processes,
            (false, _) => Require::None,
        };
        let chosen = (self.settings.strategy == Strategy::Auto).then(|| "auto: this version has no overlay".to_owned());
        let reasons: Vec<String> = chosen.into_iter().chain(less).collect();
        let why = (!reasons.is_empty()).then(|| reasons.join("; "));
        self.check_level(level, why.as_deref())?;
        self.view = Some(view);
        self.keeper = Some(keeper);
        Ok(Readiness {
            strategy: Some(if in_place { "in_place" } else { "copy" }),
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
        let (Some(view), Some(keeper)) = (&self.view, &mut self.keeper) else {
            return Err(VmError::Lost {
                message: "the session is not ready".to_owned(),
                source: None,
            });
        };
        let cwd = view.seen.of(&command.cwd);
        let mut env = command.env.clone();
        if let Some((_, value)) = env.iter_mut().find(|(name, _)| name == "PWD") {
            cwd.as_os_str().clone_into(value);
        }
        let git = "GIT_DISCOVERY_ACROSS_FILESYSTEM";
        if view.git_looks_above && !env.iter().any(|(name, _)| name == git) {
            env.push((git.into(), "1".into()));
        }
        let request = SpawnRequest {
            argv: command.argv.clone(),
            env,
            cwd,
            stdin: command.stdin,
        };
        let tool = keeper.spawn(&request, messages).map_err(|source| VmError::Lost {
            message: "the process that keeps the tools does not answer".to_owned(),
            source: Some(source),
        })?;
        Ok(Box::new(tool))
    }

    fn exists(&self, path: &VfsPath) -> bool {
        self.view
            .as_ref()
            .is_some_and(|view| view.real.of(path).symlink_metadata().is_ok())
    }

    fn collect(&mut self, vfs: &mut Vfs, cx: &mut Context) -> Result<Baseline, VmError> {
        // The view must not change while it is read: nothing of the tools may be left.
        self.keeper = None;
        let Some(Copy { staging, pushed, rules }) = self.view.as_ref().and_then(|view| view.copy.as_ref()) else {
            return Ok(Baseline::RealTree);
        };
        let start = Instant::now();
        let cancel = cx.cancel;
        let pulled = workspace::pull(pushed, rules, vfs, Some(&staging.lease()), &|| cancel.is_raised())?;
        let report = &pulled.report;
        warn_of_specials(cx, &report.specials, "are not brought back");
        synced(cx, Direction::Pull, [report.files, report.bytes, report.deleted], start);
        Ok(pulled.baseline)
    }

    fn release(&mut self, _: &mut Context) -> Result<(), VmError> {
        self.keeper = None;
        self.view = None;
        Ok(())
    }
}

/// Says what was carried.
fn synced(cx: &mut Context, direction: Direction, [files, bytes, deleted]: [u64; 3], start: Instant) {
    cx.emitter.emit(EventBody::SyncFinished {
        direction,
        files,
        bytes,
        deleted,
        elapsed_ms: millis(start.elapsed()),
    });
}

/// Names what is no file, folder or link; at most a few, for a tree may hold thousands.
fn warn_of_specials(cx: &mut Context, specials: &[PathBuf], what: &str) {
    const NAMED: usize = 5;
    if specials.is_empty() {
        return;
    }
    let named: Vec<String> = specials
        .iter()
        .take(NAMED)
        .map(|path| format!("`{}`", path.display()))
        .collect();
    let more = match specials.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    cx.emitter
        .warn(format!("FIFOs, sockets and devices {what}: {}{more}", named.join(", ")));
}

fn no_keeper(source: std::io::Error) -> VmError {
    VmError::Sandbox {
        message: "the process that keeps the tools could not be started".to_owned(),
        source: Some(source),
    }
}

fn no_overlay() -> VmError {
    VmError::Sandbox {
        message: "vm.host.strategy = \"overlay\" is not available in this version; `auto` and `copy` are, and keep \
                  the same promises at the cost of a copy"
            .to_owned(),
        source: None,
    }
}

fn staging_error(settings: &HostSettings, source: std::io::Error) -> VmError {
    let super::settings::StagingPlace::Fixed(folder) = &settings.staging else {
        return VmError::Sync(io("make", Path::new("a temporary folder"), source));
    };
    if source.kind() == std::io::ErrorKind::WouldBlock {
        return VmError::Lost {
            message: format!("another session holds the staged copy `{}`", folder.display()),
            source: None,
        };
    }
    if source.kind() == std::io::ErrorKind::PermissionDenied {
        return VmError::Sync(SyncError::Io {
            action: "use",
            path: folder.clone(),
            source: std::io::Error::other(format!(
                "{source}: it belongs to another user, who has run devshell with this cache folder; remove it as that \
                 user, or set XDG_CACHE_HOME"
            )),
        });
    }
    VmError::Sync(io("make", folder, source))
}

fn io(action: &'static str, path: &Path, source: std::io::Error) -> SyncError {
    SyncError::Io {
        action,
        path: path.to_path_buf(),
        source,
    }
}
