//! Tests that hold for every strategy, and what they need: the strategies that can be had here,
//! places on another file system, numbers from a seed.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use tempfile::TempDir;

use super::{Disk, Project, Ran, finish, not_run};

/// The strategies that give tools a private view, as far as this devshell has them on this
/// machine; says aloud which it has not.
pub fn private_strategies(test: &str) -> Vec<&'static str> {
    static REFUSED: OnceLock<Option<String>> = OnceLock::new();
    let refused = REFUSED.get_or_init(|| {
        let project = Project::named("probe");
        let ran = project.devshell(&["exec", "--set", "vm.host.strategy=overlay", "--", "true"]);
        (ran.status.code() != Some(0)).then(|| {
            ran.code(71);
            ran.last_line().to_owned()
        })
    });
    if let Some(why) = refused {
        not_run(&format!("{test} (overlay)"), why);
        return vec!["copy"];
    }
    vec!["copy", "overlay"]
}

/// `--set` for a strategy.
pub fn set(strategy: &str) -> String {
    format!("vm.host.strategy={strategy}")
}

/// A Python that starts fast: not a version manager's script.
pub fn python() -> &'static str {
    if Path::new("/usr/bin/python3").exists() {
        "/usr/bin/python3"
    } else {
        "python3"
    }
}

/// A number from the environment.
pub fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| {
        text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}"))
    })
}

/// Says a line past the test harness's capture, for sums that somebody wants to read.
pub fn say(line: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Where devshell's cache and state folders lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Places {
    /// On the workspace's file system.
    Same,
    /// On another one.
    Other,
}

/// A project with a strategy, and with its cache and state where the test wants them.
pub struct Arena {
    pub project: Project,
    pub strategy: &'static str,
    /// Holds `cache` and `state`.
    base: PathBuf,
    /// Set for an ordinary user: a devshell that this user can reach.
    user: Option<PathBuf>,
    _elsewhere: Option<TempDir>,
}

impl Arena {
    /// `None` where there is no second file system to write to.
    pub fn new(strategy: &'static str, places: Places) -> Option<Self> {
        use std::os::unix::fs::MetadataExt as _;
        let project = Project::named("project");
        let (mut base, mut elsewhere) = (project.beside(""), None);
        if places == Places::Other {
            let folder = tempfile::Builder::new().prefix("devshell-test-").tempdir_in("/dev/shm");
            let folder = folder.ok()?;
            let device = |path: &Path| path.metadata().map(|meta| meta.dev()).ok();
            if device(folder.path()) == device(&project.root) {
                return None;
            }
            base = folder.path().to_owned();
            elsewhere = Some(folder);
        }
        Some(Self {
            project,
            strategy,
            base,
            user: None,
            _elsewhere: elsewhere,
        })
    }

    /// With the project on a disk of its own, and cache and state there too or not. The disk is to
    /// be dropped first.
    pub fn on_disk(
        strategy: &'static str,
        places: Places,
        make: impl FnOnce(&Path) -> Option<Disk>,
    ) -> Option<(Self, Disk)> {
        let mut project = Project::named("project");
        let disk = make(&project.beside("disk"))?;
        project.root = disk.0.join("project");
        std::fs::create_dir(&project.root).unwrap();
        let base = match places {
            Places::Same => disk.0.clone(),
            Places::Other => project.beside(""),
        };
        let arena = Self {
            project,
            strategy,
            base,
            user: None,
            _elsewhere: None,
        };
        Some((arena, disk))
    }

    /// From here on devshell runs as an ordinary user, to whom all of this belongs; for root.
    pub fn for_user(&mut self) {
        let home = self.project.beside("");
        let program = home.join("devshell-under-test");
        std::fs::copy(super::devshell(), &program).unwrap();
        for place in [&home, &self.base] {
            sure(place, "chown", &["-R", "65534:65534", "."]);
            sure(place, "chmod", &["755", "."]);
        }
        self.user = Some(program);
    }

    /// One of the folders `cache` and `state`.
    pub fn place(&self, name: &str) -> PathBuf {
        self.base.join(name)
    }

    /// A program with arguments before those of devshell, in this arena's environment.
    pub fn under(&self, wrapper: &[&str], args: &[&str]) -> Command {
        let program = self.user.clone().unwrap_or_else(super::devshell);
        let mut argv: Vec<&str> = Vec::new();
        if self.user.is_some() {
            argv.extend([
                "setpriv",
                "--reuid",
                "65534",
                "--regid",
                "65534",
                "--clear-groups",
                "--",
            ]);
        }
        argv.extend(wrapper);
        argv.push(program.to_str().unwrap());
        let mut command = self.project.program(argv[0]);
        command.args(&argv[1..]).args(args);
        command.env("XDG_CACHE_HOME", self.place("cache"));
        command.env("XDG_STATE_HOME", self.place("state"));
        command
    }

    /// devshell with the arena's strategy; `command` is one that takes `--set`.
    pub fn command(&self, command: &str, args: &[&str]) -> Command {
        let mut devshell = self.under(&[], &[command, "--set", &set(self.strategy)]);
        devshell.args(args);
        devshell
    }

    /// The same to its end.
    pub fn devshell(&self, command: &str, args: &[&str]) -> Ran {
        finish(self.command(command, args))
    }

    /// `devshell results` with these arguments, to its end.
    pub fn results(&self, args: &[&str]) -> Ran {
        let mut devshell = self.under(&[], &["results"]);
        devshell.args(args);
        finish(devshell)
    }
}

/// Runs a program to its end in a folder; it must succeed. Gives its stdout.
#[track_caller]
pub fn sure(folder: &Path, program: &str, args: &[&str]) -> String {
    let done = Command::new(program)
        .args(args)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(done.status.success(), "{program} {args:?}: {done:?}");
    String::from_utf8_lossy(&done.stdout).into_owned()
}

/// Numbers that look random and come from a seed (splitmix64).
pub struct Random(pub u64);

impl Random {
    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end.max(1)
    }
}
