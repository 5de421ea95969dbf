//! The guest's own tree in guest mode, through the resident shell and the guest's own programs.

use std::ffi::OsString;
use std::io::{self, Read, Seek as _, Write};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::guest_fs::{GuestFsError, GuestFsOps, below_mount};
use crate::process::Cancel;
use crate::session::VmError;
use crate::session::guest_tree::{GuestStat, GuestTree, path_of};
use crate::sys::fs::{Kind, Time};

use super::connect::quoted;
use super::guest::Guest;

/// How long a file may take on its way.
const TRANSFER: Duration = Duration::from_secs(3600);

/// The codes by which the scripts below tell what stands in their way.
const NOT_FOUND: i32 = 81;
const NOT_A_FOLDER: i32 = 82;
const A_FOLDER: i32 = 83;
const OUTSIDE: i32 = 84;

/// The folder of `$p` is `$d`, really below the mount: no link has led elsewhere.
const GUARD: &str = "d=${p%/*}; [ -d \"$d\" ] || { [ -e \"$d\" ] && exit 82; exit 81; }; \
                     d=$(cd -P -- \"$d\" && pwd -P) || exit 81; case \"$d/\" in \"$m\"/*) ;; *) exit 84;; esac; p=$d/${p##*/};";
/// The nearest ancestor of `$p` that is there is really below the mount.
const GUARD_WAY: &str = "q=$p; while ! [ -e \"$q\" ] && ! [ -L \"$q\" ]; do q=${q%/*}; done; [ -d \"$q\" ] || exit 82; \
                         d=$(cd -P -- \"$q\" && pwd -P) || exit 81; case \"$d/\" in \"$m\"/*) ;; *) exit 84;; esac;";
/// Something is at `$p`.
const THERE: &str = "[ -e \"$p\" ] || [ -L \"$p\" ] || exit 81;";
const NO_FOLDER: &str = "if [ -d \"$p\" ] && ! [ -L \"$p\" ]; then exit 83; fi;";

/// A guest's files below a mount.
pub(super) struct GuestFiles {
    guest: Arc<Guest>,
    mount: String,
    cancel: Cancel,
}

impl GuestFiles {
    /// Those below a mount; each request is given up when the caller wishes to stop.
    pub(super) fn new(guest: Arc<Guest>, mount: String, cancel: &Cancel) -> Self {
        Self {
            guest,
            mount,
            cancel: cancel.clone(),
        }
    }

    fn is_mount(&self, path: &Path) -> bool {
        path == Path::new(&self.mount)
    }

    /// Sets `$p` and `$m`, and sees to it that the folder of `$p` is below the mount.
    fn at(&self, path: &Path) -> String {
        let guard = if self.is_mount(path) { "" } else { GUARD };
        format!("{}{guard}", self.named(path))
    }

    fn named(&self, path: &Path) -> String {
        format!(
            "{} m=$(cd -P -- {} && pwd -P) || exit 81; ",
            word("p", path.as_os_str().as_bytes()),
            quoted(&self.mount)
        )
    }

    fn run(&self, path: &Path, script: &str, output: &mut dyn Write) -> Result<(), GuestFsError> {
        self.run_with(path, script, None, output)
    }

    fn run_with(
        &self,
        path: &Path,
        script: &str,
        input: Option<&mut dyn Read>,
        output: &mut dyn Write,
    ) -> Result<(), GuestFsError> {
        let shown = path.to_string_lossy().into_owned();
        // The path is checked as it is written, too.
        if let Some(text) = path.to_str() {
            below_mount(&self.mount, text)?;
        }
        let script = if input.is_some() {
            script.to_owned()
        } else {
            format!("{{ {script} }} </dev/null")
        };
        let answer = self
            .guest
            .run(&script, input, output, TRANSFER, &self.cancel)
            .map_err(|error| match error {
                VmError::Interrupted => GuestFsError::interrupted(),
                error => GuestFsError::Vm {
                    message: error.to_string(),
                    source: None,
                },
            })?;
        match answer.code.unwrap_or(-1) {
            0 => Ok(()),
            NOT_FOUND => Err(GuestFsError::NotFound(shown)),
            NOT_A_FOLDER => Err(GuestFsError::NotADirectory(shown)),
            A_FOLDER => Err(GuestFsError::IsADirectory(shown)),
            OUTSIDE => Err(GuestFsError::InvalidPath {
                path: shown,
                why: "a link on the way leads outside the session's mount",
            }),
            code => Err(GuestFsError::GuestCommand {
                command: format!("what was to be done with `{shown}`"),
                code: Some(code),
                message: answer.stderr,
            }),
        }
    }

    /// Writes a file beside its place first; `then` is done with it there, as `$t`.
    fn put(&self, path: &Path, from: &mut dyn Read, then: &str) -> Result<(), GuestFsError> {
        let here = |error: io::Error| {
            GuestFsError::Internal(format!("cannot read what `{}` is to hold: {error}", path.display()))
        };
        let mut spool = tempfile::tempfile().map_err(here)?;
        let length = io::copy(from, &mut spool).map_err(here)?;
        spool.rewind().map_err(here)?;
        let at = format!("{}{NO_FOLDER}", self.at(path));
        // Whatever happens, exactly the file's bytes are taken off the line.
        let take = format!("dd bs=65536 iflag=fullblock,count_bytes count={length} 2>/dev/null");
        let script = format!(
            "( {at} ) </dev/null; r=$?; if [ $r != 0 ]; then {take} >/dev/null; exit $r; fi; {at} \
             t=$d/.devshell-write-$$; {take} | {{ cat >\"$t\" || {{ cat >/dev/null; false; }}; }} && {{ {then} mv -f -T \
             -- \"$t\" \"$p\"; }} || {{ rm -f -- \"$t\"; exit 1; }}"
        );
        self.run_with(path, &script, Some(&mut spool), &mut io::sink())
    }
}

/// A shell variable with any bytes but NUL, in one line.
fn word(name: &str, bytes: &[u8]) -> String {
    format!(
        "{name}=$(printf %s '{}' | base64 -d; echo .); {name}=${{{name}%.}};",
        BASE64.encode(bytes)
    )
}

/// What GNU find prints for `%y %m %s %T@ `, split off the beginning of a record.
fn stat_of(record: &[u8]) -> Option<(GuestStat, &[u8])> {
    let mut parts = record.splitn(5, |byte| *byte == b' ');
    let mut text = || std::str::from_utf8(parts.next()?).ok();
    let kind = match text()? {
        "f" => Kind::File,
        "d" => Kind::Dir,
        "l" => Kind::Symlink,
        _ => Kind::Special,
    };
    let mode = u32::from_str_radix(text()?, 8).ok()?;
    let size = text()?.parse().ok()?;
    let (secs, nanos) = text()?.split_once('.')?;
    let nanos: u32 = nanos.get(..9)?.parse().ok()?;
    let stat = GuestStat {
        kind,
        size: if kind == Kind::File { size } else { 0 },
        mode: if kind == Kind::Symlink { 0 } else { mode & 0o7777 },
        mtime: Time::new(secs.parse().ok()?, nanos),
        target: None,
    };
    Some((stat, parts.next()?))
}

/// Name and link target end with NUL each.
fn entries(bytes: &[u8]) -> Option<Vec<(OsString, GuestStat)>> {
    let mut found = Vec::new();
    let mut parts = bytes.split(|byte| *byte == 0);
    while let Some(record) = parts.next().filter(|record| !record.is_empty()) {
        let (mut stat, name) = stat_of(record)?;
        let target = parts.next()?;
        if stat.kind == Kind::Symlink {
            stat.target = Some(path_of(target.to_vec()));
        }
        found.push((OsString::from_vec(name.to_vec()), stat));
    }
    Some(found)
}

fn senseless(path: &Path) -> GuestFsError {
    GuestFsError::Internal(format!("what find says of `{}` makes no sense", path.display()))
}

fn stamp(time: Time) -> String {
    format!("@{}.{:09}", time.secs(), time.nanos())
}

impl GuestTree for GuestFiles {
    fn stat(&mut self, path: &Path) -> Result<Option<GuestStat>, GuestFsError> {
        let script = format!(
            "{}{THERE} find \"$p\" -maxdepth 0 -printf '%y %m %s %T@ %f\\000%l\\000';",
            self.at(path)
        );
        let mut output = Vec::new();
        match self.run(path, &script, &mut output) {
            Ok(()) => {
                let found = entries(&output).ok_or_else(|| senseless(path))?;
                Ok(found.into_iter().next().map(|(_, stat)| stat))
            }
            Err(GuestFsError::NotFound(_) | GuestFsError::NotADirectory(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn list(&mut self, path: &Path) -> Result<Vec<(OsString, GuestStat)>, GuestFsError> {
        let script = format!(
            "{}{THERE} if ! [ -d \"$p\" ] || [ -L \"$p\" ]; then exit 82; fi; find \"$p\" -mindepth 1 -maxdepth 1 -printf \
             '%y %m %s %T@ %f\\000%l\\000';",
            self.at(path)
        );
        let mut output = Vec::new();
        self.run(path, &script, &mut output)?;
        entries(&output).ok_or_else(|| senseless(path))
    }

    fn read(&mut self, path: &Path, to: &mut dyn Write) -> Result<(), GuestFsError> {
        let script = format!("{}{THERE}{NO_FOLDER} cat -- \"$p\";", self.at(path));
        self.run(path, &script, to)
    }

    fn write(&mut self, path: &Path, from: &mut dyn Read, mode: u32, mtime: Time) -> Result<(), GuestFsError> {
        let then = format!("chmod {mode:o} \"$t\" && touch -m -d {} \"$t\" &&", stamp(mtime));
        self.put(path, from, &then)
    }

    fn make_folder(&mut self, path: &Path) -> Result<(), GuestFsError> {
        let script = format!("{}{GUARD_WAY} mkdir -p -- \"$p\";", self.named(path));
        self.run(path, &script, &mut io::sink())
    }

    fn link(&mut self, path: &Path, target: &Path, mtime: Time) -> Result<(), GuestFsError> {
        let script = format!(
            "{}{NO_FOLDER} {} ln -s -f -T -- \"$l\" \"$p\" && touch -h -m -d {} \"$p\";",
            self.at(path),
            word("l", target.as_os_str().as_bytes()),
            stamp(mtime)
        );
        self.run(path, &script, &mut io::sink())
    }

    fn set_folder(&mut self, path: &Path, mode: u32, mtime: Time) -> Result<(), GuestFsError> {
        let script = format!(
            "{}{THERE} chmod {mode:o} \"$p\" && touch -m -d {} \"$p\";",
            self.at(path),
            stamp(mtime)
        );
        self.run(path, &script, &mut io::sink())
    }

    fn remove(&mut self, path: &Path) -> Result<(), GuestFsError> {
        if self.is_mount(path) {
            return Err(GuestFsError::InvalidPath {
                path: path.to_string_lossy().into_owned(),
                why: "it is the session's mount itself",
            });
        }
        // Of a read-only folder nothing could be removed.
        let script = format!(
            "{}{THERE} [ -L \"$p\" ] || chmod -R u+rwX -- \"$p\" 2>/dev/null; rm -rf -- \"$p\";",
            self.at(path)
        );
        self.run(path, &script, &mut io::sink())
    }
}

impl GuestFsOps for GuestFiles {
    fn list_dir(&mut self, path: &str) -> Result<Vec<String>, GuestFsError> {
        let path = below_mount(&self.mount, path)?;
        let found = self.list(path.as_ref())?;
        let mut names: Vec<String> = found
            .into_iter()
            .map(|(name, _)| name.to_string_lossy().into_owned())
            .collect();
        names.sort();
        Ok(names)
    }

    fn read_file(&mut self, path: &str) -> Result<Vec<u8>, GuestFsError> {
        let path = below_mount(&self.mount, path)?;
        let mut content = Vec::new();
        self.read(path.as_ref(), &mut content)?;
        Ok(content)
    }

    fn write_file(&mut self, path: &str, mut content: &[u8]) -> Result<(), GuestFsError> {
        let path = below_mount(&self.mount, path)?;
        let then = "if [ -e \"$p\" ]; then chmod --reference=\"$p\" \"$t\"; fi &&";
        self.put(path.as_ref(), &mut content, then)
    }

    fn mkdir(&mut self, path: &str) -> Result<(), GuestFsError> {
        let path = below_mount(&self.mount, path)?;
        self.make_folder(path.as_ref())
    }

    fn remove(&mut self, path: &str) -> Result<(), GuestFsError> {
        let path = below_mount(&self.mount, path)?;
        GuestTree::remove(self, path.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_find_prints_is_read_byte_by_byte() {
        let bytes = b"f 644 7 1577934245.1234567890 a b\xff\n\0\0l 777 3 1.0000000010 x\0no where\0d 755 4096 -5.5000000000 d\0\0p 644 0 1.0000000000 p\0\0";
        let found = entries(bytes).unwrap();
        let names: Vec<&[u8]> = found.iter().map(|(name, _)| name.as_bytes()).collect();
        assert_eq!(names, [b"a b\xff\n".as_slice(), b"x", b"d", b"p"]);
        let (_, file) = &found[0];
        assert_eq!((file.kind, file.size, file.mode), (Kind::File, 7, 0o644));
        assert_eq!(file.mtime, Time::new(1_577_934_245, 123_456_789));
        assert_eq!(found[1].1.target.as_deref(), Some(Path::new("no where")));
        assert_eq!(found[3].1.kind, Kind::Special);
        assert_eq!(entries(b"nonsense\0\0"), None);
    }
}
