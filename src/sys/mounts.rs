//! What is mounted where, as this process sees it.

use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::StatVfsMountFlags;
use rustix::mount::MountFlags;

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    /// Where it appears.
    pub(crate) point: PathBuf,
    /// Which folder of its file system it shows.
    pub(crate) root: PathBuf,
    /// `ext4`, `overlay`, ...
    pub(crate) kind: String,
    /// What was given as its source.
    pub(crate) source: OsString,
}

/// All mounts, each before those over it.
pub(crate) fn mounts() -> io::Result<Vec<Mount>> {
    Ok(parse(&std::fs::read("/proc/self/mountinfo")?))
}

/// Reads lines such as `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw`.
pub(super) fn parse(table: &[u8]) -> Vec<Mount> {
    table.split(|&byte| byte == b'\n').filter_map(parse_line).collect()
}

fn parse_line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|&byte| byte == b' ');
    let root = fields.nth(3)?;
    let point = fields.next()?;
    let mut after = fields.skip_while(|field| *field != b"-").skip(1);
    let kind = String::from_utf8_lossy(after.next()?).into_owned();
    Some(Mount {
        point: PathBuf::from(unescaped(point)),
        root: PathBuf::from(unescaped(root)),
        kind,
        source: unescaped(after.next()?),
    })
}

/// Blank, tab, newline, backslash and `#` stand as three octal digits.
fn unescaped(text: &[u8]) -> OsString {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, more)) = rest.split_first() {
        let octal = more
            .first_chunk::<3>()
            .filter(|digits| first == b'\\' && digits.iter().all(|digit| (b'0'..=b'7').contains(digit)));
        if let Some([a, b, c]) = octal {
            bytes.push((a & 3) << 6 | (b & 7) << 3 | (c & 7));
            rest = more.get(3..).unwrap_or(&[]);
        } else {
            bytes.push(first);
            rest = more;
        }
    }
    OsString::from_vec(bytes)
}

/// What the mount at a path forbids, for a mount that covers it.
pub(crate) fn restrictions(path: &Path) -> io::Result<MountFlags> {
    let there = rustix::fs::statvfs(path)?.f_flag;
    let mut flags = MountFlags::empty();
    for (known, flag) in [
        (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
        (StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
        (StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (StatVfsMountFlags::NOATIME, MountFlags::NOATIME),
    ] {
        if there.contains(known) {
            flags |= flag;
        }
    }
    Ok(flags)
}

/// Whether nothing can be written where a path is, whoever asks.
pub(crate) fn is_read_only(path: &Path) -> io::Result<bool> {
    Ok(rustix::fs::statvfs(path)?.f_flag.contains(StatVfsMountFlags::RDONLY))
}

/// A file system that cannot hold the upper layer of an overlay, by its name.
pub(crate) fn unfit_for_upper(path: &Path) -> io::Result<Option<&'static str>> {
    #[allow(clippy::unnecessary_cast, reason = "the field's type differs between architectures")]
    let magic = rustix::fs::statfs(path)?.f_type as i64;
    // The low 32 bits: some architectures extend the sign.
    Ok(match magic & 0xffff_ffff {
        0x794c_7630 => Some("overlay"),
        0x6573_5546 => Some("FUSE"),
        0x6969 => Some("NFS"),
        0x0102_1997 => Some("9p"),
        0xff53_4d42 | 0xfe53_4d42 | 0x517b => Some("CIFS"),
        0x4d44 => Some("FAT"),
        0xf15f => Some("eCryptfs"),
        _ => None,
    })
}

/// Whether what is written to a folder is held by another machine: a guest's host, a server.
pub(crate) fn is_of_another_machine(folder: impl AsFd) -> io::Result<bool> {
    #[allow(clippy::unnecessary_cast, reason = "the field's type differs between architectures")]
    let magic = rustix::fs::fstatfs(folder)?.f_type as i64;
    // FUSE (sshfs, virtiofs), NFS, 9p, CIFS, and what other virtual machines share by.
    Ok(matches!(
        magic & 0xffff_ffff,
        0x6573_5546 | 0x6969 | 0x0102_1997 | 0xff53_4d42 | 0xfe53_4d42 | 0x517b | 0x786f_4256 | 0x7c7c_6673
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_this_machine_is_told_from_none() {
        let place = tempfile::tempdir().unwrap();
        let folder = std::fs::File::open(place.path()).unwrap();
        assert!(!is_of_another_machine(&folder).unwrap());
    }

    #[test]
    fn lines_with_optional_fields_and_odd_names_are_read() {
        let table =
            b"36 35 98:0 /mnt1 /mnt\\0402\\134 rw,noatime master:1 shared:3 - ext3 /dev/root rw,errors=continue\n\
                      37 36 0:40 / /w rw - overlay devshell-12 rw,lowerdir=x\nbroken line\n";
        let found = parse(table);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].point, Path::new("/mnt 2\\"));
        assert_eq!(found[0].root, Path::new("/mnt1"));
        assert_eq!(found[0].kind, "ext3");
        assert_eq!(
            (found[1].source.to_str(), found[1].kind.as_str()),
            (Some("devshell-12"), "overlay")
        );
    }

    #[test]
    fn the_root_is_mounted() {
        assert!(mounts().unwrap().iter().any(|mount| mount.point == Path::new("/")));
        assert_eq!(unfit_for_upper(Path::new("/proc")).unwrap(), None);
    }
}
