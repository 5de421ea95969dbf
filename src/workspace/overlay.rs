//! The Vfs as one table: what the base holds, with the changes laid over it.

use std::collections::{BTreeMap, HashMap};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::sys::fs::{Kind, Stamp};
use crate::vfs::{Node, Vfs, VfsError, VfsPath};

use super::SyncError;
use super::table::{PathTable, compare};
use super::walk::Met;

/// What is to be staged.
pub(crate) struct Source<'v> {
    /// Each path, with what the walk of the base met there. Special files have rows as well.
    pub(crate) rows: PathTable<Met>,
    /// The changes among them, by row; there the base's stamp means nothing.
    pub(crate) nodes: HashMap<usize, &'v Node>,
    has_base: bool,
    /// FIFOs, sockets and devices of the base.
    pub(crate) specials: Vec<PathBuf>,
    /// What the base has where the Vfs has something else.
    pub(crate) hidden: BTreeMap<VfsPath, Option<Stamp>>,
}

impl Source<'_> {
    /// The base's stamp, where the row is no change.
    pub(crate) fn base(&self, row: usize) -> Option<&Stamp> {
        let is_change = !self.has_base || !self.nodes.is_empty() && self.nodes.contains_key(&row);
        (!is_change).then(|| &self.rows.value(row).stamp)
    }
}

/// Lays the changes of `vfs` over what a walk of its base met.
pub(crate) fn lay_over<'v>(vfs: &'v Vfs, base: Option<PathTable<Met>>) -> Result<Source<'v>, SyncError> {
    let workspace = vfs.workspace();
    let has_base = base.is_some();
    let base = base.unwrap_or_default();
    let specials = specials_of(&base);
    if has_base && vfs.changes().next().is_none() {
        return Ok(Source {
            rows: base,
            nodes: HashMap::new(),
            has_base,
            specials,
            hidden: BTreeMap::new(),
        });
    }
    let mut source = Source {
        rows: PathTable::with_capacity(base.len(), 0),
        nodes: HashMap::new(),
        has_base,
        specials,
        hidden: BTreeMap::new(),
    };
    let nothing = Met {
        stamp: Stamp::none(),
        ignored: false,
    };
    let mut below = base.cursor();
    let mut above = vfs
        .changes()
        .filter_map(|(path, node)| Some((path, path.strip_prefix(&workspace)?.to_owned(), node)))
        .peekable();
    let mut fits = true;
    if !has_base
        && above
            .peek()
            .is_none_or(|(_, relative, _)| !relative.as_os_str().is_empty())
    {
        // Without a base the root has no stamp of its own.
        fits &= source.rows.push(0, b"", nothing);
    }
    loop {
        let order = match (below.current(), above.peek()) {
            (None, None) => break,
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(_), Some((_, relative, _))) => compare(below.path(), relative),
        };
        if order.is_lt() {
            if let Some((_, met)) = below.current() {
                fits &= push(&mut source.rows, below.path(), *met);
            }
            below.advance();
            continue;
        }
        let Some((path, relative, node)) = above.next() else {
            break;
        };
        if order.is_eq() {
            let stamp = below.current().map(|(_, met)| met.stamp);
            source.hidden.insert(path.clone(), stamp);
            if matches!(node, Node::Dir { replaces: false, .. }) {
                below.advance();
            } else {
                // The whole subtree of the base is out of sight.
                let mut inside = below.clone();
                below.skip_subtree();
                inside.advance();
                while inside.row() < below.row() {
                    if let Some((_, met)) = inside.current() {
                        source
                            .hidden
                            .insert(vfs_path(&workspace, inside.path())?, Some(met.stamp));
                    }
                    inside.advance();
                }
            }
        } else {
            source.hidden.entry(path.clone()).or_insert(None);
        }
        if !matches!(node, Node::Deleted) {
            source.nodes.insert(source.rows.len(), node);
            fits &= push(&mut source.rows, &relative, nothing);
        }
    }
    if fits {
        return Ok(source);
    }
    Err(SyncError::Io {
        action: "hold the tree of",
        path: vfs.base().map_or_else(PathBuf::new, |(_, path)| path.to_owned()),
        source: std::io::ErrorKind::FileTooLarge.into(),
    })
}

/// The Vfs path of `relative`, a path below the workspace.
pub(crate) fn vfs_path(workspace: &VfsPath, relative: &Path) -> Result<VfsPath, SyncError> {
    Ok(workspace.resolve(relative).map_err(VfsError::from)?)
}

fn push(rows: &mut PathTable<Met>, path: &Path, met: Met) -> bool {
    let depth = path.iter().count();
    let name = path.file_name().map_or(&b""[..], |name| name.as_bytes());
    rows.push(depth, name, met)
}

fn specials_of(base: &PathTable<Met>) -> Vec<PathBuf> {
    let mut specials = Vec::new();
    let mut cursor = base.cursor();
    while let Some((_, met)) = cursor.current() {
        if met.stamp.kind() == Kind::Special {
            specials.push(cursor.path().to_owned());
        }
        cursor.advance();
    }
    specials
}
