//! An overlay over the workspace's own path as the view: made in a moment, whatever the size of
//! the tree.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use crate::event::Direction;
use crate::process::{Keeper, MountStep};
use crate::session::words::{listed, synced, warn_of_specials};
use crate::session::{Context, VmError};
use crate::sys::fs;
use crate::vfs::{Vfs, VfsPath};
use crate::workspace::{self, Baseline, Beginning, Layers, Rules, SyncError};

use super::layer::{Look, hide};
use super::layout::{self, Layout};
use super::places::Places;
use super::run_folder::RunFolder;
use super::settings::HostSettings;
use super::tree::Tree;

/// The strategy `overlay`.
pub(super) struct Overlay {
    run: Arc<RunFolder>,
    /// How many layers there are; the last one is written to.
    layers: usize,
    /// The workspace's folder, and where it is in the Vfs.
    folder: PathBuf,
    workspace: VfsPath,
    /// Folders of the real tree that show through: caches, and mounts of their own.
    through: Vec<PathBuf>,
    /// What the view does not show, relative to the workspace.
    hidden: Vec<PathBuf>,
    beginning: Beginning,
    rules: Rules,
    /// The overlay's name in the table of mounts.
    name: String,
}

/// Why there is no overlay.
pub(super) enum NoOverlay {
    /// The layout or the kernel does not have it; in words, with the remedy.
    Unfit(String),
    /// Something failed that would fail for another strategy as well.
    Failed(VmError),
}

impl From<io::Error> for NoOverlay {
    fn from(source: io::Error) -> Self {
        Self::Unfit(source.to_string())
    }
}

impl Overlay {
    /// Prepares the layers; nothing is mounted yet.
    pub(super) fn new(settings: &HostSettings, vfs: &Vfs, cx: &mut Context) -> Result<Self, NoOverlay> {
        let Some((workspace, folder)) = vfs.base() else {
            return Err(NoOverlay::Unfit("the tree is only in memory".to_owned()));
        };
        if vfs.changes().next().is_some() {
            return Err(NoOverlay::Unfit("the tree has changes in memory".to_owned()));
        }
        let Layout { place, submounts } = layout::find(folder, &settings.view_places).map_err(NoOverlay::Unfit)?;
        let rules = settings.rules().map_err(NoOverlay::Failed)?;
        let mut hidden: Vec<PathBuf> = settings
            .own_folders
            .iter()
            .chain([&place.folder])
            .filter_map(|own| own.strip_prefix(folder).ok())
            .map(Path::to_path_buf)
            .collect();
        hidden.sort();
        // One below another is out of sight with it.
        hidden.dedup_by(|below, above| below.starts_with(above));
        let run = RunFolder::make(&place).map_err(|source| {
            NoOverlay::Unfit(format!(
                "cannot make a folder for its layers in `{}`: {source}",
                place.folder.display()
            ))
        })?;
        let mut through = layout::cache_folders(folder, &settings.cache_dirs, &rules);
        let private: Vec<PathBuf> = submounts
            .iter()
            .filter(|mount| !through.iter().any(|cache| mount.starts_with(cache)))
            .cloned()
            .collect();
        if !private.is_empty() {
            cx.emitter.warn(format!(
                "mounts inside the workspace are not private, and what tools write there is there at once: {}",
                listed(&private)
            ));
        }
        through.extend(private);
        let beginning = Beginning::note(folder, run.path()).map_err(|error| NoOverlay::Failed(error.into()))?;
        if beginning.is_coarse() {
            cx.emitter.warn(
                "the workspace's file system keeps whole seconds only: what the host changed just before the run \
                 may count as changed during it",
            );
        }
        let mut overlay = Self {
            run: Arc::new(run),
            layers: 0,
            folder: folder.to_path_buf(),
            workspace: workspace.clone(),
            through,
            hidden,
            beginning,
            rules,
            name: settings.view_name.clone(),
        };
        overlay.add_layer()?;
        Ok(overlay)
    }

    /// Puts an empty layer over the others. Its root is the root that the tools see.
    fn add_layer(&mut self) -> io::Result<()> {
        let below = match self.layers {
            0 => self.folder.clone(),
            number => self.upper(number - 1),
        };
        let look = Look::of(&fs::open_dir(&below)?)?;
        let [upper, work] = self.run.layer(self.layers);
        for folder in [&upper, &work] {
            fs::make_private_dirs(folder)?;
        }
        let root = fs::open_dir(&upper)?;
        if self.layers == 0 {
            let real = fs::open_dir(&self.folder)?;
            for path in &self.hidden {
                hide(&root, &real, path)?;
            }
        }
        look.give_to(&root)?;
        self.layers += 1;
        Ok(())
    }

    fn upper(&self, number: usize) -> PathBuf {
        let [upper, _] = self.run.layer(number);
        upper
    }

    fn stack(&self) -> Layers {
        Layers {
            uppers: (0..self.layers).map(|number| self.upper(number)).collect(),
            hidden: self.hidden.clone(),
        }
    }
}

impl Tree for Overlay {
    fn strategy(&self) -> &'static str {
        "overlay"
    }

    fn mounts(&self) -> Vec<MountStep> {
        let top = self.layers.saturating_sub(1);
        let [upper, work] = self.run.layer(top);
        let below = (0..top).rev().map(|number| self.upper(number));
        let overlay = MountStep::Overlay {
            name: self.name.clone(),
            lowers: below.chain([self.folder.clone()]).collect(),
            upper,
            work,
            onto: self.folder.clone(),
        };
        let through = self.through.iter().map(|folder| MountStep::Bind {
            from: folder.clone(),
            onto: folder.clone(),
        });
        std::iter::once(overlay).chain(through).collect()
    }

    fn writable(&self) -> Vec<PathBuf> {
        vec![self.folder.clone()]
    }

    fn needs_mounts(&self) -> bool {
        true
    }

    fn is_private(&self) -> bool {
        true
    }

    fn lock(&self) -> io::Result<Option<OwnedFd>> {
        self.run.lock().map(Some)
    }

    fn places(&self, keeper: &Keeper) -> (Places, Places) {
        let rest = self.run.path().join("rest");
        let at = |folder: &Path| Places::below(&rest).with_workspace(self.workspace.clone(), folder);
        // The view is in the keeper's namespace alone.
        let mut real = PathBuf::from(format!("/proc/{}/root", keeper.pid()));
        real.extend(self.folder.components().skip(1));
        (at(&self.folder), at(&real))
    }

    fn checkpoint(&mut self, _: &mut Context) -> Result<bool, VmError> {
        self.add_layer().map_err(|source| self.layer_error(source))?;
        Ok(true)
    }

    fn roll_back(&mut self, _: &mut Context) -> Result<(), VmError> {
        // The first one is no checkpoint's.
        if self.layers > 1 {
            self.layers -= 1;
            let removed = self.run.remove_layer(self.layers);
            removed
                .and_then(|()| self.add_layer())
                .map_err(|source| self.layer_error(source))?;
        }
        Ok(())
    }

    fn collect(&mut self, vfs: &mut Vfs, cx: &mut Context) -> Result<Baseline, VmError> {
        let start = Instant::now();
        let cancel = cx.cancel;
        let stack = self.stack();
        let stop = || cancel.is_raised();
        let lease: crate::vfs::Lease = self.run.clone();
        let pulled = workspace::collect(&stack, &self.beginning, &self.rules, vfs, Some(&lease), &stop)?;
        let report = &pulled.report;
        warn_of_specials(cx, &report.specials, "are not brought back");
        synced(cx, Direction::Pull, [report.files, report.bytes, report.deleted], start);
        self.bring_caches_home(&stack, cx)?;
        Ok(pulled.baseline)
    }
}

impl Overlay {
    /// Caches that were new, or whose place no pattern tells, were written in the layers. They are
    /// outside the transaction: also a failed run keeps what was compiled.
    fn bring_caches_home(&self, stack: &Layers, cx: &mut Context) -> Result<(), VmError> {
        let cancel = cx.cancel;
        let kept = match workspace::keep_caches(stack, &self.rules, &self.folder, &|| cancel.is_raised()) {
            // The result is collected, and not to be lost for the sake of a cache.
            Err(error) if !matches!(error, SyncError::Cancelled) => {
                let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
                let source = source.unwrap_or_default();
                cx.emitter
                    .warn(format!("what caches came to could not be kept: {error}{source}"));
                return Ok(());
            }
            other => other?,
        };
        if let Some(error) = kept.failed.first() {
            cx.emitter.warn(format!(
                "what {} cache entries came to could not be kept, the first one because: {error}",
                kept.failed.len()
            ));
        }
        Ok(())
    }

    fn layer_error(&self, source: io::Error) -> VmError {
        VmError::Sync(SyncError::Io {
            action: "make a further layer in",
            path: self.run.path().to_path_buf(),
            source,
        })
    }
}
