//! A real overlay over the workspace of a [`Bench`], in mount namespaces of child processes.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use super::roundtrip::{Bench, chmod, is_root, skipped};
use super::{Baseline, Beginning, CommitError, CommitReport, Layers, Pulled};
use crate::vfs::Vfs;

/// Mounts `$1` on `$2`, does `$3` in it, lets the host act, and goes on with `$4`.
const IN_VIEW: &str = r#"
    mount -t overlay overlay -o "$1" "$2" || exit 90
    cd "$2" || exit 91
    eval "$3" || exit 92
    echo ready
    read -r line || exit 93
    eval "$4" || exit 94
"#;

/// A view of a workspace, with a layer for each time that [`View::layer`] was called.
pub(super) struct View<'a> {
    pub(super) bench: &'a Bench,
    pub(super) layers: Layers,
    pub(super) beginning: Beginning,
}

impl<'a> View<'a> {
    /// `None`, said aloud, where no overlay can be mounted.
    pub(super) fn begin(bench: &'a Bench) -> Option<Self> {
        if !can_mount() {
            skipped("needs the right to mount an overlay");
            return None;
        }
        let mut view = Self {
            bench,
            layers: Layers::default(),
            beginning: settled(&bench.real(""), bench.temp.path()),
        };
        view.layer();
        Some(view)
    }

    fn place(&self, part: &str, number: usize) -> PathBuf {
        self.bench
            .temp
            .path()
            .canonicalize()
            .unwrap()
            .join(format!("{part}{number}"))
    }

    /// A fresh layer over the others. It looks like the folder that it lies over.
    pub(super) fn layer(&mut self) {
        let number = self.layers.uppers.len();
        let below = self.layers.uppers.last().cloned().unwrap_or(self.bench.real(""));
        let upper = self.place("upper", number);
        fs::create_dir(&upper).unwrap();
        let meta = below.metadata().unwrap();
        chmod(&upper, meta.mode() & 0o7777);
        fs::File::open(&upper)
            .unwrap()
            .set_modified(meta.modified().unwrap())
            .unwrap();
        self.layers.uppers.push(upper);
    }

    /// Runs a script of a shell in the view.
    pub(super) fn run(&self, script: &str) {
        self.run_around(script, || (), "true");
    }

    /// Runs two scripts in the view, and `host` in between.
    pub(super) fn run_around(&self, first: &str, host: impl FnOnce(), then: &str) {
        let (upper, lower) = self.layers.uppers.split_last().unwrap();
        let work = self.place("work", self.layers.uppers.len());
        let temp = crate::sys::fs::open_dir(self.bench.temp.path()).unwrap();
        crate::sys::fs::remove_tree(&temp, work.file_name().unwrap()).unwrap();
        fs::create_dir(&work).unwrap();
        let real = self.bench.real("").canonicalize().unwrap();
        let lower: Vec<&str> = lower
            .iter()
            .rev()
            .chain([&real])
            .map(|path| path.to_str().unwrap())
            .collect();
        let options = format!(
            "userxattr,volatile,lowerdir={},upperdir={},workdir={}",
            lower.join(":"),
            upper.display(),
            work.display()
        );
        let mut child = Command::new("unshare")
            .args([
                if is_root() { "-m" } else { "-Urm" },
                "sh",
                "-c",
                IN_VIEW,
                "sh",
                &options,
            ])
            .arg(&real)
            .args([first, then])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(
            lines.by_ref().map_while(Result::ok).any(|line| line.ends_with("ready")),
            "{first}: {:?}",
            child.wait()
        );
        host();
        child.stdin.take().unwrap().write_all(b"go on\n").unwrap();
        let rest: Vec<String> = lines.map_while(Result::ok).collect();
        assert!(child.wait().unwrap().success(), "{then}: {rest:?}");
        // The kernel leaves a folder that its owner may not enter.
        chmod(work.join("work"), 0o700);
    }

    pub(super) fn collect(&self, vfs: &mut Vfs) -> Pulled {
        super::collect(&self.layers, &self.beginning, &self.bench.rules, vfs, None, &|| false).unwrap()
    }

    /// Collects and commits.
    pub(super) fn finish(&self) -> Result<CommitReport, CommitError> {
        let mut vfs = self.bench.vfs();
        let mut baseline: Baseline = self.collect(&mut vfs).baseline;
        self.bench.commit(&mut vfs, &mut baseline)
    }
}

impl Drop for View<'_> {
    fn drop(&mut self) {
        let temp = crate::sys::fs::open_dir(self.bench.temp.path()).unwrap();
        for name in crate::sys::fs::names(&temp).unwrap() {
            let shown = name.to_string_lossy();
            if shown.starts_with("upper") || shown.starts_with("work") {
                let _ = crate::sys::fs::remove_tree(&temp, &name);
            }
        }
    }
}

/// A beginning that tells what was before apart from what comes after, also where times are whole seconds.
pub(super) fn settled(workspace: &Path, place: &Path) -> Beginning {
    let beginning = Beginning::note(workspace, place).unwrap();
    if !beginning.is_coarse() {
        return beginning;
    }
    std::thread::sleep(std::time::Duration::from_millis(1100));
    Beginning::note(workspace, place).unwrap()
}

/// Whether a child process can mount an overlay here.
fn can_mount() -> bool {
    static CAN: OnceLock<bool> = OnceLock::new();
    *CAN.get_or_init(|| {
        let temp = tempfile::tempdir().unwrap();
        for part in ["l", "u", "w", "m"] {
            fs::create_dir(temp.path().join(part)).unwrap();
        }
        let script = "mount -t overlay overlay -o userxattr,volatile,lowerdir=l,upperdir=u,workdir=w m";
        let able = Command::new("unshare")
            .args([if is_root() { "-m" } else { "-Urm" }, "sh", "-c", script])
            .current_dir(temp.path())
            .status()
            .is_ok_and(|status| status.success());
        let _ = fs::metadata(temp.path().join("w/work")).map(|_| chmod(temp.path().join("w/work"), 0o700));
        able
    })
}

/// Runs a script of a shell in a plain folder, with the rights that it would have in a view of these tests.
pub(super) fn shell_as_in_view(folder: &Path, script: &str) {
    let status = Command::new("unshare")
        .args([if is_root() { "-m" } else { "-Urm" }, "sh", "-c", script])
        .current_dir(folder)
        .status()
        .unwrap();
    assert!(status.success(), "{script}");
}

/// Runs a script of a shell in a plain folder.
pub(super) fn shell(folder: impl AsRef<Path>, script: &str) {
    let status = Command::new("sh")
        .args(["-ec", script])
        .current_dir(folder)
        .status()
        .unwrap();
    assert!(status.success(), "{script}");
}
