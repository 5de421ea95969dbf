//! What a tool that means harm still reaches: tried, and compared with the table in
//! docs/isolation.md. `DEVSHELL_TEST_BLESS=1` writes the table anew.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::*;
use crate::support::{Killed, alive, processes_with, wait_for};

/// How a tool is run: the columns of the table.
const COLUMNS: [(&str, &[&str]); 7] = [
    ("without devshell", &[]),
    ("`none`", &["vm.host.strategy=in_place"]),
    (
        "`processes`, no namespaces",
        &["vm.host.strategy=in_place", "sandbox.require=processes"],
    ),
    (
        "`processes`",
        &["vm.host.strategy=in_place", "sandbox.require=processes"],
    ),
    ("`view`", &["sandbox.require=view"]),
    ("`full`", &["sandbox.require=full", "sandbox.host=ro"]),
    (
        "`full`, no network",
        &["sandbox.require=full", "sandbox.host=ro", "sandbox.network=false"],
    ),
];
const ALONE: usize = 0;
const NONE: usize = 1;
const SUPERVISED: usize = 2;

/// What one attempt came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cell {
    Reached,
    Denied,
    /// This machine does not have it, or denies it to everybody.
    Untried,
}

impl Cell {
    fn word(self) -> &'static str {
        match self {
            Self::Reached => "**reached**",
            Self::Denied => "no",
            Self::Untried => "?",
        }
    }
}

#[test]
fn a_hostile_tool_reaches_what_the_table_says_and_nothing_else() {
    const TEST: &str = "isolation::hostile::a_hostile_tool_reaches_what_the_table_says_and_nothing_else";
    if !has("python3") || !has("setpriv") {
        return not_run(TEST, "no python3 or setpriv here");
    }
    let Some(outside) = Outside::new(TEST) else { return };
    let mut faults = Vec::new();
    let callers: &[&str] = if is_root() { &["root", "user"] } else { &["user"] };
    for caller in callers {
        let mut tried: Vec<Vec<(String, Cell, String)>> = Vec::new();
        for (column, (name, _)) in COLUMNS.iter().enumerate() {
            tried.push(match Trial::new(&outside.path, caller, column) {
                Some(trial) => trial.run(),
                None => {
                    not_run(TEST, &format!("{name} as {caller}: /proc cannot be taken away"));
                    Vec::new()
                }
            });
        }
        faults.extend(compare(TEST, caller, &tried));
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// One run of the hostile tool, with everything that it is to try its hand at.
struct Trial {
    // Before the folder that it lies in.
    disk: Option<Disk>,
    arena: Arena,
    outside: TempDir,
    mark: String,
    column: usize,
    user: bool,
    victim: Killed,
    traced: Killed,
}

impl Trial {
    fn new(outside: &Path, caller: &str, column: usize) -> Option<Self> {
        let user = caller == "user";
        if column == NONE && !is_root() {
            return None;
        }
        let mut arena = Arena::new("auto", Places::Same).unwrap();
        arena.project.write("hostile.py", include_str!("../tools/hostile.py"));
        arena.project.write("file", "old\n");
        std::fs::write(arena.project.beside("in-tmp"), "").unwrap();
        let outside = tempfile::tempdir_in(outside).unwrap();
        for folder in ["mnt", "open"] {
            std::fs::create_dir(outside.path().join(folder)).unwrap();
        }
        let file = outside.path().join("file");
        std::fs::write(&file, "old\n").unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
        if user && is_root() {
            arena.for_user();
            let owned = Command::new("chown")
                .args(["-R", "65534:65534"])
                .arg(outside.path())
                .status();
            assert!(owned.unwrap().success());
        }
        // A process that is to be killed, and one with a terminal that is to be traced.
        let process = |script: &str| {
            let mut command = as_caller(user, python());
            command.args(["-c", script]).stdout(Stdio::piped()).stdin(Stdio::null());
            Killed(command.spawn().unwrap())
        };
        let victim = process("import time; print('up', flush=True); time.sleep(600)");
        let traced = process("import os, time; m, s = os.openpty(); print(os.ttyname(s), flush=True); time.sleep(600)");
        Some(Self {
            mark: format!("devshell-hostile-{}", outside.path().file_name().unwrap().display()),
            disk: Disk::ext4(&arena.project.beside("disk"), 4),
            arena,
            outside,
            column,
            user,
            victim,
            traced,
        })
    }

    /// Rows with what they came to, and why.
    fn run(mut self) -> Vec<(String, Cell, String)> {
        let place = self.outside.path().to_owned();
        line(&mut self.victim.0);
        let terminal = line(&mut self.traced.0);
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let abstract_one = SocketAddr::from_abstract_name(&self.mark).unwrap();
        let _abstract = UnixListener::bind_addr(&abstract_one).unwrap();
        let _socket = UnixListener::bind(place.join("socket")).unwrap();
        std::fs::set_permissions(place.join("socket"), PermissionsExt::from_mode(0o777)).unwrap();
        let memory = Memory::new();
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        self.arena.project.write("mounts", &mounts);
        let at = serde_json::json!({
            "mark": self.mark, "outside": place, "workspace": self.arena.project.root,
            "in_tmp": self.arena.project.beside("in-tmp"), "victim": self.victim.0.id(), "traced": self.traced.0.id(),
            "folder": 9, "port": server.local_addr().unwrap().port(), "abstract": self.mark, "disk": self.disk.as_ref().and_then(device),
            "terminal": terminal, "memory": memory.0, "mounts": self.arena.project.path("mounts"),
        });
        let ran = finish(self.command(&at.to_string()));
        let out = ran.code(1).out();
        if self.column != ALONE && self.column != NONE {
            let level = COLUMNS[self.column].0.split('`').nth(1).unwrap();
            ran.says(&format!("isolation {level}"));
        } else if self.column == NONE {
            ran.says("isolation none");
        }
        let survivors = processes_with(&self.mark)
            .into_iter()
            .filter(|pid| *pid != std::process::id());
        let survivors: Vec<u32> = survivors.collect();
        let cgroups = cgroups(&mounts, &self.mark);
        let after = place.join("file").metadata().unwrap();
        let text = |path: &Path| std::fs::read_to_string(path).unwrap().contains("hostile");
        let mounted = std::fs::read_to_string("/proc/self/mounts").unwrap();
        // What can be seen from outside counts, not what the tool believes.
        let seen = [
            ("kill_another_process", !alive(self.victim.0.id())),
            ("write_a_file_outside", text(&place.join("file"))),
            (
                "change_mode_and_time_outside",
                after.mode() & 0o777 != 0o644 || after.mtime() == 1,
            ),
            (
                "write_through_an_open_folder",
                place.join("open/through-the-folder").exists(),
            ),
            (
                "mount_for_the_host",
                mounted.contains(place.join("mnt").to_str().unwrap()) || place.join("mounted").exists(),
            ),
            ("make_a_cgroup", !cgroups.is_empty()),
            ("outlive_the_run_as_a_daemon", !survivors.is_empty()),
            ("write_the_real_tree", text(&self.arena.project.path("file"))),
        ];
        for pid in survivors {
            let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
        }
        for group in cgroups {
            let _ = std::fs::remove_dir(group);
        }
        if seen[4].1 {
            let _ = Command::new("umount").arg(place.join("mnt")).status();
        }
        out.lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
            .map(|tried| {
                let what = tried["what"].as_str().unwrap().to_owned();
                let seen = seen.iter().find(|(name, _)| *name == what).map(|(_, seen)| *seen);
                let cell = match (tried["reached"].as_bool(), seen) {
                    (None, _) => Cell::Untried,
                    (_, Some(true)) | (Some(true), None) => Cell::Reached,
                    (Some(_), _) => Cell::Denied,
                };
                (what, cell, tried["why"].as_str().unwrap_or_default().to_owned())
            })
            .collect()
    }

    /// The hostile tool in its column, with a key in its session and a folder left open.
    fn command(&self, at: &str) -> Command {
        let root = &self.arena.project.root;
        let hostile = root.join("hostile.py");
        let hostile = hostile.to_str().unwrap();
        let open = format!("exec 9<{}/open; exec \"$@\"", self.outside.path().display());
        let mut argv: Vec<String> = Vec::new();
        let mut add = |parts: &[&str]| argv.extend(parts.iter().map(|part| (*part).to_owned()));
        if self.column == NONE {
            // What is mounted for the host is seen there, and told; the tool may have a /proc anew.
            let place = self.outside.path().display();
            let hide = format!(
                "mount -t tmpfs none /proc; \"$@\"; code=$?; umount /proc; test -e /proc/self || umount /proc; \
                 grep -q {place}/mnt /proc/self/mounts && touch {place}/mounted; exit $code"
            );
            add(&["unshare", "-m", "sh", "-c", &hide, "sh"]);
        }
        if self.user && is_root() {
            add(&[
                "setpriv",
                "--reuid",
                "65534",
                "--regid",
                "65534",
                "--clear-groups",
                "--",
            ]);
        }
        add(&["sh", "-c", &open, "sh", python(), hostile, "plant", &self.mark, "--"]);
        if self.column == NONE || self.column == SUPERVISED {
            for part in filter(&self.arena) {
                add(&[&part]);
            }
        }
        if self.column == ALONE {
            // Something that may be traced takes the keeper's place.
            add(&["sh", "-c", "\"$@\"; exit $?", "sh", python(), hostile, at]);
        } else {
            let program = if self.user && is_root() {
                self.arena.project.beside("devshell-under-test")
            } else {
                crate::support::devshell()
            };
            add(&[program.to_str().unwrap(), "exec"]);
            for set in COLUMNS[self.column].1 {
                add(&["--set", set]);
            }
            add(&["--", python(), hostile, at]);
        }
        let mut command = self.arena.project.program(&argv[0]);
        command.args(&argv[1..]);
        command
    }
}

/// A program as the one who is to run the tool.
fn as_caller(user: bool, program: &str) -> Command {
    if user && is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--", program]);
        command
    } else {
        Command::new(program)
    }
}

/// The first line that a process says.
fn line(child: &mut Child) -> String {
    use std::io::BufRead as _;
    let mut line = String::new();
    let mut out = std::io::BufReader::new(child.stdout.as_mut().unwrap());
    out.read_line(&mut line).unwrap();
    line.trim().to_owned()
}

/// System V memory that everybody may write; its number.
struct Memory(Option<u32>);

impl Memory {
    fn new() -> Self {
        let made = Command::new("ipcmk").args(["-M", "64", "-p", "0666"]).output();
        let text = made.map_or_else(
            |_| String::new(),
            |made| String::from_utf8_lossy(&made.stdout).into_owned(),
        );
        Self(text.split_whitespace().last().and_then(|id| id.parse().ok()))
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if let Some(id) = self.0 {
            let _ = Command::new("ipcrm").args(["-m", &id.to_string()]).status();
        }
    }
}

/// The device of a disk: its name and numbers.
fn device(disk: &Disk) -> Option<(String, u64, u64)> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").ok()?;
    let of_disk = |line: &&str| line.split(' ').nth(1).map(Path::new) == Some(disk.0.as_path());
    let name = mounts.lines().find(of_disk)?.split(' ').next()?.to_owned();
    let numbers = Path::new(&name).metadata().ok()?.rdev();
    Some((name, numbers >> 8 & 0xfff, numbers & 0xff))
}

/// The groups that the tool has made.
fn cgroups(mounts: &str, mark: &str) -> Vec<PathBuf> {
    let points = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let point = fields.next()?;
        fields
            .next()?
            .starts_with("cgroup")
            .then(|| Path::new(point).join(mark))
    });
    points.filter(|path| path.exists()).collect()
}

/// Compares with the table, or writes it.
fn compare(test: &str, caller: &str, tried: &[Vec<(String, Cell, String)>]) -> Vec<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/isolation.md");
    // The user need not be able to reach the sources.
    let text = std::fs::read_to_string(&file).unwrap_or_else(|_| include_str!("../../../docs/isolation.md").to_owned());
    let (begin, end) = (format!("<!-- {caller}: tried by a test -->\n"), "<!-- end -->\n");
    let (head, rest) = text.split_once(&begin).unwrap();
    let (table, tail) = rest.split_once(end).unwrap();
    let rows: Vec<Vec<&str>> = table
        .lines()
        .skip(2)
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let told = |what: &str, column: usize| -> Option<Cell> {
        let row = rows.iter().find(|row| row.first() == Some(&what))?;
        let word = row.get(column + 1)?;
        [Cell::Reached, Cell::Denied, Cell::Untried]
            .into_iter()
            .find(|cell| cell.word() == *word)
    };
    let mut faults = Vec::new();
    let mut lines = vec![
        format!("| what it tries | {} |", COLUMNS.map(|(name, _)| name).join(" | ")),
        format!("|---|{}", "---|".repeat(COLUMNS.len())),
    ];
    for (index, (name, alone, _)) in tried[ALONE].iter().enumerate() {
        let what = name
            .replace('_', " ")
            .replace("hosts", "host's")
            .replace("system v", "System V");
        let mut line = format!("| {what} |");
        let mut untried = Vec::new();
        for (column, results) in tried.iter().enumerate() {
            let (found, why) = results
                .get(index)
                .map_or((Cell::Untried, ""), |(_, cell, why)| (*cell, why.as_str()));
            let why: String = why.chars().take(200).collect();
            let wanted = told(&what, column);
            let found = match (found, wanted) {
                // Where it is denied to everybody, as by Yama, it cannot be told what devshell denies.
                (Cell::Denied, Some(Cell::Reached)) if *alone == Cell::Denied => Cell::Untried,
                (found, _) => found,
            };
            if found == Cell::Untried {
                untried.push(format!("{} ({why})", COLUMNS[column].0));
            }
            let shown = if found == Cell::Untried {
                wanted.unwrap_or(found)
            } else {
                found
            };
            line += &format!(" {} |", shown.word());
            if Some(shown) != wanted {
                faults.push(format!(
                    "{caller}, {what}, {}: {found:?} ({why}), not {wanted:?}",
                    COLUMNS[column].0
                ));
            }
        }
        lines.push(line);
        if !untried.is_empty() {
            not_run(test, &format!("{what} as {caller}: {}", untried.join(", ")));
        }
    }
    let made = lines.join("\n") + "\n";
    if std::env::var_os("DEVSHELL_TEST_BLESS").is_some() && made != table {
        std::fs::write(&file, format!("{head}{begin}{made}{end}{tail}")).unwrap();
        return Vec::new();
    }
    faults
}

#[test]
fn a_tool_that_is_killed_with_devshell_leaves_nothing_on_a_read_only_host() {
    let arena = Arena::new("auto", Places::Same).unwrap();
    let mark = arena.project.path("marked");
    let script = format!("echo up; sleep 600; : {}", mark.display());
    let sets = ["sandbox.host=ro", "sandbox.network=false"];
    let mut child = exec_command(&arena, &sets, &script).spawn().unwrap();
    let mut up = [0_u8; 3];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut up).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    wait_for(|| processes_with(mark.to_str().unwrap()).is_empty(), "the tools to end");
}
