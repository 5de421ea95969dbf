//! What a tool was denied, told from what it wrote before it failed.

use std::path::{Path, PathBuf};

use super::outside::{Outside, missing};

/// What is shut off.
pub(super) struct Shut<'a> {
    /// `sandbox.network = false`.
    pub(super) network: bool,
    /// `sandbox.host = "ro"`.
    pub(super) outside: Option<&'a Outside>,
    /// Where the tools see the tree.
    pub(super) tree: &'a [PathBuf],
    /// The tools are root's.
    pub(super) root: bool,
    /// A user namespace was needed.
    pub(super) user: bool,
}

const READ_ONLY: [&str; 2] = ["read-only file system", "erofs"];
const NOT_THERE: [&str; 2] = ["no such file or directory", "enoent"];
const FULL: [&str; 2] = ["no space left on device", "enospc"];
const DENIED: [&str; 2] = ["permission denied", "eacces"];
const NOT_PERMITTED: [&str; 4] = ["operation not permitted", "eperm", "must be superuser", "only root can"];
const UNREACHABLE: [&str; 3] = ["network is unreachable", "enetunreach", "network unreachable"];
const UNRESOLVED: [&str; 11] = [
    "temporary failure in name resolution",
    "temporary failure resolving",
    "name or service not known",
    "could not resolve",
    "couldn't resolve",
    "unable to resolve host",
    "failed to lookup address",
    "eai_again",
    "enotfound",
    "no such host",
    "bad address",
];
const REFUSED: [&str; 2] = ["connection refused", "econnrefused"];
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];
const SETUID: [&str; 3] = [
    "effective uid is not 0",
    "must be setuid root",
    "sudo.conf is owned by uid",
];

/// After these words a message names a host.
const BEFORE_HOST: [&str; 10] = [
    "resolve host: ",
    "resolve hostname ",
    "resolve host address ",
    "resolve host ",
    "resolving ",
    "EAI_AGAIN ",
    "ENOTFOUND ",
    "bad address ",
    "lookup ",
    "Failed to resolve ",
];
/// How many lines before or after a message may name its path, as cargo's and npm's do.
const NEAR: usize = 5;

/// What the last lines of a failed tool's stderr mean for what is shut off: which rule denied it,
/// and the key that changes that.
pub(super) fn explain(stderr: &[u8], shut: &Shut) -> Option<String> {
    let text = String::from_utf8_lossy(stderr);
    // What a devshell inside says is no tool's word.
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("devshell: ")).collect();
    let outside = shut.outside.and_then(|outside| {
        Written {
            lines: &lines,
            outside,
            shut,
        }
        .denied()
    });
    let network = shut.network.then(|| no_network(&lines)).flatten();
    let setuid = (shut.user && last(&lines, &SETUID).is_some()).then(|| {
        "without root the tools run in a user namespace, in which setuid programs such as sudo run as the caller: run \
         devshell itself with the rights that they need"
            .to_owned()
    });
    let told: Vec<String> = [outside, network, setuid].into_iter().flatten().collect();
    (!told.is_empty()).then(|| told.join("; "))
}

/// What a tool wrote that ran on a read-only host.
struct Written<'a> {
    lines: &'a [&'a str],
    outside: &'a Outside,
    shut: &'a Shut<'a>,
}

impl Written<'_> {
    fn denied(&self) -> Option<String> {
        self.read_only()
            .or_else(|| self.private())
            .or_else(|| self.full())
            .or_else(|| self.device())
            .or_else(|| self.rights())
    }

    fn read_only(&self) -> Option<String> {
        let at = last(self.lines, &READ_ONLY)?;
        let near = self.near(at);
        let blamed = near.iter().find(|path| !self.is_in_tree(path) && !self.may_write(path));
        if let Some(path) = blamed {
            let path = Path::new(path);
            return Some(match self.outside.missing_above(path) {
                Some(entry) => missing(entry),
                None => format!(
                    "`{}` is outside the workspace and read-only to the tools (sandbox.host = \"ro\"): to let them write \
                     there, add it or a folder above it to sandbox.writable",
                    path.display()
                ),
            });
        }
        // Of a place that tools may write, somebody else has made something read-only.
        near.is_empty().then(|| {
            "everything outside the workspace is read-only to the tools (sandbox.host = \"ro\") but what \
             sandbox.writable names"
                .to_owned()
        })
    }

    /// Whether a path is writable by what was asked for and is there to be so.
    fn may_write(&self, path: &str) -> bool {
        let path = Path::new(path);
        self.outside.is_writable(path) && self.outside.missing_above(path).is_none()
    }

    /// A file that the host has in a folder that the tools have for themselves.
    fn private(&self) -> Option<String> {
        let at = last(self.lines, &NOT_THERE)?;
        let near = self.near(at);
        let (path, folder) = near.iter().find_map(|path| {
            let real = Path::new(path);
            let folder = self.outside.private_above(real).filter(|_| !self.is_in_tree(path))?;
            real.symlink_metadata().ok().map(|_| (path, folder))
        })?;
        Some(format!(
            "`{path}` is there on the host, and the tools have a `{}` of their own (sandbox.host = \"ro\"): add it to \
             sandbox.writable, or put it into the workspace",
            folder.display()
        ))
    }

    fn full(&self) -> Option<String> {
        let at = last(self.lines, &FULL)?;
        let near = self.near(at);
        let folder = near
            .iter()
            .find_map(|path| self.outside.private_above(Path::new(path)))?;
        let folder = folder.display();
        Some(format!(
            "the tools' own `{folder}` lies in memory and holds at most half of that (sandbox.host = \"ro\"): \
             sandbox.writable = [\"{folder}\"] gives them the host's"
        ))
    }

    fn device(&self) -> Option<String> {
        let at = last(self.lines, &DENIED).filter(|_| self.shut.root)?;
        let near = self.near(at);
        let device = near.iter().find(|path| path.starts_with("/dev/"))?;
        Some(format!(
            "root's tools have no devices but such as /dev/null and terminals (sandbox.host = \"ro\"): add `{device}` to \
             sandbox.writable if they are to have it"
        ))
    }

    fn rights(&self) -> Option<String> {
        last(self.lines, &NOT_PERMITTED).filter(|_| self.shut.root)?;
        Some(
            "root's tools have no right to mount, to load modules, to trace what they did not start, nor to set up the \
             network or the clock (sandbox.host = \"ro\"); sandbox.host = \"rw\" leaves them everything"
                .to_owned(),
        )
    }

    fn is_in_tree(&self, path: &str) -> bool {
        self.shut.tree.iter().any(|tree| Path::new(path).starts_with(tree))
    }

    /// The absolute paths that a message names: in its own line, else in those that belong to it.
    fn near(&self, at: usize) -> Vec<String> {
        let line = self.lines.get(at).copied().unwrap_or_default();
        let own = paths_in(line);
        if !own.is_empty() {
            return own;
        }
        let of = |lines: &[&str], wanted: fn(&str) -> bool| -> Vec<String> {
            lines
                .iter()
                .filter(|line| wanted(line))
                .flat_map(|line| paths_in(line))
                .collect()
        };
        // Rust's errors name the path in the line that they are the cause of.
        if line.contains("(os error") {
            let before = self.lines.get(at.saturating_sub(NEAR)..at).unwrap_or(&[]);
            return of(before, |_| true);
        }
        if line.starts_with("npm ") {
            let around = self.lines.get(at.saturating_sub(NEAR)..self.lines.len().min(at + NEAR));
            return of(around.unwrap_or(&[]), |line| {
                line.starts_with("npm ") && line.contains(" path ")
            });
        }
        Vec::new()
    }
}

fn no_network(lines: &[&str]) -> Option<String> {
    let remedy = "sandbox.network = true gives them the network";
    if let Some(at) = last(lines, &UNRESOLVED).or_else(|| last(lines, &UNREACHABLE)) {
        let host = lines.get(at).and_then(|line| host_in(line));
        let host = host.map_or_else(String::new, |host| format!(", so that `{host}` cannot be reached"));
        return Some(format!(
            "the tools have no network but the loopback (sandbox.network = false){host}; {remedy}"
        ));
    }
    let at = last(lines, &REFUSED)?;
    let line = lines.get(at)?;
    LOOPBACK.iter().any(|name| line.contains(name)).then(|| {
        format!(
            "the tools have a loopback of their own (sandbox.network = false), on which servers of the host are not; {remedy}"
        )
    })
}

/// The last line that holds one of some lower-case texts, in whatever case.
fn last(lines: &[&str], texts: &[&str]) -> Option<usize> {
    lines.iter().rposition(|line| {
        let line = line.to_lowercase();
        texts.iter().any(|text| line.contains(text))
    })
}

/// The host that a message names.
fn host_in(line: &str) -> Option<String> {
    let plain = |letter: char| letter.is_alphanumeric() || "._-".contains(letter);
    BEFORE_HOST.iter().find_map(|before| {
        let (_, rest) = line.split_once(before)?;
        let host = rest.trim_start_matches(['\'', '"', '`', '‘', '“']);
        let host = host.split(|letter| !plain(letter)).next()?.trim_end_matches('.');
        (!host.is_empty()).then(|| host.to_owned())
    })
}

/// The absolute paths in a line, between quotes or up to a blank or a colon.
fn paths_in(line: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut before = ' ';
    let mut letters = line.char_indices();
    while let Some((start, letter)) = letters.next() {
        if letter != '/' || !(before.is_whitespace() || "'\"`(‘“=".contains(before)) {
            before = letter;
            continue;
        }
        let end = match before {
            '\'' => Some('\''),
            '"' => Some('"'),
            '`' => Some('`'),
            '‘' => Some('’'),
            '“' => Some('”'),
            _ => None,
        };
        let rest = line.get(start..).unwrap_or_default();
        let path = match end {
            Some(quote) => rest.split(quote).next(),
            None => rest
                .split(|letter: char| letter.is_whitespace() || ":,;()'\"".contains(letter))
                .next(),
        };
        let path = path.unwrap_or_default();
        if path.len() > 1 && !path.starts_with("//") {
            found.push(path.trim_end_matches('/').to_owned());
        }
        let skipped = path.chars().count().saturating_sub(1);
        if skipped > 0 {
            letters.nth(skipped - 1);
        }
        before = '/';
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(stderr: &str) -> String {
        let outside = Outside {
            writable: vec!["/no-such-home/.npm".into(), "/usr".into()],
            ..Outside::default()
        };
        let shut = Shut {
            network: true,
            outside: Some(&outside),
            tree: &["/home/me/ws".into()],
            root: true,
            user: false,
        };
        explain(stderr.as_bytes(), &shut).unwrap_or_default()
    }

    #[test]
    fn a_path_that_is_read_only_is_named_in_whatever_words_a_tool_says_it() {
        for (stderr, path) in [
            ("touch: cannot touch '/etc/a b': Read-only file system\n", "/etc/a b"),
            ("touch: cannot touch ‘/etc/x’: Read-only file system", "/etc/x"),
            ("sh: 1: cannot create /etc/x: Read-only file system", "/etc/x"),
            ("bash: line 1: /etc/x: Read-only file system", "/etc/x"),
            (
                "mv: cannot move '/home/me/ws/a' to '/opt/a': Read-only file system",
                "/opt/a",
            ),
            (
                "Traceback (most recent call last):\n  File \"/home/me/ws/a.py\", line 1, in <module>\nOSError: \
                 [Errno 30] Read-only file system: '/etc/x'",
                "/etc/x",
            ),
            (
                "error: failed to create directory `/home/me/.cargo/registry`\n\nCaused by:\n  Read-only file system \
                 (os error 30)\n",
                "/home/me/.cargo/registry",
            ),
            (
                "npm error code EROFS\nnpm error syscall mkdir\nnpm error path /home/me/.npm/_cacache\nnpm error errno \
                 EROFS\n",
                "/home/me/.npm/_cacache",
            ),
            (
                "Error: EROFS: read-only file system, open '/etc/x'\n    at Object.openSync",
                "/etc/x",
            ),
            (
                "mkdir /home/me/.cache/go-build: read-only file system",
                "/home/me/.cache/go-build",
            ),
            (
                "error: could not lock config file /home/me/.gitconfig: Read-only file system",
                "/home/me/.gitconfig",
            ),
            (
                "java.io.FileNotFoundException: /etc/x (Read-only file system)",
                "/etc/x",
            ),
        ] {
            let words = told(stderr);
            assert!(
                words.starts_with(&format!("`{path}` is outside the workspace")) && words.contains("sandbox.writable"),
                "{stderr}\n{words}"
            );
        }
    }

    #[test]
    fn an_entry_of_writable_that_is_not_there_is_told_of() {
        let words = told("mkdir: cannot create directory '/no-such-home/.npm': Read-only file system");
        assert!(words.contains("mkdir -p /no-such-home/.npm"), "{words}");
    }

    #[test]
    fn what_is_not_ours_is_not_blamed_on_us() {
        for stderr in [
            "error: test failed",
            "touch: cannot touch '/home/me/ws/x': Read-only file system",
            "cat: /home/me/x: No such file or directory",
            "cat: /home/me/x: Permission denied",
            "connect to 10.0.0.1: Connection refused",
            "devshell: warning: cannot give the tools a /proc (Operation not permitted)",
        ] {
            assert_eq!(told(stderr), "", "{stderr}");
        }
        assert!(told("Read-only file system").contains("everything outside"));
    }

    #[test]
    fn a_file_that_only_the_host_has_in_tmp_is_told_of() {
        let file = tempfile::NamedTempFile::new_in("/tmp").unwrap();
        let path = file.path().display();
        let words = told(&format!("cat: {path}: No such file or directory"));
        assert!(words.contains(&format!("`{path}` is there on the host")), "{words}");
        assert_eq!(told("cat: /tmp/no-such-file-at-all: No such file or directory"), "");
        assert!(told("dd: error writing '/tmp/big': No space left on device").contains("half"));
    }

    #[test]
    fn rights_and_devices_are_told_of_to_root() {
        assert!(told("mount: /mnt: Operation not permitted").contains("no right to mount"));
        assert!(told("dd: failed to open '/dev/sda': Permission denied").contains("`/dev/sda`"));
    }

    #[test]
    fn without_a_network_the_host_is_named_where_the_tool_names_it() {
        for (stderr, host) in [
            ("curl: (6) Could not resolve host: example.org", Some("example.org")),
            (
                "ssh: Could not resolve hostname example.org: Temporary failure in name resolution",
                Some("example.org"),
            ),
            (
                "  [6] Could not resolve hostname (Could not resolve host: example.org)",
                Some("example.org"),
            ),
            (
                "npm error request failed, reason: getaddrinfo EAI_AGAIN example.org",
                Some("example.org"),
            ),
            (
                "dial tcp: lookup example.org on 127.0.0.53:53: no such host",
                Some("example.org"),
            ),
            (
                "wget: unable to resolve host address ‘example.org’",
                Some("example.org"),
            ),
            ("socket.gaierror: [Errno -3] Temporary failure in name resolution", None),
            ("OSError: [Errno 101] Network is unreachable", None),
        ] {
            let words = told(stderr);
            assert!(words.contains("sandbox.network = false"), "{stderr}\n{words}");
            assert_eq!(words.contains("`example.org`"), host.is_some(), "{stderr}\n{words}");
        }
        let own = told("dial tcp 127.0.0.1:5432: connect: connection refused");
        assert!(own.contains("loopback of their own"), "{own}");
    }
}
