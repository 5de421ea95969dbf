//! Extended attributes of open files and folders.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use rustix::fs::XattrFlags;
use rustix::io::Errno;

/// What the kernel allows for all names together, and for one value.
const LIMIT: usize = 64 * 1024;

/// The names of all attributes; none on a file system that has no attributes. No permission on the file is needed.
pub(crate) fn attributes(fd: impl AsFd) -> io::Result<Vec<OsString>> {
    // Most have few, and none of them long.
    let mut small = [0; 1024];
    let mut large = Vec::new();
    let names: &[u8] = match rustix::fs::flistxattr(&fd, &mut small) {
        Ok(len) => &small[..len],
        Err(Errno::OPNOTSUPP) => &[],
        Err(Errno::RANGE) => {
            large.resize(LIMIT, 0);
            let len = rustix::fs::flistxattr(&fd, &mut large)?;
            &large[..len]
        }
        Err(error) => return Err(error.into()),
    };
    let names = names.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    Ok(names.map(|name| OsString::from_vec(name.to_vec())).collect())
}

/// The value of an attribute, if it is there. One of the space `user` needs the permission to read the file.
pub(crate) fn attribute(fd: impl AsFd, name: &OsStr) -> io::Result<Option<Vec<u8>>> {
    let mut value = vec![0; 256];
    let read = match rustix::fs::fgetxattr(&fd, name.as_bytes(), &mut value) {
        Err(Errno::RANGE) => {
            value.resize(LIMIT, 0);
            rustix::fs::fgetxattr(&fd, name.as_bytes(), &mut value)
        }
        other => other,
    };
    match read {
        Ok(len) => {
            value.truncate(len);
            Ok(Some(value))
        }
        Err(error) if error == Errno::OPNOTSUPP || is_missing(error) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Sets an attribute. One of the space `user` needs the permission to write to the file, not a descriptor for writing.
pub(crate) fn set_attribute(fd: impl AsFd, name: &OsStr, value: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::fsetxattr(fd, name.as_bytes(), value, XattrFlags::empty())?)
}

/// Takes an attribute off; one that is not there is no error. Needs what [`set_attribute`] needs.
pub(crate) fn remove_attribute(fd: impl AsFd, name: &OsStr) -> io::Result<()> {
    match rustix::fs::fremovexattr(fd, name.as_bytes()) {
        Err(error) if is_missing(error) => Ok(()),
        other => Ok(other?),
    }
}

fn is_missing(error: Errno) -> bool {
    #[cfg(target_os = "linux")]
    return error == Errno::NODATA;
    #[cfg(not(target_os = "linux"))]
    return error == Errno::NOATTR;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_set_read_and_taken_off() {
        let temp = tempfile::NamedTempFile::new().unwrap();
        let fd = temp.as_file();
        let long = OsString::from(format!("user.{}", "n".repeat(200)));
        assert_eq!(attribute(fd, &long).unwrap(), None);
        remove_attribute(fd, &long).unwrap();
        for number in 0..8 {
            let name = OsString::from(format!("user.{number}{}", "n".repeat(200)));
            set_attribute(fd, &name, b"").unwrap();
        }
        set_attribute(fd, &long, &[7; 1000]).unwrap();
        assert_eq!(attribute(fd, &long).unwrap().unwrap(), [7; 1000]);
        assert_eq!(attributes(fd).unwrap().len(), 9);
        remove_attribute(fd, &long).unwrap();
        assert!(!attributes(fd).unwrap().contains(&long));
    }
}
