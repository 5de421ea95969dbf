//! What a kept result consists of, on disk.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::sys::fs::{Stamp, Time};
use crate::vfs::{Content, FileNode, Node, Vfs, VfsPath};
use crate::workspace::content::slot_name;
use crate::workspace::index::{checked_body, read_limited, with_checksum};
use crate::workspace::overlay::vfs_path;
use crate::workspace::{IndexBaseline, RootId, Rules};

use super::ResultSummary;

const HEAD: &[u8; 8] = b"DSRESLT\x02";
/// The manifest's name in a result's folder.
pub(super) const MANIFEST: &str = "manifest";
/// The folder of contents in a result's folder.
pub(super) const FILES: &str = "files";

/// A path relative to the workspace, as bytes: names need not be UTF-8.
type Bytes = Vec<u8>;

/// All of a kept result but the contents, which are `files/N`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Manifest {
    created: Time,
    run_id: String,
    class: String,
    tool: Option<String>,
    pub(super) ignore: Vec<String>,
    pub(super) cache_dirs: Vec<String>,
    nodes: Vec<(Bytes, WireNode)>,
    known: Vec<(Bytes, Option<Stamp>)>,
    folder_times: Vec<(Bytes, Time)>,
    folders: Vec<(Bytes, u64)>,
    /// The inode of the workspace's folder.
    root: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum WireNode {
    File {
        slot: u32,
        len: u64,
        mode: u32,
        mtime: Option<Time>,
        owner: Option<(u32, u32)>,
    },
    Dir {
        mode: u32,
        mtime: Option<Time>,
        replaces: bool,
    },
    Symlink {
        target: Bytes,
        mtime: Option<Time>,
    },
    Deleted,
}

impl Manifest {
    /// Describes the changes of `vfs`. The content of the change number N is slot N.
    pub(super) fn describe(vfs: &Vfs, baseline: &IndexBaseline, rules: &Rules, new: &super::NewResult) -> Self {
        let workspace = vfs.workspace();
        let relative = |path: &VfsPath| Some(path.strip_prefix(&workspace)?.as_os_str().as_bytes().to_vec());
        let (ignore, cache_dirs) = rules.lines();
        let nodes = vfs
            .changes()
            .zip(0..)
            .filter_map(|((path, node), slot)| Some((relative(path)?, wire(node, slot))))
            .collect();
        Self {
            created: Time::now(),
            run_id: new.run_id.clone(),
            class: new.class.clone(),
            tool: new.tool.clone(),
            ignore: ignore.to_vec(),
            cache_dirs: cache_dirs.to_vec(),
            nodes,
            known: baseline
                .known
                .iter()
                .filter_map(|(path, stamp)| Some((relative(path)?, *stamp)))
                .collect(),
            folder_times: baseline
                .folder_times
                .iter()
                .filter_map(|(path, time)| Some((relative(path)?, *time)))
                .collect(),
            folders: baseline
                .folders
                .iter()
                .filter_map(|(path, ino)| Some((relative(path)?, *ino)))
                .collect(),
            root: baseline.root.map(|root| root.ino),
        }
    }

    pub(super) fn created(&self) -> Time {
        self.created
    }

    /// The number of the content that is meant for a file.
    pub(super) fn slot(&self, relative: &Path) -> Option<u32> {
        let relative = relative.as_os_str().as_bytes();
        self.nodes.iter().find_map(|(path, node)| match node {
            WireNode::File { slot, .. } if path == relative => Some(*slot),
            _ => None,
        })
    }

    pub(super) fn summary(&self, id: &str) -> ResultSummary {
        let deleted = self.nodes.iter().filter(|(_, node)| *node == WireNode::Deleted).count();
        ResultSummary {
            id: id.to_owned(),
            created: self.created,
            run_id: self.run_id.clone(),
            class: self.class.clone(),
            tool: self.tool.clone(),
            written: (self.nodes.len() - deleted) as u64,
            deleted: deleted as u64,
            bytes: self
                .nodes
                .iter()
                .map(|(_, node)| if let WireNode::File { len, .. } = node { *len } else { 0 })
                .sum(),
        }
    }

    pub(super) fn encode(&self) -> io::Result<Vec<u8>> {
        let body = postcard::to_stdvec(self).map_err(io::Error::other)?;
        Ok(with_checksum(HEAD, &body))
    }

    /// Reads a manifest; `None` when it is damaged, foreign, or names what is no path.
    pub(super) fn load(folder: &Path) -> Option<Self> {
        let bytes = read_limited(&folder.join(MANIFEST)).ok()?;
        let manifest: Self = postcard::from_bytes(checked_body(&bytes, HEAD)?).ok()?;
        let paths = manifest.nodes.iter().map(|(path, _)| path);
        let all = paths
            .chain(manifest.known.iter().map(|(path, _)| path))
            .chain(manifest.folder_times.iter().map(|(path, _)| path))
            .chain(manifest.folders.iter().map(|(path, _)| path));
        all.into_iter().all(|path| is_plain(path)).then_some(manifest)
    }

    /// Puts the changes into `vfs`, with their contents in `files`, and gives the baseline.
    pub(super) fn restore(&self, vfs: &mut Vfs, files: &Path) -> Option<IndexBaseline> {
        let workspace = vfs.workspace();
        let at = |path: &Bytes| vfs_path(&workspace, Path::new(OsStr::from_bytes(path))).ok();
        let mut baseline = IndexBaseline::default();
        for (path, stamp) in &self.known {
            baseline.known.insert(at(path)?, *stamp);
        }
        for (path, time) in &self.folder_times {
            baseline.folder_times.insert(at(path)?, *time);
        }
        for (path, ino) in &self.folders {
            baseline.folders.insert(at(path)?, *ino);
        }
        // A result may be applied after a restart, when the file system has another number.
        baseline.root = self.root.map(|ino| RootId { dev: None, ino });
        for (path, node) in &self.nodes {
            vfs.insert(at(path)?, node.to_node(files));
        }
        Some(baseline)
    }
}

fn wire(node: &Node, slot: u32) -> WireNode {
    match node {
        Node::File(file) => WireNode::File {
            slot,
            len: file.content.len(),
            mode: file.mode,
            mtime: file.mtime,
            owner: file.owner,
        },
        Node::Dir { mode, mtime, replaces } => WireNode::Dir {
            mode: *mode,
            mtime: *mtime,
            replaces: *replaces,
        },
        Node::Symlink { target, mtime } => WireNode::Symlink {
            target: target.as_os_str().as_bytes().to_vec(),
            mtime: *mtime,
        },
        Node::Deleted => WireNode::Deleted,
    }
}

impl WireNode {
    fn to_node(&self, files: &Path) -> Node {
        match self {
            Self::File {
                slot,
                len,
                mode,
                mtime,
                owner,
            } => Node::File(FileNode {
                content: Content::File {
                    path: files.join(slot_name(*slot)),
                    len: *len,
                    lease: None,
                },
                mode: *mode,
                mtime: *mtime,
                owner: *owner,
            }),
            Self::Dir { mode, mtime, replaces } => Node::Dir {
                mode: *mode,
                mtime: *mtime,
                replaces: *replaces,
            },
            Self::Symlink { target, mtime } => Node::Symlink {
                target: PathBuf::from(OsString::from_vec(target.clone())),
                mtime: *mtime,
            },
            Self::Deleted => Node::Deleted,
        }
    }
}

/// Whether it is relative and has no empty, `.` or `..` part; empty is the workspace itself.
fn is_plain(path: &[u8]) -> bool {
    path.is_empty()
        || !path.contains(&0)
            && path
                .split(|byte| *byte == b'/')
                .all(|part| !part.is_empty() && part != b"." && part != b"..")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(path: &[u8]) -> Manifest {
        Manifest {
            created: Time::now(),
            run_id: "r".to_owned(),
            class: "tool".to_owned(),
            tool: None,
            ignore: Vec::new(),
            cache_dirs: Vec::new(),
            nodes: vec![(path.to_vec(), WireNode::Deleted)],
            known: Vec::new(),
            folder_times: Vec::new(),
            folders: Vec::new(),
            root: None,
        }
    }

    #[test]
    fn a_manifest_comes_back_and_a_damaged_one_does_not() {
        let temp = tempfile::tempdir().unwrap();
        let manifest = manifest(b"a/\xff\n");
        let good = manifest.encode().unwrap();
        std::fs::write(temp.path().join(MANIFEST), &good).unwrap();
        assert_eq!(Manifest::load(temp.path()), Some(manifest));
        for position in 0..good.len() {
            let mut bent = good.clone();
            bent[position] ^= 1;
            std::fs::write(temp.path().join(MANIFEST), &bent).unwrap();
            assert_eq!(Manifest::load(temp.path()), None);
        }
    }

    #[test]
    fn paths_that_lead_out_are_not_believed() {
        let temp = tempfile::tempdir().unwrap();
        for bad in [&b"../x"[..], b"/etc/passwd", b"a//b", b"a/../../b", b"a\0"] {
            std::fs::write(temp.path().join(MANIFEST), manifest(bad).encode().unwrap()).unwrap();
            assert_eq!(Manifest::load(temp.path()), None);
        }
    }
}
